#!/bin/sh
# Writes the locks anew from pyproject.toml, with hashes, from plain PyPI. By hand only; needs uv (pip install uv).
# Versions already locked stay; `scripts/lock.sh --upgrade` takes the newest, `--upgrade-package NAME` only one.
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "$0: needs uv: pip install uv" >&2; exit 1; }
compile() {
  out=$1
  shift
  uv pip compile --quiet --generate-hashes --python-version 3.11 --python-platform linux --no-config \
    --default-index https://pypi.org/simple --custom-compile-command scripts/lock.sh --output-file "$out" "$@"
}
compile requirements.txt pyproject.toml "$@"
compile requirements-build.txt --group build "$@"
compile requirements-dev.txt pyproject.toml --group dev --constraints requirements.txt --constraints requirements-build.txt "$@"
