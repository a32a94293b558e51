"""The first lines of the page: what was found, in short."""

from safegrpo.microcosm.study.cost import Cost
from safegrpo.microcosm.study.hypothesis import Carried, Part
from safegrpo.microcosm.study.pattern import Finding
from safegrpo.microcosm.study.statistics import Comparison
from safegrpo.microcosm.study.summary import summary


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
    ]
    cost = Cost.model_validate({"runs": runs, "target": {}, "command": "made up"})
    claims = [Finding("one", "holds", ()), Finding("two", "holds", ()), Finding("3", "unclear", ())]
    guided, direct, without, costs, paper = summary(parts, carried, cost, claims)
    assert "twins 90.0 against 90.0, better: not reached" in guided
    assert "safety 91.0 against 90.0, no worse: reached" in guided
    assert direct.startswith("- Asked plainly") and "better: reached" in direct
    assert without.endswith(
        "Test items: shown for safety; not shown for over-refusal. Looks items: not shown for "
        "safety."
    )
    assert "384 rollouts and 4 seconds" in costs and "other 10 times" in costs
    assert paper.endswith("holds: 2, unclear: 1.")


def test_nothing_is_said_of_what_is_not_there() -> None:
    alone = Cost.model_validate({"runs": [], "target": {}, "command": "made up"})
    assert list(summary([], [], alone, [])) == []
    assert list(summary([], [], None, [])) == []
