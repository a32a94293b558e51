"""General questions from ScienceQA's and IconQA's own layouts, and their share among the rows."""

import json
from collections import Counter

import pytest
from PIL import Image

from safegrpo.data.pairs import TaggedPair
from safegrpo.data.questions import load_questions, mix_questions
from safegrpo.errors import ConfigError, DataError, InputFileError
from safegrpo.reward import answer_is_right
from safegrpo.thinking import Tags


def png(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, "PNG")


@pytest.fixture
def scienceqa(tmp_path):
    problems = {
        "7": {"question": "Which is a metal?", "choices": ["wood", "iron"], "answer": 1,
              "hint": "Look at the picture.", "image": "image.png", "split": "train"},
        "8": {"question": "What is 2 + 2?", "choices": ["4", "5"], "answer": 0, "hint": "",
              "image": None, "split": "train"},
        "9": {"question": "Held out?", "choices": ["yes", "no"], "answer": 0, "image": None},
    }  # fmt: skip
    folder = tmp_path / "scienceqa"
    folder.mkdir()
    (folder / "problems.json").write_text(json.dumps(problems))
    (folder / "pid_splits.json").write_text(json.dumps({"train": ["7", "8"], "test": ["9"]}))
    png(folder / "images" / "train" / "7" / "image.png")
    return folder


@pytest.fixture
def iconqa(tmp_path):
    problems = {
        "1": {"question": "How many?", "ques_type": "fill_in_blank", "answer": "3"},
        "2": {"question": "Which word?", "ques_type": "choose_txt", "choices": ["a", "b"],
              "answer": 1},
        "3": {"question": "Which shape?", "ques_type": "choose_img", "answer": 0,
              "choices": ["choice_0.png", "choice_1.png"]},
    }  # fmt: skip
    folder = tmp_path / "iconqa"
    (folder / "iconqa_data").mkdir(parents=True)
    (folder / "iconqa_data" / "problems.json").write_text(json.dumps(problems))
    splits = {"fill_in_blank_train": [1], "choose_txt_train": ["2"], "choose_img_train": ["3"]}
    (folder / "iconqa_data" / "pid_splits.json").write_text(json.dumps(splits))
    for task, pid in (("fill_in_blank", "1"), ("choose_txt", "2"), ("choose_img", "3")):
        png(folder / "iconqa_data" / "iconqa" / "train" / task / pid / "image.png")
    for k in (0, 1):
        png(folder / f"iconqa_data/iconqa/train/choose_img/3/choice_{k}.png")
    return folder


def test_scienceqa_is_read_from_its_own_layout(scienceqa) -> None:
    metal, plus = load_questions(scienceqa)
    assert (metal.id, metal.answer, len(metal.images)) == ("scienceqa-7", "B", 1)
    assert metal.prompt.splitlines()[:4] == [
        "Look at the picture.", "Which is a metal?", "(A) wood", "(B) iron",
    ]  # fmt: skip
    assert metal.tags is None and metal.license and metal.images[0].read_bytes()
    assert (plus.answer, plus.images) == ("A", ())
    assert [q.id for q in load_questions(scienceqa, "test")] == ["scienceqa-9"]
    assert answer_is_right("The answer is (B).", metal.answer)


def test_iconqa_is_read_from_its_own_layout(iconqa) -> None:
    number, word, shape = load_questions(iconqa)
    assert (number.answer, len(number.images), number.prompt) == ("3", 1, "How many?")
    assert (word.answer, len(word.images)) == ("B", 1)
    assert (shape.answer, len(shape.images)) == ("A", 3)
    assert "(A) image 2" in shape.prompt and "choice_0" not in shape.prompt


def test_a_tagged_set_gives_its_rows_with_an_answer(tmp_path) -> None:
    path = tmp_path / "set.jsonl"
    tags = {"image_tag": "safe", "text_tag": "safe", "combine_tag": "safe"}
    rows = [{"prompt": "a", "images": [], **tags}, {"prompt": "b", "images": [], "answer": "x"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [q.prompt for q in load_questions(path)] == ["b"]
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DataError, match="no question with an answer"):
        load_questions(path)


def test_what_is_missing_or_wrong_is_told(scienceqa, iconqa, tmp_path) -> None:
    with pytest.raises(InputFileError):
        load_questions(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match='no split "dev"'):
        load_questions(scienceqa, "dev")
    (scienceqa / "images" / "train" / "7" / "image.png").unlink()
    with pytest.raises(DataError, match=r"question 7: image .* not found"):
        load_questions(scienceqa)
    problems = iconqa / "iconqa_data" / "problems.json"
    for broken, said in (("[1]", "no mapping"), ("{", "not JSON"), ("{}", "question 1 .* missing")):
        problems.write_text(broken)
        with pytest.raises(DataError, match=said):
            load_questions(iconqa)
    problems.write_text(json.dumps({"1": {"question": "x", "choices": ["a"], "answer": 4}}))
    with pytest.raises(DataError, match="none of 1 choices"):
        load_questions(iconqa)
    (iconqa / "iconqa_data" / "pid_splits.json").unlink()
    with pytest.raises(InputFileError, match="pid_splits"):
        load_questions(iconqa)


def row(i: int, **rest) -> TaggedPair:
    return TaggedPair(id=str(i), images=(), prompt="x", **{"tags": Tags(*["safe"] * 3), **rest})


def test_questions_make_up_their_share() -> None:
    pairs = [row(i) for i in range(90)]
    questions = [row(i, tags=None, answer="y") for i in range(100, 104)]
    mixed = mix_questions(pairs, questions, 0.1, seed=3)
    assert len(mixed) == 100 and Counter(p.answer for p in mixed) == {None: 90, "y": 10}
    times = Counter(p.id for p in mixed if p.answer)
    assert max(times.values()) - min(times.values()) <= 1
    assert mixed == mix_questions(pairs, questions, 0.1, seed=3)
    assert mixed != mix_questions(pairs, questions, 0.1, seed=4)
    with pytest.raises(ConfigError):
        mix_questions(pairs, questions, 1.0, seed=0)
