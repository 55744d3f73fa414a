"""Sources that don't behave: cameras and streams that stall, stop, come back or change, and folders of frames."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from datetime import datetime, timedelta
from itertools import chain, islice, repeat
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import detect_mask_video
from mask_detection.commands import cli
from mask_detection.io import capture, ffmpeg
from mask_detection.io.sources import Frame, open_source
from mask_detection.utils import sandbox
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.sandbox import SandboxResult
from tests.helpers.images import textured
from tests.helpers.videos import FRAME_COUNT, GONE, Act, facts_of, lines_of, streaming
from tests.helpers.web_server import serving

N_SHOWN = 15  # pictures that a stream shows before something happens to it


def shown(first_level: int = 0, size: tuple[int, int] = (160, 120)) -> list[np.ndarray]:
    """Grey pictures, each 5 levels lighter than the one before; size is width, height in pixels."""
    width, height = size
    return [np.full((height, width, 3), first_level + 5 * i, np.uint8) for i in range(N_SHOWN)]


def endless(images: list[np.ndarray]) -> Iterator[np.ndarray]:
    """These images, and then the last one for as long as there is somebody to see it."""
    return chain(images, repeat(images[-1]))


def levels(frames: list[Frame]) -> list[int]:
    """Which of the pictures above they are; JPEG changes levels a little."""
    return [round(float(frame.image.mean()) / 5) for frame in frames]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "FIRST_PAUSE_S", 0.01)


@pytest.fixture(autouse=True)
def no_stale_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no frame be dropped: these sources give all of theirs at once, as no camera does."""
    monkeypatch.setattr("mask_detection.inference.pipeline.newest", lambda frames: nullcontext(iter(frames)))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of live sources all come at the same time, however busy the machine is."""
    monkeypatch.setattr("mask_detection.io.sources.time", SimpleNamespace(monotonic=lambda: 0.0))


# --- streams ---


@pytest.mark.parametrize(
    "acts",
    [
        [Act(shown()), Act(shown(100))],
        [Act(shown()), GONE, GONE, GONE, Act(shown(100))],
        [Act(shown(), stalls=True), Act(shown(100))],
        [Act(shown()), Act([]), Act(shown(100))],
    ],
    ids=["cut", "gone for a while", "stalled", "back without pictures"],
)
def test_a_stream_that_drops_is_opened_again(acts, monkeypatch, caplog):
    monkeypatch.setattr(capture, "READ_TIMEOUT_S", 0.5)
    with streaming(*acts) as server, open_source(server.address) as source:
        frames = list(islice(source, 2 * N_SHOWN))

    assert source.is_live
    assert levels(frames) == [*range(N_SHOWN), *range(20, 20 + N_SHOWN)]
    assert [frame.index for frame in frames] == list(range(2 * N_SHOWN))
    before, after = frames[:N_SHOWN], frames[N_SHOWN:]
    assert all("gap_s" not in frame.moment() for frame in before)
    (gap_s,) = {frame.moment()["gap_s"] for frame in after}
    assert gap_s == pytest.approx(after[0].time_s - before[-1].time_s, abs=0.2)
    dropped, back = (record.message for record in caplog.records)
    assert dropped == f"{server.address}: gives no more frames; trying again for 30 s"
    assert back.startswith(f"{server.address}: is back after ")


def test_gaps_add_up():
    with streaming(Act(shown()), Act(shown()), Act(shown())) as server, open_source(server.address) as source:
        frames = list(islice(source, 3 * N_SHOWN))
    first, second, third = (frames[i].gap_s for i in (0, N_SHOWN, 2 * N_SHOWN))
    assert 0 == first < second < third


def test_a_stream_that_is_gone_for_good_is_said_and_what_came_is_kept(detect, at_once, tmp_path, errors):
    output, log = tmp_path / "annotated.mkv", tmp_path / "seen.jsonl"
    with streaming(Act(shown())) as server:
        status = detect(server.address, "--output", output, "--log", log, "--timeout", 1)
    assert status == cli.EXIT_SOME_FAILED
    (error,) = errors()
    assert f"{server.address}: stopped giving frames after {N_SHOWN} and did not come back within 1 s" in error
    assert facts_of(output).n_frames == len(lines_of(log)) == N_SHOWN


def test_a_server_without_the_stream_is_said(detect, tmp_path, errors):
    with streaming() as server:
        assert detect(server.address, "--output", tmp_path / "annotated.mp4", "--timeout", 0.2) == cli.EXIT_UNUSABLE
    assert errors() == [f"error: {server.address}: does not open; check the address and that the stream runs"]
    assert not list(tmp_path.iterdir())


def test_a_stream_that_comes_back_in_another_size_keeps_the_videos(detect, at_once, tmp_path):
    output = tmp_path / "annotated.avi"
    bright, tall = shown(100), shown(100, size=(60, 120))
    with streaming(Act(bright), Act(endless(tall))) as server:
        assert detect(server.address, "--output", output, "--max-frames", 2 * N_SHOWN) == cli.EXIT_DONE
    assert (facts_of(output).n_frames, facts_of(output).size) == (2 * N_SHOWN, (160, 120))
    last = list(frames_in(output))[-1]
    assert last[:, :45].max() < 20  # a black bar
    assert last[:, 55:105].min() > 100
    assert last[:, 115:].max() < 20


def frames_in(path: Path) -> Iterator[np.ndarray]:
    with open_source(str(path)) as source:
        yield from (frame.image for frame in source)


def test_the_log_tells_the_gap_and_the_time_of_day(detect, tmp_path):
    log = tmp_path / "seen.jsonl"
    with streaming(Act(shown()), Act(endless(shown()))) as server:
        assert detect(server.address, "--log", log, "--max-frames", 2 * N_SHOWN) == cli.EXIT_DONE
    lines = lines_of(log)
    assert all("time" in line for line in lines)
    assert ["gap_s" in line for line in lines] == [False] * N_SHOWN + [True] * N_SHOWN


def test_a_csv_log_tells_the_gap(detect, tmp_path, small_portrait):
    log = tmp_path / "seen.csv"
    portraits = [small_portrait] * N_SHOWN
    with streaming(Act(portraits), Act(endless(portraits))) as server:
        assert detect(server.address, "--log", log, "--max-frames", 2 * N_SHOWN) == cli.EXIT_DONE
    rows = log.read_text("utf-8").splitlines()
    columns = rows[0].split(",")
    gaps = [row.split(",")[columns.index("gap_s")] for row in rows[1:]]
    assert gaps[0] == ""
    assert float(gaps[-1]) > 0


@pytest.fixture
def served(tmp_path) -> Iterator[Callable[..., str]]:
    """A function that puts a file on a server and returns its address."""
    with serving() as server:

        def serve(name: str, content: bytes) -> str:
            server.files[f"/{name}"] = content
            return f"{server.address}/{name}"

        yield serve


def test_a_video_file_on_a_server_has_an_end(video, served):
    with open_source(served("clip.avi", video.read_bytes())) as source:
        assert not source.is_live
        assert source.frame_count == len(list(source)) == FRAME_COUNT


@pytest.fixture
def raw_clip() -> bytes:
    """A video that doesn't say how long it is: Motion JPEG without a container."""
    return b"".join(cv2.imencode(".jpg", textured(64, 48, hue=i, seed=i))[1].tobytes() for i in range(N_SHOWN))


