"""Whole exports, by the command."""

import hashlib
import json
import shutil

import pyarrow.parquet as pq
import pytest

from safegrpo.cli import main
from safegrpo.data.schema import save_tagged
from safegrpo.export import write
from safegrpo.microcosm import SHIPPED
from safegrpo.thinking import GUIDE

from .conftest import SAFE, pair, words_of


def record(folder) -> dict:
    return json.loads((folder / "export.json").read_text())


@pytest.fixture
def failing(tmp_path, capsys):
    """Export by the command, which must fail; the one line that it says."""

    def go(*words: object) -> str:
        argv = ["export", "verl", *words, "-o", tmp_path / "out", "--gpus-per-node", 2]
        assert main([str(word) for word in argv]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        return line

    return go


def test_verl_gets_its_folder(exported, capsys) -> None:
    folder = exported()
    assert sorted(path.name for path in folder.iterdir()) == [
        *("export.json", "reward.py", "run.sh", "train.parquet"),
    ]
    assert json.loads(capsys.readouterr().out) == {
        "output": str(folder),
        "rows": {"train": 6},
        "too_long": {"train": 0},
        "batch": 4,
        "mini_batch": 2,
        "gpus": 2,
        "batches": 3,
    }
    assert (folder / "run.sh").stat().st_mode & 0o111


def test_the_record_says_what_it_was_made_from(exported) -> None:
    folder = exported("--eval", exported().parent / "set", "--eval-split", "test", output="two")
    found = record(folder)
    assert (found["engine"], found["written_for"]) == ("verl", "0.9.1")
    assert found["recipe"]["rules"] == "paper"
    assert found["guide_sha256"] == hashlib.sha256(GUIDE.encode()).hexdigest()
    assert found["data"]["train"]["cells"] == {
        "safe/safe/safe": 2,
        "safe/safe/unsafe": 1,
        "unsafe/safe/unsafe": 1,
        "untagged": 2,
    }
    assert found["data"]["test"]["rows"] == 3
    assert found["lengths_measured"]
    for name, digest in found["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_sets_hash_is_that_of_a_training_run(exported, pairs) -> None:
    from safegrpo.training.data import data_sha256

    assert record(exported())["data"]["train"]["sha256"] == data_sha256(pairs)


def test_the_guide_follows_the_question(exported) -> None:
    rows = pq.read_table(exported() / "train.parquet").to_pylist()
    assert rows[0]["problem"] == f"<image>what is in picture 0 ?\n{GUIDE}"


def test_a_direct_recipe_asks_without_a_guide(exported, recipe_file) -> None:
    folder = exported(recipe=recipe_file(mode="direct"))
    rows = pq.read_table(folder / "train.parquet").to_pylist()
    assert rows[0]["problem"] == "<image>what is in picture 0 ?"


def test_the_same_input_gives_the_same_bytes(exported) -> None:
    first = {path.name: path.read_bytes() for path in exported().iterdir()}
    again = {path.name: path.read_bytes() for path in exported().iterdir()}
    assert again == first


def test_what_an_earlier_export_left_does_not_stay(exported, tagged) -> None:
    folder = exported("--eval", tagged, "--eval-split", "test")
    assert (folder / "test.parquet").is_file()
    exported()
    assert not (folder / "test.parquet").exists()


def test_a_folder_with_other_files_is_refused(failing, recipe_file, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("x")
    assert "holds other files (precious.txt)" in failing("--recipe", recipe_file())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("text", ["{}", "[]", "none", '{"engine": "verl", "files": 1}'])
def test_a_record_that_is_not_ours_opens_no_folder(failing, recipe_file, tmp_path, text) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "export.json").write_text(text)
    assert "safegrpo export has not written" in failing("--recipe", recipe_file())
    assert (tmp_path / "out" / "export.json").read_text() == text


def test_checkpoints_of_another_export_are_not_gone_on_from(
    exported, failing, recipe_file, capsys
) -> None:
    folder = exported()
    (folder / "checkpoints" / "global_step_1").mkdir(parents=True)
    exported()  # the same again
    before = (folder / "run.sh").read_bytes()
    capsys.readouterr()
    line = failing("--recipe", recipe_file(), "--set", "grpo.beta=0.5")
    assert "holds checkpoints of another export" in line and "name another folder" in line
    assert (folder / "run.sh").read_bytes() == before
    (folder / "checkpoints" / "global_step_1").rmdir()
    exported("--set", "grpo.beta=0.5")


@pytest.mark.parametrize("name", ["模型", "😀 # a: b", "it's"])
def test_names_in_any_script_are_taken_as_they_are(exported, tagged, tmp_path, name) -> None:
    tagged.rename(tmp_path / name)
    assert record(exported(tmp_path / name))["recipe"]["data"]["train"] == str(tmp_path / name)


def test_a_failed_export_leaves_nothing(failing, recipe_file, tmp_path) -> None:
    broken = pair(0, 1, SAFE, prompt="what does <video> mean ?")
    save_tagged([broken, *(pair(i, 0, SAFE) for i in range(1, 4))], tmp_path / "bad.parquet")
    line = failing(tmp_path / "bad.parquet", "--recipe", recipe_file())
    assert 'row 1 (id "p0"): its prompt holds <video>' in line
    assert list((tmp_path / "out").iterdir()) == []


def test_prompts_that_are_too_long_are_left_out_by_id(exported, tmp_path, capsys) -> None:
    rows = [pair(i, 0, SAFE, prompt="word " * (400 if i == 2 else 1)) for i in range(6)]
    save_tagged(rows, tmp_path / "long.parquet")
    folder = exported(tmp_path / "long.parquet", "--set", "data.max_prompt_length=700")
    assert record(folder)["data"]["train"]["too_long"] == {"rows": 1, "ids": ["p2"]}
    kept = pq.read_table(folder / "train.parquet").to_pylist()
    assert [row["extra_info"]["id"] for row in kept] == ["p0", "p1", "p3", "p4", "p5"]
    assert [row["extra_info"]["index"] for row in kept] == [0, 1, 2, 3, 4]
    assert "1 train rows left out" in capsys.readouterr().err
    assert "data.filter_overlong_prompts=False" in words_of(folder / "run.sh", folder=tmp_path)


def test_all_too_long_is_an_error(failing, recipe_file) -> None:
    line = failing("--recipe", recipe_file(), "--set", "data.max_prompt_length=5")
    assert "all 6 prompts of the train split are longer than 5 tokens" in line


def test_without_the_model_lengths_are_left_to_the_engine_and_it_is_said(
    exported, recipe_file, tmp_path, capsys
) -> None:
    folder = exported(recipe=recipe_file(model="nobody/has-this-model"))
    assert "processor was not looked at" in (capsys.readouterr().err)
    assert not record(folder)["lengths_measured"]
    assert "data.filter_overlong_prompts=True" in words_of(folder / "run.sh", folder=tmp_path)


def test_control_tokens_in_a_prompt_are_refused(failing, recipe_file, tmp_path) -> None:
    rows = [pair(i, 0, SAFE, prompt="<|im_end|> x" if i == 1 else "x") for i in range(4)]
    save_tagged(rows, tmp_path / "bad.parquet")
    line = failing(tmp_path / "bad.parquet", "--recipe", recipe_file())
    assert "<|im_end|>" in line and 'id "p1"' in line


def test_control_tokens_in_the_guide_are_refused(failing, recipe_file, tmp_path) -> None:
    (tmp_path / "guide.txt").write_text("Answer well.<|im_end|>")
    line = failing("--recipe", recipe_file(guide=str(tmp_path / "guide.txt")))
    assert '"guide" holds "<|im_end|>"' in line


@pytest.fixture
def with_special_think(tmp_path):
    """The microcosm's model, whose tokenizer calls <think> a special token."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in SHIPPED.iterdir():
        if path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    next(one for one in tokenizer["added_tokens"] if one["content"] == "<think>")["special"] = True
    path.write_text(json.dumps(tokenizer))
    return folder


def test_a_tokenizer_that_would_hide_the_markup_is_refused(
    failing, recipe_file, with_special_think
) -> None:
    line = failing("--recipe", recipe_file(model=str(with_special_think)))
    assert "<think> is a special token" in line


def test_a_model_that_verl_shows_no_images_is_refused(failing, recipe_file, monkeypatch) -> None:
    monkeypatch.setattr(write.verl, "PROCESSORS", ("Qwen2VLProcessor",))
    line = failing("--recipe", recipe_file())
    assert "has a Qwen3VLProcessor, which verl 0.9.1 takes for a text model's" in line


def test_fewer_rows_than_a_batch_are_an_error(failing, recipe_file) -> None:
    line = failing("--recipe", recipe_file({"steps_per_generation": 8}))
    assert "6 rows, fewer than the 16 prompts of a batch" in line


def test_questions_are_mixed_in_as_in_training(exported, recipe_file, tmp_path, pairs) -> None:
    save_tagged([pair(9, 0, None)], tmp_path / "questions.parquet")
    save_tagged(pairs[:4], tmp_path / "tagged.parquet")
    data = {"train": str(tmp_path / "tagged.parquet"), "question_share": 0.2}
    questions = {"questions": str(tmp_path / "questions.parquet")}
    folder = exported(recipe=recipe_file(data={**data, **questions}))
    rows = pq.read_table(folder / "train.parquet").to_pylist()
    assert sorted(row["data_source"] for row in rows) == [
        *("benign", "benign", "compositional", "harmful", "question"),
    ]


def test_both_engines_get_the_same_rows(exported) -> None:
    files = [
        (exported(engine=engine, output=engine) / "train.parquet").read_bytes()
        for engine in ("verl", "easyr1")
    ]
    assert files[0] == files[1]


def test_real_rows_are_exported_as_they_are(exported, shared_data, tmp_path) -> None:
    images = sorted((shared_data / "mossbench").rglob("*.png"))[:4]
    if len(images) < 4:
        pytest.skip("no four images of MOSSBench among the real data")
    rows = [
        {
            "id": str(i),
            "images": [str(path.relative_to(shared_data))],
            "prompt": "What is this?",
            "image_tag": "safe",
            "text_tag": "safe",
            "combine_tag": "safe",
        }
        for i, path in enumerate(images)
    ]
    path = tmp_path / "real.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = exported(path, "--images", shared_data, "--set", "data.max_prompt_length=100000")
    found = pq.read_table(folder / "train.parquet").to_pylist()
    assert len(found) == 4
    written = [row["images"][0]["bytes"] for row in found]
    assert any(data == path.read_bytes() for data, path in zip(written, images, strict=True))
