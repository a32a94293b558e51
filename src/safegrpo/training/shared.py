"""Between TRL's padded batches and packed rows (safegrpo/shared_prefix): regrouping, the check of
the first batch, and the way back.

Nothing here relies on the order of the rows: those that are one group are found by their prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.utils import (
    split_pixel_values_by_grid,
    split_tensor_dict,
    unsplit_pixel_values_by_grid,
)

from safegrpo.shared_prefix.check import sampling_error, scoring_error, tolerance
from safegrpo.shared_prefix.layout import TOKEN_INPUTS, Group
from safegrpo.shared_prefix.model import UnsupportedModelError, accept_packed
from safegrpo.shared_prefix.sampling import Sampled, sample, why_not_sample
from safegrpo.training.prompts import PreparedPrompt

IMAGE_INPUTS = ("pixel_values", "image_grid_thw", "image_sizes")
"""Image data that is cut into rows here; a batch with any other goes the dense way."""

CHECKED_ROWS = 16
"""Rows of a first batch whose sampled tokens are scored the dense way, one by one."""

Scores = tuple[torch.Tensor, torch.Tensor]
"""Log-probabilities and entropies, (B, R) each, zero where there is no token."""


@dataclass
class Row:
    """One row of a padded batch: the places of its tokens are the first ones of its completion."""

    prompt: torch.Tensor
    completion: torch.Tensor
    inputs: dict[str, torch.Tensor]


def rows_of(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
    inputs: Mapping[str, Any],
) -> list[Row] | str:
    """The rows of a batch (B, P + R), prompts padded on the left and completions on the right.

    `inputs` are the forward pass's others, as TRL keeps them: image data of all rows one behind
    the other, with `num_images` (and `num_tiles`) of each row. Where they cannot be cut into rows,
    the reason.
    """
    given = {name: value for name, value in inputs.items() if value is not None}
    unknown = given.keys() - {*IMAGE_INPUTS, *TOKEN_INPUTS, "num_images", "num_tiles"}
    if unknown:
        return f"it does not know the model's input {', '.join(sorted(unknown))}"
    images = split_pixel_values_by_grid(given)
    if isinstance(images.get("pixel_values"), torch.Tensor):
        return "the images are not laid out one by one"
    width = input_ids.shape[1] - completion_length
    prompts = attention_mask[:, :width].sum(1).tolist()
    completions = attention_mask[:, width:].sum(1).tolist()
    rows = []
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        own = {name: images[name][i] for name in IMAGE_INPUTS if name in images}
        own = {name: value for name, value in own.items() if len(value)}
        for name in TOKEN_INPUTS & images.keys():
            own[name] = images[name][i, width - prompt : width]
        rows.append(
            Row(
                input_ids[i, width - prompt : width],
                input_ids[i, width : width + completion],
                own,
            )
        )
    return rows


def grouped(rows: Sequence[Row]) -> list[list[int]]:
    """The numbers of the rows that have the same prompt and images, in order of appearance."""
    groups: dict[Any, list[list[int]]] = {}
    for i, row in enumerate(rows):
        alike = groups.setdefault(tuple(row.prompt.tolist()), [])
        for members in alike:
            if _same_images(rows[members[0]].inputs, row.inputs):
                members.append(i)
                break
        else:
            alike.append([i])
    return sorted((m for alike in groups.values() for m in alike), key=lambda members: members[0])


def _same_images(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].shape == other[name].shape and torch.equal(one[name], other[name]) for name in one
    )


def chunks(groups: Sequence[list[int]], size: int) -> Iterator[list[list[int]]]:
    """The groups in portions of `size` rows, the last one of fewer.

    So many portions, whatever the groups: every process must call a sharded model equally often.
    """
    numbered = [(number, row) for number, members in enumerate(groups) for row in members]
    for start in range(0, len(numbered), size):
        portion: dict[int, list[int]] = {}
        for number, row in numbered[start : start + size]:
            portion.setdefault(number, []).append(row)
        yield list(portion.values())


def whole_group_batches(batch: dict[str, Any], count: int, group: int) -> list[dict[str, Any]]:
    """A generation batch in `count` parts, shuffled by groups of `group` rows that stay together.

    TRL shuffles rows, which would leave each part with a few completions of every prompt. Where the
    parts cannot hold whole groups, the rows' order is kept, so that at least neighbours stay.
    """
    size = len(batch["prompt_ids"])
    order = torch.arange(size)
    if size // count % group == 0:
        order = order.view(-1, group)[torch.randperm(size // group)].flatten()
    split = split_pixel_values_by_grid(batch)
    moved = {name: _permuted(value, order) for name, value in split.items()}
    return [unsplit_pixel_values_by_grid(part) for part in split_tensor_dict(moved, count)]


def _permuted(value: Any, order: torch.Tensor) -> Any:
    if isinstance(value, torch.Tensor):
        return value[order.to(value.device)] if value.ndim else value
    return value if value is None else [value[i] for i in order.tolist()]


def _group(rows: Sequence[Row], members: Sequence[int]) -> Group:
    first = rows[members[0]]
    return Group(first.prompt, tuple(rows[i].completion for i in members), first.inputs)


def _has_images(inputs: Mapping[str, Any]) -> bool:
    return not TOKEN_INPUTS.issuperset(inputs)


KINDS = ("text", "images")


class SharedPrefix:
    """Log-probabilities and completions by packed rows, for the models of one trainer.

    The first batch of each kind of row (with images, without) is computed the dense way too.
    `agree` gives the largest of all processes' values, one by one, so that all decide alike; `say`
    tells the user why the dense way is gone back to.
    """

    def __init__(
        self,
        models: Sequence[Any],
        *,
        temperature: float,
        entropy_gradient: bool = False,
        float32_head: bool = False,
        agree: Callable[[list[float]], list[float]] = list,
        say: Callable[[str], None],
    ) -> None:
        self._temperature = temperature
        self._options = {"entropy_gradient": entropy_gradient, "float32_head": float32_head}
        self._agree, self._say = agree, say
        self._checked: set[tuple[str, str]] = set()
        self.scores = self.samples = True
        try:
            for model in models:
                accept_packed(model)
        except UnsupportedModelError as error:
            self.give_up(str(error))

    def give_up(self, reason: str, only_sampling: bool = False) -> None:
        """Go the dense way from now on."""
        self.samples = False
        self.scores = self.scores and only_sampling
        what = "generation" if only_sampling else "each completion"
        self._say(f"shared prefix is off, {what} computes prompts anew: {reason}")

    def log_probs(
        self, name: str, model: Any, rows: Sequence[Row] | str, length: int, batch_size: int
    ) -> Scores | None:
        """Log-probabilities and entropies of the rows' completions, padded to `length` tokens, at
        most `batch_size` rows at once; None if the model computes them otherwise.

        `model` may be wrapped; `name` tells models apart. `rows` may be the reason why there are
        none (see `rows_of`).
        """
        reason = rows if isinstance(rows, str) else None
        given = [row for row in rows if len(row.completion)] if not isinstance(rows, str) else []
        new = self._new_kinds(name, reason, [_has_images(row.inputs) for row in given], False)
        if new is None or isinstance(rows, str):
            return None
        if new:
            # Rows with images and tokens first, and as many on every process.
            first = sorted(rows, key=lambda r: (not len(r.completion), not _has_images(r.inputs)))
            first = first[:batch_size]
            groups = [_group(first, members) for members in grouped(first)]
            if not self._holds(
                lambda: scoring_error(model, groups, self._temperature, **self._options), model
            ):
                return None
            self._checked |= {(name, kind) for kind in new}
        places: list[int] = []
        found = []
        for portion in chunks(grouped(rows), batch_size):
            groups = [_group(rows, members) for members in portion]
            output = model(groups=groups, temperature=self._temperature, **self._options)
            found.append((output.log_probs, output.entropies))
            order = [i for members in portion for i in members]
            places += [i * length + j for i in order for j in range(len(rows[i].completion))]
        at = torch.tensor(places, dtype=torch.long, device=rows[0].prompt.device)
        log_probs, entropies = (
            torch.cat(parts).new_zeros(len(rows) * length).index_put((at,), torch.cat(parts))
            for parts in zip(*found, strict=True)
        )
        return log_probs.view(len(rows), length), entropies.view(len(rows), length)

    def complete(
        self,
        model: Any,
        prompts: Sequence[PreparedPrompt],
        config: Any,
        begun: Sequence[Sequence[int]] | None = None,
    ) -> list[list[int]] | None:
        """A completion (token ids, the end token included) of each prompt, in order, going on from
        what is `begun` of it; None if the model samples otherwise.

        `model` is the transformers model itself; equal prompts are the same object.
        """
        option = why_not_sample(config)
        reason = None if option is None else f"generation_kwargs.{option} is not known to it"
        images = [_has_images(prompt.inputs) for prompt in prompts]
        new = self._new_kinds("samples", reason, images, True)
        if new is None:
            return None
        members: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            members.setdefault(id(prompt), []).append(i)
        starts = begun or [()] * len(prompts)
        groups = []
        for rows in members.values():
            prompt = prompts[rows[0]]
            given = tuple(prompt.ids.new_tensor(list(starts[i])) for i in rows)
            groups.append(Group(prompt.ids, given, prompt.inputs))
        if new:
            found: list[Sampled] = []

            def first_batch() -> float:
                found.extend(sample(model, groups, config, log_probs=True))
                return sampling_error(model, groups, found, config.temperature or 1.0, CHECKED_ROWS)

            if not self._holds(first_batch, model, only_sampling=True):
                return None
            self._checked |= {("samples", kind) for kind in new}
        else:
            found = sample(model, groups, config)
        order = [i for rows in members.values() for i in rows]
        completions: list[list[int]] = [[] for _ in prompts]
        for i, row in zip(order, found, strict=True):
            completions[i] = row.ids
        return completions

    def _new_kinds(
        self, name: str, reason: str | None, images: Sequence[bool], only_sampling: bool
    ) -> list[str] | None:
        """The kinds of row in any process's batch that have not been checked; None, and given up,
        if any process has a `reason` to."""
        flags = [reason is not None, not all(images), any(images)]
        stopped, *kinds = self._agree([float(flag) for flag in flags])
        if stopped:
            self.give_up(reason or "another process cannot", only_sampling)
            return None
        found = [kind for kind, there in zip(KINDS, kinds, strict=True) if there]
        return [kind for kind in found if (name, kind) not in self._checked]

    def _holds(
        self, difference: Callable[[], float], model: Any, only_sampling: bool = False
    ) -> bool:
        try:
            error, reason = difference(), None
        except Exception as failure:  # whatever a model that it was not made for does with it
            error = math.inf
            reason = " ".join(f"{type(failure).__name__}: {failure}".split())[:300]
        worst = self._agree([error])[0]
        if worst <= tolerance(model):
            return True
        said = f"on the first batch its log-probabilities are wrong by {worst:.2g} on average"
        self.give_up(reason or said, only_sampling)
        return False
