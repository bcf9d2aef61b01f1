# The two commands of the README are `make demo` and `make test`; each does its own set-up in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check bench format lock clean image docs

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed, this is " + sys.version)'
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## the story of the proxy, played on loopback
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

lock: $(STAMP) ## resolve the dependencies again, with hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make lock' pyproject.toml -o requirements/run.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make lock' pyproject.toml --group dev -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make lock' requirements/build.in -o requirements/build.txt

image: ## build the container image with docker, podman or buildah, whichever is there
	@for tool in docker podman buildah; do command -v $$tool >/dev/null && { $$tool build -t handshake-proxy .; exit; }; done; \
	  echo "none of docker, podman and buildah is installed"; exit 1

clean: ## remove what the targets made
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
