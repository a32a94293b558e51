"""The console command: exit codes, one-line errors, and what it loads to start."""

import io
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from safegrpo.cli import main, parser

GOOD = (
    "<visual_safe>safe</visual_safe><text_safe>safe</text_safe>"
    "<combined_safe>unsafe</combined_safe></think><answer>I won't help with that.</answer>"
)
COMMANDS = (
    *("demo", "train", "ask", "score", "classify", "explain", "audit", "study"),
    *("pairs", "annotate", "select", "benchmarks", "eval", "report", "card", "doctor"),
    "export",
)


@pytest.fixture
def failing(capsys):
    """Run a command that must fail; its exit code and what it says, which must be one line."""

    def go(*argv: object) -> tuple[int, str]:
        code = main([str(word) for word in argv])
        said = capsys.readouterr()
        assert said.out == ""
        lines = said.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("safegrpo: ")
        return code, lines[0]

    return go


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def png(path, width=8, height=8):
    Image.new("RGB", (width, height)).save(path, "PNG")
    return path


@pytest.fixture
def tagged(tmp_path):
    """A tagged set of four rows with one image."""
    png(tmp_path / "a.png")
    tags = {"image_tag": "safe", "text_tag": "safe", "combine_tag": "unsafe"}
    rows = [{"id": str(i), "images": ["a.png"], "prompt": "x", **tags} for i in range(4)]
    return write(tmp_path / "set.jsonl", *rows)


@pytest.fixture
def recipe(tmp_path, tagged):
    """A recipe on that set, for a model that is not there."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"model: {json.dumps(str(tmp_path / 'model'))}\n"
        f"data: {{train: {json.dumps(str(tagged))}}}\n"
        f"output: {json.dumps(str(tmp_path / 'run'))}\n"
        "grpo: {num_generations: 2, per_device_train_batch_size: 2, use_cpu: true}\n"
    )
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    help_text = capsys.readouterr().out
    assert f"safegrpo {command}" in help_text.partition("example")[2]


@pytest.mark.parametrize("argv", [[], ["scor"], ["score"], ["score", "x", "--rules", "lax"]])
def test_wrong_usage_is_exit_code_2(argv, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_results_go_to_standard_output_alone(tmp_path, capsys) -> None:
    tags = {"visual": "safe", "text": "safe", "combined": "unsafe"}
    assert main(["score", str(write(tmp_path / "rows.jsonl", {"response": GOOD, **tags}))]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["reward"] == 1.0 and said.err == ""


@pytest.mark.parametrize("command", ["score", "classify", "train", "report", "ask"])
def test_a_missing_file_is_exit_code_2(failing, tmp_path, command) -> None:
    code, said = failing(command, tmp_path / "absent", *(["hello"] if command == "ask" else []))
    assert code == 2 and "absent" in said


def test_an_unknown_recipe_key_is_named_with_the_nearest(failing, recipe) -> None:
    code, said = failing("train", recipe, "--set", "checkpoint.evry=3")
    assert code == 2 and '"checkpoint.evry"' in said and '"every"' in said
    code, said = failing("train", recipe, "--set", "grpo.num_generation=3")
    assert code == 2 and '"grpo.num_generation"' in said and '"num_generations"' in said


def test_a_tag_that_is_neither_is_named_with_its_row(failing, tmp_path, recipe, tagged) -> None:
    text = tagged.read_text().replace('"unsafe"', '"harmful"')
    tagged.write_text(text.replace('"harmful"', '"unsafe"', 2))
    code, said = failing("train", recipe, "--set", "data.train=" + str(tagged))
    assert code == 2 and "harmful" in said and "2 of 4 rows" in said


def test_a_message_is_one_line_that_cannot_drive_the_terminal(failing, tmp_path) -> None:
    row = {"response": "", "visual": "sa\nfe\x1b[31m", "text": "safe", "combined": "safe"}
    code, line = failing("score", write(tmp_path / "rows.jsonl", row))
    assert code == 2 and "\x1b" not in line and "not safe or unsafe" in line


def test_an_empty_set_is_exit_code_2(failing, recipe, tagged) -> None:
    tagged.write_text("")
    code, said = failing("train", recipe)
    assert code == 2 and "the set is empty" in said


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A tiny VLM, so that a run gets as far as its images."""
    torch = pytest.importorskip("torch")
    from safegrpo.microcosm.model import build_model, build_processor, save_model, train_tokenizer

    folder = tmp_path_factory.mktemp("vlm") / "model"
    tokenizer = train_tokenizer(["a question and an answer ."] * 4, 400)
    processor = build_processor(tokenizer, max_pixels=64 * 64)
    save_model(build_model(tokenizer), processor, folder, torch.float32)
    return folder


