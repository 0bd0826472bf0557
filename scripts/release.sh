#!/usr/bin/env bash
# Publishes what is checked out: images and charts, each with an SBOM (CycloneDX) and a signature. docs/security.md says
# how to verify them.
#   release.sh                 IMAGE=registry/prefix and CHARTS=registry/prefix say where to; TARGETS="cpu torch gpu operator";
#                              COSIGN_KEY=… signs with a key, else cosign asks for an identity (keyless)
#   release.sh --dry-run [ARCHIVE…]  pushes and signs nothing: packs the charts and writes their SBOMs and those of the
#                              archives (scripts/build.sh archives), and prints each command that it leaves out
# All that it writes is in release/. It takes syft, cosign and helm (HELM=… says where that is).
set -euo pipefail
cd "$(dirname "$0")/.."

out=release
charts=(whisper-operator whisper-endpoints)
targets=${TARGETS:-cpu torch gpu operator}
helm=${HELM:-helm}
python=.venv/bin/python
key=()
[ -z "${COSIGN_KEY:-}" ] || key=(--key "$COSIGN_KEY")
is_dry=
if [ "${1:-}" = --dry-run ]; then
  is_dry=1
  shift
fi

say() { echo "release: $*" >&2; }
refuse() { say "$*" && exit 1; }

# Runs a command that others can see the effect of, or says that it would.
act() {
  if [ -n "$is_dry" ]; then
    say "would run: $*"
  else
    "$@"
  fi
}

has() { command -v "$1" >/dev/null; }

version() { sed -n 's/^version: //p' "charts/${charts[0]}/Chart.yaml"; }

check() {
  has "$helm" || refuse "needs helm: HELM=… says where it is"
  [ -n "$is_dry" ] && return
  [ $# -eq 0 ] || refuse "archives are for --dry-run only: a release pushes what it has built"
  [ -n "${IMAGE:+${CHARTS:-}}" ] || refuse "say where to: IMAGE=registry.example.com/team CHARTS=registry.example.com/team/charts"
  local tool
  for tool in syft cosign; do has "$tool" || refuse "needs $tool"; done
  [ -z "$(git status --porcelain)" ] || refuse "the checkout has changes: commit them, or take a fresh clone"
  [ "$(git tag --points-at HEAD --list "v$(version)")" ] || refuse "HEAD has no tag v$(version)"
}

sbom() { # SOURCE FILE
  if has syft; then
    say "writing $2 with syft"
    SYFT_CHECK_FOR_APP_UPDATE=false syft scan --quiet "$1" --output "cyclonedx-json=$2"
  elif [ -n "$is_dry" ]; then
    say "skipped: syft is not on this machine, so $2 is not written"
  fi
}

sign() { # NAME@DIGEST SBOM
  act cosign sign --yes "${key[@]}" "$1"
  act cosign attest --yes "${key[@]}" --type cyclonedx --predicate "$2" "$1"
}

pack_charts() {
  local chart
  for chart in "${charts[@]}"; do
    "$helm" package "charts/$chart" --destination "$out" >&2
    "$python" scripts/chart_sbom.py "$out/$chart-$(version).tgz" >"$out/$chart-$(version).tgz.cdx.json"
  done
}

publish_images() {
  local base pushed name file
  base=$(sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile.server)
  # Given by name, the base is never replaced by one of our own.
  # shellcheck disable=SC2086 # several targets
  act env BASE_IMAGE="$base" IMAGE="${IMAGE:-}" scripts/build.sh $targets
  if [ -n "$is_dry" ]; then
    say "would run: scripts/build.sh push $targets, and then, for each NAME@DIGEST that it prints:"
    sign NAME@DIGEST "$out/NAME.cdx.json"
    return
  fi
  # shellcheck disable=SC2086 # likewise
  IMAGE=$IMAGE scripts/build.sh push $targets >"$out/images.txt"
  while read -ru 3 pushed; do # not from standard input, which cosign may ask
    name=${pushed%@*}
    # Two images have one name and differ in their digest.
    file=$out/${name##*/}-${pushed##*:}.cdx.json
    sbom "registry:$pushed" "$file"
    sign "$pushed" "$file"
  done 3<"$out/images.txt"
}

publish_charts() {
  local chart file said digest
  for chart in "${charts[@]}"; do
    file=$out/$chart-$(version).tgz
    if [ -n "$is_dry" ]; then
      act "$helm" push "$file" "oci://${CHARTS:-CHARTS}"
      sign "${CHARTS:-CHARTS}/$chart@DIGEST" "$file.cdx.json"
      continue
    fi
    said=$("$helm" push "$file" "oci://$CHARTS" 2>&1)
    echo "$said" >&2
    digest=$(sed -n 's/^Digest: //p' <<<"$said")
    [ -n "$digest" ] || refuse "helm did not say which digest $file has now"
    echo "$CHARTS/$chart@$digest" >>"$out/charts.txt"
    sign "$CHARTS/$chart@$digest" "$file.cdx.json"
  done
}

check "$@"
"$python" scripts/audit.py
rm -rf "$out"
mkdir "$out"
pack_charts
for archive in "$@"; do sbom "docker-archive:$archive" "$out/$(basename "$archive" .tar).cdx.json"; done
publish_images
publish_charts
(cd "$out" && sha256sum -- * >SHA256SUMS)
act cosign sign-blob --yes "${key[@]}" --bundle "$out/SHA256SUMS.bundle" "$out/SHA256SUMS"
say "all that was written is in $out/"
