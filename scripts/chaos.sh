#!/bin/sh
# What `make chaos` does: faults at random over a Docker engine of its own. Needs root.
set -eu
cd "$(dirname "$0")/.."
scripts/install-test-deps.sh
PYTHONPATH=tests exec .venv/bin/python -m chaos "$@"
