"""The card of a selected set: what is in it, what it was made with, how far to trust it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.agreed import Histogram, agreement, people_measured, total_usage
from safegrpo.data.card_plots import plot_cells, plot_numbers
from safegrpo.data.scores import POLICY_FILE
from safegrpo.data.select import STOCK_PROMPT, Candidate, Choice, Rated, Thresholds
from safegrpo.thinking import TAG_NAMES

_SHOWN = 50
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


def build_report(
    scores: Path,
    manifest: Mapping[str, Any],
    ratings: Rated,
    parts: Mapping[str, Sequence[Candidate]],
    dropped: Mapping[str, int],
    thresholds: Thresholds,
    choice: Choice,
) -> dict[str, Any]:
    """What `selection.json` says of a selection from the folder `scores`."""
    picked = [one for ones in parts.values() for one in ones]
    limits = thresholds.unsafe_max, thresholds.safe_min
    return {
        "rows": ratings.rows,
        "kept": len(picked),
        "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        "cells": _counts("/".join(one.cell) for one in picked),
        "splits": {name: len(ones) for name, ones in parts.items()},
        "split_cells": {n: _counts("/".join(one.cell) for one in o) for n, o in parts.items()},
        "sources": _counts(one.source for one in picked),
        "licenses": _counts(one.license for one in picked),
        "flags": _counts(flag for one in picked for flag in one.flags),
        "thresholds": vars(thresholds),
        "choice": vars(choice),
        "ratings": _made_with(manifest),
        "agreement": agreement(scores, *limits) if ratings.several_votes else None,
        "people": people_measured(scores),
        "usage": total_usage(scores),
    }


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _made_with(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the ratings depend on; but not where files and endpoints are, which is nobody's affair
    once the set is published."""
    judges = [one for one in manifest.get("judges") or () if isinstance(one, Mapping)]
    shown = [{key: value for key, value in one.items() if key != "url"} for one in judges]
    return {key: v for key, v in manifest.items() if key != "pairs"} | {"judges": shown}


def write_card(
    folder: Path, report: Mapping[str, Any], rated: Histogram, written: Histogram
) -> None:
    """Write README.md and plots into `folder`; what was rated stands behind what was written."""
    plot_cells(folder / "plots" / "cells.png", report["cells"])
    thresholds = report["thresholds"]
    edges = {
        "scores": (thresholds["unsafe_max"], thresholds["safe_min"]),
        "confidences": (thresholds["min_confidence"],),
    }
    for kind, lines in edges.items():
        path = folder / "plots" / f"{kind}.png"
        plot_numbers(path, kind, rated.counts[kind], written.counts[kind], lines)
    (folder / "README.md").write_text(_text(report), "utf-8")


