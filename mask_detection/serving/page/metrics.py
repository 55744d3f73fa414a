"""The run's figures in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mask_detection import __version__
from mask_detection.serving.state import SourceView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "mask_detection"


class _Metric(NamedTuple):
    name: str
    kind: str
    help: str
    samples: Iterator[tuple[Mapping[str, str], float]]


def metrics_text(views: Sequence[SourceView], n_viewers: int) -> str:
    """All metrics of all sources.

    Args:
        views: the sources.
        n_viewers: how many look at a picture.
    """
    lines: list[str] = []
    for metric in _metrics(views, n_viewers):
        name = f"{PREFIX}_{metric.name}"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        lines += [f"{name}{_labels(labels)} {value}" for labels, value in metric.samples]
    return "\n".join(lines) + "\n"


def _metrics(views: Sequence[SourceView], n_viewers: int) -> Iterator[_Metric]:
    def each(attribute: str) -> Iterator[tuple[Mapping[str, str], float]]:
        return (({"source": view.name}, getattr(view, attribute)) for view in views)

    def by_class(attribute: str) -> Iterator[tuple[Mapping[str, str], float]]:
        for view in views:
            for label, count in getattr(view, attribute).items():
                yield {"source": view.name, "class": label}, count

    up = (({"source": view.name}, float(view.state.is_up)) for view in views)
    yield _Metric("info", "gauge", "The version that runs.", iter([({"version": __version__}, 1.0)]))
    yield _Metric("source_up", "gauge", "Whether the source gives frames.", up)
    yield _Metric("frames_total", "counter", "Frames that went through.", each("n_frames"))
    yield _Metric("frames_per_second", "gauge", "Over the last frames.", each("frames_per_second"))
    yield _Metric("faces", "gauge", "Faces in view now.", by_class("faces"))
    yield _Metric("tracks_total", "counter", "Tracks that have ended, by their last class.", by_class("tracks"))
    yield _Metric("alarms_total", "counter", "Alarms that were raised.", each("n_alarms"))
    yield _Metric("viewers", "gauge", "Pictures that are being looked at.", iter([({}, float(n_viewers))]))


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
