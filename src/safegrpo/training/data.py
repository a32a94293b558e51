"""Tagged pairs as TRL wants them: chat prompts, images, and the columns the reward reads.

Images are opened when a row is fetched, so that a set larger than memory trains; all of them are
opened once beforehand, so that a broken one stops the run before it starts and not in its midst.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from PIL import Image

from safegrpo.data.images import DEFAULT_MAX_PIXELS, open_image
from safegrpo.data.pairs import TaggedPair
from safegrpo.errors import ConfigError, DataError
from safegrpo.evaluation.generate import chat_messages
from safegrpo.models import control_token_ids, control_tokens_in
from safegrpo.thinking import guided_prompt

CACHED_BYTES = 512 * 2**20
"""Decoded images kept at hand: TRL fetches each row once a completion, G times in a row."""


@dataclass(frozen=True)
class PreparedData:
    """A dataset for TRL, the prompt lengths in tokens (one a row), and the set's hash."""

    dataset: Dataset
    prompt_lengths: tuple[int, ...]
    sha256: str


class ImageOpener:
    """Adds the opened images to a batch of rows; the newest decoded ones are kept."""

    def __init__(
        self, pairs: Sequence[TaggedPair], max_pixels: int, cached_bytes: int = CACHED_BYTES
    ) -> None:
        self._pairs = pairs
        self._max_pixels = max_pixels
        self._limit = cached_bytes
        self._cache: OrderedDict[int, list[Image.Image]] = OrderedDict()
        self._held = 0

    def images(self, row: int) -> list[Image.Image]:
        """The images of a row, upright RGB, in order. Raises DataError naming the row."""
        if row in self._cache:
            self._cache.move_to_end(row)
            return self._cache[row]
        pair = self._pairs[row]
        where = _where(pair, row)
        opened = [open_image(ref, max_pixels=self._max_pixels, where=where) for ref in pair.images]
        self._cache[row] = opened
        self._held += _bytes(opened)
        while self._held > self._limit and len(self._cache) > 1:
            self._held -= _bytes(self._cache.popitem(last=False)[1])
        return opened

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {**batch, "images": [list(self.images(row)) for row in batch["row"]]}


def _where(pair: TaggedPair, row: int) -> str:
    return pair.place or f'row {row + 1} (id "{pair.id}")'


def _bytes(images: Sequence[Image.Image]) -> int:
    return sum(3 * image.width * image.height for image in images)


def build_dataset(
    pairs: Sequence[TaggedPair],
    processor: Any,
    *,
    guide: str | None,
    max_prompt_length: int,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    chat_template_kwargs: dict[str, Any] | None = None,
) -> PreparedData:
    """The pairs as a dataset for TRL; `guide` None asks directly.

    Prompts are never cut: raises DataError, with their number and the longest one's id, if any
    has more than `max_prompt_length` tokens (images included), for any image that does not open,
    has more than `max_pixels` or is refused by the processor, and for control tokens in a prompt.
    Raises ConfigError for control tokens in the guide.
    """
    opener = ImageOpener(pairs, max_pixels)
    texts = [pair.prompt if guide is None else guided_prompt(pair.prompt, guide) for pair in pairs]
    lengths = _Lengths(processor, chat_template_kwargs or {})
    control = control_token_ids(processor)  # once: it reads the whole vocabulary
    steering = control_tokens_in(guide or "", processor.tokenizer, control)
    if steering:
        raise ConfigError(
            f'"guide" holds "{steering[0]}", which the tokenizer reads as a control token; take it '
            "out"
        )
    prompt_lengths = []
    for row, (pair, text) in enumerate(zip(pairs, texts, strict=True)):
        found = control_tokens_in(pair.prompt, processor.tokenizer, control)
        if found:
            raise DataError(
                f'{_where(pair, row)}: the prompt holds "{found[0]}", which the tokenizer reads as '
                "a control token; take it out"
            )
        images = opener.images(row)
        try:
            prompt_lengths.append(lengths(images, text))
        except ValueError as error:
            raise DataError(f"{_where(pair, row)}: the processor refuses it: {error}") from error
    _check_lengths(pairs, prompt_lengths, max_prompt_length)
    rows = {
        "row": list(range(len(pairs))),
        "id": [pair.id for pair in pairs],
        "prompt": [[{"role": "user", "content": text}] for text in texts],
        "question": [pair.prompt for pair in pairs],
        "answer": [pair.answer for pair in pairs],
        "image_tag": [pair.tags.visual if pair.tags else None for pair in pairs],
        "text_tag": [pair.tags.text if pair.tags else None for pair in pairs],
        "combine_tag": [pair.tags.combined if pair.tags else None for pair in pairs],
    }
    sha256 = data_sha256(pairs)
    dataset = Dataset.from_dict(rows)
    # Named after the content: left to itself `datasets` would pickle every image to find a name.
    dataset.set_format("custom", transform=opener, new_fingerprint=sha256[:16])
    return PreparedData(dataset, tuple(prompt_lengths), sha256)


def data_sha256(pairs: Sequence[TaggedPair]) -> str:
    """A hash of all that training reads: ids, prompts, tags, answers and image bytes, in order."""
    digest = hashlib.sha256()
    for pair in pairs:
        images = [hashlib.sha256(ref.read_bytes()).hexdigest() for ref in pair.images]
        digest.update(repr((pair.id, pair.prompt, pair.tags, pair.answer, images)).encode())
    return digest.hexdigest()


class _Lengths:
    """Prompt lengths in tokens, as the processor makes them; an image's size decides its share."""

    def __init__(self, processor: Any, chat_template_kwargs: dict[str, Any]) -> None:
        self._processor = processor
        self._template = chat_template_kwargs
        self._by_size: dict[tuple[int, int], int] = {}

    def __call__(self, images: Sequence[Image.Image], text: str) -> int:
        rendered = self._processor.apply_chat_template(
            chat_messages(images, text),
            tokenize=False,
            add_generation_prompt=True,
            **self._template,
        )
        ids = self._processor.tokenizer(rendered, add_special_tokens=False)["input_ids"]
        return len(ids) + sum(self._expansion(image) for image in images)

    def _expansion(self, image: Image.Image) -> int:
        """Tokens that an image adds to its one placeholder."""
        if image.size not in self._by_size:
            rendered = self._processor.apply_chat_template(chat_messages([image], ""))
            if isinstance(rendered, list):  # a batch of one
                rendered = rendered[0]
            bare = self._processor.tokenizer(rendered, add_special_tokens=False)["input_ids"]
            full = self._processor(images=[image], text=[rendered], add_special_tokens=False)
            self._by_size[image.size] = len(full["input_ids"][0]) - len(bare)
        return self._by_size[image.size]


def _check_lengths(pairs: Sequence[TaggedPair], lengths: Sequence[int], limit: int) -> None:
    over = [i for i, length in enumerate(lengths) if length > limit]
    if over:
        longest = max(over, key=lambda i: lengths[i])
        raise DataError(
            f"{len(over)} of {len(lengths)} prompts are longer than {limit} tokens; the longest "
            f'(id "{pairs[longest].id}") has {lengths[longest]}. Prompts are never cut: raise '
            "data.max_prompt_length, scale the images down, or drop these rows"
        )
