#!/bin/sh
# Builds guardian-docker_VERSION_ARCH.deb into dist/ (or the folder that is named), for the Debian and the Python of this machine: guardian
# and its locked dependencies in /usr/lib/guardian, command, unit, configuration and completions. Needs dpkg-deb and PyPI.
set -eu
cd "$(dirname "$0")/.."
command -v dpkg-deb >/dev/null || { echo "$0: needs dpkg-deb, so Debian, or apt-get install dpkg" >&2; exit 1; }
python=${PYTHON:-.venv/bin/python}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH
out=${1:-dist}
scripts/dist.sh "$out" >/dev/null
umask 022
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
lib=$root/usr/lib/guardian

pip() { "$python" -m pip -qq --disable-pip-version-check install --no-input --no-compile --no-warn-script-location --target "$lib" "$@"; }
pip --no-deps --require-hashes --only-binary :all: -r requirements.txt
pip --no-deps --no-index "$out"/guardian_docker-*.whl
rm -rf "$lib/bin"
rm -f "$lib"/*.dist-info/direct_url.json # says where it was built

install -D -m 755 packaging/deb/guardian "$root/usr/bin/guardian"
install -m 755 packaging/deb/owed "$lib/owed"
install -D -m 644 config/guardian.yaml "$root/etc/guardian/guardian.yaml"
install -D -m 644 systemd/guardian.slice "$root/usr/lib/systemd/system/guardian.slice"
sed 's|^ExecStart=/usr/local/bin/|ExecStart=/usr/bin/|' systemd/guardian.service >"$root/usr/lib/systemd/system/guardian.service"
doc=$root/usr/share/doc/guardian-docker
install -D -m 644 LICENSE "$doc/copyright"
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"

complete() { # complete SHELL FILE
  mkdir -p "$(dirname "$root/usr/share/$2")"
  PYTHONPATH=$lib _GUARDIAN_COMPLETE=$1_source "$python" -P -S -c 'import guardian.cli.main as m; m.main(prog_name="guardian")' >"$root/usr/share/$2"
}
complete bash bash-completion/completions/guardian
complete zsh zsh/vendor-completions/_guardian
complete fish fish/vendor_completions.d/guardian.fish
find "$lib" -name __pycache__ -prune -exec rm -rf {} +

version=$(PYTHONPATH=$lib "$python" -P -S -c 'import guardian; print(guardian.__version__)')
find "$lib" -name __pycache__ -prune -exec rm -rf {} +
arch=$(dpkg --print-architecture)
mkdir "$root/DEBIAN"
install -m 755 packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$root/DEBIAN"
echo /etc/guardian/guardian.yaml >"$root/DEBIAN/conffiles"
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum) >"$root/DEBIAN/md5sums"
"$python" - "$version" "$arch" "$(du -ks "$root" | cut -f1)" >"$root/DEBIAN/control" <<'END'
import sys

version, arch, size_kib = sys.argv[1:]
major, minor = sys.version_info[:2]
print(f"""\
Package: guardian-docker
Version: {version}
Architecture: {arch}
Maintainer: Guardian maintainers <guardian@localhost>
Installed-Size: {size_kib}
Depends: python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1}), passwd
Recommends: docker.io | docker-ce
Section: admin
Priority: optional
Description: keeps the Docker services that matter alive on an overloaded host
 Stops the least important services, in order, before memory runs out, and brings
 them back once there is room. Starts in observe mode, which stops nothing.""")
END
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/guardian-docker_${version}_$arch.deb" >&2
cd "$out"
sha256sum "guardian-docker_${version}_$arch.deb"
