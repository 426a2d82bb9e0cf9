#!/usr/bin/env bash
# Run the tests that make up their inputs, round after round with other ones, until MINUTES have passed or one fails. What made
# a test fail is kept in .hypothesis and tried first at the next run; the output says how to have it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ends=$((SECONDS + 60 * ${1:?usage: fuzz.sh MINUTES}))
export GUARDIAN_HYPOTHESIS_PROFILE=fuzz
round=0
while ((SECONDS < ends)); do
  round=$((round + 1))
  echo "round $round"
  .venv/bin/pytest -q -x --timeout 1800 tests/property/test_*_fuzz.py tests/property/test_config_properties.py
done
