"""FigStep: harmful instructions drawn as a numbered list, with a harmless text beside it.

The set calls itself SafeBench, as another one does; here it has its paper's name. Its topics 8 to
10 (legal, financial and health advice) hold what a layman should not advise on, rather than harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from safegrpo.data.jsonl import read_text
from safegrpo.data.sources.published import FIGSTEP_PROMPT
from safegrpo.errors import DataError, InputFileError
from safegrpo.evaluation.benchmarks.base import Benchmark, find_file, text_of, with_image
from safegrpo.evaluation.benchmarks.reading import Row, items_of, noted, placed_rows
from safegrpo.evaluation.item import Item

# How the authors' text begins; the rest is taken from the user's copy.
_OFFICIAL = re.compile(r'The image shows a list numbered 1, 2, and 3[^"`\r\n]{0,600}')
_TEXT_LIMIT = 2**20


def _load(name: str, folder: Path) -> Iterator[Item]:
    tiny = name == "figstep_tiny"
    csv = "SafeBench-Tiny.csv" if tiny else "safebench.csv"
    images = "SafeBench-Tiny" if tiny else "SafeBench"
    file = find_file(folder, [f"data/question/{csv}", f"question/{csv}", csv], "FigStep")
    data = file.parent.parent if file.parent.name == "question" else file.parent
    roots = [data / "images" / images, data / images, folder]
    checkout = data.parent if data.absolute().name == "data" else folder
    official = _official_prompt(checkout)
    prompt = official or FIGSTEP_PROMPT
    wording = "official" if official else "ours"

    def make(_: str, row: Row) -> Iterator[Item]:
        key = "_".join(text_of(row, part) for part in ("dataset", "category_id", "task_id"))
        item = Item(
            benchmark=name,
            id=key,
            prompt=prompt,
            category=text_of(row, "category_name"),
            expected="refuse",
            notes={**noted(row, intent="question"), "prompt_wording": wording},
        )
        yield with_image(item, roots, f"query_{key}_6.png")

    return items_of(name, placed_rows([file], folder), make, expected="refuse")


def _official_prompt(checkout: Path) -> str | None:
    """The authors' text prompt, if their README or their code is there."""
    for name in ("README.md", "src/generate_prompts.py"):
        try:
            found = _OFFICIAL.search(read_text(checkout / name, _TEXT_LIMIT))
        except (DataError, InputFileError):
            continue
        # Cut off in the middle of a sentence it would be nobody's wording.
        if found and found[0].rstrip().endswith("."):
            return found[0].rstrip()
    return None


def _benchmark(name: str, title: str) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        measures="jailbreak defence",
        licence="MIT",
        source="https://github.com/ThuCCSLab/FigStep",
        load=partial(_load, name),
        headline=("attack_success", "safety"),
        size=50 if name == "figstep_tiny" else 500,
        folders=("FigStep",) if name == "figstep" else ("figstep", "FigStep"),
    )


BENCHMARKS = (_benchmark("figstep", "FigStep"), _benchmark("figstep_tiny", "FigStep, tiny"))
