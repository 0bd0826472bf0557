#!/usr/bin/env bash
# Builds the images with what the machine has: docker buildx, podman or buildah, in this order; BUILDER says otherwise.
#   build.sh [TARGET…]       cpu, torch, gpu, operator; without any: cpu and operator.
#                            IMAGE=registry/prefix, BASE_IMAGE=… as in docs/deploy.md. For this machine's platform:
#                            linux/amd64, and on arm64 cpu and operator
#   build.sh push [TARGET…]  pushes to IMAGE=registry/prefix those of them that are built; prints NAME@DIGEST of each
#   build.sh archives        the cpu and operator images as archives in the cache, on a base of our own that needs no
#                            registry; prints their paths. Always by buildah, in a store that nothing else uses: what
#                            people built is neither renamed nor pruned, and never is a test's image pushed
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian.sh

cache=${WHISPER_IMAGES_CACHE:-$HOME/.cache/whisper-images}
store=$cache/buildah
prefix=${IMAGE:-ghcr.io/whisper-operator}
n_archives_kept=3
most_store_gb=12
certificates=/etc/ssl/certs/ca-certificates.crt

say() { echo "build: $*" >&2; }

architecture() {
  case $(uname -m) in
  x86_64) echo amd64 ;;
  aarch64 | arm64) echo arm64 ;;
  *) uname -m ;;
  esac
}

# Locked wheels of cpu and operator are there for aarch64, too. The GPU images are for the nodes that the operator
# picks (operator/whisper_operator/gpus): its table of GPUs has none of arm64 machines.
need_platform() { # TARGET
  case $(architecture)/$1 in
  amd64/* | arm64/cpu | arm64/operator) ;;
  arm64/*) say "$1 is for linux/amd64 only, and this machine is linux/arm64: build it on amd64. Here there are cpu and operator." && exit 2 ;;
  *) say "there are no wheels for linux/$(architecture): build $1 on amd64, or cpu and operator on arm64" && exit 2 ;;
  esac
}

# Every file that gets into the images or says how; other changes build nothing.
inputs() {
  find .dockerignore Dockerfile.{server,operator} LICENSE requirements-build.lock {server,operator}/requirements.lock \
    scripts/{build,base_image,debian,image_entry}.sh scripts/slim_packages.py \
    runtime {server,operator}/{README.md,pyproject.toml} server/whisper_server operator/whisper_operator models/whisper-demo \
    -type f ! -name '*.pyc' ! -path '*/.*_cache/*' ! -path '*/recipe/*' -print0 | LC_ALL=C sort -z
}

# The base that both Dockerfiles name, by digest: docs/upgrading-dependencies.md.
default_base() { sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile.server; }

version() { sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$1/whisper_$1/__init__.py"; }

name_of() { # TARGET
  if [ "$1" = operator ]; then
    echo "$prefix/whisper-operator:$(version operator)"
  else
    echo "$prefix/whisper-server:$(version server)-$1"
  fi
}

find_builder() {
  if docker buildx version >/dev/null 2>&1 && timeout 10 docker info >/dev/null 2>&1; then
    echo docker
  elif podman --version >/dev/null 2>&1; then
    echo podman
  else
    install_buildah || return 1
    echo buildah
  fi
}

install_buildah() { buildah --version >/dev/null 2>&1 || install_debian buildah >&2; }

# buildah keeps all it has in the cache, and needs no user namespaces, systemd or container runtime.
run_buildah() {
  mkdir -p "$store/tmp"
  TMPDIR=$store/tmp buildah --root "$store/storage" --runroot "$store/run" --storage-driver overlay "$@"
}

# One build at a time until this script ends: checkouts share the base and buildah's stores.
lock() {
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock --nonblock 9 || { say "waits for another build" && flock 9; }
}

build_file() { # NAME OPTION… CONTEXT
  local name=$1
  shift
  case $builder in
  docker) docker buildx build --load --quiet --tag "$name" "$@" >&2 ;;
  podman) podman build --format docker --layers --quiet --tag "$name" "$@" >&2 ;;
  buildah) run_buildah bud --format docker --layers --isolation chroot --quiet --tag "$name" "$@" >&2 ;;
  esac
}

build() { # TARGET
  local options=(--build-arg "BASE_IMAGE=$base_image") part=server
  [ "$1" = operator ] && part=operator || options+=(--target "$1")
  local revision created
  revision=$(inputs | xargs -0 git log -1 --format=%H -- 2>/dev/null || true)
  created=$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd "${revision:-HEAD}" 2>/dev/null || true)
  options+=(--build-arg "VERSION=$(version "$part")" --build-arg "REVISION=${revision:-unknown}" --build-arg "CREATED=${created:-1970-01-01T00:00:00Z}")
  [ -r "$certificates" ] && options+=(--secret "id=certificates,src=$certificates")
  for variable in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
    [ -n "${!variable:-}" ] && options+=(--build-arg "$variable=${!variable}")
  done
  say "building $(name_of "$1") for linux/$(architecture) with $builder"
  build_file "$(name_of "$1")" --file "Dockerfile.$part" "${options[@]}" .
}

is_built() { # TARGET
  case $builder in
  buildah) run_buildah inspect --type image "$(name_of "$1")" >/dev/null 2>&1 ;;
  *) "$builder" image inspect "$(name_of "$1")" >/dev/null 2>&1 ;;
  esac
}

push() { # TARGET; prints what the registry has now, as NAME@DIGEST
  local options=() name file
  read -ra options <<<"${PUSH_OPTIONS:-}"
  name=$(name_of "$1")
  say "pushing $name"
  if [ "$builder" = docker ]; then
    docker push --quiet "${options[@]}" "$name" >&2
    docker image inspect --format '{{join .RepoDigests "\n"}}' "$name" | grep "^${name%:*}@"
    return
  fi
  file=$(mktemp)
  case $builder in
  buildah) run_buildah push --quiet --digestfile "$file" "${options[@]}" "$name" >&2 ;;
  podman) podman push --quiet --digestfile "$file" "${options[@]}" "$name" >&2 ;;
  esac
  echo "${name%:*}@$(cat "$file")"
  rm "$file"
}

save() { # TARGET FILE: with its health check, which the OCI's own format has no place for
  run_buildah push --quiet "$(name_of "$1")" "docker-archive:$2:$(name_of "$1")"
}

pull() { # IMAGE
  case $builder in
  buildah) run_buildah pull --quiet "$1" >/dev/null 2>&1 ;;
  *) "$builder" pull --quiet "$1" >/dev/null 2>&1 ;;
  esac
}

# A base made from Debian's packages, known to the builder by the name that is set in base_image.
own_base() {
  local tar
  command -v debootstrap >/dev/null || install_debian debootstrap >&2
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || install_debian debian-archive-keyring >&2
  tar=$(scripts/base_image.sh "$cache/base")
  base_image=localhost/whisper-base:$(basename "$tar" .tar)
  build_file "$base_image" --file - "$cache/base" <<<"FROM scratch
ADD $(basename "$tar") /
CMD [\"bash\"]"
}

# Layers of versions that are gone stay until there are too many; then all go, and the next build takes its minutes.
bound_store() {
  [ "$(du -sBG "$store" | cut -dG -f1)" -gt "$most_store_gb" ] || return 0
  run_buildah rmi --all --force >/dev/null
  rm -rf --one-file-system "$store/tmp"
}

archives() {
  local key folder builder=buildah store=$cache/archives prefix=ghcr.io/whisper-operator # the charts' defaults
  key=$(inputs | xargs -0 sha256sum | sha256sum | cut -c1-16)
  folder=$cache/$key
  [ -d "$folder" ] || lock
  if [ ! -d "$folder" ]; then
    install_buildah
    rm -rf "$folder.unfinished" && mkdir "$folder.unfinished"
    own_base
    build cpu
    save cpu "$folder.unfinished/whisper-server-cpu.tar"
    build operator
    save operator "$folder.unfinished/whisper-operator.tar"
    mv "$folder.unfinished" "$folder"
    bound_store
  fi
  touch "$folder"
  find "$cache" -mindepth 1 -maxdepth 1 -type d -regextype posix-extended -regex '.*/[0-9a-f]{16}' -printf '%T@ %p\0' |
    sort -zrn | tail -zn "+$((n_archives_kept + 1))" | cut -zd' ' -f2- | xargs -0r rm -rf --
  echo "$folder/whisper-server-cpu.tar"
  echo "$folder/whisper-operator.tar"
}

