# Needs make and Python 3.11 or newer. Everything else comes from the package index into .venv, checked by hash.
#   make PYTHON=python3.13 …    another interpreter          make serve ARGS="--port 9000"    options of `dujiang serve`

PYTHON ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
LOCKS := requirements
DATA := data

.DEFAULT_GOAL := help
.PHONY: help setup dev serve test check bench bench-gateway bench-admission bench-balancing bench-queueing bench-records bench-resilience bench-scenes bench-config campaign-faults campaign-records campaign-reload docs lock format clean
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-22s%s\n' "$$name" "$$text"; done

setup: $(STAMPS)/runtime ## create .venv with .venv/bin/dujiang
	@echo "ready: $(BIN)/dujiang"

dev: $(STAMPS)/dev

serve: $(STAMPS)/runtime ## set up, fetch the embedded model once, start on 127.0.0.1:8000
	@$(fetch_model)
	@exec $(BIN)/dujiang serve --data-dir $(DATA) $(ARGS)

test: $(STAMPS)/dev ## set up with the test tools and run the whole suite
	@$(BIN)/python -m pytest $(ARGS)

check: $(STAMPS)/dev ## what CI runs: format, lint, types, imports, docs, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest

bench: bench-gateway bench-admission bench-balancing bench-queueing bench-records bench-resilience bench-scenes bench-config ## run every benchmark; results in benchmarks/results

bench-gateway: $(STAMPS)/dev ## CPU per call beside nginx and the reference prototype
	@$(BIN)/python -m benchmarks.gateway $(ARGS)
	@$(BIN)/python -m benchmarks.page

bench-admission: $(STAMPS)/dev ## what letting a call in costs: permissions, limits, budgets
	@$(BIN)/python -m benchmarks.admission $(ARGS)

bench-balancing: $(STAMPS)/dev ## how long calls take by balancing strategy, in simulated time
	@$(BIN)/python -m benchmarks.balancing $(ARGS)

bench-queueing: $(STAMPS)/dev ## what limits of targets and their queue cost a call
	@$(BIN)/python -m benchmarks.queueing $(ARGS)

bench-records: $(STAMPS)/dev ## latency of record queries and the drain's cost, from 10^5 rows up, on each database
	@$(BIN)/python -m benchmarks.records $(ARGS)
	@$(BIN)/python -m benchmarks.records --database postgresql $(ARGS)
	@$(BIN)/python -m benchmarks.page

bench-resilience: $(STAMPS)/dev ## what breakers, retry budgets and the like cost an attempt
	@$(BIN)/python -m benchmarks.resilience $(ARGS)

bench-scenes: $(STAMPS)/dev ## what rendering a scene costs a call
	@$(BIN)/python -m benchmarks.scenes $(ARGS)

bench-config: $(STAMPS)/dev ## whole documents, small changes of large ones, long histories
	@$(BIN)/python -m benchmarks.config $(ARGS)

campaign-faults: $(STAMPS)/dev ## what happens while vendors fail: every row of the fault matrix, five times (45 min)
	@PYTHONPATH=. $(BIN)/python tests/campaign_faults.py --json benchmarks/results/campaign-faults.json $(ARGS)

campaign-records: $(STAMPS)/dev ## kill -9 under load, 50 rounds on each database; PostgreSQL stopped and frozen for 60 s
	@PYTHONPATH=. $(BIN)/python tests/campaign_records.py --rounds 50 --json benchmarks/results/campaign-records.json $(ARGS)
	@PYTHONPATH=. $(BIN)/python tests/campaign_records.py --database postgresql --rounds 50 --outage-s 60 \
		--json benchmarks/results/campaign-records-postgresql.json $(ARGS)

campaign-reload: $(STAMPS)/dev ## revisions under load for 60 s, and 500 of them in one process: no call fails or mixes two
	@$(BIN)/python tests/campaign_reload.py --json benchmarks/results/campaign-reload.json $(ARGS)

docs: $(STAMPS)/dev ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "ready: site/index.html"

format: $(STAMPS)/dev ## format the sources and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(STAMPS)/bootstrap ## write the locks again (ARGS=--upgrade for newer versions)
	@$(call compile,bootstrap,--group pyproject.toml:bootstrap)
	@$(call compile,runtime,pyproject.toml --group build)
	@$(call compile,dev,pyproject.toml --group build --group dev --constraints $(LOCKS)/runtime.txt)

clean: ## remove what was built; .venv and data stay
	@rm -rf site dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The path that a pull printed is remembered, so that the next start asks the file system and nobody else.
fetch_model = path=$$(cat $(STAMPS)/model 2>/dev/null); folder=$${path%/*}; \
	[ -f "$$path" ] && [ "$${DUJIANG_CACHE_DIR:-$$folder}" = "$$folder" ] || \
	{ path=$$($(BIN)/dujiang models pull) && echo "$$path" > $(STAMPS)/model; } || \
	echo "Going on without the embedded model; the next make serve tries again." >&2

# ---- how .venv comes to be -------------------------------------------------------------------------------------------

uv = sh $(LOCKS)/uv.sh $(VENV)
compile = UV_CUSTOM_COMPILE_COMMAND="make lock" $(uv) pip compile --quiet $(2) --generate-hashes --universal \
	--python-version 3.11 --output-file $(LOCKS)/$(1).txt $(ARGS)
# A sync removes what the lock does not name, the project itself too, so that is put back each time.
define install
	@echo "installing $(LOCKS)/$(1).txt into $(VENV)"
	@$(uv) pip sync --quiet --require-hashes $(2) $(LOCKS)/$(1).txt
	@$(uv) pip install --quiet --offline --no-deps --no-build-isolation --editable .
	@mkdir -p $(STAMPS) && touch $@
endef

$(STAMPS)/runtime: $(LOCKS)/runtime.txt pyproject.toml $(STAMPS)/bootstrap
	$(call install,runtime,--compile-bytecode)
	@$(BIN)/python -m compileall -q src

$(STAMPS)/dev: $(LOCKS)/dev.txt $(STAMPS)/runtime
	$(call install,dev)

$(STAMPS)/bootstrap: $(LOCKS)/bootstrap.txt
	@$(find_python); $(make_venv)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCKS)/bootstrap.txt
	@mkdir -p $(STAMPS) && touch $@

find_python = for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; done; \
	if [ -z "$$python" ]; then echo "Dujiang needs Python 3.11 or newer$(if $(PYTHON), and $(PYTHON) is not it): install it, or name it with make PYTHON=/path/to/python3" >&2; exit 1; fi
make_venv = [ -x $(BIN)/python ] || { echo "creating $(VENV) with $$($$python --version)"; "$$python" -m venv $(VENV); } || { \
	rm -rf $(VENV); echo "$$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
