"""True answers with some of it made false: what a reader of foreign data meets sooner or later."""

from __future__ import annotations

import copy
import math
from typing import Any

import msgspec
from hypothesis import strategies as st

LONG = "9" * 5000
ODD = (
    "", "0", "-1", "²", "٣", LONG, "1e400", "NaN", "true", "a\nb", "\x1b[31m", "x" * 300, "-", "/", "//", "a/b", ",", ":", "::",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59", "2026-02-30T00:00:00Z", "2026-11-23", "2026-11-23T19:26:51.480464193Z",
    "Up 99999999999999999999 weeks", f"Up {LONG} weeks", "container:", "running", "healthy", "always",
)  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 1, 2**31, 2**63, 2**64, 10**400]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(ODD), inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def mangled(draw: st.DrawFn, value: Any) -> Any:
    """`value` with one to three of its parts replaced, or left out."""
    changed = {"": copy.deepcopy(value)}
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(_places(changed)))
        if draw(st.integers(0, 5)) == 0 and holder is not changed:
            del holder[key]
        else:
            holder[key] = draw(junk)
    return changed[""]


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` with a piece cut out and another put in; or something else altogether."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=100))
    at, cut = draw(st.integers(0, len(content))), draw(st.sampled_from([0, 0, 1, 2, 8, 1000]))
    put = draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"", b"[" * 50_000, b"9" * 5000, b"\n", b"\0", b"-", b" "])))
    return content[:at] + put + content[at + cut :]


def is_sound(value: Any) -> bool:
    """Whether each part has the type that its class declares, each number is finite, and each text can be written."""
    plain = msgspec.to_builtins(value)
    msgspec.convert(plain, type(value))
    return _is_plain(plain)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return value is None or bool(value.encode()) or value == ""
