"""A small Debian root made of packages that this machine has installed: an image to build on, without a registry."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
}
_FOLDERS = ("dev", "proc", "root", "run", "sys", "tmp", "var/lib", "var/log")


def closure(names: Iterable[str]) -> set[str]:
    """These packages with all that they depend on, as far as it is installed here."""
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    needs: dict[str, list[str]] = {}
    provided: dict[str, str] = {}
    for line in shown.splitlines():
        name, provides, depends = line.split("\t")
        needs[name] = [part for part in re.split(r"[,|]", depends) if part.strip()]
        provided.update({one: name for one in map(_bare, provides.split(",")) if one})
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        name = name if name in needs else provided.get(name, "")
        if name and name not in found:
            found.add(name)
            left += map(_bare, needs[name])
    return found


def _bare(dependency: str) -> str:
    """`libc6:any (>= 2.36)` -> `libc6`."""
    return dependency.strip().partition(" ")[0].partition(":")[0]


def debian_root(names: Iterable[str]) -> bytes:
    """A tar of the files of these packages and of all that they need, without documentation."""
    listed = subprocess.run(["dpkg-query", "--listfiles", *sorted(closure(names))], check=True, capture_output=True, text=True)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for link in ("bin", "sbin", "lib", "lib64"):  # merged into usr
            if Path("/", link).is_symlink():
                tar.add(Path("/", link), link, recursive=False)
        for folder in _FOLDERS:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for name, text in _FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        for path in sorted({_real(line) for line in listed.stdout.splitlines() if _is_wanted(line)}):
            tar.add(path, str(path).lstrip("/"), recursive=False)
    return data.getvalue()


def _is_wanted(line: str) -> bool:
    path = Path(line)
    unwanted = line.lstrip("/") in ("bin", "sbin", "lib", "lib64", *_FILES) or line.startswith(
        ("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info")
    )
    return line.startswith("/") and not unwanted and (path.is_symlink() or path.is_file())


def _real(line: str) -> Path:
    """Where it is once the links of a merged usr are followed."""
    path = Path(line)
    return path.parent.resolve() / path.name
