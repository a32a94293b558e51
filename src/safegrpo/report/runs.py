"""What a report is about: evaluations and trainings, read from the folders of runs.

Whatever is missing is left out; whatever cannot be read becomes a note. Nothing read is trusted.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from safegrpo.data.jsonl import parse_object, read_jsonl, read_text
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
from safegrpo.report.public import (
    published,
    settings_without_places,
    value_without_places,
    without_places,
)
from safegrpo.report.reading import check_depth, own_file
from safegrpo.report.text import visible

HISTORY_FILE, SUMMARY_FILE, EVALUATIONS = "metrics.jsonl", "summary.json", "eval"
RECIPE_FILE = "config.yaml"
SHOWN_TEXT = 200_000  # characters of a manifest or recipe
_LIMIT = 4 * 2**20  # bytes of a manifest or summary that is read

Row = TypeVar("Row", Generation, Judgement)


@dataclass(frozen=True)
class Evaluation:
    """One evaluated model. Rows are bare: what only a reader needs is read once it is shown.

    Their `content` is `identity`'s, whatever the file says.
    """

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

    @property
    def titles(self) -> dict[str, str]:
        """What each benchmark is called, by its id; those of one title are told apart."""
        found: dict[str, str] = {}
        for run in self.evaluations:
            for name, one in run.figures.benchmarks.items():
                found.setdefault(name, one.title or name)
        times = Counter(found.values())
        return {name: t if times[t] == 1 else f"{t} ({name})" for name, t in found.items()}


def read_runs(folders: Sequence[Path], baseline: Path | None = None) -> Runs:
    """Evaluations that are one of `folders` or lie in their `eval/`, and their trainings.

    `baseline` is added in front if it is none of them; by default the first evaluation is it where
    there are several, `before` first. Raises InputFileError for a folder that is no run, DataError
    if nothing in them can be read.
    """
    given = list(dict.fromkeys(folder.resolve() for folder in folders))
    base = baseline.resolve() if baseline else None
    named = {folder.resolve(): folder for folder in (*folders, *([baseline] if baseline else []))}
    if base and not any(base in (f, *_evaluations(f, [])) for f in given):
        given.insert(0, base)
    notes: list[str] = []
    evaluations: list[Evaluation] = []
    trainings: list[Training] = []
    for folder in given:
        if not folder.is_dir():
            raise InputFileError(f"run folder {named[folder]} does not exist")
        found = _evaluations(folder, notes)
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
    said = tuple(map(without_places, notes))
    return Runs(tuple(evaluations), tuple(trainings), _baseline(evaluations, base), said)


def identity(row: Generation) -> str:
    """What tells its item from others of the same id: its content, or if the row has none, its
    prompt."""
    if row.content and isinstance(row.content, str):
        return row.content
    prompt = str(row.item.get("prompt")).encode("utf-8", "surrogatepass")
    return "prompt " + hashlib.sha256(prompt).hexdigest()[:16]


def rows(folder: Path, file: str, kind: type[Row], notes: list[str]) -> Iterator[Row]:
    """Rows of a file up to the first that cannot be read, which becomes a note."""
    line = 0
    try:
        if (path := own_file(folder, file)) is None:
            return
        for number, row in read_jsonl(path, torn_tail=True):
            check_depth(row)
            yield kind.from_json(row)
            line = number
    except (SafeGRPOError, OSError, ArithmeticError, RecursionError) as error:
        said = f"{file} is shown up to line {line}, for then it cannot be read: {error}"
        notes.append(without_places(said)[:400])


def _evaluations(folder: Path, notes: list[str]) -> list[Path]:
    """Of a resolved folder: itself if it is one, and those in its `eval/`."""

    def is_one(path: Path) -> bool:
        return (path / METRICS_FILE).is_file() or (path / GENERATIONS_FILE).is_file()

    inner = folder / EVALUATIONS
    below = sorted(inner.iterdir()) if inner.is_dir() else []
    order = {"before": 0, "after": 2}
    below.sort(key=lambda path: (order.get(path.name, 1), path.name))
    own = [path for path in below if path.resolve().is_relative_to(folder)]
    notes += [
        f"{folder.name}: {EVALUATIONS}/{path.name} is a link out of the run's folder and is not "
        "read; name the folder itself"
        for path in below
        if path not in own and is_one(path)
    ]
    return [path for path in (folder, *own) if is_one(path)]


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
    try:
        if (path := own_file(folder, METRICS_FILE)) is not None:
            figures = read_figures(path, own)
        else:
            own.append(f"there is no {METRICS_FILE}: answers are shown without numbers")
    except (SafeGRPOError, OSError) as error:
        own.append(f"{METRICS_FILE} cannot be read: {error}")
    generations = {
        row.key: replace(
            row, response="", steps={}, problem="", item=_bare(row.item), content=identity(row)
        )
        for row in rows(folder, GENERATIONS_FILE, Generation, own)
    }
    judgements = {
        (row.key, row.scorer): replace(row, answer=None, reason="", problem="")
        for row in rows(folder, JUDGEMENTS_FILE, Judgement, own)
    }
    texts = _texts(folder, own)
    notes += [f"{name}: {note}" for note in own]
    return Evaluation(
        name, folder, figures, tuple(generations.values()), tuple(judgements.values()), texts
    )


def _bare(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in ("prompt", "notes")}


def _training(name: str, folder: Path, notes: list[str]) -> Training:
    history: list[dict[str, float]] = []
    own: list[str] = []
    try:
        path = own_file(folder, HISTORY_FILE)
        for _, row in read_jsonl(path, torn_tail=True) if path else ():
            numbers = {visible(k): float(v) for k, v in row.items() if _is_number(v)}
            if "step" in numbers:
                history.append(numbers)
    except (SafeGRPOError, OSError) as error:
        own.append(f"{HISTORY_FILE} is read up to its first unreadable row: {error}")
    facts: list[tuple[str, str]] = []
    try:
        if (path := own_file(folder, SUMMARY_FILE)) is not None:
            facts = _facts(parse_object(read_text(path, _LIMIT).encode(), "its text"))
    except (SafeGRPOError, OSError) as error:
        own.append(f"{SUMMARY_FILE} cannot be read: {error}")
    texts = _texts(folder, own)
    notes += [f"{name}: {note}" for note in own]
    return Training(name, tuple(history), tuple(facts), texts)


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a demo says of itself beside its rates, which its evaluations hold."""
    facts = [
        (value_without_places(key), value_without_places(f"{value}"))
        for key, value in summary.items()
        if isinstance(value, str | int)
    ]
    seconds = summary.get("seconds")
    for key, value in seconds.items() if isinstance(seconds, dict) else ():
        if _is_number(value):
            facts.append((key, f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"))
    return facts


def _texts(folder: Path, notes: list[str]) -> dict[str, str]:
    """Manifest and recipe as they may be published."""
    found = {}
    for name in (MANIFEST_FILE, RECIPE_FILE):
        try:
            if (path := own_file(folder, name)) is None:
                continue
            if name == RECIPE_FILE:
                with path.open(encoding="utf-8", errors="replace") as file:
                    text = settings_without_places(file.read(SHOWN_TEXT))
            else:
                manifest = parse_object(read_text(path, _LIMIT).encode(), "its text")
                check_depth(manifest)
                text = json.dumps(published(manifest), indent=1, ensure_ascii=False)[:SHOWN_TEXT]
        except (SafeGRPOError, OSError) as error:
            notes.append(f"{name} is not shown: {error}")
            continue
        found[name] = text
    return found


def _is_number(value: Any) -> TypeGuard[float]:
    """A number that can be drawn: no NaN, no infinity, no integer that a float cannot hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100
