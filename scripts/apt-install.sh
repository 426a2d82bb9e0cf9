#!/bin/sh
# Installs Debian packages without a question and without starting a service; where that may not be done, says what to do.
set -eu
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing on this machine: $*" >&2
  echo "Install it as root (Debian: apt-get install $*), then run this again." >&2
  exit 1
fi

# A package's own start-up script asks this file whether it may start its service: the answer is no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing $*" >&2
log=$(mktemp)
if ! { apt-get update && apt-get install --yes --no-install-recommends "$@"; } </dev/null >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  rm -f "$log"
  echo "apt-get could not install $*; its last words are above" >&2
  exit 1
fi
rm -f "$log"
