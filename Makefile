# Every target first sets up what it needs: .venv from requirements.lock, the libraries for headless
# rendering, the project itself (editable). What is there already is not done again.
#
#   make train   the default job, from demonstrations to report   (ARGS="seed=1" adds overrides)
#   make test    the tests                                        (ARGS="-k limiter" adds options)
#   make check   lint, types on the built tree, tests: what CI runs
#   make bench   all benchmarks
#   make claims  what the benchmarks claim, the failed claims first
#   make lock    resolve requirements.lock anew from pyproject.toml
#   make format  put the code in its usual form
#   make clean   remove what was built; clean-all removes .venv too

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

UV_VERSION := 0.13.9
PYTHON ?= $(shell for p in python3.12 python3 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null && { echo $$p; break; }; \
  done)
BIN := .venv/bin
READY := .venv/.installed .venv/.renders
ARGS ?=

export MUJOCO_GL ?= egl
export OMP_NUM_THREADS ?= 1

.PHONY: train test check lint types bench claims lock format clean clean-all

train: $(READY)
	$(BIN)/embodied train $(ARGS)

test: $(READY) .venv/.browses
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: lint types test

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Type checkers do not follow the mapping of envs/ to embodied.envs; what is built needs none.
# Strict by pyproject.toml: --strict on the command line would undo the one exception there.
types: .venv/.installed
	rm -rf build/typed build/lib build/bdist.*
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --target build/typed .
	cd build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../mypy_cache -p embodied

bench: $(READY)
	for script in $(filter-out benchmarks/claims.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python "$$script" $(ARGS); done

claims: .venv/.installed
	$(BIN)/python benchmarks/claims.py

lock: .venv/.uv
	$(BIN)/uv pip compile --quiet --python-version 3.12 --extra dev --no-header --no-annotate \
	  --no-emit-index-url --output-file requirements.lock pyproject.toml $(ARGS)

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis

clean-all: clean
	rm -rf .venv

.venv/.uv: Makefile
	@test -n "$(PYTHON)" || { echo "error: Python 3.12 was not found; install python3.12 and python3.12-venv," \
	  "or with pyenv: pyenv install 3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "error: $(PYTHON) cannot make virtual environments; apt-get install python3.12-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

.venv/.installed: .venv/.uv requirements.lock pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

.venv/.renders: .ci/system-libraries .venv/.installed
	.ci/system-libraries $(BIN)/python
	touch $@

.venv/.browses: .ci/system-browser .venv/.uv
	.ci/system-browser
	touch $@
