# All set-up is here: `make demo` and `make test` on a fresh machine with Python 3.11 or newer.
#
#   make demo    light core into .venv, then the main job end to end on data in the repository
#   make test    what the tests need into .venv, then lint, types, layering and every test
#   make paper   remake what the committed tables say: numbers, figures and pages in paper/generated and, where TeX is,
#                the argument, paper/verigap.pdf (make results is the same)
#   make bench   measure beside what a user would use instead, into tests/benchmarks/RESULTS.md
#                (leave the machine alone meanwhile)
#   make faults kills, long runs, harmed files and runs, safeguards taken away, into tests/faults/RESULTS.md
#                (hours; goes on where it was; one part: make faults PART=kills)
#   make docs    the site, API pages included, into site/index.html; every warning is an error
#   make format  apply ruff's formatting and safe fixes

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# Data that are not part of the project; numbers derived from them are kept where they are absent.
SHARED ?= ../shared/data

.PHONY: demo test lint results paper bench faults docs format clean

demo: $(VENV)/.installed-core
	$(BIN)/verigap demo --force

# numba's cache does not notice a change in a module that a compiled one calls.
test: $(VENV)/.installed-tests lint
	rm -f theory/__pycache__/*.nb[ci] fits/__pycache__/*.nb[ci]
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

lint: $(VENV)/.installed-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

# The same source makes the same bytes: dates are fixed. Lines that stick out are errors.
results paper: $(VENV)/.installed-core
	$(BIN)/python -m paper results --shared $(SHARED)
	@command -v latexmk >/dev/null || { echo "no latexmk (Debian: latexmk texlive-latex-recommended):" \
	  "all is made but paper/verigap.pdf, which is of older numbers where these have changed"; exit 0; }; \
	cd paper/manuscript && SOURCE_DATE_EPOCH=0 FORCE_SOURCE_DATE=1 latexmk -pdf -quiet -halt-on-error \
	  -interaction=nonstopmode -outdir=../../build/manuscript verigap.tex >/dev/null 2>&1 || \
	  { grep -A5 '^!' ../../build/manuscript/verigap.log; exit 1; }; \
	! grep -E 'Overfull|undefined' ../../build/manuscript/verigap.log && \
	cp ../../build/manuscript/verigap.pdf ../verigap.pdf

bench: $(VENV)/.installed-tests
	rm -f theory/__pycache__/*.nb[ci] fits/__pycache__/*.nb[ci]
	$(BIN)/python -m tests.benchmarks.results

# atheris guides some of the fuzzing where it installs. One thread, so that forks inherit no others.
faults: $(VENV)/.installed-tests
	-$(PIP) atheris
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	  $(BIN)/python -m tests.faults.results $(if $(PART),--part $(PART))

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

format: $(VENV)/.installed-tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "verigap needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Name another: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps make re-runs instant and a changed dependency reinstall; an interrupted install leaves none.
$(VENV)/.installed-core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-tests: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) torch
	$(PIP) --editable '.[train,cluster,dev,docs]'
	@touch $@ $(VENV)/.installed-core

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site
