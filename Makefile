# The two commands of the README are `make demo` and `make test`; each does its own set-up in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check checkov bench format lock clean image docs

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed, this is " + sys.version)'
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: install python3-venv"; exit 1; }
	@touch $@

# What the program needs, and no more: a demo should not wait for the tools of the tests.
$(VENV)/.runs: $(VENV)/.python requirements/run.txt requirements/build.txt pyproject.toml
	$(BIN)/pip install --quiet --require-hashes -r requirements/build.txt -r requirements/run.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMP): $(VENV)/.runs requirements/dev.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

# Its pins would hold ours back, and it is large: an environment of its own, which only CI must have.
$(VENV)/checkov/.installed: $(VENV)/.python requirements/checkov.txt
	$(PYTHON) -m venv $(VENV)/checkov
	$(VENV)/checkov/bin/pip install --quiet --require-hashes -r requirements/checkov.txt
	@touch $@

checkov: $(VENV)/checkov/.installed ## install checkov, which looks over the manifests in `make test` where it is

demo: $(VENV)/.runs ## the story of the proxy, played on loopback
	@$(BIN)/handshake-proxy demo

test: $(STAMP) ## all tests, with the coverage bound on the core, the stores and the configuration
	@COVERAGE_FILE=.coverage $(BIN)/pytest -n 2 --dist loadgroup --cov --cov-report= $(PYTEST_ARGS)
	@$(BIN)/coverage report --fail-under=95 --include='proxy/core/*,store/*,config/*' --skip-covered

check: $(STAMP) ## lint, types, architecture, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m config.reference --check docs/configuration.md

bench: $(STAMP) ## how long the calls of the handshake API take, with a million users at the end
	$(BIN)/python -m bench.handshake $(BENCH_ARGS)

format: $(STAMP) ## apply the formatter and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## write the generated pages again
	$(BIN)/python -m config.reference docs/configuration.md

COMPILE := uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

# With the extras in it (--no-strip-extras): older pips reject `coverage[toml]` when only `coverage` has a version.
lock: ## resolve the dependencies again, with hashes (needs uv)
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra tracing -o requirements/image.txt
	$(COMPILE) pyproject.toml --extra tracing --group dev -o requirements/dev.txt
	$(COMPILE) requirements/checkov.in -o requirements/checkov.txt
	$(COMPILE) requirements/build.in -o requirements/build.txt

image: ## build the container image with docker, podman or buildah, whichever is there
	@for tool in docker podman buildah; do command -v $$tool >/dev/null && { $$tool build -t handshake-proxy .; exit; }; done; \
	  echo "none of docker, podman and buildah is installed"; exit 1

clean: ## remove what the targets made
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
