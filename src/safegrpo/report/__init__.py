"""The page people send to each other: `write_report(run)` leaves one self-contained HTML file.

`runs` reads folders, `samples` (with `listing`, `steps` and `thumbnails`) makes what the browser of
answers reads, `comparison` (with `changes` and `cells`), `sections`, `tradeoff` and `plots` write
the numbers, `html` puts the page together with page.css and the script.
"""

from __future__ import annotations

from pathlib import Path

from safegrpo.data.jsonl import replacing
from safegrpo.errors import InputFileError

MAX_SAMPLES = 20_000
IMAGE_BUDGET = 48 * 2**20
"""Bytes of all thumbnails of a page, before base64."""


def write_report(
    *runs: Path,
    output: Path | None = None,
    baseline: Path | None = None,
    max_samples: int = MAX_SAMPLES,
    image_budget: int = IMAGE_BUDGET,
) -> Path:
    """Write the page of `runs` (default: `report.html` in the first); returns its path.

    `baseline` is the run that others are compared with, see `read_runs`. `image_budget` is in
    bytes; 0 leaves images out. Raises InputFileError where a folder is no run or that of `output`
    does not exist, DataError when no run can be read.
    """
    from safegrpo.report.html import page
    from safegrpo.report.runs import read_runs
    from safegrpo.report.samples import collect

    if output is not None and not output.parent.exists():
        raise InputFileError(f"{output}: folder {output.parent} does not exist; make it first")
    output = output or runs[0] / "report.html"
    found = read_runs(runs, baseline)
    samples = collect(found, max_samples, image_budget)
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8", errors="replace",
                                                        newline="\n") as file:  # fmt: skip
        file.writelines(page(found, samples))
    return output
