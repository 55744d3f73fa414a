"""What many tests share: pictures made on the spot, small models, the real data where it exists."""

from __future__ import annotations

import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from tests.helpers.paths import ROOT, SHARED

FRAME_RATE = 10.0
FRAME_SIZE = 240  # width and height of the generated video in pixels
FRAME_COUNT = 30

sys.path.insert(0, str(ROOT))  # the scripts are imported, wherever pytest was started


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real photos, videos and weights, which lie beside the checkout on some machines."""
    if not SHARED.is_dir():
        pytest.skip("the real data in ../shared is not on this machine")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def keras_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """Let Keras find the ImageNet weights of ../shared; it looks at KERAS_HOME once, when it is first imported."""
    if not SHARED.is_dir():
        yield None
        return
    home = tmp_path_factory.mktemp("keras_home")
    for file in (SHARED / "keras").rglob("*.h5"):  # file by file: the originals' folders are read-only
        copy = home / file.relative_to(SHARED / "keras")
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(home))
        yield home


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep results of tests out of the user's own cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("data.duplicates", "models.trial", "models.convert"):
            patch.setattr(f"mask_detection.{module}.user_cache_path", lambda *_, **__: folder)
        yield folder


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a screen."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux runs without a screen")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.fixture(scope="session")
def shipped_model() -> Path:
    return ROOT / "mask_detector.h5"


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """The face of Grace Hopper, (600, 512, 3) BGR uint8, read-only."""
    from matplotlib.cbook import get_sample_data

    with get_sample_data("grace_hopper.jpg") as file:
        image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    image.setflags(write=False)
    return image


@pytest.fixture(scope="session")
def small_portrait(portrait: np.ndarray) -> np.ndarray:
    """The same, (240, 240, 3), with one face for every detector in it."""
    square = np.ascontiguousarray(portrait[:512])
    image = cv2.resize(square, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_AREA)
    image.setflags(write=False)
    return image


@pytest.fixture
def photo(small_portrait: np.ndarray, tmp_path: Path) -> Path:
    """The small portrait as a file, alone in its folder."""
    path = tmp_path / "photos" / "portrait.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), small_portrait)
    return path


def textured(width: int, height: int, hue: int, seed: int) -> np.ndarray:
    """Soft coloured noise of one hue (0..179 as OpenCV counts), (height, width, 3) BGR uint8."""
    coarse = np.random.default_rng(seed).integers(40, 256, (12, 12, 3), np.uint8)
    coarse[..., 0] = hue
    smooth = cv2.resize(cv2.cvtColor(coarse, cv2.COLOR_HSV2BGR), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(smooth)


def png(width: int, height: int, rows: bytes) -> bytes:
    """A black and white PNG; a row is a byte 0 and then a bit a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture(scope="session")
def make_image() -> Callable[..., np.ndarray]:
    """A function that makes textured pictures: width and height in pixels, hue, seed."""

    def make(width: int = 96, height: int = 72, hue: int = 20, seed: int = 0) -> np.ndarray:
        return textured(width, height, hue, seed)

    return make


@pytest.fixture(scope="session")
def make_dataset() -> Callable[[Path, dict[str, int]], Path]:
    """A function that fills a folder with class folders of so many pictures each, a hue a class."""

    def make(folder: Path, image_counts: dict[str, int]) -> Path:
        for number, (name, count) in enumerate(image_counts.items()):
            (folder / name).mkdir(parents=True)
            for i in range(count):
                image = textured(80, 80, hue=10 + 50 * number, seed=1000 * number + i)
                cv2.imwrite(str(folder / name / f"{i}.png"), image)
        return folder

    return make


@dataclass(frozen=True)
class Trained:
    """What a training run left behind."""

    status: int
    folder: Path
    model: Path
    plot: Path
    dataset: Path
    printed: str

    @property
    def arguments(self) -> list[str]:
        """The command line that made it, but for the outputs."""
        return ["--dataset", str(self.dataset), "--init", str(ROOT / "mask_detector.h5"), *SMALL_TRAINING]


