#!/bin/sh
# What `make bench` does: measures guardian beside its peers on a Docker engine of its own. Needs root, and a machine with nothing else to do.
set -eu
cd "$(dirname "$0")/.."
scripts/install-test-deps.sh
PYTHONPATH=tests exec .venv/bin/python -m bench "$@"
