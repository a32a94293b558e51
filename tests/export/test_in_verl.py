"""What we write, in verl's own hands: its dataset, its reward loop, its advantages.

Needs verl; `make verl-test` sets up an environment with it, on the CPU and without vLLM.
"""

import asyncio
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

verl = pytest.importorskip("verl", reason="verl is not in this environment: make verl-test")

import torch  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from verl import DataProto  # noqa: E402
from verl.trainer.ppo.core_algos import (  # noqa: E402
    compute_gdpo_outcome_advantage,
    compute_grpo_outcome_advantage,
)
from verl.trainer.ppo.metric_utils import process_validation_metrics  # noqa: E402
from verl.trainer.ppo.ray_trainer import compute_advantage  # noqa: E402
from verl.trainer.ppo.reward import load_reward_manager  # noqa: E402
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn  # noqa: E402

from safegrpo.data.images import DEFAULT_MAX_PIXELS, open_image  # noqa: E402
from safegrpo.errors import ModelError  # noqa: E402
from safegrpo.export.rows import write_rows  # noqa: E402
from safegrpo.export.verl import PROCESSORS, REWARD_FILE  # noqa: E402
from safegrpo.microcosm import SHIPPED  # noqa: E402
from safegrpo.models import load_model, load_processor  # noqa: E402
from safegrpo.reward import Target, score  # noqa: E402
from safegrpo.thinking import GUIDE, guided_prompt  # noqa: E402

from .conftest import RESPONSES  # noqa: E402
from .test_afterwards import adapted, merge_as_documented  # noqa: E402

PACKAGE = Path(verl.__file__).parent
SOURCES = {path: path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}


@pytest.fixture(scope="module")
def processor():
    """The microcosm's, in this environment's transformers."""
    return load_processor(SHIPPED)


@pytest.fixture
def folder(pairs, tmp_path):
    """What of an export verl reads; the command itself is for our own environment."""
    texts = [guided_prompt(pair.prompt, GUIDE) for pair in pairs]
    write_rows(tmp_path / "train.parquet", pairs, texts, DEFAULT_MAX_PIXELS)
    (tmp_path / "reward.py").write_text(REWARD_FILE)
    return tmp_path


@pytest.fixture
def rows(folder, processor, tmp_path):
    """The exported rows as verl's dataset gives them."""
    config = OmegaConf.create(
        {"filter_overlong_prompts": False, "cache_dir": str(tmp_path / "cache")}
    )
    return RLHFDataset(
        str(folder / "train.parquet"),
        tokenizer=processor.tokenizer,
        config=config,
        processor=processor,
    )


def test_a_prompt_reads_as_in_our_own_training(rows, pairs, processor) -> None:
    for row, pair in zip(rows, pairs, strict=True):
        # Images first, as safegrpo.evaluation.generate.chat_messages puts them.
        images = [{"type": "image", "image": open_image(ref)} for ref in pair.images]
        text = {"type": "text", "text": guided_prompt(pair.prompt, GUIDE)}
        ours = [{"role": "user", "content": [*images, text]}]
        options = {"tokenize": False, "add_generation_prompt": True}
        theirs = processor.apply_chat_template(row["raw_prompt"], **options)
        assert theirs == processor.apply_chat_template(ours, **options)


def test_images_are_the_ones_we_train_on(rows, pairs) -> None:
    for row, pair in zip(rows, pairs, strict=True):
        content = row["raw_prompt"][0]["content"]
        shown = (
            [part["image"] for part in content if part["type"] == "image"] if pair.images else []
        )
        assert [image.tobytes() for image in shown] == [
            open_image(ref).tobytes() for ref in pair.images
        ]


def test_rows_of_every_kind_make_one_batch(rows) -> None:
    batch = collate_fn([rows[i] for i in range(len(rows))])
    assert batch["data_source"].tolist() == [
        *("compositional", "benign", "benign", "harmful", "question", "question"),
    ]
    assert batch["index"].tolist() == list(range(6))
    proto = DataProto.from_single_dict(batch)
    assert len(proto.repeat(2, interleave=True)) == 12


class Words:
    """A tokenizer of single characters, as far as a reward manager needs one."""

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return "".join(chr(i) for i in ids)


