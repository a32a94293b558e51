"""Write the list of benchmarks into docs/evaluation.md, from the code that reads them.

python scripts/benchmark_list.py [--check]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.evaluation.benchmarks import BENCHMARKS

DOCS = Path(__file__).parents[1] / "docs" / "evaluation.md"
MARKS = re.compile(r"(<!-- benchmarks[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)


def table() -> str:
    """The benchmarks as a Markdown table."""
    head = "| name | measures | first metrics | official rule | licence | from |"
    rows = [head, "|" + "---|" * 6]
    for one in BENCHMARKS.values():
        metrics = ", ".join(name.replace("_", " ") for name in one.headline) or "as rows say"
        official = "yes" if one.official else ""
        rows.append(
            f"| `{one.name}` | {one.measures} | {metrics} | {official} | {one.licence} "
            f"| {one.source} |"
        )
    return "\n".join(rows) + "\n"


def rendered(text: str) -> str:
    """`text` with the table between its marks."""
    return MARKS.sub(lambda match: match[1] + table() + match[2], text)


def main() -> int:
    text = DOCS.read_text(encoding="utf-8")
    new = rendered(text)
    if "--check" in sys.argv:
        return int(new != text)
    write_text_atomic(DOCS, new)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
