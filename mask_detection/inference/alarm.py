"""Alarms: a face was seen for too long in a class such as the one without a mask, or too many faces were.

They go to whoever listens, such as the user's own command.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from mask_detection.inference import classes
from mask_detection.inference.sinks import Sink
from mask_detection.inference.tracking import MAX_GAP
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    from mask_detection.inference.detections import Detections
    from mask_detection.io.sources import Frame

MAX_RUNNING = 4  # commands at a time
MAX_ERROR_BYTES = 4096  # of its standard error that are kept: the last ones
ERRORS_WAIT = 0.2  # seconds until what it has printed is read
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has but one
MAX_LEFT_BEHIND = 32  # commands that have ended, whose own programs may go on
LAST_WAIT = 2.0  # seconds that the commands which still run at the end of the video are given

MIN_SIGHTING_S = 0.5  # for which a track has to be seen with a certain label to be one of the crowd
LEAST_CROWD = 2  # faces, and as many of them without a mask: one face never raises the alarm of a crowd

logger = logging.getLogger(__name__)

Listener = Callable[[dict[str, Any]], None]  # is given each alarm's event, and must not wait


def choose_alert_classes(given: Sequence[str] | None, class_names: Sequence[str]) -> tuple[str, ...]:
    """The classes to raise the alarm for: those given, or the model's of faces without a mask and with one worn wrong.

    Raises:
        MaskDetectionError: the model has no such class.
    """
    known = ", ".join(class_names)
    for name in given or ():
        if name not in class_names:
            raise MaskDetectionError(f"--alert-class {name}: is no class of the model; name one of {known}")
    chosen = tuple(given or classes.alert_classes(class_names))
    if not chosen:
        raise MaskDetectionError(
            f"--alert-command: the model has no class called without_mask; name one of {known} with --alert-class"
        )
    return chosen


class AlarmCommand(Sink):
    """Runs a command in the background, once for each event, and logs a line when that failed.

    The event is one line of JSON on the command's standard input. Its standard output is dropped: ours may be a log
    that another program reads.
    """

    def __init__(self, command_line: str) -> None:
        """Look at the command, without running it.

        Args:
            command_line: a program and its arguments, quoted as in a shell. No shell runs it.

        Raises:
            MaskDetectionError: it is empty, or a quotation mark in it is left open.
        """
        try:
            words = shlex.split(command_line)
        except ValueError:
            raise MaskDetectionError("--alert-command: a quotation mark in it is left open; close it") from None
        if not words:
            raise MaskDetectionError("--alert-command: is empty; name a program to run")
        self._command: str | list[str] = words
        if os.name == "nt":
            self._command = command_line  # Windows splits it itself; shlex would eat the backslashes of paths
        elif shutil.which(words[0]) is None:
            logger.warning("--alert-command: there is no program %s here; alarms will fail", words[0])
        self._running: list[_Program] = []
        self._left_behind: list[_Program] = []  # that have ended, but not what they started

    def start(self, event: dict[str, Any]) -> None:
        """Run the command for an event, without waiting for it."""
        with _never_ending_the_run():
            self._start(event)

    def _start(self, event: dict[str, Any]) -> None:
        if len(self._running) >= MAX_RUNNING:
            _complain(f"is still running for {MAX_RUNNING} earlier alarms; this one is left out")
            return
        with tempfile.TemporaryFile() as line:  # other than a pipe, it never makes us wait until the command reads
            line.write(json.dumps(event).encode() + b"\n")
            line.seek(0)
            try:
                self._running.append(_Program(self._command, line))
            except OSError as error:
                _complain(f"cannot be run ({error.strerror}); check the program's name")

    def write(self, frame: Frame, detections: Detections) -> None:
        """Look now and then, at each frame, which commands have ended."""
        with _never_ending_the_run():
            self.collect()

    def collect(self) -> None:
        """Log which commands failed in the meantime, without waiting for any; what they have started may go on."""
        ended = [program for program in self._running if program.has_ended()]
        self._running = [program for program in self._running if program not in ended]
        for program in ended:
            if fault := program.fault():
                _complain(fault)
        self._left_behind = [program for program in (*self._left_behind, *ended) if program.has_left_some()]
        while len(self._left_behind) > MAX_LEFT_BEHIND:
            self._left_behind.pop(0).stop()

    def finish(self) -> None:
        """Wait for the commands that still run, but not for long: then they, and all that they started, are stopped."""
        deadline = time.monotonic() + LAST_WAIT
        try:
            for program in self._running:
                program.wait(deadline - time.monotonic())
        finally:
            for program in (*self._running, *self._left_behind):
                program.stop()
        self.collect()
        self._left_behind = []


def _complain(fault: str) -> None:
    logger.error("error: --alert-command: %s", fault)


class _Program:
    """A command that was started, with the programs that it starts itself, and the end of what it complains of."""

    def __init__(self, command: str | list[str], line: IO[bytes]) -> None:
        """Start it; where the system can, in a session of its own, in which all that it starts can be found again.

        Args:
            command: as :class:`subprocess.Popen` takes it.
            line: what it reads.

        Raises:
            OSError: it cannot be run.
        """
        self._process = subprocess.Popen(
            command, stdin=line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        self._errors = b""
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def _read_errors(self) -> None:
        """Take what it prints to its standard error as it comes, so that it never waits, and keep the end."""
        assert self._process.stderr is not None  # noqa: S101 (for the type checker)
        with self._process.stderr as stream:
            while data := os.read(stream.fileno(), MAX_ERROR_BYTES):
                self._errors = (self._errors + data)[-MAX_ERROR_BYTES:]

    def has_ended(self) -> bool:
        """Tell whether it has ended; what it started may still run."""
        return self._process.poll() is not None

    def fault(self) -> str:
        """How it failed; empty where it didn't."""
        if not self._process.returncode:
            return ""
        self._reader.join(ERRORS_WAIT)  # what it started may keep the other end open
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return f"ended with status {self._process.returncode}{f': {lines[-1]}' if lines else ''}"

    def has_left_some(self) -> bool:
        """Tell whether something that it started still runs, where there are sessions."""
        return self._signal_all(0)

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended, but no longer than so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, timeout_s))

    def stop(self) -> None:
        """End it, and all that it started."""
        if not self._signal_all(KILL):
            self._process.kill()
        self._process.wait()

    def _signal_all(self, number: int) -> bool:
        """Send a signal to its session; tell whether somebody is there."""
        if not hasattr(os, "killpg"):
            return False
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # it runs as somebody else, or, on a Mac, all of it has ended
            return self._process.poll() is None
        return True


