# Every target makes what it needs first. Each interpreter has its own environment (.venv/VERSION) and its own build
# directory (target/VERSION), so going back and forth between two of them builds nothing twice.

PYTHON ?= default
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

# rustup puts Cargo here; a shell started before it was installed does not know that.
export PATH := $(PATH):$(HOME)/.cargo/bin
export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Somebody else's packages have no place in our environment, and maturin refuses to choose between two.
unexport PYTHONPATH PYTHONHOME CONDA_PREFIX

GOALS := $(or $(MAKECMDGOALS),help)

# Interpreters are looked for only where one is needed.
ifneq ($(filter-out help clean,$(GOALS)),)
FOUND := $(shell .ci/pythons '$(PYTHON)')
ifeq ($(FOUND),)
$(error no interpreter, so nothing can be built)
endif
VERSION := $(firstword $(FOUND))
INTERPRETER := $(wordlist 2,$(words $(FOUND)),$(FOUND))
ENV := .venv/$(VERSION)
BIN := $(ENV)/bin
export VIRTUAL_ENV := $(CURDIR)/$(ENV)
export CARGO_TARGET_DIR := $(CURDIR)/target/$(VERSION)
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python

# What is installed: what the examples need, and the rest only when more is asked for than running one. Either set is
# installed by one pip: two must not work on one environment at the same time.
REQUIREMENTS := examples/requirements.txt
INSTALLED := $(ENV)/.installed-for-examples
ifneq ($(filter-out demo build,$(GOALS)),)
REQUIREMENTS += compat-tests/requirements.txt
INSTALLED := $(ENV)/.installed-for-tests
endif
ifneq ($(filter suites,$(GOALS)),)
REQUIREMENTS += compat-tests/suites/requirements.txt
INSTALLED := $(ENV)/.installed-for-suites
endif
ifneq ($(filter lint lint-types,$(GOALS)),)
REQUIREMENTS += compat-tests/lint-requirements.txt
INSTALLED := $(ENV)/.installed-for-lint
endif

$(ENV)/.made:
	"$(INTERPRETER)" -m venv --clear $(ENV)
	@touch $@

$(INSTALLED): $(REQUIREMENTS) $(ENV)/.made
	$(BIN)/python -m pip install --quiet --progress-bar off $(REQUIREMENTS:%=-r %)
	@touch $@

endif

##@ To see it work

.PHONY: demo
demo: build ## run the main example: Twisted, Tornado and asyncio on one loop
	$(BIN)/python examples/one_loop.py $(ARGS)

.PHONY: test
test: test-rust test-python ## run all tests; ARGS="-k name" is passed to pytest

##@ To work on it

.PHONY: build
build: $(INSTALLED) ## build the extension in release mode and install it, editable
	@command -v cargo >/dev/null || { echo 'No Rust toolchain found. Get one from https://rustup.rs'; exit 1; }
	$(BIN)/maturin develop --release --locked

.PHONY: test-rust
# These are programs with Python inside: they need libpython when they are linked and when they run.
test-rust: $(INSTALLED)
	libdir=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))') && \
	LD_LIBRARY_PATH="$$libdir$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}" DYLD_FALLBACK_LIBRARY_PATH="$$libdir" \
	cargo test --locked

.PHONY: test-python
test-python: build
	$(BIN)/python -m pytest $(ARGS)

.PHONY: suites
suites: build ## run others' test suites (CPython's, Twisted's, ...) on interloop; ARGS is passed to the runner
	$(BIN)/python compat-tests/suites/run.py $(ARGS)

.PHONY: bench
bench: build ## measure, against uvloop and stock asyncio; ARGS is passed to the runner
	$(BIN)/python benches/run.py $(ARGS)

.PHONY: lint lint-format lint-rust lint-python lint-types
lint: lint-format lint-rust lint-python lint-types ## formatting, clippy, ruff, mypy, pyright, and whether the stub tells the truth
lint-format: $(INSTALLED)
	cargo fmt --check
	$(BIN)/ruff format --check
lint-rust: $(INSTALLED)
	cargo clippy --locked --all-targets -- -D warnings
lint-python: $(INSTALLED)
	$(BIN)/ruff check
lint-types: build
	for version in 3.11 3.12 3.13; do \
	  $(BIN)/mypy --python-version $$version python/interloop python/twisted/plugins/interloop_reactor.py || exit 1; \
	done
	$(BIN)/stubtest --mypy-config-file pyproject.toml interloop._core
# It looks for the package where the first python on the path does. Twisted's own missing types are Twisted's.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/basedpyright --verifytypes interloop --ignoreexternal

.PHONY: format
format: $(INSTALLED) ## put the sources into the form that lint demands
	cargo fmt
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

.PHONY: clean
clean: ## remove every environment and everything built
	rm -rf .venv target dist .mypy_cache .pytest_cache .ruff_cache
	rm -f python/interloop/_core.*.so python/twisted/plugins/dropin.cache
	find python compat-tests examples benches -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help: ## show this
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@printf '\nPYTHON= picks the interpreter, by version (3.12), name (python3.12) or path. Without it: python3 if that is\nCPython 3.11 or later, else the newest found. `.ci/pythons` lists what there is.\n'
