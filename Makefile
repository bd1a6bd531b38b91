# Every target sets up what it needs: a bare machine with Python >= 3.11, make and a network is enough.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test laws lint format bench clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

demo: $(VENV)/done  ## trains, samples and scores a diffusion model on handwritten digits: minutes on a laptop
	$(RUN) launch.py --config=configs/diffusion_digits.py --workdir=runs/diffusion_digits

test: $(VENV)/done  ## the test suite, without the slow laws
	$(RUN) -m pytest tests -n auto

laws: $(VENV)/done  ## the laws that every solver and every config obeys: slow
	$(RUN) -m pytest tests/laws -n auto --dist worksteal

lint: $(VENV)/done  ## style and imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/done  ## rewrites the code in the house style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/bench  ## speed beside peers, as ratios measured in one run
	$(RUN) -m benchmarks

clean:  ## removes what make made; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist *.egg-info

$(VENV)/done: requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "error: gen_jax needs Python 3.11 to 3.13: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "error: this Python cannot make virtual environments: install python3-venv"; exit 2; }
	@echo "installing gen_jax into $(VENV): about a minute"
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/bench: $(VENV)/done benchmarks/requirements.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@
