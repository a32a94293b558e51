"""The options that name judges and other endpoints, for every command that asks them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from safegrpo.errors import ConfigError

if TYPE_CHECKING:
    from safegrpo.judge.budget import Budget
    from safegrpo.judge.endpoint import Sampling
    from safegrpo.judge.question import Judge


def add_judge_options(group: Any, own: str = "") -> None:
    """The options that name judges and say how they are asked.

    `own` comes before what others may be given too, such as `judge-` for --judge-temperature.
    """
    several = "" if own else "; may be given again, for several judges"
    group.add_argument(
        "--judge-model", metavar="NAME", action="append", default=[], help="the model" + several
    )
    group.add_argument(
        "--judge-url",
        metavar="URL",
        action="append",
        default=[],
        help="an OpenAI-compatible endpoint, up to /v1"
        + ("" if own else "; one for all, or one each"),
    )
    group.add_argument(
        "--judge-key-env",
        metavar="VAR",
        action="append",
        default=[],
        help="the environment variable that holds the key; as for URLs",
    )
    group.add_argument(
        "--judge-local",
        action="store_true",
        help="the models are folders or hub names, loaded in this process",
    )
    group.add_argument(
        "--concurrency",
        type=int,
        default=16,
        metavar="N",
        help="requests under way at a time"
        + (", of the model's endpoint as well" if own else "")
        + " (default: %(default)s)",
    )
    group.add_argument(
        "--judge-id",
        metavar="NAME",
        action="append",
        default=[],
        help="what stands for the URL in results, for an endpoint that moves; as for URLs",
    )
    add_sampling_options(group, own)


def add_sampling_options(group: Any, own: str = "", max_tokens: int = 2048) -> None:
    """How replies are sampled, and how long one is waited for; see `add_judge_options`."""
    group.add_argument(
        f"--{own}timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="of one request (default: %(default)g)",
    )
    group.add_argument(
        f"--{own}temperature", type=float, default=0.0, metavar="X", help="(default: %(default)g)"
    )
    group.add_argument(
        f"--{own}max-tokens",
        type=int,
        default=max_tokens,
        metavar="N",
        help="of one reply, thinking included (default: %(default)s)",
    )


def sampling_from_args(args: argparse.Namespace, own: str = "") -> tuple[Sampling, float]:
    """(sampling, seconds that a request may take) of those options; ConfigError."""
    from safegrpo.judge.endpoint import Sampling

    def given(name: str) -> Any:
        return getattr(args, f"{own}{name}".replace("-", "_"))

    timeout, temperature, max_tokens = map(given, ("timeout", "temperature", "max-tokens"))
    if args.concurrency < 1 or max_tokens < 1 or not 0 < timeout < float("inf"):
        raise ConfigError(f"--concurrency, --{own}max-tokens and --{own}timeout must be above 0")
    if not 0 <= temperature <= 2:
        raise ConfigError(f"--{own}temperature is from 0 to 2")
    return Sampling(temperature, max_tokens), timeout


def add_budget_options(group: Any) -> None:
    """The options that bound what judging may take."""
    group.add_argument(
        "--max-calls", type=int, metavar="N", help="requests to the judge at most, in this run"
    )
    group.add_argument(
        "--max-cost", type=float, metavar="X", help="cost of the judge at most, in this run"
    )
    group.add_argument("--price-in", type=float, metavar="X", help="of a million prompt tokens")
    group.add_argument("--price-out", type=float, metavar="X", help="of a million reply tokens")


def budget_from_args(args: argparse.Namespace) -> Budget:
    """The budget of those options; ConfigError."""
    from safegrpo.judge.budget import Budget

    return Budget(args.max_calls, args.max_cost, args.price_in, args.price_out)


def judges_from_args(args: argparse.Namespace, budget: Budget, own: str = "") -> list[Judge]:
    """The judges that the options name; ConfigError if they make no sense."""
    from safegrpo.judge.endpoint import Endpoint

    _check_judge_options(args)
    sampling, timeout = sampling_from_args(args, own)
    if args.judge_local:
        from safegrpo.judge.local import LocalJudge

        return [LocalJudge(model, sampling, budget) for model in args.judge_model]
    given = [url.strip() for url in args.judge_url]
    urls = _one_each(given, args.judge_model, "--judge-url")
    for url in urls:
        check_url(url, "--judge-url")
    keys: Sequence[str | None] = [None] * len(urls)
    if args.judge_key_env:
        names = _one_each(args.judge_key_env, args.judge_model, "--judge-key-env")
        keys = [key_in(name, "--judge-key-env") for name in names]
    aliases: Sequence[str | None] = [None] * len(urls)
    if args.judge_id:
        aliases = _one_each(args.judge_id, args.judge_model, "--judge-id")
    return [
        Endpoint(url, model, key, sampling, budget, args.concurrency, timeout, alias)
        for url, model, key, alias in zip(urls, args.judge_model, keys, aliases, strict=True)
    ]


def _check_judge_options(args: argparse.Namespace) -> None:
    if not args.judge_model:
        raise ConfigError("name a judge: --judge-url URL --judge-model NAME, or --judge-local")
    if args.judge_local and (args.judge_url or args.judge_key_env):
        raise ConfigError("--judge-local goes without --judge-url and --judge-key-env")
    if not args.judge_local and not args.judge_url:
        raise ConfigError("--judge-url is missing; for a model in this process: --judge-local")


def check_url(url: str, option: str) -> None:
    """ConfigError unless an option's URL can be asked, and shown."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable()
        usable = usable and parts.port != 0
    except ValueError:  # brackets or a port that are none
        usable = False
    if not usable:
        raise ConfigError(f"{option} begins with http:// or https:// and names a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        # It is written into results, and shown.
        raise ConfigError(f"{option} holds a user or a query; keys come from the environment")


def _one_each(given: Sequence[str], models: Sequence[str], option: str) -> list[str]:
    if len(given) == 1:
        return [given[0]] * len(models)
    if len(given) != len(models):
        raise ConfigError(f"{option}: give one, or one for each of {len(models)} judges")
    return list(given)


def key_in(name: str, option: str) -> str:
    """The key in an environment variable that an option names; ConfigError."""
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(f"{option}: no environment variable {name}, or it is empty")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(f"{option}: {name} holds what cannot be a key")
    return key
