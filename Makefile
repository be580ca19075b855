# `make demo` and `make test` need nothing but Python ≥ 3.11: they set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: all test test-foreign lint demo golden bench fuzz figures rows mistakes power mutation clean
all: lint test demo

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "refar needs Python 3.11 or newer, %s is %s" % (sys.executable, sys.version.split()[0]))'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

test: .venv/installed
	$(BIN)/pytest -n auto --dist worksteal

test-foreign: .venv/installed # the worked examples in JAX and Keras
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,foreign]'
	$(BIN)/pytest -m foreign

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: .venv/installed
	$(BIN)/refar demo --out demo

golden: .venv/installed
	$(BIN)/refar golden check

bench: .venv/installed
	$(BIN)/python tests/bench/speed.py
	$(BIN)/python tests/bench/oracle.py

fuzz: .venv/installed
	$(BIN)/python tests/bench/fuzz.py --graphs 5000

figures: .venv/installed demo/results.json
	$(BIN)/python tests/bench/figures.py docs/figures.md

rows: .venv/installed
	$(BIN)/python tests/bench/rows.py docs/promises.md

mistakes: .venv/installed
	$(BIN)/python tests/bench/mistakes.py docs/mistakes.md

power: .venv/installed
	$(BIN)/python tests/bench/power.py docs/mistakes.md

mutation: .venv/installed
	$(BIN)/python tests/bench/mutation.py docs/mistakes.md --sample 450

demo/results.json:
	$(MAKE) demo

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
