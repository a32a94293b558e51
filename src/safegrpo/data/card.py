"""The card of a selected set: what is in it, what it was made with, how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.jsonl import write_text_atomic
from safegrpo.errors import MissingDependencyError
from safegrpo.thinking import TAG_NAMES

_LIMITS = """\
- The tags are a model's judgement against the policy above, and not people's; see how far they
  agree before relying on them.
- Pairs that the judge found unclear, or was not sure of, are left out: what is hard to judge is
  rarer here than in the world.
- What is unsafe depends on the policy. A set made with another policy is another set.
- Near-duplicates are found by the look of images and the wording of prompts; translations,
  paraphrases, mirrored and strongly cropped images are not.
- A published set among the sources may be part of what a model is later measured by.
- Licences are those stated by the sources. "unknown" does not mean free: ask before publishing."""


def write_card(
    folder: Path, report: Mapping[str, Any], plotted: Mapping[str, Sequence[Sequence[float]]]
) -> None:
    """Write README.md with its plots into `folder`; `plotted` holds three numbers a pair each of
    "scores" and "confidences"."""
    _plot_cells(folder / "plots" / "cells.png", report["cells"])
    thresholds = report["thresholds"]
    edges = {
        "scores": (thresholds["unsafe_max"], thresholds["safe_min"]),
        "confidences": (thresholds["min_confidence"],),
    }
    for name, rows in plotted.items():
        _plot_numbers(folder / "plots" / f"{name}.png", name, rows, edges[name])
    write_text_atomic(folder / "README.md", _text(report))


def _text(report: Mapping[str, Any]) -> str:
    splits = "".join(
        f"  - split: {name}\n    path: data/{name}-*.parquet\n" for name in report["splits"]
    )
    thresholds, ratings = report["thresholds"], report["ratings"]
    rows = [
        "---",
        "pretty_name: Safety tags for image-text pairs",
        "task_categories:\n- image-text-to-text",
        "tags:\n- safety\n- multimodal",
        f"size_categories:\n- {_size(report['kept'])}",
        f"configs:\n- config_name: default\n  data_files:\n{splits.rstrip()}",
        "---",
        "",
        "# Safety tags for image-text pairs",
        "",
        "**Some of the content is harmful on purpose**: it is there so that models learn to "
        "decline it.",
        "",
        f"{report['kept']} pairs of images and prompt, each with three safety tags: the image, the "
        "text, and both together (`image_tag`, `text_tag`, `combine_tag`), the scores and "
        "confidences behind them, and the judge's reasons. Made with `safegrpo annotate` and "
        "`safegrpo select`; the columns are those of SafeTag-VL-3K (arXiv 2511.12982) and more.",
        "",
        "## What is in it",
        "",
        _table(("image / text / both", "pairs"), report["cells"]),
        "![tag cells](plots/cells.png)",
        "",
        _table(("split", "pairs"), report["splits"]),
        _table(("source", "pairs"), report["sources"]),
        _table(("licence", "pairs"), report["licenses"]),
        "## How the tags were made",
        "",
        *(
            f"- Judge: {_cell(judge.get('model'))}, temperature {judge.get('temperature')}"
            for judge in ratings.get("judges", ())
        ),
        f"- Votes of each judge: {ratings.get('votes')}; wording {_cell(ratings.get('wording'))}; "
        f"SHA-256 of the policy {_cell(ratings.get('policy_sha256'))}",
        f"- A score up to {thresholds['unsafe_max']:g} is unsafe, from {thresholds['safe_min']:g} "
        f"on safe, between them the pair is left out; all three confidences are at least "
        f"{thresholds['min_confidence']:g}",
        f"- Seed of the selection: {report['choice']['seed']}",
        "",
        "![scores](plots/scores.png) ![confidences](plots/confidences.png)",
        "",
        f"Of {report['rows']} rated pairs these were left out:",
        "",
        _table(("reason", "pairs"), report["dropped"]),
        "Flagged, and kept, for somebody to look at (`flags`):",
        "",
        _table(("flag", "pairs"), report["flags"]),
        "## How far to trust them",
        "",
        *_trust(report),
        "",
        "## Known limits",
        "",
        _LIMITS,
        "",
    ]
    return "\n".join(rows)


def _trust(report: Mapping[str, Any]) -> list[str]:
    lines = []
    if report["agreement"]:
        lines += ["Votes against each other (95 % intervals, over pairs):", ""]
        lines += ["| | pairs | alpha of tags | alpha of scores | kappa | all equal |"]
        lines += ["|---|---|---|---|---|---|"]
        for name in TAG_NAMES:
            one = report["agreement"][name]
            kinds = ("alpha_tags", "alpha_scores", "kappa", "percent_equal")
            lines.append(
                f"| {name} | {one['units']} | "
                + " | ".join(_estimate(one[kind]) for kind in kinds)
                + " |"
            )
        lines.append("")
    else:
        lines += ["One vote a pair: how far votes agree is not known.", ""]
    if report["people"]:
        lines += ["The judge against people's labels:", "", "| | n | accuracy | kappa |"]
        lines += ["|---|---|---|---|"]
        for name in TAG_NAMES:
            one = report["people"][name]
            lines.append(
                f"| {name} | {one['n']} | {_estimate(one['accuracy'])} | "
                f"{_estimate(one['kappa'])} |"
            )
    else:
        lines.append("No sample was labelled by people (`safegrpo annotate --audit N`).")
    return lines


def _estimate(one: Mapping[str, Any]) -> str:
    if one.get("value") is None:
        return "–"
    low, high = one.get("low"), one.get("high")
    span = f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    return f"{one['value']:.2f}{span}"


def _table(head: tuple[str, str], counts: Mapping[str, int]) -> str:
    if not counts:
        return "none\n"
    rows = "".join(f"| {_cell(name)} | {count} |\n" for name, count in counts.items())
    return f"| {head[0]} | {head[1]} |\n|---|---|\n{rows}"


def _cell(text: object) -> str:
    """Somebody's text inside a Markdown table or line: one line, without markup."""
    kept = "".join(c if c.isprintable() else " " for c in str(text))[:200]
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|#!&" else c for c in kept)


