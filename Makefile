# Runner: `make` alone lists what can be done.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
WHEEL_STAMP := $(VENV)/.wheel
SOURCES := pyproject.toml $(wildcard README.md LICENSE) $(shell find runner sandboxes -type f -not -name '*.pyc' 2>/dev/null)
PYTEST := $(BIN)/python -P -m pytest -p no:cacheprovider -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR)
# Many tests wait for an engine: more of them than cores keep the cores busy. One file's tests follow each other, and
# the files with short tests are the last, so that no worker is left alone with long ones.
BESIDE := -n 4 --dist loadfile --no-loadscope-reorder
PROFILES := minimal python shell

.PHONY: help demo test check soak bench engine engine-stop images format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.made: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Runner needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python .ci/dependencies dev identity openbao postgres python sops > $(VENV)/dependencies.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/dependencies.txt
	touch $@

# The demonstration needs no test tools: a smaller environment of its own is ready sooner.
.venv-demo/.made: $(SOURCES)
	test -x .venv-demo/bin/python || $(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check .
	touch $@

$(WHEEL_STAMP): $(VENV)/.made $(SOURCES)
	rm -rf dist/*.whl
	$(BIN)/python -m hatchling build -t wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	touch $@

demo: .venv-demo/.made ## install, and watch a real workflow run in sandboxes
	.venv-demo/bin/runner run workflows/report/workflow.yaml --engine bubblewrap

engine: ## use a reachable Docker Engine, else install and start one
	@.ci/engine start

engine-stop: ## end the Docker Engine that `make engine` started, and no other
	@.ci/engine stop

images: $(WHEEL_STAMP) ## build the sandbox profiles that the tests use, where they are not built yet
	@cd / && for name in $(PROFILES); do \
	    $(BIN)/runner sandbox list --json | grep -q "\"name\": *\"$$name\", *\"digest\": *\"sha256:" \
	        || $(BIN)/runner sandbox build $$name || exit; \
	done

test: $(WHEEL_STAMP) engine images ## build the wheel, install it, and test what was installed
	cd tests && PATH="$(BIN):$$PATH" $(PYTEST) -m "not soak" $(BESIDE) $(CURDIR)/tests $(ARGS)

check: $(VENV)/.made ## format, lint, types, layers, and the init binaries against their source
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	MYPYPATH=$(CURDIR) $(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m runner.sandbox.init.build --check

format: $(VENV)/.made ## put the source into the house's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: $(WHEEL_STAMP) engine images ## the long proofs, whole; PART=file::test for one slice
	cd tests && PATH="$(BIN):$$PATH" $(PYTEST) -m soak --timeout 600 $(if $(PART),$(CURDIR)/tests/$(PART),$(CURDIR)/tests) $(ARGS)

bench: $(WHEEL_STAMP) engine images ## measure against docker run and peers
	cd tests && PATH="$(BIN):$$PATH" $(BIN)/python bench/bench.py $(ARGS)

clean: ## remove what make made here
	rm -rf .venv .venv-demo dist
