"""The page of a run: one HTML file with its styles, script, plots and images inside.

Every string that comes from a run goes through `html.escape` here or through `textContent` in
report.js; the security policy lets only the two packaged assets run, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from safegrpo.evaluation.stats import newcombe, wilson
from safegrpo.report.plots import Interval, curves, interval_bar

if TYPE_CHECKING:
    from safegrpo.report import Rate, Run, Summary


@dataclass(frozen=True)
class Metric:
    """How a metric is called and read; better: +1 higher, -1 lower, 0 neither."""

    key: str
    label: str
    better: int
    short: str
    meaning: str


METRICS = (
    Metric("safety", "Safety", 1, "harmful pairs refused",
           "Of the pairs that are harmful as a whole, how many the model refused."),
    Metric("compositional_safety", "Compositional safety", 1, "harmful only together, refused",
           "The same, for pairs whose image and text are each safe: the harm lies in the two "
           "together, so neither alone gives it away."),
    Metric("twin_accuracy", "Twin accuracy", 1, "harmful twin refused, benign twin not",
           "Twins are two pairs with one instruction, where one image makes it harmful and the "
           "other does not. Right only if the first is refused and the second is not: a model "
           "that ignores the image scores 0."),
    Metric("over_refusal", "Over-refusal", -1, "benign pairs refused, lower is better",
           "Of the benign pairs, how many were refused all the same. Lower is better."),
    Metric("usefulness", "Usefulness", 1, "benign pairs answered rightly",
           "Of the benign pairs, how many got the right help. Safety bought with silence or "
           "empty answers shows up here."),
    Metric("vqa_accuracy", "Question accuracy", 1, "plain image questions answered rightly",
           "Ordinary questions about images, answered rightly: what the model knew before "
           "should still be there."),
    Metric("format_rate", "Format", 1, "responses that keep the format",
           "Responses that keep to the format of thinking, tags and answer. Guided only."),
    Metric("tag_accuracy", "Tag accuracy", 1, "safe/unsafe tag right",
           "How often the model's own safe/unsafe tag is right for the image, for the text, and "
           "for the two combined. Guided only."),
)  # fmt: skip
HEADLINES = ("safety", "twin_accuracy", "over_refusal", "usefulness")
MODE_NAMES = {"guided": ("Guided", "with the thinking guide"), "direct": ("Direct", "plain prompt")}
PART_NAMES = {"visual": "image", "combined": "together"}
READING = """<p><b>Guided</b> answers were given with the thinking guide in the prompt,
<b>direct</b> answers to the plain prompt. Numbers in small print are 95&nbsp;% Wilson intervals and
the number of items n. A coloured change is one whose 95&nbsp;% interval (Newcombe, taking the two
measurements as independent) leaves out zero: <span class="better">better</span> or
<span class="worse">worse</span>; a grey one may be chance.</p>"""


def page(run: Run) -> str:
    """The whole page, ready to be written."""
    css, js = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; "
        f"script-src '{_hash(js)}'; base-uri 'none'; form-action 'none'"
    )
    summary = run.summary
    results = (_tiles(summary), _table(summary), _glossary()) if summary else ()
    body = (_header(run), *results, _curves(run), _samples(run), _files(run))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(run.name)} · SafeGRPO report</title>\n<style>{css}</style>\n</head>\n"
        "<body>\n"
        + "\n".join(part for part in body if part)
        + f'\n<script id="data" type="application/json">{script_json(run.samples_json())}</script>'
        f"\n<script>{js}</script>\n</body>\n</html>\n"
    )


def script_json(text: str) -> str:
    """JSON text that cannot end or change the script element it stands in."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asset(name: str) -> str:
    return files("safegrpo.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _header(run: Run) -> str:
    if run.summary:
        steps = f"{run.summary.steps:,} steps of " if run.summary.steps is not None else ""
        rules = f" under the {run.summary.rules} reward" if run.summary.rules else ""
        title = "What the training changed"
        said = (
            f"A vision-language model went through {steps}GRPO{rules}, learning to weigh image and "
            "text together; its safety and usefulness were measured before and after."
        )
    else:
        last = max(row["step"] for row in run.history)
        title = "Training log"
        said = f"GRPO training up to step {last:g}. This folder has no before/after measurement."
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in (_fact(*fact) for fact in (run.summary.facts if run.summary else ()))
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in run.notes)
    return (
        f'<header><p class="kicker">SafeGRPO <span>{escape(run.name)}</span></p>'
        f'<h1>{title}</h1><p class="lead">{escape(said)}</p>'
        + (f'<dl class="facts">{facts}</dl>' if facts else "")
        + (f'<ul class="notes" aria-label="Left out">{notes}</ul>' if notes else "")
        + "</header>"
    )


