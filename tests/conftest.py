"""Fixtures that many tests share: images, small models, the real data where it exists."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.models.keras_file import load_keras_model
from mask_detection.utils.tensorflow import start_tensorflow
from tests.helpers.images import grace_hopper, textured, write_dataset
from tests.helpers.outcomes import Outcome
from tests.helpers.paths import FIXTURES, ROOT, SHARED
from tests.helpers.stand_ins import AllIsFace, CardFinder, card_classifier, write_cards
from tests.helpers.tiny_backbone import tiny_mobilenet
from tests.helpers.training import Trained, train_small
from tests.helpers.videos import FRAME_COUNT, FRAME_SIZE, write_video

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
        patch.setattr("mask_detection.utils.cache.user_cache_path", lambda *_, **__: folder)
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
def predict(shipped_model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Keras' own way to run the shipped model, from (N, 224, 224, 3) RGB -1..1 to (N, 2)."""
    model, _ = load_keras_model(shipped_model)
    return lambda batch: model.predict(batch, verbose=0)


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """The face of Grace Hopper, (600, 512, 3) BGR uint8, read-only."""
    image = grace_hopper()
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


@pytest.fixture(scope="session")
def make_image() -> Callable[..., np.ndarray]:
    """A function that makes textured images: width and height in pixels, hue, seed."""
    return textured


@pytest.fixture(scope="session")
def make_dataset() -> Callable[[Path, dict[str, int]], Path]:
    """A function that fills a folder with class folders of so many images each, a hue a class."""
    return write_dataset


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model trained once, by the script, on two dozen generated images."""
    dataset = write_dataset(tmp_path_factory.mktemp("dataset"), {"with_mask": 12, "without_mask": 12})
    return train_small(dataset, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny network in the place of MobileNetV2; ImageNet's weights are random ones of it."""
    start_tensorflow()
    monkeypatch.setattr("keras.applications.MobileNetV2", tiny_mobilenet)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that loads in no time, for the tests in which its predictions don't matter."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copy(FIXTURES / "tiny.tflite", folder)
    return Path(shutil.copy(FIXTURES / "tiny.h5", folder))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory, small_portrait: np.ndarray) -> Path:
    """The portrait moving sideways: Motion JPEG, 240 x 240, 30 frames at 10 a second."""
    frames = (np.roll(small_portrait, i - FRAME_COUNT // 2, axis=1) for i in range(FRAME_COUNT))
    return write_video(tmp_path_factory.mktemp("video") / "moving.avi", frames)


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
    """A function that arranges for Ctrl-C to come while the next image is waited for after so many."""

    def arrange(n_images: int) -> None:
        from mask_detection.inference import pipeline
        from mask_detection.utils import threads

        @contextmanager
        def interrupted(*arguments: object, **others: object) -> Iterator[Iterator[object]]:
            with threads.overlapped(*arguments, **others) as results:
                yield chain(islice(results, n_images), ctrl_c())

        def ctrl_c() -> Iterator[object]:
            raise KeyboardInterrupt
            yield

        monkeypatch.setattr(pipeline, "overlapped", interrupted)

    return arrange


@pytest.fixture
def card_networks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that puts stand-ins in the place of the networks, to which coloured cards are faces."""

    def use(class_names: tuple[str, ...] = ("with_mask", "without_mask")) -> None:
        monkeypatch.setattr("mask_detection.models.load.load_face_detector", lambda *_, **__: CardFinder())
        monkeypatch.setattr("mask_detection.models.load.load_classifier", lambda *_, **__: card_classifier(class_names))

    return use


@pytest.fixture
def play_cards(tmp_path: Path, card_networks: Callable[..., None]) -> Callable[..., int]:
    """A function that runs the video script on a video of one coloured card, taken for a face; 10 frames a second.

    Each letter is a frame: M a green card, for which the prediction is the first class, B a red one for the second, W a
    blue one for the third, U a white one of which nothing is known; anything else is no card. What is seen depends on
    the frame alone, whoever looks at it, and in whatever order. Several words are several videos, cards-0.avi and on.
    """

    def run(
        letters: str | list[str], *arguments: object, class_names: tuple[str, ...] = ("with_mask", "without_mask")
    ) -> int:
        import detect_mask_video

        card_networks(class_names)
        words = [letters] if isinstance(letters, str) else letters
        names = ["cards.avi"] if isinstance(letters, str) else [f"cards-{i}.avi" for i in range(len(words))]
        sources = [write_cards(tmp_path / name, word) for name, word in zip(names, words, strict=True)]
        return detect_mask_video.main([str(word) for word in ("--source", *sources, "--no-display", *arguments)])

    return run


@pytest.fixture
def all_is_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face detector that takes each image for a face, so that every stage has something to do."""
    monkeypatch.setattr("mask_detection.models.load.load_face_detector", lambda *_, **__: AllIsFace())


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs a script's ``main`` with arguments of any type; native libraries are listened to as well."""

    def run(main: Callable[[list[str]], int], *arguments: object) -> Outcome:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        return Outcome.of(status, capfd.readouterr().err)

    return run
