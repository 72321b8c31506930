"""Prometheus' text format, version 0.0.4: families with HELP and TYPE, their samples below."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    value: float
    labels: Labels = ()


class Histogram(NamedTuple):
    """`counts`: one for each bound and one above the last; not added up."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float
    labels: Labels = ()


class Family(NamedTuple):
    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample | Histogram]


def encode(families: Iterable[Family]) -> bytes:
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines += (f"# HELP {family.name} {_escape(family.help)}", f"# TYPE {family.name} {family.kind}")
            for sample in family.samples:
                if isinstance(sample, Histogram):
                    lines += _histogram(family.name, sample)
                else:
                    lines.append(_line(family.name, sample.labels, sample.value))
    return "\n".join([*lines, ""]).encode("utf-8", "replace")


def _histogram(name: str, histogram: Histogram) -> list[str]:
    lines, seen = [], 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        seen += count
        lines.append(_line(f"{name}_bucket", (*histogram.labels, ("le", _number(bound))), seen))
    return [*lines, _line(f"{name}_sum", histogram.labels, histogram.sum), _line(f"{name}_count", histogram.labels, seen)]


def _line(name: str, labels: Labels, value: float) -> str:
    text = ",".join(f'{key}="{_escape(content, is_quoted=True)}"' for key, content in labels)
    return f"{name}{{{text}}} {_number(value)}" if text else f"{name} {_number(value)}"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escape(text: str, is_quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if is_quoted else text
