import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import safegrpo.report as report
from safegrpo.errors import DataError, InputFileError
from safegrpo.report import read_run, write_report
from safegrpo.report.html import script_json
from safegrpo.report.plots import Series, curves, line_plot, nice_ticks, running_mean, thin

EVIL = "</script><img src=x onerror=alert(1)><!--\"'&\u2028"
VOID = {"meta", "img", "br", "input", "link"}


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and text by element."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text += data + " "

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])


def measure(**values: Any) -> dict[str, Any]:
    side = {
        "safety": 0.8,
        "twin_accuracy": 0.5,
        "over_refusal": 0.1,
        "tag_accuracy": {"visual": 1.0, "text": 1.0, "combined": 0.75},
        "n": {"safety": 10, "twin_accuracy": 4, "over_refusal": 10, "tag_accuracy": 20},
    } | values
    return {"guided": side, "direct": side | {"tag_accuracy": None}}


def summary(**extra: Any) -> dict[str, Any]:
    base = {
        "before": measure(safety=0.0),
        "after": measure(),
        "seconds": {"load": 1.5, "train": 233.4},
        "steps": 40,
        "seed": 7,
        "rules": "strict",
    }
    return base | extra


def sample(**values: Any) -> dict[str, Any]:
    base = {
        "id": "a1",
        "phase": "before",
        "mode": "guided",
        "kind": "twin",
        "prompt": "May a baby have this?",
        "images": ["a.png"],
        "response": "<think>t</think><answer>No.</answer>",
        "target": {"visual": "safe", "text": "safe", "combined": "unsafe"},
        "tags": {"visual": "safe", "text": None, "combined": "safe"},
        "answer": "No.",
        "expected": None,
        "verdict": "compliance",
        "correct": False,
        "reward": 0.25,
        "faults": ["combined"],
    }
    return base | values


def make_run(
    folder: Path,
    summary_data: Any = None,
    metrics: list[dict[str, Any]] | None = None,
    samples: list[dict[str, Any]] | None = None,
) -> Path:
    folder.mkdir(exist_ok=True)
    if summary_data is not None:
        (folder / "summary.json").write_text(json.dumps(summary_data))
    for name, rows in (("metrics.jsonl", metrics), ("samples.jsonl", samples)):
        if rows is not None:
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    Image.new("RGB", (8, 6), (200, 30, 30)).save(folder / "a.png")
    return folder


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


METRICS = [{"step": i, "reward": i / 10, "kl": 0.01, "format_rate": 1.0} for i in range(1, 6)]


def test_whole_run_gives_a_well_formed_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", summary(), METRICS, [sample(), sample(phase="after")])
    page = page_of(run)
    assert page.open == []
    assert page.count("table") == 1
    assert page.count("figure") == 3
    assert [row["phase"] for row in page.data["rows"]] == ["before", "after"]
    assert not list(run.glob(".*.tmp"))


def test_output_path_is_respected(tmp_path: Path) -> None:
    out = write_report(make_run(tmp_path / "run", summary()), tmp_path / "page.html")
    assert out == tmp_path / "page.html"
    assert out.exists()
    assert not (tmp_path / "run" / "report.html").exists()


def test_rates_stand_with_interval_and_n(tmp_path: Path) -> None:
    text = page_of(make_run(tmp_path / "run", summary())).text
    assert "49.0–94.3" in text  # Wilson of 8/10
    assert "n\xa010" in text
    assert "+80.0" in text


def test_over_refusal_is_better_when_lower(tmp_path: Path) -> None:
    counts = {"over_refusal": 100}
    data = summary(
        before={"guided": {"over_refusal": 0.5, "n": counts}},
        after={"guided": {"over_refusal": 0.1, "n": counts}},
    )
    page = page_of(make_run(tmp_path / "run", data))
    changes = [a["class"] for _, a in page.elements if "change" in (a.get("class") or "").split()]
    assert changes == ["change better", "change better"]  # headline and table


