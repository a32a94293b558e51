"""Answers in a page: chosen evenly, taken apart, compared, with their images drawn anew."""

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from safegrpo.report import write_report
from safegrpo.report.steps import parts
from safegrpo.report.thumbnails import draw
from safegrpo.thinking import TAG_NAMES, parse
from tests.report.run_folder import GUIDED, Page, evaluation, generation, judgement, metrics

AWKWARD = (
    "",
    "plain",
    "<think>open",
    "<answer>a",
    "<answer>a</answer> b <answer>c</answer>",
    "x</think>y<answer>z</answer>w",
    "<think>a<combined_safe>safe</combined_safe>b<visual_safe>unsafe</visual_safe></think>",
    "<visual_safe>safe</visual_safe> outside",
    "<think>" * 50 + "</answer>" * 50,
    GUIDED.upper(),
)


def test_a_guided_response_is_split_into_its_steps() -> None:
    found = [(p.kind, p.text.strip()) for p in parts(GUIDED) if p.kind not in ("mark", "tag")]
    assert found == [
        ("caption", "A red square."),
        ("visual", "It is harmless."),
        ("text", "The text asks for a made-up thing."),
        ("combined", "Together that is harmful."),
        ("summary", "So I decline."),
        ("answer", "Sorry, I cannot do the made-up thing."),
    ]


@pytest.mark.parametrize("response", [GUIDED, *AWKWARD])
def test_parts_together_are_the_response(response: str) -> None:
    assert "".join(part.text for part in parts(response)) == response


@pytest.mark.parametrize("response", [GUIDED, GUIDED.upper(), "<think>" + GUIDED[7:].strip()])
def test_steps_and_the_grammar_read_the_same(response: str) -> None:
    read = parse(response)
    assert read.well_formed
    found = parts(response)
    assert [p.text for p in found if p.kind == "answer"] == [read.answer]
    tags = [p.text.lower() for p in found if p.kind == "tag"]
    assert tags == [f"<{n}_safe>{read.tags[n]}</{n}_safe>" for n in TAG_NAMES]


def test_a_flood_of_marks_is_split_in_no_time() -> None:
    response = "<think><visual_safe>safe</visual_safe></think><answer>" * 20_000
    assert "".join(part.text for part in parts(response)) == response


def test_the_last_row_of_a_key_counts(tmp_path: Path) -> None:
    rows = [generation(status="error", response="", problem="no reply"), generation()]
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), rows)))
    assert [row["status"] for row in page.rows] == ["done"]


def test_samples_beyond_the_limit_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [generation(i, mode) for mode in ("guided", "direct") for i in range(10)]
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), rows), max_samples=6))
    ids = [page.json["index"]["items"][item][1] for item in page.json["index"]["item"]]
    assert ids == ["q0", "q0", "q3", "q3", "q6", "q6"]
    assert "6 of 20 answers" in page.text


def test_items_are_the_same_in_every_run(tmp_path: Path) -> None:
    runs = [
        evaluation(tmp_path / name, metrics(), [generation(i) for i in order])
        for name, order in (("a", range(50)), ("b", reversed(range(50))))
    ]
    page = Page(write_report(*runs, max_samples=20))
    assert page.facet("run") == [["a"], ["b"]] * 10


def test_disagreements_are_found(tmp_path: Path) -> None:
    base = evaluation(tmp_path / "base", metrics(), [generation()], [judgement()])
    rows = [generation(0, mode) for mode in ("guided", "direct")]
    said = [
        judgement(refused=False, safe=False),
        judgement(scorer="rubric", refused=True, safe=False),
        judgement(0, "direct", refused=True, safe=True),
    ]
    page = Page(write_report(base, evaluation(tmp_path / "run", metrics(), rows, said)))
    assert page.facet("odd") == [
        [],
        ["scorers differ: refused", "guided and direct differ", "differs from the baseline"],
        ["guided and direct differ"],
    ]


def test_other_items_of_the_same_id_are_not_put_beside_each_other(tmp_path: Path) -> None:
    base = evaluation(tmp_path / "base", metrics(), [generation(content="a" * 16)], [judgement()])
    said = judgement(refused=False, safe=False)
    other = generation(content="b" * 16, item={"prompt": "Another?"})
    page = Page(write_report(base, evaluation(tmp_path / "run", metrics(), [other], [said])))
    assert page.json["index"]["item"] == [0, 1]
    assert page.json["index"]["items"][1][2] == "Another?"
    assert page.facet("odd") == [[], []]


def test_a_judge_that_failed_agrees_and_disagrees_with_nobody(tmp_path: Path) -> None:
    said = [judgement(), judgement(scorer="rubric", status="unparseable", safe=None, refused=None)]
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), [generation()], said)))
    assert page.facet("odd") == [[]]
    assert page.facet("status") == [["answer: done", "rules: scored", "rubric: unparseable"]]


