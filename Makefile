# make demo: hear a band follow a voice. make test: the whole suite, but for make test-cluster (Ray).
# make lint: style and types.
# Each makes .venv when it is missing and installs only when pyproject.toml or constraints.txt changed.
VENV := .venv
PYTHON ?= python3
PIP := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PROMPT ?= warm acoustic guitar, soft bass, brushed drums
JOBS ?= 2

.PHONY: demo test test-cluster lint fluidsynth

demo: $(VENV)/.accompany-demo
	mkdir -p demo
	$(VENV)/bin/python -c "from accompany.data.songs.write import sung_sample; sung_sample('demo/vocals.wav')"
	$(VENV)/bin/accompany generate demo/vocals.wav -p "$(PROMPT)" --mix --out demo/accompaniment.wav
	@echo "The voice:          demo/vocals.wav"
	@echo "The band:           demo/accompaniment.wav"
	@echo "Both together:      demo/accompaniment.mix.wav"

test: $(VENV)/.accompany-test fluidsynth lint
	$(VENV)/bin/python -m pytest -x -q -n $(JOBS)

# A Ray cluster of two nodes on this machine, one of them killed under way: a minute or two.
test-cluster: $(VENV)/.accompany-test
	$(PIP) -e ".[cluster]"
	$(VENV)/bin/python -m pytest -x -q -m cluster tests/test_cluster.py

lint: $(VENV)/.accompany-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.accompany-demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[synth]"
	touch $@

$(VENV)/.accompany-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[train,data,synth,eval,test]"
	touch $@

# The one system library that pip cannot bring; without it the tests that render instruments are skipped.
fluidsynth: $(VENV)/.accompany-test
	@$(VENV)/bin/python -c "import fluidsynth" 2>/dev/null || \
	  { install="apt-get install -y --no-install-recommends fluidsynth"; \
	    if [ "$$(id -u)" = 0 ]; then apt-get update -qq; $$install; \
	    elif sudo -n true 2>/dev/null; then sudo -n apt-get update -qq; sudo -n $$install; fi; } >/dev/null 2>&1 || \
	  echo "libfluidsynth is missing and cannot be installed here; tests that render instruments are skipped"