@pytest.mark.parametrize("behaviour", ["", "close/"], ids=["of known length", "until the connection closes"])
def test_a_clip_that_does_not_say_how_long_it_is_plays_once(behaviour, raw_clip, served, detect, tmp_path):
    address, log = served(f"{behaviour}clip.mjpeg", raw_clip), tmp_path / "seen.jsonl"
    assert detect(address, "--log", log, "--timeout", 5) == cli.EXIT_DONE
    assert [line["frame"] for line in lines_of(log)] == list(range(N_SHOWN))


def test_a_clip_on_a_server_that_wants_a_password_plays_once(raw_clip, served):
    address = served("guarded/clip.mjpeg", raw_clip)
    with open_source(address.replace("//", "//admin:p%40ss@")) as source:
        assert not source.is_live
        assert len(list(source)) == N_SHOWN


def test_a_camera_in_the_dark_is_no_clip(monkeypatch):
    monkeypatch.setattr("mask_detection.io.sources.CAMERA_FORMAT", "matroska")  # which this is not: it may be a clip
    dark, asked_for_its_length = Act([np.zeros((48, 64, 3), np.uint8)] * N_SHOWN), Act([])
    with (
        streaming(GONE, dark, asked_for_its_length, GONE, dark) as server,
        open_source(server.address, timeout_s=5) as source,
    ):
        assert source.is_live
        assert len(list(islice(source, 2 * N_SHOWN))) == 2 * N_SHOWN


