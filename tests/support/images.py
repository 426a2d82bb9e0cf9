"""Images for a private engine, made of files on this machine: the tests need no registry."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.private_engine import EngineSetupError, PrivateEngine

BUSYBOX = "busybox:test"


def import_image(
    engine: PrivateEngine,
    name: str,
    files: Mapping[str, Path],
    links: Mapping[str, str] | None = None,
    changes: Sequence[str] = (),
) -> None:
    """Make the image `name` ("thing:tag") with `files` (path in the image -> file here, executable) and symbolic `links`.

    `changes` are Dockerfile lines such as `CMD ["/standin"]`.
    """
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for folder in ("tmp", "proc", "dev", "sys", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
        for path, source in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = source.stat().st_size, 0o755
            with source.open("rb") as content:
                tar.addfile(entry, content)
        for path, target in (links or {}).items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    repository, _, tag = name.partition(":")
    client = engine.client()
    try:
        client.import_image_from_data(data.getvalue(), repository=repository, tag=tag or "latest", changes=list(changes))
    finally:
        client.close()


def import_busybox(engine: PrivateEngine) -> str:
    """An image with a shell and its tools; returns its name."""
    program = shutil.which("busybox", path="/bin:/usr/bin:/usr/local/bin")
    if program is None:
        raise EngineSetupError("the tests on a real Docker Engine need busybox: apt-get install busybox-static")
    # A dynamic one would not run in an image of its own; reading the ELF header alone tells.
    if b"/ld-" in Path(program).read_bytes()[:4096]:
        raise EngineSetupError(f"{program} is not static: apt-get install busybox-static")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    tools = {f"bin/{tool}": "busybox" for tool in listed if tool != "busybox"}
    import_image(engine, BUSYBOX, {"bin/busybox": Path(program)}, tools, ["ENV PATH=/bin", 'CMD ["sh"]'])
    return BUSYBOX
