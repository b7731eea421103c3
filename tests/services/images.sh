#!/usr/bin/env bash
# Builds the test images, unless images of the same content are there; prints the exports that name them.
set -euo pipefail
here=$(cd "$(dirname "$0")/images" && pwd)
base=herolocal-test/base:trixie
es_version=8.19.9

content() { (cd "$here/$1" && cat -- * | sha256sum | cut -c1-16); }
label() { docker image inspect -f '{{index .Config.Labels "dev.herolocal.test-image"}}' "$1" 2>/dev/null || true; }
quietly() { # its output only when it fails
  local out status=0
  out=$("$@" 2>&1) || status=$?
  [ "$status" = 0 ] || printf '%s\n' "$out" >&2
  return "$status"
}
say() { printf '  %-38s %s\n' "$1" "$2" >&2; }

make_base() {
  docker image inspect "$base" >/dev/null 2>&1 && return
  local root start=$SECONDS
  root=$(mktemp -d)
  quietly debootstrap --variant=minbase trixie "$root"
  tar -C "$root" -c . | docker import - "$base" >/dev/null
  rm -rf "$root"
  say "$base" "$((SECONDS - start)) s"
}

make() {
  local name=$1 tag=$2 hash context start=$SECONDS
  hash=$(content "$name")
  [ "$(label "$tag")" = "$hash" ] && return
  make_base
  context=$(mktemp -d)
  cp "$here/$name"/* "$context"
  if [ "$name" = elasticsearch ]; then
    quietly mvn -q dependency:copy -Dartifact="org.elasticsearch.distribution.integ-test-zip:elasticsearch:$es_version:zip" \
      -DoutputDirectory="$context/zip"
    mv "$context"/zip/*.zip "$context/elasticsearch.zip"
  fi
  quietly env DOCKER_BUILDKIT=0 docker build --build-arg BASE="$base" --label dev.herolocal.test-image="$hash" \
    -t "$tag" "$context"
  rm -rf "$context"
  say "$tag" "$((SECONDS - start)) s"
}

make postgres herolocal-test/postgres:17
make redis herolocal-test/redis:7
make elasticsearch "herolocal-test/elasticsearch:$es_version"
echo "export HEROLOCAL_IMAGE_POSTGRES=herolocal-test/postgres:17"
echo "export HEROLOCAL_IMAGE_REDIS=herolocal-test/redis:7"
echo "export HEROLOCAL_IMAGE_ELASTICSEARCH=herolocal-test/elasticsearch:$es_version"
