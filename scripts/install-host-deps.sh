#!/bin/sh
# Installs what `make test-host` needs and this machine has not: an emulator, the makers of its disk, a C compiler.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
need() { # need PACKAGE COMMAND…: true if it works
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
links_static() { echo 'int main(void) { return 0; }' | gcc -static -x c -o /dev/null -; }

need qemu-system-x86 command -v qemu-system-x86_64
need qemu-utils command -v qemu-img
need mmdebstrap command -v mmdebstrap
need e2fsprogs command -v mke2fs
need debian-archive-keyring test -e /usr/share/keyrings/debian-archive-trixie-stable.gpg
need "gcc libc6-dev" links_static
[ -z "$missing" ] && exit 0
# shellcheck disable=SC2086
exec "$(dirname "$0")/apt-install.sh" $missing
