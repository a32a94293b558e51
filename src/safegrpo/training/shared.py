"""Between TRL's padded batches and packed rows (safegrpo/shared_prefix): regrouping, the check of
first batches, and the way back.

Nothing here relies on the order of the rows: those that are one group are found by their prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.utils import (
    split_pixel_values_by_grid,
    split_tensor_dict,
    unsplit_pixel_values_by_grid,
)

from safegrpo.errors import DataError
from safegrpo.shared_prefix.check import scoring_error
from safegrpo.shared_prefix.idle import IdleImage
from safegrpo.shared_prefix.layout import TOKEN_INPUTS, Group
from safegrpo.shared_prefix.model import UnsupportedModelError, accept_packed
from safegrpo.shared_prefix.trust import Trust, in_turn, kind_of, trusted_sample
from safegrpo.training.prompts import PreparedPrompt

IMAGE_INPUTS = ("pixel_values", "image_grid_thw", "image_sizes")
"""Image data that is cut into rows here; a batch with any other goes the dense way."""

Scores = tuple[torch.Tensor, torch.Tensor]
"""Log-probabilities and entropies, (B, R) each, zero where there is no token."""


class UnsupportedBatchError(DataError):
    """A batch that cannot be parted into rows; the message says why."""


@dataclass(frozen=True)
class Row:
    """One row of a padded batch without its padding: prompt (P,), completion (R,), and a Group's
    `inputs`."""

    prompt: torch.Tensor
    completion: torch.Tensor
    inputs: dict[str, torch.Tensor]

    @property
    def kind(self) -> str:
        """See `kind_of`; "" without a token to score."""
        return kind_of(self.inputs) if len(self.completion) else ""


def rows_of(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
    inputs: Mapping[str, Any],
) -> list[Row]:
    """The rows of a batch (B, P + R), prompts padded on the left and completions on the right.

    `inputs` are the forward pass's others, as TRL keeps them: image data of all rows one behind
    the other, with `num_images` (and `num_tiles`) of each row. Raises UnsupportedBatchError where
    they cannot be cut into rows.
    """
    given = {name: value for name, value in inputs.items() if value is not None}
    unknown = given.keys() - {*IMAGE_INPUTS, *TOKEN_INPUTS, "num_images", "num_tiles"}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise UnsupportedBatchError(f"it does not know the model's input {names}")
    images = split_pixel_values_by_grid(given)
    if isinstance(images.get("pixel_values"), torch.Tensor):
        raise UnsupportedBatchError("the images are not laid out one by one")
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


class SharedPrefix:
    """Log-probabilities and completions by packed rows, for the models of one trainer.

    `scoring` and `sampling` say whether each is still trusted (see Trust, also for `agree` and
    `say`); `autocast` gives the context that forward passes run in; `idle` stands beside rows
    without images.
    """

    def __init__(
        self,
        models: Sequence[Any],
        *,
        temperature: float,
        say: Callable[[str], None],
        entropy_gradient: bool = False,
        float32_head: bool = False,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        agree: Callable[[list[float]], list[float]] = list,
        idle: IdleImage | None = None,
    ) -> None:
        self._temperature, self._autocast, self._idle = temperature, autocast, idle
        self._options = {"entropy_gradient": entropy_gradient, "float32_head": float32_head}
        self.scoring = Trust("each completion computes its prompt anew", say, agree)
        self.sampling = Trust("generation computes each prompt anew", say, agree)
        try:
            for model in models:
                accept_packed(model)
        except UnsupportedModelError as error:
            self.give_up(str(error))

    def give_up(self, reason: str) -> None:
        """Compute everything as TRL does, from now on."""
        self.scoring.give_up(reason)
        self.sampling.kept = False

    def log_probs(
        self,
        name: str,
        model: Any,
        rows: Sequence[Row],
        length: int,
        batch_size: int,
        reason: str | None = None,
    ) -> Scores | None:
        """Log-probabilities, in nats, and entropies (B, length) of the rows' completions, at most
        `batch_size` rows at once; None if the model has to compute them in TRL's way.

        `model` may be wrapped; `name` tells models apart. `reason` says why there are no rows.
        """
        kinds = [row.kind for row in rows]
        new = self.scoring.new_kinds(name, kinds, reason)
        if new:
            first = [rows[i] for i in in_turn(kinds, new, batch_size)]  # as many on every process
            groups = [_group(first, members) for members in grouped(first)]
            # A context of its own: what autocast casts without gradients, it would use again.
            with self._autocast():
                self.scoring.check(
                    name,
                    [row.kind for row in first],
                    lambda: scoring_error(
                        model, groups, self._temperature, self._idle, **self._options
                    ),
                    model,
                )
        if not self.scoring.kept:
            self.sampling.kept = False
            return None
        order: list[int] = []
        found = []
        with self._autocast():
            for portion in chunks(grouped(rows), batch_size):
                groups = [_group(rows, members) for members in portion]
                if self._idle is not None:
                    groups = self._idle.beside(groups)
                output = model(groups=groups, temperature=self._temperature, **self._options)
                found.append((output.log_probs, output.entropies))
                order += [i for members in portion for i in members]
        tokens = [torch.arange(len(rows[i].completion)) + i * length for i in order]
        at = torch.cat(tokens).to(rows[0].prompt.device)
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
        what is `begun` of it; None if TRL has to generate them.

        `model` is the transformers model itself; equal prompts are the same object.
        """
        members: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            members.setdefault(id(prompt), []).append(i)
        starts = begun or [()] * len(prompts)
        groups = []
        for rows in members.values():
            prompt = prompts[rows[0]]
            given = tuple(prompt.ids.new_tensor(list(starts[i])) for i in rows)
            groups.append(Group(prompt.ids, given, prompt.inputs))
        name = "new" if begun is None else "begun"
        with self._autocast():
            found = trusted_sample(self.sampling, model, groups, config, name=name)
        if found is None:
            return None
        order = [i for rows in members.values() for i in rows]
        completions: list[list[int]] = [[] for _ in prompts]
        for i, row in zip(order, found, strict=True):
            completions[i] = row.ids
        return completions
