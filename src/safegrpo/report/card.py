"""The card of a model that was evaluated: its numbers, how each was made, what was not measured.

Cards are published, so where files and endpoints lie stays out of them. Nothing that comes from a
file is markup here: in the body it stands as code, in the front matter as YAML's own strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from safegrpo.data.jsonl import parse_object, read_text
from safegrpo.errors import DataError, InputFileError
from safegrpo.evaluation.rows import MANIFEST_FILE, METRICS_FILE
from safegrpo.report.figures import RunFigures, read_figures
from safegrpo.report.public import (
    CHECKPOINTS,
    HUB_NAME,
    judge_name,
    model_name,
    told,
    without_places,
)
from safegrpo.report.reading import check_depth, own_file
from safegrpo.report.results import AXES, Row, axes, rows_of_runs
from safegrpo.report.tables import as_markdown, code, in_cell, one_line

CARD_FILE = "README.md"
MADE_BY = "<!-- a card by safegrpo: it is replaced when another is written -->"
"""The line before a card's title, by which it is told from a person's own README."""

TRAINING = "<!-- how it was trained -->", "<!-- end of how it was trained -->"
"""Lines around what a card that training has written says, and an evaluation's card keeps."""

_LIMIT = 4 * 2**20
_FACT = 2000  # characters of one fact of a manifest
_MODES = {"guided": "without the guide (`direct`)", "direct": "with the guide (`guided`)"}
_GENERAL_LIMITS = """\
- Intervals are about the items: how training and sampling vary between seeds is not in them.
- Rules and judges err. A number is only as good as the scorer named beside it, and two scorers'
  numbers are not comparable.
- Sets are public: a model may have seen them. Low attack success on them is no promise for others.
- A refusal is no use to anybody who asked for something harmless: read safety and over-refusal
  together."""


@dataclass(frozen=True)
class Evaluated:
    """An evaluation's folder as a card needs it; `notes` say what of it could not be read."""

    name: str
    figures: RunFigures
    manifest: Mapping[str, Any]
    base_model: str | None
    notes: tuple[str, ...] = ()


def read_evaluated(folder: Path) -> Evaluated:
    """What an evaluation left in `folder`.

    Raises InputFileError if it is none, DataError naming the file that cannot be read.
    """
    notes: list[str] = []
    path = own_file(folder, METRICS_FILE)
    if not folder.is_dir():
        raise InputFileError(f"{folder} is no folder here")
    if path is None:
        below = sorted(folder.glob(f"eval/*/{METRICS_FILE}"))
        mend = f"; name {below[0].parent}" if below else "; make one with safegrpo eval"
        if (folder / CHECKPOINTS / "last" / CARD_FILE).is_file():
            mend += f" (the trained model's own card is in {folder / CHECKPOINTS / 'last'})"
        raise InputFileError(f"{folder} holds no {METRICS_FILE}{mend}")
    try:
        figures = read_figures(path, notes)
    except DataError as error:
        raise DataError(f'file "{path}": {error}') from error
    manifest: Mapping[str, Any] = {}
    if (file := own_file(folder, MANIFEST_FILE)) is not None:
        manifest = _manifest(file, notes)
    return Evaluated(
        name=folder.resolve().name,
        figures=figures,
        manifest=manifest,
        base_model=trained_from(folder),
        notes=tuple(notes),
    )


def _manifest(file: Path, notes: list[str]) -> Mapping[str, Any]:
    """What it says, but for what is nested too deep, which is named in `notes`."""
    said = parse_object(read_text(file, _LIMIT).encode(), f'file "{file}"')
    for key in list(said):
        try:
            check_depth({key: said[key]})
        except DataError as error:
            notes.append(f"{file.name}: {key[:80]} is left out: {error}")
            del said[key]
    return said


def trained_from(folder: Path) -> str | None:
    """The model that training began with, by the recipe of a run, or of a checkpoint's run.

    None where there is no recipe. Raises DataError if `config.yaml` cannot be read.
    """
    folder = folder.resolve()
    run = folder.parent.parent if folder.parent.name == CHECKPOINTS else folder
    path = own_file(run, "config.yaml")
    if path is None:
        return None
    text = read_text(path, _LIMIT)
    try:
        recipe = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f'file "{path}" is no YAML: {error}') from error
    if not isinstance(recipe, dict) or "grpo" not in recipe:  # another config.yaml
        return None
    model = recipe.get("model")
    return model if isinstance(model, str) else None


