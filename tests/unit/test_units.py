"""Sizes, shares, cores and durations, read and written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guardian.units import (
    Bytes,
    Cores,
    Ratio,
    Seconds,
    Share,
    format_bytes,
    format_cores,
    format_ratio,
    format_seconds,
    parse_bytes,
    parse_cores,
    parse_ratio,
    parse_seconds,
    parse_share,
    spell,
)


@pytest.mark.parametrize(
    ("parse", "written", "value"),
    [
        (parse_bytes, "512MiB", 512 * 1024**2),
        (parse_bytes, "1.5GiB", 1536 * 1024**2),
        (parse_bytes, "1GB", 10**9),
        (parse_bytes, "1g", 10**9),
        (parse_bytes, " 2 kib ", 2048),
        (parse_bytes, 4096, 4096),
        (parse_bytes, "0", 0),
        (parse_ratio, "80%", 0.8),
        (parse_ratio, "99.5 %", 0.995),
        (parse_ratio, 0.25, 0.25),
        (parse_ratio, "0.25", 0.25),
        (parse_ratio, 1, 1.0),
        (parse_cores, "1.5 cores", 1.5),
        (parse_cores, "1 core", 1.0),
        (parse_cores, 0.5, 0.5),
        (parse_share, "25%", Share(ratio=0.25)),
        (parse_share, "1.5 cores", Share(cores=1.5)),
        (parse_share, 2, Share(cores=2.0)),
        (parse_seconds, "500ms", 0.5),
        (parse_seconds, "10s", 10.0),
        (parse_seconds, "1h30m", 5400.0),
        (parse_seconds, "1h 30m", 5400.0),
        (parse_seconds, "1w", 604800.0),
        (parse_seconds, 5, 5.0),
        (parse_seconds, "2.5", 2.5),
    ],
)
def test_each_written_form_is_read(parse: Callable[[object], object], written: object, value: object) -> None:
    """Each written form is read as its value in base units."""
    assert parse(written) == value


@pytest.mark.parametrize(
    ("parse", "written"),
    [
        (parse_bytes, "512MiBs"),
        (parse_bytes, "-1"),
        (parse_bytes, -1),
        (parse_bytes, True),
        (parse_bytes, None),
        (parse_bytes, "9" * 400),
        (parse_bytes, 10**400),
        (parse_bytes, float("nan")),
        (parse_bytes, []),
        (parse_ratio, "101%"),
        (parse_ratio, 80),
        (parse_ratio, "abc"),
        (parse_ratio, False),
        (parse_cores, 0),
        (parse_cores, "9" * 400),
        (parse_cores, "two"),
        (parse_share, "101%"),
        (parse_share, "25 percent"),
        (parse_seconds, "5 minutes"),
        (parse_seconds, "5ſ"),
        (parse_seconds, "-5s"),
        (parse_seconds, "9" * 400 + "s"),
        (parse_seconds, float("inf")),
        (parse_seconds, "٣s"),
        (parse_seconds, ""),
    ],
)
def test_anything_else_is_refused_in_words(parse: Callable[[object], object], written: object) -> None:
    """Anything else is refused with a message that says what is allowed."""
    with pytest.raises(ValueError, match=r"expected a .* such as"):
        parse(written)


def test_a_percentage_without_its_sign_is_suggested() -> None:
    """A ratio of 80 is refused, and 80% suggested."""
    with pytest.raises(ValueError, match="did you mean 80%"):
        parse_ratio(80)


def test_a_share_of_a_capacity_is_a_number_of_cores() -> None:
    """A share comes to cores, whether it is a ratio of the capacity or cores outright."""
    assert Share(ratio=0.25).of(4) == 1.0
    assert Share(cores=1.5).of(4) == 1.5


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Bytes(512 * 1024**2), "512MiB"),
        (Bytes(10**9), "1GB"),
        (Bytes(1536), "1536"),
        (Bytes(0), "0"),
        (Ratio(0.8), "80%"),
        (Ratio(0.07), "7%"),
        (Ratio(0.995), "99.5%"),
        (Cores(1.5), "1.5 cores"),
        (Share(ratio=0.25), "25%"),
        (Share(cores=2.0), "2 cores"),
        (Seconds(90), "1m30s"),
        (Seconds(0.5), "500ms"),
        (Seconds(0), "0s"),
        (Seconds(3600), "1h"),
        (None, "none"),
        (True, "true"),
        (("a", "b"), "[a, b]"),
        ("json", "json"),
        (20, "20"),
    ],
)
def test_a_value_is_spelled_as_a_file_has_it(value: object, written: str) -> None:
    """A value is spelled as a configuration file would have it."""
    assert spell(value) == written


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (format_bytes(None), "?"),
        (format_bytes(1536), "1.5 KiB"),
        (format_bytes(512 * 1024**2), "512 MiB"),
        (format_bytes(3 * 1024**4), "3.0 TiB"),
        (format_ratio(None), "?"),
        (format_ratio(0.803), "80.3%"),
        (format_cores(None), "?"),
        (format_cores(1.5), "1.50 cores"),
        (format_seconds(None), "?"),
        (format_seconds(float("inf")), "∞"),
        (format_seconds(0.25), "0.25s"),
        (format_seconds(3725), "1h2m"),
    ],
)
def test_figures_for_people_are_short(shown: str, text: str) -> None:
    """Figures for people are rounded and short, and unknown ones are a question mark."""
    assert shown == text