def test_capital_letters_in_an_address_do_not_matter(video, served):
    with open_source(served("clip.avi", video.read_bytes()).replace("http", "HTTP")) as source:
        assert len(list(source)) == FRAME_COUNT


@pytest.mark.parametrize("acts", [[GONE] * 6, [GONE] * 12], ids=["soon", "later"])
def test_a_stream_that_is_not_up_yet_is_waited_for(acts, caplog):
    with streaming(*acts, Act(shown())) as server, open_source(server.address, timeout_s=20) as source:
        assert levels(list(islice(source, N_SHOWN))) == list(range(N_SHOWN))
    assert [record.message for record in caplog.records] == [f"{server.address}: does not open; trying again for 20 s"]


def test_a_server_that_is_started_later_is_waited_for(detect, tmp_path):
    with streaming() as server:
        port = server.server_port
    log, servers = tmp_path / "seen.jsonl", ExitStack()

    def start() -> None:
        servers.enter_context(streaming(Act(endless(shown())), port=port))

    starter = threading.Timer(1.0, start)
    starter.start()
    try:
        address = f"http://127.0.0.1:{port}/stream"
        assert detect(address, "--log", log, "--max-frames", 5, "--timeout", 20) == cli.EXIT_DONE
    finally:
        starter.join()
        servers.close()
    assert len(lines_of(log)) == 5


# --- what sources may make FFmpeg do ---

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("form", [HLS, "ffconcat version 1.0\nfile {}\n"], ids=["HLS", "concat"])
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_a_playlist_on_a_server_reaches_no_other_host(form, name, video, served, detect, tmp_path, errors):
    with serving() as other:
        other.files["/clip.avi"] = video.read_bytes()
        address = served(name, form.format(f"{other.address}/clip.avi").encode())
        assert detect(address, "--log", tmp_path / "seen.csv", "--timeout", 0.5) == cli.EXIT_UNUSABLE
        assert other.requests == []
    (error,) = errors()
    assert error.startswith(f"error: {address}: does not open; ")
    assert ("playlist" in error) == name.endswith(".m3u8")


@pytest.mark.parametrize("address", ["concat://a|b", "gopher://127.0.0.1/1", "lavfi://testsrc", "subfile://x"])
def test_addresses_of_other_kinds_are_refused(address, detect, tmp_path, errors):
    assert detect(address, "--log", tmp_path / "seen.csv") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith(f"error: {address}: is no address that is read here; use one of http, https, rtsp, ")


def test_options_of_the_users_own_come_first_and_stay(monkeypatch, served, video):
    own = "format_whitelist;mov|probesize;500000"
    monkeypatch.setenv(ffmpeg.OPTIONS_VARIABLE, own)
    address = served("clip.avi", video.read_bytes())
    with pytest.raises(MaskDetectionError, match="does not open"):
        open_source(address, timeout_s=0.3)
    assert os.environ[ffmpeg.OPTIONS_VARIABLE] == own
    monkeypatch.delenv(ffmpeg.OPTIONS_VARIABLE)
    with open_source(address) as source:
        assert len(list(source)) == FRAME_COUNT
    assert ffmpeg.OPTIONS_VARIABLE not in os.environ