verb=build
case ${1:-} in push | archives) verb=$1 && shift ;; esac
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=(cpu operator)
  [ "$verb" = push ] && targets=(cpu torch gpu operator)
fi
for target in "${targets[@]}"; do
  case $target in cpu | torch | gpu | operator) ;; *) say "no such target: $target; there are cpu, torch, gpu and operator" && exit 2 ;; esac
done
[ "$verb" = push ] || for target in "${targets[@]}"; do need_platform "$target"; done
if [ "$verb" = push ] && [ -z "${IMAGE:-}" ]; then
  say "say where to: make push IMAGE=registry.example.com/team"
  exit 2
fi
if ! [[ $prefix =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$ ]]; then
  say "IMAGE is what comes before the images' names, in lower case and without a scheme, such as registry.example.com/team, not $prefix"
  exit 2
fi
case ${BUILDER:-buildah} in
docker | podman | buildah) ;;
*) say "BUILDER is docker, podman or buildah, not $BUILDER" && exit 2 ;;
esac
if [ -n "${BUILDER:-}" ] && ! command -v "$BUILDER" >/dev/null; then
  say "BUILDER=$BUILDER is not on this machine"
  exit 2
fi
if [ "$verb" = archives ]; then
  archives
  exit
fi
builder=${BUILDER:-$(find_builder)} || {
  say "needs docker with buildx, podman or buildah"
  exit 1
}
case $verb in
push)
  n_pushed=0
  for target in "${targets[@]}"; do
    is_built "$target" || continue
    push "$target" # where one fails, all has failed
    n_pushed=$((n_pushed + 1))
  done
  [ "$n_pushed" -gt 0 ] || { say "nothing is built for $prefix: make build IMAGE=$prefix" && exit 1; }
  ;;
build)
  lock
  base_image=${BASE_IMAGE:-$(default_base)}
  if [ "$base_image" != own ] && [ -z "${BASE_IMAGE:-}" ] && ! pull "$base_image"; then
    say "$base_image cannot be had: making a base with debootstrap"
    base_image=own
  fi
  [ "$base_image" != own ] || own_base
  for target in "${targets[@]}"; do build "$target"; done
  ;;
esac
