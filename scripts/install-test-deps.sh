#!/bin/sh
# Installs what the tests on a real engine need and this machine has not: Docker, a static busybox, a C compiler, systemd's tools, Prometheus and its Alertmanager, Chromium.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
need() { # need PACKAGE COMMAND…: true if it works
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
links_static() { echo 'int main(void) { return 0; }' | gcc -static -x c -o /dev/null -; }
static_busybox() { busybox true && ! head -c 4096 "$(command -v busybox)" | grep -q /ld-; }
composes() { docker compose version || docker-compose version; }

need docker.io command -v dockerd
need docker-compose composes
need busybox-static static_busybox
need "gcc libc6-dev" links_static
need iproute2 command -v ip
need systemd command -v systemd-analyze
need prometheus command -v promtool
need prometheus command -v prometheus
need chromium command -v chromium
need prometheus-alertmanager command -v prometheus-alertmanager
[ -z "$missing" ] && exit 0
# shellcheck disable=SC2086
exec "$(dirname "$0")/apt-install.sh" $(printf '%s\n' $missing | sort -u)
