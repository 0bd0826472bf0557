#!/usr/bin/env bash
# Brings what the checkout needs; quick where it is there already. `setup.sh python` brings only what the demo takes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian.sh

export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} # as pip, git and apt do: proxies that sign for themselves are trusted there

lock=requirements-dev.lock
debian_packages=(shellcheck chromium openssl)

say() { echo "setup: $*" >&2; }

find_python() {
  local python
  for python in python3.11 python3 python3.12 python3.13 /usr/bin/python3; do
    if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
      "$python" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  say "needs Python 3.11 to 3.14, which Debian 12 has as python3"
  return 1
}

# The whole environment is one lock; its checksum tells whether anything changed.
install_python() {
  local stamp=.venv/lock.sha256 python
  [ -x .venv/bin/python ] && sha256sum --check --status "$stamp" 2>/dev/null && return
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null || install_debian python3-venv
  if ! .venv/bin/uv --version >/dev/null 2>&1; then
    rm -rf .venv
    "$python" -m venv .venv
    awk '/^uv==/ { inside = 1; print; next } inside && !/--hash/ { exit } inside' "$lock" >.venv/uv.lock
    .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
  fi
  say "installing the packages of $lock into .venv"
  VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip sync --quiet --require-hashes "$lock"
  VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable runtime --editable server --editable operator
  sha256sum "$lock" {runtime,server,operator}/pyproject.toml >"$stamp"
}

install_python
[ "${1:-}" = python ] || install_debian "${debian_packages[@]}"
