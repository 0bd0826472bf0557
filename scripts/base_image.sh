#!/usr/bin/env bash
# Prints a tar of a Debian 12 like debian:bookworm-slim, made by debootstrap and kept in the cache: for builds that reach no registry.
# `base_image.sh FOLDER`: the folder it is kept in. Takes root.
set -euo pipefail
folder=$1
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

key=$(sha256sum "$0" | cut -c1-16)
base=$folder/base-$key.tar
if [ ! -s "$base" ]; then
  mkdir -p "$folder"
  root=$(mktemp -d "$folder/base.XXXXXX")
  trap 'rm -rf --one-file-system "$root"' EXIT
  echo "base: making Debian 12 with debootstrap" >&2
  debootstrap --variant=minbase bookworm "$root" "$mirror" >"$folder/debootstrap.log" 2>&1 ||
    { tail -5 "$folder/debootstrap.log" >&2 && exit 1; }
  # As the slim images have it: neither now nor by what is installed later.
  cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'END'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/info/*
END
  find "$root"/usr/share/doc -type f ! -name copyright -delete
  rm -rf "$root"/usr/share/{man,locale,info}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* "$root"/tmp/*
  echo "deb $mirror bookworm main
deb $mirror bookworm-updates main
deb ${mirror%/debian}/debian-security bookworm-security main" >"$root/etc/apt/sources.list"
  : >"$root/etc/resolv.conf" && rm -f "$root/etc/hostname"
  tar -C "$root" --numeric-owner --sort=name --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf "$base.unfinished" .
  mv "$base.unfinished" "$base"
  find "$folder" -maxdepth 1 -name 'base-*.tar' ! -path "$base" -delete
fi
echo "$base"