def test_threads_that_open_different_kinds_keep_apart(video, served):
    address, failed = served("clip.avi", video.read_bytes()), []

    def open_often(source: str) -> None:
        for _ in range(20):
            try:
                open_source(source).close()
            except MaskDetectionError as error:
                failed.append(error)

    threads = [threading.Thread(target=open_often, args=(source,)) for source in [address, str(video)] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert ffmpeg.OPTIONS_VARIABLE not in os.environ


# --- secrets of addresses ---


SECRETS = ("secr@t", "ab/c")


@pytest.fixture
def secret_stream(small_portrait) -> Iterator[str]:
    """The address of a stream that needs a password and a token, and drops twice."""
    portraits = [small_portrait] * N_SHOWN
    with streaming(Act(portraits), Act(endless(portraits))) as server:
        yield server.address.replace("//", f"//admin:{SECRETS[0]}@") + f"?token={SECRETS[1]}"


def test_secrets_get_into_no_output(secret_stream, detect, tmp_path, capfd):
    told, summary, log = (tmp_path / name for name in ("told.jsonl", "summary.json", "seen.jsonl"))
    copy = f"{sys.executable} -c 'import sys; open(sys.argv[1], \"w\").write(sys.stdin.read())' {told}"
    alarm = ["--alert-command", copy, "--alert-after", 0, "--alert-class", "with_mask", "without_mask"]
    outputs = ["--summary", summary, "--log", log, *alarm]

    assert detect(secret_stream, *outputs, "--max-frames", 2 * N_SHOWN) == cli.EXIT_DONE

    shown = secret_stream.replace(SECRETS[0], "…").replace(SECRETS[1], "…")
    printed = "".join(capfd.readouterr())
    assert f"{shown}: is back after " in printed
    assert json.loads(summary.read_text("utf-8"))["source"] == json.loads(told.read_text("utf-8"))["source"] == shown
    texts = [printed, *(path.read_text("utf-8") for path in tmp_path.iterdir())]
    assert not any(secret in text for secret in SECRETS for text in texts)


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://admin:a@secret@127.0.0.1:9/1",
        "rtsp:/admin:a@secret@127.0.0.1",
        "admin:a@secret@127.0.0.1",
        "x:secret@" * 99,
    ],
)
def test_secrets_stay_out_of_errors(source, detect, tmp_path, capfd):
    assert detect(source, "--log", tmp_path / "seen.csv", "--timeout", 0.2) == cli.EXIT_UNUSABLE
    printed = capfd.readouterr().err
    assert printed.splitlines()[-1].startswith("error: ")
    assert "secret" not in printed


def test_an_address_that_is_no_option_is_not_repeated_with_its_password(capsys):
    with pytest.raises(SystemExit):
        detect_mask_video.main(["rtsp://admin:secret@camera/1"])
    assert "secret" not in capsys.readouterr().err


def options_of(*arguments: object) -> argparse.Namespace:
    return detect_mask_video.parse_arguments([str(argument) for argument in arguments])


def test_a_source_may_stand_in_a_file_or_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "camera.txt"
    file.write_text(" rtsp://admin:secret@camera/1\n", "utf-8")
    assert options_of("--source-file", file).source == "rtsp://admin:secret@camera/1"
    assert options_of().source == "0"
    monkeypatch.setenv("MASK_SOURCE", "rtsp://camera/2")
    assert options_of().source == "rtsp://camera/2"
    assert options_of("--source", "street.mp4").source == "street.mp4"
    assert options_of("--source-file", file).source == "rtsp://admin:secret@camera/1"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read (No such file or directory); check the path"),
        (b"secret \xff", "cannot be read (it is no text); check the path"),
        (b" \n", "holds 0 lines; write one with the source into it"),
        (b"secret\nsecret", "holds 2 lines; write one with the source into it"),
    ],
)
def test_a_file_without_a_source_is_one_line(tmp_path, content, fault, capsys):
    file = tmp_path / "camera.txt"
    if content is not None:
        file.write_bytes(content)
    assert detect_mask_video.main(["--source-file", str(file), "--log", "-"]) == cli.EXIT_UNUSABLE
    assert capsys.readouterr().err == f"error: --source-file {file}: {fault}\n"


# --- cameras ---


