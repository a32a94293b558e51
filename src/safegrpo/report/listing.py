"""The table that answers are filtered and listed by: what a page reads before any text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from safegrpo.evaluation.rows import Generation, Judgement
from safegrpo.report.runs import identity
from safegrpo.report.text import cut

SNIPPET = 110  # characters of a prompt in the list

Item = tuple[str, str, str]  # benchmark, id and content: an id alone may be of several items


class Row(NamedTuple):
    """A response that is shown, and what scorers made of it."""

    run: str
    generation: Generation
    judgements: tuple[Judgement, ...]


def item_of(row: Generation) -> Item:
    """What was asked."""
    return row.benchmark, row.id, identity(row)


def index_of(shown: Sequence[Row], baseline: str, titles: Mapping[str, str]) -> dict[str, Any]:
    """`items` as a list shows them, for each answer its place in them, and what filters go by.

    `titles` are what benchmarks are called.
    """
    items: dict[Item, int] = {}
    first: list[Generation] = []
    for row in shown:
        if items.setdefault(item_of(row.generation), len(items)) == len(first):
            first.append(row.generation)
    odd = _disagreements(shown, baseline)
    benchmarks = [row.generation.benchmark for row in shown]
    columns: tuple[tuple[str, str, Iterable[Sequence[str]]], ...] = (
        ("run", "Run", ([row.run] for row in shown)),
        ("benchmark", "Benchmark", ([titles.get(name, name)] for name in benchmarks)),
        ("category", "Category", (_one(row.generation.item.get("category")) for row in shown)),
        ("mode", "Mode", ([row.generation.mode] for row in shown)),
        ("verdict", "Verdict", (_verdicts(row) for row in shown)),
        ("tag", "Stated tag, together", (_combined(row) for row in shown)),
        ("status", "Status", (_statuses(row) for row in shown)),
        ("odd", "Disagreement", odd),
    )
    return {
        "items": _listed_items(first),
        "item": [items[item_of(row.generation)] for row in shown],
        "sample": [int(row.generation.sample) for row in shown],
        "facets": [{"key": k, "label": label} | _coded(values) for k, label, values in columns],
    }


def _listed_items(first: Sequence[Generation]) -> list[list[str]]:
    """Of each item benchmark, id and what a list shows of it.

    Where most items of a benchmark share one prompt, which tells nothing, that is their intent, or
    nothing, and the category stands beside it.
    """
    prompts = [" ".join(str(row.item.get("prompt") or "").split()) for row in first]
    sizes = Counter(row.benchmark for row in first)
    times = Counter(zip((row.benchmark for row in first), prompts, strict=True))
    found = []
    for row, prompt in zip(first, prompts, strict=True):
        said = [cut(row.benchmark, 200), cut(row.id, 400)]
        if 1 < times[row.benchmark, prompt] > sizes[row.benchmark] / 2:
            notes = row.item.get("notes")
            intent = notes.get("intent") if isinstance(notes, Mapping) else None
            shown = " ".join(intent.split()) if isinstance(intent, str) else ""
            said += [prompt_start(shown), cut(row.item.get("category"), 200)]
        else:
            said.append(prompt_start(prompt))
        found.append(said)
    return found


def prompt_start(prompt: str) -> str:
    """As much of a prompt as a list shows."""
    return cut(prompt if len(prompt) <= SNIPPET else prompt[: SNIPPET - 1] + "…")


def _coded(values: Iterable[Sequence[str]]) -> dict[str, Any]:
    """Each row's words as a number, and what the numbers stand for."""
    known: dict[tuple[str, ...], int] = {}
    codes = [known.setdefault(tuple(cut(v, 200) for v in value), len(known)) for value in values]
    return {"values": [list(words) for words in known], "codes": codes}


def _one(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else []


def _verdicts(row: Row) -> list[str]:
    """By each scorer; of questions right or wrong, for what was read from an answer may be any
    word."""
    question = row.generation.item.get("expected") == "answer"
    found = []
    for one in row.judgements:
        label: Any = one.label
        if question and isinstance(one.correct, bool):
            label = "right" if one.correct else "wrong"
        if one.status == "scored" and label:
            found.append(f"{one.scorer}: {label}")
    return found


def _combined(row: Row) -> list[str]:
    for one in row.judgements:
        if isinstance(one.tags, Mapping):
            tag = one.tags.get("combined")
            return [tag if isinstance(tag, str) else "none"]
    return []


def _statuses(row: Row) -> list[str]:
    done = row.generation.status
    found = [f"answer: {done}"]
    if done == "done" and row.generation.finish == "length":
        found.append("answer: cut off")
    return found + [f"{j.scorer}: {j.status}" for j in row.judgements]


def _disagreements(shown: Sequence[Row], baseline: str) -> list[list[str]]:
    by_place = {(row.run, row.generation.key): row for row in shown}
    found = []
    for row in shown:
        key, said = row.generation.key, [j for j in row.judgements if j.status == "scored"]
        words = [
            f"scorers differ: {name}"
            for name in ("refused", "safe")
            if {True, False} <= {flag for j in said if isinstance(flag := getattr(j, name), bool)}
        ]
        twin = by_place.get((row.run, key._replace(mode=_OTHER.get(key.mode, ""))))
        if twin and _differ(row, twin):
            words.append("guided and direct differ")
        other = by_place.get((baseline, key)) if row.run != baseline else None
        same = other is not None and item_of(other.generation) == item_of(row.generation)
        if other and same and _differ(row, other):
            words.append("differs from the baseline")
        found.append(words)
    return found


_OTHER = {"guided": "direct", "direct": "guided"}


def _differ(one: Row, other: Row) -> bool:
    """Whether a scorer of both, with one judge, says something else of them."""
    theirs = {(j.scorer, str(j.judge)): j for j in other.judgements if j.status == "scored"}
    return any(
        (getattr(j, name), getattr(their, name)) in ((True, False), (False, True))
        for j in one.judgements
        if j.status == "scored" and (their := theirs.get((j.scorer, str(j.judge))))
        for name in ("refused", "safe", "correct")
    )
