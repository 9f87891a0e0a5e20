# `make demo` and `make test` set everything up themselves; only Python 3.11+ and make are needed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
TOOLS := .venv/.ready-to-develop
SITE := .venv/.ready-to-document

.PHONY: demo test launchers lint check docs mutants abuse results ablation cards dist format clean

demo: $(READY)
	$(BIN)/adm demo --out out/demo

# The tests start hundreds of processes. Where none of them may write bytecode, each would compile the
# whole package (PYTHONDONTWRITEBYTECODE).
test: $(TOOLS)
	$(BIN)/python -m compileall -q src
	$(BIN)/pytest -q -n auto --dist loadgroup -m "not launcher"

# Torchrun, Accelerate, Ray, submitit, a server of S3, and processes that lose or wait for others.
launchers: $(TOOLS)
	$(BIN)/pytest -q -m launcher

lint: $(TOOLS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

check: lint
	$(BIN)/python -m compileall -q src
	$(BIN)/pytest -q -n auto --dist loadgroup -m "not slow and not launcher"

# What a page's blocks gave is kept in out/docs-cache until they change.
docs: $(SITE)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html -d out/doctrees docs out/site
	$(if $(filter serve,$(ARGS)),$(BIN)/python -m http.server --bind 127.0.0.1 --directory out/site)

mutants: $(TOOLS)
	$(BIN)/mutmut run $(ARGS)
	$(BIN)/mutmut results

abuse: $(TOOLS)
	HYPOTHESIS_PROFILE=many $(BIN)/pytest -q tests/abuse $(ARGS)

results: $(TOOLS)
	$(BIN)/pip install --quiet --editable '.[efficientnet]'
	test -d emoji || $(BIN)/python tools/emoji.py --out emoji
	$(BIN)/python benchmarks/results.py --out out/results --docs docs $(ARGS)

ablation: $(TOOLS)
	$(BIN)/python benchmarks/ablation.py --out out/ablation --docs docs $(ARGS)

dist: $(TOOLS)
	rm -rf out/dist
	$(BIN)/python -m build --quiet --outdir out/dist

cards: $(READY)
	$(BIN)/python tools/cards.py

format: $(TOOLS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("adm needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

$(SITE): $(TOOLS)
	$(BIN)/pip install --quiet --editable '.[docs]'
	touch $@

$(TOOLS): $(READY)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv out