class Camera:
    """Stands in for ``cv2.VideoCapture``: a camera that doesn't know its frame rate.

    Attributes:
        shots: what each reading gives, True for a picture; the last goes on for ever.
        n_opened: how often it was opened.
    """

    shots: list[bool]
    frame_rate = 0.0
    n_opened = 0

    def __init__(self) -> None:
        type(self).n_opened += 1

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        return True

    def get(self, key: int) -> float:
        return self.frame_rate if key == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        arrived = self.shots.pop(0) if len(self.shots) > 1 else self.shots[0]
        return arrived, np.full((120, 160, 3), 80, np.uint8) if arrived else None

    def release(self) -> None:
        pass


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[bool]], type[Camera]]:
    """A function that plugs in a camera as number 0."""
    true_capture = cv2.VideoCapture

    def plug_in(shots: list[bool]) -> type[Camera]:
        kind = type("PluggedIn", (Camera,), {"shots": shots})

        def opened(source: int | str, *parameters: object) -> Camera | cv2.VideoCapture:
            return kind() if source in (0, "/dev/video0") else true_capture(source, *parameters)

        monkeypatch.setattr(cv2, "VideoCapture", opened)
        return kind

    return plug_in


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, in seconds of a clock that only they move."""
    made: list[float] = []

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            made.append(timeout or 0.0)
            return self.is_set()

    monkeypatch.setattr(capture, "threading", SimpleNamespace(Event=Event, Lock=threading.Lock))
    monkeypatch.setattr(capture, "time", SimpleNamespace(monotonic=lambda: math.fsum(made)))
    monkeypatch.setattr(capture, "FIRST_PAUSE_S", 0.1)
    return made


def test_a_camera_is_logged_with_the_time_of_day(detect, camera, tmp_path):
    camera([True])
    log = tmp_path / "seen.jsonl"
    assert detect(0, "--log", log, "--max-frames", 5) == cli.EXIT_DONE
    lines = lines_of(log)
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert all(time.utcoffset() == timedelta(0) for time in times)
    assert times == sorted(times)
    seconds = [line["time_s"] for line in lines]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


def test_a_camera_may_need_a_moment(camera, pauses):
    plugged_in = camera([False, False, False, True])
    with open_source("/dev/video0") as source:
        frame = next(iter(source))
    assert pauses == pytest.approx([0.1, 0.2, 0.4])
    assert plugged_in.n_opened == 1
    assert frame.gap_s == 0  # it had not begun


def test_a_camera_that_is_plugged_in_again_goes_on(camera, pauses):
    plugged_in = camera([True] * 3 + [False] * 5 + [True])
    with open_source("0") as source:
        frames = list(islice(source, 6))
    assert [frame.gap_s for frame in frames] == pytest.approx([0, 0, 0, 3.1, 3.1, 3.1])
    assert plugged_in.n_opened == 2


def test_a_picture_that_comes_after_the_time_out_is_none(camera, pauses):
    """FFmpeg's decoder gives some away after the stream has stalled; waiting for each of them would take minutes."""

    def read(self: Camera) -> tuple[bool, np.ndarray | None]:
        pauses.append(next(seconds))
        return Camera.read(self)

    seconds = iter([0.0, 0.0, 6.0, 0.0, 0.0])
    camera([True]).read = read
    with open_source("0") as source:
        frames = list(islice(source, 4))
    assert [frame.gap_s for frame in frames] == pytest.approx([0, 0, 6.1, 6.1])


def test_pauses_grow_and_end_in_time(camera, pauses):
    camera([True, False])
    with open_source("0", timeout_s=20.0) as source, pytest.raises(MaskDetectionError, match="within 20 s"):
        list(source)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 3.7])


def test_a_camera_that_is_unplugged_is_said(detect, camera, pauses, at_once, tmp_path, errors):
    camera([True] * 5 + [False])
    output = tmp_path / "annotated.avi"
    assert detect(0, "--output", output, "--timeout", 7) == cli.EXIT_SOME_FAILED
    assert errors() == [
        "error: camera 0: stopped giving frames after 5 and did not come back within 7 s; check its connection"
    ]
    assert facts_of(output).n_frames == 5


def test_a_camera_that_gives_nothing_leaves_the_old_output_alone(detect, camera, pauses, tmp_path, errors):
    camera([False])
    output = tmp_path / "annotated.avi"
    output.write_bytes(b"an older video")
    assert detect(0, "--output", output) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert "camera 0: gives no frame within 30 s" in error
    assert output.read_bytes() == b"an older video"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (["0 640 480", "1", "2 1280 720"], "these do: 0 (640 x 480), 2 (1280 x 720); "),
        (["1"], "nor does another; "),
        ([], "nor does another; "),
    ],
)
def test_a_camera_that_does_not_open_is_told_with_those_that_do(detect, monkeypatch, tmp_path, found, told, errors):
    monkeypatch.setattr(sandbox, "run", lambda *_, **__: SandboxResult(found))
    assert detect(83, "--log", tmp_path / "seen.csv") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith(f"error: camera 83: does not open; {told}")


