"""The page: one HTML file with its styles, script, plots, texts and images inside.

Every string that comes from a run goes through `text.html`, or as JSON through `textContent` in
the script; the security policy lets only our one script and style sheet count, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterator
from importlib.resources import files

from safegrpo.report import comparison, sections
from safegrpo.report.changes import Changes
from safegrpo.report.public import model_name
from safegrpo.report.runs import Runs
from safegrpo.report.samples import Samples
from safegrpo.report.text import html, script_json

SCRIPTS = ("page.js", "texts.js", "browser.js", "detail.js")
"""Put together in this order they are the one script of the page."""


def page(runs: Runs, samples: Samples) -> Iterator[str]:
    """The page in pieces; the large ones come last, so that the rest is there at once."""
    css = _asset("page.css")
    js = '"use strict";\n(() => {\n' + "".join(map(_asset, SCRIPTS)) + "})();\n"
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; "
        f"script-src '{_hash(js)}'; base-uri 'none'; form-action 'none'"
    )
    title = _title(runs)
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" '
        f'content="no-referrer">\n<title>{html(title)} · SafeGRPO report</title>\n'
        f"<style>{css}</style>\n</head>\n<body>\n"
    )
    changes = Changes(runs.baseline) if runs.baseline else None
    parts = {
        "summary": comparison.summary(runs, changes),
        "tradeoff": sections.trade(runs),
        "benchmarks": comparison.by_benchmark(runs, changes),
        "tags": sections.confusion(runs),
        "training": sections.training(runs),
        "cost": sections.cost(runs),
        "samples": _samples(samples),
        "made": _made(runs, samples),
    }
    there = [name for name, part in parts.items() if part]
    yield _header(runs, title, there) + "\n"
    yield from (parts[name] + "\n" for name in there)
    yield f'<script type="application/json" id="index">{script_json(samples.index)}</script>\n'
    yield f"<script>{js}</script>\n"
    for name, blocks in (("texts", samples.blocks), ("images", samples.pictures.blocks)):
        for number, block in enumerate(blocks):
            body = script_json(block)
            yield f'<script type="application/json" id="{name}-{number}">{body}</script>\n'
    yield "</body>\n</html>\n"


def _asset(name: str) -> str:
    return files("safegrpo.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _title(runs: Runs) -> str:
    names = [one.name for one in runs.trainings] + [one.name for one in runs.evaluations]
    return names[0] if len(names) == 1 or runs.trainings else " and ".join(names[:3])


def _header(runs: Runs, title: str, there: Collection[str]) -> str:
    """What the page is about, with links to those of its parts that are `there`."""
    evaluations, baseline = runs.evaluations, runs.baseline
    if baseline and len(evaluations) > 1:
        heading = "What changed"
        others = ", ".join(one.name for one in evaluations if one is not baseline)
        said = f"{others} against {baseline.name}, on safety and on usefulness."
    elif evaluations:
        heading, said = "How safe, how useful", "One model's answers, measured on both sides."
    else:
        last = max(row["step"] for run in runs.trainings for row in run.history)
        heading = "Training log"
        said = f"GRPO training up to step {last:g}. These folders hold no evaluation."
    facts = [(f"model of {one.name}", model_name(one.figures.model)) for one in evaluations]
    facts += [fact for run in runs.trainings for fact in run.facts]
    shown = "".join(
        f"<div><dt>{html(name.replace('_', ' '))}</dt><dd>{html(value)}</dd></div>"
        for name, value in facts
        if value
    )
    links = "".join(
        f'<a href="#{place}">{name}</a>'
        for place, name in (
            ("summary", "Summary"),
            ("training", "Training"),
            ("samples", "Answers"),
            ("made", "How it was made"),
        )
        if place in there
    )
    notes = "".join(f"<li>{html(note)}</li>" for note in runs.notes)
    return (
        f'<header><p class="kicker"><b>SafeGRPO</b> <span>{html(title)}</span></p>'
        f'<h1>{heading}</h1><p class="lead">{html(said)}</p>'
        + (f'<dl class="facts">{shown}</dl>' if shown else "")
        + f'<nav aria-label="On this page">{links}</nav>'
        + (f'<ul class="notes" aria-label="Could not be read">{notes}</ul>' if notes else "")
        + "</header>"
    )


def _samples(samples: Samples) -> str:
    """The frame of the browser; the script fills it, because without one it can do nothing."""
    if not samples.shown:
        return ""
    said = f"All {samples.total:,} answers."
    if samples.shown < samples.total:
        said = (
            f"{samples.shown:,} of {samples.total:,} answers, to items spread evenly over the "
            "benchmarks; the rest is left out to keep the page small."
        )
    return (
        f'<section id="samples"><h2>Answers</h2><p class="lead">{said} Images are blurred until '
        "you ask for them. Keys: j and k, or the arrows, for the next and the one before.</p>"
        "<noscript><p>Browsing the answers needs JavaScript; all else on this page does not.</p>"
        "</noscript></section>"
    )


def _made(runs: Runs, samples: Samples) -> str:
    licences = "".join(
        f'<tr><th scope="row">{html(runs.titles[name])}</th><td>{html(one.licence or "not told")}'
        "</td></tr>"
        for name, one in comparison.benchmarks_of(runs).items()
    )
    out = [*sections.left_out(runs), *samples.notes]
    if samples.pictures.blocks:
        out.append(f"images are copies of at most {samples.pictures.side} pixels")
    notes = "".join(f"<li>{html(note)}</li>" for note in out)
    texts = [(one.name, one.texts) for one in runs.evaluations]
    texts += [(one.name, one.texts) for one in runs.trainings]
    files_said = "".join(
        f'<details class="file"><summary>{html(run)}: {html(name)}</summary>'
        f'<pre tabindex="0">{html(text)}</pre></details>'
        for run, found in texts
        for name, text in found.items()
    )
    return (
        '<section id="made"><h2>How it was made</h2>'
        + (
            '<p class="rule"><b>Before you pass this on:</b> questions, images and answers of '
            "these sets are shown for reading. Most licences do not let images be published "
            "again, and some answers may be harmful.</p>"
            f'<div class="wide"><table class="licences"><thead><tr><th scope="col">Set</th>'
            f'<th scope="col">Licence</th></tr></thead><tbody>{licences}</tbody></table></div>'
            if licences
            else ""
        )
        + (f'<h3>Left out</h3><ul class="plain">{notes}</ul>' if notes else "")
        + files_said
        + "</section>"
    )