def _size(rows: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")):
        if rows < limit:
            return name
    return "100K<n<1M"


def _plot_cells(path: Path, cells: Mapping[str, int]) -> None:
    figure, axes = _figure(1)
    names = list(cells)
    bars = axes[0].barh(names, [cells[name] for name in names], color="#3b6ea5")
    axes[0].bar_label(bars, padding=3)
    axes[0].set_xlabel("pairs")
    axes[0].set_title("image / text / both")
    axes[0].invert_yaxis()
    _save(figure, path)


def _plot_numbers(
    path: Path, name: str, rows: Sequence[Sequence[float]], edges: Sequence[float]
) -> None:
    figure, axes = _figure(3)
    bins = [x - 0.5 for x in range(12)]
    for column, (axis, modality) in enumerate(zip(axes, TAG_NAMES, strict=True)):
        axis.hist([row[column] for row in rows], bins=bins, color="#3b6ea5", rwidth=0.9)
        for edge in edges:
            axis.axvline(edge, color="#b03030", linewidth=1, linestyle="--")
        axis.set_title(modality)
        axis.set_xticks(range(0, 11, 2))
    axes[0].set_ylabel("pairs")
    figure.suptitle(name)
    _save(figure, path)


def _figure(columns: int) -> tuple[Any, Sequence[Any]]:
    try:
        # The object interface: pyplot would keep global state, and ask for a display.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "a card's plots need matplotlib: pip install 'safegrpo[judge]'"
        ) from error
    figure = Figure(figsize=(3.2 * max(columns, 2), 3.2), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, sharey=columns > 1)[0]
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
