# Thin on purpose: what takes more than a few lines is a script in .ci/.
#
#   make PYTHON=python3.14 test            another interpreter
#   make test PYTEST_ARGS='-k output -x'   a part of the suite
#   make lab LAB_ARGS='--no-browser'       options of jupyter lab

PYTHON ?= python3
export PYTHON
# The suite starts kernels by the hundred, and each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
QUICKSTART := notebooks/01_quickstart.ipynb
install = @.ci/venv "$(PYTHON)" .venv $(1) -e '.[fast]' --group $(1)
# JupyterLab refuses to run as root, which is all that a container has, unless told so.
as_root = $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help lab demo test test-newest test-all lint bench bench-check bench-pythons bench-page conformance faults soak release-check reliability-page one-loop-page names-page magics-page api-page pyodide notebooks constraints docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

lab: ## open the quickstart in JupyterLab
	$(call install,lab)
	$(BIN)/python -m asyncnb._lab.build .venv/share/jupyter/labextensions
	$(BIN)/jupyter lab $(as_root) $(LAB_ARGS) $(QUICKSTART)

demo: ## run the quickstart in a real kernel, without a browser, and print what it shows
	$(call install,test)
	@$(BIN)/python tests/demo.py $(QUICKSTART)

test: ## the whole suite: newest and oldest ipykernel, and a browser
	$(call install,dev)
	@.ci/test $(PYTEST_ARGS)

test-newest: ## the whole suite with the newest releases of today, not those of .ci/constraints.txt
	ASYNCNB_NEWEST=1 $(MAKE) test

test-all: ## core and kernel tests on every Python and ipykernel supported
	@.ci/matrix

lint: ## ruff and mypy
	$(call install,dev)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: ## the benchmarks
	$(call install,dev)
	@.ci/peers $(BIN)/python >/dev/null
	$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

bench-check: ## a minute of benchmarks on 3.11 and 3.14 against the committed results, bounds generous
	$(call install,dev)
	@.ci/bench-check

bench-pythons: ## all benchmarks on 3.11, 3.13, 3.14 and 3.15, their results, and the page; an hour
	@.ci/bench-pythons

bench-page: ## the reference page on performance, from the committed results
	$(call install,dev)
	$(BIN)/python -m tests.benchmarks.page

faults: ## the table of what asyncnb survives
	$(call install,dev)
	@ASYNCNB_FAULTS=1 .ci/test tests/faults

soak: ## half an hour of a busy notebook; SOAK_ARGS='--minutes 2' is shorter
	$(call install,dev)
	$(BIN)/python -m tests.faults.soak $(SOAK_ARGS)

reliability-page: ## the reference page on reliability, from the newest faults and soak
	$(call install,dev)
	$(BIN)/python -m tests.faults.page

names-page: ## the reference page of the private names that the code relies on
	$(call install,dev)
	@$(BIN)/python -m tests.private_names_page

magics-page: ## the reference page of magics and settings, from their parsers and help
	$(call install,dev)
	@$(BIN)/python -m tests.magics_page

api-page: ## the reference page of every function and class, from their signatures and docstrings
	$(call install,dev)
	@$(BIN)/python -m tests.api_page

one-loop-page: ## the reference page of patterns with and without asyncnb: plays them all
	$(call install,dev)
	@ASYNCNB_CHROMIUM=$$(.ci/browser) $(BIN)/python -m tests.kernel.test_one_loop_patterns

conformance: ## asyncio's own tests, with asyncnb in its place, on every Python supported
	@TESTS=tests/conformance CONFORMANCE_STANDARD=1 .ci/matrix

pyodide: ## the primitives and JupyterLite's kernel in a browser's Python, in Node
	$(call install,dev)
	.ci/test tests/pyodide

notebooks: ## all tutorials under pytest-notebook and with Binder's packages; the suite runs a few so
	$(call install,dev)
	ASYNCNB_EVERY_NOTEBOOK=1 .ci/test tests/notebooks/test_second_runner.py \
	    tests/notebooks/test_elsewhere.py::test_what_binder_installs_runs_the_tutorials

constraints: ## renew .ci/constraints.txt: the releases that all of these install
	.ci/renew-constraints

release-check: ## a release without the upload: sdist, wheel, README as PyPI shows it
	@.ci/venv "$(PYTHON)" .venvs/release release --group release
	@.ci/release-check "$(CURDIR)/.venvs/release/bin/python"

docs: ## the site, from notebooks/ to .artifacts/site; a warning is an error
	$(call install,docs)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet -f .docs/mkdocs.yml

clean: ## remove the environments and all that is generated
	rm -rf .venv .venvs dist build .artifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
