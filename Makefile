# One line per thing a person does. Everything lives in .venv/; nothing is installed elsewhere.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
LOCKED := --quiet --require-hashes --no-deps --no-compile
LOCKING := --python-version 3.11 --universal --generate-hashes --no-strip-extras --no-emit-index-url --no-annotate --upgrade --quiet
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DAGSTER_TELEMETRY_DISABLED := 1
# each command starts processes: what one of them has compiled, the others need not compile again
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test check docs rehearsal rehearsal-national bench dev lock messages spark

setup: .venv/tools

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install $(LOCKED) --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib insertion_pipeline || true # some ship templates that are no Python
	@touch $@

.venv/tools: .venv/installed requirements-dev.lock
	$(BIN)/pip install $(LOCKED) --requirement requirements-dev.lock
	@touch $@

demo: .venv/installed
	$(BIN)/insertion demo

test: .venv/tools
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m insertion_pipeline_tests.licences
	$(BIN)/insertion validate

# these pages as a site, in var/site: what leads nowhere stops it
docs: .venv/tools
	$(BIN)/zensical build --strict --clean

# accidents, played over and over: at most an hour
rehearsal: .venv/tools
	$(BIN)/pytest insertion_pipeline_tests/rehearsal
	$(BIN)/python -m insertion_pipeline_tests.fuzzing.readers --seconds 600

# a country's month from its files to its release, then a correction: what each stage takes. PERSONS=200000 for a taste
rehearsal-national: .venv/tools
	$(BIN)/python -m insertion_pipeline_tests.rehearsal.national --persons $(or $(PERSONS),5500000) \
		--months $(or $(MONTHS),2026-10) --folder $(or $(FOLDER),var/national)

# the words of the portal's pages, for whoever translates them
messages: .venv/tools
	$(BIN)/python -m insertion_pipeline.portal.messages

# what docs/benchmarks.md tells of, at a size that a laptop measures in a quarter of an hour
bench: .venv/tools
	$(BIN)/python -m insertion_pipeline_tests.benchmarks.reading --lines 200000 --file clean
	$(BIN)/python -m insertion_pipeline_tests.benchmarks.reading --lines 100000 --file hard
	$(BIN)/python -m insertion_pipeline_tests.benchmarks.reading --lines 100000 --rules
	$(BIN)/python -m insertion_pipeline_tests.benchmarks.linkage time --persons 20000
	$(BIN)/python -m insertion_pipeline_tests.benchmarks.indicators --persons 500000 --months 1
	$(BIN)/python -m insertion_pipeline_tests.benchmarks.portal --only depositors
	$(BIN)/python -m insertion_pipeline_tests.benchmarks.disclosure

dev: .venv/tools
	$(BIN)/insertion dev

# Spark beside the rest, for `insertion run --engine spark`: 450 MB, and Java 17
spark: .venv/tools
	$(BIN)/pip install $(LOCKED) --no-build-isolation --requirement requirements-spark.lock

lock:
	uv pip compile pyproject.toml $(LOCKING) --extra build --extra postgresql --output-file requirements.lock
	uv pip compile pyproject.toml $(LOCKING) --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	uv pip compile pyproject.toml $(LOCKING) --extra spark --constraint requirements-dev.lock --output-file requirements-spark.lock
