"""Trust in packed rows: the first batch of each kind of row is computed the plain way too.

On a difference that rounding does not explain, or whatever else goes wrong with it, one line says
so, and the plain way is gone from then on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch

from safegrpo.shared_prefix.check import sampling_error, tolerance
from safegrpo.shared_prefix.layout import TOKEN_INPUTS, Group
from safegrpo.shared_prefix.sampling import Sampled, sample

logger = logging.getLogger(__name__)

KINDS = ("text", "images")
CHECKED_ROWS = 16
"""Rows of a first batch whose sampled tokens are scored the plain way, one by one."""


def kind_of(inputs: Mapping[str, Any]) -> str:
    """The kind of a row with these `inputs` (a Group's)."""
    return KINDS[not TOKEN_INPUTS.issuperset(inputs)]


class Trust:
    """Whether packed rows are still used for one purpose (`kept`).

    `instead` is what happens otherwise, as part of a sentence; `say` takes the sentence. `agree`
    gives the largest of all processes' values, one by one, so that all decide alike.
    """

    def __init__(
        self,
        instead: str,
        say: Callable[[str], None],
        agree: Callable[[list[float]], list[float]] = list,
    ) -> None:
        self.kept = True
        self._instead, self._say, self._agree = instead, say, agree
        self._checked: set[tuple[str, str]] = set()

    def give_up(self, reason: str) -> None:
        """Use packed rows no longer, and say why."""
        self.kept = False
        self._say(f"shared prefix is off, {self._instead}: {reason}")

    def new_kinds(self, name: str, kinds: Sequence[str], reason: str | None = None) -> list[str]:
        """The kinds of row, in any process's batch, that have not been checked for `name`.

        `kinds` are those of this process's rows ("" for one that nothing would be seen of). If any
        process has a `reason` to, all give up.
        """
        flags = [float(reason is not None), *(float(kind in kinds) for kind in KINDS)]
        stopped, *there = self._agree(flags)
        if stopped:
            self.give_up(reason or "another process cannot use it")
            return []
        found = [kind for kind, present in zip(KINDS, there, strict=True) if present]
        return [kind for kind in found if (name, kind) not in self._checked]

    def check(
        self, name: str, kinds: Sequence[str], difference: Callable[[], float], model: Any
    ) -> bool:
        """Whether `difference()`, in nats, taken on rows of these `kinds`, is within rounding."""
        reason = None
        try:
            error = difference()
        except torch.OutOfMemoryError:
            raise  # the plain way would need more
        except Exception as failure:  # whatever a model that it was not made for does with it
            reason = " ".join(f"{type(failure).__name__}: {failure}".split())[:300]
            error = math.inf
            if self._agree is not list:
                # Where a model is sharded the others now wait elsewhere: let it be known here.
                logger.warning("shared prefix, in this process: %s", reason)
        worst, *seen = self._agree([error, *(float(kind in kinds) for kind in KINDS)])
        if not worst <= tolerance(model):
            said = f"on the first batch its log-probabilities are wrong by {worst:.2g} on average"
            self.give_up(reason or said)
            return False
        checked = [kind for kind, looked_at in zip(KINDS, seen, strict=True) if looked_at]
        self._checked |= {(name, kind) for kind in checked}
        return True


def in_turn(kinds: Sequence[str], new: Sequence[str], size: int) -> list[int]:
    """The numbers of `size` rows of these `kinds`: of the `new` kinds in turn, then the others."""
    pools = [[i for i, kind in enumerate(kinds) if kind == wanted] for wanted in new]
    first = [i for turn in zip_longest(*pools) for i in turn if i is not None]
    others = [i for i in range(len(kinds)) if kinds[i] not in new]
    return [*first, *others][:size]


def trusted_sample(
    trust: Trust,
    model: Any,
    groups: Sequence[Group],
    config: Any = None,
    *,
    name: str = "new",
    **options: Any,
) -> list[Sampled] | None:
    """What `sample` gives for the same arguments; None if it is not, or no longer, trusted.

    Rows that go on from a beginning are computed in another way than new ones: they want another
    `name`, the same on every process.
    """
    kinds = [kind_of(group.inputs) for group in groups for _ in group.completions]
    new = trust.new_kinds(name, kinds)
    if not trust.kept:
        return None
    if not new:
        return sample(model, groups, config, **options)
    alone = [Group(g.prompt, (given,), g.inputs) for g in groups for given in g.completions]
    chosen = in_turn(kinds, new, CHECKED_ROWS)
    temperature = (options.get("temperature") if config is None else config.temperature) or 1.0
    found: list[Sampled] = []

    def difference() -> float:
        found.extend(sample(model, groups, config, log_probs=True, **options))
        return sampling_error(model, [(alone[i], found[i]) for i in chosen], temperature)

    right = trust.check(name, [kinds[i] for i in chosen], difference, model)
    return found if right else None
