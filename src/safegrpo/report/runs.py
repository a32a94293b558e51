"""What a report is about: evaluations and trainings, read from the folders of runs.

Whatever is missing is left out; whatever cannot be read becomes a note. Nothing read is trusted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from safegrpo.data.jsonl import read_jsonl
from safegrpo.errors import DataError, InputFileError, SafeGRPOError
from safegrpo.evaluation.rows import (
    GENERATIONS_FILE,
    JUDGEMENTS_FILE,
    MANIFEST_FILE,
    METRICS_FILE,
    Generation,
    Judgement,
)
from safegrpo.report.figures import RunFigures, read_figures
from safegrpo.report.text import visible

HISTORY_FILE, SUMMARY_FILE, EVALUATIONS = "metrics.jsonl", "summary.json", "eval"
SHOWN_TEXT = 200_000  # characters of a manifest or recipe

Row = TypeVar("Row", Generation, Judgement)


@dataclass(frozen=True)
class Evaluation:
    """One evaluated model. Rows are bare: what only a reader needs is read once it is shown."""

    name: str
    folder: Path
    figures: RunFigures
    generations: tuple[Generation, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """One training run; `history` has a row for each logged step, `facts` are for display."""

    name: str
    history: tuple[dict[str, float], ...]
    facts: tuple[tuple[str, str], ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Runs:
    """All that a page is made of. `baseline` is what other evaluations are compared with."""

    evaluations: tuple[Evaluation, ...]
    trainings: tuple[Training, ...]
    baseline: Evaluation | None
    notes: tuple[str, ...]


def read_runs(folders: Sequence[Path], baseline: Path | None = None) -> Runs:
    """Evaluations that are one of `folders` or lie in their `eval/`, and their trainings.

    `baseline` is added in front if it is none of them; by default the first evaluation is it where
    there are several, `before` first. Raises InputFileError for a folder that is no run, DataError
    if nothing in them can be read.
    """
    given = list(dict.fromkeys(folder.resolve() for folder in folders))
    base = baseline.resolve() if baseline else None
    named = {folder.resolve(): folder for folder in (*folders, *([baseline] if baseline else []))}
    if base and not any(base in (f, *_evaluations(f)) for f in given):
        given.insert(0, base)
    notes: list[str] = []
    evaluations: list[Evaluation] = []
    trainings: list[Training] = []
    for folder in given:
        if not folder.is_dir():
            raise InputFileError(f"run folder {named[folder]} does not exist")
        found = _evaluations(folder)
        trained = (folder / HISTORY_FILE).is_file()
        if not found and not trained:
            raise InputFileError(
                f"{named[folder]} holds no {METRICS_FILE}, {GENERATIONS_FILE} or {HISTORY_FILE}; "
                "name the folder of a run"
            )
        for one in found:
            below = "" if one == folder else one.name
            name = "/".join(
                filter(None, (folder.name if len(given) > 1 or not below else "", below))
            )
            evaluations.append(_evaluation(_free(name, evaluations), one, notes))
        if trained:
            trainings.append(_training(_free(folder.name, trainings), folder, notes))
    evaluations = [e for e in evaluations if e.figures.benchmarks or e.generations]
    trainings = [t for t in trainings if t.history]
    if not evaluations and not trainings:
        listed = ", ".join(map(str, folders))
        raise DataError(f"nothing in {listed} can be reported: {'; '.join(notes) or 'no rows'}")
    return Runs(tuple(evaluations), tuple(trainings), _baseline(evaluations, base), tuple(notes))


def rows(folder: Path, file: str, kind: type[Row], notes: list[str]) -> Iterator[Row]:
    """Rows of a file up to the first that cannot be read, which becomes a note."""
    path = folder / file
    if not path.is_file():
        return
    line = 0
    try:
        for number, row in read_jsonl(path, torn_tail=True):
            yield kind.from_json(row)
            line = number
    except SafeGRPOError as error:
        said = str(error).replace(f"{folder}/", "")
        notes.append(f"{file} is shown up to line {line}, for then it cannot be read: {said}"[:400])


def _evaluations(folder: Path) -> list[Path]:
    def is_one(path: Path) -> bool:
        return (path / METRICS_FILE).is_file() or (path / GENERATIONS_FILE).is_file()

    inner = folder / EVALUATIONS
    below = sorted(inner.iterdir()) if inner.is_dir() else []
    order = {"before": 0, "after": 2}
    below.sort(key=lambda path: (order.get(path.name, 1), path.name))
    return [path for path in (folder, *below) if is_one(path)]


def _free(name: str, others: Sequence[Evaluation] | Sequence[Training]) -> str:
    taken = {other.name for other in others}
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name} ({count})"
    return free


def _baseline(evaluations: Sequence[Evaluation], wanted: Path | None) -> Evaluation | None:
    if wanted is None:
        return evaluations[0] if len(evaluations) > 1 else None
    for one in evaluations:
        if wanted in (one.folder, one.folder.parent.parent):
            return one
    raise DataError(f"--baseline {wanted} has no answers to compare with; name an evaluation")


def _evaluation(name: str, folder: Path, notes: list[str]) -> Evaluation:
    own: list[str] = []
    figures = RunFigures()
    if (folder / METRICS_FILE).is_file():
        try:
            figures = read_figures(folder / METRICS_FILE, own)
        except (SafeGRPOError, OSError) as error:
            own.append(f"{METRICS_FILE} cannot be read: {error}".replace(f"{folder}/", ""))
    else:
        own.append(f"there is no {METRICS_FILE}: answers are shown without numbers")
    generations = {
        row.key: replace(row, response="", steps={}, item=_bare(row.item))
        for row in rows(folder, GENERATIONS_FILE, Generation, own)
    }
    judgements = {
        (row.key, row.scorer): replace(row, answer=None, reason="", problem="")
        for row in rows(folder, JUDGEMENTS_FILE, Judgement, own)
    }
    notes += [f"{name}: {note}" for note in own]
    return Evaluation(
        name,
        folder,
        figures,
        tuple(generations.values()),
        tuple(judgements.values()),
        _texts(folder),
    )


def _bare(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in ("prompt", "notes")}


def _training(name: str, folder: Path, notes: list[str]) -> Training:
    history: list[dict[str, float]] = []
    own: list[str] = []
    try:
        for _, row in read_jsonl(folder / HISTORY_FILE, torn_tail=True):
            numbers = {visible(k): float(v) for k, v in row.items() if _is_number(v)}
            if "step" in numbers:
                history.append(numbers)
    except SafeGRPOError as error:
        own.append(f"{HISTORY_FILE} is read up to its first unreadable row: {error}")
    facts: list[tuple[str, str]] = []
    if (folder / SUMMARY_FILE).is_file():
        try:
            facts = _facts(json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            own.append(f"{SUMMARY_FILE} cannot be read: {error}")
    notes += [f"{name}: {note}".replace(f"{folder}/", "") for note in own]
    return Training(name, tuple(history), tuple(facts), _texts(folder))


def _facts(summary: Any) -> list[tuple[str, str]]:
    """What a demo says of itself beside its rates, which its evaluations hold."""
    if not isinstance(summary, dict):
        raise DataError("it is no object")
    facts = [(key, f"{value}") for key, value in summary.items() if isinstance(value, str | int)]
    seconds = summary.get("seconds")
    for key, value in seconds.items() if isinstance(seconds, dict) else ():
        if _is_number(value):
            facts.append((key, f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"))
    return facts


def _texts(folder: Path) -> dict[str, str]:
    found = {}
    for name in (MANIFEST_FILE, "config.yaml"):
        path = folder / name
        if path.is_file() and not path.is_symlink():
            with path.open(encoding="utf-8", errors="replace") as file:
                found[name] = file.read(SHOWN_TEXT)
    return found


def _is_number(value: Any) -> TypeGuard[float]:
    """A number that can be drawn: no NaN, no infinity, no integer that a float cannot hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100
