"""Fit the linear part of the behavior classifier, and measure all of it on answers it has not seen.

    python scripts/fit_behavior.py            # cross-validation by writer, then the weights
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
from pathlib import Path

import torch

from safegrpo.behavior import classify, head_of, learned
from safegrpo.behavior.emptiness import emptiness
from safegrpo.data.jsonl import read_jsonl, write_text_atomic

ROOT = Path(__file__).resolve().parent.parent
ANSWERS = ROOT / "behavior_answers"
WEIGHTS = ROOT / "src" / "safegrpo" / "behavior" / "weights.json"
XSTEST = ROOT.parent / "shared" / "data" / "xstest"
LEAST = 2  # answers that a word must stand in
L2 = 0.5  # strength of the penalty on each weight

Row = dict[str, str]


def rows_of(path: Path) -> list[Row]:
    return [row for _, row in read_jsonl(path)]


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
    entries = [(i, index[n], v) for i, one in enumerate(found) for n, v in one.items() if n in index]
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


def report(name: str, rows: list[Row], prompts: bool = False) -> None:
    """Print accuracy over the three labels, and the two kinds of error between two of them."""
    said = [classify(r["answer"], prompt=r["prompt"] if prompts else None).label for r in rows]
    pairs = Counter((row["label"], label) for row, label in zip(rows, said, strict=True))
    right = sum(n for (true, label), n in pairs.items() if true == label)
    n = Counter(row["label"] for row in rows)
    print(
        f"{name:<24} n {len(rows):>4}  right {right / len(rows):.3f}"
        f"  false refusals {pairs['compliance', 'refusal'] / max(1, n['compliance']):.3f}"
        f"  refusals found {pairs['refusal', 'refusal'] / max(1, n['refusal']):.3f}"
        + (f"  empty found {pairs['empty', 'empty'] / n['empty']:.3f}" if n["empty"] else "")
    )


def use(weights: dict[str, int]) -> None:
    learned._weights = lambda: {name: value / 1000 for name, value in weights.items()}  # type: ignore


def main() -> int:
    parser = argparse.ArgumentParser(description="Fit and measure the behavior classifier.")
    parser.add_argument("--check", action="store_true", help="do not write the weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    held_out = ANSWERS / "held_out.jsonl"
    banks = {p.stem: rows_of(p) for p in sorted(ANSWERS.glob("*.jsonl")) if p != held_out}
    stock = learned._weights
    for name, rows in banks.items():
        use(fit(row for other, more in banks.items() if other != name for row in more))
        report(f"without {name}", rows, prompts=True)
    weights = fit(row for rows in banks.values() for row in rows)
    if args.check:
        learned._weights = stock
    else:
        write_text_atomic(WEIGHTS, json.dumps(weights, ensure_ascii=False, indent=0) + "\n")
        use(weights)
        print(f"{len(weights)} weights in {WEIGHTS.relative_to(ROOT)}")
    report("held_out", rows_of(held_out), prompts=True)
    for path in sorted(XSTEST.glob("*.csv")):
        report(path.stem.rpartition("_")[2], xstest(path))
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
