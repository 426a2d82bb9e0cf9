#!/bin/sh
# Makes .venv from the locks: scripts/setup.sh run (what the daemon needs) or dev (and what its tests need).
# Needs Python 3.11 or newer; PYTHON=… names one. Where venv is missing (Debian splits it off) and apt may be used, installs it.
set -eu
cd "$(dirname "$0")/.."
case ${1:-} in
  run) lock=requirements.txt ;;
  dev) lock=requirements-dev.txt ;;
  *) echo "usage: $0 run|dev" >&2; exit 2 ;;
esac

fit() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

if ! fit .venv/bin/python; then
  python=
  for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13 python3.14}; do # the locks are made for 3.11
    if fit "$candidate"; then
      python=$candidate
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "guardian needs Python 3.11 or newer, and ${PYTHON:-python3.11 or python3} is none." >&2
    echo "Install it (Debian 12: apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python3.11 …" >&2
    exit 1
  fi
  if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    # shellcheck disable=SC2016
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    scripts/apt-install.sh "python$version-venv"
  fi
  rm -rf .venv
  "$python" -m venv .venv
fi

install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$@"; }
install --require-hashes -r "$lock"
install --require-hashes -r requirements-build.txt
install --no-deps --no-build-isolation --editable .
