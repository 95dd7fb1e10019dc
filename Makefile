# `make` alone lists the tasks. Each makes the environment that it needs on its first run.

# A Python that starts: a version manager may put names on PATH that do not.
PYTHON ?= $(shell for name in python3.11 python3; do $$name -c '' 2>/dev/null && echo $$name && break; done)
LISTEN ?= 127.0.0.1:50051
MODELS ?=
ARGS ?=

# Environments: one to develop, with PyTorch; a small one for the demo, which is ready much sooner.
# Their stamps are written last, so an installation that was interrupted is made again.
DEV := .venv/.installed
DEMO := .venv-demo/.installed
BIN := .venv/bin
STUBS := .

.DEFAULT_GOAL := help
.PHONY: help install protos format lint types test test-docker engine check demo explore learn bench train-demo browser serve build clean

help:  ## List these tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(DEV)  ## Make the development environment .venv, with PyTorch

demo: $(DEMO)  ## Show what 玩 attends to in 今天天气真好，我想出去玩; draws demo/attention.png
	@.venv-demo/bin/python -m examples.demo $(ARGS)

explore: $(DEMO)  ## Open a page to explore attention, with the demo's model and a server of its own
	@.venv-demo/bin/python -m examples.explore $(ARGS)

learn: $(DEV)  ## Learn W_Q, W_K and W_V from random matrices and serve them; writes learning/
	@$(BIN)/python -m examples.learning $(ARGS)

bench: $(DEV)  ## Measure the server beside its rivals, 2 minutes; ARGS=--full, ARGS=SCENARIO
	@$(BIN)/python -m bench $(ARGS)

serve: $(DEMO)  ## Serve on 127.0.0.1:50051; MODELS=folder LISTEN=host:port
	@.venv-demo/bin/attention-server --listen $(LISTEN) $(if $(MODELS),--models $(MODELS)) $(ARGS)

check: lint types test  ## All that must hold: lint, types and test

lint: $(DEV)  ## Check style, directions of imports and the contract
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint protos

types: $(DEV)  ## Check types with mypy --strict
	$(BIN)/mypy

test: $(DEV) browser  ## Run the tests; ARGS="-k causal" for some of them
	$(BIN)/pytest $(ARGS)

test-docker: engine $(DEV)  ## Build, run and test the container; needs a Docker engine
	$(BIN)/pytest -o faulthandler_timeout=1800 tests/docker $(ARGS)

# Tests look at pages in a real Chromium: the machine's, else Debian's, else the one that Playwright fetches.
browser: $(DEV)
	@for name in chromium chromium-browser google-chrome; do command -v $$name; done | grep -q . \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get && apt-get update -qq \
			&& apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 \
		|| $(BIN)/playwright install chromium

engine:
	@{ docker info && { docker compose version || docker-compose version; }; } >/dev/null 2>&1 \
		|| { echo 'test-docker needs a Docker engine that runs, and docker compose or docker-compose' >&2; exit 1; }

format: $(DEV)  ## Format the code and sort its imports
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

protos: $(DEV)  ## Generate the Python stubs of the contract
	cd protos && PATH="$(abspath $(BIN)):$$PATH" python -m grpc_tools.protoc --proto_path=. \
		--python_out=$(STUBS) --grpc_python_out=$(STUBS) --mypy_out=$(STUBS) --mypy_grpc_out=$(STUBS) \
		attention_service/v1/attention.proto

train-demo: $(DEV)  ## Train the demo's attention layer again and export it, some 10 minutes on 2 cores
	$(BIN)/python -m examples.demo.train $(ARGS)
	$(BIN)/python -m examples.demo.export

build: $(DEV)  ## Build the sdist, and from it the wheel, into dist/
	$(BIN)/python -m build

clean:  ## Remove environments, caches and build outputs
	rm -rf .venv .venv-demo dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -type d -name __pycache__ -prune -exec rm -rf {} +

$(DEV): pyproject.toml
	$(call environment,.venv,dev)

$(DEMO): pyproject.toml
	$(call environment,.venv-demo,demo)

# $(1) environment, $(2) extra. A dot for each package that pip turns to; its own words where it fails.
define environment
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
		|| { echo 'Python 3.10 or newer is needed: make PYTHON=/path/to/python3' >&2; exit 1; }
	@rm -f $@
	@printf 'Installing attention-service[$(2)] into $(1), once '
	@$(PYTHON) -m venv $(1)
	@{ $(1)/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
		--editable '.[$(2)]' 2>&1 && touch $@; } | tee $(1)/pip.log \
		| awk '/^(Collecting|Processing|Requirement|Installing) / { printf "."; fflush() } END { print "" }'
	@test -f $@ || { tail -n 30 $(1)/pip.log >&2; exit 1; }
endef
