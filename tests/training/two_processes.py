"""Train ten steps on fixed completions and print the log; started by test_two_processes.py.

python two_processes.py FOLDER ACCUMULATION OPTIONS, the options as JSON: see `Options`.
"""

import json
import os
import sys
from dataclasses import dataclass

import torch

from safegrpo.microcosm import SHIPPED
from safegrpo.models import load_model, load_processor
from safegrpo.training.config import LoraConfig, Recipe
from safegrpo.training.data import build_dataset
from safegrpo.training.grpo_options import grpo_config
from safegrpo.training.model_parts import freeze_vision, peft_config
from safegrpo.training.run import leave_processes
from safegrpo.training.trainer import SafeGRPOTrainer
from tests.training.conftest import SHORT_GUIDE, pair
from tests.training.test_equal_steps import length_reward

STEPS = 10


@dataclass(frozen=True)
class Options:
    """What a run is: `images` of each of the eight rows, and the rest as in a recipe."""

    shared: bool = True
    fsdp: bool = False
    zero: int = 0
    lora: bool = False
    freeze: bool = False
    untied: bool = False
    checkpointing: bool = False
    images: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 2)


def shard_on_cpu() -> None:
    """Have accelerate prepare models by FSDP2, which it selects by itself only beside GPUs."""
    from accelerate import Accelerator
    from accelerate.state import DistributedType, PartialState

    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    }
    from accelerate.utils import FullyShardedDataParallelPlugin

    state = Accelerator(cpu=True).state
    state.fsdp_plugin = FullyShardedDataParallelPlugin()
    state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP


ZERO = {
    **dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu"), "auto"),
    **dict.fromkeys(("gradient_accumulation_steps", "gradient_clipping"), "auto"),
    "zero_allow_untested_optimizer": True,  # DeepSpeed's own want compiled kernels
    "communication_data_type": "fp32",
}


def zero_on_cpu(args) -> None:
    """Have accelerate prepare models by DeepSpeed, as `args.deepspeed` says: see shard_on_cpu."""
    import deepspeed.comm
    from accelerate import Accelerator
    from accelerate.state import DistributedType, PartialState

    state = Accelerator(cpu=True).state
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    state.deepspeed_plugins = {"default": args.deepspeed_plugin}
    args.deepspeed_plugin.select(_from_accelerator_state=True)
    args.deepspeed_plugin = None  # a second Accelerator takes it from the state alone
    state.distributed_type = DistributedType.DEEPSPEED
    PartialState._shared_state["distributed_type"] = DistributedType.DEEPSPEED
    deepspeed.comm.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)


def main(folder: str, accumulation: str, given: str) -> None:
    options = Options(**json.loads(given))
    grpo = {
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "gradient_accumulation_steps": int(accumulation),
        "max_steps": STEPS,
        "learning_rate": 1e-4,
        "beta": 0.04,
        "use_cpu": True,
        "shuffle_dataset": False,
        "multi_objective_aggregation": "sum_then_normalize",
        "gradient_checkpointing": options.checkpointing,
        "ddp_find_unused_parameters": False,
    }
    together = "RANK" in os.environ
    if options.zero and together:
        grpo["deepspeed"] = {**ZERO, "zero_optimization": {"stage": options.zero}}
    recipe = Recipe.model_validate({"model": str(SHIPPED), "output": folder, "grpo": grpo})
    recipe = recipe.model_copy(update={"grpo": {**recipe.grpo, "reward_weights": None}})
    args = grpo_config(recipe, folder)
    if options.fsdp and together:
        shard_on_cpu()
    if options.zero and together:
        zero_on_cpu(args)
    processor = load_processor(SHIPPED)
    model = load_model(SHIPPED, dtype="float32")
    if options.untied:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    if options.freeze:
        freeze_vision(model)
    rows = [pair(i, images=n) for i, n in enumerate(options.images)]
    trainer = SafeGRPOTrainer(
        model=model,
        reward_funcs=length_reward,
        args=args,
        train_dataset=build_dataset(
            rows, processor, guide=SHORT_GUIDE, max_prompt_length=2048
        ).dataset,
        processing_class=processor,
        peft_config=peft_config(model, LoraConfig(r=4)) if options.lora else None,
        shared_prefix=options.shared,
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
        print(
            json.dumps(
                {"log": log, "shared": used, "wrapped": type(trainer.model_wrapped).__name__}
            )
        )
    leave_processes()


if __name__ == "__main__":
    main(*sys.argv[1:])
