# Builds msgcenter's own .venv from the hash-locked requirements and runs, tests and measures in it.
#
# Needs only make and Python 3.11+ (PYTHON=… picks one); pip's usual PIP_* settings and pip.conf hold.
# ARGS=… goes to the program behind the target: make run ARGS=--once, make test ARGS="-k bus -x".

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help run test test-fault lint bench client lock clean
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
# Compiling happens on all cores afterwards: half the time of pip's own.
PIP := $(PY) -m pip -qq --no-input --disable-pip-version-check install --no-deps --no-compile
LOCK := compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" pyproject.toml --group build

# A .venv that was moved, or whose Python is gone, is made anew.
ifneq ($(shell test -x $(PY) && cat $(VENV)/place 2>/dev/null),$(CURDIR))
$(VENV)/place: .FORCE
endif
.FORCE:

help: ## list these targets
	@echo "usage: make TARGET [ARGS=…] [PYTHON=…]"
	sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14

run: $(VENV)/run ## start the sandbox: no server needed, Ctrl-C ends it (ARGS=--once for the walk-through alone)
	@exec $(VENV)/bin/msgcenter sandbox $(ARGS)

test: lint ## lint, then all tests but the slow fault runs
	@$(PY) -m compileall -q msgcenter adapters protocols # hundreds of processes start: none has to compile them again
	exec $(PY) -m pytest $(ARGS)

test-fault: $(VENV)/dev ## the slow tests: kills, flapping links, soak
	@exec $(PY) -m pytest -m fault $(ARGS)

bench: $(VENV)/dev ## measure against the baselines, in one run (ARGS="drain --quick")
	@exec $(PY) -m bench $(or $(ARGS),e2e)

lint: $(VENV)/dev ## style, types and import rules
	@failed=
	check() {
		if said=$$("$(VENV)/bin/$$1" "$${@:2}" 2>&1); then
			echo "  ok  $$*"
		else
			printf '%s\n' "$$said" "  FAILED  $$*"
			failed=1
		fi
	}
	echo "• lint"
	check ruff check --quiet --output-format concise .
	check ruff format --quiet --check --diff .
	check lint-imports
	check mypy --no-error-summary
	[ -z "$$failed" ]

client: $(VENV)/dev ## write the Python client anew from the API's routes
	@$(PY) -c 'from msgcenter.api.app import ROUTES; from msgcenter.api.openapi import rendered; print(rendered(ROUTES, "0").decode())' \
		| $(PY) msgcenter/client/generate.py
	$(VENV)/bin/ruff check --quiet --fix msgcenter/client
	$(VENV)/bin/ruff format --quiet msgcenter/client

lock: | $(VENV)/place ## write the lock files anew from pyproject.toml (ARGS=--upgrade for newer versions)
	@test -x $(VENV)/bin/uv || $(PIP) uv
	echo "• locking"
	$(VENV)/bin/uv pip $(LOCK) $(ARGS) --output-file requirements.lock
	$(VENV)/bin/uv pip $(LOCK) $(ARGS) --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## remove .venv and everything that tools left behind
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The development lock holds everything of the runtime lock, at the same versions.
$(VENV)/run: LOCKED := requirements.lock
$(VENV)/dev: LOCKED := requirements-dev.lock
$(VENV)/run: requirements.lock
$(VENV)/dev: requirements-dev.lock
$(VENV)/run $(VENV)/dev: pyproject.toml | $(VENV)/place
	@began=$$SECONDS
	echo "• installing $$(grep -c == $(LOCKED)) locked packages into $(VENV)"
	# What is published as source only is built by the setuptools of the lock, which therefore comes first.
	if grep -q ^setuptools== $(LOCKED); then
		sed -n '/^setuptools==/,/[^\\]$$/p' $(LOCKED) | $(PIP) --require-hashes --requirement /dev/stdin
	fi
	$(PIP) --no-build-isolation --require-hashes --requirement $(LOCKED)
	$(PIP) --no-build-isolation --editable .
	$(PY) -m compileall -qq -j 0 $(VENV)/lib || true # some packages ship templates that are not Python
	touch $(VENV)/run $@
	echo "  done in $$((SECONDS - began)) s"

$(VENV)/place:
	@python=
	for each in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do
		if "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			python=$$each
			break
		fi
	done
	if [ -z "$$python" ]; then
		echo "msgcenter needs Python 3.11 or newer; here: $$($(or $(PYTHON),python3) --version 2>&1 || true)"
		echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"
		exit 1
	fi >&2
	echo "• making $(VENV) with $$("$$python" --version)"
	if ! "$$python" -c 'import ensurepip' 2>/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "  Debian keeps venv in a package of its own: apt-get install python3-venv"
		export DEBIAN_FRONTEND=noninteractive
		said=$$({ apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv; } 2>&1) ||
			printf '%s\n' "$$said" >&2
	fi
	if ! "$$python" -c 'import ensurepip' 2>/dev/null; then
		echo "$$python cannot make virtual environments: its ensurepip is missing."
		echo "Install it (Debian, Ubuntu: apt-get install python3-venv), then say make $(MAKECMDGOALS) again."
		exit 1
	fi >&2
	"$$python" -m venv --clear $(VENV)
	pwd >$@
