#!/usr/bin/env bash
# Checks the GPU engine on a machine with one GPU in less than ten minutes: is it right, is it as fast as it was?
#   bench/gpu_check.sh OUT_FOLDER     with vLLM and what tests/kit needs on PYTHONPATH; GPU_PY=python3
# 1. answers   this server on the demo model, 200 sentences as verbose_json with words  → OUT/answers.json, answers.txt (WER)
# 2. speed     turbo's shape with random weights beside vLLM's own server, in one run   → OUT/turbo.json, turbo.md
# 3. pieces    sampler, log-mel and encoder alone                                       → OUT/pieces.txt
# Every step runs, whatever the one before gave; the exit status is 1 if one failed. Compare the answers with those of the
# CPU engine by `bench/same_answers.py compare`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

out=${1:?usage: bench/gpu_check.sh OUT_FOLDER}
python=${GPU_PY:-python3}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
export PYTHONPATH=$PWD/server:$PWD/tests/kit${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
failed=()
server=
trap '[ -z "$server" ] || kill -9 -- "-$server" 2>/dev/null; rm -rf "$work"' EXIT

is_ready() { # URL
  "$python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1" 2>/dev/null
}

answers() {
  local port=18700 code=0 began=$SECONDS
  # A process group of its own, so that the trap above ends all of it.
  INTERFACE=127.0.0.1 PORT=$port MODEL_ID=demo ENGINE=vllm VLLM_GPU_MEMORY_UTILIZATION=0.3 DRAIN_SECONDS=0 \
    MODEL_CACHE_DIR=$work/cache setsid "$python" -m whisper_server >"$out/server.log" 2>&1 &
  server=$!
  until is_ready "http://127.0.0.1:$port/ready"; do
    if ! kill -0 "$server" 2>/dev/null || [ $((SECONDS - began)) -gt 300 ]; then
      echo "the server has ended or is not ready after 300 s:" && tail -20 "$out/server.log" && return 1
    fi
    sleep 0.5
  done
  echo "ready after $((SECONDS - began)) s"
  "$python" bench/same_answers.py collect "http://127.0.0.1:$port" "$out/answers.json" --clients 32 || return 1
  "$python" bench/same_answers.py compare "$out/answers.json" "$out/answers.json" || return 1
  kill -TERM "$server"
  wait "$server" || code=$?
  server=
  echo "exit status after SIGTERM: $code"
  [ "$code" -eq 0 ]
}

speed() {
  "$python" bench/gpu_beside_vllm.py turbo --servers vllm,best --measure json,alone --warm-up 10 --seconds 15 \
    --work "$work/bench" --results "$out/turbo"
}

step() { # NAME
  echo "== $1, $(date -u +%T)"
  "$1" > >(tee "$out/$1.txt") 2>&1 || failed+=("$1")
}

pieces() { timeout 90 "$python" bench/gpu_pieces.py; }

step answers
step speed
step pieces
echo "== $SECONDS s; failed: ${failed[*]:-none}"
[ ${#failed[@]} -eq 0 ]
