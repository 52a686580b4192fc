# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
# The lab makes network namespaces and boots machines: it needs root.
ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=MAMMOCTL_CACHE_DIR)
demo_options := $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)')

.PHONY: help demo test test-unit test-app test-lab test-all test-vagrant lint format docs screenshots lock clean down

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Lab up, provision, verify, train, results (DATA=folder WEIGHTS=file optional)
	@scripts/bootstrap run
	@$(ROOT) $(BIN)/mammoctl demo $(demo_options)

test: ## Everything that CI checks: lint, unit, application, lab (40 minutes at most)
	@scripts/bootstrap dev
	@scripts/run-tests lint unit programs app lab

test-all: ## make test, and what takes longer: every system, long faults (three hours)
	@scripts/bootstrap dev
	@scripts/run-tests lint unit programs app app-slow lab-all

test-unit: ## The unit tests alone (seconds, no root)
	@scripts/bootstrap dev
	@scripts/run-tests unit

test-app: ## The application's tests alone, on local Spark and TensorFlow
	@scripts/bootstrap dev
	@scripts/run-tests app

test-lab: ## The tests on a lab of real machines alone
	@scripts/bootstrap dev
	@scripts/run-tests lab

test-vagrant: ## vagrant up on emulated machines, to the end (root, libvirt; an hour or more)
	@scripts/bootstrap dev
	@$(ROOT) env $$(env | grep '^MAMMOCTL_VAGRANT_') $(BIN)/python -m pytest -v tests/vagrant

lint: ## ruff, mypy, yamllint, ansible-lint
	@scripts/bootstrap dev
	@scripts/run-tests lint

format: ## Format the Python code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

docs: ## Make the tables of docs/roles.md, docs/security.md and docs/commands.md
	@$(BIN)/python scripts/role-docs
	@$(BIN)/python scripts/command-docs

screenshots: ## Draw the pictures of the pages anew, from the lab that make demo leaves
	@$(BIN)/python scripts/screenshots -i lab

lock: ## Resolve every dependency anew
	@scripts/lock-control
	@$(BIN)/mammoctl bundle lock
	@scripts/refresh-versions

down: ## Remove the lab
	@$(ROOT) $(BIN)/mammoctl lab down

clean: ## Remove the virtual environments and build results
	rm -rf .venv .venv-node dist build .mypy_cache .ruff_cache .pytest_cache
