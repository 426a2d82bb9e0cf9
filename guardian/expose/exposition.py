"""Metrics as text, in Prometheus' own format and in OpenMetrics: byte for byte what prometheus_client makes of them.

It makes sure of the name of every label of every sample, which takes most of a scrape. Ours come from the catalog, and have
neither timestamps nor exemplars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

OPENMETRICS = "application/openmetrics-text"


def encode(metrics: Iterable[Metric], accept: str = "") -> tuple[str, bytes]:
    """`(content type, body)` in the format that the `Accept` header asks for, as the client library reads it."""
    content_type = _content_type(" ".join(accept.split()))  # it is repeated there: on one line
    lines = _openmetrics(metrics) if content_type.startswith(OPENMETRICS) else _text(metrics)
    return content_type, "".join(lines).encode()


def _content_type(accept: str) -> str:
    """What is not understood counts as not sent: the library compares versions that are none."""
    try:
        _, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        _, content_type = choose_encoder("")
    return content_type


def _text(metrics: Iterable[Metric]) -> list[str]:
    lines = []
    for metric in metrics:
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        help_ = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {name} {help_}\n# TYPE {name} {metric.type}\n")
        lines.extend(_samples(metric))
    return lines


def _openmetrics(metrics: Iterable[Metric]) -> list[str]:
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escaped(metric.documentation)}\n# TYPE {metric.name} {metric.type}\n")
        lines.extend(_samples(metric))
    lines.append("# EOF\n")
    return lines


def _samples(metric: Metric) -> list[str]:
    return [f"{sample.name}{_labels(sample.labels)} {_number(sample.value)}\n" for sample in metric.samples]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join([f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items())]) + "}"


def _number(value: float) -> str:
    written: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return written


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