def scored(exported_row: dict, response: str, folder: Path, **options) -> dict:
    """A response through verl's reward manager, as the reward loop hands it over."""
    config = OmegaConf.create(
        {
            "reward": {
                "reward_manager": {"source": "register", "name": "naive"},
                "custom_reward_function": {
                    "path": str(folder / "reward.py"),
                    "name": "compute_score",
                    "reward_kwargs": options,
                },
            }
        }
    )
    ids = torch.tensor([[ord(c) for c in response] or [0]])
    mask = torch.ones_like(ids) if response else torch.zeros_like(ids)
    keys = ("data_source", "reward_model", "extra_info")
    data = DataProto(
        batch=TensorDict({"responses": ids, "attention_mask": mask}, batch_size=1),
        non_tensor_batch={key: np.array([exported_row[key]], dtype=object) for key in keys},
    )

    async def run() -> dict:
        manager = load_reward_manager(config, Words())
        return await manager.run_single(data)

    return asyncio.run(run())


@pytest.mark.parametrize("rules", ["paper", "strict"])
def test_verls_reward_manager_gives_our_reward(rows, pairs, folder, rules) -> None:
    for row, pair in zip(rows, pairs, strict=True):
        for response in RESPONSES:
            found = scored(row, response, folder, rules=rules, mode="guided")
            target = Target(pair.tags, pair.prompt, pair.answer)
            assert found["reward_score"] == score(response, target, rules).reward
            assert found["reward_extra_info"]["score"] == found["reward_score"]


def test_validation_is_readable_where_some_rows_have_no_tags(rows, folder) -> None:
    infos, sources = defaultdict(list), []
    for row in rows:
        found = scored(row, RESPONSES[2], folder, rules="paper")
        sources.append(row["data_source"])
        infos["reward"].append(found["reward_score"])
        for key, value in found["reward_extra_info"].items():
            infos[key].append(value)
    uids = [str(i) for i in range(len(sources))]
    metrics = process_validation_metrics(sources, uids, infos)
    assert metrics["benign"]["reward"]["mean@1"] == 1.0
    assert metrics["benign"]["refusal"]["mean@1"] == 0.0
    assert metrics["compositional"]["reward"]["mean@1"] == 0.0
    assert metrics["harmful"]["tag"]["mean@1"] == 0.0
    # Rows without tags are a source of their own, so their NaN reaches no other mean.
    tags = {source: metrics[source]["tag"]["mean@1"] for source in set(sources)}
    assert {source for source, value in tags.items() if np.isnan(value)} == {"question"}


GROUPS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
TAG = np.array([1, 0.5, 0, 0.75, 1, 1, 1, 1, 0, 0, 0, 0.5])
BEHAVIOR = np.array([1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0.0])


def normalised(values: np.ndarray, epsilon: float) -> np.ndarray:
    """Each value less its group's mean, by its group's (sample) deviation."""
    rows = values.reshape(3, 4)
    centred = rows - rows.mean(1, keepdims=True)
    return (centred / (rows.std(1, ddof=1, keepdims=True) + epsilon)).ravel()


