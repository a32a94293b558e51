"""Throughput of `safegrpo eval`: as a client of an endpoint, and with the model in this process.

    python bench/eval.py [--items 1920] [--concurrency 64] [--delay 1.0] [--json]
    python bench/eval.py --local base [--local 37m] [--items 64] [--batch-size 16] [--json]

The first is measured as `bench/judge.py` does it: the endpoint answers after `--delay` seconds, and
bare clients say before and after what it allows. The seconds of asking are those of the command,
less those of a start, and of judging by rules and measuring, which a run over the finished folder
does alone.

With `--local` our batches and generate() over one item after the other take turns over the same
items of the microcosm, guided, with the same model: `base` is the microcosm's, and the others have
random weights, in the shapes of `bench/grpo_step.py`. The ratio is generate()'s seconds over ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grpo_step import machine
from grpo_worker import SHAPES, build
from judge import ROOT, bare_rate, write_pairs

ROUNDS = 3
RESULTS = ROOT / "docs" / "results" / "eval"
DOCS = ROOT / "docs" / "evaluation.md"
SHOWN = {"base": "the microcosm's model", "37m": "one of 37 million random weights"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--local", action="append", choices=["base", *SHAPES], help="a model here")
    options.add_argument("--items", type=int, help="default: 1920, of a model in this process 64")
    options.add_argument("--concurrency", type=int, default=64)
    options.add_argument("--delay", type=float, default=1.0, help="seconds")
    options.add_argument("--batch-size", type=int, default=16)
    options.add_argument("--max-new-tokens", type=int, default=72)
    options.add_argument("--json", action="store_true")
    options.add_argument("--keep", action="store_true", help="put the figures into the docs")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.local:
            found: dict[str, Any] = {
                name: local(Path(folder), name, args.items or 64, args) for name in args.local
            }
            found["machine"] = machine()
        else:
            found = served(Path(folder), args.items or 1920, args.concurrency, args.delay)
    if args.keep:
        keep("local" if args.local else "served", found)
    if args.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<28} {value}")


def keep(what: str, found: dict[str, Any]) -> None:
    """Write the figures beside the others, and all of them into docs/evaluation.md."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    said = " ".join(one for one in sys.argv[1:] if one not in ("--keep", "--json"))
    found = {"command": f"python bench/eval.py {said}".strip(), **found}
    (RESULTS / f"{what}.json").write_text(json.dumps(found, indent=1) + "\n")
    lines = []
    if (RESULTS / "served.json").is_file():
        one = json.loads((RESULTS / "served.json").read_text())
        lines.append(
            f"As a client: {one['calls_per_s']} responses a second at concurrency "
            f"{one['concurrency']} from an endpoint that takes {one['delay_s']:g} s for each, "
            f"{100 * one['share_of_allowed']:.1f} % of what bare sockets get from it in the same "
            f"run; {one['cpu_ms_per_call']} ms of CPU a response (n = {one['items']}, images of "
            f"512 x 512; `{one['command']}`, two cores)."
        )
    if (RESULTS / "local.json").is_file():
        one = json.loads((RESULTS / "local.json").read_text())
        models = {name: value for name, value in one.items() if isinstance(value, dict)}
        ratios = ", ".join(
            f"{value['ratio']} times for {SHOWN.get(name, name)} (n = {value['items']}, the same "
            f"responses in {100 * value['same_responses']:g} %)"
            for name, value in models.items()
            if "ratio" in value
        )
        lines.append(
            "In this process, beside Hugging Face's `generate` in a loop over single items, in "
            f"turn, medians: {ratios} (`{one['command']}`, {one['machine']['device']}, "
            f"{one['machine']['threads']} threads). Where prompts are long and answers of a few "
            "words there is less to gain."
        )
    lines.append("On a GPU: not yet run.")
    block = "\n\n".join(lines)
    docs = DOCS.read_text(encoding="utf-8")
    marks = re.compile(r"(<!-- speed[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
    DOCS.write_text(marks.sub(lambda match: f"{match[1]}{block}\n{match[2]}", docs), "utf-8")


# --- an endpoint ------------------------------------------------------------------------------


def served(folder: Path, items: int, concurrency: int, delay: float) -> dict[str, Any]:
    """What a run over new items took, beside what the server allows."""
    write_pairs(folder, items)
    payload = sample_payload(folder / "images" / "0.jpg")
    with fault_server(delay) as url:
        bare = [asyncio.run(bare_rate(url, payload, items // 2, concurrency))]
        start, idle_cpu = evaluate(folder, folder / "one", url, concurrency, ["--limit", "1"])
        seconds, cpu = evaluate(folder, folder / "out", url, concurrency)
        rules = evaluate(folder, folder / "out", url, concurrency)[0] - (start - delay)
        bare.append(asyncio.run(bare_rate(url, payload, items // 2, concurrency)))
    whole, allowed = seconds - (start - delay), statistics.mean(bare)
    rate = items / (whole - rules)
    return {
        "items": items,
        "concurrency": concurrency,
        "delay_s": delay,
        "calls_per_s": round(rate, 2),
        "allowed_per_s": round(allowed, 2),
        "share_of_allowed": round(rate / allowed, 4),
        "share_of_ideal": round(rate * delay / concurrency, 4),
        "share_with_rules": round(items / whole / allowed, 4),
        "cpu_ms_per_call": round(1000 * (cpu - idle_cpu) / items, 2),
        "rules_ms_per_item": round(1000 * rules / items, 2),
        "start_s": round(start - delay, 2),
    }


@contextmanager
def fault_server(delay: float) -> Iterator[str]:
    """The URL of a model that answers after `delay` seconds, in a process of its own."""
    command = [sys.executable, str(ROOT / "tests/judge/fault_server.py"), "--plain", "response"]
    with subprocess.Popen(
        [*command, "--delay", str(delay)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def evaluate(
    data: Path, out: Path, url: str, concurrency: int, more: Sequence[str] = ()
) -> tuple[float, float]:
    """(seconds, CPU seconds) of the command over a folder's items, by rules."""
    command = [sys.executable, "-m", "safegrpo", "eval", "--benchmarks", "folder", "--rules-only"]
    command += ["--data", str(data), "-o", str(out), "--url", url, "--model", "model"]
    command += ["--mode", "direct", "--concurrency", str(concurrency), *more]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sample_payload(image: Path) -> bytes:
    """A request as `eval` sends it."""
    from safegrpo.data.images import ImageRef, image_as_sent
    from safegrpo.evaluation.run import PLAIN
    from safegrpo.judge.completion import request_body
    from safegrpo.judge.question import Picture, Question

    picture = Picture(*image_as_sent(ImageRef(path=image), 1536))
    question = Question("", (picture, "item-0 what now?"), {}, PLAIN)
    body = {"model": "model", "max_tokens": 2048, "temperature": 0}
    return json.dumps({**body, **request_body(question, "text")}).encode()


# --- a model in this process ------------------------------------------------------------------


def local(folder: Path, name: str, items: int, args: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of both ways over the same items, in turn, and their ratio."""
    import torch

    from safegrpo.judge.local import LocalJudge
    from safegrpo.microcosm import SHIPPED
    from safegrpo.models import load_model, load_processor
    from safegrpo.training.run import quiet

    quiet()
    path = Path(SHIPPED)
    if name != "base":
        path = folder / name
        build(path, name, 0, "bfloat16" if torch.cuda.is_available() else "float32")
    ours = LocalJudge(str(path), batch_size=args.batch_size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(str(path), dtype="auto" if device == "cuda" else "float32").to(device).eval()
    processor = load_processor(str(path))
    asked = questions(items, args.max_new_tokens)
    seconds: dict[str, list[float]] = {"ours": [], "generate": []}
    said: dict[str, list[str]] = {}
    for number in range(ROUNDS + 1):
        # The first round warms up.
        some = asked if number else asked[:2]
        for way in seconds:
            start = time.perf_counter()
            if way == "ours":
                said[way] = asyncio.run(batched(ours, some, 2 * args.batch_size))
            else:
                said[way] = [alone(model, processor, one, args.max_new_tokens) for one in some]
            if number:
                seconds[way].append(time.perf_counter() - start)
    medians = {way: statistics.median(of_way) for way, of_way in seconds.items()}
    alike = sum(one == other for one, other in zip(*said.values(), strict=True))
    return {
        "ratio": round(medians["generate"] / medians["ours"], 2),
        "seconds": {way: round(value, 3) for way, value in medians.items()},
        "same_responses": round(alike / items, 4),
        "items": items,
        "batch_size": args.batch_size,
        "max_new_tokens": args.max_new_tokens,
    }


def questions(count: int, max_new_tokens: int) -> list[Any]:
    """The first items of the microcosm's test split as `eval` asks them, guided."""
    from itertools import islice

    from safegrpo.data.images import image_as_sent
    from safegrpo.evaluation.benchmarks import benchmark
    from safegrpo.evaluation.run import PLAIN
    from safegrpo.judge.question import Picture, Question
    from safegrpo.thinking import guided_prompt

    found = []
    for item in islice(benchmark("microcosm").load(Path()), count):
        pictures = [Picture(*image_as_sent(ref)) for ref in item.images]
        text = guided_prompt(item.prompt)
        found.append(Question("", (*pictures, text), {}, PLAIN, max_tokens=max_new_tokens))
    return found


async def batched(judge: Any, asked: Sequence[Any], workers: int) -> list[str]:
    """Replies in order, as many questions at a time as `eval` has under way."""
    slots = asyncio.Semaphore(workers)

    async def one(question: Any) -> str:
        async with slots:
            return (await judge.ask(question)).text or ""

    return list(await asyncio.gather(*map(one, asked)))


def alone(model: Any, processor: Any, question: Any, max_new_tokens: int) -> str:
    """One item's response by generate(), greedy."""
    import io

    import torch
    from PIL import Image

    from safegrpo.evaluation.generate import chat_messages
    from safegrpo.judge.question import Picture
    from safegrpo.models import vision_token_ids

    pictures = [part for part in question.parts if isinstance(part, Picture)]
    images = [Image.open(io.BytesIO(picture.data)).convert("RGB") for picture in pictures]
    inputs = processor.apply_chat_template(
        chat_messages(images, question.parts[-1]),
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    ).to(model.device)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            suppress_tokens=vision_token_ids(processor) or None,
        )
    text: str = processor.tokenizer.decode(
        output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return text


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
