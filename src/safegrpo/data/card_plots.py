"""The plots of a set's card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safegrpo.errors import MissingDependencyError
from safegrpo.thinking import TAG_NAMES


def plot_cells(path: Path, cells: Mapping[str, int]) -> None:
    """A bar for each tag cell."""
    figure, axes = _figure(1)
    names = list(cells)
    bars = axes[0].barh(names, [cells[name] for name in names], color="#3b6ea5")
    axes[0].bar_label(bars, padding=3)
    axes[0].set_xlabel("pairs")
    axes[0].margins(x=0.12)  # room for the counts
    axes[0].set_title("image / text / both")
    axes[0].invert_yaxis()
    _save(figure, path)


def plot_numbers(
    path: Path,
    name: str,
    rated: Mapping[str, Sequence[int]],
    written: Mapping[str, Sequence[int]],
    edges: Sequence[float],
) -> None:
    """How many pairs have which number, for each modality; thresholds as lines."""
    figure, axes = _figure(3)
    bounds = [place / 2 - 0.25 for place in range(22)]  # a step around each half
    for axis, modality in zip(axes, TAG_NAMES, strict=True):
        axis.stairs(rated[modality], bounds, fill=True, color="#c9d3de", label="rated")
        axis.stairs(written[modality], bounds, fill=True, color="#3b6ea5", label="in this set")
        for edge in edges:
            axis.axvline(edge, color="#b03030", linewidth=1, linestyle="--")
        axis.set_title(modality)
        axis.set_xticks(range(0, 11, 2))
    axes[0].set_ylabel("pairs")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(name)
    _save(figure, path)


def check_plotting() -> None:
    """Raises MissingDependencyError if plots cannot be made: better before the work than after."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "a card's plots need matplotlib: pip install 'safegrpo[judge]'"
        ) from error


def _figure(columns: int) -> tuple[Any, Sequence[Any]]:
    # The object interface: pyplot would keep global state, and ask for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * max(columns, 2), 3.2), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, sharey=columns > 1)[0]
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