@pytest.mark.parametrize("odd", [None, 3, "word", [1, None], {"a": [{}]}, True, 1e300])
def test_fields_of_the_wrong_kind_stop_nothing(tmp_path: Path, odd: object) -> None:
    item = dict.fromkeys(("category", "subset", "expected", "tags", "twin", "prompt", "notes"), odd)
    fields = ("response", "problem", "images", "finish", "prompt_tokens", "steps")
    row = generation(item=item | {"key": {"kind": "yes_no"}}) | dict.fromkeys(fields, odd)
    flags = ("label", "safe", "refused", "score", "answer", "tags", "faults", "reason", "correct")
    said = judgement(**dict.fromkeys(flags, odd))
    runs = [evaluation(tmp_path / name, metrics(), [row], [said]) for name in "ab"]
    assert len(Page(write_report(*runs)).rows) == 2


def test_what_was_judged_is_not_repeated_where_the_response_holds_it(tmp_path: Path) -> None:
    said = [judgement(), judgement(scorer="rubric", answer="something else")]
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), [generation()], said)))
    assert [one.get("answer") for one in page.rows[0]["judgements"]] == [None, "something else"]


def test_a_prompt_that_most_items_share_makes_way_for_the_intent(tmp_path: Path) -> None:
    rows = [
        generation(0, item={"prompt": "The same?", "notes": {"intent": "do the made-up  thing"}}),
        generation(1, item={"prompt": "The same?"}),
        generation(2, item={"prompt": "Another?"}),
    ]
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), rows)))
    assert page.json["index"]["items"] == [
        ["set", "q0", "do the made-up thing", "Made-up harm"],
        ["set", "q1", "", "Made-up harm"],
        ["set", "q2", "Another?"],
    ]


def test_benchmarks_are_filtered_by_their_titles(tmp_path: Path) -> None:
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), [generation()])))
    assert page.facet("benchmark") == [["The Set"]]
    assert page.json["index"]["items"][0][0] == "set"  # for links


def test_answers_to_questions_are_right_or_wrong(tmp_path: Path) -> None:
    rows = [generation(i, item={"expected": "answer"}) for i in range(3)]
    said = [
        judgement(i, label=f"{i}", correct=right) for i, right in enumerate((True, False, None))
    ]
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), rows, said)))
    assert page.facet("verdict") == [["rules: right"], ["rules: wrong"], ["rules: 2"]]
    assert [row["judgements"][0]["label"] for row in page.rows] == ["0", "1", "2"]


@pytest.mark.parametrize(("expected", "key"), [("refuse", None), ("answer", "A")])
def test_what_is_to_be_refused_has_no_right_answer(
    tmp_path: Path, expected: str, key: str | None
) -> None:
    row = generation(item={"expected": expected, "key": {"right": "A", "choices": ["x", "y"]}})
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), [row])))
    assert page.json["texts-0"]["items"][0].get("key") == key


def test_a_judge_is_named_without_its_place(tmp_path: Path) -> None:
    said = [judgement(), judgement(scorer="rubric", judge="/secret/models/judge-x")]
    page = Page(write_report(evaluation(tmp_path / "run", metrics(), [generation()], said)))
    assert [one.get("judge") for one in page.rows[0]["judgements"]] == [None, "judge-x"]


def test_image_is_drawn_anew_and_shared(tmp_path: Path) -> None:
    runs = [evaluation(tmp_path / name, metrics(), [generation()]) for name in "ab"]
    page = Page(write_report(*runs))
    assert [row["images"] for row in page.rows] == [[[0, 0]], [[0, 0]]]
    (url,) = page.json["images-0"]
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert (picture.format, picture.size) == ("PNG", (8, 6))


def test_images_outside_the_run_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    run = evaluation(tmp_path / "run", metrics())
    (run / "images" / "link.png").symlink_to(secret)
    (run / "images" / "bad.svg").write_text("<svg onload='x'/>")
    names = ["../../secret.png", str(secret), "link.png", "none.png", "https://a.b/c.png"]
    names += ["bad.svg", "data:image/png;base64,AAAA"]
    (run / "generations.jsonl").write_text(json.dumps(generation(images=names)) + "\n")
    page = Page(write_report(run))
    (row,) = page.rows
    assert "images" not in row
    assert len(row["missing"]) == len(names)
    assert "images-0" not in page.json
    assert f"{tmp_path}/run/" not in json.dumps(row)


def test_no_images_if_so_asked(tmp_path: Path) -> None:
    run = evaluation(tmp_path / "run", metrics(), [generation()])
    page = Page(write_report(run, image_budget=0))
    assert "images-0" not in page.json
    assert "images are left out, as was asked for" in page.text


def noise(folder: Path, count: int) -> list[tuple[str, str]]:
    for i in range(count):
        Image.effect_noise((400, 300), 90 + i).save(folder / f"{i}.png")
    return [("run", f"{i}.png") for i in range(count)]


def test_images_shrink_to_fit_the_budget(tmp_path: Path) -> None:
    names = noise(tmp_path, 6)
    wide = draw(names, {"run": tmp_path}, 2**24)
    size = sum(len(base64.b64decode(u.partition(",")[2])) for b in wide.blocks for u in b)
    small = draw(names, {"run": tmp_path}, size // 2)
    assert wide.side == 320
    assert 96 <= small.side < 320
    assert small.unfit == 0


def test_what_does_not_fit_at_the_smallest_is_counted(tmp_path: Path) -> None:
    found = draw(noise(tmp_path, 6), {"run": tmp_path}, 6_000)
    assert found.side == 96
    assert 0 < found.unfit < 6
    assert sum(isinstance(place, str) for place in found.places.values()) == found.unfit
