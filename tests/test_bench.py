"""The benchmark of a step runs, and gives the fields that other programs read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench" / "grpo_step.py"
SMALL = ["--model", "tiny", "--prompt", "128", "--completion", "6", "--group", "2", "--steps", "1"]


@pytest.mark.slow
def test_one_point_as_json() -> None:
    found = subprocess.run(
        [sys.executable, str(BENCH), *SMALL, "--json"], capture_output=True, text=True, check=True
    )
    result = json.loads(found.stdout)
    assert result["max_logp_diff"] < 1e-5
    assert result["limit"] == pytest.approx(2 * 134 / (128 + 12))
    assert {"ratio_step", "ratio_logps", "ratio_generation", "memory_ratio"} <= result.keys()
    for seconds in result["seconds"].values():
        parts = seconds["generation"] + seconds["reference"] + seconds["logps"] + seconds["rest"]
        assert 0 < parts <= seconds["step"]


def test_a_point_that_cannot_be_measured_is_refused() -> None:
    wrong = [sys.executable, str(BENCH), "--prompt", "9"]
    found = subprocess.run(wrong, capture_output=True, text=True)
    assert found.returncode == 2 and "--prompt 64 or more" in found.stderr
