#!/usr/bin/env bash
# Sourced by scripts that need packages of Debian. They have a `say` of their own.

# APT-PACKAGE…: installs those that are missing, or says what to install.
install_debian() {
  local missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) == *'ok installed' ]] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ]; then
    say "needs Debian packages, run as root: apt-get install ${missing[*]}"
    return 1
  fi
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local options=(-qq -y --no-install-recommends -o DPkg::Lock::Timeout=300)
  apt-get "${options[@]}" install "${missing[@]}" >/dev/null 2>&1 ||
    { apt-get -qq update >/dev/null && apt-get "${options[@]}" install "${missing[@]}" >/dev/null; }
}
