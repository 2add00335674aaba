# Everything that can be done with this checkout. `make` alone lists it.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
# what the set-up decided: PATH, DOCKER_HOST, where Pulumi keeps state
LOCAL := . ./.local/env.sh &&
PYTEST := $(LOCAL) .venv/bin/python -m pytest -p tools.deselected
PLUGINS ?= auto
export PLUGINS

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1|\2/' \
	  | while IFS='|' read -r name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done

.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed as $(PYTHON): install python3, or call make PYTHON=/path/to/python3.11" >&2; exit 1; }

.PHONY: setup
setup: python ## install and build what is missing on this machine (first call 3-8 min, then seconds)
	@$(PYTHON) -m tools.setup

.PHONY: environment
environment: python
	@$(PYTHON) -m tools.setup --only environment

.PHONY: check
check: environment ## format, lint, types, layering (<= 60 s)
	@$(PYTHON) -m tools.check

.PHONY: test
test: setup ## set-up, check and all tests that need no real cloud
	@mkdir -p .local/test
	@code=0; $(PYTHON) -m tools.check || code=1; $(PYTEST) --junit-xml=.local/test/junit.xml || code=1; exit $$code

.PHONY: test-faults
test-faults: setup ## the long loops that kill things at every point (tens of minutes)
	@mkdir -p .local/test
	@$(PYTEST) -m faults --junit-xml=.local/test/junit-faults.xml

.PHONY: snapshots
snapshots: environment ## write the snapshots of the stacks anew; the diff is the review
	@UPDATE_SNAPSHOTS=1 .venv/bin/python -m pytest -q tests/test_snapshot.py

.PHONY: demo
demo: setup ## local cloud, `pulumi up` of the local stack, one run on 336,776 rows
	@$(LOCAL) $(PYTHON) -m tools.demo

.PHONY: demo-features
demo-features: setup ## local BigQuery of exchange rates, training files of three currency pairs (1-5 min, then 1 min)
	@$(LOCAL) $(PYTHON) -m tools.demo_features

.PHONY: demo-fanout
demo-fanout: setup ## 200 simulations as Batch tasks, 10 of which lose their machine, and a chart of all (3-8 min)
	@$(LOCAL) $(PYTHON) -m tools.demo_fanout

.PHONY: images
images: setup ## build the heavy runner's image for the sandbox, without a stack
	@$(LOCAL) $(PYTHON) -m tools.images

.PHONY: local-up
local-up: setup ## start the local cloud
	@$(LOCAL) longhaul local up

.PHONY: local-down
local-down: ## stop the local cloud; its state stays
	@test ! -e .local/env.sh || { $(LOCAL) longhaul local down; }

.PHONY: local-status
local-status: environment ## what runs of the local cloud
	@$(LOCAL) longhaul local status

.PHONY: preview
preview: local-up ## what `up` would change in the local stack
	@$(LOCAL) longhaul preview --stack local

.PHONY: up
up: local-up ## pulumi up of the local stack
	@$(LOCAL) longhaul up --stack local --yes

.PHONY: bench
bench: bench-localcloud ## the benchmarks of a few minutes each; bench-heavy is apart

.PHONY: bench-localcloud
bench-localcloud: setup ## latency of the local cloud's API
	@$(LOCAL) .venv/bin/python -m bench.localcloud

.PHONY: bench-heavy
bench-heavy: setup ## the heavy runner: start on a large table, memory of its supervisor
	@$(LOCAL) .venv/bin/python -m bench.heavy_runner

.PHONY: bench-merge
bench-merge: environment ## the feature pipeline's merge against cp, Polars, DuckDB, pyarrow; ARGS=--full for 668 tables
	@.venv/bin/python -m bench.merge $(ARGS)

.PHONY: bench-extract
bench-extract: environment ## the feature pipeline's checkpoints a second, and what decides it
	@.venv/bin/python -m bench.extract $(ARGS)

.PHONY: docker-down
docker-down: python ## stop the private Docker engine, if the set-up started one
	@$(PYTHON) -m tools.docker_down

.PHONY: clean
clean: local-down ## remove what was made in this checkout; the cache of the machine stays
	@rm -rf .venv .local .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "removed: .venv, .local and caches. The machine's cache (engine, images) stays in $${LONGHAUL_CACHE:-~/.cache/longhaul}"
