# make run    build into .venv and start a router on $(SOCKET)
# make test   build, install what the tests need, run them
# make lint   style, types, stubs        make bench   measure beside the peers        make clean

PYTHON ?= python3
SOCKET ?= /tmp/fpty.socket
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
SOURCES := setup.py pyproject.toml $(wildcard fastpty/*.py* fastpty/*.pxd tests/*.pyx)

.PHONY: run test lint bench clean

run: $(VENV)/run.stamp
	@echo "Attach from another terminal:  $(BIN)/fastpty connect $(SOCKET)"
	@exec $(BIN)/fastpty-router $(SOCKET)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q $(TESTS)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint fastpty tests
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --ignore-missing-stub fastpty._relay fastpty._spawn

bench: $(VENV)/bench.stamp
	$(BIN)/python -m bench

$(VENV)/python.stamp:
	@PYTHON=$(PYTHON) sh tools/preflight.sh
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run.stamp: $(VENV)/python.stamp $(SOURCES)
	$(BIN)/pip install -q -e .
	@touch $@

$(VENV)/test.stamp: $(VENV)/python.stamp $(SOURCES)
	FASTPTY_TEST_PROBES=1 $(BIN)/pip install -q -e '.[test]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/lint.stamp: $(VENV)/test.stamp
	$(BIN)/pip install -q -e '.[lint]'
	@touch $@

$(VENV)/bench.stamp: $(VENV)/test.stamp
	$(BIN)/pip install -q -e '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info fastpty/*.so tests/*.so bench/*.so bench/build
