"""`safegrpo eval`: a model's responses to benchmarks, their judgements, and the numbers."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegrpo.commands.ask import guide_for
from safegrpo.commands.judges import (
    add_budget_options,
    add_judge_options,
    add_sampling_options,
    budget_from_args,
    check_url,
    judges_from_args,
    key_in,
    sampling_from_args,
)
from safegrpo.data.jsonl import check_folder
from safegrpo.errors import ConfigError, DataError
from safegrpo.thinking import GUIDE, load_guide

if TYPE_CHECKING:
    from safegrpo.evaluation.evaluate import Asked, Judges, Result
    from safegrpo.evaluation.plan import Plan
    from safegrpo.judge.question import Judge

_EXAMPLE = """\
example:
  $ safegrpo eval --model runs/mine/checkpoints/last --benchmarks figstep,mossbench --data sets \\
      -o eval/mine --rules-only
  $ safegrpo eval --url http://localhost:8000/v1 --benchmarks siuo --data sets -o eval/served \\
      --judge-url https://api.example.com/v1 --judge-model MODEL --judge-key-env JUDGE_KEY
  $ safegrpo eval --benchmarks siuo --data sets -o eval/served --judge-only \\
      --judge-url http://localhost:8001/v1 --judge-model OTHER    (judge the same responses anew)
  $ safegrpo report eval/mine -o report.html

Leaves DIR/generations.jsonl, judgements.jsonl and metrics.json. Run again it goes on where it
stopped. Exit code 3 if an item has no response, or a response no judgement. safegrpo benchmarks
lists the benchmarks."""

_LONG = 2048


def add_eval(subparsers: Any) -> None:
    """Add `eval` to the sub-parsers of argparse."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "eval",
        help="measure a model's safety, over-refusal and ability on benchmarks",
        description="Ask a model the items of benchmarks, judge its responses, and measure them.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--model", metavar="NAME", help="a folder or hub name; with --url, as the endpoint names it"
    )
    model.add_argument("--url", metavar="URL", help="an OpenAI-compatible endpoint, up to /v1")
    model.add_argument("--key-env", metavar="VAR", help="the environment variable with its key")
    model.add_argument(
        "--vllm", action="store_true", help="load the model in this process with vLLM"
    )
    model.add_argument(
        "--name", metavar="NAME", help="what the model, or an endpoint that moves, is called"
    )
    model.add_argument(
        "--batch-size",
        type=int,
        default=16,
        metavar="N",
        help="responses at a time of a model in this process (default: %(default)s)",
    )
    add_sampling_options(model, max_tokens=_LONG)
    what = parser.add_argument_group("what is asked")
    what.add_argument("--benchmarks", metavar="A,B", required=True, help="names, with commas")
    what.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="a set's folder, or one of folders with the sets' names (default: from the hub)",
    )
    what.add_argument(
        "--mode",
        default="guided,direct",
        metavar="M,N",
        help="guided, direct, ecso (default: %(default)s)",
    )
    what.add_argument("--guide", type=Path, metavar="FILE", help="another guide")
    what.add_argument(
        "--samples",
        type=int,
        default=1,
        metavar="N",
        help="responses to each item and mode; needs a --temperature (default: %(default)s)",
    )
    what.add_argument("--limit", type=int, metavar="N", help="items of each benchmark at most")
    what.add_argument("--seed", type=int, default=0, help="of --limit's draw (default: 0)")
    what.add_argument(
        "--max-side", type=int, metavar="N", help="pixels to which larger images are scaled down"
    )
    judge = parser.add_argument_group("the judge")
    judge.add_argument("--rules-only", action="store_true", help="no judge: by rules alone")
    judge.add_argument(
        "--judge-only", action="store_true", help="ask the model nothing; judge what is there"
    )
    judge.add_argument(
        "--scorer",
        choices=("official", "rubric"),
        default="official",
        help="the authors' rule where there is one, or our rubric for all (default: %(default)s)",
    )
    add_judge_options(judge, own="judge-")
    spend = parser.add_argument_group("how much")
    spend.add_argument("--dry-run", action="store_true", help="only say what would be asked")
    add_budget_options(spend)
    parser.add_argument("--json", action="store_true", help="print metrics.json and no table")
    parser.set_defaults(run=run_eval)


def run_eval(args: argparse.Namespace) -> int:
    """Evaluate; 3 if something is missing, 1 if the model or the judge broke down midway."""
    from safegrpo.evaluation.evaluate import Evaluation
    from safegrpo.evaluation.plan import Items
    from safegrpo.evaluation.rows import GENERATIONS_FILE, MANIFEST_FILE

    folder = Path(args.output)
    check_folder(folder, [MANIFEST_FILE, GENERATIONS_FILE, "lock"], "eval")
    plan = _plan(args, folder)
    judged = _is_judged(args)
    if args.judge_only and not judged and not args.rules_only:
        raise ConfigError("--judge-only needs a judge, or --rules-only")
    # What is wrong with the sets is said before a model is loaded.
    items = Items(plan)
    if not items.askable and not args.judge_only:
        raise DataError("none of the items can be asked; safegrpo benchmarks NAME says why")
    if args.dry_run:
        wanted = args.scorer if judged else None
        evaluation = Evaluation(items, folder, None, None)
        print(json.dumps(evaluation.estimate(wanted, args.judge_only)))
        return 0
    judges = _judges(args) if judged else None
    asked = None if args.judge_only else _asked(args)
    evaluation = Evaluation(items, folder, asked, judges)
    return asyncio.run(_run(evaluation, asked, judges, args))


