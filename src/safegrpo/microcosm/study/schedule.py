"""All runs of a study: which are missing, and each in a process of its own.

A run whose file is there with the right hash is done; one with another hash was made by other
settings and is made again. So a study goes on across days and machines.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from safegrpo.microcosm.study.results import result_file
from safegrpo.microcosm.study.rows import Row, Say


@dataclass(frozen=True)
class Task:
    """A row with one seed."""

    name: str
    row: Row
    seed: int


def tasks(
    rows: Mapping[str, Row], seeds: Sequence[int] | None = None, most: int | None = None
) -> Iterator[Task]:
    """All runs, at most `most` seeds of a row; seed by seed, so that a study cut short has all rows
    as far as it goes."""
    turns = max((row.seeds for row in rows.values()), default=0)
    for turn in range(turns if most is None else min(most, turns)):
        for name, row in rows.items():
            numbers = row.seed_numbers()
            if turn < len(numbers) and (seeds is None or numbers[turn] in seeds):
                yield Task(name, row, numbers[turn])


def is_done(task: Task, results: Path, digest: str) -> bool:
    """Whether a run's file is there and has the row's present hash."""
    path = results / result_file(task.name, task.seed)
    try:
        said = json.loads(path.read_text("utf-8"))["hash"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(said == digest)


def run_tasks(
    todo: Sequence[Task],
    *,
    results: Path,
    work: Path,
    recipes: Path,
    bases: Path,
    size: float,
    asked: str,
    jobs: int,
    say: Say,
) -> int:
    """Run each, `jobs` at a time with a share of the cores; returns how many failed.

    `asked` is the command that all of them belong to. Messages of a run go to `work`/NAME-SEED.log.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    work.mkdir(parents=True, exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    left = len(todo)

    def one(task: Task) -> bool:
        nonlocal left
        stem = result_file(task.name, task.seed).removesuffix(".json")
        log = work / f"{stem}.log"
        made_by = f"{asked} --rows {shlex.quote(task.name)} --seeds {task.seed}"
        command = [sys.executable, "-m", "safegrpo.microcosm.study.run", task.name, str(task.seed)]
        command += ["--results", str(results), "--work", str(work), "--recipes", str(recipes)]
        command += ["--size", str(size), "--command", made_by]
        command += ["--bases", str(bases)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with log.open("w", encoding="utf-8") as file:
            code = subprocess.run(command, env=environment, stdout=file, stderr=file).returncode
        left -= 1
        if code:
            last = log.read_text("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
            say(f"{stem}: failed, see {log} ({left} left): {last[0]:.200}")
            return False
        log.unlink()
        say(f"{stem}: done ({left} left)")
        return True

    with ThreadPoolExecutor(jobs) as pool:
        return sum(not good for good in pool.map(one, todo))
