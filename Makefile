# `make demo` and `make test` set up .venv by themselves and reuse it afterwards.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

TOGETHER := -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-all device examples jobs lint format benchmarks doc clean

demo: $(STAMP)
	$(BIN)/python -m sklearn_icm

test: $(STAMP)
	$(BIN)/python -m pytest $(TOGETHER) --cov --cov-report=term:skip-covered

test-all: $(STAMP)
	$(BIN)/python -m pytest -m "slow or example or not slow"

# On CUDA or MPS, with a table of times.
device: $(STAMP)
	$(BIN)/python -m pytest -m device -s -rs tests/test_device.py

examples: $(STAMP)
	$(BIN)/python -m pytest $(TOGETHER) -m example tests/test_examples.py tests/test_readme.py tests/test_guide.py

# Small runs of all benchmarks, and jobs that people come with.
jobs: $(STAMP)
	$(BIN)/python -m pytest $(TOGETHER) -m slow tests/test_examples.py tests/test_jobs.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Takes hours; benchmarks/RESULTS.md has the commands one by one.
benchmarks: $(STAMP)
	$(BIN)/pip install --constraint constraints.txt --editable ".[bench]"
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

doc: $(STAMP)
	$(BIN)/pip install --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m sphinx -W -b html doc doc/_build/html

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sklearn_icm needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --constraint constraints.txt --editable ".[plots,dev]"
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .pytest_cache .ruff_cache .hypothesis
