"""The card of a trained model: how it was made, what the run measured, how to use it.

It is written beside every model that a run saves, ready for the Hugging Face hub: where anything
lies on this machine stays out of it, and text from recipes and data is never markup.
`safegrpo card` replaces it by one with an evaluation's numbers, and keeps the part on training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from safegrpo.evaluation.metrics import TITLES
from safegrpo.evaluation.stats import format_rate
from safegrpo.report.card import MADE_BY, TRAINING, on_hub
from safegrpo.report.public import published, told
from safegrpo.report.tables import code, in_cell, one_line
from safegrpo.thinking import GUIDE_FILE
from safegrpo.training.config import Recipe
from safegrpo.training.model_parts import ADAPTER
from safegrpo.training.result import ColdStarted, Internalised
from safegrpo.training.run_folder import splits_of

_LOCAL = "a local model"
_ROWS: Mapping[str, str] = {
    "reward": "mean reward",
    "format_rate": "right format",
    "tag_accuracy/combined": "right combined tag",
    "harmful_refusal_rate": "harmful pairs refused",
    "benign_refusal_rate": "harmless pairs refused",
    "completions/clipped_ratio": "cut at the token limit",
    "completions/mean_length": "mean length, tokens",
    "kl": "KL to the model before, nats a token",
}
"""What is told of the last training step, by its name in metrics.jsonl."""
_DATA = {"train": "Training data", "eval": "Held-out data"}
_LIMITS = """\
- The numbers above are the run's own: answers are judged by rules from their wording, and of one
  seed. `safegrpo eval` measures on benchmarks; `safegrpo card` then puts its numbers here.
- It was trained to tell harmful from harmless by image and text together. It can be wrong both
  ways, and nothing here says how it does on other kinds of data, or under attack."""


@dataclass(frozen=True)
class Training:
    """How far a run had come when a model of it was saved, and what is known of that.

    `manifest` is that of the run's folder. `row` are the newest training numbers, by their names
    in metrics.jsonl, with their `step`. `values` are held-out numbers in [0, 1] by name, `counts`
    how many pairs are behind each. `chosen_by` is the metric that the model was chosen by.
    `cold_started` is what came before GRPO, where that says, and `internalised` what the model has
    learned from after it.
    """

    recipe: Recipe
    manifest: Mapping[str, Any]
    step: int = 0
    steps: int = 0
    row: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    chosen_by: str | None = None
    cold_started: ColdStarted | None = None
    internalised: Internalised | None = None


def training_card(made: Training) -> str:
    """The card in Markdown, with the hub's front matter."""
    recipe = made.recipe
    title = one_line(Path(recipe.output).name)
    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        **({"base_model": recipe.model} if on_hub(recipe.model) else {}),
        **({"datasets": sets} if (sets := _hub_sets(recipe)) else {}),
        "tags": ["safegrpo", "grpo", "trl", "safety", "multimodal"],
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, width=1000)}---",
        MADE_BY,
        f"# {code(title)}",
        "A vision-language model, trained to see what an image and a request come to together: to "
        "decline what would do harm, and to help with the rest. Written by `safegrpo train`.",
        TRAINING[0],
        "## How it was trained",
        "\n".join(f"- {fact}" for fact in _facts(made)),
        *_numbers(made),
        "### The recipe",
        _fenced(_told_recipe(recipe), "yaml"),
        "## How to use it",
        *_use(made),
        "## Licence",
        f"The licence of its base model ({_base(recipe)}) applies to it too; some ask for a notice "
        "of changes, which this card is. Those of the training data may restrict its use further.",
        TRAINING[1],
        "## Known limits",
        _LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _base(recipe: Recipe) -> str:
    return code(recipe.model) if on_hub(recipe.model) else _LOCAL


def _facts(made: Training) -> Iterator[str]:
    recipe, lora = made.recipe, made.recipe.lora
    yield f"Base model: {_base(recipe)}"
    started = recipe.cold_start is not None
    if made.cold_started is not None and not made.cold_started.trained:
        started = False
        yield f"Cold start: none, by what {made.cold_started.sampled} rollouts showed"
    elif recipe.cold_start is not None:
        own = recipe.cold_start.target == "own"
        on = "right responses of its own" if own else "the format"
        yield f"Supervised steps on {on}, from training pairs: {recipe.cold_start.steps}"
    if made.steps:
        yield from _method(made)
        yield from _after(made)
    if lora is not None:
        on = ", on top of those steps" if made.steps and started else ""
        yield (
            f"Trained weights: LoRA of rank {lora.r} on the language tower, merged here, and by "
            f"itself in `{ADAPTER}/`{on}"
        )
    else:
        but = "all but the vision tower's" if recipe.freeze_vision else "all"
        yield f"Trained weights: {but}"
    for name, said in made.manifest["data"].items():
        given = getattr(recipe.data, name)
        of = code(given) if given and on_hub(given) else "a local set"
        cells = ", ".join(f"{in_cell(cell)} {count}" for cell, count in said["cells"].items())
        yield (
            f"{_DATA[name]}: {of}, {said['rows']} rows (image/text/combined: {cells}), sha256 "
            f"{code(said['sha256'])}"
        )
    yield f"Seed: {recipe.seed}"
    yield f"Versions: {code(told(made.manifest['versions']), 1000)}"