SMALL_TRAINING = ["--epochs", "1", "--views", "1", "--image-size", "96", "--batch-size", "8"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, make_dataset) -> Trained:
    """A model trained once, by the script, on two dozen generated pictures."""
    import train_mask_detector

    dataset = make_dataset(tmp_path_factory.mktemp("dataset"), {"with_mask": 12, "without_mask": 12})
    folder = tmp_path_factory.mktemp("trained")
    model, plot = folder / "model.h5", folder / "plot.png"
    run = Trained(0, folder, model, plot, dataset, "")
    printed = tmp_path_factory.mktemp("printed") / "stdout.txt"
    with printed.open("w", encoding="utf-8") as stream, redirect_stdout(stream):
        status = train_mask_detector.main([*run.arguments, "--model", str(model), "--plot", str(plot)])
    return Trained(status, folder, model, plot, dataset, printed.read_text("utf-8"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that loads in no time, for the tests in which the answers don't matter."""
    from mask_detection.models.base import ModelInfo
    from mask_detection.models.convert import write_export
    from mask_detection.models.mobilenet import save_model
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    import keras

    keras.utils.set_random_seed(1)
    layers = [keras.layers.AveragePooling2D(8), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers])
    path = tmp_path_factory.mktemp("tiny") / "tiny.h5"
    class_names = ("with_mask", "without_mask")
    save_model(model, path, class_names)
    write_export(path, model, ModelInfo(class_names, 32))
    return path


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory, small_portrait: np.ndarray) -> Path:
    """The portrait moving sideways: Motion JPEG, 240 x 240, 30 frames at 10 a second."""
    path = tmp_path_factory.mktemp("video") / "moving.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FRAME_RATE, (FRAME_SIZE, FRAME_SIZE))
    for i in range(FRAME_COUNT):
        writer.write(np.roll(small_portrait, i - FRAME_COUNT // 2, axis=1))
    writer.release()
    return path


@pytest.fixture
def detect(tiny_model: Path) -> Callable[..., int]:
    """A function that runs detect_mask_video.py with a model that loads quickly, without a window."""
    import detect_mask_video

    def run(source: object, *arguments: object) -> int:
        stages = ["--detector", "haar", "--model", tiny_model, "--no-display"]
        return detect_mask_video.main([str(argument) for argument in ("--source", source, *stages, *arguments)])

    return run


@pytest.fixture
def errors(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """A function that takes what was printed so far and returns the error lines; there is never a traceback."""

    def read() -> list[str]:
        lines = capsys.readouterr().err.splitlines()
        assert not any("Traceback" in line for line in lines)
        return [line for line in lines if line.startswith("error: ")]

    return read


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that arranges for Ctrl-C to come while the next picture is waited for after so many."""

    def arrange(n_pictures: int) -> None:
        from mask_detection.inference import pipeline
        from mask_detection.utils import threads

        @contextmanager
        def interrupted(*arguments: object) -> Iterator[Iterator[object]]:
            with threads.overlapped(*arguments) as results:
                yield chain(islice(results, n_pictures), ctrl_c())

        def ctrl_c() -> Iterator[object]:
            raise KeyboardInterrupt
            yield

        monkeypatch.setattr(pipeline, "overlapped", interrupted)

    return arrange


CARD = (80, 60, 160, 160)  # xyxy: where the card of `play_cards` is held
CARD_COLORS = {"M": (0, 200, 0), "B": (0, 0, 200), "W": (200, 0, 0), "U": (200, 200, 200)}  # BGR


@pytest.fixture
def play_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that runs the video script on a video of one coloured card, taken for a face; 10 frames a second.

    Each letter is a frame: M a green card, for which the answer is the first class, B a red one for the second, W a
    blue one for the third, U a white one of which nothing is known; anything else is no card. What is seen depends on
    the picture alone, whoever looks at it, and in whatever order.
    """
    from mask_detection.models.classifier import MaskClassifier
    from mask_detection.models.face_detector import FaceDetector

    class CardFinder(FaceDetector):
        name = "cards"

        def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = frame[(CARD[1] + CARD[3]) // 2, (CARD[0] + CARD[2]) // 2].max() > 120
            return np.full((int(found), 4), CARD, float), np.ones(int(found))

    def run(letters: str, *arguments: object, class_names: tuple[str, ...] = ("with_mask", "without_mask")) -> int:
        import detect_mask_video

        def predict(batch: np.ndarray) -> np.ndarray:  # (N, 32, 32, 3) RGB -1..1
            colors = batch[:, 10:22, 10:22].mean(axis=(1, 2))[:, [1, 0, 2]]  # green, red, blue
            odds = np.exp(3 * np.pad(colors, ((0, 0), (0, len(class_names))))[:, : len(class_names)])
            return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)

        monkeypatch.setattr("mask_detection.models.load.load_face_detector", lambda *_, **__: CardFinder())
        monkeypatch.setattr(
            "mask_detection.models.load.load_classifier",
            lambda *_, **__: MaskClassifier(predict, class_names, 32),
        )
        source = tmp_path / "cards.avi"
        writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), FRAME_RATE, (FRAME_SIZE, FRAME_SIZE))
        for letter in letters:
            frame = np.full((FRAME_SIZE, FRAME_SIZE, 3), 60, np.uint8)
            if letter in CARD_COLORS:
                cv2.rectangle(frame, CARD[:2], CARD[2:], CARD_COLORS[letter], cv2.FILLED)
            writer.write(frame)
        writer.release()
        return detect_mask_video.main([str(word) for word in ("--source", source, "--no-display", *arguments)])

    return run


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    said: list[str]  # lines on standard error, without the good news


GOOD_NEWS = ("face detector: ", "wrote its faster TFLite export")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs a script's ``main`` with arguments of any type; native libraries are listened to as well."""

    def run(main: Callable[[list[str]], int], *arguments: object) -> Outcome:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        lines = capfd.readouterr().err.splitlines()
        return Outcome(status, [line for line in lines if not any(news in line for news in GOOD_NEWS)])

    return run


@pytest.fixture
def all_is_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face detector that takes each picture for a face, so that every stage has something to do."""
    from mask_detection.models import load
    from mask_detection.models.face_detector import FaceDetector

    class AllIsFace(FaceDetector):
        name = "all is face"

        def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            height, width = frame.shape[:2]
            return np.array([[0.0, 0, width, height]]), np.array([0.9])

    monkeypatch.setattr(load, "load_face_detector", lambda *_: AllIsFace())


@contextmanager
def disk_with_room_for(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, which is what a full disk looks like; SIGXFSZ is ignored by Python."""
    resource = pytest.importorskip("resource", reason="Windows limits no file sizes")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
