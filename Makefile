# `make demo` and `make test` need nothing but Python ≥ 3.11: they set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
PIP := bin/pip install --quiet --disable-pip-version-check
PYTEST := pytest -n auto --dist worksteal
# PyPI's torch for Linux on x86-64 is a build for CUDA, gigabytes; `make test-lowest TORCH=torch==2.4.0` takes it all the same.
TORCH ?= $(shell grep ^torch== constraints.txt)
# Every worker and every process that a test starts would compile all modules anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: all test fast test-foreign test-javascript test-lowest test-newest lint demo golden bench fuzz figures rows mistakes power causes training mutation imports clean
all: lint test demo

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "refar needs Python 3.11 or newer, %s is %s" % (sys.executable, sys.version.split()[0]))'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

test: .venv/installed
	$(BIN)/$(PYTEST)

fast: .venv/installed # all but tests/slow.txt: something of everything, in about a minute
	$(BIN)/$(PYTEST) -m "not foreign and not javascript and not slow"

test-foreign: .venv/installed # the worked examples in JAX and Keras, and the projects that refar bench times
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,foreign]'
	$(BIN)/pytest -m foreign

test-javascript: .venv/installed # the caller in JavaScript of export/README.md; needs node and npm
	cd tests/javascript && npm install --silent --no-audit --no-fund --no-package-lock
	$(BIN)/pytest -m javascript tests/javascript

.venv-lowest/installed: pyproject.toml constraints.txt tests/bench/lanes.py
	$(PYTHON) -m venv --clear .venv-lowest
	$(PYTHON) tests/bench/lanes.py lowest $(TORCH) > .venv-lowest/requirements.txt
	.venv-lowest/$(PIP) -r .venv-lowest/requirements.txt -e .
	touch $@

# What matplotlib 3.8 is warned of by a new pyparsing is nobody's mistake here; onnx 1.17 has not all cases of test_onnx_cases.py.
test-lowest: OLD := -W ignore::pyparsing.warnings.PyparsingDeprecationWarning --ignore tests/exact/test_onnx_cases.py
# The kit that checks other people's code is NumPy and PyTorch alone, and its tests take as long as all others together.
# Some others read the project's own sources alone, with whatever versions.
test-lowest: KIT := $(addprefix --ignore tests/,accepted explain known mistakes mutants probe test_bad_input.py test_causes.py)
test-lowest: KIT += $(addprefix --ignore tests/test_,documents.py equivalents.py exhaustive.py power.py tiers.py)
test-lowest: .venv-lowest/installed # the lowest versions that pyproject.toml allows: the fast tier but for the kit, and all of export and runtime
	.venv-lowest/bin/$(PYTEST) $(OLD) $(KIT) -m "not foreign and not javascript and not slow"
	.venv-lowest/bin/$(PYTEST) $(OLD) -m slow tests/export tests/runtime

test-newest: # the same with the newest versions there are, asked for anew each time
	$(PYTHON) -m venv .venv-newest
	$(PYTHON) tests/bench/lanes.py newest $(TORCH) > .venv-newest/requirements.txt
	.venv-newest/$(PIP) --upgrade --upgrade-strategy eager -r .venv-newest/requirements.txt -e .
	.venv-newest/bin/$(PYTEST) -m "not foreign and not javascript and not slow"
	.venv-newest/bin/$(PYTEST) -m slow tests/export tests/runtime

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: .venv/installed
	$(BIN)/refar demo --out demo

golden: .venv/installed
	$(BIN)/refar golden check

bench: .venv/installed
	$(BIN)/refar bench --json runs/bench.json
	$(BIN)/python tests/bench/speed.py docs/figures.md runs/bench.json
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

causes: .venv/installed
	$(BIN)/python tests/bench/causes.py docs/mistakes.md

training: .venv/installed
	$(BIN)/python tests/bench/training.py docs/runs.md

mutation: .venv/installed
	$(BIN)/python tests/bench/mutation.py docs/mistakes.md --sample 450

# Packages whose modules are imported; most need much beside that these modules do not, and are installed without it.
PEERS := beartype darts==0.48.1 decorator h5py holidays mne nfoursid pandas pooch psutil tqdm xarray \
	asteroid==0.7.0 asteroid-filterbanks==0.4.0 braindecode==1.8.1 cached-conv==2.5.0 denoiser==0.1.5 \
	descript-audio-codec==1.0.0 einops encodec==0.1.1 espnet==202511 gluonts==0.17.0 moshi==0.2.13 neuralforecast==3.3.0 \
	pyneuralfx==0.1.2 speechbrain==1.1.2 torchaudio
imports: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,foreign]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(PEERS)
	$(BIN)/python tests/bench/imports.py docs/importing.md

demo/results.json:
	$(MAKE) demo

clean:
	rm -rf .venv .venv-lowest .venv-newest demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
