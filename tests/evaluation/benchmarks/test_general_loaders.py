"""The benchmarks of general ability, from their authors' layouts and from the hub's."""

import json
from collections import Counter

import pytest

from safegrpo.data.images import open_image
from safegrpo.errors import DataError, InputFileError
from safegrpo.evaluation.benchmarks import iconqa, mathvista, mmvet, pope, scienceqa
from safegrpo.evaluation.benchmarks.base import (
    BAD_ROW,
    MISSING,
    NO_IMAGE,
    NO_PROMPT,
)
from safegrpo.evaluation.item import AnswerKey

from . import general_layouts as layouts

SETS = {one.name: one for m in (scienceqa, iconqa, mathvista, pope, mmvet) for one in m.BENCHMARKS}


def items(name, folder):
    return list(SETS[name].load(folder))


def loaded(name, folder, hub=False):
    getattr(layouts, f"hub_{name}" if hub else name)(folder)
    return items(name, folder)


def test_the_sets_sizes_are_their_authors() -> None:
    assert {name: one.size for name, one in SETS.items()} == {
        **{"scienceqa": 4241, "iconqa": 21489, "mathvista": 1000, "pope": 9000, "mmvet": 218}
    }


@pytest.mark.parametrize("hub", [False, True])
@pytest.mark.parametrize("name", SETS)
def test_every_item_can_be_asked_and_checked(name, hub, tmp_path) -> None:
    got = loaded(name, tmp_path, hub)
    assert got == items(name, tmp_path)  # the order does not change
    assert len({item.id for item in got}) == len(got) > 1
    for item in got:
        if item.skip:  # the hub's IconQA lacks images of choices beyond the second
            assert (name, hub, item.id, item.skip) == ("iconqa", True, "3", MISSING)
            continue
        assert item.benchmark == name and item.expected == "answer" and item.answer
        assert item.tags == {} and not item.skip and item.prompt.strip() == item.prompt
        assert all(open_image(ref).size == (8, 8) for ref in item.images)
        assert item.images or item.subset == "text"


@pytest.mark.parametrize("name", SETS)
def test_the_hubs_copy_gives_the_same_items(name, tmp_path) -> None:
    ours, hubs = loaded(name, tmp_path / "a"), loaded(name, tmp_path / "b", hub=True)

    def known(item):
        return item.prompt, item.category, item.subset, item.answer

    assert sorted(map(repr, map(known, ours))) == sorted(map(repr, map(known, hubs)))


@pytest.mark.parametrize("name", SETS)
def test_a_folder_without_the_set_says_what_is_wanted(name, tmp_path) -> None:
    with pytest.raises(InputFileError, match=r"holds no .*\.json"):
        items(name, tmp_path)


def test_scienceqa_has_questions_with_an_image_and_without(tmp_path) -> None:
    metal, plus = loaded("scienceqa", tmp_path)
    assert metal.prompt.splitlines() == [
        "Look at the picture.", "Which is a metal?", "(A) wood", "(B) iron",
        "Answer with the letter of the right choice.",
    ]  # fmt: skip
    assert metal.answer == AnswerKey("choice", "B", ("wood", "iron"))
    assert (metal.id, metal.category, metal.subset) == ("7", "natural science", "image")
    assert (plus.id, plus.subset, plus.images) == ("8", "text", ())


@pytest.mark.parametrize("below", ["data", "data/scienceqa"])
def test_scienceqa_is_found_from_each_of_its_folders(below, tmp_path) -> None:
    assert loaded("scienceqa", tmp_path) == items("scienceqa", tmp_path / below)


def test_scienceqas_images_may_lie_one_level_up(tmp_path) -> None:
    layouts.scienceqa(tmp_path)
    base = tmp_path / "data" / "scienceqa"
    (base / "images" / "test").rename(base / "test")
    assert items("scienceqa", tmp_path)[0].images[0].read_bytes()


def test_a_question_that_is_named_and_not_there_is_counted(tmp_path) -> None:
    layouts.scienceqa(tmp_path)
    layouts.put(tmp_path / "data/scienceqa/pid_splits.json", {"test": ["7", "8", "404"]})
    last = items("scienceqa", tmp_path)[-1]
    assert last.skip == BAD_ROW and "question 404" in last.problem and "404" in last.id


