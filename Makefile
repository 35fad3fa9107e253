# Two commands: `make demo` and `make test`. Both set up what they need in .venv first.
PYTHON ?= python3.11
VENV ?= .venv
CONCEPTS ?= demo
DEMO ?= demo
RUN = $(VENV)/bin/python

# Waiting threads sleep: spinning ones make a busy machine ten times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test clean

demo: $(VENV)/ready
	$(RUN) -m cluster demo --folder $(DEMO) --concepts $(CONCEPTS)

test: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(RUN)
	$(RUN) -m pytest

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --upgrade pip setuptools
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO)
