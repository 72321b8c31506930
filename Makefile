# make demo | make test | make bench | make lint: each sets up what it needs and works alone after a clone.
# Python and its packages go to .venv, as the lock files say. As root, missing Debian packages are installed;
# without root, they are named and what needs them is left out. With CI=true nothing may be left out.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# program:Debian package, for the tests with programs that nobody here wrote
PEERS := sipp:sip-tester kamailio:kamailio rtpengine:rtpengine-daemon baresip:baresip-core tshark:tshark sngrep:sngrep openssl:openssl ip:iproute2 \
  systemd-analyze:systemd chromium:chromium pg_ctlcluster:postgresql

# soname:Debian package. bcg729 is GPL-3: a server loads it when its operator names it, and the tests do.
LIBRARIES := libbcg729.so.0:libbcg729-0

ifeq ($(CI),true)
export BELLFRAME_REQUIRE_PEERS := 1
endif

.PHONY: help demo test lint kernels bench peers lock clean
help:
	@echo "make demo    phone the built-in agent and watch; AGENT=echo another one, WIRE=twilio a bot over that wire"
	@echo "make test    lint, types, and all tests"
	@echo "make bench   the measurements of docs/benchmarks.md"
	@echo "make lint    ruff and mypy only"
	@echo "make lock    choose new versions for the lock files (needs uv)"

demo: $(VENV)/.run kernels
	@$(BIN)/bellframe demo $(if $(AGENT),--agent '$(AGENT)') $(if $(WIRE),--wire '$(WIRE)')

# Two at a time: the tests of whole servers, which wait for telephones most of the time, and the others beside them.
TWO := -n 2 --dist loadgroup --no-loadscope-reorder --benchmark-disable
test: lint peers kernels
	$(BIN)/python -m pytest $(TWO)
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest $(TWO) -m kernel tests/shm tests/media_workers

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy

# Once for each state of the sources: no start of a server waits for it then.
kernels: $(VENV)/.run
	@$(BIN)/python -m shm.jit media_workers.warm_up media_workers.recording.warm_up ai_bridge.warm_up

bench: $(VENV)/.test kernels
	$(BIN)/python -m bench

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11: make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-venv >/dev/null; \
	  else echo "Python's venv is missing: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	@"$(PYTHON)" -m venv $(VENV)

# The test environment holds that of the demo, so making it makes both.
$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV)"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: requirements-test.lock $(VENV)/.run
	@echo "setting up $(VENV) for the tests"
	@$(PIP) install --require-hashes -r requirements-test.lock
	@touch $@

# A peer that is a service is for the tests to start: its package must not (invoke-rc.d asks this file).
NO_SERVICES := policy=/usr/sbin/policy-rc.d; if [ ! -e $$policy ]; then trap 'rm -f $$policy' EXIT; \
  printf '\#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; fi

peers:
	@missing=(); for peer in $(PEERS); do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v "$${peer%%:*}" >/dev/null || missing+=("$${peer##*:}"); done; \
	for library in $(LIBRARIES); do \
	  PATH="$$PATH:/usr/sbin:/sbin" ldconfig -p | grep "$${library%%:*}" >/dev/null || missing+=("$${library##*:}"); done; \
	if [ "$${#missing[@]}" = 0 ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing $${missing[*]}"; \
	  $(NO_SERVICES); apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$${missing[@]}" >/dev/null; \
	  systemctl disable --quiet kamailio rtpengine-daemon 2>/dev/null || true; \
	elif [ "$(CI)" = true ]; then \
	  echo "CI=true and not root: $${missing[*]} must be there: apt-get install $${missing[*]}" >&2; exit 1; \
	else \
	  echo "left out without root: the tests with $${missing[*]} (sudo apt-get install $${missing[*]} brings them)"; fi

lock:
	uv pip compile pyproject.toml --extra agent --extra opus --extra build $(LOCK_FLAGS) -o requirements.lock
	uv pip compile pyproject.toml --extra agent --extra opus --extra build --extra otel --extra vad --extra postgres --extra test -c requirements.lock $(LOCK_FLAGS) -o requirements-test.lock
LOCK_FLAGS := --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
