"""Imports without what a library takes along only where it happens to be installed: the daemon pays for it in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Within, importing these modules fails as if they were not installed. One that is loaded already stays."""
    # What Python documents for sys.modules: None there makes an import raise ModuleNotFoundError.
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    kept_out = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(kept_out))
    try:
        yield
    finally:
        for name in kept_out:
            del modules[name]
