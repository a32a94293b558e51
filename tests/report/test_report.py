"""The page of runs: what stands on it, what is left out and said, and that all text stays text."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import safegrpo.report as report
from safegrpo.errors import DataError, InputFileError
from safegrpo.report import write_report
from safegrpo.report.html import SCRIPTS
from safegrpo.report.runs import read_runs
from safegrpo.report.text import script_json, visible
from tests.report.run_folder import (
    Page,
    evaluation,
    figure,
    generation,
    judgement,
    metrics,
    write_rows,
)

EVIL = "</script><img src=x onerror=alert(1)><!--\"'&\u2028\x1b[31m"
HISTORY = [{"step": i, "reward": i / 10, "kl": 0.01, "format_rate": 1.0} for i in range(1, 6)]


def both(folder: Path, before: Any = None, after: Any = None, rows: int = 2) -> Path:
    """A training run with an evaluation before and after it."""
    for name, figures in (("before", before or metrics(0.2)), ("after", after or metrics(0.9))):
        numbers = range(rows)
        evaluation(
            folder / "eval" / name,
            figures,
            [generation(i, mode) for i in numbers for mode in ("guided", "direct")],
            [judgement(i, mode, refused=name == "after", safe=name == "after")
             for i in numbers for mode in ("guided", "direct")],
        )  # fmt: skip
    write_rows(folder / "metrics.jsonl", HISTORY)
    return folder


def test_a_training_run_with_evaluations_is_a_whole_page(tmp_path: Path) -> None:
    page = Page(write_report(both(tmp_path / "run")))
    assert page.open == []
    for place in ("summary", "tradeoff", "benchmarks", "tags", "training", "cost", "samples"):
        assert ("section", {"id": place}) in page.elements
    assert page.facet("run") == [["before"], ["before"], ["after"], ["after"]] * 2
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_output_path_is_respected(tmp_path: Path) -> None:
    run = evaluation(tmp_path / "run", metrics())
    out = write_report(run, output=tmp_path / "page.html")
    assert out == tmp_path / "page.html"
    assert out.exists()
    assert not (run / "report.html").exists()


def test_folders_are_not_made_for_a_page(tmp_path: Path) -> None:
    run = evaluation(tmp_path / "run", metrics())
    with pytest.raises(InputFileError, match=r"folder .*deep does not exist; make it first"):
        write_report(run, output=tmp_path / "deep" / "page.html")
    assert not (tmp_path / "deep").exists()


def test_rates_stand_with_interval_n_and_what_coverage_leaves_open(tmp_path: Path) -> None:
    text = Page(write_report(evaluation(tmp_path / "run", metrics(0.8, n=10)))).text
    assert "49.0–94.3" in text  # Wilson of 8/10
    assert "n\xa010" in text
    assert "coverage 28.6\xa0%, between 2.9 and 74.3" in text  # 1 of 10 judged, of 35 items


def test_the_first_of_several_runs_is_the_baseline(tmp_path: Path) -> None:
    runs = [evaluation(tmp_path / name, metrics()) for name in ("one", "two")]
    found = read_runs(runs)
    assert found.baseline is found.evaluations[0]
    assert read_runs(runs[:1]).baseline is None


def test_a_demo_is_compared_with_what_was_before(tmp_path: Path) -> None:
    found = read_runs([both(tmp_path / "run")])
    assert [one.name for one in found.evaluations] == ["before", "after"]
    assert found.baseline is found.evaluations[0]


def test_a_baseline_that_is_none_of_the_runs_comes_first(tmp_path: Path) -> None:
    base = evaluation(tmp_path / "base", metrics())
    found = read_runs([evaluation(tmp_path / "tuned", metrics())], base)
    assert [one.name for one in found.evaluations] == ["base", "tuned"]
    assert found.baseline is found.evaluations[0]


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [evaluation(tmp_path / place / "run", metrics()) for place in ("a", "b")]
    assert [one.name for one in read_runs(runs).evaluations] == ["run", "run (2)"]


def change_words(page: Page) -> list[str]:
    return re.findall(r"([▲▼=]) \S+\s+(better|worse|may be chance|changed)", page.text)


def test_a_change_is_told_by_sign_and_word(tmp_path: Path) -> None:
    runs = [
        evaluation(tmp_path / "a", metrics(0.2, 0.5)),
        evaluation(tmp_path / "b", metrics(0.9, 0.1)),
    ]
    words = change_words(Page(write_report(*runs)))
    assert set(words) == {("▲", "better"), ("▼", "better")}  # over-refusal is better when lower


def test_change_within_noise_may_be_chance(tmp_path: Path) -> None:
    runs = [evaluation(tmp_path / name, metrics(rate)) for name, rate in (("a", 0.5), ("b", 0.52))]
    assert ("▲", "may be chance") in change_words(Page(write_report(*runs)))


def test_answers_to_the_same_questions_are_compared_as_pairs(tmp_path: Path) -> None:
    run = both(tmp_path / "run", metrics(0.0, n=30), metrics(1.0, n=30), rows=30)
    text = Page(write_report(run)).text
    assert "▲ +100.0  better" in text
    assert "p < 0.001 · 30 in both" in text
    assert "taken as independent" in text  # over-refusal, of which no answer speaks


def test_page_asks_for_nothing_from_outside(tmp_path: Path) -> None:
    page = Page(write_report(both(tmp_path / "run")))
    for _, attributes in page.elements:
        assert not {"src", "srcset", "action", "xlink:href", "style"} & set(attributes)
        assert str(attributes.get("href", "#")).startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    css = (Path(report.__file__).parent / "page.css").read_text()
    assert "url(" not in css
    assert "@import" not in css
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_headings_descend_without_gaps(tmp_path: Path) -> None:
    page = Page(write_report(both(tmp_path / "run")))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_writes_text_only_and_cannot_end_early(name: str) -> None:
    script = (Path(report.__file__).parent / name).read_text()
    banned = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttp|import\("
    )
    assert not re.search(banned, script)
    assert "</script" not in script.lower()
    assert "<!--" not in script


def hostile(folder: Path, text: str, name: str) -> Path:
    """A run with `text` in every field that somebody else writes."""
    one = metrics()["benchmarks"]["set"]
    one |= {"title": text, "measures": text, "licence": text, "headline": [text, "safety"]}
    one["skipped"] = {text: 1}
    scored = one["modes"]["guided"]["scorers"]["rules"]
    scored["metrics"][text] = figure(0.5, 10)
    scored["categories"] = {text: {"safety": figure(0.5, 10), text: figure(0.5, 10)}}
    one["modes"] = {text: {**one["modes"]["guided"], "scorers": {text: scored}}, "guided":
                    one["modes"]["guided"]}  # fmt: skip
    figures = metrics(model=text, modes=[text], benchmarks={text: one, "broken" + text: 3})
    item = {key: text for key in ("category", "subset", "expected", "twin", "prompt")}
    item |= {"tags": {text: text}, "notes": {text: text}, "key": {"right": text, "choices": [text]}}
    ids = {"benchmark": text, "id": text, "mode": text}
    rows = [
        generation(**ids, item=item, response=text, images=[text, "a.png"], finish=text,
                   problem=text, steps={text: text}),
        generation(**ids | {"mode": "guided"}, item=item, images=[],
                   response=f"<think>{text}<visual_safe>safe</visual_safe></think>{text}"),
    ]  # fmt: skip
    said = judgement(**ids, scorer=text, label=text, answer=text, tags={text: text, "combined":
                     text}, faults=[text], reason=text, problem=text)  # fmt: skip
    run = evaluation(folder / name, figures, rows, [said])
    for file in ("manifest.json", "config.yaml"):
        (run / file).write_text(text)
    (run / "summary.json").write_text(json.dumps({text: text, "seconds": {text: 1.0}}))
    write_rows(run / "metrics.jsonl", [{"step": i, "reward": 0.1, text: 0.5} for i in (1, 2)])
    return run


def test_hostile_text_in_every_field_adds_no_element(tmp_path: Path) -> None:
    tame = Page(write_report(hostile(tmp_path, "tame", "run")))
    name = EVIL.replace("/", "")
    evil = Page(write_report(hostile(tmp_path, EVIL, name), output=tmp_path / "evil.html"))
    assert [tag for tag, _ in evil.elements] == [tag for tag, _ in tame.elements]
    assert evil.count("img") == 0
    assert evil.rows[0]["parts"] == [["answer", visible(EVIL)]]


def test_embedded_json_holds_no_markup_and_reads_back() -> None:
    value = {"a": "<&>\u2028\u2029</script>"}
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_unseen_characters_are_shown() -> None:
    said = visible("a\x1b[31m\r\n\tb\u202ec\x9b\ud800")
    assert said == "a\u241b[31m\n\tb\\u202ec\\x9b\\ud800".replace("\\x9b", "\\u009b")


def test_lone_surrogates_do_not_stop_the_page(tmp_path: Path) -> None:
    rows = [generation(response="\udfff", item={"prompt": "\ud800"})]
    assert write_report(evaluation(tmp_path / "run", metrics(), rows)).exists()


def test_training_log_alone_gives_curves_and_no_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "metrics.jsonl", HISTORY)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "rew')  # what a crash leaves
    page = Page(write_report(tmp_path))
    assert page.count("table") == 0
    assert page.count("figure") == 3
    assert "up to step 5" in page.text


def test_numbers_alone_give_tables_and_no_answers(tmp_path: Path) -> None:
    page = Page(write_report(evaluation(tmp_path / "run", metrics())))
    assert ("section", {"id": "summary"}) in page.elements
    assert ("section", {"id": "samples"}) not in page.elements


def test_links_lead_to_what_is_there(tmp_path: Path) -> None:
    for name, run in {
        "numbers": evaluation(tmp_path / "a", metrics()),
        "answers": evaluation(tmp_path / "b", None, [generation()]),
    }.items():
        page = Page(write_report(run))
        links = {str(a["href"])[1:] for tag, a in page.elements if tag == "a"}
        assert links <= {a.get("id") for _, a in page.elements}, name


def first_metrics(page: Page) -> list[str]:
    """The metrics of the summary, in order."""
    return re.findall(
        r"(Attack success|Safety|Over-refusal|Usefulness)\s+\w+ \w+ [^·]*? Guided · rules",
        page.text.partition("How to read this")[0],
    )


def test_a_set_that_names_no_headline_has_a_summary_all_the_same(tmp_path: Path) -> None:
    figures = metrics()
    one = figures["benchmarks"]["set"]
    one["headline"] = []
    found = one["modes"]["guided"]["scorers"]["rules"]["metrics"]
    found |= {"attack_success": figure(0.5, 10, "lower"), "refusal": figure(0.5, 10, "neither")}
    page = Page(write_report(evaluation(tmp_path / "run", figures)))
    assert first_metrics(page) == ["Attack success", "Safety", "Over-refusal"]


def test_a_metric_is_named_once_for_all_its_modes_and_scorers(tmp_path: Path) -> None:
    figures = metrics()
    for mode in figures["benchmarks"]["set"]["modes"].values():
        mode["scorers"]["rubric"] = mode["scorers"]["rules"] | {"judge": "j"}
    page = Page(write_report(evaluation(tmp_path / "run", figures)))
    text = page.text.partition("How to read this")[0]
    assert text.count("harmful pairs not helped with") == 1
    assert text.count("Guided · rubric by j") == 2  # of safety and of over-refusal
    assert [a["rowspan"] for _, a in page.elements if "rowspan" in a][:2] == ["4", "4"]


def test_full_coverage_is_not_told(tmp_path: Path) -> None:
    text = Page(write_report(evaluation(tmp_path / "run", metrics(n=10)))).text
    assert "coverage 100" not in text
    assert "coverage 28.6" in text


def test_answers_that_were_cut_or_say_nothing_are_seen(tmp_path: Path) -> None:
    figures = metrics(n=50)
    modes = figures["benchmarks"]["set"]["modes"]
    modes["guided"] = modes["guided"] | {"cut": 50, "empty": 2}
    modes["direct"] = modes["direct"] | {"cut": 1, "empty": 0}  # 2 % are not many
    runs = [evaluation(tmp_path / "a", figures), evaluation(tmp_path / "b", metrics(n=50))]
    alone = Page(write_report(runs[0])).text
    assert "Guided: 50 of 50 responses cut at the limit: their answers end early or" in alone
    assert "Guided: 2 of 50 responses empty: they say nothing" in alone
    assert "Direct: 1 of 50" not in alone
    assert re.search(r"The Set\s+a · Guided\s+50\s+2\s+50\s+2 ", alone)  # the cost
    both = Page(write_report(*runs)).text
    assert "a, Guided: 50 of 50" in both
    assert "b, Guided" not in both
    assert re.search(r"The Set\s+b · Guided\s+50\s+2\s+–\s+–", both)  # nobody counted


def test_stated_tags_are_a_row_a_run_and_mode(tmp_path: Path) -> None:
    runs = [evaluation(tmp_path / name, metrics()) for name in "ab"]
    page = Page(write_report(*runs))
    text = page.text.partition("Stated tags")[2].partition("Cost")[0]
    assert text.count("Together") == 1
    assert re.findall(r"The Set\s+([ab] · \w+)", text) == [
        "a · Guided", "a · Direct", "b · Guided", "b · Direct"
    ]  # fmt: skip
    assert re.search(r"85\xa0%\s+41/48\s+75\xa0%\s+3/4\s+10\xa0%\s+5/52", text)


def test_sets_of_one_title_are_told_apart(tmp_path: Path) -> None:
    one = metrics()["benchmarks"]["set"]
    run = evaluation(tmp_path / "run", metrics(benchmarks={"x": one, "y": one}))
    assert read_runs([run]).titles == {"x": "The Set (x)", "y": "The Set (y)"}


def test_answers_alone_are_shown_and_that_is_said(tmp_path: Path) -> None:
    page = Page(write_report(evaluation(tmp_path / "run", None, [generation()])))
    assert len(page.rows) == 1
    assert "there is no metrics.json" in page.text


def test_unreadable_files_are_named_on_the_page_without_their_place(tmp_path: Path) -> None:
    run = evaluation(tmp_path / "run", metrics(), [generation()], [judgement()])
    (run / "metrics.json").write_text("{")
    for file in ("generations.jsonl", "judgements.jsonl"):
        with (run / file).open("a") as rows:
            rows.write("nonsense\n")
    page = Page(write_report(run))
    assert "metrics.json cannot be read" in page.text
    assert "generations.jsonl is shown up to line 1" in page.text
    assert "judgements.jsonl is shown up to line 1" in page.text
    assert str(tmp_path) not in page.text
    assert len(page.rows) == 1


def test_impossible_numbers_leave_their_benchmark_out_and_are_said(tmp_path: Path) -> None:
    figures = metrics()
    bad = metrics()["benchmarks"]["set"]
    bad["modes"]["guided"]["scorers"]["rules"]["metrics"]["safety"]["value"] = 1.5
    figures["benchmarks"]["bad"] = bad
    found = read_runs([evaluation(tmp_path / "run", figures)])
    assert list(found.evaluations[0].figures.benchmarks) == ["set"]
    assert "benchmark bad is left out" in found.notes[0]
    assert "safety/value" in found.notes[0]


def test_curves_leave_out_what_cannot_be_drawn(tmp_path: Path) -> None:
    rows = [{"step": 1, "reward": float("nan")}, {"step": 2, "reward": 10**400, "kl": 1e-320}]
    write_rows(tmp_path / "metrics.jsonl", rows)
    (run,) = read_runs([tmp_path]).trainings
    assert run.history == ({"step": 1.0}, {"step": 2.0, "kl": 1e-320})
    assert write_report(tmp_path).exists()


def test_a_part_of_a_set_is_told_as_one(tmp_path: Path) -> None:
    part, whole = metrics(n=40), metrics(n=40)
    part["benchmarks"]["set"]["size"] = 500
    whole["benchmarks"]["set"]["size"] = 40
    runs = [evaluation(tmp_path / n, one) for n, one in (("part", part), ("whole", whole))]
    alone = Page(write_report(runs[0])).text
    assert alone.count("made-up harm, 40 of 500 items of the set") == 2
    assert "of the set" not in Page(write_report(runs[1])).text
    both = Page(write_report(*runs)).text
    assert "part: 40 of 500 items of the set; whole: 40 items" in both


def test_why_there_is_no_trade_off_is_said(tmp_path: Path) -> None:
    figures = metrics()
    modes = figures["benchmarks"]["set"]["modes"]
    rules = modes["guided"]["scorers"]["rules"]
    scorers = {name: rules | {"metrics": {one: rules["metrics"][one]}}
               for name, one in (("rubric", "safety"), ("rules", "over_refusal"))}  # fmt: skip
    modes["guided"] = modes["direct"] = modes["guided"] | {"scorers": scorers}
    page = Page(write_report(evaluation(tmp_path / "run", figures)))
    assert page.count("figure") == 0
    assert "Not drawn: no one scorer has told safety and over-refusal" in page.text


def test_no_folder_and_no_run_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputFileError, match=r"holds no metrics\.json, generations\.jsonl"):
        write_report(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2, "benchmarks": {}}', "[" * 100_000])
def test_nothing_readable_is_a_data_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    (tmp_path / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(DataError, match="can be reported"):
        write_report(tmp_path)
