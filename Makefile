# make demo and make test set everything up by themselves; all they need is Python 3.11.

# The first of these that works: `make PYTHON=/path/to/python3.11 demo` names another.
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
TORCH ?= --require-hashes -r requirements/torch.txt
LOCK ?= requirements/cpu.txt
ARGS ?=
# Tests that start neither Ray nor an engine run in two processes; ARGS="-n 0" is one, as a debugger needs.
APART := not ray and not engine and not campaign
PARALLEL := -n 2 --dist loadfile

# The tests start hundreds of processes: without bytecode each would compile the package anew.
test test-fast campaigns: export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --require-virtualenv install -qq --disable-pip-version-check --no-input

# A stamp's name holds a hash of what was installed: a new checkout of the same lock installs
# nothing, a changed lock does. UNFINISHED exists while .venv is half made or half removed; if it
# is still there at the next start, .venv is made afresh, since a half-installed library can look
# whole to pip. It lies outside .venv, so that removing .venv does not remove it first.
key = $(shell (printf '%s\n' '$(TORCH)' '$(CURDIR)'; cat $(1)) | cksum | tr -d ' ')
LIBRARIES := .venv/.libraries-$(call key,$(LOCK) requirements/torch.txt requirements/cuda.txt)
PACKAGE := .venv/.package-$(call key,$(LOCK) pyproject.toml)
UNFINISHED := .venv-unfinished

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast campaigns check train chaos fuzz-inputs erasures scale month backfill-scale validate-statistics bench bench-gpu bench-reduce bench-prompts bench-repeats setup clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(PACKAGE) ## Score the demo's opinions with the embedded model, baseline against adapter
	@$(BIN)/medsent demo $(ARGS)

# pytest exits with 1 where tests failed (the others run all the same), with 5 where ARGS selects none.
test: $(PACKAGE) ## Run the tests, the real engine included (ARGS="-k reducer" for a part)
	@apart=0; $(BIN)/python -m pytest $(PARALLEL) -m "$(APART)" $(ARGS) || apart=$$?; \
	[ $$apart -le 1 ] || [ $$apart -eq 5 ] || exit $$apart; \
	rest=0; $(BIN)/python -m pytest -m "not campaign and not ($(APART))" $(ARGS) || rest=$$?; \
	[ $$rest -ne 5 ] || rest=$$apart; [ $$apart -ne 1 ] || rest=1; exit $$rest

test-fast: $(PACKAGE) ## Those that start no Ray, no engine, and take a moment each (two minutes)
	@$(BIN)/python -m pytest $(PARALLEL) -m "$(APART) and not slow" $(ARGS)

campaigns: $(PACKAGE) ## The tests that take minutes: kills, growing pools, a month, a foreign adapter (ten minutes)
	@$(BIN)/python -m pytest -m campaign $(ARGS)

check: $(PACKAGE) ## Lint, formatting and strict types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

train: $(PACKAGE) ## Train the demo's adapter (about two hours on 2 cores; resumes)
	@$(BIN)/python -m medsent.demo.data
	@$(BIN)/medsent train jobs/train.yaml $(ARGS)
	@$(BIN)/medsent train jobs/train-weak-labels.yaml $(ARGS)

chaos: $(PACKAGE) ## Kill the job 100 times in twelve ways and check every row (about half an hour)
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz-inputs: $(PACKAGE) ## 500 drawn jobs of odd shards, gold, adapters, settings: does check hold? (20 minutes)
	@$(BIN)/python -m tests.fuzz $(ARGS)

erasures: $(PACKAGE) ## A month with erasures, kills and upgrades: does an erased opinion come back? (half an hour)
	@$(BIN)/python -m tests.erasures $(ARGS)

scale: $(PACKAGE) ## Memory and first records at 100,000 and 1,000,000, and resumed at 90% (ten minutes)
	@$(BIN)/python -m tests.chaos.scale $(ARGS)

month: $(PACKAGE) ## 30 nights, three of them planted: does the gate close on just those? (six minutes)
	@rm -rf runs/month
	@$(BIN)/python -m tests.commands.nightly.month $(ARGS)

backfill-scale: $(PACKAGE) ## A backfill of 1,000,000 records, stopped twice, its input growing (seven minutes)
	@$(BIN)/python -m tests.commands.backfill.scale $(ARGS)

validate-statistics: $(PACKAGE) ## Do intervals and tests hold what they say? Simulations (a quarter of an hour)
	@$(BIN)/python -m tests.validation $(ARGS)

bench: $(PACKAGE) ## The job against bare vLLM, ray.data.llm and transformers (an hour or less; writes bench.json)
	@$(BIN)/python -m tests.bench $(ARGS)

bench-gpu: $(PACKAGE) ## Gemma 3 12B's shapes on one GPU: answers, tokens, limits, money (writes bench-gpu.json)
	@$(BIN)/python -m tests.bench.gpu $(ARGS)

bench-reduce: $(PACKAGE) ## Time and memory of the report's numbers, from 10,000 to 1,000,000 records
	@$(BIN)/python -m tests.bench.reduce $(ARGS)

bench-prompts: $(PACKAGE) ## Prompts made a second, against whole prompts tokenised in one call (a minute)
	@$(BIN)/python -m tests.bench.prompts $(ARGS)

bench-repeats: $(PACKAGE) ## Answers that flip when records are asked again, many at a time and one (ten minutes)
	@$(BIN)/python -m tests.bench.repeats $(ARGS)

setup: $(PACKAGE) ## Only set up .venv; the others do it by themselves

clean: ## Remove caches and build leftovers (no run, data or adapter)
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
	@rm -f .venv/.package-*

distclean: clean ## Remove .venv as well
	@touch $(UNFINISHED)
	@rm -f .venv/.libraries-*
	@rm -rf .venv
	@rm $(UNFINISHED)

$(LIBRARIES):
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found; name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@reuse=; if [ -e $(UNFINISHED) ]; then echo "An earlier set-up of .venv was cut short; starting it afresh."; \
	elif [ -x $(BIN)/python ] && [ -e .venv/pyvenv.cfg ]; then reuse=yes; fi; \
	touch $(UNFINISHED) && rm -f .venv/.libraries-* .venv/.package-* && \
	if [ -z "$$reuse" ]; then rm -rf .venv && $(PYTHON) -m venv .venv; fi
	@echo "Setting up .venv (once, 2 to 4 minutes): torch, then $$(grep -c '^[a-z0-9]' $(LOCK)) locked packages ..."
	@$(PIP) --no-deps $(TORCH) || { echo "Without torch's CPU build: its CUDA build serves as well, and is several gigabytes larger ..."; \
	$(PIP) --require-hashes --no-deps -r requirements/cuda.txt; }
	@$(PIP) --require-hashes --no-deps -r $(LOCK)
	@touch $@
	@rm $(UNFINISHED)

$(PACKAGE): $(LIBRARIES)
	@$(PIP) --no-deps --no-build-isolation -e .
	@rm -f .venv/.package-*
	@touch $@
