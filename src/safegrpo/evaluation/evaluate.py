"""A whole evaluation: responses, judgements and metrics of one model, in one folder.

The one path: `safegrpo eval` and the demo go through here.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safegrpo.data.jsonl import locked, parse_object, write_text_atomic
from safegrpo.errors import DataError, InputFileError
from safegrpo.evaluation.judging import (
    Judging,
    Scorer,
    forget_judgements,
    judge_all_by_rules,
    rubric_of,
    rubric_versions,
)
from safegrpo.evaluation.plan import Items, differing, near
from safegrpo.evaluation.results import write_metrics
from safegrpo.evaluation.rows import (
    GENERATIONS_FILE,
    MANIFEST_FILE,
    Key,
)
from safegrpo.evaluation.run import Asking, read_generations
from safegrpo.judge.budget import Budget
from safegrpo.judge.crew import Outcome
from safegrpo.judge.progress import Progress
from safegrpo.judge.question import Judge
from safegrpo.versions import versions_of

_OPEN = ("data", "judges", "limit", "modes", "samples", "versions")
"""What may differ between a run and the one that goes on with it."""

_PACKAGES = ("safegrpo", "torch", "transformers", "openai", "pillow")

_OF_RESPONSES = ("limit", "max_new_tokens", "max_side", "modes", "samples", "seed")
"""What judging alone leaves as it was when the responses were made."""


@dataclass(frozen=True)
class Asked:
    """The model under evaluation: how it is asked, and how many questions may be under way.

    `budget` counts its calls. `refused` says why it cannot be asked a text (empty: it can).
    """

    model: Judge
    guide: str
    budget: Budget
    workers: int
    refused: Callable[[str], str] = lambda text: ""


@dataclass(frozen=True)
class Judges:
    """Who judges beside the rules, and by what: the authors' rule where there is one, or ours."""

    judge: Judge
    wanted: Scorer
    budget: Budget
    workers: int


@dataclass(frozen=True)
class Result:
    """The metrics, and how asking and judging ended (None: not done in this run)."""

    metrics: dict[str, Any]
    asked: Outcome | None
    judged: Outcome | None


