# Every target works from a bare clone: it makes .venv and installs what it needs first.
#   make test PYTHON=python3.13 VENV=.venv-313     another interpreter, beside the default one
#   make test ARGS="tests/models -k causal"        part of the tests

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
PARALLEL ?= --numprocesses=2 --dist=loadfile --no-loadscope-reorder

BIN   := $(VENV)/bin
comma := ,

.DEFAULT_GOAL := help
.PHONY: help demo demo-train test test-fast lint format typecheck bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed-worlds ## Show what the world model that comes with sora_jax generates
	@$(BIN)/python -m experiments.demo $(ARGS)

demo-train: $(VENV)/.installed-worlds ## Train a small world model from nothing on this machine
	@$(BIN)/python -m experiments.demo_train $(ARGS)

test: $(VENV)/.installed-worlds-dev $(VENV)/libtpu/.installed ## Run all tests
	@$(BIN)/python -m pytest $(PARALLEL) --durations=10 $(ARGS)

test-fast: $(VENV)/.installed-worlds-dev ## Run the tests that are not marked slow
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow" $(ARGS)

lint: $(VENV)/.installed-worlds-dev ## Check style and formatting (ruff)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: $(VENV)/.installed-worlds-dev ## Fix what ruff can fix, and format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

typecheck: $(VENV)/.installed-worlds-dev ## Check types (pyright)
	@$(BIN)/pyright --pythonpath $(BIN)/python

BENCHMARKS := $(filter-out %/__init__.py,$(wildcard experiments/benchmarks/*.py))
bench: $(VENV)/.installed-worlds ## Run every benchmark in experiments/benchmarks
	@$(if $(BENCHMARKS),,echo "No benchmark in experiments/benchmarks yet.")
	@set -e; for module in $(subst /,.,$(BENCHMARKS:.py=)); do \
	  echo "== $$module"; $(BIN)/python -m $$module $(ARGS); \
	done

clean: ## Remove the virtual environments, caches and build files; runs/ stays
	@rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per set of extras: .installed-worlds-dev holds .[worlds,dev]. A changed list of
# dependencies installs again. Python 3.11 has its own constraints: newer JAX needs 3.12.
$(VENV)/.installed-%: pyproject.toml constraints-3.11.txt constraints-3.12.txt | $(BIN)/pip
	@extras=$(subst -,$(comma),$*); \
	constraints=$$($(BIN)/python -c "import sys; print('constraints-3.1%d.txt' % (1 if sys.version_info[:2] == (3, 11) else 2))"); \
	echo "Installing .[$$extras] with $$constraints into $(VENV); this takes a minute or two"; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c $$constraints -e ".[$$extras]"
	@touch $@

# The TPU compiler, apart: where JAX finds it, every command looks for a TPU first.
$(VENV)/libtpu/.installed: | $(VENV)/.installed-worlds-dev
	@echo "Installing the TPU compiler into $(VENV)/libtpu"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --target $(VENV)/libtpu \
	  "$$($(BIN)/python -c 'import importlib.metadata as m; print(next(r.split(";")[0] for r in m.requires("jax") if r.startswith("libtpu")))')"
	@touch $@

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON) not found: install Python 3.11 or newer, or run make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed and $(PYTHON) is another: run make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
