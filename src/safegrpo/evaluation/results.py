"""From a run's rows to `metrics.json`: every number with its n, its interval and its coverage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.evaluation.benchmarks import BENCHMARKS
from safegrpo.evaluation.benchmarks.base import Benchmark
from safegrpo.evaluation.judging import read_judgements
from safegrpo.evaluation.metrics import Joined, confusion, joined, measured
from safegrpo.evaluation.rows import METRICS_FILE, Generation
from safegrpo.evaluation.rules import RULES
from safegrpo.evaluation.run import read_generations
from safegrpo.judge.verdict import CUT

FORMAT = 1


def write_metrics(folder: Path, model: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """Measure what lies in a run's folder; leaves and returns `metrics.json`.

    `counts` are the items of each set as it was read, of which a limit may have taken some.
    """
    generations = list(read_generations(folder))
    found = joined(generations, read_judgements(folder))
    benchmarks: dict[str, Any] = {}
    for name, rows in _grouped(generations, lambda row: row.benchmark).items():
        one = BENCHMARKS[name]
        skipped = Counter(
            row.problem.partition(":")[0]
            for row in {row.id: row for row in rows if row.status == "skipped"}.values()
        )
        benchmarks[name] = {
            "title": one.title,
            "measures": one.measures,
            "licence": one.licence,
            "headline": list(one.headline),
            "items": len({row.id for row in rows}),
            "size": max(one.size or 0, counts.get(name, 0)) or None,
            "skipped": dict(sorted(skipped.items())),
            "modes": {
                mode: _mode(of_mode, found, one)
                for mode, of_mode in _grouped(rows, lambda row: row.mode).items()
            },
        }
    modes = list(dict.fromkeys(row.mode for row in generations))
    metrics = {"format": FORMAT, "model": model, "modes": modes, "benchmarks": benchmarks}
    write_text_atomic(folder / METRICS_FILE, json.dumps(metrics, indent=1) + "\n")
    return metrics


def _mode(
    rows: Sequence[Generation],
    found: Mapping[tuple[str, str, str], list[Joined]],
    one: Benchmark,
) -> dict[str, Any]:
    done = [row for row in rows if row.status == "done"]
    place = rows[0].benchmark, rows[0].mode
    scorers = [key[2] for key in found if key[:2] == place]
    return {
        "generated": len(done),
        "errors": sum(row.status == "error" for row in rows),
        "cut": sum((row.finish or "").lower() in CUT for row in done),
        "empty": sum(_says_nothing(row) for row in found.get((*place, RULES), ())),
        "tokens": _tokens(done),
        "scorers": {scorer: _scorer(found[*place, scorer], one) for scorer in scorers},
    }


def _says_nothing(row: Joined) -> bool:
    return row.scored is not None and row.scored.label == "empty"


def _scorer(rows: Sequence[Joined], one: Benchmark) -> dict[str, Any]:
    statuses = Counter(
        row.judgement.status if row.judgement is not None else "not judged"
        for row in rows
        if row.generation.status == "done"
    )
    judges = sorted({j.judge for row in rows if (j := row.judgement) is not None and j.judge})
    found = {
        "statuses": dict(sorted(statuses.items())),
        "judge": ", ".join(judges) or None,
        "metrics": measured(rows),
        "categories": _parts(rows, "category"),
        "subsets": {**_parts(rows, "subset"), **_groups(rows, one)},
        "confusion": confusion(rows),
    }
    return {
        name: value
        for name, value in found.items()
        if value != {} or name in ("metrics", "statuses")
    }


def _parts(rows: Sequence[Joined], name: str) -> dict[str, Any]:
    parts = _grouped(rows, lambda row: str(row.generation.item.get(name) or ""))
    if set(parts) <= {""}:
        return {}
    return {part: measured(of_part) for part, of_part in parts.items() if part}


def _groups(rows: Sequence[Joined], one: Benchmark) -> dict[str, Any]:
    parts = {
        name: [row for row in rows if row.generation.item.get("category") in categories]
        for name, categories in one.groups.items()
    }
    return {name: measured(of_part) for name, of_part in parts.items() if of_part}


def _tokens(rows: Sequence[Generation]) -> dict[str, float | None]:
    """Sums over responses; None where some were not counted."""

    def total(counts: Iterable[int | None]) -> int | None:
        known = list(counts)
        return None if None in known else sum(count or 0 for count in known)

    completion = total(row.completion_tokens for row in rows)
    return {
        "prompt": total(row.prompt_tokens for row in rows),
        "completion": completion,
        "mean_completion": completion / len(rows) if completion is not None and rows else None,
    }


def _grouped(rows: Iterable[Any], key: Callable[[Any], str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def incomplete(metrics: Mapping[str, Any]) -> bool:
    """Whether some item has no response, or some response no judgement."""
    for one in metrics["benchmarks"].values():
        for mode in one["modes"].values():
            judged = all({*s["statuses"]} <= {"scored"} for s in mode["scorers"].values())
            if one["skipped"] or mode["errors"] or not judged:
                return True
    return False
