#!/bin/sh
# Looks for known weaknesses in what the locks name, by pip-audit. Needs the network: PyPI, and its advisories.
# --strict: what could not be looked up is a failure, and not "nothing found".
set -eu
cd "$(dirname "$0")/.."
tools=.cache/audit
[ -x "$tools/bin/pip-audit" ] || {
  python3 -m venv "$tools"
  "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-input pip-audit==2.10.1
}
for lock in requirements.txt requirements-build.txt requirements-dev.txt; do
  echo "$lock" >&2
  "$tools/bin/pip-audit" --strict --disable-pip --require-hashes --progress-spinner off "$@" -r "$lock"
done
