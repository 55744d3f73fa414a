"""The sinks of a video run: what the options ask for, put together for each source."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.commands.video.options import DEFAULT_AFTER_S, has_alarm
from mask_detection.commands.video.paths import path_of
from mask_detection.commands.video.recordings import Recordings, make_folder_of
from mask_detection.inference.alarm import Alarm, CrowdAlarm, Listener, choose_alert_classes, open_alarm_command
from mask_detection.inference.drawing import FaceBlur
from mask_detection.inference.overlay import Overlay
from mask_detection.inference.sinks import AnnotatedFrames, Log, RecordedFrames, ShownFrames, Sink
from mask_detection.inference.statistics import Row, RowListener, Statistics, open_statistics
from mask_detection.inference.summary import VideoSummary, open_summaries
from mask_detection.io.readers import LateSource
from mask_detection.io.window import Window
from mask_detection.utils.errors import OutputError

if TYPE_CHECKING:
    from mask_detection.inference.detections import Detections
    from mask_detection.io.sources import Frame, VideoSource

logger = logging.getLogger(__name__)


@dataclass
class Receivers:
    """Who else takes what a run gives, of all its sources: pages, brokers.

    Attributes:
        detections: take the frames as they are, before the alarms see them.
        frames: take the frames as they are drawn.
        rows: are given each row of the statistics, whether or not they are written.
        alarms: are given the event of each alarm, whose ``source`` is that of the frames.
    """

    detections: list[Sink] = field(default_factory=list)
    frames: list[Sink] = field(default_factory=list)
    rows: list[RowListener] = field(default_factory=list)
    alarms: list[Listener] = field(default_factory=list)


class VideoSinks(Sink):
    """Takes the frames of all sources, and opens what a source needs when its first one comes; the stack closes it.

    Attributes:
        summaries: of each source, in their order.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        sources: Sequence[VideoSource],
        class_names: Sequence[str],
        shows: bool,
        stack: ExitStack,
        receivers: Receivers | None = None,
    ) -> None:
        """Open what all sources share.

        Args:
            args: of the script.
            sources: whose names differ.
            class_names: of the model.
            shows: whether to open a window.
            stack: closes everything.
            receivers: take what else there is to take.
        """
        self._args = args
        self._sources = {source.name: source for source in sources}
        self._stack = stack
        self._receivers = receivers or Receivers()
        self._has_failed = False
        self._names_source = len(sources) > 1 or bool(args.name)
        self._recordings = Recordings(args, class_names, self._names_source, stack)
        self._window = stack.enter_context(Window("Face masks")) if shows else None
        self._command = None
        if args.alert_command is not None:
            self._command = stack.enter_context(open_alarm_command(args.alert_command))
        if has_alarm(args) or self._receivers.alarms:
            self._alert_classes = choose_alert_classes(args.alert_class, class_names)
        self.summaries = self._open_summaries()
        self._statistics_file = cache(self._open_statistics_file)
        self._sinks: dict[str, list[Sink]] = {}
        if len(sources) == 1 and not isinstance(sources[0], LateSource):  # what cannot be written ends the run at once
            self._sinks[sources[0].name] = self._open(sources[0])

    @property
    def has_failed(self) -> bool:
        """Whether something could not be written, although the run went on."""
        return self._has_failed or self._recordings.has_failed

    def write(self, frame: Frame, detections: Detections) -> None:
        """Pass a frame on to the sinks of its source."""
        if frame.source not in self._sinks:
            self._sinks[frame.source] = self._open(self._sources[frame.source])
        for sink in self._sinks[frame.source]:
            sink.write(frame, detections)

    def _open_summaries(self) -> list[VideoSummary]:
        titles = [source.name if self._names_source else source.address for source in self._sources.values()]
        paths = [self._args.summary and path_of(self._args.summary, name) for name in self._sources]
        for path in filter(None, paths):
            make_folder_of(self._args.summary, path)
        if len({*paths}) == 1:
            return self._stack.enter_context(open_summaries(paths[0], titles))
        opened = (open_summaries(path, [title]) for path, title in zip(paths, titles, strict=True))
        return [summary for each in opened for summary in self._stack.enter_context(each)]

    def _open(self, source: VideoSource) -> list[Sink]:
        sinks: list[Sink] = [self.summaries[[*self._sources].index(source.name)], *self._receivers.detections]
        if self._args.statistics or self._receivers.rows:
            sinks.append(self._statistics(source))
        clips = self._recordings.clips(source) if self._args.clips else None
        if has_alarm(self._args) or self._receivers.alarms:
            sinks += self._alarms(source, [clips.on_alarm] if clips else [])
        if self._args.log:
            sinks.append(Log(self._recordings.log(source), self._names_source))
        drawn: list[Sink] = [*self._receivers.frames]
        if self._args.output:
            drawn.append(RecordedFrames(self._recordings.video(source)))
        if clips:
            drawn.append(clips)
        if self._window:
            drawn.append(ShownFrames(self._window, [*self._sources]))
        if drawn:
            overlay = None if self._args.no_overlay else Overlay()
            sinks.append(AnnotatedFrames(drawn, overlay, FaceBlur() if self._args.blur_faces else None))
        return sinks

    def _statistics(self, source: VideoSource) -> Statistics:
        listeners = [*self._receivers.rows]
        if self._args.statistics:
            path = path_of(self._args.statistics, source.name)
            make_folder_of(self._args.statistics, path)
            listeners.append(self._statistics_file(path))
        statistics = Statistics(source.name, self._args.interval, listeners)
        self._stack.callback(statistics.close)
        return statistics

    def _open_statistics_file(self, path: Path) -> Callable[[Row], None]:
        file = self._stack.enter_context(open_statistics(path))

        def write(row: Row) -> None:
            try:
                file.write(row)
            except OutputError as error:
                self._has_failed = True
                logger.error("error: %s; what is missing is written as soon as there is room", error)

        return write

    def _alarms(self, source: VideoSource, listeners: list[Listener]) -> list[Sink]:
        args, command, sinks = self._args, self._command, list[Sink]()
        title = source.name if self._names_source else source.address
        if command:
            sinks.append(command)

            def run_command(event: dict[str, Any]) -> None:
                command.start({**event, "source": title})

            listeners.append(run_command)
        listeners += self._receivers.alarms
        if args.alert_fraction is None or args.alert_after is not None:
            after_s = DEFAULT_AFTER_S if args.alert_after is None else args.alert_after
            sinks.append(Alarm(listeners, self._alert_classes, after_s, args.alert_cooldown))
        if args.alert_fraction is not None:
            crowd = (args.alert_fraction, args.alert_window, args.alert_minimum, args.alert_cooldown)
            sinks.append(CrowdAlarm(listeners, self._alert_classes, *crowd))
        return sinks
