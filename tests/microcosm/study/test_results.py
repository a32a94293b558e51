"""Result files, written and read back."""

import json
from pathlib import Path
from typing import Any

import pytest

from safegrpo.errors import DataError, InputFileError
from safegrpo.microcosm.study.results import Result, rate, read_results, write_result
from tests.microcosm.study.made_up import BAD, GOOD, asked, data, write


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    controls = {
        "blank": {"guided": asked(BAD, tokens=None)},
        "forced_tag": {"safe": 0.01, "unsafe": 0.98, "n": 106},
    }
    curve = [{"step": 40, "eval/guided/safety": 0.5}]
    slices = {"looks": {"guided": asked(BAD)}}
    more = {"controls": controls, "curve": curve, "slices": slices}
    made = Result.from_json(data("ours", 1000, {"guided": GOOD}, **more), "made up")
    path = write_result(tmp_path, made)
    assert path.name == "ours-1000.json"
    assert read_results(tmp_path) == {"ours": {1000: made}}


def test_a_rate_counts_known_units_only() -> None:
    assert rate("11-0") == pytest.approx(2 / 3)
    assert rate("--") is None
    assert rate("") is None


def test_seeds_and_swept_rows_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, "ours", 2, {"guided": GOOD})
    write(tmp_path, "ours@label_noise=0.1", 1, {"guided": BAD})
    assert {row: list(runs) for row, runs in read_results(tmp_path).items()} == {
        "ours": [1000, 1001],
        "ours@label_noise=0.1": [1000],
    }


def broken(**changes: Any) -> dict[str, Any]:
    return data("ours", 1000, {"guided": GOOD}) | changes


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (broken(seed="1000"), '"seed"'),
        (broken(row="../ours"), '"row"'),
        (broken(size=1e9), '"size"'),
        (broken(weights=1), 'unknown key "weights"'),
        (broken(modes={"guided": {"outcomes": {"safety": "1x"}}}), "modes.guided.outcomes.safety"),
        (broken(modes={"guided": {"outcomes": {"charm": "1"}}}), "no such metric"),
        (broken(modes={"aloud": {"outcomes": {}}}), "modes.aloud"),
        ({k: v for k, v in broken().items() if k != "hash"}, '"hash" is missing'),
    ],
)
def test_a_wrong_file_is_named_with_its_key(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    (tmp_path / "ours-1000.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match=r"ours-1000\.json") as caught:
        read_results(tmp_path)
    assert said in str(caught.value)


def test_a_file_must_have_the_name_of_its_run(tmp_path: Path) -> None:
    write(tmp_path, "ours", 1, {"guided": GOOD})
    (tmp_path / "ours-1000.json").rename(tmp_path / "ours-1001.json")
    with pytest.raises(DataError, match=r'belong to "ours-1000\.json"'):
        read_results(tmp_path)


def test_runs_on_other_items_do_not_stand_together(tmp_path: Path) -> None:
    write(tmp_path, "ours", 1, {"guided": GOOD})
    short = data("base", 1000, {}) | {"modes": {"direct": {"outcomes": {"safety": "0"}}}}
    write_result(tmp_path, Result.from_json(short, "made up"))
    with pytest.raises(DataError, match=r"safety has 115 units and in base-1000\.json 1;"):
        read_results(tmp_path)


def test_a_slice_has_the_same_items_in_every_run(tmp_path: Path) -> None:
    write(tmp_path, "ours", 1, {}, slices={"looks": {"guided": {"outcomes": {"safety": "01"}}}})
    write(tmp_path, "think", 1, {}, slices={"looks": {"guided": {"outcomes": {"safety": "0"}}}})
    with pytest.raises(DataError, match=r"looks safety has 1 units and in ours-1000\.json 2;"):
        read_results(tmp_path)


def test_runs_on_other_shares_of_the_items_do_not_stand_together(tmp_path: Path) -> None:
    write(tmp_path, "ours", 1, {"guided": GOOD})
    write(tmp_path, "think", 1, {"guided": GOOD}, size=0.5)
    with pytest.raises(DataError, match=r"size 0\.5, and ours-1000\.json is of size 1: .* run one"):
        read_results(tmp_path)


def test_splits_may_be_asked_in_other_shares(tmp_path: Path) -> None:
    write(tmp_path, "ours", 1, {"guided": GOOD})
    write(tmp_path, "think", 1, {"guided": GOOD}, size=0.5, split="dev")
    assert read_results(tmp_path)["think"][1000].size == 0.5


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="nowhere"):
        read_results(tmp_path / "nowhere")
