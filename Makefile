# Every target sets up what it needs in .venv, from Python 3.11 or later and the package index.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install demo test test-slow check audit bench microcosm-base study results wheel-test inspect-test verl-test deepspeed-test clean

help:
	@echo "make demo            align a tiny model on the CPU: before/after table and report"
	@echo "make install         safegrpo with everything for training, in .venv"
	@echo "make test            the tests, under ten minutes on two cores"
	@echo "make check           ruff and mypy"
	@echo "make audit           what cheats would earn under the strict rules"
	@echo "make test-slow       the tests that take minutes each"
	@echo "make wheel-test      the wheel, in an empty environment"
	@echo "make inspect-test    the tasks for Inspect, in an environment of their own"
	@echo "make verl-test       what we export, in verl's hands, in an environment of their own"
	@echo "make deepspeed-test  two processes under DeepSpeed ZeRO give what one does"
	@echo "make bench           a GRPO step beside TRL's, along every axis: docs/performance.md"
	@echo "make microcosm-base  the demo's base model, from nothing"
	@echo "make study           the study: rows and seeds that are missing, then docs/results.md"
	@echo "make results         docs/results.md and the README's table, from docs/results/"

install: .venv/.train

.venv/.python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'safegrpo needs Python 3.11 or later; name one: make PYTHON=...')"
	$(PYTHON) -m venv .venv
	@touch $@

# torch comes first and by its exact version (see constraints.txt).
.venv/.train: .venv/.python pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(PIP) install -q -c constraints.txt -e '.[train,judge]'
	@touch $@

.venv/.dev: .venv/.train
	$(PIP) install -q -c constraints.txt -e '.[train,judge,dev]'
	@touch $@

# make demo ARGS="--rules paper --seed 1"
demo: .venv/.train
	$(BIN)/safegrpo demo $(ARGS)

# One file stays on one processor: its tests share what was costly to make. ARGS=-n0 has one process.
test: .venv/.dev
	$(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile $(ARGS)

test-slow: .venv/.dev
	$(BIN)/python -m pytest -m slow $(ARGS)

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: .venv/.train
	$(BIN)/safegrpo audit --rules strict

# About 50 minutes on two quiet cores; remove a file of docs/results/step to measure it again.
bench: .venv/.dev
	$(BIN)/python bench/grpo_sweep.py run $(ARGS)
	$(BIN)/python bench/grpo_sweep.py render

microcosm-base: .venv/.train
	$(BIN)/python -m safegrpo.microcosm.base $(ARGS)

results: .venv/.train
	$(BIN)/safegrpo study --render -o docs
	$(BIN)/python scripts/demo_table.py render

# Days on two cores; goes on where it stopped. make study ARGS="--rows ours --seeds 1000"
study: .venv/.train
	$(BIN)/safegrpo study -o docs --jobs 2 $(ARGS)

wheel-test: .venv/.dev
	scripts/wheel_test.sh

# Inspect wants an older fsspec than what is pinned here: an environment of its own.
.venv-inspect/.done: .venv/.python pyproject.toml
	$(PYTHON) -m venv .venv-inspect
	.venv-inspect/bin/python -m pip --disable-pip-version-check install -q "$$(grep '^torch==' constraints.txt)"
	.venv-inspect/bin/python -m pip --disable-pip-version-check install -q -e '.[train,judge]' 'inspect_ai>=0.3.285,<0.4' pytest
	@touch $@

inspect-test: .venv-inspect/.done
	.venv-inspect/bin/python -m pytest -q -p no:cacheprovider tests/evaluation/test_inspect.py $(ARGS)

# verl wants an older transformers than what is pinned here: an environment of its own, on the CPU and
# without vLLM. Of verl's dependencies it has those that its data, rewards and configuration need.
VERL ?= 0.9.1
VERL_NEEDS := 'transformers==5.6.2' 'tensordict==0.10.0' ray hydra-core codetiming torchdata \
	datasets peft numpy pandas pyarrow pillow aiohttp cachetools fastapi uvicorn

.venv-verl/.done-$(VERL): .venv/.python pyproject.toml
	rm -rf .venv-verl
	$(PYTHON) -m venv .venv-verl
	.venv-verl/bin/python -m pip --disable-pip-version-check install -q "$$(grep '^torch==' constraints.txt)"
	.venv-verl/bin/python -m pip --disable-pip-version-check install -q --no-deps 'verl==$(VERL)'
	.venv-verl/bin/python -m pip --disable-pip-version-check install -q $(VERL_NEEDS) -e . pytest
	@touch $@

# make verl-test VERL=0.9.0
verl-test: .venv-verl/.done-$(VERL)
	.venv-verl/bin/python -m pytest -q -p no:cacheprovider tests/export/test_in_verl.py \
		tests/export/test_in_verl_config.py $(ARGS)

# DeepSpeed beside the environment and not in it: all else is tested without. It compiles a part of
# itself at its first start, which takes g++ and a minute.
.deepspeed/.done: .venv/.dev
	$(PIP) install -q --no-deps --target .deepspeed deepspeed==0.19.8 hjson ninja py-cpuinfo msgpack einops
	@touch $@

deepspeed-test: .deepspeed/.done
	PATH="$(CURDIR)/.deepspeed/bin:$$PATH" PYTHONPATH=.deepspeed $(BIN)/python -m pytest -m slow -k zero \
		tests/training/test_two_processes.py $(ARGS)

clean:
	rm -rf .venv .venv-inspect .venv-verl .deepspeed dist