class Evaluation:
    """One model, the items of one plan, one folder.

    `asked` None judges what is there already.
    """

    def __init__(
        self, items: Items, folder: Path, asked: Asked | None, judges: Judges | None
    ) -> None:
        self.items, self._plan = items, items.plan
        self._folder, self._asked, self._judges = folder, asked, judges

    async def run(self) -> Result:
        """Ask what is not asked, judge what is not judged, measure.

        Raises DataError if the folder holds a run of another setting, or another is at work in it.
        """
        with locked(self._folder / "lock"):
            manifest = self._begin()
            asked = judged = None
            if self._asked is not None:
                asked = await self._ask(self._asked)
            if asked is None or not asked.interrupted:
                judged = await self._judge()
            else:
                judge_all_by_rules(self._folder)  # judgements of other responses go
            counts = {name: said["items"] for name, said in manifest["benchmarks"].items()}
            metrics = write_metrics(self._folder, str(manifest["model"]["model"]), counts)
        return Result(metrics, asked, judged)

    async def _ask(self, asked: Asked) -> Outcome:
        progress = Progress(len(self.items.keys), asked.budget, [asked.model])
        run = Asking(asked.model, asked.guide, self.items, self._folder, progress, asked.refused)
        return await run.run(asked.workers)

    async def _judge(self) -> Outcome | None:
        judges = self._judges
        if judges is None:
            judge_all_by_rules(self._folder)
            return None
        progress = Progress(len(self.items.keys), judges.budget, [judges.judge])
        run = Judging(judges.judge, judges.wanted, self.items, self._folder, progress)
        return await run.run(judges.workers)

    def _begin(self) -> Mapping[str, Any]:
        """Hold the settings against those of the folder, and write them down."""
        path = self._folder / MANIFEST_FILE
        there = (
            _checked(parse_object(path.read_bytes(), str(path)), path) if path.is_file() else None
        )
        if there is None and self._asked is None:
            raise InputFileError(f"{self._folder}/ holds no {MANIFEST_FILE}; nothing can be judged")
        now = json.loads(json.dumps(self._manifest(there)))
        if there is not None:
            found = differing(there, now, _OPEN)
            if found:
                raise DataError(
                    f"{self._folder}/ holds a run of another setting ({'; '.join(found[:3])}); "
                    "name another folder"
                )
            self._check_judges(there.get("judges") or {}, now["judges"])
            gone = [name for name in now["benchmarks"] if name not in there["benchmarks"]]
            if gone and self._asked is None:
                raise InputFileError(f"{self._folder}/ holds no responses to {gone[0]}")
            now["benchmarks"] = {**there["benchmarks"], **now["benchmarks"]}
            # What is there stays: the manifest tells of all of it.
            now["modes"] = list(dict.fromkeys([*there["modes"], *now["modes"]]))
            now["samples"] = max(there["samples"], now["samples"])
            limits = there["limit"], now["limit"]
            now["limit"] = None if None in limits else max(limits)
        write_text_atomic(path, json.dumps(now, indent=2) + "\n")
        return dict(now)

    def _check_judges(self, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Judgements by another judge go, if judging alone was asked for; else DataError."""
        others = [name for name in there if name in now and not _same_judge(there[name], now[name])]
        if others and self._asked is not None:
            raise DataError(
                f"{self._folder}/ was judged otherwise ({others[0]} by "
                f"{there[others[0]].get('model')}); to judge its responses anew: --judge-only"
            )
        if others:
            said = ", ".join(f"{name} by {there[name].get('model')}" for name in others)
            print(f"replacing the judgements of {said}", file=sys.stderr)
            # What was replied stays in the cache; the rows are of the judge that is named.
            forget_judgements(self._folder, others)

    def _manifest(self, there: Mapping[str, Any] | None) -> dict[str, Any]:
        plan = self._plan
        settings = {
            "modes": list(plan.modes),
            "benchmarks": {
                name: {"items": self.items.counts[name], "ids": digest}
                for name, digest in self.items.digests.items()
            },
            "data": near(plan.data, self._folder),
            "samples": plan.samples,
            "limit": plan.limit,
            "seed": plan.seed,
            "max_side": plan.max_side,
            "max_new_tokens": plan.max_new_tokens,
        }
        if self._asked is None:
            # Responses are as they were made, whatever this run says of making them.
            assert there is not None
            settings |= {name: there.get(name) for name in _OF_RESPONSES}
            model, guide = there["model"], there["guide_sha256"]
        else:
            model = dict(self._asked.model.identity)
            guide = hashlib.sha256(self._asked.guide.encode()).hexdigest()
        judges = dict((there or {}).get("judges") or {})
        for one, _ in plan.sets() if self._judges is not None else []:
            assert self._judges is not None
            wordings = rubric_versions(one, self._judges.wanted)
            now = {**self._judges.judge.identity, "wordings": wordings}
            if not wordings:
                continue  # keys tell, and no judge is asked
            if one.name in judges and _same_judge(judges[one.name], now):
                now["wordings"] = {**judges[one.name]["wordings"], **wordings}
            judges[one.name] = now
        return {
            "format": 1,
            "model": model,
            "guide_sha256": guide,
            **settings,
            "judges": judges,
            "versions": versions_of(_PACKAGES),
        }

    def estimate(self, wanted: Scorer | None, judge_only: bool = False) -> dict[str, Any]:
        """What a run would ask, by benchmark, of a judge for `wanted` at most (what is in its cache
        costs nothing); sends nothing and writes nothing."""
        there: dict[Key, str] = {}
        if (self._folder / GENERATIONS_FILE).is_file():
            there = {row.key: row.status for row in read_generations(self._folder)}
        found: dict[str, dict[str, int]] = {}
        for key, item, one in self.items.asked():
            counts = found.setdefault(
                one.name, {"items": 0, "skipped": 0, "done": 0, "to_ask": 0, "judge_calls": 0}
            )
            counts["items"] += key.mode == self._plan.modes[0] and key.sample == 0
            done = there.get(key) == "done"
            counts["skipped" if item.skip else "done" if done else "to_ask"] += 1
            if judge_only and not done:
                continue
            judged = wanted is not None and rubric_of(one, item, wanted) is not None
            counts["judge_calls"] += judged and not item.skip
        return {"modes": list(self._plan.modes), "benchmarks": found}


def what_is_there(folder: Path) -> tuple[tuple[str, ...], int]:
    """(modes, samples an item at most) of the responses in a run's folder; InputFileError if there
    are none."""
    if not (folder / GENERATIONS_FILE).is_file():
        raise InputFileError(f"{folder}/ holds no {GENERATIONS_FILE}; nothing can be judged")
    keys = [row.key for row in read_generations(folder)]
    if not keys:
        raise InputFileError(f"{folder}/{GENERATIONS_FILE} is empty; nothing can be judged")
    return tuple(dict.fromkeys(key.mode for key in keys)), 1 + max(key.sample for key in keys)


def _same_judge(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two are asked alike; each may have been asked for other rules as well."""
    names = sorted({*one, *other} - {"wordings"})
    wordings, others = one["wordings"], other["wordings"]
    same = all(one.get(name) == other.get(name) for name in names)
    return same and all(wordings[name] == others[name] for name in {*wordings} & {*others})


def _checked(manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    judges = manifest.get("judges", {})
    known = (
        isinstance(manifest.get("benchmarks"), dict)
        and isinstance(manifest.get("modes"), list)
        and isinstance(manifest.get("model"), dict)
        and "model" in manifest["model"]
        and isinstance(judges, dict)
        and all(isinstance(one, dict) and "wordings" in one for one in judges.values())
    )
    if not known:
        raise DataError(f"{path} is no manifest of an evaluation; name another folder")
    return manifest
