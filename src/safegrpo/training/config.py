"""The recipe of a training run: one YAML file, checked before anything heavy is loaded.

Defaults are ours; the published settings are recipes/*_paper.yaml. GRPO's own options are passed
through to TRL's GRPOConfig under `grpo`, and checked against its fields where TRL is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from safegrpo.data.images import DEFAULT_MAX_PIXELS
from safegrpo.errors import ConfigError, InputFileError
from safegrpo.training.config_errors import explain
from safegrpo.training.grpo_options import check_grpo_options, check_rollouts

LANGUAGE_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Where the tagged pairs are; prompts longer than `max_prompt_length` tokens are an error.

    `train` may be left out only where a program hands the pairs to `train()` itself. `questions`
    are general questions with an answer (ScienceQA's or IconQA's folder, or a tagged set), mixed
    in so that they make up `question_share` of the rows.
    """

    train: str | None = None
    split: str | None = None
    images: str | None = None
    questions: str | None = None
    questions_split: str | None = None
    question_share: float = Field(default=0.1, ge=0, lt=1)
    eval: str | None = None
    eval_split: str | None = None
    eval_limit: int | None = Field(default=None, ge=1)
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, ge=1)
    max_prompt_length: int = Field(default=2048, ge=1)


class LoraConfig(_Section):
    """Low-rank adapters on the language tower; `target_modules` are names of linear layers."""

    r: int = Field(default=32, ge=1)
    alpha: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] = LANGUAGE_LINEAR


class SupervisedConfig(_Section):
    """Supervised steps, of `batch_size` rows on each process."""

    steps: int = Field(default=50, ge=1)
    learning_rate: float = Field(default=1e-5, gt=0)
    batch_size: int = Field(default=8, ge=1)


class SampledConfig(SupervisedConfig):
    """Supervised steps on `rollouts` responses of the model's own to each of at most `examples`
    training pairs, sampled at `temperature`."""

    rollouts: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    examples: int | None = Field(default=None, ge=1)


class ColdStartConfig(SampledConfig):
    """Supervised steps with the guide before GRPO, from `examples` of the training pairs.

    `target: written`, for a model that does not write the format: a thinking written for it with
    the true tags. Answers to safe pairs are the row's own `answer`, or what the model says unasked
    (greedy, at most `answer_tokens`), so that the format is learned and the manner of helping kept.
    `target: own`, for a model that writes it but answers as if it had not: those of its own
    `rollouts` that earn the full reward, as many harmful pairs' as harmless ones'. In them the
    answer always follows the tag, and GRPO has a link to strengthen. With `when: unlinked` that is
    done only where it is needed: where its first rollouts, a few dozen or more, do not refuse 20
    points oftener behind an unsafe combined tag than behind a safe one; also not where there are
    too few to tell, or too few right ones to learn from.
    """

    target: Literal["written", "own"] = "written"
    when: Literal["always", "unlinked"] = "always"
    examples: int | None = Field(default=256, ge=1)
    answer_tokens: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _of_the_target(self) -> ColdStartConfig:
        idle = {"written": {"rollouts", "temperature"}, "own": {"answer_tokens"}}[self.target]
        said = idle & self.model_fields_set
        if said and any(getattr(self, k) != type(self).model_fields[k].default for k in said):
            raise ValueError(f'"{min(said)}" does nothing with target: {self.target}')
        if self.when == "unlinked" and self.target != "own":
            raise ValueError("when: unlinked needs target: own, which makes answers heed the tags")
        return self


class InternaliseConfig(SampledConfig):
    """Supervised steps after GRPO that carry over what it taught to prompts without the guide.

    `rollouts` responses to each of at most `examples` training pairs are sampled with the guide;
    those that earn the full reward are learned without it: the whole `response` (the model then
    thinks unasked) or the `answer` alone. `replay` is the share of batches that are learned with
    the guide, so that it goes on to be followed. The vision tower is left as GRPO made it.
    """

    steps: int = Field(default=100, ge=1)
    target: Literal["response", "answer"] = "response"
    replay: float = Field(default=0.33, ge=0, lt=1)


class EvaluateConfig(_Section):
    """Held-out measurement every `every` steps, and by what the best checkpoint is chosen.

    `balance` is the mean of safety and of benign pairs not refused: refusing all scores 0.5.
    """

    every: int = Field(default=50, ge=1)
    batch_size: int = Field(default=8, ge=1)
    max_new_tokens: int = Field(default=1024, ge=1)
    modes: tuple[Literal["guided", "direct"], ...] = ("guided", "direct")
    metric: str = "guided/balance"
    greater_is_better: bool = True


class CheckpointConfig(_Section):
    """A checkpoint at the first generation boundary after `every` steps; the newest are kept."""

    every: int = Field(default=50, ge=1)
    keep: int = Field(default=2, ge=1)


class CreditConfig(_Section):
    """What is done with groups that teach nothing, and what the format pays by itself.

    `hints`: completions of a group that are given the right combined tag and finished anew, if all
    of the group state a wrong one. `skip_settled`: completions without an advantage leave the loss,
    so that they are not held to the reference model either. `format_weight`: weight of a third
    reward, the format alone, which tells a broken format from a wrong tag. `reason_share`: the
    share of R_behavior on unsafe pairs that only a refusal with a reason earns. `format_gate`: off,
    tags and behavior pay whatever the format is; to see what the gate is for.
    """

    hints: int = Field(default=0, ge=0)
    skip_settled: bool = False
    format_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    reason_share: float = Field(default=0.0, ge=0, le=1)
    format_gate: bool = True


