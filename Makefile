# make run    build into .venv and start a router on $(SOCKET)
# make test   build, install what the tests need, run them
# make lint   style, types, stubs        make bench   measure beside the peers        make clean
# make sanitize   tests of the C part, built with sanitizers and assertions      make memcheck   some tests under valgrind
# make fuzz       FUZZ_SECONDS=25          make soak       SOAK_SECONDS=3600
# make test-fresh   make run and make test on fresh Debian systems           make test-python-next   the same on sid
# make mutants    remove each protection and check that its test fails; MUTANTS='word…' selects some of them

PYTHON ?= python3
SOCKET ?= /tmp/fpty.socket
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
SOURCES := setup.py pyproject.toml $(shell find fastpty -name '*.py' -o -name '*.py[ix]' -o -name '*.pxd') $(wildcard tests/probes/*.pyx)

.PHONY: run test test-fresh test-python-next lint bench sanitize memcheck fuzz soak storm mutants clean

# Tests mostly wait for processes, so running two at a time halves the time, even on one core.
SIDE_BY_SIDE := -n 2 --dist worksteal

run: $(VENV)/run.stamp
	@echo "Attach from another terminal:  $(CURDIR)/$(BIN)/fastpty connect --uwsgi $(SOCKET)"
	@exec $(BIN)/fastpty-router --forkpty-urouter $(SOCKET)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(TESTS)

# Debian releases. The commands run as root, or with :user as an ordinary user. Needs root and debootstrap.
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

# Works in a copy, because the C part is built in place. PYTHONMALLOC: Python's own allocator would hide errors. Leaks are
# not reported, because the interpreter frees little at its exit. Left out are tests that measure memory or instructions,
# tests that start the interpreter with closed descriptors, without an environment or /proc, as another user or under
# strace(1) or systemd, because a script starts the sanitized one; and a test in which the real uWSGI can hang if its
# client is slow.
SANITIZED_BUT := not bounded_memory and not memory_is_short and not few_instructions and not closed_standard_descriptor \
	and not hostile_image and not any_moment_of_the_start and not broken_output \
	and not that_needs_proc and not modules_are_loaded and not named_with_its_owner and not under_systemd \
	and not devpts_of_its_own and not only_stdin_frames_have_a_payload and not take_no_memory
# These rooms run Python only, or reach the C part no other way than the rest.
SANITIZED_NOT := $(addprefix --ignore=tests/,configuration gateways hooks listening project service)
SANITIZED := SANITIZED_PYTHON=$(CURDIR)/$(BIN)/python PYTHONPATH=tests/sanitize
# A small quarantine and short traces of allocations: each start of a router touches a third of the memory.
ASAN := ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:malloc_context_size=8:quarantine_size_mb=16

sanitize: $(VENV)/test.stamp
	rm -rf build/sanitize && mkdir -p build/sanitize && ln -sfn ../../shared build/shared
	cp -r .ci .gitignore setup.py pyproject.toml MANIFEST.in Makefile *.md LICENSE bin docs fastpty tests tools bench \
		build/sanitize
	cd build/sanitize && rm -f fastpty/*.so tests/probes/*.so
	cd build/sanitize && FASTPTY_BUILD=sanitize FASTPTY_TEST_PROBES=1 $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	cd build/sanitize && $(SANITIZED) FASTPTY_TEST_PATIENCE=60 SANITIZED_EXECUTABLE=$(CURDIR)/tests/sanitize/asan PYTHONMALLOC=malloc \
		$(ASAN) UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		tests/sanitize/asan -m pytest -q $(SIDE_BY_SIDE) -p no:cacheprovider $(SANITIZED_NOT) -k '$(SANITIZED_BUT)' $(TESTS)

# One session of each kind. valgrind replaces clone(CLONE_VM | CLONE_VFORK) by fork, so a failed execve is not reported,
# and it reserves descriptors: tests that depend on these are left out.
MEMCHECKED := (every_byte and 4097) or within_a_line or (hangs_up_shell and raw) or (full_duplex and uwsgi) \
	or (closes_its_terminal and raw)
memcheck: $(VENV)/test.stamp
	$(SANITIZED) FASTPTY_TEST_PATIENCE=110 SANITIZED_EXECUTABLE=$(CURDIR)/tests/sanitize/valgrind $(BIN)/python -m pytest -q -k '($(MEMCHECKED)) and not without' \
		tests/relay/test_relay.py tests/sessions/test_session_end.py tests/sessions/test_session_start.py

# CI sets shorter times.
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
