#!/bin/sh
# Builds the stand-in image guardian-standin:1 on the engine that the docker command talks to. Needs no registry.
set -eu
here=$(dirname "$0")
command -v docker >/dev/null || { echo "$0: needs docker, and an engine that it talks to" >&2; exit 1; }
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
"$here/build-standin.sh" "$context/standin"
tar -C "$context" --owner=0 --group=0 --numeric-owner -c standin |
  docker import --change 'ENTRYPOINT ["/standin"]' - guardian-standin:1
