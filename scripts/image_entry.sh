#!/bin/sh
# The command `whisper-server` of the images.
mkdir -p "${TMPDIR:-/tmp}" 2>/dev/null # an empty volume has none
exec /opt/whisper/bin/python -m whisper_server "$@"
