"""The videos, logs and clips of a run: opened where the options say, cut into files, and deleted in time."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from mask_detection.commands.video.options import DAY_S
from mask_detection.commands.video.paths import path_of
from mask_detection.inference.sinks import FrameWriter, RecordWriter
from mask_detection.io.growing import Mend, cut_after_last_line
from mask_detection.io.sources import VideoSource
from mask_detection.io.writers import open_log, open_video, video_plays
from mask_detection.recording.clips import Clips
from mask_detection.recording.retention import Manifest, Retention, open_manifest
from mask_detection.recording.segments import SegmentedLog, SegmentedVideo, Segments, names_by_number, names_by_time
from mask_detection.utils.files import is_special, make_folder

CLIP_SUFFIX = ".mkv"
MANIFEST_SUFFIX = ".manifest"

Output = TypeVar("Output")


class Recordings:
    """Opens what is recorded of each source; the stack closes it."""

    def __init__(
        self, args: argparse.Namespace, class_names: Sequence[str], names_source: bool, stack: ExitStack
    ) -> None:
        """Prepare; see :func:`mask_detection.commands.video.options.add_recording_options` for the arguments."""
        self._args = args
        self._class_names = class_names
        self._names_source = names_source
        self._has_several = len(args.source) > 1
        self._stack = stack
        self._segments: list[Segments[Any]] = []
        keep_s = args.keep_days * DAY_S if args.keep_days else None
        self._retention = Retention(args.keep, keep_s) if args.keep is not None or keep_s else None
        self._open_manifest = cache(self._new_manifest)
        self._logs: dict[Path, RecordWriter] = {}

    @property
    def has_failed(self) -> bool:
        """Whether something could not be written, although the run went on."""
        return any(segments.has_failed for segments in self._segments)

    def video(self, source: VideoSource) -> FrameWriter:
        """The video of ``--output``, or its folder of frames."""
        path = path_of(self._args.output, source.name, self._has_several)
        make_folder_of(self._args.output, path)
        # Every frame of a camera is kept, however early it comes.
        open_it = partial(open_video, frame_rate=source.recording_rate, drops_early=not source.is_live)
        if not self._args.segment:
            return self._stack.enter_context(open_it(path))
        return SegmentedVideo(self._cut(path, source.is_live, open_it, video_plays, self._args.segment))

    def log(self, source: VideoSource) -> RecordWriter:
        """The log of ``--log``, of one source or all."""
        path = path_of(self._args.log, source.name)
        make_folder_of(self._args.log, path)
        if path not in self._logs:
            self._logs[path] = self._open_log(path, source.is_live)
        return self._logs[path]

    def clips(self, source: VideoSource) -> Clips:
        """The clips of ``--clips``."""
        open_it = partial(open_video, frame_rate=source.recording_rate)
        path = self._args.clips / f"{source.name}{CLIP_SUFFIX}"
        make_folder(path.parent)
        clips = Clips(
            self._cut(path, source.is_live, open_it, video_plays), self._args.clip_before, self._args.clip_after
        )
        self._stack.callback(clips.close)
        return clips

    def _open_log(self, path: Path, is_live: bool) -> RecordWriter:
        open_it = partial(open_log, class_names=self._class_names, names_source=self._names_source)
        if not self._args.segment or str(path) == "-" or is_special(path):
            return self._stack.enter_context(open_it(path))
        return SegmentedLog(self._cut(path, is_live, open_it, cut_after_last_line, self._args.segment))

    def _cut(
        self,
        path: Path,
        is_live: bool,
        open_output: Callable[[Path], AbstractContextManager[Output]],
        mend: Mend,
        length_s: float = float("inf"),
    ) -> Segments[Output]:
        next_name = (names_by_time if is_live else names_by_number)(path)
        manifest = self._open_manifest(path.with_name(path.name + MANIFEST_SUFFIX), mend) if self._retention else None
        segments = Segments(next_name, open_output, length_s, manifest, self._retention)
        self._stack.callback(segments.end)
        self._segments.append(segments)
        return segments

    def _new_manifest(self, path: Path, mend: Mend) -> Manifest:
        manifest = self._stack.enter_context(open_manifest(path, mend))
        if self._retention:
            self._retention.manifests.append(manifest)
            self._stack.callback(self._retention.manifests.remove, manifest)  # other sources may end after this one
            self._retention.tidy()
        return manifest


def make_folder_of(given: Path, path: Path) -> None:
    """Make the folder of an output where it is named after the source."""
    if path.parent != given.parent:
        make_folder(path.parent)
