# The two commands of the README are `make demo` and `make test`; each does its own set-up in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check checkov bench bench-quick bench-hitpath bench-sizing bench-shared bench-webhooks bench-refresher bench-fleet crash conformance soak format lock clean image test-image docs dashboards fuzz audit sbom

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

$(VENV)/audit/.installed: $(VENV)/.python requirements/audit.txt
	$(PYTHON) -m venv --clear $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet --require-hashes -r requirements/audit.txt
	@touch $@

$(VENV)/sbom/.installed: $(VENV)/.python requirements/sbom.txt
	$(PYTHON) -m venv --clear $(VENV)/sbom
	$(VENV)/sbom/bin/pip install --quiet --require-hashes -r requirements/sbom.txt
	@touch $@

$(VENV)/.fuzzes: $(VENV)/.runs requirements/fuzz.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements/fuzz.txt
	@touch $@

demo: $(VENV)/.runs ## the story of the proxy, played on loopback
	@$(BIN)/handshake-proxy demo

# Many tests wait, for a time-out or for a process of theirs: a developer's run has two workers a core.
WORKERS ?= $(if $(CI),logical,$(shell echo $$(($$(getconf _NPROCESSORS_ONLN) * 2))))
# A file's tests stay together, for they share what is dear to start. In the order of the names, the small ones are last.
PYTEST := $(BIN)/pytest --maxprocesses 8 --dist loadfile --no-loadscope-reorder
# Measuring it takes half as long again; CI does, and `make test COVERAGE=yes`.
COVERAGE ?= $(CI)
BOUND    := $(BIN)/coverage report --fail-under=95 --include='proxy/core/*,store/*,config/*' --skip-covered

# What Python compiles is kept, whatever the environment says: else each worker, and each process that a test starts,
# would compile all of it again.
test test-slow: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP) ## all tests; in CI with more examples of each property, and the coverage bound on core, stores, configuration
	@COVERAGE_FILE=.coverage $(PYTEST) -n $(WORKERS) \
	  $(if $(COVERAGE),--cov --cov-report=) $(PYTEST_ARGS)
	@$(if $(COVERAGE),$(BOUND))

check: $(STAMP) ## lint, types, architecture, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m config.reference --check docs/configuration.md
	$(BIN)/python -m proxy.api_reference --check docs/api.md
	$(BIN)/python -m k8s.generate --check

bench: $(STAMP) ## this proxy beside nginx, HAProxy, Varnish and Squid, and all other figures (Linux; needs wrk)
	@$(BIN)/python -m bench --json docs/benchmark.json --svg docs/benchmark.svg $(BENCH_ARGS); code=$$?; \
	  [ $$code -gt 1 ] || $(BIN)/python -m bench.readme docs/benchmark.json README.md || exit 2; exit $$code

bench-quick: $(STAMP) ## the comparison with the peers in about a minute: too short to judge
	$(BIN)/python -m bench.peers --quick $(BENCH_ARGS)

bench-hitpath: $(STAMP) ## where the microseconds of a hit go, without the kernel
	$(BIN)/python -m bench.hitpath $(BENCH_ARGS)

bench-sizing: $(STAMP) ## memory, processor time, disk and descriptors, of which docs/sizing.md is made
	$(BIN)/python -m bench.sizing $(BENCH_ARGS)

bench-shared: $(STAMP) ## what PostgreSQL costs beside SQLite, hits, misses and changes, on a server of its own
	$(BIN)/python -m bench.shared $(BENCH_ARGS)

bench-webhooks: $(STAMP) ## what an event costs, with data and without, and how many are taken a second
	$(BIN)/python -m bench.webhooks $(BENCH_ARGS)

bench-refresher: $(STAMP) ## what the refresher is worth, in simulated time: some four minutes
	$(BIN)/python -m bench.refresher

bench-fleet: $(STAMP) ## a simulation of 1 to 1,000 replicas, of which docs/fleet.md is made: some eight minutes
	$(BIN)/python -m bench.fleet --json docs/fleet.json --svg docs/fleet.svg --page docs/fleet.md $(BENCH_ARGS)

SOAK_SECONDS ?= 600
SOAK_SEED    ?= 1

soak: $(STAMP) ## mixed traffic with faults for SOAK_SECONDS, every answer checked, and memory, descriptors, tasks
	$(BIN)/python -m bench.soak --seconds $(SOAK_SECONDS) --seed $(SOAK_SEED) $(SOAK_ARGS)

