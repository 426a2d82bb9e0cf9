# `make` alone says what there is. Everything is made in .venv, .run and .cache; `make clean` removes them.
.DEFAULT_GOAL := help
.PHONY: help run test test-unit test-host fuzz chaos soak bench lint types fmt docs site docs-check dist deb audit standin clean
.DELETE_ON_ERROR:

BIN := .venv/bin
LOCKS := requirements.txt requirements-build.txt pyproject.toml
REFERENCES := guardian.expose.reference guardian.config.reference guardian.engine.reference guardian.messages
PYTEST ?= $(BIN)/pytest

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: .venv/.run ## start the daemon: on Docker in observe mode, or on the simulated engine
	@scripts/run.sh

test: .venv/.dev ## everything: lint, types, import contracts, docs, all tests; needs root for its own Docker engine
	@scripts/install-test-deps.sh
	@scripts/install-host-deps.sh
	@$(MAKE) --no-print-directory lint types docs-check
	@$(PYTEST) -q -n 2 tests/unit tests/property $(ARGS)
	@$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m 'not alone' tests/engine tests/system $(ARGS)
	@$(PYTEST) -m alone tests/engine tests/system $(ARGS)
	@$(PYTEST) --timeout 1800 -m one_boot tests/host $(ARGS)

test-unit: .venv/.dev ## what needs no engine, no root and no network
	@$(PYTEST) tests/unit tests/property $(ARGS)

test-host: .venv/.dev ## guardian on a Debian 13 machine in an emulator: half an hour; COMPARE=1 beside the kernel, earlyoom, systemd-oomd
	@scripts/install-host-deps.sh
	@$(PYTEST) --timeout 1800 tests/host $(if $(COMPARE),tests/host/compare.py) $(ARGS)

fuzz: .venv/.dev ## inputs made at random, other ones at each run, for MINUTES=5; needs no engine
	@scripts/fuzz.sh $(or $(MINUTES),5)

chaos: .venv/.dev ## faults at random over a real engine: SEED=7 MINUTES=10; PLAN=1 shows them without doing them; needs root
	@scripts/install-test-deps.sh
	@PYTHONPATH=tests $(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(PLAN),--plan) $(ARGS)

soak: .venv/.dev ## weeks of load and faults on a virtual host: SEED=1 DAYS=30; RECORD=1 is about the recording; needs no engine
	@PYTHONPATH=tests $(BIN)/python -m chaos.$(if $(RECORD),recording,soak) $(if $(SEED),--seed $(SEED)) $(if $(DAYS),--days $(DAYS)) $(ARGS)

bench: .venv/.dev ## what it costs, beside what others cost: a table (SIZES=32 for one size); needs root, see docs/benchmarks.md
	@scripts/install-test-deps.sh
	@PYTHONPATH=tests $(BIN)/python -m bench $(if $(SIZES),--sizes "$(SIZES)") $(ARGS)

lint: .venv/.dev ## style and the import contracts
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "run: make fmt" >&2; exit 1; }
	@$(BIN)/lint-imports --no-logo >.cache/lint-imports.log 2>&1 || { cat .cache/lint-imports.log; exit 1; }

types: .venv/.dev ## mypy, strict
	@$(BIN)/mypy --no-error-summary

fmt: .venv/.dev ## put the code into shape
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

docs: .venv/.dev ## write the generated references anew
	@for reference in $(REFERENCES); do $(BIN)/python -m $$reference --write || exit; done

site: .venv/.dev ## the documentation as a site, in .cache/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-check: .venv/.dev ## fail where a generated reference is not what the code says
	@for reference in $(REFERENCES); do $(BIN)/python -m $$reference --check || exit; done

dist: .venv/.dev ## build wheel and sdist into dist/, reproducibly, and show their sums
	@scripts/dist.sh

deb: .venv/.dev ## build the Debian package into dist/, for the Debian and the Python of this machine
	@scripts/deb.sh

audit: ## look for known weaknesses in what the locks name; needs the network
	@scripts/audit.sh $(ARGS)

standin: ## build the image that config/compose.reference.yml needs
	@scripts/standin-image.sh

clean: ## remove what was made here
	rm -rf .venv .run .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.run: $(LOCKS) scripts/setup.sh
	@echo "setting up .venv" >&2
	@scripts/setup.sh run
	@touch $@

.venv/.dev: $(LOCKS) requirements-dev.txt scripts/setup.sh
	@echo "setting up .venv for tests" >&2
	@scripts/setup.sh dev
	@mkdir -p .cache
	@touch $@ .venv/.run
