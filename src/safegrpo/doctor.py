"""Looking over an installation: each thing that a purpose needs, found or not, with the mend."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from packaging.requirements import Requirement

from safegrpo import telemetry

Status = Literal["ok", "missing", "wrong", "note"]
PURPOSES = ("score", "train", "demo", "judge")
MINIMUM_PYTHON = (3, 11)
# Imported to see whether they load: a package can be installed and broken (torch and torchvision
# of different builds are the usual case).
_IMPORTED = {"torch": "torch", "transformers": "transformers", "trl": "trl", "peft": "peft"}
_INSTALL_TRAIN = "pip install 'safegrpo[train]'"


@dataclass(frozen=True)
class Check:
    """One thing looked at; `mend` is the line that puts it right, empty if there is none."""

    name: str
    status: Status
    found: str
    needed: bool
    mend: str = ""

    @property
    def well(self) -> bool:
        return self.status in ("ok", "note")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(purpose: str) -> list[Check]:
    """All checks; those that `purpose` does not need are there and not marked as needed."""
    training = purpose in ("train", "demo")
    checks = [_python()]
    requirements = list(_requirements())
    needed = {None: True, "train": training, "judge": purpose == "judge"}
    checks += [_package(requirement, needed[e], e) for requirement, e in requirements]
    checks += [_torchvision(training), _device(training)]
    checks += [_optional("vllm", "generates faster on a GPU, with grpo.use_vllm: true")]
    checks.append(_base_model(purpose == "demo"))
    free = shutil.disk_usage(".").free / 2**30
    checks.append(Check("disk", "note", f"{free:.0f} GiB free here", False))
    off = telemetry.is_off()
    checks.append(Check("telemetry", "note", "off" if off else "on, as you have set it", False))
    return checks


def _python() -> Check:
    well = sys.version_info >= MINIMUM_PYTHON
    minimum = ".".join(map(str, MINIMUM_PYTHON))
    mend = f"use Python {minimum} or later"
    return Check("python", "ok" if well else "wrong", platform.python_version(), True, mend)


def _requirements() -> Iterator[tuple[Requirement, str | None]]:
    """What the installed safegrpo declares: (requirement, its extra or None)."""
    for line in importlib.metadata.requires("safegrpo") or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement, None
            continue
        for extra in ("train", "judge"):
            if requirement.marker.evaluate({"extra": extra}):
                yield requirement, extra


def _package(requirement: Requirement, needed: bool, extra: str | None) -> Check:
    name, wanted = requirement.name, str(requirement.specifier)
    whole = f"pip install 'safegrpo[{extra}]'"
    mend = f"pip install '{name}{wanted}'" if needed or extra is None else whole
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", f"wanted: {wanted}", needed, mend)
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(name, "wrong", f"{version}, wanted: {wanted}", needed, mend)
    if name in _IMPORTED:
        broken = _broken(_IMPORTED[name])
        if broken is not None:
            mend = f"pip install --force-reinstall '{name}{wanted}'"
            return Check(name, "wrong", f"{version} does not load: {broken}", needed, mend)
    return Check(name, "ok", version, needed)


def _broken(module: str) -> str | None:
    """Why a module does not import, in one line; None if it does."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken binary raises anything
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return None


def _torchvision(needed: bool) -> Check:
    try:
        version = importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return Check("torchvision", "note", "not installed, not needed for images", False)
    broken = _broken("torchvision")
    if broken is None:
        return Check("torchvision", "ok", version, False)
    mend = "pip uninstall torchvision, or install the build that goes with your torch"
    return Check("torchvision", "wrong", f"{version} does not load: {broken}", needed, mend)


def _device(needed: bool) -> Check:
    try:
        import torch
    except Exception:  # said above, where torch itself is looked at
        return Check("device", "missing", "no torch to ask", needed, _INSTALL_TRAIN)
    if torch.cuda.is_available():
        names = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            names.append(f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)")
        return Check("device", "ok", ", ".join(names), needed)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("device", "note", f"no GPU; CPU with {cores} cores (enough for the demo)", needed)


def _optional(name: str, purpose: str) -> Check:
    try:
        return Check(name, "ok", importlib.metadata.version(name), False)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "note", f"not installed; {purpose}", False)


def _base_model(needed: bool) -> Check:
    from safegrpo.microcosm import SHIPPED

    weights = SHIPPED / "model.safetensors"
    if weights.is_file():
        size = weights.stat().st_size / 2**20
        return Check("microcosm", "ok", f"base model, {size:.1f} MB", needed)
    mend = "make microcosm-base, or reinstall safegrpo"
    return Check("microcosm", "missing", "no base model", needed, mend)
