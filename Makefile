# `make run` and `make test` set up everything they need on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check bench bench-generation clean

run: .venv/run.stamp
	$(BIN)/python app.py

test: .venv/dev.stamp
	$(BIN)/pytest -q -n 2

check: .venv/dev.stamp
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/pytest -q -n 2

bench: .venv/dev.stamp
	for name in startup storage streaming; do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

# Beside its peers, which are compiled here; MODEL is a folder in Hermes 3 3B's shape.
bench-generation: .venv/peers.stamp
	$(BIN)/python -m benchmarks.generation --model $(MODEL)

.venv/peers.stamp: benchmarks/requirements.txt .venv/dev.stamp
	$(BIN)/python -m pip install --disable-pip-version-check -q -r benchmarks/requirements.txt
	touch $@

.venv/run.stamp: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
