# The verbs of the house. A person and the CI say the same words; each makes what it needs first.

PYTHON ?= python3
# Torch goes first and pinned, so that a CPU build is taken where one is offered: left to the extra's range, pip takes
# the newest build of all, with gigabytes of GPU libraries.
TORCH  ?= torch==2.13.0
# Test processes, and threads in each: two small ones finish before one big one, and neither starves the other.
WORKERS ?= 2
THREADS ?= 1
# More words for the command behind a verb: make test ARGS="-k planning"
ARGS ?=

VENV := .venv
OLDEST := .lowest
INTEGRATIONS := $(patsubst %/pyproject.toml,--editable %,$(wildcard integrations/*/pyproject.toml))
RUN  := $(VENV)/bin/python
PIP  := $(RUN) -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.PHONY: help install demo test lowest interop check form lint types layers format bench bench-serving quality clean

help:  ## say what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s  %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.installed  ## everything a developer needs, in .venv

demo: $(VENV)/.core  ## rank some texts in plain Python and in every framework, here and through an endpoint: no model, no torch
	@$(RUN) examples/demo.py $(ARGS)

test: $(VENV)/.installed  ## every promise
	@OMP_NUM_THREADS=$(THREADS) $(RUN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lowest: $(OLDEST)/.installed  ## the packages for frameworks, with the oldest versions of these that they support
	@OMP_NUM_THREADS=$(THREADS) $(OLDEST)/bin/python -m pytest -n $(WORKERS) --dist worksteal -o filterwarnings=default integrations $(ARGS)

interop: $(VENV)/.installed  ## real clients and servers of others, each in an environment of its own (gigabytes, an hour)
	@$(RUN) -m pytest -m interop tests/interop $(ARGS)

check: form lint types layers  ## form, lint, types and layers; changes nothing (-k: go on after a failure)

form lint types layers: $(VENV)/.installed

form:
	@echo "form"; $(RUN) -m ruff format --check --quiet .

lint:
	@echo "lint"; $(RUN) -m ruff check --quiet .

types:
	@echo "types"; $(RUN) -m mypy --no-error-summary

layers:
	@echo "layers"; report=$$($(VENV)/bin/lint-imports --no-cache 2>&1) || { echo "$$report"; exit 1; }

format: $(VENV)/.installed  ## write the code as `check` wants it, where a tool can
	@$(RUN) -m ruff check --fix --exit-zero --silent . && $(RUN) -m ruff format .

bench: $(VENV)/.installed  ## time resift against the reference
	@$(RUN) benchmarks/versus.py $(ARGS)

bench-serving: $(VENV)/.installed  ## time resift's server beside those of others, and its client beside a vendor's
	@$(RUN) benchmarks/serving.py $(ARGS)

quality: $(VENV)/.installed  ## measure the built-in scorer and a small model on ten collections, and write docs/quality.md
	@$(RUN) benchmarks/quality.py $(ARGS)

clean:  ## forget what tools remembered; .venv stays
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The stamps live inside the environment, so they go when it goes.
$(VENV)/.core: pyproject.toml $(wildcard integrations/*/pyproject.toml)
	$(environment)
	@echo "installing resift and its packages for frameworks"
	@$(PIP) install --editable ".[serve]" $(INTEGRATIONS)
	@touch $@

$(VENV)/.installed: pyproject.toml $(wildcard integrations/*/pyproject.toml)
	$(environment)
	@echo "installing torch (once; some minutes)"
	@$(PIP) install $(TORCH)
	@echo "installing resift and what its checks need"
	@$(PIP) install --editable ".[local,onnx,openvino,export,serve,dev]" $(INTEGRATIONS)
	@touch $(VENV)/.core $@

# Old frameworks warn of what they do themselves, so warnings are no errors there; nor are other projects' checks.
$(OLDEST)/.installed: pyproject.toml integrations/lowest.txt $(wildcard integrations/*/pyproject.toml)
	@echo "making $(OLDEST)"
	@$(PYTHON) -m venv --clear $(OLDEST)
	@$(OLDEST)/bin/pip --disable-pip-version-check -qq install $(TORCH)
	@$(OLDEST)/bin/pip --disable-pip-version-check -qq install -r integrations/lowest.txt --editable ".[local,serve]" $(INTEGRATIONS)
	@touch $@

# Reuse an environment that works; make or mend one that does not, from nothing only where there is no other way.
define environment
@$(PIP) --version > /dev/null 2>&1 || { \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.11")' && \
	echo "making $(VENV)" && \
	{ { $(PYTHON) -m venv $(VENV) && $(PIP) --version; } > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV); }; }
endef
