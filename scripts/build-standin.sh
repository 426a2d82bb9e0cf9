#!/bin/sh
# Builds the stand-in service as one static program: scripts/build-standin.sh OUT
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
command -v "${CC:=gcc}" >/dev/null || { echo "$0: needs $CC and libc6-dev: apt-get install gcc libc6-dev" >&2; exit 1; }
cd "$(dirname "$0")/.."
exec "$CC" -std=c11 -O2 -Wall -Wextra -Werror -static -pthread -s -o "$1" config/standin/standin.c
