"""Train a few steps on fixed completions and print the log; started by test_two_processes.py.

python two_processes.py FOLDER ACCUMULATION true|false
"""

import json
import sys

import torch

from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor
from safegrpo.training.config import Recipe
from safegrpo.training.data import build_dataset
from safegrpo.training.grpo_options import grpo_config
from safegrpo.training.run import leave_processes
from safegrpo.training.trainer import SafeGRPOTrainer
from tests.training.conftest import SHORT_GUIDE, pair
from tests.training.test_equal_steps import length_reward


def main(folder: str, accumulation: str, shared: str) -> None:
    grpo = {
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "gradient_accumulation_steps": int(accumulation),
        "max_steps": 4,
        "learning_rate": 1e-4,
        "beta": 0.04,
        "use_cpu": True,
        "shuffle_dataset": False,
        "multi_objective_aggregation": "sum_then_normalize",
    }
    recipe = Recipe.model_validate({"model": str(SHIPPED), "output": folder, "grpo": grpo})
    recipe = recipe.model_copy(update={"grpo": {**recipe.grpo, "reward_weights": None}})
    processor = load_processor(SHIPPED)
    model = load_model(SHIPPED, dtype="float32")
    rows = [pair(i, images=1 + i % 2) for i in range(8)]
    trainer = SafeGRPOTrainer(
        model=model,
        reward_funcs=length_reward,
        args=grpo_config(recipe, folder),
        train_dataset=build_dataset(
            rows, processor, guide=SHORT_GUIDE, max_prompt_length=2048
        ).dataset,
        processing_class=processor,
        shared_prefix=shared == "true",
    )

    def completions(prompt_ids, *_, **__):
        """What a row gets depends on its prompt and its place in the group alone."""
        found = []
        for place, ids in enumerate(prompt_ids):
            made = torch.Generator().manual_seed(
                sum(ids) % 1000 + 1000 * (place % 4) + trainer.state.global_step
            )
            words = torch.randint(60, 400, (6,), generator=made).tolist()
            found.append([*words, processor.tokenizer.eos_token_id])
        return found, None

    trainer._generate_single_turn = completions
    trainer.train()
    if trainer.accelerator.is_main_process:
        names = ("loss", "kl", "grad_norm")
        log = [[float(r[n]) for n in names] for r in trainer.state.log_history if "loss" in r]
        used = trainer.shared is not None and trainer.shared.scoring.kept
        print(json.dumps({"log": log, "shared": used}))
    leave_processes()


if __name__ == "__main__":
    main(*sys.argv[1:])
