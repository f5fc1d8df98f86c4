# Needs go, git, make and npm; everything else is built or fetched by these.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
GO ?= go

# need names the first program that is missing, before anything else is printed.
need = @for p in $(1); do command -v $$p >/dev/null || { echo "$$p is needed but was not found in PATH: install it and run this again" >&2; exit 1; }; done

.PHONY: help build demo test stories race lint bench soak replay fuzz clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/lockkeeper
	$(call need,$(GO) git)
	@$(GO) build -o bin/lockkeeper ./cmd/lockkeeper

FORGE ?= github

demo: ## watch it work: two clusters, a forge, a tour [FORGE=github|gitlab|gitea] [ONCE=1 ends after it]
	$(call need,$(GO) git npm)
	@$(GO) build -o bin/demo ./cmd/demo
	@exec bin/demo -forge '$(FORGE)' $(if $(ONCE),-once)

# The race detector needs cgo and a C compiler.
race = $(shell [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v "$$($(GO) env CC)" >/dev/null && echo -race)

# SQLite is C translated to Go, on memory of its own: watching its every access
# costs a quarter of the time of the bot's stories, and finds nothing of ours.
raceflags = $(if $(race),-race '-gcflags=modernc.org/...=-d=checkptr=0' '-gcflags=modernc.org/sqlite/lib=-race=false -d=checkptr=0')

# What tests run is built first, which says so and takes minutes the first time.
programs = @$(GO) run ./cluster/clustertest/build && $(GO) run ./forge/forgetest/gitea/build

# Go leaves folders called testdata out of ./...
apart = ./testdata/pinned

# Stories wait more than they work, so that more of them than cores run at a time.
test: ## run all tests, on real control planes, databases and a real Gitea
	$(call need,$(GO) git npm)
	$(programs)
	@$(GO) test -timeout 40m -p 2 -parallel 4 ./... $(apart)

stories: ## tell the stories of the bot on one forge [FORGE=github|gitlab|gitea]
	$(call need,$(GO) git npm)
	$(programs)
	@LOCKKEEPER_TEST_FORGE='$(FORGE)' $(GO) test -timeout 40m -parallel 4 ./bot

# These are about the policy, which is judged by one goroutine.
judged = '^(TestWant|TestCondition)'

race: ## run the tests with the race detector, which takes them twice as long
	$(call need,$(GO) git npm)
	@$(if $(race),,echo "the race detector needs cgo and a C compiler: install one" >&2; exit 1)
	$(programs)
	@$(GO) test $(raceflags) -skip $(judged) -timeout 40m -p 2 ./... $(apart)

lint: ## formatting, go vet, staticcheck, tidiness of go.mod, no registry host in any file
	$(call need,$(GO) git npm)
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	  [ -z "$$unformatted" ] || { echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; } >&2
	@$(GO) vet ./... $(apart)
	@$(GO) tool staticcheck ./... $(apart)
	@$(GO) mod tidy -diff
	@for host in $$( { $(GO) env GOPROXY; npm config get registry; } | grep -oE '[a-z0-9-]+(\.[a-z0-9-]+)+' | sort -u); do \
	  ! git grep -nIF "$$host" -- . || { echo "a file names a package registry: leave that to each machine" >&2; exit 1; }; \
	done

bench: ## measure speed, against kubectl and under load; figures go to bin/bench.jsonl [ARGS=flags]
	$(call need,$(GO) git npm)
	@$(GO) build -o bin/bench ./cmd/bench
	@exec bin/bench $(ARGS)

MINUTES ?= 2

soak: ## random use with random faults on two replicas: [MINUTES=n] [SEED=n] [ARGS=flags]
	$(call need,$(GO) git npm)
	@$(GO) build -o bin/soak ./cmd/soak
	@exec bin/soak -minutes $(MINUTES) $(if $(SEED),-seed $(SEED)) $(ARGS)

replay: ## replay a Git bundle as pulls: BUNDLE=path [FIRST=kubectl] [ARGS=flags]
	$(call need,$(GO) git npm)
	@[ -n "$(BUNDLE)" ] || { echo "name a bundle: make replay BUNDLE=path" >&2; exit 1; }
	@$(GO) build -o bin/replay ./cmd/replay
	@exec bin/replay -bundle "$(BUNDLE)" $(if $(FIRST),-first $(FIRST)) $(ARGS)

FUZZTIME ?= 20s

fuzz: ## run every fuzz target for FUZZTIME (20s)
	$(call need,$(GO) git)
	@git grep -lE '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u | while read -r dir; do \
	  grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$$dir"/*_test.go | cut -c6- | while read -r name; do \
	    echo "$$dir $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "./$$dir"; \
	  done; done

clean: ## remove what was built and the installed schemas
	@rm -rf bin testdata/npm/node_modules