def test_a_number_that_no_camera_has_is_one_line(detect, monkeypatch, tmp_path, errors):
    monkeypatch.setattr(sandbox, "run", lambda *_, **__: SandboxResult([]))
    assert detect("9" * 5000, "--log", tmp_path / "seen.csv") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith("error: camera 999999999…: does not open; nor does another; ")


def test_a_machine_without_cameras_says_so_in_one_line(detect, tmp_path, errors):
    """With the true search."""
    assert detect("/dev/video83", "--output", tmp_path / "annotated.mp4") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith("error: camera /dev/video83: does not open; ")
    assert not list(tmp_path.iterdir())


def test_closing_ends_a_reader_in_another_thread(camera, monkeypatch):
    monkeypatch.setattr(capture, "FIRST_PAUSE_S", 3600.0)
    camera([True, False])
    source = open_source("0", timeout_s=math.inf)
    frames: list[Frame] = []
    reader = threading.Thread(target=lambda: frames.extend(source), daemon=True)
    reader.start()
    source.close()
    reader.join(timeout=60)
    assert not reader.is_alive()


# --- frame rates ---


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf, 90_000.0])
def test_a_senseless_frame_rate_is_30(detect, camera, tmp_path, rate):
    camera([True]).frame_rate = rate
    output = tmp_path / "annotated.avi"
    assert detect(0, "--output", output, "--max-frames", 2) == cli.EXIT_DONE
    assert facts_of(output).frame_rate == 30


# --- folders of frames ---


@pytest.fixture
def frame_folder(tmp_path: Path, small_portrait: np.ndarray) -> Path:
    """Frames 1, 2, 9, 10 and 11: the portrait in different sizes."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, size in {11: 110, 2: 200, 10: 100, 1: 240, 9: 90}.items():
        cv2.imwrite(str(folder / f"shot {number}.png"), cv2.resize(small_portrait, (size, 240)))
    (folder / "notes.txt").write_text("taken by hand")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_a_folder_of_frames_is_read_by_number(frame_folder):
    with open_source(str(frame_folder)) as source:
        frames = list(source)
    assert [frame.image.shape[1] for frame in frames] == [240, 200, 90, 100, 110]
    assert [frame.index for frame in frames] == list(range(5))
    assert (source.is_live, source.frame_rate, source.frame_count) == (False, 30, 5)


def test_frames_of_different_sizes_make_a_video_of_the_first_ones(detect, frame_folder, tmp_path):
    output = tmp_path / "annotated.mp4"
    assert detect(frame_folder, "--output", output) == cli.EXIT_DONE
    assert (facts_of(output).n_frames, facts_of(output).size) == (5, (240, 240))


def test_a_damaged_frame_is_left_out_and_said(detect, frame_folder, tmp_path, errors):
    (frame_folder / "shot 9.png").write_bytes(b"no picture")
    log = tmp_path / "seen.jsonl"
    assert detect(frame_folder, "--log", log) == cli.EXIT_SOME_FAILED
    assert [line["frame"] for line in lines_of(log)] == [0, 1, 3, 4]
    damaged, total = errors()
    assert f"{frame_folder / 'shot 9.png'}: is not an image" in damaged
    assert total == f"error: {frame_folder}: 1 of 5 frames cannot be read; repair or remove them"


def test_a_folder_without_frames_is_said(detect, tmp_path, errors):
    assert detect(tmp_path, "--output", tmp_path / "annotated.mp4") == cli.EXIT_UNUSABLE
    assert errors() == [f"error: {tmp_path}: no images are there; give a video file, or a folder of frames"]


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon"])
def test_a_senseless_timeout_is_a_usage_error(detect, seconds, capsys):
    with pytest.raises(SystemExit) as caught:
        detect(0, "--log", "-", f"--timeout={seconds}")
    assert caught.value.code == cli.EXIT_UNUSABLE
    assert "--timeout" in capsys.readouterr().err
