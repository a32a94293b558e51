"""A small study's results."""

from pathlib import Path

import pytest

from safegrpo.microcosm.study.results import read_results
from safegrpo.microcosm.study.study import Study
from tests.microcosm.study.made_up import BAD, GOOD, HOMES, ROWS, SFT, asked, write


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of three rows and two sweeps."""
    folder = tmp_path_factory.mktemp("results")
    write(folder, "base", 1, {"direct": BAD}, trained=False)
    write(folder, "vlguard", 10, {"direct": SFT, "guided": GOOD})
    blank = {"guided": asked(GOOD | {"twin_accuracy": 0.0}, tokens=None)}
    curve = [{"step": step, "eval/guided/safety": step / 100} for step in (0, 40, 80)]
    write(
        folder,
        "ours",
        10,
        {"guided": GOOD, "direct": BAD},
        controls={"blank": blank, "forced_tag": {"safe": 0.01, "unsafe": 0.98, "n": 106}},
        slices={
            "looks": {"guided": asked({"safety": 0.5, "twin_accuracy": 0.4})},
            "apart-kinds": {"guided": asked({"safety": 0.9})},
        },
        curve=curve,
    )
    for value in ("60", "300", "6000"):
        write(folder, f"ours@pairs={value}", 3, {"guided": GOOD})
    apart = {"apart-kinds": {"guided": asked({"safety": 0.3})}}
    write(folder, "ours@without=kinds", 2, {"guided": GOOD}, slices=apart)
    return folder


@pytest.fixture(scope="package")
def study(folder: Path) -> Study:
    return Study(read_results(folder), ROWS, HOMES)