FUZZ_SECONDS ?= 60

fuzz: $(VENV)/.fuzzes ## each parser against arbitrary bytes for FUZZ_SECONDS (Linux on x86-64; FUZZ_ARGS="--keep TARGET …")
	$(BIN)/python -m fuzz.campaign --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

AUDITED := run image dev build sbom

audit: $(VENV)/audit/.installed ## ask of each pinned release whether a vulnerability is known (AUDIT_ARGS="--service osv")
	$(BIN)/python -m supply.audit --program $(VENV)/audit/bin/pip-audit $(AUDIT_ARGS) $(AUDITED:%=requirements/%.txt)

# As the Dockerfile does it: from what was installed.
sbom: $(VENV)/sbom/.installed ## list what the image would hold, in build/handshake-proxy.cdx.json (CycloneDX)
	$(PYTHON) -m venv --clear $(VENV)/image
	$(VENV)/image/bin/pip install --quiet --require-hashes -r requirements/image.txt
	$(VENV)/image/bin/pip uninstall --quiet --yes pip setuptools
	mkdir -p build
	$(VENV)/sbom/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
	  --output-file build/handshake-proxy.cdx.json $(VENV)/image

CRASH_KILLS ?= 100
CRASH_SEED  ?= 1

crash: $(STAMP) ## kill the proxy under load 100 times (CRASH_KILLS, CRASH_SEED), and see what it remembers
	@$(BIN)/python -m tests.crash --kills $(CRASH_KILLS) --seed $(CRASH_SEED) $(CRASH_ARGS)

conformance: $(STAMP) ## an independent suite of HTTP caching against the proxy: what passes, and what fails with its reason
	@$(BIN)/python -m tests.conformance

format: $(STAMP) ## apply the formatter and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## write the generated pages again
	$(BIN)/python -m config.reference docs/configuration.md
	$(BIN)/python -m proxy.api_reference docs/api.md

dashboards: $(STAMP) ## write the dashboard and the operator's alerting rules again
	$(BIN)/python -m k8s.generate

COMPILE := uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

# With the extras in it (--no-strip-extras): older pips reject `coverage[toml]` when only `coverage` has a version.
lock: ## resolve the dependencies again, with hashes (needs uv)
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra tracing --extra postgres -o requirements/image.txt
	$(COMPILE) pyproject.toml --extra tracing --extra postgres --group dev -o requirements/dev.txt
	$(COMPILE) requirements/checkov.in -o requirements/checkov.txt
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) requirements/sbom.in -o requirements/sbom.txt
	$(COMPILE) requirements/fuzz.in -o requirements/fuzz.txt
	$(COMPILE) requirements/audit.in -o requirements/audit.txt

# An engine that is installed but does not run is passed over, such as a docker command without its daemon. The two that
# are not docker write HEALTHCHECK down in its format alone. BUILD_ARGS goes to the build: --pull-never, --secret, …
VERSION  := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE    ?= handshake-proxy:$(VERSION)
BUILDER  ?= docker podman buildah
REVISION  = $(shell git describe --always --abbrev=40 --exclude='*' --dirty 2>/dev/null || echo unknown)
CREATED   = $(shell date -u +%Y-%m-%dT%H:%M:%SZ)

image: ## build the container image with docker, podman or buildah, whichever works here
	@for builder in $(BUILDER); do \
	  $$builder info >/dev/null 2>&1 || continue; \
	  echo "building $(IMAGE) with $$builder"; \
	  exec env BUILDAH_FORMAT=docker $$builder build --tag $(IMAGE) --build-arg VERSION=$(VERSION) \
	    --build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED) \
	    $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) $(BUILD_ARGS) .; \
	done; \
	echo "no image was built: none of $(BUILDER) is installed and works (\`docker info\` and so on says why)" >&2; exit 1

test-slow: $(STAMP) ## what takes minutes: kills, restarts, floods and a short soak of real processes
	@$(PYTEST) -n logical -m slow $(PYTEST_ARGS)

test-image: $(STAMP) ## the image and the pod for real (needs root, buildah, debootstrap, podman, runc, catatonit)
	@$(BIN)/pytest -m image tests/image $(PYTEST_ARGS)

clean: ## remove what the targets made
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
