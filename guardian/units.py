"""Sizes, shares, cores and durations as people write them, to and from numbers in base units."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


class Bytes(int):
    """A size, in bytes; written `512MiB`, `1GB` or a number of bytes."""


class Ratio(float):
    """A ratio from 0 to 1; written `80%` or `0.8`."""


class Cores(float):
    """A number of CPU cores; written `1.5 cores` or `1.5`."""


class Seconds(float):
    """A duration in seconds; written `2m`, `1h30m`, `500ms` or a number of seconds."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a capacity: `ratio` of the whole (`25%`), or `cores` outright (`1.5 cores`). One of the two is set."""

    ratio: float | None = None
    cores: float | None = None

    def of(self, capacity_cores: float) -> float:
        """In cores, given the whole capacity."""
        return self.cores if self.cores is not None else (self.ratio or 0.0) * capacity_cores


_SIZES = {
    "": 1, "b": 1,
    "k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2, "g": 1000**3, "gb": 1000**3, "t": 1000**4, "tb": 1000**4,
    "ki": 1024, "kib": 1024, "mi": 1024**2, "mib": 1024**2, "gi": 1024**3, "gib": 1024**3, "ti": 1024**4, "tib": 1024**4,
}  # fmt: skip
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_SIZE = re.compile(rf"({_NUMBER})\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(rf"({_NUMBER})\s*(ms|s|m|h|d|w)\s*", re.IGNORECASE | re.ASCII)

SIZE_FORM = "a size such as 512MiB, 1.5GiB or 1GB"
RATIO_FORM = "a share such as 80%, or a ratio from 0 to 1 such as 0.8"
CORES_FORM = "a number of cores such as 0.5 or 1.5 cores"
SHARE_FORM = "a share such as 25%, or cores such as 1.5 cores"
LONGEST_S = 1e9
"""Thirty years: no more than this can be waited for."""
DURATION_FORM = "a duration such as 500ms, 10s, 2m or 1h30m"


def _number(value: object) -> float | None:
    """A finite YAML number that is not a boolean."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return None
    return number if math.isfinite(number) else None


def parse_bytes(value: object) -> Bytes:
    """Raise ValueError, saying what is allowed, for anything but a size ≥ 0."""
    number = _number(value)
    if number is None and isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        factor = _SIZES.get(match[2].lower())
        number = float(match[1]) * factor if factor else None
    if number is None or number < 0 or not math.isfinite(number):
        raise ValueError(f"expected {SIZE_FORM}, got {_shown(value)}")
    return Bytes(round(number))


def parse_ratio(value: object) -> Ratio:
    """Raise ValueError for anything but a ratio from 0 to 1."""
    number = _number(value)
    if isinstance(value, str):
        number = _percent(value)
        if number is None and re.fullmatch(_NUMBER, value.strip()):
            number = float(value)
    if number is None or not 0 <= number <= 1:
        hint = f" (did you mean {number:g}%?)" if number is not None and 1 < number <= 100 else ""
        raise ValueError(f"expected {RATIO_FORM}, got {_shown(value)}{hint}")
    return Ratio(number)


def parse_cores(value: object) -> Cores:
    """Raise ValueError for anything but a number of cores > 0."""
    number = _number(value)
    if isinstance(value, str) and (match := re.fullmatch(rf"({_NUMBER})(?:\s*cores?)?", value.strip())):
        number = float(match[1])
    if number is None or number <= 0 or not math.isfinite(number):
        raise ValueError(f"expected {CORES_FORM}, got {_shown(value)}")
    return Cores(number)


def parse_share(value: object) -> Share:
    """Raise ValueError for anything but a percentage or a number of cores."""
    if isinstance(value, str) and (ratio := _percent(value)) is not None:
        if ratio > 1:
            raise ValueError(f"expected {SHARE_FORM}, got {_shown(value)}")
        return Share(ratio=ratio)
    try:
        return Share(cores=float(parse_cores(value)))
    except ValueError:
        raise ValueError(f"expected {SHARE_FORM}, got {_shown(value)}") from None


def parse_seconds(value: object) -> Seconds:
    """Raise ValueError for anything but a duration ≥ 0."""
    number = _number(value)
    if isinstance(value, str):
        text = value.strip()
        parts = list(_DURATION.finditer(text))
        if parts and "".join(part[0] for part in parts) == text:
            number = sum(float(part[1]) * _DURATIONS[part[2].lower()] for part in parts)
        elif re.fullmatch(_NUMBER, text):
            number = float(text)
    if number is None or not 0 <= number <= LONGEST_S:
        hint = "" if number is None or number < 0 else " (30 years at most)"
        raise ValueError(f"expected {DURATION_FORM}{hint}, got {_shown(value)}")
    return Seconds(number)


def _percent(text: str) -> float | None:
    match = re.fullmatch(rf"({_NUMBER})\s*%", text.strip())
    return float(match[1]) / 100 if match else None


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes out no whole number of more than 4,300 digits
        text = "a very long number"
    return text if len(text) <= 60 else text[:57] + "…"


def format_bytes(value: float | None) -> str:
    """`1536` -> `1.5 KiB`; None -> `?`."""
    if value is None:
        return "?"
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_ratio(value: float | None) -> str:
    """`0.803` -> `80.3%`; None -> `?`."""
    return "?" if value is None else f"{value * 100:.1f}%"


def format_cores(value: float | None) -> str:
    """`1.5` -> `1.50 cores`; None -> `?`."""
    return "?" if value is None else f"{value:.2f} cores"


def format_seconds(value: float | None) -> str:
    """`3725` -> `1h2m`; None -> `?`. The two largest units, rounded down; below a minute, seconds with one decimal if small."""
    if value is None or math.isnan(value):
        return "?"
    if math.isinf(value):
        return "∞"
    if value < 10:
        return f"{value:.3g}s"
    left, parts = int(value), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def format_time(wall_s: float | None) -> str:
    """`2026-11-23 20:15:02`, in the time zone of whoever reads it; None -> `?`."""
    return "?" if wall_s is None else datetime.fromtimestamp(wall_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def format_use(used: float | None, budget: float | None, shown: Callable[[float | None], str]) -> str:
    """`600 MiB of 1.0 GiB`; `?` where the use is unknown; the budget only where there is one."""
    return shown(used) if budget is None else f"{shown(used)} of {shown(budget)}"


def spell(value: object) -> str:
    """A value as the configuration file would have it, exactly: what the parser of its type reads back as the same.

    `Bytes(536870912)` -> `512MiB`, `Ratio(0.8)` -> `80%`, `Share(cores=1.5)` -> `1.5 cores`, `Seconds(90)` -> `1m30s`,
    True -> `true`, None -> `none`; a list as `[a, b]`; any other value as `str` has it.
    """
    if isinstance(value, Bytes):
        return _spell_bytes(int(value))
    if isinstance(value, Ratio):
        return _spell_ratio(float(value))
    if isinstance(value, Cores):
        return f"{_plain(float(value))} cores"
    if isinstance(value, Seconds):
        return _spell_seconds(float(value))
    if isinstance(value, Share):
        return f"{_plain(value.cores)} cores" if value.cores is not None else _spell_ratio(value.ratio or 0.0)
    if isinstance(value, tuple | list):
        return f"[{', '.join(spell(item) for item in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value)


def _spell_bytes(value: int) -> str:
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        factor = _SIZES[unit.lower()]
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def _spell_ratio(value: float) -> str:
    percent = f"{_decimal(Decimal(repr(value)) * 100)}%"
    return percent if _reads_as(parse_ratio, percent, value) else _plain(value)


def _spell_seconds(value: float) -> str:
    milliseconds = round(value * 1000)
    parts = []
    left = milliseconds
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    text = "".join(parts) or "0s"
    return text if _reads_as(parse_seconds, text, value) else f"{_plain(value)}s"


def _reads_as(parse: Callable[[object], float], text: str, value: float) -> bool:
    try:
        return float(parse(text)) == value
    except ValueError:
        return False


def _plain(value: float) -> str:
    """All digits of a float, and no exponent."""
    return _decimal(Decimal(repr(value)))


def _decimal(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