def token_rewards(values: np.ndarray, lengths: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(rewards at each completion's last token, mask), both (B, T)."""
    mask = torch.tensor(np.arange(lengths.max()) < lengths[:, None], dtype=torch.float32)
    rewards = torch.zeros_like(mask)
    rewards[torch.arange(len(values)), torch.tensor(lengths) - 1] = torch.tensor(
        values, dtype=torch.float32
    )
    return rewards, mask


LENGTHS = np.array([3, 1, 2, 5, 4, 4, 4, 4, 1, 2, 3, 4])


def test_grpo_normalises_as_trl_but_for_the_epsilon() -> None:
    reward = 0.5 * TAG + 0.5 * BEHAVIOR
    rewards, mask = token_rewards(reward, LENGTHS)
    found, _ = compute_grpo_outcome_advantage(rewards, mask, GROUPS)
    theirs = found[:, 0].numpy()
    np.testing.assert_allclose(theirs, normalised(reward, 1e-6), rtol=1e-5, atol=1e-6)
    trls = normalised(reward, 1e-4)  # TRL's sum_then_normalize with our weights of a half
    np.testing.assert_allclose(theirs, trls, rtol=1e-3)
    assert np.abs(theirs - trls).max() > 1e-5
    assert (found == found[:, :1] * mask).all()


def gdpo(lengths: np.ndarray) -> np.ndarray:
    rewards, mask = token_rewards(0.5 * TAG + 0.5 * BEHAVIOR, lengths)
    prompts = torch.zeros(len(lengths), 2)
    attention = torch.cat([torch.ones_like(prompts), mask], 1).long()
    config = OmegaConf.create(
        {"gdpo_reward_keys": ["gated_tag", "gated_behavior"], "gdpo_reward_weights": [0.5, 0.5]}
    )
    found, _ = compute_gdpo_outcome_advantage(
        rewards,
        mask,
        GROUPS,
        config=config,
        non_tensor_batch={"gated_tag": TAG, "gated_behavior": BEHAVIOR},
        batch={"prompts": prompts, "attention_mask": attention},
    )
    return found[:, 0].numpy()


def ours(epsilon: float) -> np.ndarray:
    """The two parts normalised in their groups and added up: what is then normalised once more."""
    return 0.5 * normalised(TAG, epsilon) + 0.5 * normalised(BEHAVIOR, epsilon)


def test_gdpo_is_trls_where_completions_are_equally_long() -> None:
    summed = ours(1e-4)
    trls = (summed - summed.mean()) / (summed.std(ddof=1) + 1e-4)
    np.testing.assert_allclose(gdpo(np.full(12, 1)), trls, rtol=2e-3)


def test_gdpo_normalises_the_batch_by_tokens_where_trl_does_by_completions() -> None:
    summed = ours(1e-6)
    tokens = np.repeat(summed, LENGTHS)
    expected = (summed - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8)
    found = gdpo(LENGTHS)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    trls = (summed - summed.mean()) / (summed.std(ddof=1) + 1e-4)
    assert np.abs(found - trls).max() > 0.05


def test_the_newer_trainer_still_does_not_hand_over_the_parts() -> None:
    """Why normalize_then_sum sets trainer.use_v1=False; if this fails, it need not."""
    newer = {path: text for path, text in SOURCES.items() if path.parent.name == "v1"}
    assert newer and not any("gdpo" in text for text in newer.values())
    rewards, mask = token_rewards(TAG, LENGTHS)
    handed_over = DataProto(
        batch=TensorDict({"token_level_rewards": rewards, "response_mask": mask}, batch_size=12),
        non_tensor_batch={"uid": GROUPS.astype(object)},
    )
    config = OmegaConf.create({"gdpo_reward_keys": ["gated_tag"]})
    with pytest.raises((AssertionError, KeyError)):
        compute_advantage(handed_over, "gdpo", config=config)


def test_the_key_that_freezes_a_vision_tower_is_still_read_by_nothing() -> None:
    """Why freeze_vision without adapters is refused; if this fails, it need not be."""
    read = [path for path, text in SOURCES.items() if "freeze_vision_tower" in text]
    assert [path.relative_to(PACKAGE).as_posix() for path in read] == ["workers/config/actor.py"]


def test_verl_bans_sampled_placeholders_by_itself() -> None:
    server = SOURCES[PACKAGE / "workers" / "rollout" / "vllm_rollout" / "vllm_async_server.py"]
    assert "get_vision_placeholder_token_ids" in server


def test_the_processors_are_those_that_verl_knows() -> None:
    text = SOURCES[PACKAGE / "utils" / "tokenizer" / "tokenizer.py"]
    assert all(f'case "{name}"' in text for name in PROCESSORS)


def test_the_documented_step_merges_what_verls_merger_leaves(tmp_path, monkeypatch) -> None:
    model = adapted(load_model(SHIPPED, dtype="float32")).eval()
    actor = tmp_path / "actor"  # a checkpoint of one process, as verl writes it
    shutil.copytree(SHIPPED, actor / "huggingface", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(model.state_dict(), actor / "model_world_size_1_rank_0.pt")
    for name, content in (
        ("fsdp_config.json", {"FSDP_version": 2, "world_size": 1}),
        ("lora_train_meta.json", {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}),
    ):
        (actor / name).write_text(json.dumps(content))
    words = ["merge", "--backend", "fsdp", "--local_dir", actor, "--target_dir", "merged"]
    command = [sys.executable, "-m", "verl.model_merger", *words]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(ModelError, match="the model before training"):
        load_model(tmp_path / "merged")
    trained = load_model(merge_as_documented(tmp_path, SHIPPED, monkeypatch), dtype="float32")
    ids = torch.arange(5, 30)[None]
    with torch.no_grad():
        wanted, found = model(input_ids=ids).logits, trained(input_ids=ids).logits
        with model.disable_adapter():
            base = model(input_ids=ids).logits
    # Adapters come in 16 bits from the merger.
    assert (found - wanted).abs().max() < 0.05 * (base - wanted).abs().max()
