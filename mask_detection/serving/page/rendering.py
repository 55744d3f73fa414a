"""The page as HTML. Names of sources and classes are others' words: all text goes through :func:`html.escape`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape

from mask_detection.inference.classes import shown
from mask_detection.inference.drawing import GREY, class_colors, hex_color
from mask_detection.serving.page.chart import draw_chart
from mask_detection.serving.state import UNCERTAIN, Alarm, SourceView

MAX_STREAMS = 4  # on a page: browsers open six connections to a host, and the counts need one
TITLE = "Face masks"


def full_page(
    views: Sequence[SourceView], alarms: Sequence[Alarm], class_names: Sequence[str], shown_source: str | None = None
) -> str:
    """The whole page.

    Args:
        views: the sources.
        alarms: the last ones.
        class_names: the model's classes.
        shown_source: the key of the only source to show; None for all.
    """
    chosen = [view for view in views if shown_source in (None, view.key)]
    colors = label_colors(class_names)
    sections = "".join(_source(view, i < MAX_STREAMS, colors) for i, view in enumerate(chosen))
    back = '<p><a href="/">All sources</a></p>' if shown_source else ""
    return _document(f"{back}<main>{sections}</main>{_alarms(alarms)}", script=True)


def changing_parts(views: Sequence[SourceView], alarms: Sequence[Alarm], class_names: Sequence[str]) -> str:
    """The parts of the page that the script renews, each with the ``id`` that it has on the page."""
    colors = label_colors(class_names)
    return "".join(_now(view, colors) for view in views) + _alarms(alarms)


def login_page(message: str = "") -> str:
    """The form that takes the token."""
    return _document(
        f"""<main class="login"><form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
<p role="alert">{escape(message)}</p>
<p>The token is in the file that --serve-token-file names.</p>
</form></main>"""
    )


def label_colors(class_names: Sequence[str]) -> dict[str, str]:
    """The colours in which frames are drawn, as ``#28b43c``; the one of faces without a certain class comes last."""
    colors = {**class_colors(tuple(class_names)), UNCERTAIN: GREY}
    return {label: hex_color(color) for label, color in colors.items()}


def _document(body: str, script: bool = False) -> str:
    head = '<script src="/page.js" defer></script><noscript><meta http-equiv="refresh" content="30"></noscript>'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{TITLE}</title><link rel="stylesheet" href="/page.css">{head if script else ""}</head>
<body><h1>{TITLE}</h1><p id="lost" role="alert" hidden>No connection; trying again.</p>
{body}</body></html>
"""


def _source(view: SourceView, streams: bool, colors: Mapping[str, str]) -> str:
    name = escape(view.name)
    picture = f'<a href="/?source={view.key}">Show the picture</a>'
    if streams:
        picture = f'<img class="picture" src="/stream/{view.key}" alt="The newest frame of {name}">'
    return f'<section class="source"><h2>{name}</h2>{picture}{_now(view, colors)}</section>'


def _now(view: SourceView, colors: Mapping[str, str]) -> str:
    counts = "".join(
        f'<div><dt>{_swatch(color)}{escape(shown(label))}</dt><dd data-label="{escape(label)}">{view.faces[label]}</dd>'
        "</div>"
        for label, color in colors.items()
    )
    chart = draw_chart(view.intervals, colors, f"Tracks that began at {view.name} in the last hours")
    return (
        f'<div class="now" id="now-{view.key}">{_state(view)}<dl>{counts}</dl>'
        f"<h3>Tracks in the last hours</h3>{chart}</div>"
    )


def _state(view: SourceView) -> str:
    if view.state.is_up:
        return f'<p class="state up">up · {view.frames_per_second:.1f} frames/s</p>'
    reason = f" · {escape(view.state.reason)}" if view.state.reason else ""
    return f'<p class="state down">down since {_moment(view.state.since)}{reason}</p>'


def _alarms(alarms: Iterable[Alarm]) -> str:
    items = "".join(_alarm_items(alarms)) or "<li>none so far</li>"
    return f'<section id="alarms"><h2>Last alarms</h2><ol>{items}</ol></section>'


def _alarm_items(alarms: Iterable[Alarm]) -> Iterator[str]:
    for alarm in alarms:
        crop = f'<img src="/alarms/{alarm.number}.jpg" alt="">' if alarm.crop else ""
        what = ", ".join(map(shown, alarm.event["classes"]))
        many = f"{alarm.event['count']} " if alarm.event["count"] > 1 else ""
        yield (
            f"<li>{crop}<span><b>{many}{escape(what)}</b> at {escape(alarm.event['source'])}<br>"
            f"{_moment(alarm.time)}</span></li>"
        )


def _moment(moment: float) -> str:
    text = time.strftime("%a %H:%M:%S", time.localtime(moment))
    return f'<time datetime="{datetime.fromtimestamp(moment).astimezone().isoformat(timespec="seconds")}">{text}</time>'


def _swatch(color: str) -> str:
    """A square of a class's colour; as an attribute, which the page's rules against foreign styles allow."""
    return f'<svg class="swatch" viewBox="0 0 1 1" aria-hidden="true"><path fill="{color}" d="M0 0h1v1H0z"/></svg>'