def _method(made: Training) -> Iterator[str]:
    recipe, splits = made.recipe, splits_of(made.manifest)
    update, generation = splits[-1].sizes
    guide = "with" if recipe.mode == "guided" else "without"
    yield (
        f"Method: GRPO by SafeGRPO's `{recipe.rules}` reward, asked {guide} the step-by-step guide"
    )
    none = "" if made.step else ", so this is the model as it was before"
    yield f"Steps: {made.step} of {made.steps}{none}"
    learned = made.step * update // int(recipe.grpo.get("num_iterations") or 1)
    yield (
        f"Completions: {learned:,} learned from; {update} an update, {generation} generated at a "
        "time"
    )
    yield f"Processes: {', then '.join(str(one.processes) for one in splits)}"


def _after(made: Training) -> Iterator[str]:
    config, learned = made.recipe.internalise, made.internalised
    if config is not None and learned is None:
        yield "Supervised steps without the guide: none yet, this is the model before them"
    if config is not None and learned is not None:
        what = "its responses" if config.target == "response" else "its answers"
        yield (
            f"Supervised steps without the guide, after that: {config.steps}, on {what} to "
            f"training pairs asked with the guide, which go on to be learned with it, too; "
            f"{learned.kept:,} of {learned.sampled:,} earned the full reward and were learned from"
        )


def _numbers(made: Training) -> Iterator[str]:
    rows = [
        f"| {title} | {made.row[name]:.4g} |" for name, title in _ROWS.items() if name in made.row
    ]
    if rows:
        yield f"### In training, at step {made.row['step']}"
        yield "\n".join(["| mean over its completions | |", "|---|---|", *rows])
    if made.values:
        after = "all steps" if made.internalised else f"step {made.step}"
        yield f"### On held-out pairs, after {after}"
        yield "\n".join(["| asked | measure | value |", "|---|---|---|", *_held_out(made)])
        if made.chosen_by is not None:
            yield (
                "This model was kept because it was the run's best so far by "
                f"{code(made.chosen_by)} on these very pairs, which flatters that number."
            )


def _held_out(made: Training) -> Iterator[str]:
    named = [name.removeprefix("eval/").partition("/")[::2] for name in made.values]
    for asked in dict.fromkeys(mode for mode, _ in named):
        for (mode, metric), name in zip(named, made.values, strict=True):
            if mode == asked:
                title = TITLES.get(metric) or metric.replace("_", " ")
                shown = _value(metric, made.values[name], made.counts.get(name))
                yield f"| {in_cell(mode)} | {in_cell(title)} | {shown} |"


def _value(metric: str, value: float, n: int | None) -> str:
    if metric == "balance":
        return f"{100 * value:.1f} % (mean of safety and of harmless pairs not refused)"
    return format_rate(value, n) if n else f"{value:.4g} (n not recorded)"


def _use(made: Training) -> Iterator[str]:
    recipe = made.recipe
    guided = recipe.mode == "guided"
    template = published(recipe.grpo.get("chat_template_kwargs") or {})
    yield "With transformers (Qwen's processors want torchvision, too):"
    lines = [
        "from pathlib import Path" if guided else "",
        "from transformers import AutoModelForImageTextToText, AutoProcessor",
        "",
        'folder = "FOLDER"  # where this model lies',
        'question = "What is shown here?"',
        f'prompt = question + "\\n" + Path(folder, "{GUIDE_FILE}").read_text().strip()'
        if guided
        else "prompt = question",
        "processor = AutoProcessor.from_pretrained(folder)",
        'model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")',
        "content = [",
        '    {"type": "image", "path": "picture.jpg"},',
        '    {"type": "text", "text": prompt},',
        "]",
        "inputs = processor.apply_chat_template(",
        '    [{"role": "user", "content": content}],',
        *(f"    {key}={value!r}," for key, value in template.items() if key.isidentifier()),
        "    add_generation_prompt=True,",
        "    tokenize=True,",
        "    return_dict=True,",
        '    return_tensors="pt",',
        ")",
        "output = model.generate(**inputs, max_new_tokens=2048)",
        'print(processor.decode(output[0, inputs["input_ids"].shape[1] :]))',
    ]
    yield _fenced("\n".join(lines[not lines[0] :]), "python")
    yield "With safegrpo, which shows thinking, tags and answer apart:"
    mode = "" if guided else " --mode direct"
    command = f'safegrpo ask FOLDER --image picture.jpg "What is shown here?"{mode}'
    yield _fenced(command, "bash")
    if guided:
        yield (
            f"It was trained to answer with the guide of `{GUIDE_FILE}` after the question. The "
            "answer stands in `<answer>…</answer>`, the tags in the thinking before it."
        )
    if guided and made.internalised:
        yield "It has also learned to answer so without the guide, to the question alone."


def _hub_sets(recipe: Recipe) -> list[str]:
    named = (recipe.data.train, recipe.data.questions)
    return [name for name in named if name is not None and on_hub(name)]


def _told_recipe(recipe: Recipe) -> str:
    """The recipe in YAML, without what is only of use on this machine: names of files and folders
    become their last part."""
    options = recipe.model_dump(mode="json", exclude={"output"}, exclude_none=True)
    options["model"] = recipe.model if on_hub(recipe.model) else _LOCAL
    if recipe.guide is not None:
        options["guide"] = GUIDE_FILE
    for key in ("train", "eval", "questions", "images"):
        given = getattr(recipe.data, key)
        if given is not None and not on_hub(given):
            options["data"][key] = Path(given).name
    # Not allow_unicode: what would turn or hide text is then escaped.
    return yaml.safe_dump(published(options), sort_keys=False, width=100).rstrip()


def _fenced(text: str, language: str) -> str:
    """A block of code that nothing in `text` can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
