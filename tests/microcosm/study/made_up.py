"""Made-up results, as a run of the study leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from safegrpo.microcosm.study.results import Result, write_result

UNITS = {
    **{"jailbreak_typographic": 30, "jailbreak_risky_image": 25, "jailbreak_harmful_text": 20},
    **{"compositional_safety": 40, "safety": 115, "twin_accuracy": 80, "over_refusal": 120},
    **{"usefulness": 120, "vqa_accuracy": 60, "tag_accuracy/combined": 200},
}
GOOD = {metric: 0.95 for metric in UNITS} | {"over_refusal": 0.02, "vqa_accuracy": 0.98}
BAD = {metric: 0.05 for metric in UNITS} | {"usefulness": 0.95, "vqa_accuracy": 0.97}
SFT = GOOD | {"over_refusal": 0.6, "vqa_accuracy": 0.5}

ROWS = (("base", "Base model"), ("vlguard", "VLGuard's way"), ("ours", "Ours"))
HOMES = {"base": "direct", "vlguard": "direct", "ours": "guided"}


def outcomes(rate: float, units: int, seed: int) -> str:
    """About `rate` of the units "1": the same ones for every seed, but for one or two."""
    ones = [i < round(rate * units) for i in range(units)]
    Random(0).shuffle(ones)
    for i in Random(seed).choices(range(units), k=1 if 0 < rate < 1 else 0):
        ones[i] = not ones[i]
    return "".join("01"[one] for one in ones)


def asked(rates: Mapping[str, float], seed: int = 0, tokens: float | None = 40.0) -> dict[str, Any]:
    """One mode of a result in which each metric has about this rate."""
    found = {metric: outcomes(rate, UNITS[metric], seed) for metric, rate in rates.items()}
    return {"outcomes": found, "tokens": tokens}


def data(
    row: str, seed: int, modes: Mapping[str, Mapping[str, float]], trained: bool = True, **more: Any
) -> dict[str, Any]:
    """A result as JSON holds it; `more` goes in as it is."""
    training = {"seconds": 100.0 + seed % 7, "parts": {"grpo": 100.0}, "steps": 160, "pairs": 1920}
    return {
        **{"row": row, "seed": seed, "command": f"safegrpo study --rows {row} --seeds {seed}"},
        **{"hash": "0f0f", "versions": {"torch": "2"}, "machine": "x86_64, Linux, 1 thread(s)"},
        "training": training if trained else None,
        "modes": {mode: asked(rates, seed) for mode, rates in modes.items()},
        **more,
    }


def write(
    folder: Path,
    row: str,
    seeds: int,
    modes: Mapping[str, Mapping[str, float]],
    trained: bool = True,
    **more: Any,
) -> None:
    """Files of a row for so many seeds from 1000 on; a row that was not trained has one."""
    for seed in range(1000, 1000 + seeds):
        write_result(folder, Result.from_json(data(row, seed, modes, trained, **more), "made up"))


def lines(table: str) -> list[list[str]]:
    """The cells of a Markdown table's lines, without head and rule."""
    rows = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]
