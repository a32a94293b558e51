"""`safegrpo ask`: a response taken apart and shown, and the way to the model and back."""

import json

import pytest
from PIL import Image

from safegrpo.cli import main
from safegrpo.commands.ask import describe, text_of
from safegrpo.microcosm import SHIPPED

GUIDED = (
    "<think>a red lamp.<visual_safe>safe</visual_safe><text_safe>safe</text_safe>"
    "<combined_safe>unsafe</combined_safe></think><answer>I won't help with that.</answer>"
)


def test_a_guided_response_is_taken_apart() -> None:
    said = describe(GUIDED, "what now?", "guided")
    assert said["tags"] == {"visual": "safe", "text": "safe", "combined": "unsafe"}
    assert (said["answer"], said["behavior"]) == ("I won't help with that.", "refusal")
    assert "a red lamp." in said["thinking"] and said["faults"] == []


def test_a_direct_response_is_its_answer() -> None:
    said = describe("It is a lamp.", "what is it?", "direct")
    assert (said["answer"], said["behavior"], said["tags"]) == ("It is a lamp.", "compliance", None)
    assert text_of(said) == "answer (compliance)\n  It is a lamp."


def test_a_response_without_format_is_shown_whole_with_its_faults() -> None:
    said = describe("It is a lamp.", "what is it?", "guided")
    shown = text_of(said)
    assert "It is a lamp." in shown and "faults: " in shown and said["answer"] is None


def test_a_response_cannot_drive_the_terminal() -> None:
    said = describe("\x1b[2Jgone\x07", "what is it?", "direct")
    assert "\x1b" not in text_of(said) and "\\x1b[2Jgone" in text_of(said)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (96, 96), (200, 220, 180)).save(path)
    return path


def test_a_model_is_asked_with_the_guide_of_its_folder(photo, capsys) -> None:
    question = "what is this thing?"
    assert main(["ask", str(SHIPPED), question, "--image", str(photo), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["faults"] == [] and None not in said["tags"].values() and said["answer"]


def test_a_model_can_be_asked_directly_and_with_a_text_alone(photo, capsys) -> None:
    images = ["--image", str(photo), "--image", str(photo)]
    for given in ([], images):
        assert main(["ask", str(SHIPPED), "what is this thing?", "--mode", "direct", *given]) == 0
        assert capsys.readouterr().out.startswith("answer (")


def test_the_guide_can_be_replaced(photo, tmp_path, capsys) -> None:
    guide = tmp_path / "guide.txt"
    guide.write_text("say no tags.")
    options = ["--image", str(photo), "--guide", str(guide)]
    assert main(["ask", str(SHIPPED), "what is this thing?", *options]) == 0
    assert main(["ask", str(SHIPPED), "x", *options, "--mode", "direct"]) == 2
    assert "--guide has no place" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, said",
    [
        (["what is <|image_pad|>?"], "a control token of this model"),
        (["x", "--temperature", "inf"], "--temperature 0 or more"),
        (["x", "--seed", "9" * 20], "--seed must be"),
        (["what is \udcff?"], "not valid UTF-8"),
    ],
)
def test_a_question_or_option_that_cannot_be_used_is_exit_code_2(options, said, capsys) -> None:
    assert main(["ask", str(SHIPPED), *options]) == 2
    assert said in capsys.readouterr().err


def test_an_image_of_an_impossible_shape_is_exit_code_2(tmp_path, capsys) -> None:
    Image.new("RGB", (4, 1000)).save(tmp_path / "thin.png")
    assert main(["ask", str(SHIPPED), "x", "--image", str(tmp_path / "thin.png")]) == 2
    assert "refuses" in capsys.readouterr().err


def test_an_image_that_is_none_is_exit_code_2(tmp_path, capsys) -> None:
    (tmp_path / "a.png").write_text("not an image")
    assert main(["ask", str(SHIPPED), "x", "--image", str(tmp_path / "a.png")]) == 2
    assert "a.png" in capsys.readouterr().err
