#!/bin/sh
# Installs Debian packages without a question and without starting a service; where that may not or cannot be done, says what to do.
set -eu
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing on this machine: $*" >&2
  echo "Install it as root (Debian: apt-get install $*), then run this again." >&2
  exit 1
fi

# A package's own start-up script asks this file whether it may start its service: the answer is no.
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ ! -e "$policy" ]; then
  trap 'rm -f "$log" "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing $*" >&2
# A mirror that does not answer is given up after a few minutes; another apt-get is waited for.
if { apt-get -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 update &&
  apt-get -o DPkg::Lock::Timeout=120 install --yes --no-install-recommends "$@"; } </dev/null >"$log" 2>&1; then
  exit 0
fi
tail -n 20 "$log" >&2
{
  echo
  echo "missing on this machine, and apt-get could not install it: $*"
  if unreached=$(sed -n 's/^[WE]: Failed to fetch //p' "$log" | sort -u) && [ -n "$unreached" ]; then
    echo "The package mirror could not be used:"
    echo "$unreached" | sed 's/^/  /'
    echo "Let this machine reach it (network, name resolution, Acquire::http::Proxy in /etc/apt/apt.conf.d), or name another one in"
    echo "/etc/apt/sources.list or /etc/apt/sources.list.d, until \`apt-get update\` fetches all. Then run this again."
  else
    echo "Its reason is above. Once \`apt-get install $*\` succeeds, run this again."
  fi
} >&2
exit 1
