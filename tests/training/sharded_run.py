"""A whole run in which the model is sharded on a CPU; started by test_two_processes.py.

python sharded_run.py FOLDER full|lora fsdp|zero3
"""

import json
import sys

import safegrpo.training.run
from safegrpo.microcosm import SHIPPED
from safegrpo.training.config import Recipe
from safegrpo.training.run import leave_processes, train
from tests.training.conftest import GUIDE_PATH, pair
from tests.training.two_processes import ZERO, shard_on_cpu, zero_on_cpu

STAGE_3 = {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
IMAGES = (0, 0, 1, 2, 0, 0, 1, 1)


def main(folder: str, kind: str, by: str) -> None:
    plain = safegrpo.training.run.grpo_config

    def sharded(*args, **options):
        made = plain(*args, **options)  # accelerate's state is made anew here
        shard_on_cpu() if by == "fsdp" else zero_on_cpu(made)
        return made

    safegrpo.training.run.grpo_config = sharded
    recipe = Recipe.model_validate(
        {
            "model": str(SHIPPED),
            "guide": GUIDE_PATH,
            "output": folder,
            "lora": {"r": 4} if kind == "lora" else None,
            "freeze_vision": False,
            "evaluate": {"every": 2, "max_new_tokens": 120},
            "checkpoint": {"every": 1},
            "grpo": {
                "per_device_train_batch_size": 4,
                "num_generations": 4,
                "max_completion_length": 120,
                "max_steps": 2,
                "learning_rate": 1e-4,
                "use_cpu": True,
                "deepspeed": {**ZERO, "zero_optimization": STAGE_3} if by == "zero3" else None,
            },
        }
    )
    pairs = [
        pair(i, images=n, combined="unsafe" if i % 2 else "safe") for i, n in enumerate(IMAGES)
    ]
    result = train(recipe, train_pairs=pairs, eval_pairs=pairs[:4])
    print(json.dumps({"steps": result.steps, "metrics": result.metrics}))
    leave_processes()


if __name__ == "__main__":
    main(*sys.argv[1:])
