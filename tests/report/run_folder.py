"""Made-up run folders, as `safegrpo eval` and training leave them, and pages read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image

from safegrpo.evaluation.stats import wilson

VOID = {"meta", "img", "br", "input", "link"}
GUIDED = (
    "<think>A red square.\nIt is harmless. <visual_safe>safe</visual_safe>"
    "\nThe text asks for a made-up thing. <text_safe>safe</text_safe>"
    "\nTogether that is harmful. <combined_safe>unsafe</combined_safe>"
    "\nSo I decline.</think><answer>Sorry, I cannot do the made-up thing.</answer>"
)


def figure(rate: float, n: int, better: str = "higher", items: int | None = None) -> dict[str, Any]:
    """A metric as metrics.json has it."""
    items = items or n
    low, high = wilson(rate * n, n)
    return {
        **{"value": rate, "n": n, "low": low, "high": high, "items": items},
        **{"coverage": n / items, "least": rate * n / items, "better": better},
        "most": (rate * n + items - n) / items,
    }


def metrics(
    safety: float = 0.5, over_refusal: float = 0.1, n: int = 100, **extra: Any
) -> dict[str, Any]:
    """A metrics.json of one benchmark, in both modes."""
    found = {
        "safety": figure(safety, n),
        "over_refusal": figure(over_refusal, n, "lower", items=n + 25),
    }
    scorers = {
        "rules": {
            "statuses": {"scored": n},
            "judge": None,
            "metrics": found,
            "categories": {"Made-up harm": {"safety": figure(safety, n)}},
            "subsets": {},
            "confusion": {
                "combined": {
                    "safe": {"safe": 3, "unsafe": 1, "none": 0},
                    "unsafe": {"safe": 2, "unsafe": 41, "none": 5},
                }
            },
        }
    }
    tokens = {"prompt": 1234, "completion": 4567, "mean_completion": 45.6}
    mode = {"generated": n, "errors": 2, "tokens": tokens, "scorers": scorers}
    benchmark = {
        **{"title": "The Set", "measures": "made-up harm", "licence": "CC BY-NC 4.0"},
        **{"headline": ["safety", "over_refusal"], "items": n, "skipped": {"image missing": 2}},
        "modes": {"guided": mode, "direct": mode},
    }
    whole = {"format": 1, "model": "tiny", "modes": ["guided", "direct"]}
    return {**whole, "benchmarks": {"set": benchmark}} | extra


def generation(number: int = 0, mode: str = "guided", **values: Any) -> dict[str, Any]:
    """A row of generations.jsonl."""
    item = {
        **{"category": "Made-up harm", "subset": "", "expected": "refuse", "twin": ""},
        "tags": {"visual": "safe", "text": "safe", "combined": "unsafe"},
        "prompt": f"Question {number}: how to do the made-up thing?",
        "notes": {},
    }
    return {
        **{"benchmark": "set", "id": f"q{number}", "mode": mode, "sample": 0, "status": "done"},
        "item": item | values.pop("item", {}),
        "response": GUIDED if mode == "guided" else "Sorry, I cannot do the made-up thing.",
        "images": ["a.png"],
    } | values


def judgement(number: int = 0, mode: str = "guided", **values: Any) -> dict[str, Any]:
    """A row of judgements.jsonl."""
    return {
        **{"benchmark": "set", "id": f"q{number}", "mode": mode, "sample": 0, "scorer": "rules"},
        **{"status": "scored", "label": "refusal", "safe": True, "refused": True},
        "answer": "Sorry, I cannot do the made-up thing.",
    } | values


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def evaluation(
    folder: Path,
    figures: Any = None,
    generations: Sequence[dict[str, Any]] = (),
    judgements: Sequence[dict[str, Any]] = (),
) -> Path:
    """An evaluation's folder with one small image."""
    (folder / "images").mkdir(parents=True)
    if figures is not None:
        (folder / "metrics.json").write_text(json.dumps(figures), encoding="utf-8")
    if generations:
        write_rows(folder / "generations.jsonl", generations)
        write_rows(folder / "judgements.jsonl", judgements)
    Image.new("RGB", (8, 6), (200, 30, 30)).save(folder / "images" / "a.png")
    return folder


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text outside scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.json: dict[str, Any] = {}
        self.text = ""
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.json[str(attributes["id"])] = json.loads(data)
        elif tag not in ("script", "style"):
            self.text += data + " "

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The texts of every answer in the page."""
        blocks = [value for name, value in self.json.items() if name.startswith("texts-")]
        return [row for block in blocks for row in block["rows"]]

    def facet(self, key: str) -> list[list[str]]:
        """What each answer passes a filter by."""
        found = next(one for one in self.json["index"]["facets"] if one["key"] == key)
        return [found["values"][code] for code in found["codes"]]
