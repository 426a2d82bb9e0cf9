#!/usr/bin/env bash
# Run the tests that make up their inputs, round after round with other ones, until MINUTES have passed or one fails. What made
# a test fail is kept in .hypothesis and tried first at the next run; the output says how to have it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
  '' | *[!0-9]*) echo "usage: $0 MINUTES, as a whole number: make fuzz MINUTES=5" >&2 && exit 2 ;;
esac
ends=$((SECONDS + 60 * 10#$1))
export GUARDIAN_HYPOTHESIS_PROFILE=fuzz
round=0
while ((SECONDS < ends)); do
  round=$((round + 1))
  echo "round $round"
  .venv/bin/pytest -q -x --timeout 1800 tests/property/test_*_fuzz.py tests/property/test_config_properties.py
done
