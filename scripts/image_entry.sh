#!/bin/sh
# The command `whisper-server` of the images. Numba, which librosa computes with, keeps what it has compiled in a folder: where that is
# empty, a start takes ten seconds more, where it cannot be written to, it fails. The image brings it filled (for any processor:
# NUMBA_CPU_NAME=generic); here it is put where this container may write.
mkdir -p "${TMPDIR:-/tmp}" 2>/dev/null # an empty volume has none
for folder in "${NUMBA_CACHE_DIR:-/scratch/numba}" "${TMPDIR:-/tmp}/numba" /tmp/numba /dev/shm/numba; do
  if mkdir -p "$folder" 2>/dev/null && cp -rn /opt/whisper/numba/. "$folder" 2>/dev/null; then
    export NUMBA_CACHE_DIR="$folder"
    break
  fi
done
exec /opt/whisper/bin/python -m whisper_server "$@"
