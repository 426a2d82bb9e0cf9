#!/bin/sh
# Builds wheel and sdist into dist/ (or the folder that is named), the same to the byte wherever and whenever from one state of the source.
set -eu
cd "$(dirname "$0")/.."
# The date of every file in them: that of the commit, or else the first one that a zip can have.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH
out=${1:-dist}
python=${PYTHON:-.venv/bin/python}
"$python" -c "import hatchling" 2>/dev/null || { echo "$0: needs hatchling, which .venv has: use \`make dist\`, or name a Python that has it by PYTHON=" >&2; exit 1; }
rm -rf "$out"/guardian_docker-*
"$python" -m hatchling build -d "$out" >&2
cd "$out"
sha256sum guardian_docker-*