@dataclass
class _Watched:
    """A track: since when it is seen in an alert class without another label between, and whether it was reported."""

    seen_s: float
    since_s: float | None = None
    is_reported: bool = False


class Alarm(Sink):
    """Watches the tracks of one source: each raises one alarm at most."""

    def __init__(
        self, listeners: Sequence[Listener], alert_classes: Collection[str], after_s: float, cooldown_s: float
    ) -> None:
        """Set the conditions; times are the video's.

        Args:
            listeners: each is given the event: ``source``, the moment, ``seconds``, the record of the face, and
                ``classes``, ``tracks`` and ``count`` of those concerned, here one.
            alert_classes: the classes to raise the alarm for.
            after_s: seconds for which a track has to be seen in them. Uncertain labels and short gaps don't end that
                time, but only a certain label of one of these classes raises the alarm.
            cooldown_s: least seconds between two alarms. One that comes too early is put off, not lost.
        """
        self._listeners = listeners
        self._alert_classes = alert_classes
        self._after_s = after_s
        self._cooldown_s = cooldown_s
        self._last_alarm_s = -float("inf")
        self._tracks: dict[int, _Watched] = {}

    def write(self, frame: Frame, detections: Detections) -> None:
        """Look at the next frame's faces, and raise the alarm where one of them is due."""
        self._tracks = {k: track for k, track in self._tracks.items() if frame.time_s - track.seen_s <= MAX_GAP}
        for record in detections.to_records():
            if "track" in record and self._is_due(record, frame.time_s):
                self._raise(record, frame)

    def _is_due(self, record: dict[str, Any], time_s: float) -> bool:
        track = self._tracks.setdefault(record["track"], _Watched(time_s))
        track.seen_s = time_s
        if record.get("uncertain"):
            return False
        if record["label"] not in self._alert_classes:
            track.since_s = None
            return False
        track.since_s = time_s if track.since_s is None else track.since_s
        waited = time_s - track.since_s >= self._after_s and time_s - self._last_alarm_s >= self._cooldown_s
        return waited and not track.is_reported

    def _raise(self, record: dict[str, Any], frame: Frame) -> None:
        track = self._tracks[record["track"]]
        track.is_reported, self._last_alarm_s = True, frame.time_s
        seconds = round(frame.time_s - (track.since_s or 0), 3)
        concerned = {"classes": [record["label"]], "tracks": [record["track"]], "count": 1}
        event = {"source": frame.source, **frame.moment(), "seconds": seconds, **record, **concerned}
        for listener in self._listeners:
            listener(event)


