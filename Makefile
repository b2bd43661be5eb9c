# The commands a person needs. Everything is in the project's own environment, .venv; nothing is installed elsewhere.

UV_VERSION := 0.13.9
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/evcharge
# the uv on the PATH, else one that make brings into the cache
UV := $(if $(shell uv --version 2>/dev/null),uv,$(CACHE)/uv-$(UV_VERSION)/bin/uv)
BIN := .venv/bin
# make up PROFILE=small
ifdef PROFILE
export EVCHARGE_PROFILE := $(PROFILE)
endif
STAMP := .venv/.installed
# modules are compiled once, also where the shell says otherwise: without it each process took 5 s longer to start
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env up down status clean check quick test test-long fuzz bench screenshots wheel lint lock

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

env: $(STAMP) ## make the Python environment from requirements/lock.txt

up: env ## bring the platform up, the live map first; the rest is fetched and built behind it (PROFILE=small: without live stores)
	@$(BIN)/evcharge up

down: env ## stop every server; the data stay
	@$(BIN)/evcharge stack down

status: env ## show every server's health, and what is still to come
	@$(BIN)/evcharge stack status

clean: env ## stop every server and remove data, logs and credentials (asks)
	@$(BIN)/evcharge stack clean

# side by side: a first mypy takes as long as the tests, and each has a core of its own
check: env ## check style and types and run the quick unit tests; no servers
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint quick

quick: env
	@$(BIN)/python -m pytest -q -m "not slow" --numprocesses=2 --dist=loadfile --disable-warnings tests/unit

test: env ## run the tests, the slow ones too, on servers and ports of its own
	@$(BIN)/evcharge stack provision
	@$(BIN)/python -m pytest -m "not long" --numprocesses=2 --dist=loadfile tests/unit
	@$(BIN)/python -m pytest -m "not long" tests/integration tests/faults tests/e2e

test-long: env ## run the tests that take minutes each, on servers and ports of its own
	@$(BIN)/evcharge stack provision
	@$(BIN)/python -m pytest -m long tests/integration tests/faults

fuzz: env ## judge ROUNDS=30 times 6,000 new messages and give the good ones to every reader; no servers
	@$(BIN)/python -m pytest -q -s --fuzz-rounds=$(or $(ROUNDS),30) tests/unit/test_fuzz.py

bench: env ## measure; writes docs/figures.md
	@$(BIN)/python -m benchmarks

screenshots: env ## take the screenshots in docs/images from the running platform
	@$(BIN)/python -m tests.e2e.screenshots

wheel: env ## build the wheel with the dashboard's pages into dist/
	@$(BIN)/evcharge stack provision --only dashboard
	@$(BIN)/python -m build --no-isolation

lint: env ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lock: $(UV) ## resolve the dependencies anew into requirements/lock.txt
	@$(UV) pip compile pyproject.toml --all-extras --universal --generate-hashes --upgrade --no-header \
		--output-file requirements/lock.txt

# A second run finds the stamp newer than the lock: nothing to do, no network.
$(STAMP): requirements/lock.txt pyproject.toml | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11,<3.14' .venv
	@echo "installing the locked packages into .venv"
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/lock.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# a name without a slash is the uv on the PATH, for which there is nothing to make
.PHONY: uv
uv:

$(CACHE)/uv-$(UV_VERSION)/bin/uv:
	@echo "bringing uv $(UV_VERSION)"
	@python3 -m venv $(CACHE)/uv-$(UV_VERSION) || \
		{ echo "python3 with venv is missing: sudo apt-get install -y python3-venv"; exit 1; }
	@$(CACHE)/uv-$(UV_VERSION)/bin/python -m pip install --quiet uv==$(UV_VERSION)
