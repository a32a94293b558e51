"""What a run asks: which items of which benchmarks, in which modes, how often, in which order."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safegrpo.data.images import quoted
from safegrpo.errors import ConfigError, DataError
from safegrpo.evaluation.benchmarks import benchmark, folder_of
from safegrpo.evaluation.benchmarks.base import Benchmark
from safegrpo.evaluation.item import Item
from safegrpo.evaluation.modes import MODES
from safegrpo.evaluation.rows import Key
from safegrpo.judge.question import canonical_hash


@dataclass(frozen=True)
class Plan:
    """What is asked of a model.

    `data` is the sets' folder (None: the hub). `samples` responses are taken to each item in each
    mode. `limit` takes that many items of each benchmark, drawn by `seed`. `max_side` bounds the
    sides of images in pixels (None: they go as they are). Raises ConfigError.
    """

    benchmarks: tuple[str, ...]
    data: Path | None = None
    modes: tuple[str, ...] = ("guided", "direct")
    samples: int = 1
    limit: int | None = None
    seed: int = 0
    max_new_tokens: int = 2048
    max_side: int | None = None

    def __post_init__(self) -> None:
        for name in self.benchmarks:
            benchmark(name)
        for what, given in (("--benchmarks", self.benchmarks), ("--mode", self.modes)):
            if not given or len(set(given)) < len(given):
                raise ConfigError(f"{what} takes one name or more, each once")
        for mode in self.modes:
            if mode not in MODES:
                raise ConfigError(f'--mode "{mode[:40]}" is none of {", ".join(MODES)}')
        if self.samples < 1 or self.max_new_tokens < 1:
            raise ConfigError("--samples and --max-new-tokens are 1 or more")
        if self.limit is not None and self.limit < 1:
            raise ConfigError("--limit is 1 or more")
        if self.max_side is not None and self.max_side < 28:
            raise ConfigError("--max-side is 28 or more")

    def sets(self) -> list[tuple[Benchmark, Path]]:
        """Each benchmark with its folder; InputFileError if one is not there."""
        named = [benchmark(name) for name in self.benchmarks]
        return [(one, folder_of(one, self.data)) for one in named]


class Items:
    """The items of a plan, read as often as they are needed and never kept.

    Making one reads all of them, and checks ids: DataError if one is there twice, or there are no
    items at all. `keys` are the responses that are wanted, in order, `counts` the items of a set,
    `digests` a hash of their ids, and `askable` how many of all sets are not skipped.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._sets = plan.sets()
        self.keys: list[Key] = []
        self._drawn: dict[str, set[str]] = {}
        self.askable = 0
        self.counts: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        for one, folder in self._sets:
            ids = self._checked(one, folder)
            for mode in plan.modes:
                for sample in range(plan.samples):
                    self.keys += [Key(one.name, id, mode, sample) for id in ids]

    def _checked(self, one: Benchmark, folder: Path) -> list[str]:
        seen: dict[str, str] = {}
        askable = 0
        for item in one.load(folder):
            if item.id in seen:
                raise DataError(f"{one.name}: id {quoted(item.id)} stands for two items")
            seen[item.id] = f"twin {item.twin}" if item.twin else f"id {item.id}"
            askable += not item.skip
        if not seen:
            raise DataError(f"{one.name}: {folder}/ holds no items")
        if not askable:
            print(f"{one.name}: none of its {len(seen)} items can be asked", file=sys.stderr)
        self.askable += askable
        self.counts[one.name] = len(seen)
        self.digests[one.name] = canonical_hash(sorted(seen))[:16]
        if self.plan.limit is None:
            return [*seen]
        chosen = self._drawn[one.name] = drawn(seen, self.plan.limit, self.plan.seed)
        return [item_id for item_id in seen if item_id in chosen]

    def of(self, one: Benchmark, folder: Path) -> Iterator[Item]:
        """The items of one benchmark that the plan asks."""
        chosen = self._drawn.get(one.name)
        return (item for item in one.load(folder) if chosen is None or item.id in chosen)

    def asked(self) -> Iterator[tuple[Key, Item, Benchmark]]:
        """Each response that is wanted, in the order of `keys`, with its item."""
        for one, folder in self._sets:
            for mode in self.plan.modes:
                for sample in range(self.plan.samples):
                    for item in self.of(one, folder):
                        yield Key(one.name, item.id, mode, sample), item, one


def drawn(groups: Mapping[str, str], limit: int, seed: int) -> set[str]:
    """At most `limit` of the ids that are mapped to their groups, which are taken whole.

    What is drawn for a smaller limit is drawn for a larger one as well. One group is always taken.
    """
    members: dict[str, list[str]] = {}
    for item_id, group in groups.items():
        members.setdefault(group, []).append(item_id)
    found: set[str] = set()
    for group in sorted(members, key=lambda name: canonical_hash([seed, name])):
        if found and len(found) + len(members[group]) > limit:
            break
        found |= {*members[group]}
    return found


def near(path: Path | None, beside: Path) -> str | None:
    """How a manifest in the folder `beside` calls a path: it tells nobody where the folder is."""
    return None if path is None else os.path.relpath(path.resolve(), beside.resolve())


def differing(
    before: Mapping[str, Any], now: Mapping[str, Any], open_to: Sequence[str]
) -> list[str]:
    """What two manifests say differently, but for what may change, as people read it.

    Of `benchmarks` only those that both have are compared.
    """
    one, other = _leaves(before), _leaves(now)
    common = {*before["benchmarks"]} & {*now["benchmarks"]}
    found = []
    for name in sorted({*one, *other}, key=lambda name: (name.endswith(("sha256", "ids")), name)):
        top, _, rest = name.partition(".")
        if top in open_to or (top == "benchmarks" and rest.partition(".")[0] not in common):
            continue
        if one.get(name) != other.get(name):
            found.append(
                f"{name} is {_short(one.get(name))} there, and now {_short(other.get(name))}"
            )
    return found


def _leaves(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in value.items():
        found |= (
            _leaves(one, f"{above}{name}.") if isinstance(one, Mapping) else {above + name: one}
        )
    return found


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 80 else text[:79] + "…"
