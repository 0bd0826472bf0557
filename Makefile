# The same commands for people and for CI. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Some container images forbid bytecode: then each process compiles its imports, 23 instead of 11 CPU s to collect tests/api.
export PYTHONDONTWRITEBYTECODE :=
PY := .venv/bin
SHELL_SCRIPTS := scripts/*.sh .ci/run
PYTEST_ARGS ?=
BENCH_ARGS ?=
NODES ?= simulated

.PHONY: help setup python demo test test-all vllm cluster e2e fuzz check audit build push release generate bench bench-accuracy bench-reference bench-diarization bench-gpu soak cluster-up cluster-down

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

setup: ## bring all that work on the project takes into .venv and, as root, from Debian
	@scripts/setup.sh

python:
	@scripts/setup.sh python

demo: python ## start the server on Whisper base, transcribe a recording, or FILE=yours, with OpenAI's client
	@$(PY)/python demo/demo.py $${FILE:+"$$FILE"}

test: setup ## all tiers, in two lanes at once; names what it skips, with the reason
	@PYTHONPATH=tests/kit $(PY)/python -m suite_kit test $(PYTEST_ARGS)

test-all: setup ## before a release: the same, with long waits, the test bed's own tests and all API tests on vLLM
	@PYTHONPATH=tests/kit $(PY)/python -m suite_kit all $(PYTEST_ARGS)

vllm: setup ## the Engine Protocol and some API tests on the GPU engine, with vLLM's CPU build
	@scripts/test_vllm.sh conformance $(PYTEST_ARGS)
	@scripts/test_vllm.sh api $(PYTEST_ARGS)

cluster: setup ## the operator on real control planes with simulated nodes, one cluster per worker
	@$(PY)/pytest tests/cluster -n3 --dist=loadfile $(PYTEST_ARGS)

e2e: setup ## images, a real node, a real Ingress, OpenAI's clients, rollouts and faults under load
	@$(PY)/pytest tests/e2e $(PYTEST_ARGS)

FUZZ_TIMES ?= 100
fuzz: python ## wav and ogg readers, forms and the decoder pool on mutated files: FUZZ_TIMES times as many as in `make test`
	@FUZZ_TIMES=$(FUZZ_TIMES) $(PY)/pytest tests/fuzz --override-ini=timeout=0 -p no:cacheprovider $(PYTEST_ARGS)

check: setup ## style, types, layers, locks
	$(PY)/ruff check
	$(PY)/ruff format --check
	$(PY)/mypy
	$(PY)/lint-imports --no-cache
	shellcheck $(SHELL_SCRIPTS)
	scripts/lock.sh --check
	$(PY)/python scripts/count_mannerisms.py --max 10

audit: python ## known vulnerabilities of the locked packages; says so where no service can be asked
	@$(PY)/python scripts/audit.py $(AUDIT_ARGS)

build: ## the images; TARGETS="cpu torch gpu operator", IMAGE=registry/prefix, BASE_IMAGE=…
	@IMAGE="$(IMAGE)" BASE_IMAGE="$(BASE_IMAGE)" scripts/build.sh $(TARGETS)

push: ## those that are built, to IMAGE=registry/prefix
	@IMAGE="$(IMAGE)" scripts/build.sh push $(TARGETS)

release: python ## images and charts with SBOMs and signatures, to IMAGE=… and CHARTS=…; RELEASE_ARGS=--dry-run publishes nothing
	@IMAGE="$(IMAGE)" CHARTS="$(CHARTS)" TARGETS="$(TARGETS)" scripts/release.sh $(RELEASE_ARGS)

generate: python ## write what comes from the code: CRD, schemas, tables, API reference
	@$(PY)/python scripts/generate.py
	@$(PY)/python scripts/generate_charts.py
	@$(PY)/python scripts/generate_docs.py

bench: python ## throughput and latencies over HTTP, alone and beside faster-whisper
	@PYTHONPATH=demo:tests/kit $(PY)/python bench/side_by_side.py
	@PYTHONPATH=tests/kit $(PY)/python bench/load.py $(BENCH_ARGS)

bench-accuracy: python ## word errors on human voices beside faster-whisper and openai/whisper: BENCH_ARGS="--size tiny|small|full"
	@PYTHONPATH=demo:tests/kit $(PY)/python bench/accuracy.py $(BENCH_ARGS)

bench-reference: python ## features, tokens and words' times beside openai/whisper's own package, window by window
	@PYTHONPATH=demo:tests/kit $(PY)/python bench/reference.py $(BENCH_ARGS)

bench-diarization: python ## who speaks when, on human voices: BENCH_ARGS="--set tuning|testing --hour"
	@PYTHONPATH=demo:tests/kit $(PY)/python bench/diarization.py $(BENCH_ARGS)

GPU_PY ?= python3
bench-gpu: ## beside vLLM's own server, in one run; needs a GPU and the extra `vllm`: BENCH_ARGS="turbo", GPU_PY=python3
	@PYTHONPATH="tests/kit$${PYTHONPATH:+:$$PYTHONPATH}" $(GPU_PY) bench/gpu_beside_vllm.py $(or $(BENCH_ARGS),turbo)

soak: python ## hours in minutes: the server's memory, a thousand endpoints, the operator killed 200 times
	@PYTHONPATH=tests/kit $(PY)/python bench/soak.py
	@SOAK_HANG_UPS=500 SOAK_UNREAD_ANSWERS=3000 $(PY)/pytest tests/server/http/test_abandoned_memory.py tests/server/http/test_unread_answers.py
	@PYTHONPATH=operator:tests/kit:tests/cluster $(PY)/python bench/operator_scale.py --check
	@WHISPER_KILLS=200 $(PY)/pytest -s tests/cluster/test_level_triggered.py
	@WHISPER_STILL_SECONDS=600 $(PY)/pytest tests/cluster/test_reconcile_live.py -k nothing_is_written
	@WHISPER_ROLLOUTS=20 $(PY)/pytest tests/e2e/test_rollouts.py -k one_after_the_other
	@WHISPER_SPEAKERS=20 $(PY)/pytest tests/e2e/test_realtime_rollout.py

cluster-up: python ## a Kubernetes on this machine, with simulated GPU nodes or NODES=real; prints what to export
	@NODES="$(NODES)" PYTHONPATH=tests/cluster:tests/kit $(PY)/python -m cluster_kit up

cluster-down: python ## end it, and delete all that it made
	@PYTHONPATH=tests/cluster:tests/kit $(PY)/python -m cluster_kit down