def test_change_within_noise_is_not_coloured(tmp_path: Path) -> None:
    data = summary(before=measure(safety=0.7), after=measure(safety=0.8))
    page = page_of(make_run(tmp_path / "run", data))
    classes = {a["class"] for _, a in page.elements if (a.get("class") or "").startswith("change")}
    assert classes == {"change unsure"}


def test_page_asks_for_nothing_from_outside(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", summary(), METRICS, [sample()]))
    for _, attributes in page.elements:
        assert not {"src", "href", "srcset", "action", "xlink:href", "style"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    css = (Path(report.__file__).parent / "assets" / "report.css").read_text()
    assert "url(" not in css
    assert "@import" not in css
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_script_writes_text_only_and_cannot_end_early() -> None:
    script = (Path(report.__file__).parent / "assets" / "report.js").read_text()
    banned = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttp|import\("
    )
    assert not re.search(banned, script)
    assert "</script" not in script.lower()
    assert "<!--" not in script


def test_hostile_text_in_every_field_adds_no_element(tmp_path: Path) -> None:
    def shape(folder: str, text: str) -> tuple[list[str], Page]:
        row = sample(
            **{key: text for key in ("id", "kind", "prompt", "response", "answer", "expected")},
            phase=text, mode=text, verdict=text, faults=[text], images=["a.png", text],
            target={"visual": text}, tags={"text": text},
        )  # fmt: skip
        side = {text: 0.5, "safety": text, "tag_accuracy": {text: 0.5}}
        side["n"] = {text: 4, "tag_accuracy": {text: 4}}
        data = summary(rules=text, model={text: text}, after={"guided": side}, **{text + "k": text})
        metrics = [{"step": i, "reward": 0.1, text: 0.5, f"eval/{text}/x": 0.5} for i in (1, 2)]
        run = make_run(tmp_path / folder, data, metrics, [row])
        for name in ("manifest.json", "config.yaml"):
            (run / name).write_text(text)
        page = page_of(run)
        return [tag for tag, _ in page.elements], page

    tame, _ = shape("tame", "tame")
    evil, page = shape("evil", EVIL)
    assert evil == tame
    assert page.count("img") == 0
    assert page.data["rows"][0]["response"] == EVIL


def test_embedded_json_holds_no_markup_and_reads_back() -> None:
    value = {"a": "<&>\u2028\u2029</script>"}
    text = script_json(json.dumps(value, ensure_ascii=False))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_lone_surrogates_do_not_stop_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", summary(rules="\ud800"), None, [sample(response="\udfff")])
    assert write_report(run).exists()


def test_training_log_alone_gives_curves_and_no_table(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", None, METRICS)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "rew')  # what a crash leaves
    page = page_of(run)
    assert page.count("table") == 0
    assert page.count("figure") == 3
    assert "up to step 5" in page.text


def test_every_line_of_a_plot_is_named() -> None:
    """Also where the numbers of one group are shared out over several plots."""
    names = [f"rate_{i}" for i in range(7)]
    history = [{"step": step, **{f"eval/guided/{n}": 0.5 for n in names}} for step in (1, 2)]
    [(_, figures)] = curves(history, [])
    assert len(figures) == 2
    page = "".join(figures)
    assert all(name.replace("_", " ") in page for name in names)


def test_summary_alone_gives_the_table(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", summary()))
    assert page.count("table") == 1
    assert page.count("figure") == 0


def test_one_unreadable_file_is_named_on_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", None, METRICS)
    (run / "summary.json").write_text("{")
    text = page_of(run).text
    assert "summary.json cannot be read" in text
    assert str(tmp_path) not in text


def test_no_folder_and_no_run_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputFileError, match=r"neither summary\.json nor metrics\.jsonl"):
        write_report(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"before": 1}', "[" * 100_000])
def test_nothing_readable_is_a_data_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    (tmp_path / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(DataError, match="can be reported"):
        write_report(tmp_path)


def test_impossible_numbers_are_left_out_and_said(tmp_path: Path) -> None:
    data = summary(after=measure(safety=1.5, usefulness=0.5))  # usefulness has no n
    metrics = [{"step": 1, "reward": float("nan")}, {"step": 2, "reward": 10**400, "kl": 1e-320}]
    run = read_run(make_run(tmp_path / "run", data, metrics))
    assert run.summary is not None
    assert "safety" not in run.summary.after["guided"]
    assert any("after/guided/safety" in note for note in run.notes)
    assert any("after/guided/usefulness" in note for note in run.notes)
    assert run.history == ({"step": 1.0}, {"step": 2.0, "kl": 1e-320})
    page_of(tmp_path / "run")


def test_image_is_drawn_anew_and_shared(tmp_path: Path) -> None:
    rows = [sample(), sample(phase="after")]
    run = read_run(make_run(tmp_path / "run", summary(), None, rows))
    (url,) = run.images.values()
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert (picture.format, picture.size) == ("PNG", (8, 6))
    assert [row.images for row in run.samples] == [("i0",), ("i0",)]


def test_data_url_is_decoded_and_drawn_anew(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, "BMP")
    body = base64.b64encode(buffer.getvalue()).decode()
    run = make_run(tmp_path / "r", summary(), None, [sample(images=[f"data:x/y;base64,{body}"])])
    assert read_run(run).images["i0"].startswith("data:image/png;base64,")


def test_images_outside_the_run_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    run = make_run(tmp_path / "run", summary())
    (run / "link.png").symlink_to(secret)
    svg = "data:image/svg+xml;base64," + base64.b64encode(b"<svg onload='x'/>").decode()
    images = ["../secret.png", str(secret), "link.png", "none.png", "https://a.b/c.png", svg, 3]
    (run / "samples.jsonl").write_text(json.dumps(sample(images=images)) + "\n")
    page = page_of(run)
    (row,) = page.data["rows"]
    assert row["images"] == []
    assert len(row["missing"]) == len(images)
    assert page.data["images"] == {}
    assert f"{tmp_path}/run/" not in json.dumps(row)


def test_samples_beyond_the_cap_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_SAMPLES", 6)
    ids = [f"q{i}" for i in range(10)]
    rows = [sample(id=i, phase=p, images=[]) for p in ("before", "after") for i in ids]
    page = page_of(make_run(tmp_path / "run", summary(), None, rows))
    assert [row["id"] for row in page.data["rows"]] == ["q0", "q0", "q3", "q3", "q6", "q6"]
    assert "6 of 20 answers" in page.text


def test_evaluation_rows_are_grouped_by_mode(tmp_path: Path) -> None:
    rows = [
        {"step": s, "eval/guided/safety": 0.5, "eval/guided/twin_accuracy": 0.1,
         "eval/direct/safety": 0.4, "eval/guided/twin_accuracy_by_kind/note": 0.2}
        for s in (0, 10)
    ]  # fmt: skip
    text = page_of(make_run(tmp_path / "run", None, rows)).text
    for title in ("Held out, guided ", "Held out, direct ", "guided: twin accuracy by kind"):
        assert title in text


def test_thinning_keeps_the_mean_and_smoothing_keeps_a_constant() -> None:
    points = tuple((float(i), float(i % 7)) for i in range(2400))
    assert len(thin(points)) == 240
    assert sum(y for _, y in thin(points)) / 240 == pytest.approx(sum(y for _, y in points) / 2400)
    flat = tuple((float(i), 2.0) for i in range(50))
    assert running_mean(flat, 9) == flat


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.2, 0.21), (-3, 5), (2, 2), (0, 0), (1e-320, 1e-319), (-1e99, 1e99)]
)
def test_ticks_enclose_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1] * (1 + 1e-12)
    assert 2 <= len(ticks) <= 9


def test_single_point_is_drawn() -> None:
    assert "<circle" in line_plot("reward", [Series("reward", ((1.0, 0.5),))])
