# make demo   the whole way on simulated data     make check  lint and types
# make test   the test suite                       make bench  speed, as ratios
.PHONY: demo test check bench lock clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

demo: $(READY)
	$(BIN)/survey-classifier demo --out out/demo

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m tests.bench

# The lock pins every package; the project itself is installed without looking for others.
$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $(READY)

lock:
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf out .venv
