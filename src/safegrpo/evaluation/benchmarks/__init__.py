"""The benchmarks by name, and where their folders are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from safegrpo.errors import ConfigError, InputFileError, MissingDependencyError
from safegrpo.evaluation.benchmarks import (
    figstep,
    folder,
    holisafe,
    iconqa,
    jailbreakv,
    mathvista,
    microcosm,
    mm_safetybench,
    mmvet,
    mossbench,
    mssbench,
    pope,
    scienceqa,
    siuo,
    vlguard,
    vlsbench,
)
from safegrpo.evaluation.benchmarks.base import Benchmark

_MODULES = (
    *(figstep, mm_safetybench, vlguard, siuo, mossbench, mssbench, vlsbench, holisafe, jailbreakv),
    *(scienceqa, iconqa, mathvista, pope, mmvet, microcosm, folder),
)

BENCHMARKS: Mapping[str, Benchmark] = {
    one.name: one for module in _MODULES for one in module.BENCHMARKS
}


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name; ConfigError with the nearest names if there is none."""
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f'no benchmark "{name[:60]}"{hint} (safegrpo benchmarks lists them)')
    return BENCHMARKS[name]


def folder_of(one: Benchmark, data: Path | None) -> Path:
    """Where a set lies: `data` itself, or the folder of the set's name below it; without `data` a
    copy from the hub.

    Raises InputFileError if there is no such folder, ConfigError if the set is on no hub.
    """
    if data is None:
        return _from_hub(one)
    if not data.exists():
        raise InputFileError(f"--data {data} does not exist")
    for name in (one.name, *one.folders):
        if (data / name).is_dir():
            return data / name
    return data


def _from_hub(one: Benchmark) -> Path:
    if one.name == "microcosm":
        return Path()  # it is drawn
    if one.name == "folder":
        raise ConfigError("--data DIR is missing: the folder or file of your own items")
    if one.hub is None:
        raise ConfigError(f"{one.name} is on no hub; get it from {one.source} and pass --data DIR")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError(
            "getting a set from the hub needs huggingface_hub: pip install 'safegrpo[judge]'"
        ) from error
    try:
        return Path(snapshot_download(one.hub, repo_type="dataset"))
    except Exception as error:  # of many kinds: no network, no access, no such set
        raise InputFileError(
            f"{one.name} cannot be fetched from the hub ({type(error).__name__}); pass --data DIR"
        ) from error
