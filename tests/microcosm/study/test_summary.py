"""The first lines of the page: what was found, in short."""

from pathlib import Path

from safegrpo.microcosm.study.cost import Cost
from safegrpo.microcosm.study.hypothesis import Carried, Part
from safegrpo.microcosm.study.pattern import Finding
from safegrpo.microcosm.study.results import read_results
from safegrpo.microcosm.study.statistics import Comparison
from safegrpo.microcosm.study.study import Study
from safegrpo.microcosm.study.summary import summary
from tests.microcosm.study.made_up import GOOD, asked, write

EMPTY = Study({}, (), {})


def found(a: float, b: float, low: float, high: float) -> Comparison:
    return Comparison(a, b, b - a, low, high, 0.001, 0.001, 0.1, 1.0, 10, 100, 50)


def test_each_line_says_what_became_of_what_was_asked() -> None:
    parts = [
        Part("published", "ours", "guided", "twin_accuracy", found(0.9, 0.9, -0.1, 0.1), 1.0),
        Part("published", "ours", "guided", "safety", found(0.9, 0.91, -0.01, 0.03), None),
        Part("published", "ours", "direct", "twin_accuracy", found(0.0, 0.9, 0.8, 1.0), 0.008),
        Part("published-short", "ours-short", "guided", "safety", found(0, 0, 0, 0), None),
    ]
    carried = [
        Carried("ours", "test", "safety", found(0.9, 0.9, -0.01, 0.01)),
        Carried("ours", "test", "over_refusal", found(0.0, 0.0, -0.03, 0.03)),
        Carried("ours", "looks", "safety", found(0.9, 0.5, -0.5, -0.3)),
        Carried("rejection", "test", "safety", found(0.9, 0.1, -0.9, -0.7)),
    ]
    one = {"reached": True, "tokens": 1.0, "step": 1.0}
    runs = [
        {"recipe": "ours", "seed": 0, "rollouts": 384.0, "seconds": 4.0, **one},
        {"recipe": "other", "seed": 0, "rollouts": 4096.0, "seconds": 40.0, **one},
        {"recipe": "ours: a variant", "seed": 0, "rollouts": 1.0, "seconds": 1.0, **one},
    ]
    runs += [run | {"base": "unlinked", "rollouts": 2000.0} for run in runs[:2]]
    cost = Cost.model_validate({"runs": runs, "target": {}, "command": "made up"})
    claims = [Finding("one", "holds", ()), Finding("`ours` too", "holds", ())]
    claims.append(Finding("three", "unclear", ()))
    guided, direct, missing, without, costs, elsewhere, paper = summary(
        EMPTY, parts, carried, cost, claims
    )
    assert "better in 0 of 1: twins 90.0 against 90.0;" in guided
    assert "safety 91.0 against 90.0, no worse: reached" in guided
    assert direct.startswith("- Asked plainly") and "better in 1 of 1: twins 90.0" in direct
    assert "`published-internalised`" in missing and "not run yet" in missing
    assert without.endswith(
        "Test items: shown for safety; unclear for over-refusal. Words in new looks: lost for "
        "safety."
    )
    assert "384 rollouts and 4 seconds, medians of 1 seeds" in costs
    assert "10 times that (other)" in costs and "variant" not in costs
    assert "from `unlinked`" not in costs
    assert "from `unlinked`" in elsewhere and "needed 2,000 rollouts" in elsewhere
    assert paper.endswith("could be checked: 1 hold, 1 unclear.")  # ours is not the paper's


def test_too_few_seeds_are_not_called_no_better() -> None:
    few = Comparison(0.1, 0.9, 0.8, 0.7, 0.9, 0.1, 0.1, 0.1, 1.0, 4, 100, 50)
    said, _ = summary(
        EMPTY,
        [Part("published-small-unlinked", "ours", "guided", "twin_accuracy", few, 0.1)],
        *([], None, []),
    )
    assert "4 seeds: too few to tell: twins 90.0 against 10.0" in said


def test_rows_from_another_base_model_say_so() -> None:
    lost = found(0.9, 0.9, -0.1, 0.1)
    parts = [
        Part("published", "ours", "guided", "twin_accuracy", lost, 1.0),
        Part("published-unlinked", "ours-unlinked", "guided", "twin_accuracy", lost, 1.0),
        Part("published-twins-unlinked", "ours-unlinked", "guided", "safety", lost, None),
    ]
    shipped, unlinked, _ = summary(EMPTY, parts, [], None, [])
    assert shipped.startswith("- Asked with the guide, [`ours` against")
    assert unlinked.startswith("- From a base model whose answers do not heed its tags, asked with")
    assert "[`ours-unlinked` against `published-unlinked`]" in unlinked


def test_differences_on_harder_items_are_told(tmp_path: Path) -> None:
    for row, rate in (("published", 0.9), ("ours", 0.4)):
        slices = {"looks": {"guided": asked({"safety": rate, "twin_accuracy": 0.5})}}
        write(tmp_path, row, 10, {"guided": GOOD}, slices=slices)
    (said,) = summary(Study(read_results(tmp_path), (), {}), [], [], None, [])
    assert "Words in new looks" in said and "safety -50" in said and "twins" not in said
    assert said.endswith("of 2 metrics, not corrected.")


def test_nothing_is_said_of_what_is_not_there() -> None:
    alone = Cost.model_validate({"runs": [], "target": {}, "command": "made up"})
    assert list(summary(EMPTY, [], [], alone, [])) == []
    assert list(summary(EMPTY, [], [], None, [])) == []
