# make run    build into .venv and start a router on $(SOCKET)
# make test   build, install what the tests need, run them
# make lint   style, types, stubs        make bench   measure beside the peers        make clean
# make sanitize   all tests, the C part with sanitizers and assertions      make memcheck   some tests under valgrind
# make fuzz       FUZZ_SECONDS=25          make soak       SOAK_SECONDS=3600
# make test-fresh   make run and make test on fresh Debian systems           make test-python-next   the same on sid
# make mutants    take each protection out and see its test fail; MUTANTS='word…' for some of them

PYTHON ?= python3
SOCKET ?= /tmp/fpty.socket
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
SOURCES := setup.py pyproject.toml $(shell find fastpty -name '*.py' -o -name '*.py[ix]' -o -name '*.pxd') $(wildcard tests/probes/*.pyx)

.PHONY: run test test-fresh test-python-next lint bench sanitize memcheck fuzz soak storm mutants clean

# Tests mostly wait for processes, so two at a time take half as long, even on one core.
SIDE_BY_SIDE := -n 2 --dist worksteal

run: $(VENV)/run.stamp
	@echo "Attach from another terminal:  $(CURDIR)/$(BIN)/fastpty connect --uwsgi $(SOCKET)"
	@exec $(BIN)/fastpty-router --forkpty-urouter $(SOCKET)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(TESTS)

# Releases of Debian, where root runs the commands, or with :user an ordinary user. Needs root and debootstrap.
FRESH ?= bookworm trixie trixie:user

test-fresh:
	sh tests/fresh/run.sh $(FRESH)

test-python-next:
	sh tests/fresh/run.sh sid

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint fastpty tests
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --ignore-missing-stub fastpty._relay fastpty._spawn

bench: $(VENV)/bench.stamp
	$(BIN)/python -m bench

# A copy, since the C part is built in place. Python's own allocator would hide what is freed, and what the interpreter
# leaves at its end is no leak of ours. Left out: what measures memory or instructions, which sanitizers take more of, and
# what begins with closed descriptors or another interpreter, for a script starts the sanitized one; and what starts the
# router dozens of times under strace(1), which takes too long.
SANITIZED_BUT := not bounded_memory and not memory_is_short and not few_instructions and not closed_standard_descriptor \
	and not hostile_image and not any_moment_of_the_start
SANITIZED := SANITIZED_PYTHON=$(CURDIR)/$(BIN)/python PYTHONPATH=tests/sanitize

sanitize: $(VENV)/test.stamp
	rm -rf build/sanitize && mkdir -p build/sanitize && ln -sfn ../../shared build/shared
	cp -r .ci .gitignore setup.py pyproject.toml MANIFEST.in Makefile *.md LICENSE bin docs fastpty tests tools bench \
		build/sanitize
	cd build/sanitize && rm -f fastpty/*.so tests/probes/*.so
	cd build/sanitize && FASTPTY_BUILD=sanitize FASTPTY_TEST_PROBES=1 $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	cd build/sanitize && $(SANITIZED) SANITIZED_EXECUTABLE=$(CURDIR)/tests/sanitize/asan PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		tests/sanitize/asan -m pytest -q $(SIDE_BY_SIDE) -p no:cacheprovider -k '$(SANITIZED_BUT)' $(TESTS)

# One session of each kind through its life. valgrind makes a plain fork of clone(CLONE_VM | CLONE_VFORK), so that an
# execve that failed cannot be told, and keeps descriptors to itself: the tests of these two are not among them.
MEMCHECKED := (every_byte and 4097) or within_a_line or (hangs_up_shell and raw) or (full_duplex and uwsgi) \
	or (closes_its_terminal and raw)
memcheck: $(VENV)/test.stamp
	$(SANITIZED) FASTPTY_TEST_PATIENCE=110 SANITIZED_EXECUTABLE=$(CURDIR)/tests/sanitize/valgrind $(BIN)/python -m pytest -q -k '($(MEMCHECKED)) and not without' \
		tests/relay/test_relay.py tests/sessions/test_session_end.py tests/sessions/test_session_start.py

# CI gives these two less time.
FUZZ_SECONDS ?= 3600
SOAK_SECONDS ?= 3600
STORM_SECONDS ?= 3600

fuzz: $(VENV)/test.stamp
	sh tests/fuzz/build.sh
	sh tests/fuzz/run.sh $(FUZZ_SECONDS)

soak: $(VENV)/test.stamp
	$(BIN)/python -m tests.soak --seconds $(SOAK_SECONDS)

storm: $(VENV)/test.stamp
	$(BIN)/python -m tests.storm --seconds $(STORM_SECONDS)

mutants: $(VENV)/test.stamp
	$(BIN)/python -m tests.mutants $(MUTANTS)

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
	rm -rf $(VENV) build *.egg-info fastpty/*.so tests/probes/*.so bench/*.so bench/build
