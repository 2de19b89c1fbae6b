# make verify      set up, then the main job on a real network and real samples
# make test        set up, then the test suite (minutes); make test-full: with the complete counts and slow cases
# make check       linter, formatter, type checker, import contracts
# make docs        set up with what documentation needs, then the site in site/, every block of code on it, and its checks
#                  (axe-core on some pages; FULL=1: on all of them, light and dark)
# make bench       set up, then every default workload with its baselines (hours): benchmarks/RESULTS.md; make bench-quick: minutes
# make setup       the environment alone: .venv/ in this checkout
# make clean       remove the environment and every cache
#
# PYTHON=python3.12 picks the interpreter. PIP_FLAGS is handed to pip, for example --find-links with a folder of wheels
# that holds a CPU build of torch. BENCH='iris-30 --repeats 5' is handed to the runner of the benchmarks.

PYTHON ?= python3
PIP_FLAGS ?=
TEST_JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
STAMP_DOCS := $(VENV)/.ready-docs

.PHONY: verify test test-full check docs bench bench-quick setup clean
.DELETE_ON_ERROR:

verify: $(STAMP)
	$(BIN)/wdaverify verify models/digits_16x16.onnx models/digits_16x16.npz --radius 0.05 --samples 20

test: $(STAMP)
	$(BIN)/python -m pytest -m "not full" -n $(TEST_JOBS)

test-full: $(STAMP)
	$(BIN)/python -m pytest -n $(TEST_JOBS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest documentation/tests $(if $(FULL),,-m "not full") -n $(TEST_JOBS)

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py $(BENCH)

bench-quick: $(STAMP)
	$(BIN)/python benchmarks/run.py --quick $(BENCH)

setup: $(STAMP)

clean:
	rm -rf $(VENV) site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f wdaverify/compiled/*.so
	find wdaverify tests documentation models benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# A torch that is already in the environment and new enough is kept, CPU build or not: it is pinned as it is, and the pins
# of what it requires are left out, so that they cannot force another one in.
KEPT_TORCH = $(shell $(BIN)/python -c 'from importlib.metadata import version; v = version("torch"); \
  print(v if tuple(map(int, v.split(".")[:2])) >= (2, 2) else "")' 2>/dev/null)
TORCH_NEEDS := torch|filelock|typing_extensions|setuptools|sympy|mpmath|networkx|Jinja2|MarkupSafe|fsspec

$(STAMP): pyproject.toml constraints.txt $(wildcard wdaverify/compiled/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "wdaverify needs Python 3.11 or newer, and $(PYTHON) is not: try make PYTHON=python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) \
	  || { echo "cannot make $(VENV): is the venv module there? (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@cp constraints.txt $(VENV)/constraints.txt
	@kept='$(KEPT_TORCH)'; test -z "$$kept" || { echo "keeping torch $$kept"; \
	  { grep -v -E '^($(TORCH_NEEDS))==' constraints.txt; echo "torch==$$kept"; } >$(VENV)/constraints.txt; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c $(VENV)/constraints.txt -e '.[test,dev,bench]'
	@touch $@

$(STAMP_DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c $(VENV)/constraints.txt -e '.[docs]'
	@touch $@
