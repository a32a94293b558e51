"""One self-contained page for a run: `write_report(run_dir)` leaves `report.html`.

This module reads the run folder into a `Run`; `html` turns a `Run` into a page, `plots` draws.
Whatever is missing is left out of the page; whatever cannot be read is named on it. Nothing read
here is trusted: text is escaped where it is written, images are decoded and drawn anew.
"""

import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from safegrpo.data.images import ImageRef, open_image, resolve_image
from safegrpo.data.jsonl import read_jsonl, write_text_atomic
from safegrpo.errors import DataError, InputFileError, SafeGRPOError
from safegrpo.report.html import page

MAX_SAMPLES = 400  # rows embedded in the page
MAX_IMAGE_BYTES = 16 * 2**20  # all thumbnails together, before base64
MAX_PIXELS = 25_000_000  # an image larger than this is not decoded
THUMB_SIDE = 320
MAX_TEXT = 20_000  # characters of one field of one sample
PHASES = ("before", "after")
REWARD_PARTS = ("reward", "format", "tag", "behavior")
MODES = ("guided", "direct")


@dataclass(frozen=True)
class Rate:
    """A fraction in [0, 1] and the number of items behind it."""

    value: float
    n: int


@dataclass(frozen=True)
class Summary:
    """before/after: mode -> metric -> Rate, with parts named `metric/part`; facts: for display."""

    before: dict[str, dict[str, Rate]]
    after: dict[str, dict[str, Rate]]
    facts: tuple[tuple[str, str], ...]
    steps: int | None
    rules: str | None


@dataclass(frozen=True)
class Sample:
    """One answer of the model, as shown in the browser; `images` are keys of `Run.images`."""

    id: str
    phase: str
    mode: str
    kind: str
    prompt: str
    response: str
    answer: str | None
    expected: str | None
    target: dict[str, str] | None
    tags: dict[str, str] | None
    verdict: str
    correct: bool | None
    rewards: dict[str, float]
    faults: tuple[str, ...]
    images: tuple[str, ...]
    missing: tuple[str, ...]  # why an image is not shown


@dataclass(frozen=True)
class Run:
    """All that a page shows of a run; `notes` say what was left out of it, and why."""

    name: str
    summary: Summary | None
    history: tuple[dict[str, float], ...] = ()
    samples: tuple[Sample, ...] = ()
    sample_rows: int = 0
    images: dict[str, str] = field(default_factory=dict)  # key -> data URL
    texts: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def samples_json(self) -> str:
        return json.dumps({"images": self.images, "rows": [asdict(s) for s in self.samples]})


def write_report(run_dir: Path, output: Path | None = None) -> Path:
    """Writes the page of the run in `run_dir` (default `run_dir/report.html`), returns its path.

    Raises InputFileError when there is no run in the folder, DataError when none of it can be read.
    """
    output = output or run_dir / "report.html"
    text = page(read_run(run_dir))
    # A model's output can hold lone surrogates, which UTF-8 cannot.
    write_text_atomic(output, text.encode("utf-8", "replace").decode("utf-8"))
    return output


def read_run(run_dir: Path) -> Run:
    if not run_dir.is_dir():
        raise InputFileError(f"run folder {run_dir} does not exist")
    summary_path, metrics_path = run_dir / "summary.json", run_dir / "metrics.jsonl"
    if not summary_path.exists() and not metrics_path.exists():
        raise InputFileError(
            f"{run_dir} holds neither summary.json nor metrics.jsonl; name the folder of a run"
        )
    notes: list[str] = []
    summary = None
    if summary_path.exists():
        try:
            summary = _summary(json.loads(summary_path.read_text(encoding="utf-8")), notes)
        except (OSError, ValueError, RecursionError) as error:
            notes.append(f"summary.json cannot be read: {error}")
    numbers = (
        {key: float(value) for key, value in row.items() if _is_number(value)}
        for row in _rows(metrics_path, notes)
    )
    history = tuple(row for row in numbers if "step" in row)
    if summary is None and not history:
        why = "; ".join(notes) or "metrics.jsonl has no row with a step"
        raise DataError(f"nothing in {run_dir} can be reported: {why}")
    rows = list(_rows(run_dir / "samples.jsonl", notes))
    chosen = spread(rows, MAX_SAMPLES)
    thumbnails = _Thumbnails(run_dir)
    return Run(
        name=run_dir.resolve().name,
        summary=summary,
        history=history,
        samples=tuple(_sample(row, thumbnails) for row in chosen),
        sample_rows=len(rows),
        images=thumbnails.urls,
        texts={
            name: (run_dir / name).read_text(encoding="utf-8", errors="replace")[:200_000]
            for name in ("manifest.json", "config.yaml")
            if (run_dir / name).is_file() and not (run_dir / name).is_symlink()
        },
        # The page is sent to others: it does not tell them where the run lay.
        notes=tuple(note.replace(f"{run_dir}/", "") for note in notes),
    )


