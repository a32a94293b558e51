"""GRPO as a recipe asks for it: its reward, and the trainer with the model in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate.utils import gather_object
from transformers import PrinterCallback

from safegrpo.data.pairs import TaggedPair
from safegrpo.errors import MissingDependencyError, ModelError, SafeGRPOError
from safegrpo.models import load_model
from safegrpo.training.config import Recipe
from safegrpo.training.data import PreparedData
from safegrpo.training.model_parts import freeze_vision, peft_config, training_dtype
from safegrpo.training.rewards import SafetyReward
from safegrpo.training.sampling import Order, balanced_order
from safegrpo.training.trainer import SafeGRPOTrainer


def safety_reward(recipe: Recipe, args: Any, tokenizer: Any) -> SafetyReward:
    """The recipe's reward, for the processes that `args` (a GRPOConfig) knows of."""
    return SafetyReward(
        tokenizer,
        recipe.rules,
        recipe.mode == "guided",
        pays_format=recipe.credit.format_weight > 0,
        reason_share=recipe.credit.reason_share,
        gather=gather_object if args.world_size > 1 else list,
        process=args.process_index,
        format_gate=recipe.credit.format_gate,
    )


def grpo_trainer(
    recipe: Recipe,
    args: Any,
    processor: Any,
    pairs: Sequence[TaggedPair],
    prepared: PreparedData,
    source: str,
    reward: SafetyReward,
) -> SafeGRPOTrainer:
    """The trainer of the model in `source`, a folder or a name on the hub.

    `prepared` is made of `pairs`. Raises ModelError in TRL's words for a model that it cannot
    train, and MissingDependencyError for what the recipe asks for and is not installed.
    """
    model = load_model(source, dtype=training_dtype(recipe))
    # TRL loads the reference model (beta > 0) from here; it must hold the weights we start on.
    model.config._name_or_path = source
    lora = None
    if recipe.lora is not None:
        lora = peft_config(model, recipe.lora)
    elif recipe.freeze_vision:
        freeze_vision(model)
    try:
        trainer = SafeGRPOTrainer(
            model=model,
            reward_funcs=reward.functions(),
            args=args,
            train_dataset=prepared.dataset,
            processing_class=processor,
            peft_config=lora,
            credit=recipe.credit,
            order=_order(recipe, pairs),
            shared_prefix=recipe.shared_prefix,
        )
    except SafeGRPOError:
        raise
    except ImportError as error:  # vLLM, DeepSpeed, …
        raise MissingDependencyError(f"TRL: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise ModelError(f"TRL: {' '.join(str(error).split())}") from error
    # It prints every logged row to standard output, which belongs to results.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _order(recipe: Recipe, pairs: Sequence[TaggedPair]) -> Order | None:
    sampling, seed = recipe.sampling, recipe.seed
    if not sampling.balance:
        return None
    return lambda epoch, batch: balanced_order(pairs, batch, seed, epoch, sampling.tilt)
