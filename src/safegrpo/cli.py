"""The console command: sub-commands put together, errors turned into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 done but incomplete coverage. Results go to
standard output, all else to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from safegrpo import __version__, telemetry
from safegrpo.commands.annotate import add_annotate
from safegrpo.commands.ask import add_ask
from safegrpo.commands.audit import add_audit
from safegrpo.commands.benchmarks import add_benchmarks
from safegrpo.commands.card import add_card
from safegrpo.commands.demo import add_demo
from safegrpo.commands.doctor import add_doctor
from safegrpo.commands.eval import add_eval
from safegrpo.commands.explain import add_explain
from safegrpo.commands.export import add_export
from safegrpo.commands.report import add_report
from safegrpo.commands.score import add_classify, add_score
from safegrpo.commands.select import add_select
from safegrpo.commands.sources import add_pairs
from safegrpo.commands.study import add_study
from safegrpo.commands.train import add_train
from safegrpo.errors import SafeGRPOError
from safegrpo.terminal import printable

_EPILOG = """\
examples:
  $ safegrpo demo
  $ safegrpo train recipes/qwen3_vl_4b_lora.yaml --set data.train=pairs.jsonl --output runs/mine
  $ safegrpo COMMAND --help

Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 done but incomplete coverage, 130
interrupted.
SAFEGRPO_DEBUG=1 shows where an error came from."""


def parser() -> argparse.ArgumentParser:
    """The command line, complete."""
    root = argparse.ArgumentParser(
        prog="safegrpo",
        description="Align a vision-language model to see compositional risk, and measure it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"safegrpo {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        *(add_demo, add_train, add_ask, add_score, add_classify, add_explain, add_audit),
        *(add_pairs, add_annotate, add_select, add_benchmarks, add_eval, add_report, add_card),
        *(add_export, add_study, add_doctor),
    ):
        add(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A model writes anything, and a terminal's encoding must not end a run.
            stream.reconfigure(errors="backslashreplace")
    telemetry.turn_off()
    args = parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except SafeGRPOError as error:
        return _stop(str(error), 2)
    except BrokenPipeError:
        # Whoever read has gone (`| head`). Without this Python complains once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        if _debugging():
            raise
        return _stop(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return code


def _stop(message: str, code: int) -> int:
    if _debugging():
        raise
    # A message may quote a file or a model: one line, and nothing in it may drive the terminal.
    print(f"safegrpo: {' '.join(printable(message).split())}", file=sys.stderr)
    return code


def _debugging() -> bool:
    return os.environ.get("SAFEGRPO_DEBUG", "") not in ("", "0")
