"""Fit the linear part of the behavior classifier, and measure all of it on answers it has not seen.

    python scripts/fit_behavior.py            # cross-validation, weights, docs/behavior.md
    python scripts/fit_behavior.py --check    # cross-validation and held-out answers only

Answers: behavior_answers/*.jsonl, each file by one writer; held_out.jsonl is never fitted on. Where
shared/data/xstest is at hand its three labelled files are measured as well.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from safegrpo.behavior import Detector, classify, head_of, learned
from safegrpo.behavior.emptiness import emptiness
from safegrpo.data.jsonl import read_jsonl, write_text_atomic
from safegrpo.evaluation.stats import wilson

ROOT = Path(__file__).resolve().parent.parent
ANSWERS = ROOT / "behavior_answers"
DOCS = ROOT / "docs" / "behavior.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
WEIGHTS = ROOT / "src" / "safegrpo" / "behavior" / "weights.json"
XSTEST = ROOT.parent / "shared" / "data" / "xstest"
LEAST = 2  # answers that a word must stand in
L2 = 0.5  # strength of the penalty on each weight

Row = dict[str, str]


def rows_of(path: Path) -> list[Row]:
    """Rows of a bank; with `asked`, the prompt by which an echo can be told."""
    return [{**row, "asked": row["prompt"]} for _, row in read_jsonl(path)]


def features(answer: str) -> dict[str, float]:
    """Named features of an answer, as `learned.logit` weighs them."""
    opening = head_of(answer)
    grams = learned.word_grams(opening.text)
    share = learned.GRAM_SCALE / math.sqrt(max(1, len(grams)))
    found = {f"s:{name}": 1.0 for name in learned.findings(opening)}
    return found | dict.fromkeys(grams, share)


def fit(rows: Iterable[Row]) -> dict[str, int]:
    """Logistic regression (refusal against compliance) by L-BFGS; weights in thousandths."""
    used = [r for r in rows if r["label"] != "empty" and not emptiness(r["answer"], None)]
    found = [features(row["answer"]) for row in used]
    seen = Counter(name for one in found for name in one)
    index = {n: i for i, n in enumerate(n for n in sorted(seen) if seen[n] >= LEAST)}
    entries = [
        (i, index[n], v) for i, one in enumerate(found) for n, v in one.items() if n in index
    ]
    places = torch.tensor([[i for i, _, _ in entries], [j for _, j, _ in entries]])
    values = torch.tensor([v for _, _, v in entries], dtype=torch.float64)
    x = torch.sparse_coo_tensor(places, values, (len(used), len(index))).coalesce()
    y = torch.tensor([row["label"] == "refusal" for row in used], dtype=torch.float64)
    weights = torch.zeros(len(index), dtype=torch.float64, requires_grad=True)
    intercept = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, intercept], max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.mv(x, weights) + intercept
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        value = value + 0.5 * L2 * (weights**2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    whole = {name: round(1000 * weights[i].item()) for name, i in index.items()}
    # What moves no answer's log-odds by as much as a fiftieth is left out.
    kept = {name: w for name, w in whole.items() if abs(w) >= 20}
    return {"": round(1000 * intercept.item()), **kept}


@dataclass(frozen=True)
class Measured:
    """What a detector makes of one set of labelled answers, as counts."""

    name: str
    detector: str
    pairs: Counter[tuple[str, str]]

    def of(self, label: str) -> int:
        return sum(n for (true, _), n in self.pairs.items() if true == label)

    @property
    def right(self) -> tuple[int, int]:
        return sum(n for (a, b), n in self.pairs.items() if a == b), sum(self.pairs.values())

    @property
    def false_refusals(self) -> tuple[int, int]:
        return self.pairs["compliance", "refusal"], self.of("compliance")

    @property
    def found(self) -> tuple[int, int]:
        return self.pairs["refusal", "refusal"], self.of("refusal")

    @property
    def empty(self) -> tuple[int, int]:
        return self.pairs["empty", "empty"], self.of("empty")


def measure(name: str, rows: list[Row], detector: Detector = "strict") -> Measured:
    said = [classify(r["answer"], detector, r.get("asked")).label for r in rows]
    pairs = Counter((row["label"], label) for row, label in zip(rows, said, strict=True))
    measured = Measured(name, detector, pairs)
    print(line(measured), flush=True)
    return measured


def line(one: Measured) -> str:
    """One row of the table: shares with 95 % Wilson intervals, in percent."""
    cells = []
    for n, total in (one.right, one.false_refusals, one.found, one.empty):
        if not total:
            cells.append("–")
            continue
        low, high = wilson(n, total)
        cells.append(f"{100 * n / total:.1f} ({100 * low:.1f}–{100 * high:.1f})")
    return f"| {one.name} | {one.detector} | {one.right[1]} | {' | '.join(cells)} |"


def render(measured: list[Measured]) -> None:
    """Write the table into docs/behavior.md, between its marks."""
    text = DOCS.read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    head = (
        "| answers | detector | n | right | compliance called a refusal | refusals found"
        " | empty found |\n|---|---|---|---|---|---|---|"
    )
    body = "\n".join(line(one) for one in measured)
    write_text_atomic(DOCS, f"{before}{BEGIN}\n{head}\n{body}\n{END}{after}")


def use(weights: dict[str, int]) -> None:
    learned._weights = lambda: weights  # type: ignore


def main() -> int:
    parser = argparse.ArgumentParser(description="Fit and measure the behavior classifier.")
    parser.add_argument("--check", action="store_true", help="do not write the weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    held_out = ANSWERS / "held_out.jsonl"
    banks = {p.stem: rows_of(p) for p in sorted(ANSWERS.glob("*.jsonl")) if p != held_out}
    stock = learned._weights
    measured = []
    for name, rows in banks.items():
        use(fit(row for other, more in banks.items() if other != name for row in more))
        measured.append(measure(f"{name}, fitted on the others", rows))
    weights = fit(row for rows in banks.values() for row in rows)
    if args.check:
        learned._weights = stock
    else:
        write_text_atomic(WEIGHTS, json.dumps(weights, ensure_ascii=False, indent=0) + "\n")
        use(weights)
        print(f"{len(weights)} weights in {WEIGHTS.relative_to(ROOT)}")
    sets = {"held_out": rows_of(held_out)}
    for path in sorted(XSTEST.glob("*.csv")):
        sets[f"XSTest, {path.stem.rpartition('_')[2]}"] = xstest(path)
    detectors: tuple[Detector, ...] = ("strict", "paper")
    for name, rows in sets.items():
        measured += [measure(name, rows, detector) for detector in detectors]
    if not args.check:
        render(measured)
    return 0


def xstest(path: Path) -> list[Row]:
    """The labelled answers of one model, partial refusals left out."""
    labels = {"1_full_compliance": "compliance", "2_full_refusal": "refusal"}
    with path.open(encoding="utf-8") as file:
        return [
            {"answer": row["completion"], "prompt": row["prompt"], "label": labels[label]}
            for row in csv.DictReader(file)
            if (label := row["final_label"]) in labels
        ]


if __name__ == "__main__":
    raise SystemExit(main())
