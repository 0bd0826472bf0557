#!/usr/bin/env bash
# Runs tests on the GPU engine with vLLM's CPU build. Where the machine cannot have that, every test is skipped with the
# reason.
#   test_vllm.sh conformance [PYTEST-ARGUMENT…]  the Engine Protocol, in the process of the tests
#   test_vllm.sh torch [PYTEST-ARGUMENT…]        the Engine Protocol on the torch engine, with the same torch, on the CPU
#   test_vllm.sh api [PYTEST-ARGUMENT…]          a server's start, death and API; TEST_ALL=1: the whole API
set -euo pipefail
cd "$(dirname "$0")/.."

no_tests_selected=5
what=$1
shift
said=$(mktemp)
trap 'rm -f "$said"' EXIT

export TEST_ENGINE=vllm
status=0
# What it says is seen as it comes, and all of it is in the file afterwards: a pipe is waited for.
TEST_PYTHON=$({ scripts/vllm_cpu.sh 2>&1 >&3 3>&- | tee "$said" >&2; } 3>&1) || status=$?
case $status in
  0)
    TEST_TORCH_IN=$("$TEST_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    export TEST_PYTHON TEST_TORCH_IN
    ;;
  3) TEST_ENGINE_MISSING=$(tail -1 "$said") && export TEST_ENGINE_MISSING ;;
  *) exit $status ;;
esac

# Threads of torch that wait in a loop take the cores from the other lane: the two conformance steps side by side took 389 CPU s so,
# 154 where they sleep.
export OMP_WAIT_POLICY=PASSIVE KMP_BLOCKTIME=0
# Each start with an empty cache imports vLLM once more, in a process that only looks at the model's class: 11 of 37 CPU s.
[ -z "${TEST_PYTHON:-}" ] || export TEST_VLLM_CACHE=${TEST_PYTHON%/bin/python}/cache
status=0
limit=--override-ini=timeout=900
case $what in
  conformance) "${TEST_PYTHON:-.venv/bin/python}" -m pytest tests/conformance -W default "$limit" "$@" || status=$? ;;
  torch) TEST_ENGINE=torch "${TEST_PYTHON:-.venv/bin/python}" -m pytest tests/conformance -W default "$limit" "$@" || status=$? ;;
  api) .venv/bin/pytest tests/server/engines/test_{vllm_sampler,vllm_encoder,gpu_attention}.py tests/vllm/test_vllm_start.py tests/api tests/vllm/test_vllm_death.py "$limit" "$@" || status=$? ;;
  *) echo "test_vllm.sh: conformance, torch or api, not $what" >&2 && exit 2 ;;
esac
[ $status -eq $no_tests_selected ] || exit $status
