#!/usr/bin/env bash
# Runs the API tests, those of tests/vllm and those of tensors on the GPU engine with vLLM's CPU build. Where the machine
# cannot have that, every test is skipped with the reason.
#   test_vllm.sh [PYTEST-ARGUMENT…]
set -euo pipefail
cd "$(dirname "$0")/.."

no_tests_selected=5
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

status=0
.venv/bin/pytest tests/server/engines/test_vllm_{rules,encoder}.py tests/vllm tests/api -o timeout=900 --durations=10 "$@" || status=$?
[ $status -eq $no_tests_selected ] || exit $status
