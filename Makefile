# Every target that runs Python makes .venv first, and again when the pins change.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# One thread a worker: the test models are too small to share cores, and as many workers run as
# there are cores (eight at most, since each imports torch).
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --durations=15

.DEFAULT_GOAL := help
.PHONY: bench bench-counters bench-gpu bench-kernels bench-search bench-train claims clean format help lint reference search setup test test-slow

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-14s %s\n' "$$name" "$$text"; done

setup: $(READY) ## install archspec and its tools into .venv (the other targets do it by themselves)

# One thread: the bundled models are so small that a second one costs more than it brings, and very
# much more where something else runs beside it.
search: export OMP_NUM_THREADS := 1
search: $(READY) ## search placements on the bundled specs, or go on where the last run stopped
	@if [ -d runs/tiny ]; then \
		echo "Going on with the search in runs/tiny."; \
		$(BIN)/archspec search specs/search/placement_tiny.yaml --resume runs/tiny; \
	else \
		echo "Searching placements for specs/search/placement_tiny.yaml, results in runs/tiny."; \
		$(BIN)/archspec search specs/search/placement_tiny.yaml --out runs/tiny; \
	fi

test: $(READY) ## run the tests that take seconds
	@echo "Running the quick tests."
	@$(PYTEST) -m "not slow and not gpu"

# pytest's status 5 says that no test was selected.
test-slow: $(READY) ## run the tests that take longer
	@echo "Running the slow tests."
	@$(PYTEST) -m "slow and not gpu" || test $$? -eq 5

lint: $(READY) ## check style, format and types
	@echo "Checking style and format with ruff, types with mypy."
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## sort imports and format the code
	@echo "Formatting with ruff."
	@$(BIN)/ruff check --select I --fix .
	@$(BIN)/ruff format .

reference: $(READY) ## write docs/reference and specs/schema from the schemas
	@echo "Writing the reference pages and the JSON Schema files."
	@$(BIN)/python docs/build.py

bench: $(READY) ## run the benchmarks
	@echo "Running the benchmarks in benchmarks/."
	@$(BIN)/python -m benchmarks

bench-kernels: $(READY) ## measure the kernels on this CPU, write docs/kernels.md; some minutes, 16 GiB
	@echo "Measuring the kernels beside stock torch on this CPU."
	@$(BIN)/python -m benchmarks kernels

# Needs torch with CUDA and Triton, and nothing else: the machine's own Python, nothing installed.
bench-gpu: ## measure the kernels on a GPU with $(PYTHON), into benchmarks/results; under 8 minutes
	@echo "Measuring the kernels beside stock torch on the GPU."
	@PYTHONPATH=. $(PYTHON) -m archspec.bench --device cuda --out benchmarks/results

bench-counters: $(READY) ## compare other parameter and FLOP counters, write docs/counters.md
	@echo "Installing the counters that the books are compared with."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[bench]'
	@$(BIN)/python -m benchmarks counters

bench-train: $(READY) ## measure training beside other libraries, write docs/training_speed.md; 12 minutes
	@echo "Installing the libraries that training is compared with."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[bench,plot]'
	@echo "Measuring training on this CPU, best with nothing else running."
	@$(BIN)/python -m benchmarks train

bench-search: $(READY) ## compare samplers, or go on with it, write docs/search_proof.md; 25 minutes
	@echo "Installing what draws the figures."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[plot]'
	@echo "Searching in runs/search_proof; stop it and call it again as you like."
	@$(BIN)/python -m benchmarks search

claims: $(READY) ## race specs/claims, or go on with it, and write docs/claims.md; up to 45 minutes
	@echo "Racing the designs of specs/claims in runs/claims; stop it and call it again as you like."
	@$(BIN)/python -m benchmarks.bench_claims --race

clean: ## remove caches and build output; .venv and runs/ stay
	@echo "Removing caches and build output."
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
		echo "archspec needs Python 3.11 or newer, and there is no '$(PYTHON)' here." \
			"Install it, or name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "archspec needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) -V 2>&1)." \
			"Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing archspec and its tools into .venv; the first time this takes a few minutes."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[cpu,test,lint]'
	@touch $@
