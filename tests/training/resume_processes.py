"""A run whose completions follow from prompt, place and step; started by test_resume_processes.py.

python resume_processes.py OPTIONS, which are JSON: the `recipe`, `resume`, `kill` (a step at which
the process ends as if killed) and `sharding` (FSDP2's way to save, or nothing).
"""

import json
import os
import signal
import sys

import torch

import safegrpo.training.run
from safegrpo.training.config import Recipe
from safegrpo.training.run import leave_processes, train
from safegrpo.training.trainer import SafeGRPOTrainer
from tests.training.two_processes import shard_on_cpu

ANSWERS = ("sorry, i cannot help with that. it is not safe.", "a thing.", "")


def response(made: torch.Generator) -> str:
    """One of many: tags and answer at random, so that some earn more than others."""
    visual, text, combined = (
        ("safe", "unsafe")[i] for i in torch.randint(2, (3,), generator=made).tolist()
    )
    answer = ANSWERS[int(torch.randint(3, (1,), generator=made))]
    return (
        f"<think>a thing.<visual_safe>{visual}</visual_safe><text_safe>{text}</text_safe>"
        f"<combined_safe>{combined}</combined_safe></think><answer>{answer}</answer>"
    )


def main(given: str) -> None:
    options = json.loads(given)

    def completions(self, prompt_ids, *_, **__):
        step, group = self.state.global_step, self.num_generations
        if step == options.get("kill") and self.accelerator.is_main_process:
            os.kill(os.getpid(), signal.SIGKILL)
        found = []
        for place, ids in enumerate(prompt_ids):
            made = torch.Generator().manual_seed(sum(ids) % 1000 + 1000 * (place % group) + step)
            tokens = self._tokenizer(response(made), add_special_tokens=False)["input_ids"]
            found.append([*tokens, self._tokenizer.eos_token_id])
        return found, None

    SafeGRPOTrainer._generate_single_turn = completions
    if options.get("sharding"):
        os.environ["FSDP_STATE_DICT_TYPE"] = options["sharding"]
        plain = safegrpo.training.run.grpo_config

        def sharded(*args, **kwargs):
            made = plain(*args, **kwargs)  # accelerate's state is made anew here
            shard_on_cpu()
            return made

        safegrpo.training.run.grpo_config = sharded
    recipe = Recipe.model_validate(options["recipe"])
    train(recipe, resume=options.get("resume", False))
    leave_processes()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
