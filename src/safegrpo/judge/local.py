"""A vision-language model in this process, by the sampling that evaluation uses."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safegrpo.errors import MissingDependencyError
from safegrpo.judge.batched import Batched
from safegrpo.judge.budget import Budget
from safegrpo.judge.endpoint import Sampling
from safegrpo.judge.question import Picture, Question, Reply

_SPOTS, _SPOT = 256, 4096  # places in a file, and bytes at each, by which it is known


class LocalJudge(Batched):
    """A model's folder or hub name, loaded once; on the GPU if there is one. It is called `name`,
    or as it was given.

    Raises InputFileError, ModelError as loading does, MissingDependencyError without torch.
    """

    def __init__(
        self,
        model: str,
        sampling: Sampling | None = None,
        budget: Budget | None = None,
        batch_size: int = 8,
        name: str | None = None,
    ) -> None:
        try:
            import torch

            from safegrpo.evaluation.generate import packed_trust
            from safegrpo.models import load_model, load_processor
        except ImportError as error:
            raise MissingDependencyError(
                f"a model in this process needs {error.name}: pip install 'safegrpo[train]'"
            ) from error
        self._processor = load_processor(model)
        on_gpu = torch.cuda.is_available()
        loaded = load_model(model, dtype="auto" if on_gpu else "float32")
        self._model = (loaded.to("cuda") if on_gpu else loaded).eval()
        self._trust = packed_trust(self._model)
        super().__init__(
            name or model,
            fingerprint(Path(model)),
            sampling or Sampling(),
            budget or Budget(),
            batch_size,
        )

    def refused(self, text: str) -> str:
        """Why a text cannot be asked as it is (a token in it steers the model), or empty."""
        from safegrpo.models import control_token_ids, control_tokens_in

        tokenizer = self._processor.tokenizer
        found = control_tokens_in(text, tokenizer, control_token_ids(self._processor))
        return f'control token in the prompt: "{found[0]}"' if found else ""

    def _generate(
        self, questions: Sequence[Question], again: int, limit: int, vote: int
    ) -> list[Reply]:
        from safegrpo.evaluation.generate import generate_responses

        texts = generate_responses(
            self._model,
            self._processor,
            [(_images(question), plain_text(question)) for question in questions],
            max_new_tokens=limit,
            batch_size=len(questions),
            temperature=self.temperature(again),
            seed=1000 * vote + again,
            trust=self._trust,
        )
        replies = []
        for text in texts:
            # Decoded text does not say whether an end was reached: as long as allowed is cut.
            length = len(self._processor.tokenizer(text, add_special_tokens=False).input_ids)
            finish = "length" if length >= limit - 1 else "stop"
            replies.append(Reply(text, finish=finish, completion_tokens=length))
        return replies


def fingerprint(folder: Path) -> dict[str, str]:
    """By what a model in a folder is known whose weights may change under its name: a hash of many
    places in its files. Empty for one that is named by the hub."""
    if not folder.is_dir():
        return {}
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix not in (".safetensors", ".json", ".jinja") or not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for place in range(0, size, max(_SPOT, size // _SPOTS)):
                file.seek(place)
                digest.update(file.read(_SPOT))
    return {"fingerprint": digest.hexdigest()[:16]}


def _images(question: Question) -> list[Any]:
    from PIL import Image

    pictures = [part for part in question.parts if isinstance(part, Picture)]
    return [Image.open(io.BytesIO(picture.data)).convert("RGB") for picture in pictures]


def plain_text(question: Question) -> str:
    """One turn: not every model has a system turn, and images come before the text of a turn."""
    texts = [part for part in question.parts if isinstance(part, str)]
    return "\n\n".join([question.system, *texts] if question.system else texts)