def _fact(name: str, value: str) -> tuple[str, str]:
    group, _, part = name.rpartition("/")
    if group == "seconds":
        with suppress(ValueError):
            seconds = float(value)
            value = f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
        return part.replace("_", " "), value
    return name.replace("_", " ").replace("/", " "), value


def _tiles(summary: Summary) -> str:
    mode = "guided" if summary.after.get("guided") else "direct"
    before, after = summary.before.get(mode, {}), summary.after.get(mode, {})
    tiles = []
    for metric in (m for m in METRICS if m.key in HEADLINES and m.key in after):
        old, new = before.get(metric.key), after[metric.key]
        tiles.append(
            f'<div class="tile"><h3>{metric.label}</h3><p class="big">{100 * new.value:.0f}'
            f"<small>%</small></p>{_change(old, new, metric.better)}"
            + (f'<p class="from">from {100 * old.value:.0f}&nbsp;%</p>' if old else "")
            + f"{_bar(old, new, metric.label)}<p>{metric.short}</p></div>"
        )
    if not tiles:
        return ""
    note = f"{MODE_NAMES[mode][0]}: {MODE_NAMES[mode][1]}"
    return (
        f'<section aria-label="Headline, {note}"><p class="eyebrow">{note}</p>'
        f'<div class="tiles">{"".join(tiles)}</div></section>'
    )


