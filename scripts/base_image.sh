#!/usr/bin/env bash
# Prints a tar of a Debian 12 like debian:bookworm-slim, made by debootstrap and kept in the cache: for builds that reach
# no registry. `base_image.sh FOLDER`: the folder it is kept in. Takes root, debootstrap and Debian's keyring.
set -euo pipefail
folder=$1
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${mirror%/debian}/debian-security
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

make_base() { # TAR
  debootstrap --force-check-gpg --keyring="$keyring" --variant=minbase bookworm "$root" "$mirror"
  # As the slim images have it: neither now nor by what is installed later.
  cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'END'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/info/*
END
  cat >"$root/etc/apt/sources.list" <<END
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb $security bookworm-security main
END
  # debootstrap brings the last point release, without the fixes since.
  chroot "$root" apt-get -qq update
  DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qq -y --no-install-recommends dist-upgrade
  find "$root/usr/share/doc" -type f ! -name copyright -delete
  rm -rf "$root"/usr/share/{man,locale,info}/* "$root"/var/lib/apt/lists/* "$root"/var/lib/dpkg/*-old
  rm -rf "$root"/var/cache/{apt/*,debconf/*-old} "$root"/var/log/* "$root"/tmp/* "$root/etc/hostname"
  : >"$root/etc/resolv.conf"
  tar -C "$root" --numeric-owner --sort=name --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf "$1" .
}

finish() {
  [ $? -eq 0 ] || tail -5 "$folder/debootstrap.log" >&3
  rm -rf --one-file-system "$root" "$unfinished"
}

# A new one every month, for the security updates.
base=$folder/base-$(sha256sum <"$0" | cut -c1-16)-$(date -u +%Y-%m).tar
if [ ! -s "$base" ]; then
  mkdir -p "$folder"
  root=$(mktemp -d "$folder/base.XXXXXX")
  unfinished=$root.tar
  exec 3>&2
  trap finish EXIT
  echo "base: making Debian 12 with debootstrap" >&2
  make_base "$unfinished" >"$folder/debootstrap.log" 2>&1
  mv "$unfinished" "$base"
  find "$folder" -maxdepth 1 -name 'base-*.tar' ! -path "$base" -delete
fi
echo "$base"
