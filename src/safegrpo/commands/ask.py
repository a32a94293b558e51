"""`safegrpo ask`: one question to a model; its thinking, tags and answer, and what they say."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from safegrpo.behavior import classify
from safegrpo.data.images import DEFAULT_MAX_PIXELS, ImageRef, open_image
from safegrpo.errors import ConfigError, DataError, InputFileError, MissingDependencyError
from safegrpo.terminal import printable
from safegrpo.thinking import (
    GUIDE,
    GUIDE_FILE,
    TAG_NAMES,
    direct_answer,
    guided_prompt,
    load_guide,
    parse,
)

_EXAMPLE = """\
example:
  $ safegrpo ask runs/demo-strict-seed0/checkpoints/last --image photo.png "can I hold it?"
  $ safegrpo ask Qwen/Qwen3-VL-4B-Thinking --image a.jpg --image b.jpg "..." --mode direct

Guided, the model is given the guide it was trained with (guide.txt in its folder), or else ours;
--guide FILE replaces it."""


def add_ask(subparsers: Any) -> None:
    """Add `ask` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "ask",
        help="ask a model one question; thinking, tags and answer are shown",
        description="Ask a vision-language model one question.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the hub")
    parser.add_argument("question", help="the text of the turn")
    parser.add_argument(
        "--image",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an image of the turn; may be given again",
    )
    parser.add_argument("--mode", choices=("guided", "direct"), default="guided")
    parser.add_argument("--guide", type=Path, metavar="FILE", help="another guide")
    parser.add_argument("--max-new-tokens", type=int, default=2048, metavar="N")
    parser.add_argument("--max-pixels", type=int, default=DEFAULT_MAX_PIXELS, metavar="N")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 takes the likeliest (default)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sampling (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(run=run_ask)


def run_ask(args: argparse.Namespace) -> int:
    """Ask, and print what came back; 0 also if it kept to no format."""
    if args.max_new_tokens < 1 or not 0 <= args.temperature < math.inf:
        raise ConfigError("--max-new-tokens must be 1 or more, and --temperature 0 or more")
    if not 0 <= args.seed < 2**32:
        raise ConfigError("--seed must be from 0 to 4294967295")
    try:
        args.question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError("the question is not valid UTF-8") from error
    if args.mode == "direct" and args.guide is not None:
        raise ConfigError("--guide has no place in --mode direct")
    images = [_open(path, args.max_pixels) for path in args.image]
    prompt = args.question
    if args.mode == "guided":
        prompt = guided_prompt(prompt, guide_for(args.guide, Path(args.model)))
    response = _generate(args, images, prompt)
    said = describe(response, args.question, args.mode)
    print(json.dumps(said) if args.json else text_of(said))
    return 0


def describe(response: str, question: str, mode: str) -> dict[str, Any]:
    """A response taken apart: thinking, tags, answer, behavior, faults."""
    if mode == "direct":
        answer: str | None = direct_answer(response)
        thinking, tags, faults = None, None, []
    else:
        parsed = parse(response, "strict")
        answer, thinking = parsed.answer, parsed.thinking
        tags = {name: parsed.tags[name] for name in TAG_NAMES}
        faults = [fault.code for fault in parsed.faults]
    found = classify(answer or "", "strict", question)
    return {
        "mode": mode,
        "thinking": thinking,
        "tags": tags,
        "answer": answer,
        "behavior": found.label if answer is not None else None,
        "faults": faults,
        "response": response,
    }


def text_of(said: dict[str, Any]) -> str:
    """What `describe` found, for a terminal."""
    if said["mode"] == "direct":
        return f"answer ({said['behavior']})\n{_indented(said['answer'])}"
    parts = []
    if said["answer"] is None:
        # Nothing to take apart: show all of it.
        parts += ["response (keeps to no format)", _indented(said["response"])]
    elif said["thinking"] is not None:
        parts += ["thinking", _indented(said["thinking"])]
    stated = ", ".join(f"{name} {said['tags'][name] or 'not stated'}" for name in TAG_NAMES)
    parts.append(f"tags: {stated}")
    if said["answer"] is not None:
        parts += [f"answer ({said['behavior']})", _indented(said["answer"])]
    if said["faults"]:
        parts.append(f"faults: {', '.join(said['faults'])}")
    return "\n".join(parts)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in printable(text).strip().splitlines())


def _open(path: Path, max_pixels: int) -> Any:
    if not path.is_file():
        raise InputFileError(f"image {path} not found")
    return open_image(ImageRef(path=path), max_pixels)


def guide_for(given: Path | None, model: Path) -> str:
    """The guide in a file, else the one in a model's folder, else ours."""
    own = model / GUIDE_FILE
    if given is None:
        given = own if own.is_file() else None
    return GUIDE if given is None else load_guide(given)


def _generate(args: argparse.Namespace, images: list[Any], prompt: str) -> str:
    try:
        import torch

        from safegrpo.evaluation.generate import generate_responses
        from safegrpo.models import control_token_ids, control_tokens_in, load_model, load_processor
        from safegrpo.training.run import quiet
    except ImportError as error:
        raise MissingDependencyError(
            f"asking a model needs {error.name}; install it with: pip install 'safegrpo[train]'"
        ) from error
    quiet()
    processor = load_processor(args.model)
    found = control_tokens_in(args.question, processor.tokenizer, control_token_ids(processor))
    if found:
        raise ConfigError(f'the question holds "{found[0]}", a control token of this model')
    print(f"loading {args.model}", file=sys.stderr)
    on_gpu = torch.cuda.is_available()
    model = load_model(args.model, dtype="auto" if on_gpu else "float32")
    try:
        responses = generate_responses(
            model.to("cuda") if on_gpu else model,
            processor,
            [(images, prompt)],
            max_new_tokens=args.max_new_tokens,
            batch_size=1,
            temperature=args.temperature,
            seed=args.seed,
        )
    except ValueError as error:  # such as an image of a shape that it cannot cut up
        raise DataError(f"the model's processor refuses it: {error}") from error
    return responses[0]
