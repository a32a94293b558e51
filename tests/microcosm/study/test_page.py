"""From result files to the page: tables, claims and costs."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from safegrpo.errors import DataError
from safegrpo.microcosm.study.clusters import combinations
from safegrpo.microcosm.study.compared import (
    BOTH,
    ONCE,
    comparison_table,
    harder_comparisons,
    verdict,
)
from safegrpo.microcosm.study.cost import Cost, cost_table, ratio_table
from safegrpo.microcosm.study.hypothesis import (
    carried,
    carried_table,
    hypothesis,
    hypothesis_table,
    reached,
)
from safegrpo.microcosm.study.page import render
from safegrpo.microcosm.study.pattern import TESTED, Check, claims, decide, pattern
from safegrpo.microcosm.study.results import Result, read_results, write_result
from safegrpo.microcosm.study.rows import load_rows, recipes_folder
from safegrpo.microcosm.study.statistics import ALPHA, Comparison, mean_interval
from safegrpo.microcosm.study.study import HOME, Study
from safegrpo.microcosm.study.tables import (
    controls_table,
    forced_table,
    main_table,
    points,
    rows_table,
    slices_table,
)
from tests.microcosm.study.made_up import BAD, GOOD, HOMES, ROWS, SFT, asked, data, lines, write


@dataclass(frozen=True)
class Shown:
    """A row as the page wants to know of it."""

    title: str
    home: str
    about: str = "what it is"
    seeds: int = 10

    def seed_numbers(self) -> range:
        return range(1000, 1000 + self.seeds)


@dataclass(frozen=True)
class ShownSweep:
    title: str
    axis: str = "value"


SHOWN = {name: Shown(title, HOMES[name]) for name, title in ROWS}


def test_every_row_stands_in_its_own_mode(study: Study) -> None:
    assert [line[:2] for line in lines(main_table(study, HOME))] == [
        ["Base model", "direct"],
        ["VLGuard's way", "direct"],
        ["Ours", "guided"],
    ]


def test_a_mode_has_the_rows_that_were_asked_in_it(study: Study) -> None:
    assert [line[0] for line in lines(main_table(study, "guided"))] == ["VLGuard's way", "Ours"]
    assert main_table(study, "ecso") == ""


def test_a_cell_has_its_interval_and_the_table_its_units(study: Study) -> None:
    table = main_table(study, HOME)
    base = lines(table)[0]
    assert re.fullmatch(r"6\.2 \(\d+\.\d–\d+\.\d\)", base[6])  # twins
    assert base[-2:] == ["–", "–"]  # nothing was trained
    assert lines(table)[2][-1] == "10"
    assert "twins 80" in table


def test_rows_are_compared_metric_by_metric(study: Study) -> None:
    found = {line[0]: line[-1] for line in lines(comparison_table(study, "vlguard", "ours"))}
    assert found["over-refusal"] == found["general VQA"] == "better"
    assert found["safety"] in ("no worse", "unclear")
    back = {line[0]: line[-1] for line in lines(comparison_table(study, "ours", "vlguard"))}
    assert back["over-refusal"] == "worse"
    assert comparison_table(study, "ours", "nobody") == ""


def test_modes_of_one_row_can_be_compared(study: Study) -> None:
    table = comparison_table(study, "ours", "ours", ("direct", "guided"))
    assert lines(table)[0][-1] == "better"


def test_one_run_of_a_trained_row_does_not_stand_for_its_seeds(tmp_path: Path) -> None:
    write(tmp_path, "ours", 10, {"guided": GOOD})
    write(tmp_path, "published", 1, {"guided": BAD})
    found = Study(read_results(tmp_path), ROWS, {}).compared("published", "ours", "safety")
    assert found is not None
    assert (found.n_seeds, found.p) == (1, 1.0)


def test_items_of_the_microcosm_count_by_their_combinations(tmp_path: Path) -> None:
    names = combinations("test")["twin_accuracy"]
    marks = "".join("10"[name == names[0]] for name in names)
    made = {"guided": {"outcomes": {"twin_accuracy": marks}}}
    write_result(tmp_path, Result.from_json(data("ours", 1000, {}) | {"modes": made}, "made up"))
    study = Study(read_results(tmp_path), ROWS, HOMES)
    found = study.estimate("ours", "twin_accuracy", HOME)
    assert found == mean_interval({1000: marks}, names)
    assert found[1] < mean_interval({1000: marks})[1]
    assert "twins 212 (52)" in main_table(study, HOME)


def comparison(
    difference: float, low: float, high: float, p: float = 0.001, seeds: int = 10
) -> Comparison:
    return Comparison(0.5, 0.5 + difference, difference, low, high, p, p, 0.1, 1.0, seeds, 100, 100)


def test_a_difference_needs_the_test_and_the_interval() -> None:
    assert verdict(comparison(0.1, 0.05, 0.15), 0.01, "safety") == "better"
    assert verdict(comparison(0.1, 0.05, 0.15), 0.01, "over_refusal") == "worse"
    assert verdict(comparison(0.1, 0.05, 0.15), 0.20, "safety") == "no worse"
    assert verdict(comparison(0.1, -0.01, 0.15), 0.01, "safety") == "no worse"
    assert verdict(comparison(-0.01, -0.05, 0.03), 0.8, "safety") == "unclear"
    assert verdict(comparison(0.1, 0.05, 0.15, seeds=4), 1.0, "safety") == "too few seeds"


def test_points_have_no_negative_zero() -> None:
    assert points(comparison(-1e-9, -0.02, 0.0)) == "0.0 (-2.0 to 0.0)"


def test_claims_are_decided_by_interval_and_test() -> None:
    above = Check("above", "base", "ours", "safety")
    assert decide(above, comparison(0.1, 0.05, 0.15), 0.01) == "holds"
    assert decide(above, comparison(0.1, 0.05, 0.15), 0.10) == "unclear"
    assert decide(above, comparison(0.0, -0.01, 0.01), 0.90) == "does not hold"
    far = Check("far above", "base", "vlguard", "over_refusal")
    assert decide(far, comparison(0.3, 0.2, 0.4), 1.0) == "holds"
    assert decide(far, comparison(0.05, 0.01, 0.08), 0.01) == "does not hold"
    about = Check("about", "tags-only", "behavior-only", "safety")
    assert decide(about, comparison(0.0, -0.04, 0.04), 1.0) == "holds"
    assert decide(about, comparison(0.0, -0.06, 0.04), 1.0) == "unclear"
    keeps = Check("no worse", "base", "ours", "vqa_accuracy")
    assert decide(keeps, comparison(0.0, -0.01, 0.01), 1.0) == "holds"
    assert decide(keeps, comparison(-0.1, -0.15, -0.05), 0.01) == "does not hold"
    assert decide(keeps, comparison(-0.01, -0.06, 0.02), 0.60) == "unclear"


@pytest.mark.parametrize("kind", ["above", "far above", "about", "no worse"])
def test_no_claim_is_decided_with_too_few_seeds(kind: Literal["above", "about"]) -> None:
    for found in (comparison(0.3, 0.2, 0.4, seeds=4), comparison(0.0, -0.01, 0.01, seeds=4)):
        assert decide(Check(kind, "base", "ours", "safety"), found, 0.001) == "unclear"


def test_ten_seeds_can_tell_every_claim() -> None:
    tests = {check for _, checks in claims() for check in checks if check.kind in TESTED}
    assert len(tests) * 2 / 2**10 < ALPHA


def test_one_seed_of_each_row_tells_no_claim(tmp_path: Path) -> None:
    write(tmp_path, "base", 1, {"direct": BAD}, trained=False)
    for row in ("vlguard", "ours"):
        write(tmp_path, row, 1, {"direct": SFT, "guided": GOOD})
    assert pattern(Study(read_results(tmp_path), ROWS, HOMES)) == []


def test_rows_without_seeds_tell_a_claim_by_their_items(tmp_path: Path) -> None:
    write(tmp_path, "base", 1, {"direct": BAD}, trained=False)
    write(tmp_path, "ecso", 1, {"ecso": GOOD}, trained=False)
    homes = {"base": "direct", "ecso": "ecso"}
    (found,) = pattern(Study(read_results(tmp_path), ROWS, homes))
    assert (found.claim, found.verdict) == ("ECSO is safer than the base model.", "holds")


def test_failures_are_corrected_with_the_gains(study: Study) -> None:
    """Of vlguard a gain and a loss are tested, of ours two gains and two that may not be lost."""
    said = [sentence for one in pattern(study) for sentence in one.sentences if ", p " in sentence]
    assert len(said) == 6
    assert sum("p = 0.012" in sentence for sentence in said) >= 2  # 6 * 2 / 2**10


def test_the_papers_claims_are_found_in_results_that_have_them(study: Study) -> None:
    found = {one.claim: one for one in pattern(study)}
    sft = found["Supervised training refuses far more benign pairs than the base model."]
    assert sft.verdict == "unclear"  # one of the two was not run
    assert "`vlguard` minus `base`" in sft.sentences[0]
    assert sft.sentences[0].endswith("holds.")
    assert "`think` against `base`" in sft.sentences[1]
    assert found["`ours` refuses no more benign pairs than the base model."].verdict == "holds"
    assert not any("`published`" in claim for claim in found)


def test_controls_stand_beside_the_real_pictures(study: Study) -> None:
    real, blank = lines(controls_table(study))
    assert (real[2], blank[2]) == ("real", "blank")
    assert float(real[4].split()[0]) > 90 > float(blank[4].split()[0]) == 0.0
    assert lines(forced_table(study))[0][:2] == ["Ours", "1.0 (0.2–5.2)"]


def test_slices_stand_beside_the_usual_items(study: Study) -> None:
    usual, harder = lines(slices_table(study, "looks"))
    assert (usual[2], harder[2]) == ("test", "looks")
    assert "safety 115 (115), twins 80 (80)" in slices_table(study, "looks")


def test_what_was_kept_from_training_stands_beside_training_on_all(study: Study) -> None:
    found = [line[0:3:2] for line in lines(slices_table(study, "apart-kinds"))]
    assert found == [
        *(["Ours", "test"], ["Ours", "apart-kinds"]),
        *(["Ours, not trained on it", "test"], ["Ours, not trained on it", "apart-kinds"]),
    ]
    assert slices_table(study, "apart-typographic") == ""


def test_rows_are_told_with_the_seeds_that_are_there(study: Study) -> None:
    rows = SHOWN | {"think": Shown("Think", "direct", about="a | b", seeds=3)}
    found = lines(rows_table(study, rows))
    assert found[2] == ["`ours`", "Ours", "what it is", "10 of 10"]
    assert found[3] == ["`think`", "Think", "a / b", "0 of 3"]


def published(folder: Path, seeds: int) -> Study:
    write(folder, "published", seeds, {"guided": SFT, "direct": BAD})
    write(folder, "ours", seeds, {"guided": GOOD, "direct": GOOD | {"over_refusal": 0.3}})
    return Study(read_results(folder), ROWS, {})


def test_the_hypothesis_is_told_part_by_part(tmp_path: Path) -> None:
    found = lines(hypothesis_table(hypothesis(published(tmp_path, 10))))
    assert {line[1] for line in found} == {"`ours`"}
    assert {(line[2], line[3]): line[-1] for line in found} == {
        ("with the guide", "compositional, better"): "not reached",
        ("with the guide", "twins, better"): "not reached",
        ("with the guide", "over-refusal, better"): "reached",
        ("with the guide", "usefulness, better"): "not reached",
        ("with the guide", "safety, no worse"): "not reached",
        ("plainly", "compositional, better"): "reached",
        ("plainly", "twins, better"): "reached",
        ("plainly", "over-refusal, better"): "not reached",
        ("plainly", "usefulness, better"): "not reached",
        ("plainly", "safety, no worse"): "reached",
    }
    assert found[2][7] == "0.008"  # 4 * 2 / 2**10


def test_short_rows_are_held_against_each_other(tmp_path: Path) -> None:
    write(tmp_path, "published-short", 5, {"guided": SFT})
    write(tmp_path, "ours-short", 5, {"guided": GOOD})
    study = Study(read_results(tmp_path), (), {})
    assert [line[:3] for line in lines(hypothesis_table(hypothesis(study)))] == 5 * [
        ["`published-short`", "`ours-short`", "with the guide"]
    ]


def test_a_model_without_the_guide_is_held_against_itself_with_it(tmp_path: Path) -> None:
    plain = GOOD | {"safety": 0.6, "usefulness": 1.0}
    write(tmp_path, "ours", 10, {"guided": GOOD | {"usefulness": 0.8}, "direct": plain})
    slices = {"looks": {"guided": asked({"safety": 0.9}), "direct": asked({"safety": 0.2})}}
    write(tmp_path, "rejection", 4, {"guided": GOOD, "direct": GOOD}, slices=slices)
    found = lines(carried_table(carried(Study(read_results(tmp_path), (), {}))))
    verdicts = {tuple(line[:3]): line[-1] for line in found}
    assert verdicts["`ours`", "test", "safety"] == "lost"
    assert verdicts["`ours`", "test", "usefulness"] == "shown"
    assert {verdict for (row, *_), verdict in verdicts.items() if row == "`rejection`"} == {
        "too few seeds"
    }
    (harder,) = (line for line in found if line[1] == "looks")
    assert float(harder[3]) > 80 > 30 > float(harder[4])


def test_the_hypothesis_needs_seeds(tmp_path: Path) -> None:
    assert {line[-1] for line in lines(hypothesis_table(hypothesis(published(tmp_path, 4))))} == {
        "too few seeds"
    }


def test_a_part_needs_the_test_and_the_interval() -> None:
    assert reached(comparison(-0.1, -0.2, -0.05), "over_refusal", 0.009) == "reached"
    assert reached(comparison(-0.1, -0.2, -0.05), "over_refusal", 0.011) == "not reached"
    assert reached(comparison(-0.1, -0.2, 0.01), "over_refusal", 0.001) == "not reached"
    assert reached(comparison(0.0, -0.049, 0.01), "safety", None) == "reached"
    assert reached(comparison(0.0, -0.051, 0.01), "safety", None) == "not reached"


def cost(*runs: tuple[str, int, bool, int]) -> Cost:
    made = [
        {"recipe": recipe, "seed": seed, "reached": reached}
        | {"rollouts": n, "tokens": 40 * n, "seconds": n / 10, "step": n // 96}
        for recipe, seed, reached, n in runs
    ]
    return Cost.model_validate({"runs": made, "target": {"safety": 0.9}, "command": "made up"})


def test_runs_that_did_not_reach_the_target_are_lower_bounds() -> None:
    table = cost_table(
        cost(
            *(("a", 0, True, 100), ("a", 1, True, 300), ("a", 2, False, 900)),
            *(("b", 0, False, 900), ("b", 1, False, 900)),
        )
    )
    first, second = lines(table)
    assert first[1:3] == ["2 of 3", "300 (100–≥ 900)"]
    assert second[1:3] == ["0 of 2", "≥ 900"]


def test_an_early_end_makes_the_median_a_lower_bound() -> None:
    table = cost_table(cost(("a", 0, False, 100), ("a", 1, True, 300), ("a", 2, True, 900)))
    assert lines(table)[0][2] == "≥ 300 (≥ 100–900)"


def test_ratios_of_medians_have_their_range_over_seeds() -> None:
    made = cost(
        *(("ours", 0, True, 100), ("ours", 1, True, 200)),
        *(("other", 0, True, 400), ("other", 1, True, 500)),
        *(("never", 0, False, 900), ("never", 1, False, 900)),
    )
    other, never = lines(ratio_table(made))
    assert other[1] == "3 (2.5–4)"
    assert never[1] == "≥ 6 (≥ 4.5–≥ 9)"
    assert ratio_table(cost(("ours", 0, True, 100))) == ""


def test_the_page_has_what_there_is_and_says_what_is_not(folder: Path, tmp_path: Path) -> None:
    rows = SHOWN | {"think": Shown("Think", "direct")}
    own = {"ours@pairs": "1920"}
    shown = {"pairs": ShownSweep("Tagged pairs")}
    out, drawn = tmp_path / "results.md", tmp_path / "plots"
    render(folder, rows, out, drawn, own=own, shown_sweeps=shown)
    page = out.read_text("utf-8")
    assert "Not run yet: `think`." in page
    assert "two million parameters" in page
    assert "## Cost" not in page
    linked = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", page)
    assert sorted(linked) == sorted(f"plots/{path.name}" for path in drawn.iterdir())
    assert {"plots/rows.svg", "plots/sweep-pairs-test.svg", "plots/steps.svg"} <= {*linked}
    titles = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert titles == [
        *("In short", "The rows", "Every row as it was made to be asked"),
        "Without the guide as with it?",
        *("Asked with the guide", "Asked plainly", "Compared"),
        *("The paper's claims", "Controls", "Harder items"),
        *("One setting at several values", "Over the steps", "How each number was made"),
    ]
    assert "### Tagged pairs, test items" in page
    render(folder, rows, out, drawn, own=own, shown_sweeps=shown)
    assert out.read_text("utf-8") == page


def test_rows_are_compared_that_differ_by_one_thing(tmp_path: Path) -> None:
    rows = ("published", "published-small", "no-gate", "ours", "one-more")
    for row in rows:
        write(tmp_path, row, 2, {"guided": GOOD, "direct": GOOD})
    page = tmp_path / "page.md"
    render(tmp_path, {row: Shown(row, "guided") for row in rows}, page, tmp_path)
    assert re.findall(r"^### (.*)$", page.read_text("utf-8"), re.MULTILINE) == [
        "`ours` against `published`",
        "`ours` against `published`, both asked plainly",
        "`ours` against `published-small`",
        "`ours` against `published-small`, both asked plainly",
        "`published-small` against `no-gate`",
        "`ours` against `one-more`",
    ]


def test_where_ours_loses_on_harder_items_is_said(tmp_path: Path) -> None:
    for row, rate in (("published", 0.9), ("ours", 0.4)):
        slices = {"looks": {"guided": asked({"safety": rate, "twin_accuracy": 0.5})}}
        write(tmp_path, row, 10, {"guided": GOOD}, slices=slices)
    title, shown = harder_comparisons(Study(read_results(tmp_path), (), {}), "looks")
    assert title == "#### `ours` against `published`, looks\n"
    assert {line[0]: line[-1] for line in lines(shown)} == {"safety": "worse", "twins": "no worse"}


def test_every_row_that_is_compared_is_one_of_the_study() -> None:
    known = load_rows(recipes_folder())
    assert {row for a, b, *_ in (*BOTH, *ONCE) for row in (a, b)} <= known.keys()


def test_the_page_of_an_empty_folder_names_the_rows_to_run(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    render(tmp_path / "results", SHOWN, tmp_path / "page.md", tmp_path)
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "Not run yet: `base`, `vlguard`, `ours`." in page
    assert "## " not in page


def test_costs_come_from_their_own_file(tmp_path: Path) -> None:
    (tmp_path / "cost.json").write_text(cost(("ours", 0, True, 100)).model_dump_json())
    page = tmp_path / "page.md"
    render(tmp_path, SHOWN, page, tmp_path)
    assert "Target: safety `0.9`. `made up`." in page.read_text("utf-8")
    made = cost(("ours", 0, True, 100)).model_dump()
    made["runs"][0] |= {"hash": "0f0f-160", "machine": "x86_64, Linux, 2 thread(s)"}
    (tmp_path / "cost.json").write_text(json.dumps(made | {"items": 377}))
    render(tmp_path, SHOWN, page, tmp_path)
    said = page.read_text("utf-8")
    assert "### From the" not in said
    assert "Target: safety `0.9`, on 377 development items." in said
    assert "| `0f0f-160` | `x86_64, Linux, 2 thread(s)` |" in said
    made["runs"].append(made["runs"][0] | {"base": "unlinked", "rollouts": 2000.0})
    (tmp_path / "cost.json").write_text(json.dumps(made))
    render(tmp_path, SHOWN, page, tmp_path)
    races = page.read_text("utf-8").partition("### From the shipped base model")[2]
    shipped, unlinked = races.split("### From the base model `unlinked`")
    assert "| 100 |" in shipped and "| 2,000 |" not in shipped
    assert "| 2,000 |" in unlinked and "| 100 |" not in unlinked
    (tmp_path / "cost.json").write_text(json.dumps({"runs": [], "target": {}}))
    with pytest.raises(DataError, match=r'cost\.json": "command"'):
        render(tmp_path, SHOWN, page, tmp_path)


def test_runs_of_different_hashes_are_told(tmp_path: Path) -> None:
    write(tmp_path, "ours", 2, {"guided": GOOD})
    write(tmp_path, "ours", 1, {"guided": GOOD}, hash="another")
    page = tmp_path / "page.md"
    render(tmp_path, SHOWN, page, tmp_path)
    assert "Made in part by other settings or sources: `ours`." in page.read_text("utf-8")
    render(tmp_path, SHOWN, page, tmp_path, hashes={"ours": "0f0f"})
    said = page.read_text("utf-8")
    assert "Made by earlier settings or sources: `ours` (1 of 2)." in said
    assert "Made in part" not in said


def test_a_page_is_made_without_torch() -> None:
    code = (
        "import sys, safegrpo.microcosm.study.page; "
        "assert not {'torch', 'numpy', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
