"""Runs in the emulated host: does what the test outside asks, one command at a time, over a virtio port.

A request is a line of JSON, `{"id": 1, "argv": ["ls"], "input": "", "timeout_s": 60}`; so is its answer, `{"id": 1, "code": 0,
"out": "…", "err": "…"}`, with a null code where the command took too long. It begins with `{"boot": "…"}`, the boot's id.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

PORT = "/dev/virtio-ports/guardian.test"


def _do(request: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            request["argv"],
            input=request.get("input", ""),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=request["timeout_s"],
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return {"code": None, "out": str(late.stdout or ""), "err": f"not done within {late.timeout:.0f} s"}
    except OSError as error:
        return {"code": 127, "out": "", "err": str(error)}
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def main() -> None:
    with open(PORT, "r+b", buffering=0) as port:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        port.write(json.dumps({"boot": boot}).encode() + b"\n")
        pending = b""
        while chunk := port.read(65536):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                request = json.loads(line)
                answer = json.dumps({"id": request["id"], **_do(request)}).encode() + b"\n"
                while answer:
                    answer = answer[port.write(answer) :]


if __name__ == "__main__":
    main()