def test_a_corrupt_image_is_named_with_its_row(failing, tmp_path, recipe, model_dir) -> None:
    file = png(tmp_path / "a.png", 64, 64)
    file.write_bytes(file.read_bytes()[:60])
    code, said = failing("train", recipe, "--set", f"model={model_dir}")
    assert code == 2 and "a.png" in said and '"0"' in said and "corrupt" in said


def test_an_image_over_the_limit_is_exit_code_2(failing, tmp_path, recipe, model_dir) -> None:
    png(tmp_path / "a.png", 200, 100)
    limit = ["--set", "data.max_pixels=10000"]
    code, said = failing("train", recipe, "--set", f"model={model_dir}", *limit)
    assert code == 2 and "10,000 pixels" in said and "200 x 100" in said


def test_a_folder_that_is_no_vlm_is_exit_code_2(failing, tmp_path, recipe) -> None:
    model = tmp_path / "model"
    model.mkdir()
    code, said = failing("train", recipe)
    assert code == 2 and "config.json" in said
    (model / "config.json").write_text('{"model_type": "gpt2"}')
    code, said = failing("train", recipe)
    assert code == 2 and "gpt2" in said and "not a vision-language model" in said
    code, said = failing("ask", model, "hello")
    assert code == 2 and "gpt2" in said


def test_a_place_that_cannot_be_written_is_one_line(failing, tmp_path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
    (tmp_path / "file").write_text("")
    code, said = failing("report", tmp_path, "-o", tmp_path / "file" / "r.html")
    assert code == 1 and str(tmp_path / "file") in said


def test_an_error_shows_where_it_came_from_when_asked(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SAFEGRPO_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["score", str(tmp_path / "absent")])


def test_a_reader_that_goes_away_is_no_traceback(tmp_path) -> None:
    rows = [{"answer": "x" * 1000} for _ in range(2000)]
    path = write(tmp_path / "rows.jsonl", *rows)
    command = f"{sys.executable} -m safegrpo classify {path} | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1


def test_the_light_commands_start_without_torch(tmp_path) -> None:
    path = write(tmp_path / "rows.jsonl", {"answer": "I cannot help with that."})
    heavy = "{'torch', 'transformers', 'trl', 'datasets'}"
    program = (
        "import sys; from safegrpo.cli import main; "
        f"assert main(['classify', {str(path)!r}]) == 0; "
        f"found = {heavy} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_telemetry_is_off_unless_the_user_has_set_it(tmp_path) -> None:
    path = write(tmp_path / "rows.jsonl", {"answer": "yes"})
    program = (
        "import os; from safegrpo.cli import main; "
        f"main(['classify', {str(path)!r}]); "
        "print(os.environ['HF_HUB_DISABLE_TELEMETRY'], os.environ['DO_NOT_TRACK'])"
    )
    names = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    bare = {key: value for key, value in os.environ.items() if key not in names}
    for given, seen in (({}, "1 1"), ({"DO_NOT_TRACK": "0"}, "1 0")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=bare | given,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == seen


def test_an_ascii_terminal_does_not_end_a_run(tmp_path, monkeypatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    path = write(tmp_path / "rows.jsonl", {"answer": "désolé …"})
    assert main(["classify", str(path)]) == 0


def test_the_command_line_is_whole() -> None:
    assert set(parser()._subparsers._group_actions[0].choices) == set(COMMANDS)