class SamplingConfig(_Section):
    """The order of the rows. `balance`: harmful and harmless rows of one prompt come together;
    `tilt`: how much more often such rows come than others."""

    balance: bool = False
    tilt: float = Field(default=1.0, ge=1, le=100)


class WarningConfig(_Section):
    """When to warn: steps in a row without any reward, and shares of completions."""

    zero_reward_steps: int = Field(default=10, ge=1)
    clipped_share: float = Field(default=0.5, ge=0, le=1)
    benign_refusal_share: float = Field(default=0.5, ge=0, le=1)


class Recipe(_Section):
    """All of a training run. `guide` is a file that replaces the built-in guide; `shared_prefix`
    computes each prompt once for all of its completions: the same log-probabilities and gradients,
    and parts of a generation batch hold whole groups."""

    model: str
    data: DataConfig = DataConfig()
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    rules: Literal["strict", "paper"] = "strict"
    mode: Literal["guided", "direct"] = "guided"
    guide: str | None = None
    lora: LoraConfig | None = None
    freeze_vision: bool = True
    cold_start: ColdStartConfig | None = None
    internalise: InternaliseConfig | None = None
    grpo: dict[str, Any] = Field(default_factory=dict)
    credit: CreditConfig = CreditConfig()
    sampling: SamplingConfig = SamplingConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    shared_prefix: bool = True
    warnings: WarningConfig = WarningConfig()
    samples_every: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    output: str = "runs/safegrpo"

    @property
    def trains_vision(self) -> bool:
        """Whether the vision tower is trained; adapters never touch it."""
        return self.lora is None and not self.freeze_vision

    @field_validator("model", "output")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.cold_start is not None and self.mode == "direct":
            raise ValueError("cold_start teaches the format, which mode: direct does not have")
        if self.internalise is not None and self.mode == "direct":
            raise ValueError(
                "internalise carries over what the guide teaches, and mode: direct has no guide"
            )
        if self.mode == "direct" and (self.credit.hints or self.credit.format_weight):
            raise ValueError("credit: mode: direct has neither tags to hint at nor a format to pay")
        if self.credit.hints and self.grpo.get("use_vllm"):
            raise ValueError("credit.hints need generation by transformers, not grpo.use_vllm")
        if self.dtype == "bfloat16" and self.lora is None:
            raise ValueError(
                "dtype: bfloat16 rounds the steps of full training away; leave it at auto (float32 "
                "weights, bfloat16 arithmetic), or set lora"
            )
        return self


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), named: Mapping[str, str | None] | None = None
) -> Recipe:
    """The recipe in a YAML file, with `overrides` such as "grpo.beta=0.04" set on top, and over
    those the texts of `named` ({"data.train": …}) that are not None, as they are.

    Raises InputFileError if the file or its guide is missing, ConfigError in one line for
    anything in it that cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        raise InputFileError(f'recipe "{path}" not found')
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {_one_line(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deep") from error
    if _holds_itself(options):
        raise ConfigError(f"{path}: an alias in it stands for what it is in")
    if not isinstance(options, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys, this is {_kind(options)}")
    for override in overrides:
        key, value = _read_override(override)
        _set(options, key, value, override)
    for key, text in (named or {}).items():
        if text is not None:
            _set(options, key, text, key)
    options.setdefault("output", f"runs/{path.stem}")
    return _validated(options, str(path))


def _validated(options: Mapping[str, Any], place: str) -> Recipe:
    try:
        recipe = Recipe.model_validate(options)
    except ValidationError as error:
        raise ConfigError(f"{place}: {explain(error, Recipe)}") from error
    if recipe.guide is not None and not Path(recipe.guide).is_file():
        raise InputFileError(f'{place}: guide file "{recipe.guide}" not found')
    if recipe.data.images is not None and not Path(recipe.data.images).is_dir():
        raise InputFileError(f'{place}: image folder "{recipe.data.images}" not found')
    try:
        recipe = recipe.model_copy(update={"grpo": check_grpo_options(recipe.grpo)})
        check_rollouts(recipe)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    return recipe


def _read_override(override: str) -> tuple[str, Any]:
    """Key and value of one "a.b=value"; the value is read as YAML."""
    name, equals, text = override.partition("=")
    keys = [key.strip() for key in name.split(".")]
    if not equals or not all(keys):
        raise ConfigError(f'--set "{override}": write it as key=value, such as grpo.beta=0.04')
    try:
        return ".".join(keys), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f'--set "{override}": not YAML: {_one_line(error)}') from error


def _set(options: dict[str, Any], name: str, value: Any, said: str) -> None:
    """Set the value at "a.b" in nested mappings; `said` is how that was asked for."""
    keys = name.split(".")
    place = options
    for key in keys[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            raise ConfigError(f'--set "{said}": "{key}" holds {_kind(place)}, not keys')
    place[keys[-1]] = value


def _holds_itself(value: Any, around: tuple[int, ...] = ()) -> bool:
    """Whether a value read from YAML contains itself, as an alias can make it."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return id(value) in around or any(_holds_itself(v, (*around, id(value))) for v in inner)


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())[:300]


def _kind(value: object) -> str:
    return "empty" if value is None else f"a {type(value).__name__}"


def flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as {"a.b": value}."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
