"""Seconds that the behavior classifier takes for 10,000 answers of 200 words, on one core.

    python bench/behavior.py [--json]

The answers are those of behavior_answers/, each drawn out to 200 words by the ones after it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from safegrpo.behavior import classify
from safegrpo.data.jsonl import read_jsonl

ANSWERS = Path(__file__).resolve().parent.parent / "behavior_answers"
WORDS, COUNT, ROUNDS = 200, 1000, 5


def answers() -> list[str]:
    rows = [str(row["answer"]) for p in sorted(ANSWERS.glob("*.jsonl")) for _, row in read_jsonl(p)]
    made = []
    for start in range(COUNT):
        words: list[str] = []
        for answer in rows[start:] + rows[:start]:
            words += answer.split(" ")
            if len(words) >= WORDS:
                break
        made.append(" ".join(words[:WORDS]))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the behavior classifier.")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    texts = answers()
    seconds: dict[str, float] = {}
    for detector in ("paper", "strict"):
        taken = []
        for _ in range(ROUNDS):
            begun = time.process_time()
            for text in texts:
                classify(text, detector)  # type: ignore[arg-type]
            taken.append(time.process_time() - begun)
        seconds[detector] = round(min(taken) * 10_000 / COUNT, 3)
    print(json.dumps(seconds) if args.json else f"seconds for 10,000 answers: {seconds}")


if __name__ == "__main__":
    main()
