#!/bin/bash
# Keeps the official image's contract: arguments go to redis-server, data in /data, root steps down.
set -eu
case "$1" in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . \! -user redis -exec chown redis:redis '{}' +
  exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi
[ "$1" = redis-server ] && set -- "$@" --protected-mode no
exec "$@"
