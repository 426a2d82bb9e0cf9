#!/bin/sh
# Makes the disk of the emulated host for `make test-host`, and prints the folder that holds it: disk.raw, vmlinuz, initrd.img.
# Debian 13 with systemd, Docker, Compose and Python, and what guardian is compared with. Nothing of guardian is in it.
# Kept in .cache/host under the hash of this script, so that it is made anew when its recipe changes. Needs root, and what
# scripts/install-host-deps.sh installs.
set -eu
cd "$(dirname "$0")/.."
recipe=$(sha256sum <"scripts/host-image.sh" | cut -c1-16)
image=$PWD/.cache/host/$recipe
if [ -d "$image" ]; then
  echo "$image"
  exit 0
fi

echo "making the image of the emulated host: Debian 13, about 3 minutes" >&2
mkdir -p .cache/host
work=$(mktemp -d "$PWD/.cache/host/making.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

packages=systemd,systemd-sysv,dbus,udev,kmod,initramfs-tools,linux-image-cloud-amd64
packages=$packages,docker.io,docker-cli,docker-compose,iptables
packages=$packages,python3,python3-venv,sudo,procps,iproute2,earlyoom,systemd-oomd
mirror=http://deb.debian.org/debian
if ! mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Retries "5"' --include=$packages trixie "$root" $mirror >&2; then
  echo "the packages of Debian 13 could not be installed from $mirror; the reason is above. The emulated host needs that mirror" >&2
  exit 1
fi

# The guest learns what to do from a second disk, a plain tar, and is told more over a virtio port: see tests/host/guest/agent.py.
cat >"$root/etc/systemd/system/host-test.service" <<'END'
[Unit]
Description=Does what the test outside asks
After=docker.service
RequiresMountsFor=/srv

[Service]
ExecStartPre=/bin/rm -rf /srv/in
ExecStartPre=/bin/mkdir -p /srv/in
ExecStartPre=/bin/tar -xf /dev/disk/by-id/virtio-in -C /srv/in
ExecStart=/usr/bin/python3 -I /srv/in/agent.py
Restart=always
RestartSec=1
# It stands for the people and clients outside: no protector may end it, and it waits for nothing that the platform does.
OOMScoreAdjust=-1000
ManagedOOMPreference=omit
Nice=-15
Slice=host-test.slice
MemoryMin=128M

[Install]
WantedBy=multi-user.target
END
cat >"$root/etc/systemd/system/host-test.slice" <<'END'
[Slice]
MemoryMin=128M
CPUWeight=1000
END
printf '/dev/vda / ext4 rw,noatime 0 1\n' >"$root/etc/fstab"
echo guarded >"$root/etc/hostname"
printf '127.0.0.1 localhost guarded\n' >"$root/etc/hosts"
# What is compared with guardian is off until a scenario turns it on; what runs by the clock would disturb the measuring.
chroot "$root" systemctl --quiet enable host-test.service docker.service
chroot "$root" systemctl --quiet disable earlyoom.service systemd-oomd.service systemd-oomd.socket \
  apt-daily.timer apt-daily-upgrade.timer fstrim.timer dpkg-db-backup.timer
chroot "$root" systemctl --quiet mask serial-getty@.service getty@.service systemd-networkd-wait-online.service

cp "$root"/boot/vmlinuz-* "$work/vmlinuz"
cp "$root"/boot/initrd.img-* "$work/initrd.img"
rm -rf "$root"/boot/* "$root"/var/cache/apt/*.bin
PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -m 0 -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" "$work/disk.raw" 8G >&2
rm -rf "$root"
for old in .cache/host/*; do
  case $old in */"${work##*/}" | */wheels*) ;; *) rm -rf "$old" ;; esac
done
mv "$work" "$image"
trap - EXIT
echo "$image"
