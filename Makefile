# make demo: hear a band follow a voice. make test: the whole suite, but for make test-cluster (Ray).
# make lint: style and types. make api: the reference of the Python API.
# Each makes .venv when it is missing and installs only when pyproject.toml or constraints.txt changed.
VENV := .venv
PYTHON ?= python3
PIP := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PROMPT ?= warm acoustic guitar, soft bass, brushed drums
JOBS ?= 2

.PHONY: demo docs api test compiled test-cluster test-originals lint fluidsynth

demo: $(VENV)/.accompany-demo
	$(VENV)/bin/accompany demo --no-page -p "$(PROMPT)"

# The picture and the sounds that the README opens with.
docs: $(VENV)/.accompany-test
	mkdir -p demo
	$(VENV)/bin/python -c "from accompany.data.songs.write import sung_sample; sung_sample('demo/vocals.wav')"
	$(VENV)/bin/accompany generate demo/vocals.wav -p "$(PROMPT)" --mix --plot --out docs/take.mp3
	$(VENV)/bin/python -c "from PIL import Image; Image.open('docs/take.png').quantize(128).save('docs/take.png', optimize=True)"

# The reference of the Python API, from the docstrings: build/api/index.html.
api: $(VENV)/.accompany-test
	$(VENV)/bin/python docs/reference.py build/api

test: $(VENV)/.accompany-test fluidsynth
	$(MAKE) --no-print-directory -j 2 lint compiled
	$(VENV)/bin/python -m pytest -x -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

# What librosa would compile in every worker, once, on the core that the type checker leaves free.
compiled: $(VENV)/.accompany-test
	$(VENV)/bin/python tests/compiled.py

# The packages encodec and laion-clap against our readers of their files, in an environment of their own with the numpy
# that they want. They come without what they declare, much of which their networks do not use (torchaudio, pandas, ...).
ORIGINALS := .venv-originals
test-originals: $(ORIGINALS)/.installed
	$(ORIGINALS)/bin/python -m pytest -q -rs tests/test_original_packages.py

$(ORIGINALS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ORIGINALS)
	grep -v "^numpy\|^scipy\|^librosa\|^numba\|^llvmlite\|^scikit-learn" constraints.txt > $(ORIGINALS)/constraints.txt
	$(ORIGINALS)/bin/python -m pip install -qq --disable-pip-version-check -c $(ORIGINALS)/constraints.txt \
	  -e . "numpy<2" einops librosa pytest pytest-timeout scikit-learn torchlibrosa
	$(ORIGINALS)/bin/python -m pip install -qq --disable-pip-version-check --no-deps encodec==0.1.1 laion-clap==1.1.7
	touch $@

# A Ray cluster of two nodes on this machine, one of them, or a worker that trains, killed under way: some minutes.
test-cluster: $(VENV)/.accompany-test
	$(PIP) -e ".[cluster]"
	$(VENV)/bin/python -m pytest -x -q -m cluster tests/test_cluster.py tests/test_training_cluster.py

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
	$(PIP) -e ".[train,data,s3,synth,sound,eval,ui,docs,test]"
	touch $@

# The one system library that pip cannot bring; without it the tests that render instruments are skipped. apt's lock is
# waited for, since a fresh machine may still be installing its updates (that of its lists knows no timeout).
APT := apt-get -o DPkg::Lock::Timeout=300 -qq
fluidsynth: $(VENV)/.accompany-test
	@$(VENV)/bin/python -c "import fluidsynth" 2>/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root=none; fi; \
	if ! command -v apt-get >/dev/null; then why="there is no apt-get here"; \
	elif [ "$$as_root" = none ]; then why="it takes root: sudo apt-get install fluidsynth"; \
	else \
	  for try in $$(seq 60); do \
	    why=$$($$as_root $(APT) update 2>&1); echo "$$why" | grep -q "lists/lock" || break; sleep 5; done; \
	  why=$$why$$($$as_root $(APT) install -y --no-install-recommends fluidsynth 2>&1); fi; \
	$(VENV)/bin/python -c "import fluidsynth" 2>/dev/null || { \
	  echo "libfluidsynth is missing and could not be installed; tests that render instruments are skipped. Why:"; \
	  echo "$$why" | tail -5; }