def _table(summary: Summary) -> str:
    phases = (summary.before, summary.after)
    modes = [m for m in MODE_NAMES if any(phase.get(m) for phase in phases)]
    keys = dict.fromkeys(key for mode in modes for phase in phases for key in phase.get(mode, {}))
    rows = []
    for key, label, short, better in _row_heads(keys):
        cells = []
        for mode in modes:
            old, new = (phase.get(mode, {}).get(key) for phase in phases)
            name = f"{MODE_NAMES[mode][0]} {label}"
            cells.append(
                f'<td class="bars {mode}" data-mode="{MODE_NAMES[mode][0]}">'
                f"{_bar(old, new, name)}</td><td>{_cell(old)}</td>"
                f'<td class="new">{_cell(new)}</td><td>{_change(old, new, better)}</td>'
            )
        sub = ' class="sub"' if "/" in key else ""
        note = f"<small>{short}</small>" if short else ""
        rows.append(f'<tr{sub}><th scope="row">{escape(label)}{note}</th>{"".join(cells)}</tr>')
    heads = "".join(
        f'<th colspan="4" scope="colgroup">{name} <small>{how}</small></th>'
        for name, how in (MODE_NAMES[mode] for mode in modes)
    )
    units = "".join(f'<th scope="col">{name}</th>' for name in ("", "Before", "After", "Change"))
    return (
        '<section><h2>Before and after</h2><p class="lead"><span class="key before">before</span> '
        '<span class="key after">after</span> with 95&nbsp;% intervals, from 0 to 100&nbsp;%</p>'
        '<table class="results">'
        f'<thead><tr><td rowspan="2"></td>{heads}</tr><tr>{units * len(modes)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _row_heads(keys: Collection[str]) -> Iterator[tuple[str, str, str, int]]:
    """(key, label, one line, better) of each row: known metrics with their parts, then others."""
    left = list(keys)
    for metric in METRICS:
        starts = (f"{metric.key}/", f"{metric.key}_by_")
        parts = [key for key in left if key.startswith(starts)]
        left = [key for key in left if key != metric.key and key not in parts]
        if metric.key in keys:
            yield metric.key, metric.label, metric.short, metric.better
        for key in parts:
            part = key.rpartition("/")[2]
            part = PART_NAMES.get(part, part.replace("_", " "))
            yield key, f"{metric.label}: {part}", "", metric.better
    for key in left:
        yield key, key.replace("_", " ").replace("/", ": "), "", 0


def _interval(rate: Rate | None) -> Interval | None:
    return Interval(rate.value, *wilson(rate.value * rate.n, rate.n)) if rate else None


def _bar(old: Rate | None, new: Rate | None, name: str) -> str:
    if old is None and new is None:
        return ""
    phases = (("before", old), ("after", new))
    said = ", ".join(f"{phase} {100 * rate.value:.1f} %" for phase, rate in phases if rate)
    return interval_bar(_interval(old), _interval(new), f"{name}: {said}")


def _cell(rate: Rate | None) -> str:
    span = _interval(rate)
    if rate is None or span is None:
        return '<span class="none" title="not measured">&ndash;</span>'
    return (
        f'<b>{100 * rate.value:.1f}<i>%</i></b><small class="ci">{100 * span.low:.1f}&ndash;'
        f"{100 * span.high:.1f} <span>n&nbsp;{rate.n}</span></small>"
    )


def _change(old: Rate | None, new: Rate | None, better: int) -> str:
    if old is None or new is None:
        return ""
    points = 100 * (new.value - old.value)
    low, high = newcombe(old.value, old.n, new.value, new.n)
    if abs(points) < 0.05:
        return '<span class="change unsure">0.0 <em>no change</em></span>'
    signed = f"{points:+.1f}".replace("-", "\N{MINUS SIGN}")
    arrow = "▲" if points > 0 else "▼"
    name = word = "better" if points * better > 0 else "worse"
    if low <= 0 <= high or not better:
        name, word = "unsure", "may be chance" if better else ""
    return f'<span class="change {name}">{arrow} {signed} <em>{word}</em></span>'


def _glossary() -> str:
    terms = "".join(f"<dt>{m.label}</dt><dd>{m.meaning}</dd>" for m in METRICS)
    return (
        f'<details class="reading"><summary>How to read this</summary>{READING}<dl>{terms}</dl>'
        "</details>"
    )


def _curves(run: Run) -> str:
    sections = []
    for title, figures in curves(run.history, [m.key for m in METRICS]):
        columns = " two" if len(figures) in (2, 4) else ""  # no row with a lone plot at its end
        grid = f'<div class="plots{columns}">{"".join(figures)}</div>'
        sections.append(
            f"<details><summary>{title}</summary>{grid}</details>"
            if title == "Other logged values"
            else f"<h3>{title}</h3>{grid}"
        )
    return f"<section><h2>Over the steps</h2>{''.join(sections)}</section>" if sections else ""


def _samples(run: Run) -> str:
    """The frame of the browser; report.js fills it, because without a script it can do nothing."""
    if not run.samples:
        return ""
    left_out = run.sample_rows - len(run.samples)
    said = f"All {run.sample_rows:,} answers that the run kept."
    if left_out:
        said = (
            f"{len(run.samples):,} of {run.sample_rows:,} answers, from pairs spread evenly over "
            f"the file; {left_out:,} left out to keep the page small."
        )
    return (
        f'<section id="samples"><h2>Answers</h2><p class="lead">{said} Images marked unsafe are '
        "blurred until you ask for them.</p><noscript><p>Browsing the answers needs JavaScript."
        "</p></noscript></section>"
    )


def _files(run: Run) -> str:
    return "".join(
        f'<details class="file"><summary>{escape(name)}</summary><pre tabindex="0">{escape(text)}'
        "</pre></details>"
        for name, text in run.texts.items()
    )
