# make help lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

SAMPLE ?= cart
SEEDS ?= 20
FUZZTIME ?= 20s

# The tools are pinned in modules of their own, so that they do not become dependencies of ours.
BUF := go tool -modfile=../../.ci/tools/go.mod buf
GOLANGCI := go tool -modfile=.ci/lint/go.mod golangci-lint

# Packages whose tests start no Dapr.
UNIT = $(shell go list ./... | grep -vE '/tests/(e2e|crash|harness|quickstart|tck)(/|$$)')

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} \
		/^## / {printf "\n%s\n", substr($$0, 4)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## See it

.PHONY: run
run: bin/quickstart ## Bring up Dapr, the component and a sample, show them, stay until Ctrl-C: make run SAMPLE=presence
	@exec bin/quickstart -sample $(SAMPLE) -stay

.PHONY: demo
demo: bin/quickstart ## The same without staying; fails unless every reply was as expected
	@exec bin/quickstart -sample $(SAMPLE)

# Always asked, since go build knows best what has changed. A binary, because go run passes no SIGTERM on.
.PHONY: bin/quickstart
bin/quickstart:
	@go build -o $@ ./tests/quickstart

.PHONY: build
build: ## Build the component into bin/entities
	go build -o bin/entities ./component/cmd/entities

## Test it

.PHONY: test
test: ## Run all tests, installing what they need (PostgreSQL) and building Dapr if it is not installed
	@.ci/test

.PHONY: unit
unit: ## Run the tests that start no Dapr, with the race detector
	go test -race $(UNIT)

.PHONY: e2e
e2e: tools ## Run the end-to-end tests against a real daprd
	go test -count=1 -timeout 20m ./tests/harness/... ./tests/quickstart/... ./tests/tck/... ./tests/e2e/...

.PHONY: tck
tck: ## Run the conformance cases, or those of a user function alone: make tck SERVICE=localhost:8080
ifdef SERVICE
	TCK_SERVICE=$(SERVICE) go test -count=1 -v -run '^TestService$$' ./tests/tck
else
	@go run ./tests/harness/tools daprd placement scheduler
	go test -count=1 -v -timeout 10m ./tests/tck
endif

.PHONY: conformance
conformance: tools ## Run the conformance suites of Dapr's components-contrib against the component
	cd tests/conformance && go test -count=1 -v -timeout 10m ./...

.PHONY: crash
crash: tools ## Kill processes under load and check the history: make crash SEEDS=20
	SEEDS=$(SEEDS) go test -count=1 -v -timeout 3h ./tests/crash/...

.PHONY: simulate
simulate: ## Simulate clusters of replicated entities, one run for each seed: make simulate SEEDS=100000
	REPLICA_SEEDS=$(SEEDS) CRDT_SEEDS=$(SEEDS) go test -count=1 -v -timeout 12h -run '^(TestSimulation|TestSlots)$$' ./actors/replica/node ./crdt

.PHONY: older-dapr
older-dapr: ## Host entities over the app channel of Dapr 1.16, which is built first
	@go run ./tests/harness/tools older
	ENTITIES_OLDER_DAPR=true go test -count=1 -v -timeout 10m -run '^TestAppChannel$$' ./tests/e2e

.PHONY: fuzz
fuzz: ## Fuzz every decoder for a while: make fuzz FUZZTIME=5m
	@for package in $(UNIT); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: bench
bench: tools ## Measure against plain Dapr, as one table
	go run ./tests/bench

## Change it

.PHONY: lint
lint: ## Run the linters; .golangci.yml says which, and why not the others
	$(GOLANGCI) run ./...

.PHONY: generate
generate: ## Generate Go from the .proto files
	cd sdk/protocol && $(BUF) generate
	go generate ./...

# Compares with what was there before rather than with a commit, so that it serves while one works, too.
.PHONY: check-generate
check-generate: ## Fail if generate changes anything
	@before=$$(mktemp) && after=$$(mktemp) && trap 'rm -f "$$before" "$$after"' EXIT && \
		$(FINGERPRINT) >"$$before" && $(MAKE) generate && $(FINGERPRINT) >"$$after" && \
		{ diff "$$before" "$$after" || { echo "Generated code is not up to date: run make generate and commit what it changes." >&2; exit 1; }; }

FINGERPRINT = find . \( -path ./.git -o -path ./.cache -o -path ./bin \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum

.PHONY: vet-modules
vet-modules: ## Check the nested modules: sums, and vet where there is code
	@for module in $$(find . -mindepth 2 -name go.mod -not -path '*/testdata/*' | sort); do \
		( cd "$$(dirname "$$module")" && echo "$$module" && go mod verify >/dev/null && \
			if [ -n "$$(go list ./... 2>/dev/null)" ]; then go vet ./...; fi ); \
	done

.PHONY: tools
tools: ## Build Dapr's programs into the cache, if they are neither installed nor there
	@go run ./tests/harness/tools daprd placement scheduler

.PHONY: clean
clean: ## Remove what was built here (Dapr's programs stay in the user's cache)
	rm -rf bin .cache