def _text(report: Mapping[str, Any]) -> str:
    splits = "".join(
        f"  - split: {name}\n    path: data/{name}-*.parquet\n" for name in report["splits"]
    )
    thresholds, ratings = report["thresholds"], report["ratings"]
    rows = [
        "---",
        "pretty_name: Safety tags for image-text pairs",
        "license: other",
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
        "confidences behind them, and the judge's reasons. Other columns of the sources are in "
        "`meta_json`. Made with `safegrpo annotate` and "
        "`safegrpo select`; the columns are those of SafeTag-VL-3K (arXiv 2511.12982) and more.",
        "",
        "```python",
        'datasets.load_dataset("FOLDER")  # or: safegrpo train RECIPE --set data.train=FOLDER',
        "```",
        "",
        "## What is in it",
        "",
        _table(("image / text / both", "pairs"), report["cells"]),
        "![tag cells](plots/cells.png)",
        "",
        _table(("split", "pairs"), report["splits"]),
        _table(("source", "pairs"), report["sources"]),
        _table(("licence", "pairs"), report["licenses"]),
        _parted(report["stock_prompts"]),
        "",
        "## How the tags were made",
        "",
        *(
            f"- Judge: {_quote(judge.get('model'))}, temperature {_quote(judge.get('temperature'))}"
            for judge in ratings["judges"]
        ),
        f"- Votes of each judge: {_quote(ratings.get('votes'))}",
        f"- Wording {_quote(ratings.get('wording'))}; policy in `{POLICY_FILE}`, SHA-256 "
        f"{_quote(ratings.get('policy_sha256'))}",
        *_spent(report["usage"]),
        f"- A score up to {thresholds['unsafe_max']:g} is unsafe, from {thresholds['safe_min']:g} "
        f"on safe, between them the pair is left out; all three confidences are at least "
        f"{thresholds['min_confidence']:g}",
        f"- Seed of the selection: {report['choice']['seed']}",
        "",
        "Light: all that was rated; dark: what is in this set.",
        "",
        "![scores](plots/scores.png) ![confidences](plots/confidences.png)",
        "",
        f"Of {report['rows']} rated pairs these were left out:",
        "",
        _table(("reason", "pairs"), report["dropped"]),
        *_unrated(report["not_rated"]),
        "Flagged, and kept, for somebody to look at (`flags`):",
        "",
        _table(("flag", "pairs"), report["flags"]),
        *_left_out(report["columns_left_out"]),
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


def _parted(stock_prompts: int) -> str:
    said = "Near-duplicate images and near-duplicate prompts are in one split"
    if not stock_prompts:
        return f"{said}."
    return f"{said}, but for {stock_prompts} prompts that more than {STOCK_PROMPT} pairs share."


def _spent(usage: Mapping[str, Any]) -> list[str]:
    if not usage:
        return []
    cost = "" if usage.get("cost") is None else f", cost {usage['cost']:.4g}"
    return [
        f"- {usage['answered']:,} replies, {usage['prompt_tokens']:,} tokens asked and "
        f"{usage['completion_tokens']:,} answered, over all runs{cost}"
    ]


def _unrated(count: int) -> list[str]:
    return [f"**{count} more pairs of the source were never rated.**", ""] if count else []


def _left_out(columns: Mapping[str, int]) -> list[str]:
    if not columns:
        return []
    said = "Columns of the sources that are not here, for JSON cannot hold them:"
    return [said, "", _table(("column", "pairs"), columns)]


def _trust(report: Mapping[str, Any]) -> list[str]:
    lines = []
    if report["agreement"]:
        lines += ["Votes against each other (95 % intervals, over pairs):", ""]
        lines += ["| | pairs | alpha of tags | alpha of scores | kappa | all equal |"]
        lines += ["|---|---|---|---|---|---|"]
        for name in TAG_NAMES:
            one = report["agreement"][name]
            kinds = ("alpha_tags", "alpha_scores", "kappa", "share_equal")
            lines.append(
                f"| {name} | {one['units']} | "
                + " | ".join(_estimate(one[kind]) for kind in kinds)
                + " |"
            )
        lines.append("")
    else:
        lines += ["One vote a pair: how far votes agree is not known.", ""]
    if report["against_source"]:
        lines += ["Tags that the sources state themselves, and the judge's share that agrees:", ""]
        lines += ["| | pairs | agree |", "|---|---|---|"]
        lines += [
            f"| {name} | {one['n']} | {_estimate(one)} |"
            for name, one in report["against_source"].items()
        ]
        lines.append("")
    if report["people"]:
        lines += ["The judge against people's labels (accuracy where both decided):", ""]
        lines += ["| | labelled | decided | accuracy | kappa | people's alpha |"]
        lines += ["|---|---|---|---|---|---|"]
        for name in TAG_NAMES:
            one = report["people"][name]
            measures = ("accuracy", "kappa", "people_alpha")
            lines.append(
                f"| {name} | {one['n']} | {one['accuracy']['n']} | "
                + " | ".join(_estimate(one[kind]) for kind in measures)
                + " |"
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
    """A table of counts; of very many, as sources named row by row, the largest."""
    if not counts:
        return "none\n"
    shown = counts
    if len(counts) > _SHOWN:
        shown = dict(sorted(counts.items(), key=lambda one: -one[1])[:_SHOWN])
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    lines += [f"| {_quote(name)} | {count} |" for name, count in shown.items()]
    if len(counts) > len(shown):
        rest = sum(counts.values()) - sum(shown.values())
        lines.append(f"| {len(counts) - len(shown)} others | {rest} |")
    return "\n".join(lines) + "\n"


def _quote(text: object) -> str:
    """Somebody's text as code, in which nothing is markup, link or cell; one line of it."""
    kept = "".join(c if c.isprintable() else " " for c in str(text)[:200])
    kept = " ".join(kept.replace("`", "'").replace("|", "/").split())
    return f"`{kept or '(empty)'}`"


def _size(rows: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")):
        if rows < limit:
            return name
    return "100K<n<1M"