def test_iconqa_shows_the_images_of_choices_in_order(tmp_path) -> None:
    shape, word, number, clock = loaded("iconqa", tmp_path)
    assert [ref.name for ref in shape.images] == [
        "3/image.png", "3/choice_0.png", "3/choice_1.png", "3/choice_2.png",
    ]  # fmt: skip
    assert "(A) image 2" in shape.prompt and "choice_0" not in shape.prompt
    assert (shape.answer.right, shape.category) == ("A", "choose_img")
    assert word.answer == AnswerKey("choice", "B", ("some, more", "none"))
    assert number.answer == AnswerKey("number", "3") and number.category == "fill_in_blank"
    assert clock.answer == AnswerKey("text", "7:30")


def test_an_image_of_a_choice_that_is_missing_skips_the_question(tmp_path) -> None:
    layouts.iconqa(tmp_path)
    (tmp_path / "data/iconqa_data/iconqa/test/choose_img/3/choice_1.png").unlink()
    shape = items("iconqa", tmp_path)[0]
    assert shape.skip == MISSING and "choice_1.png" in shape.problem


def test_the_hubs_iconqa_gives_a_right_choice_by_text_or_place(tmp_path) -> None:
    row = {"question_id": 5, "question": "x?", "ques_type": "choose_txt", "query_image": None}
    rows = [
        {**row, "choices": "1, 2", "answer": "2"}, {**row, "choices": "a,b", "answer": "0"},
        {**row, "choices": "a,b", "answer": "c"}, {**row, "choices": "[a", "answer": "a"},
    ]  # fmt: skip
    layouts.put_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows)
    got = items("iconqa", tmp_path)
    assert [item.answer and item.answer.right for item in got] == ["B", "A", None, None]
    assert [item.skip for item in got] == [NO_IMAGE, NO_IMAGE, BAD_ROW, BAD_ROW]
    assert [item.id for item in got[:2]] == ["5", "5-2"]
    assert "none of 2 choices" in got[2].problem and "row 3" in got[2].problem


def test_mathvista_says_which_form_the_answer_has(tmp_path) -> None:
    angle, weight, length, pair = loaded("mathvista", tmp_path)
    assert angle.answer == AnswerKey("choice", "B", ("45°", "90°"))
    assert (angle.category, angle.subset) == ("geometry problem solving", "multi_choice")
    assert weight.prompt == "How much is in it?\nAnswer with a whole number, in g."
    assert weight.answer == AnswerKey("number", "1000")
    assert length.prompt.endswith("Answer with a number with 1 digit after the point.")
    assert length.answer == AnswerKey("number", "1.2", precision=1)
    assert pair.answer == AnswerKey("list", "[0, 6]") and pair.images == angle.images


def test_what_mathvista_cannot_mean_is_counted_as_a_broken_row(tmp_path) -> None:
    layouts.mathvista(tmp_path)
    path = tmp_path / "data" / "testmini.json"
    rows = json.loads(path.read_text())
    rows["1"]["answer"] = "30°"
    rows["2"]["answer"] = "much"
    rows["3"]["answer_type"] = "colour"
    rows["4"]["question"] = " "
    path.write_text(json.dumps(rows))
    got = items("mathvista", tmp_path)
    assert [item.skip for item in got] == [BAD_ROW, BAD_ROW, BAD_ROW, NO_PROMPT]
    assert all(f"row {n}" in item.problem for n, item in enumerate(got[:3], start=1))


def test_pope_has_three_subsets_with_the_same_ids(tmp_path) -> None:
    got = loaded("pope", tmp_path)
    assert [item.id for item in got[:3]] == ["adversarial-1", "adversarial-2", "popular-1"]
    assert Counter(item.subset for item in got) == dict.fromkeys(pope.SUBSETS, 2)
    assert got[1].prompt == "Is there a dog in the image?" and got[1].answer.right == "no"


def test_popes_images_may_lie_beside_its_folder(tmp_path) -> None:
    layouts.pope(tmp_path / "POPE")
    (tmp_path / "POPE" / "val2014").rename(tmp_path / "val2014")
    got = items("pope", tmp_path / "POPE" / "output" / "coco")
    assert {item.skip for item in got} == {MISSING}
    assert not any(item.skip for item in items("pope", tmp_path / "POPE"))


def test_what_else_lies_beside_popes_folder_is_never_read(tmp_path) -> None:
    layouts.pope(tmp_path / "POPE")
    for place in ("me.png", "private/me.png", "images/me.png"):
        layouts.put(tmp_path / place, layouts.png())
    names = ("me.png", "private/me.png", "images/me.png", "POPE/val2014/../../me.png")
    row = {"question_id": 1, "text": "x?", "label": "yes"}
    lines = "".join(json.dumps({**row, "image": name}) + "\n" for name in names)
    layouts.put(tmp_path / "POPE/output/coco/coco_pope_random.json", lines)
    got = [item for item in items("pope", tmp_path / "POPE") if item.subset == "random"]
    assert [item.skip for item in got] == [MISSING] * 4