def is_ours(card: str) -> bool:
    """Whether we have written `card`; one that only quotes from ours is somebody's own."""
    return MADE_BY in f"\n{card}".partition("\n# ")[0].split("\n")


def training_part(card: str) -> str | None:
    """What training wrote into `card`, with the lines around it; None if there is nothing."""
    begin, end = (card.find(f"\n{line}\n") for line in TRAINING)
    if not is_ours(card) or not 0 <= begin < end:
        return None
    return card[begin + 1 : end + 1] + TRAINING[1]


def model_card(
    runs: Sequence[Evaluated],
    license: str = "unknown",
    base_model: str | None = None,
    name: str | None = None,
    training: str | None = None,
) -> str:
    """A model card in Markdown, with the front matter of the Hugging Face hub.

    It is the card of the first run's model. Other runs of that model add to its results; those of
    other models are shown beside them, and stay out of the front matter. `license` is an identifier
    of the hub. `base_model` counts where the runs do not say. `name` replaces the model's.
    `training` is the `training_part` of the card before this one.
    """
    if not runs:
        raise ValueError("a card needs a run")
    named = _named(runs)
    model = runs[0].figures.model
    own = {key: run for key, run in named.items() if run.figures.model == model}
    title = one_line(model_name(name or model or runs[0].name))
    base = next((run.base_model for run in own.values() if run.base_model), base_model)
    if base == model:
        base = None
    rows = rows_of_runs({key: run.figures for key, run in named.items()})
    front: dict[str, Any] = {
        "license": license,
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        **({"base_model": base} if base and on_hub(base) else {}),
        "tags": ["safegrpo", "safety", "multimodal"],
    }
    results = list(_index(own, rows))
    if results:
        front["model-index"] = [{"name": title, "results": results}]
    lines = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)}---",
        MADE_BY,
        f"# {code(title)}",
        *([f"Trained from {code(model_name(base))}."] if base else []),
        "How safe this vision-language model is, and how useful. Written by `safegrpo card`.",
        "## Results",
        as_markdown(rows).rstrip(),
        "## How the numbers were made",
        *(part for key, run in named.items() for part in _made(key, run)),
        "## The sets",
        _sets(named),
        "Licences are those stated by the sets, and hold for them and not for this model. Images "
        "of a set are not to be published again unless its licence says so.",
        *([training] if training else []),
        "## Known limits",
        "\n".join([*_limits(own, rows), _GENERAL_LIMITS]),
    ]
    return "\n\n".join(lines) + "\n"


def _named(runs: Sequence[Evaluated]) -> dict[str, Evaluated]:
    """The runs by name, those of one name numbered."""
    named: dict[str, Evaluated] = {}
    for run in runs:
        key, number = run.name, 1
        while key in named:
            number += 1
            key = f"{run.name} ({number})"
        named[key] = run
    return named


def on_hub(name: str) -> bool:
    """Whether this is the name of a model or set on the hub, and no file or folder here."""
    return bool(HUB_NAME.fullmatch(name)) and not Path(name).exists()


