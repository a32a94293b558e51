"""`safegrpo doctor`: what it finds wrong, the mend, and the exit code that follows."""

import importlib.metadata
import json

import pytest

from safegrpo import doctor
from safegrpo.cli import main


@pytest.fixture
def versions(monkeypatch):
    """Versions of packages as the test says, None for not installed; others as they are."""
    told: dict[str, str | None] = {}
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name not in told:
            return real(name)
        if told[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return told[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return told


def checks(purpose: str) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine(purpose)}


def test_this_installation_is_well(capsys) -> None:
    assert main(["doctor", "--for", "demo", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] and said["for"] == "demo"
    found = {check["name"]: check["status"] for check in said["checks"]}
    assert found["torch"] == found["trl"] == found["microcosm"] == "ok"


def test_a_missing_package_is_named_with_the_line_that_mends_it(versions, capsys) -> None:
    versions["trl"] = None
    assert main(["doctor", "--for", "train"]) == 1
    said = capsys.readouterr().out
    assert "MISSING   trl" in said and "pip install 'trl" in said


def test_what_the_purpose_does_not_need_is_not_held_against_it(versions, capsys) -> None:
    versions["trl"] = None
    assert main(["doctor", "--for", "score"]) == 0
    said = capsys.readouterr().out
    assert "not there trl" in said and "safegrpo[train]" in said


def test_a_version_that_does_not_fit_is_wrong(versions) -> None:
    versions["transformers"] = "4.40.0"
    check = checks("train")["transformers"]
    assert check.status == "wrong" and "4.40.0" in check.found and not check.well


def test_a_package_that_does_not_load_is_wrong(monkeypatch) -> None:
    monkeypatch.setitem(doctor._IMPORTED, "peft", "no_such_module_for_peft")
    check = checks("train")["peft"]
    assert check.status == "wrong" and "does not load" in check.found
    assert "--force-reinstall" in check.mend


def test_a_torchvision_of_another_build_is_wrong(versions, monkeypatch) -> None:
    versions["torchvision"] = None
    assert checks("train")["torchvision"].well
    versions["torchvision"] = "0.1"
    monkeypatch.setattr(doctor, "_broken", lambda module: "RuntimeError: operator does not exist")
    check = checks("train")["torchvision"]
    assert check.status == "wrong" and "uninstall" in check.mend


def test_a_missing_base_model_counts_for_the_demo_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("safegrpo.microcosm.SHIPPED", tmp_path)
    assert checks("demo")["microcosm"].needed and not checks("demo")["microcosm"].well
    assert not checks("train")["microcosm"].needed


def test_telemetry_is_said_as_it_is(monkeypatch) -> None:
    assert checks("score")["telemetry"].found == "off"
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    assert checks("score")["telemetry"].found.startswith("on")
