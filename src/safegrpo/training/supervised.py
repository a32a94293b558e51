"""Supervised steps on prompts and responses: what the cold start and the internalising share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from safegrpo.data.images import open_image
from safegrpo.data.pairs import TaggedPair
from safegrpo.evaluation.generate import chat_messages
from safegrpo.training.callbacks import ProgressLine
from safegrpo.training.config import Recipe, SupervisedConfig


@dataclass(frozen=True)
class Example:
    """A prompt, its pair's row in the training set, and the response to learn."""

    row: int
    prompt: str
    response: str


class Collator:
    """Examples to model inputs: prompts padded on the left, responses on the right, as in GRPO."""

    def __init__(self, processor: Any, pairs: Sequence[TaggedPair], recipe: Recipe) -> None:
        self.processor = processor
        self._pairs = pairs
        self._max_pixels = recipe.data.max_pixels
        self._template = dict(recipe.grpo.get("chat_template_kwargs") or {})

    def images(self, row: int) -> list[Image.Image]:
        pair = self._pairs[row]
        return [open_image(r, self._max_pixels, pair.where) for r in pair.images]

    def render(self, images: Sequence[Image.Image], prompt: str) -> str:
        """A prompt as text, up to where the model goes on."""
        return str(
            self.processor.apply_chat_template(
                chat_messages(images, prompt),
                tokenize=False,
                add_generation_prompt=True,
                **self._template,
            )
        )

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        tokenizer = self.processor.tokenizer
        images = [self.images(example.row) for example in examples]
        texts = [self.render(i, e.prompt) for i, e in zip(images, examples, strict=True)]
        inputs = dict(
            self.processor(
                images=images if any(images) else None,
                text=texts,
                padding=True,
                return_tensors="pt",
            )
        )
        responses = [
            tokenizer(example.response, add_special_tokens=False)["input_ids"]
            + [tokenizer.eos_token_id]
            for example in examples
        ]
        width = max(map(len, responses))
        ids = torch.full((len(responses), width), tokenizer.pad_token_id)
        kept = torch.zeros_like(ids)
        for i, response in enumerate(responses):
            ids[i, : len(response)] = torch.tensor(response)
            kept[i, : len(response)] = 1
        prompt_labels = torch.full_like(inputs["input_ids"], -100)
        labels = torch.cat([prompt_labels, ids.masked_fill(kept == 0, -100)], dim=1)
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.zeros_like(ids)], dim=1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], dim=1)
        inputs["attention_mask"] = torch.cat([inputs["attention_mask"], kept], dim=1)
        return {**inputs, "labels": labels}


def supervise(
    model: Any,
    examples: Sequence[Example],
    collator: Collator,
    config: SupervisedConfig,
    recipe: Recipe,
    args: Any,
    work: Path,
    progress: ProgressLine,
    in_order: bool = False,
) -> tuple[Any, float]:
    """Train `model` on the examples: (transformers' Trainer after the last step, mean loss).

    They are shuffled by the recipe's seed, or taken `in_order`. `args` is the run's GRPOConfig:
    precision and device are taken from it. `work` is a folder that the Trainer may make, and
    `progress` shows how far it is.
    """
    # transformers' own Trainer and not TRL's SFTTrainer: prompts are then rendered, expanded and
    # padded exactly as GRPO's generation will do it, whatever the chat template does to thinking.
    from transformers import PrinterCallback, Trainer, TrainingArguments

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(work),
            max_steps=config.steps,
            learning_rate=config.learning_rate,
            per_device_train_batch_size=config.batch_size,
            warmup_steps=max(1, config.steps // 10),
            train_sampling_strategy="sequential" if in_order else "random",
            seed=recipe.seed,
            use_cpu=args.use_cpu,
            bf16=args.bf16,
            fp16=args.fp16,
            gradient_checkpointing=args.gradient_checkpointing,
            # One process may have rows without images where another's vision tower trains.
            ddp_find_unused_parameters=True,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            remove_unused_columns=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        data_collator=collator,
        train_dataset=examples,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress)
    try:
        return trainer, float(trainer.train().training_loss)
    finally:
        progress.stop()