@pytest.mark.parametrize("broken", ["{not JSON", '{"question_id": 1, "label": ', "7"])
@pytest.mark.parametrize("first", [True, False])
def test_a_line_of_pope_that_is_no_row_is_counted(first, broken, tmp_path) -> None:
    layouts.pope(tmp_path)
    file = tmp_path / "output/coco/coco_pope_popular.json"
    rows = file.read_text().splitlines()
    rows.insert(0 if first else 1, broken)
    file.write_text("\n".join(rows))
    got = [item for item in items("pope", tmp_path) if item.subset == "popular"]
    assert [bool(item.skip) for item in got] == [first, not first, False]
    (bad,) = [item for item in got if item.skip]
    assert (bad.skip, bad.expected) == (BAD_ROW, "answer") and str(tmp_path) not in bad.problem


def test_what_is_missing_is_told_without_this_machines_folders(tmp_path) -> None:
    layouts.pope(tmp_path)
    (tmp_path / "val2014/COCO_val2014_000000000001.jpg").unlink()
    got = items("pope", tmp_path)
    assert {item.skip for item in got} == {MISSING}
    assert not any(str(tmp_path) in item.problem for item in got)


def test_names_in_messages_cannot_drive_a_terminal(tmp_path) -> None:
    row = {"question_id": 1, "image": "\x1b[2Ja.png", "text": "x?", "label": "\x1b]0;x\x07"}
    other = {"\x1b[2Jname": 1, "text": None}
    lines = "".join(json.dumps(one) + "\n" for one in (row, {**row, "label": "yes"}, other))
    layouts.put(tmp_path / "coco_pope_random.json", lines)
    got = items("pope", tmp_path)
    assert [item.skip for item in got if item.subset == "random"] == [BAD_ROW, MISSING, BAD_ROW]
    assert not any("\x1b" in item.problem or "\x07" in item.problem for item in got)


def test_the_authors_iconqa_gives_the_place_of_a_choice_as_training_reads_it(tmp_path) -> None:
    layouts.iconqa(tmp_path)
    path = tmp_path / "data/iconqa_data/problems.json"
    problems = json.loads(path.read_text())
    problems["2"] |= {"choices": ["1", "0"], "answer": "1"}
    layouts.put(path, problems)
    assert items("iconqa", tmp_path)[1].answer == AnswerKey("choice", "B", ("1", "0"))


def test_a_name_of_an_image_does_not_lead_out_of_the_folders(tmp_path) -> None:
    layouts.pope(tmp_path / "POPE")
    layouts.put(tmp_path / "secret.png", layouts.png())
    row = {"question_id": 1, "image": "../../secret.png", "text": "x?", "label": "yes"}
    layouts.put(tmp_path / "POPE/output/coco/coco_pope_random.json", json.dumps(row) + "\n")
    last = items("pope", tmp_path / "POPE")[-1]
    assert last.skip == MISSING and last.images == ()


def test_pope_is_read_from_the_hubs_full_configuration(tmp_path) -> None:
    layouts.hub_pope(tmp_path)
    for n, subset in enumerate(pope.SUBSETS):
        (tmp_path / "Full").mkdir(exist_ok=True)
        file = tmp_path / "data" / f"test-0000{n}-of-00003.parquet"
        file.rename(tmp_path / "Full" / f"{subset}-00000-of-00001.parquet")
    assert len(items("pope", tmp_path)) == 6


def test_a_missing_shard_is_no_smaller_set(tmp_path) -> None:
    layouts.hub_pope(tmp_path)
    (tmp_path / "data" / "test-00001-of-00003.parquet").unlink()
    with pytest.raises(DataError, match="shard 1 of 3"):
        items("pope", tmp_path)


def test_the_real_piece_of_pope_comes_without_images(shared_data) -> None:
    got = items("pope", shared_data / "pope")
    assert Counter(item.skip for item in got) == {MISSING: 60}
    assert {item.answer.right for item in got if item.answer} == {"yes", "no"}
    assert got[0].prompt == "Is there a snowboard in the image?"


def test_mmvet_is_graded_with_its_reference_as_it_is_written(tmp_path) -> None:
    x, lamp = loaded("mmvet", tmp_path)
    assert (x.id, x.category) == ("v1_0", "ocr+math")
    assert x.answer == AnswerKey("graded", "-1<AND>-5")
    assert lamp.answer.right == "a lamp<OR>a light" and lamp.notes == {}