def _index(own: Mapping[str, Evaluated], rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """One entry of the hub's model-index for each run and benchmark: its headline metrics."""
    for run, evaluated in own.items():
        for name, benchmark in evaluated.figures.benchmarks.items():
            metrics = [
                {
                    "type": one_line(metric),
                    "value": round(figure.value, 6),
                    "name": one_line(f"{metric} ({row.mode}, scored by {row.scorer})"),
                    "args": {
                        "mode": one_line(row.mode),
                        "scorer": one_line(row.scorer),
                        **figure.model_dump(include={"n", "low", "high", "coverage"}),
                    },
                }
                for row in rows
                if (row.run, row.benchmark) == (run, name)
                for metric in row.headline
                if (figure := row.metrics.get(metric)) and figure.value is not None and figure.known
            ]
            if metrics:
                yield {
                    "task": {
                        "type": "image-text-to-text",
                        "name": one_line(benchmark.measures) or "safety",
                    },
                    "dataset": {
                        "type": one_line(name),
                        "name": one_line(benchmark.title) or one_line(name),
                    },
                    "metrics": metrics,
                }


def _made(name: str, run: Evaluated) -> Iterator[str]:
    """How a run's numbers came about, as its manifest and metrics have it."""
    said = run.manifest
    model = said["model"] if isinstance(said.get("model"), Mapping) else {}
    facts = {
        "Model": model_name(run.figures.model) or None,
        "Modes": ", ".join(run.figures.modes) or None,
        "Temperature": model.get("temperature"),
        "Samples": said.get("samples"),
        "Token limit": said.get("max_new_tokens"),
        "Limit": _drawn(run),
        "Versions": said.get("versions"),
        "Data": said.get("data"),
    }
    yield f"### {code(name)}"
    lines = {key: told(value) for key, value in facts.items()}
    yield "\n".join(f"- {key}: {code(line, _FACT)}" for key, line in lines.items() if line)
    table = [
        "| set | mode | scorer | judge | responses | errors | cut | empty | judged |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for benchmark in run.figures.benchmarks.values():
        for mode, asked in benchmark.modes.items():
            for scorer, scored in asked.scorers.items():
                judge = in_cell(judge_name(scored.judge)) if scored.judge else "none"
                cells = [*map(in_cell, (benchmark.title, mode, scorer)), judge]
                counts = (asked.generated, asked.errors, asked.cut, asked.empty)
                cells += ["–" if count is None else str(count) for count in counts]
                cells.append(in_cell(told(scored.statuses)))
                table.append(f"| {' | '.join(cells)} |")
    yield "\n".join(table)


def _drawn(run: Evaluated) -> str | None:
    """Of which sets only some items were asked, such as `Microcosm 60 of 754 items`."""
    sets = run.figures.benchmarks
    found = [f"{one.title or name} {one.extent.removesuffix(' of the set')}"
             for name, one in sets.items() if one.partial]  # fmt: skip
    limit = run.manifest.get("limit")
    if not found and isinstance(limit, int):  # of sets whose size is not known
        found = [f"at most {limit} items of a set"]
    return ", ".join(found) or None


def _sets(named: Mapping[str, Evaluated]) -> str:
    lines = ["| run | set | measures | licence | items | left out |", "|---|---|---|---|---|---|"]
    for run, evaluated in named.items():
        for name, one in evaluated.figures.benchmarks.items():
            cells = [run, one.title or name, one.measures, one.licence or "unknown"]
            count = one.extent.partition(" items")[0]  # such as 40 of 500
            skipped = in_cell(told(one.skipped)) if one.skipped else "none"
            lines.append(f"| {' | '.join(map(in_cell, cells))} | {count} | {skipped} |")
    return "\n".join(lines)


def _limits(own: Mapping[str, Evaluated], rows: Sequence[Row]) -> Iterator[str]:
    """What these runs leave unknown of the model."""
    rows = [row for row in rows if row.run in own]
    measured = {axis.name: axis for axis in axes(rows)}
    for axis in AXES:
        if axis not in measured:
            yield f"- Not measured: {axis} ({', '.join(AXES[axis][0])})."
    modes = {row.mode for row in rows}
    for mode, other in _MODES.items():
        if modes == {mode}:
            yield f"- Not measured: what the model does {other}."
    if {row.scorer for row in rows} <= {"rules"}:
        yield "- No judge has read the answers: behavior is told by rules from their wording."
    if len(own) == 1:
        yield "- One training run: how far one of another seed would differ is not known."
    missing = {
        (row.title, figure.coverage)
        for row in rows
        for metric in row.headline
        if (figure := row.metrics.get(metric)) and figure.coverage is not None
        if figure.coverage < 1
    }
    for title in sorted({title for title, _ in missing}):
        least = min(share for one, share in missing if one == title)
        yield f"- Of {code(title)} as little as {100 * least:.1f} % is known; see the bounds."
    for run in own.values():
        for name, one in run.figures.benchmarks.items():
            for mode, asked in one.modes.items():
                where = code(f"{one.title or name}, {mode}")
                yield from (f"- {where}: {said}." for said in asked.silent)
            if one.partial:
                yield f"- {code(one.title or name)}: asked were {one.extent}."
        yield from (f"- Not read: {code(without_places(note))}" for note in run.notes)