@dataclass
class _Visitor:
    """A track of a crowd: when it was first and last seen with a certain label, and the latest of these."""

    first_s: float
    last_s: float
    label: str


class CrowdAlarm(Sink):
    """Watches one source for a crowd too many of which are seen in an alert class; a face alone never raises it."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        alert_classes: Collection[str],
        fraction: float,
        window_s: float,
        minimum: int,
        cooldown_s: float,
    ) -> None:
        """Set the conditions; times are the video's.

        Args:
            listeners: each is given the event: ``source``, the moment, ``fraction`` of so many (``sample``) tracks,
                ``window_s``, and ``classes``, ``tracks`` and ``count`` of those in alert classes.
            alert_classes: the classes to raise the alarm for.
            fraction: of the tracks seen within the window, from which on the alarm is raised, 0..1.
            window_s: seconds that are looked back. A track counts once, with its latest certain label.
            minimum: tracks that have to be seen for that; never less than ``LEAST_CROWD``.
            cooldown_s: least seconds between two alarms.
        """
        self._listeners = listeners
        self._alert_classes = alert_classes
        self._fraction = fraction
        self._window_s = window_s
        self._minimum = max(minimum, LEAST_CROWD)
        self._cooldown_s = cooldown_s
        self._last_alarm_s = -float("inf")
        self._visitors: dict[int, _Visitor] = {}  # the one that was seen last comes last

    def write(self, frame: Frame, detections: Detections) -> None:
        """Look at the next frame's faces, and raise the alarm where it is due."""
        time_s = frame.time_s
        for face in detections:
            if face.track is not None and not face.uncertain:
                first_s = visitor.first_s if (visitor := self._visitors.pop(face.track, None)) else time_s
                self._visitors[face.track] = _Visitor(first_s, time_s, face.label)
        while self._visitors and time_s - next(iter(self._visitors.values())).last_s > self._window_s:
            del self._visitors[next(iter(self._visitors))]
        if time_s - self._last_alarm_s >= self._cooldown_s:
            self._look(frame)

    def _look(self, frame: Frame) -> None:
        crowd = {k: v for k, v in self._visitors.items() if v.last_s - v.first_s >= MIN_SIGHTING_S}
        concerned = sorted(k for k, visitor in crowd.items() if visitor.label in self._alert_classes)
        if len(crowd) < self._minimum or len(concerned) < max(LEAST_CROWD, self._fraction * len(crowd)):
            return
        self._last_alarm_s = frame.time_s
        event = {
            "source": frame.source,
            **frame.moment(),
            "fraction": round(len(concerned) / len(crowd), 4),
            "sample": len(crowd),
            "window_s": self._window_s,
            "classes": sorted({crowd[k].label for k in concerned}),
            "tracks": concerned,
            "count": len(concerned),
        }
        for listener in self._listeners:
            listener(event)


@contextmanager
def open_alarm_command(command_line: str) -> Iterator[AlarmCommand]:
    """Yield an :class:`AlarmCommand`; its last ones get a little time at the end, also after an error or Ctrl-C.

    Raises:
        MaskDetectionError: there is no command in ``command_line``.
    """
    command = AlarmCommand(command_line)
    try:
        yield command
    finally:
        with _never_ending_the_run():
            command.finish()


@contextmanager
def _never_ending_the_run() -> Iterator[None]:
    """Log what an alarm cannot do, such as make a temporary file on a full disk: the video is worth more."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"cannot be run ({place}{error.strerror or error}); the run goes on without this alarm")
