"""Answers to look at: a small table to filter, and the texts in blocks that are read when shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from safegrpo.evaluation.rows import (
    GENERATIONS_FILE,
    IMAGES_FOLDER,
    JUDGEMENTS_FILE,
    Generation,
    Judgement,
    Key,
)
from safegrpo.report.listing import Item, Row, index_of, item_of
from safegrpo.report.public import judge_name, without_places
from safegrpo.report.runs import Evaluation, Runs, identity, rows
from safegrpo.report.steps import parts
from safegrpo.report.text import cut
from safegrpo.report.thumbnails import Pictures, draw

BLOCK_ROWS = 200
MAX_IMAGES = 12  # of one answer


@dataclass(frozen=True)
class Samples:
    """`index` is what filters need, `blocks` the texts, row by row, `pictures` the images."""

    index: Mapping[str, Any] = field(default_factory=dict)
    blocks: tuple[Mapping[str, Any], ...] = ()
    pictures: Pictures = field(default_factory=Pictures)
    shown: int = 0
    total: int = 0
    notes: tuple[str, ...] = ()


def collect(runs: Runs, limit: int, image_budget: int) -> Samples:
    """At most `limit` answers of all evaluations, those to one item beside each other.

    `image_budget` is in bytes before base64; 0 leaves images out.
    """
    chosen = spread(runs.evaluations, limit)
    place = {item: number for number, item in enumerate(chosen)}
    shown = sorted(
        (row for run in runs.evaluations for row in _full(run, place)),
        key=lambda row: place[item_of(row.generation)],
    )[:limit]
    total = sum(len(run.generations) for run in runs.evaluations)
    if not shown:
        return Samples(total=total)
    folders = {run.name: run.folder / IMAGES_FOLDER for run in runs.evaluations}
    wanted = ((row.run, name) for row in shown for name in _images(row.generation))
    pictures = draw(wanted, folders, image_budget) if image_budget else Pictures()
    notes = []
    if not image_budget:
        notes.append("images are left out, as was asked for")
    elif pictures.unfit:
        mib = image_budget / 2**20
        notes.append(f"{pictures.unfit:,} images are left out: they are more than {mib:g} MiB")
    blocks = tuple(
        _block(shown[start : start + BLOCK_ROWS], pictures)
        for start in range(0, len(shown), BLOCK_ROWS)
    )
    baseline = runs.baseline.name if runs.baseline else ""
    index = {"blockRows": BLOCK_ROWS} | index_of(shown, baseline, runs.titles)
    return Samples(index, blocks, pictures, len(shown), total, tuple(notes))


def spread(evaluations: Sequence[Evaluation], limit: int) -> list[Item]:
    """Items evenly spread over all there are, such that their answers are at most `limit`.

    One item alone may have more.
    """
    counts: dict[Item, int] = {}
    for run in evaluations:
        for row in run.generations:
            counts[item_of(row)] = counts.get(item_of(row), 0) + 1
    items, total = list(counts), sum(counts.values())
    if total <= limit:
        return items
    count = min(len(items), limit, limit * len(items) // total + 1)
    while count > 1:
        chosen = [items[i * len(items) // count] for i in range(count)]
        over = sum(counts[item] for item in chosen) - limit
        if over <= 0:
            return chosen
        count -= max(1, over * count // (2 * total))
    return items[:1]


def _full(run: Evaluation, place: Mapping[Item, int]) -> Iterator[Row]:
    """The chosen rows of a run with their texts; what is unreadable has been noted before."""
    content = {row.key: row.content for row in run.generations if item_of(row) in place}
    said: dict[Key, dict[str, Judgement]] = {}
    for one in rows(run.folder, JUDGEMENTS_FILE, Judgement, []):
        if one.key in content:
            said.setdefault(one.key, {})[one.scorer] = one
    last = {
        row.key: row
        for row in rows(run.folder, GENERATIONS_FILE, Generation, [])
        if content.get(row.key) == identity(row)
    }
    for key, row in last.items():
        yield Row(run.name, row, tuple(said.get(key, {}).values()))


def _images(row: Generation) -> list[str]:
    names = row.images if isinstance(row.images, tuple) else ()
    return [name for name in names if isinstance(name, str)][:MAX_IMAGES]


def _block(shown: Sequence[Row], pictures: Pictures) -> dict[str, Any]:
    """Rows of the page as they are shown; a row's `item` is a place in `items`."""
    items: dict[str, int] = {}
    known: list[dict[str, Any]] = []
    made = []
    for row in shown:
        about = _about(row.generation)
        number = items.setdefault(repr(about), len(known))
        if number == len(known):
            known.append(about)
        made.append({"item": number} | _answer(row, pictures))
    return {"items": known, "rows": made}


def _about(row: Generation) -> dict[str, Any]:
    item = row.item
    tags, notes, key = (item.get(name) for name in ("tags", "notes", "key"))
    if item.get("expected") == "refuse":  # then what the key holds is the harmful help
        key = None
    return _said(
        {
            "prompt": cut(item.get("prompt")),
            "category": cut(item.get("category"), 200),
            "subset": cut(item.get("subset"), 200),
            "expected": cut(item.get("expected"), 200),
            "tags": _texts(tags),
            "notes": _texts(notes),
            "key": cut(key.get("right"), 2000) if isinstance(key, Mapping) else "",
            "choices": _listed(key.get("choices") if isinstance(key, Mapping) else None),
        }
    )


def _answer(row: Row, pictures: Pictures) -> dict[str, Any]:
    one = row.generation
    response = cut(one.response)
    split = parts(response) if one.mode == "guided" else [("answer", response)]
    places = [pictures.places.get((row.run, name)) for name in _images(one)]
    return _said(
        {
            "status": one.status,
            "problem": without_places(cut(one.problem, 2000)),
            "parts": [list(part) for part in split if part[1]],
            "steps": _texts(one.steps),
            "images": [list(place) for place in places if isinstance(place, tuple)],
            "missing": [cut(place, 400) for place in places if isinstance(place, str)],
            "finish": cut(one.finish, 40),
            "tokens": [t if isinstance(t, int) else None for t in
                       (one.prompt_tokens, one.completion_tokens)],
            "judgements": [_judged(j, response) for j in row.judgements],
        }
    )  # fmt: skip


def _judged(one: Judgement, response: str) -> dict[str, Any]:
    flags = {name: getattr(one, name) for name in
             ("safe", "refused", "useful", "correct", "well_formed")}  # fmt: skip
    score = one.score
    return _said(
        {
            "scorer": cut(one.scorer, 100),
            "judge": cut(judge_name(one.judge), 200),
            "status": one.status,
            "label": cut(one.label, 200),
            **{name: flag for name, flag in flags.items() if isinstance(flag, bool)},
            "score": float(score) if isinstance(score, int | float) and 0 <= score <= 1 else None,
            # What was judged, unless it is to be seen as it stands in the response.
            "answer": "" if str(one.answer or "") in response else cut(one.answer),
            "tags": _texts(one.tags),
            "faults": _listed(one.faults),
            "reason": cut(one.reason),
            "problem": without_places(cut(one.problem, 2000)),
        }
    )


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if v is False or v not in (None, "", [], {}, [None, None])}


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {cut(k, 100): cut(v) for k, v in list(value.items())[:50] if v is not None}


def _listed(value: Any) -> list[str]:
    return [cut(v, 2000) for v in value[:50]] if isinstance(value, list | tuple) else []
