#!/bin/bash
# Keeps the official image's contract: dotted variables become settings, ELASTIC_PASSWORD the bootstrap password.
set -eu
ES_JAVA_HOME=$(dirname "$(dirname "$(readlink -f /usr/bin/java)")")
export ES_JAVA_HOME
settings=(-Enetwork.host=0.0.0.0)
while IFS='=' read -r -d '' name value; do
  case "$name" in
    [a-z]*.*) settings+=("-E$name=$value") ;;
  esac
done < <(env -0)
if [ -n "${ELASTIC_PASSWORD:-}" ]; then
  [ -f config/elasticsearch.keystore ] || bin/elasticsearch-keystore create
  bin/elasticsearch-keystore list | grep -qx bootstrap.password ||
    printf '%s' "$ELASTIC_PASSWORD" | bin/elasticsearch-keystore add -x bootstrap.password
fi
[ "$1" = eswrapper ] || exec "$@"
exec bin/elasticsearch "${settings[@]}"
