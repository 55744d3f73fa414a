"""The chart of the last hours: stacked bars as SVG, which every browser draws without a script."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from mask_detection.serving.history import INTERVAL_S

WIDTH, HEIGHT = 360, 110  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 26, 4, 8, 18  # margins around the bars
GAP = 1  # between two bars


def draw_chart(intervals: Sequence[tuple[float, Counter[str]]], colors: Mapping[str, str], title: str) -> str:
    """Draw the tracks of each interval.

    Args:
        intervals: when each began, in seconds since 1970, and its tracks by label.
        colors: of each label, such as ``#28b43c``, in the order in which bars are stacked.
        title: what the chart shows.

    Returns:
        An ``<svg>`` element.
    """
    most = _round_up(max((sum(counts.values()) for _, counts in intervals), default=0))
    parts = [*_grid(most), *_hours(intervals), *_bars(intervals, colors, most)]
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _bars(intervals: Sequence[tuple[float, Counter[str]]], colors: Mapping[str, str], most: int) -> Iterator[str]:
    step, unit = (WIDTH - LEFT - RIGHT) / len(intervals), (HEIGHT - TOP - BOTTOM) / most
    for i, (start, counts) in enumerate(intervals):
        bottom = float(HEIGHT - BOTTOM)
        for label, color in colors.items():
            if not counts[label]:
                continue
            height = counts[label] * unit
            bottom -= height
            when = f"{_clock(start)} to {_clock(start + INTERVAL_S)}"
            yield (
                f'<rect x="{LEFT + i * step:.2f}" y="{bottom:.2f}" width="{step - GAP:.2f}" height="{height:.2f}" '
                f'fill="{color}"><title>{when}: {counts[label]} {escape(label)}</title></rect>'
            )


def _grid(most: int) -> Iterator[str]:
    for value in dict.fromkeys((0, most // 2, most)):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text x="{LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{value}</text>'


def _hours(intervals: Sequence[tuple[float, Counter[str]]]) -> Iterator[str]:
    step = (WIDTH - LEFT - RIGHT) / len(intervals)
    for i, (start, _) in enumerate(intervals):
        if time.localtime(start).tm_min < INTERVAL_S / 60:
            yield f'<text x="{LEFT + i * step:.1f}" y="{HEIGHT - 5}" text-anchor="middle">{_clock(start)}</text>'


def _clock(moment: float) -> str:
    return time.strftime("%H:%M", time.localtime(moment))


def _round_up(most: int) -> int:
    """The next of 2, 4, 10, 20, 40, 100, …, which halves well."""
    top = 2
    for factor in (n * 10**power for power in range(12) for n in (2, 4, 10)):
        top = factor
        if factor >= most:
            break
    return top