async def _run(evaluation: Any, asked: Asked | None, judges: Judges | None, args: Any) -> int:
    try:
        result: Result = await evaluation.run()
    finally:
        for one in [asked.model if asked else None, judges.judge if judges else None]:
            if one is not None:
                await one.close()
    return _tell(result, args)


def _tell(result: Result, args: argparse.Namespace) -> int:
    from safegrpo.evaluation.results import incomplete
    from safegrpo.report.lines import lines, warnings

    print(json.dumps(result.metrics) if args.json else "\n".join(lines(result.metrics)))
    for warning in warnings(result.metrics):
        print(f"safegrpo: {warning}", file=sys.stderr)
    for outcome in (result.asked, result.judged):
        if outcome is not None and outcome.stopped:
            print(f"safegrpo: stopped: {outcome.stopped}; run again to go on", file=sys.stderr)
            if outcome.broken or outcome.interrupted:
                return 1 if outcome.broken else 130
            return 3
    if incomplete(result.metrics):
        print("safegrpo: some items have no judgement; see the coverage", file=sys.stderr)
        return 3
    return 0


def _plan(args: argparse.Namespace, folder: Path) -> Plan:
    from safegrpo.evaluation.evaluate import what_is_there
    from safegrpo.evaluation.plan import Plan

    if args.samples > 1 and args.temperature == 0 and not args.judge_only:
        raise ConfigError("--samples at temperature 0 are all the same; give a --temperature")
    if args.batch_size < 1:
        raise ConfigError("--batch-size is 1 or more")
    if not args.judge_only and args.url is None and args.model is None:
        raise ConfigError("name the model: --model DIR, or --url URL")
    if args.url is not None and args.vllm:
        raise ConfigError("--vllm goes without --url")
    modes, samples = _named(args.mode), args.samples
    if args.judge_only:
        modes, samples = what_is_there(folder)
    return Plan(
        benchmarks=_named(args.benchmarks),
        data=args.data,
        modes=modes,
        samples=samples,
        limit=None if args.judge_only else args.limit,
        seed=args.seed,
        max_new_tokens=args.max_tokens,
        max_side=args.max_side,
    )


def _named(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _is_judged(args: argparse.Namespace) -> bool:
    """Whether a judge is named; ConfigError if that goes with nothing else."""
    named = bool(args.judge_model or args.judge_url or args.judge_local)
    if args.rules_only and named:
        raise ConfigError("--rules-only goes without a judge")
    if args.scorer == "rubric" and not named:
        raise ConfigError("--scorer rubric needs a judge: --judge-url and --judge-model")
    if len(args.judge_model) > 1:
        raise ConfigError("eval takes one judge; judge again with --judge-only for another")
    if not named and not args.rules_only and not args.dry_run and not args.judge_only:
        print("safegrpo: no judge is named; judging by rules alone", file=sys.stderr)
    return named


def _judges(args: argparse.Namespace) -> Judges:
    from safegrpo.evaluation.evaluate import Judges

    budget = budget_from_args(args)
    judge = judges_from_args(args, budget, own="judge-")[0]
    return Judges(judge, args.scorer, budget, _workers(args.concurrency))


def _workers(concurrency: int) -> int:
    # A few more at work than calls may be under way: the next is ready in time.
    return concurrency + max(2, concurrency // 8)


def _asked(args: argparse.Namespace) -> Asked:
    from safegrpo.evaluation.evaluate import Asked
    from safegrpo.judge.budget import Budget

    budget = Budget()
    sampling, timeout = sampling_from_args(args)
    if args.url is not None:
        guide = GUIDE if args.guide is None else load_guide(args.guide)
        model: Judge = _endpoint(args, sampling, budget, timeout)
        return Asked(model, guide, budget, _workers(args.concurrency))
    guide = guide_for(args.guide, Path(args.model))
    print(f"loading {args.model}", file=sys.stderr)
    if args.vllm:
        from safegrpo.judge.in_vllm import VllmModel

        local: Any = VllmModel(args.model, sampling, budget, args.batch_size, args.name)
    else:
        from safegrpo.judge.local import LocalJudge
        from safegrpo.training.run import quiet

        quiet()
        local = LocalJudge(args.model, sampling, budget, args.batch_size, args.name)
    refused = getattr(local, "refused", lambda text: "")
    return Asked(local, guide, budget, 2 * args.batch_size, refused)


def _endpoint(args: argparse.Namespace, sampling: Any, budget: Any, timeout: float) -> Judge:
    from safegrpo.judge.endpoint import Endpoint, served_model

    url = args.url.strip()
    check_url(url, "--url")
    key = key_in(args.key_env, "--key-env") if args.key_env else None
    name = args.model or asyncio.run(served_model(url, key, timeout))
    return Endpoint(url, name, key, sampling, budget, args.concurrency, timeout, args.name)