def spread(rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """At most `limit` rows, from ids evenly spread over the file, all rows of an id together."""
    by_id: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_id.setdefault(str(row.get("id", "")), []).append(row)
    groups, count = list(by_id.values()), min(len(by_id), limit)
    while count and sum(len(groups[i * len(groups) // count]) for i in range(count)) > limit:
        count -= 1
    if not count:  # one id alone has more
        return rows[:limit]
    return [row for i in range(count) for row in groups[i * len(groups) // count]]


def _rows(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Rows up to the first that cannot be read, which becomes a note."""
    if not path.exists():
        return
    try:
        for _, row in read_jsonl(path, torn_tail=True):
            yield row
    except SafeGRPOError as error:
        notes.append(f"{path.name} is shown up to its first unreadable row: {error}")


def _summary(data: Any, notes: list[str]) -> Summary:
    if not isinstance(data, dict) or not all(isinstance(data.get(k), dict) for k in PHASES):
        raise DataError('it needs an object with "before" and "after"')
    before, after = (
        {
            m: _rates(data[p][m], f"{p}/{m}", notes)
            for m in MODES
            if isinstance(data[p].get(m), dict)
        }
        for p in PHASES
    )
    facts: list[tuple[str, str]] = []
    for key, value in data.items():
        if isinstance(value, dict) and key not in PHASES:
            facts += [(f"{key}/{name}", _text(v)) for name, v in value.items() if _is_scalar(v)]
        elif _is_scalar(value):
            facts.append((key, _text(value)))
    facts.sort(key=lambda fact: "/" in fact[0])
    steps, rules = data.get("steps"), data.get("rules")
    steps = int(steps) if _is_number(steps) else None
    return Summary(before, after, tuple(facts), steps, rules if isinstance(rules, str) else None)


def _rates(measure: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Rate]:
    counts = measure.get("n")
    counts = counts if isinstance(counts, dict) else {}
    rates: dict[str, Rate] = {}
    for name, value in measure.items():
        if name == "n" or value is None:
            continue
        count = counts.get(name)
        for part, rate in value.items() if isinstance(value, dict) else [("", value)]:
            n = count.get(part) if isinstance(count, dict) else count
            path = f"{name}/{part}" if part else name
            if rate is None or n == 0:
                continue
            if _is_number(rate) and 0 <= rate <= 1 and _is_number(n) and n > 0 and n == int(n):
                rates[path] = Rate(float(rate), int(n))
            else:
                notes.append(f"{where}/{path} is left out: {rate!r} of n = {n!r} is no rate"[:300])
    return rates


def _sample(row: Mapping[str, Any], thumbnails: "_Thumbnails") -> Sample:
    shown, missing = [], []
    images = row.get("images")
    for image in images if isinstance(images, list) else []:
        try:
            shown.append(thumbnails.add(image))
        except (SafeGRPOError, OSError, ValueError) as error:
            why = str(error).replace(f"{thumbnails.root}/", "the run folder")
            missing.append(f"Image not shown: {why}"[:300])
    correct = row.get("correct")
    return Sample(
        **{key: _text(row.get(key)) for key in ("id", "phase", "mode", "kind", "prompt")},
        response=_text(row.get("response")),
        answer=None if row.get("answer") is None else _text(row["answer"]),
        expected=None if row.get("expected") is None else _text(row["expected"]),
        target=_tags(row.get("target")),
        tags=_tags(row.get("tags")),
        verdict=_text(row.get("verdict")),
        correct=correct if isinstance(correct, bool) else None,
        rewards={key: float(row[key]) for key in REWARD_PARTS if _is_number(row.get(key))},
        faults=tuple(map(_text, row["faults"])) if isinstance(row.get("faults"), list) else (),
        images=tuple(shown),
        missing=tuple(missing),
    )


class _Thumbnails:
    """Small PNGs drawn anew from the run's images, each image once however often it is used."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.urls: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._bytes = 0

    def add(self, image: Any) -> str:
        """The key of the image's thumbnail; raises DataError where it may not be shown."""
        if not isinstance(image, str):
            raise DataError("an image is a path or a data: URL")
        if image not in self._keys:
            png = self._png(image)
            if self._bytes + len(png) > MAX_IMAGE_BYTES:
                raise DataError("the page's room for images is used up")
            self._bytes += len(png)
            key = f"i{len(self.urls)}"
            self.urls[key] = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
            self._keys[image] = key
        return self._keys[image]

    def _png(self, image: str) -> bytes:
        small = open_image(self._ref(image), max_pixels=MAX_PIXELS)
        small.thumbnail((THUMB_SIDE, THUMB_SIDE))
        if small.width * small.height > 128 * 128:  # a palette makes a photograph a third as large
            small = small.quantize(256)
        buffer = io.BytesIO()
        small.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()

    def _ref(self, image: str) -> ImageRef:
        if not image.startswith("data:"):
            return ImageRef(path=resolve_image(self.root, image))
        head, _, body = image.partition(",")
        if not head.endswith(";base64"):
            raise DataError("a data: URL is read only in base64")
        return ImageRef(data=base64.b64decode(body), name="data: URL")


def _tags(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    names = ("visual", "text", "combined")
    return {name: _text(value[name]) for name in names if value.get(name) is not None}


def _text(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    cut = len(text) - MAX_TEXT
    return text if cut <= 0 else f"{text[:MAX_TEXT]} [… {cut} more characters]"


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and value != ""


def _is_number(value: Any) -> TypeGuard[float]:
    """A number that can be drawn: no NaN, no infinity, no integer that a float cannot hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e100
