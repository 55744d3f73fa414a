"""Compare this project's detection with the classic loop: speed, time to the first result, memory, processor time.

python benchmarks/detection.py --video party.mp4 --face face_detector --detector caffe yunet
python benchmarks/detection.py --photos photos --face face_detector

All runs use the same model, look for faces in every frame with the same detector, and take turns. Each has a process of
its own that prints a result a frame, and the results' arrival is timed from outside. No window is opened and no video
written; photos are written.

- classic: `model.predict` on the .h5 once a frame (for photos once a face), one step after the other; a video's frames
  are scaled to a width of 400 pixels.
- same size: the detection script with 400 pixels for the face detector, too.
- default: the detection script as it is.
- one stage: likewise, without the classifier; only the built-in detector can do that.

Speed and processor time are those after the first result. A figure is the median of all rounds; behind it stands the
median of its ratios to the classic run of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_FOLDER))

from mask_detection.commands import cli, options  # noqa: E402
from mask_detection.utils import defaults  # noqa: E402
from mask_detection.utils.errors import MaskDetectionError  # noqa: E402

if TYPE_CHECKING:
    import cv2
    import numpy as np

CLASSIC_WIDTH = 400  # pixels, of a video's frames
CLASSIC_INPUT = 300, 300  # pixels, width and height, that the Caffe SSD sees
LOOPS: dict[str, list[str]] = {
    "classic": [],
    "same size": ["--detect-size", str(CLASSIC_WIDTH)],
    "default": [],
    "one stage": ["--one-stage"],
}
STAGES = "read", "faces", "classify"
COMPARED = {"frames_per_s": "frames/s", "first_s": "first s", "peak_mb": "peak MB", "cpu_ms": "CPU ms/frame"}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    add = parser.add_argument
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument("--video", type=Path, nargs="+", metavar="FILE", help="videos")
    inputs.add_argument("--photos", type=Path, nargs="+", metavar="DIR", help="folders of photos")
    add("--detector", nargs="+", choices=defaults.DETECTORS, default=["caffe"], help="default: %(default)s")
    options.add_face_folder_option(parser)
    options.add_model_option(parser)
    add("--rounds", type=options.positive_int, default=3, help="default: %(default)s")
    add("--max-frames", type=options.positive_int, metavar="N", help="stop each video after N frames")
    add("--json", type=Path, metavar="FILE", help="write the figures of every run")
    add("--loop", choices=LOOPS, help=argparse.SUPPRESS)  # set in the processes that this one starts
    add("--stages", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the top of the file."""
    args = parse_arguments(argv)
    if args.loop:
        return run_loop(args)
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    results = []
    for source in args.video or args.photos:
        for detector in args.detector:
            loops = [loop for loop in LOOPS if loop != "one stage" or detector == "builtin"]
            rounds = [{loop: measure(loop, source, detector, args) for loop in loops} for _ in range(args.rounds)]
            print(f"\n{source.name}, {detector}\n{table(rounds)}", flush=True)
            results.append({"source": str(source), "detector": detector, "rounds": rounds})
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    return cli.EXIT_DONE


def measure(loop: str, source: Path, detector: str, args: argparse.Namespace) -> dict[str, float]:
    """Run a loop in a process of its own and return its figures.

    Raises:
        MaskDetectionError: it failed, or gave fewer than two results.
    """
    with tempfile.TemporaryDirectory() as folder:
        stages = Path(folder, "stages.json")
        options = ["--video" if args.video else "--photos", source, "--detector", detector, "--face", args.face]
        options += ["--model", args.model, "--loop", loop, "--stages", stages]
        options += ["--max-frames", args.max_frames] if args.max_frames else []
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, __file__, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        arrivals = [time.perf_counter() - started for _ in process.stdout]
        messages = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or len(arrivals) < 2:
            raise MaskDetectionError(f"{source}: the {loop} run failed: {messages.strip()}")
        return {
            "frames_per_s": (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]),
            "first_s": arrivals[0],
            "peak_mb": usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
            **json.loads(stages.read_text()),
        }


def table(rounds: Sequence[dict[str, dict[str, float]]]) -> str:
    """A line for each loop: its figures, each with its ratio to the classic loop, and milliseconds a stage."""
    lines = [f"{'':10}" + "".join(f"{title:>18}" for title in COMPARED.values()) + f"{' / '.join(STAGES):>28} ms"]
    for loop in rounds[0]:
        cells = []
        for name in COMPARED:
            values = [figures[loop][name] for figures in rounds]
            ratios = [figures[loop][name] / figures["classic"][name] for figures in rounds]
            cells.append(f"{median(values):10.1f} {f'({median(ratios):.2f})':>7}")
        stages = (f"{median(figures[loop][stage] for figures in rounds):.1f}" for stage in STAGES)
        lines.append(f"{loop:10}{''.join(cells)}{' / '.join(stages):>28}")
    return "\n".join(lines)


# --- in the process of a run ---


class Stopwatch:
    """Times the stages of a loop, in whatever threads they run. What the first frame takes is not counted."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._cpu_started = 0.0

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to the stage's."""

        def timed_function(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = function(*args, **kwargs)
            self._seconds[stage].append(time.perf_counter() - started)
            self._cpu_started = self._cpu_started or (stage == STAGES[-1] and time.process_time())
            return result

        return timed_function

    def figures(self) -> dict[str, float]:
        """Milliseconds a frame: processor time of the whole process, and time of each stage."""
        n_frames = len(self._seconds[STAGES[0]]) - 1
        cpu = time.process_time() - self._cpu_started
        stages = {stage: sum(self._seconds[stage][1:]) for stage in STAGES}
        return {name: 1000 * seconds / n_frames for name, seconds in {"cpu_ms": cpu, **stages}.items()}


def run_loop(args: argparse.Namespace) -> int:
    """Run one loop in this process and leave its stages' times behind."""
    watch = Stopwatch()
    if args.loop != "classic":
        run_script(args, watch)
    elif args.video:
        classic_video(args, watch)
    else:
        classic_photos(args, watch)
    args.stages.write_text(json.dumps(watch.figures()))
    return cli.EXIT_DONE


class TimedCapture:
    """Stands before an OpenCV video to time its reading; a class derived from OpenCV's crashes."""

    def __init__(self, watch: Stopwatch, open_video: Callable[..., cv2.VideoCapture], *arguments: Any) -> None:
        self._capture = open_video(*arguments)
        self.read = watch.timed("read", self._capture.read)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)


def run_script(args: argparse.Namespace, watch: Stopwatch) -> None:
    """Run the project's own script, its stages timed."""
    import cv2

    from mask_detection.io import images
    from mask_detection.models.classifier import MaskClassifier
    from mask_detection.models.face_detector import FaceDetector

    cv2.VideoCapture = partial(TimedCapture, watch, cv2.VideoCapture)
    images.read_image = watch.timed("read", images.read_image)
    FaceDetector.detect_with_classes = watch.timed("faces", FaceDetector.detect_with_classes)
    MaskClassifier.classify = watch.timed("classify", MaskClassifier.classify)
    options = ["--face", args.face, "--detector", *args.detector, "--model", args.model, *LOOPS[args.loop]]
    if args.video:
        import detect_mask_video as script

        options += ["--source", *args.video, "--log", "-"]
        options += ["--max-frames", args.max_frames] if args.max_frames else []
    else:
        import detect_mask_image as script

        options += ["--image", *args.photos, "--json", "-", "--output", args.stages.with_name("annotated")]
    script.main([*map(str, options), "--no-display"])


def classic_video(args: argparse.Namespace, watch: Stopwatch) -> None:
    """The classic loop over a video's frames: read, scale, find the faces, classify them, print; then the next."""
    import cv2
    import imutils

    find_faces = watch.timed("faces", classic_face_finder(args))
    classify = watch.timed("classify", classic_classifier(args.model))
    capture = cv2.VideoCapture(str(args.video[0]))
    read = watch.timed("read", capture.read)
    for _ in islice(count(), args.max_frames):
        arrived, frame = read()
        if not arrived:
            break
        frame = imutils.resize(frame, width=CLASSIC_WIDTH)
        boxes = find_faces(frame)
        probabilities = classify([frame[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes])
        print(json.dumps([boxes, probabilities]), flush=True)


def classic_photos(args: argparse.Namespace, watch: Stopwatch) -> None:
    """The classic script's steps on one photo after the other: each face is classified by itself, then drawn."""
    import cv2

    from mask_detection.io.image_files import find_images

    find_faces = watch.timed("faces", classic_face_finder(args))
    classify = watch.timed("classify", classic_classifier(args.model))
    read = watch.timed("read", cv2.imread)
    for path, name in find_images(list(map(str, args.photos))):
        image = read(str(path))
        boxes = find_faces(image)
        probabilities = [classify([image[y1:y2, x1:x2]]) for x1, y1, x2, y2 in boxes]
        for (x1, y1, x2, y2), prediction in zip(boxes, probabilities, strict=True):
            text = f"{max(prediction[0]):.2%}"
            cv2.putText(image, text, (x1, y1 - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 255, 0), 2)
            cv2.rectangle(image, (x1, y1), (x2, y2), (0, 255, 0), 2)
        cv2.imwrite(str(args.stages.with_name(name.name)), image)
        print(json.dumps([boxes, probabilities]), flush=True)


def classic_face_finder(args: argparse.Namespace) -> Callable[[np.ndarray], list[list[int]]]:
    """The Caffe SSD as the classic scripts call it; any other detector as this project does."""
    import cv2
    import numpy as np

    from mask_detection.models.load import load_face_detector
    from mask_detection.models.opencv_detectors import CAFFE_MEAN_BGR, find_caffe_files

    if args.detector != ["caffe"]:
        detector = load_face_detector(args.detector[0], args.face, detect_size=CLASSIC_WIDTH)
        return lambda frame: detector.detect(frame)[0].tolist()
    network = cv2.dnn.readNet(*map(str, find_caffe_files(args.face)))

    def find(frame: np.ndarray) -> list[list[int]]:
        height, width = frame.shape[:2]
        network.setInput(cv2.dnn.blobFromImage(frame, 1.0, CLASSIC_INPUT, CAFFE_MEAN_BGR))
        rows = network.forward()[0, 0]  # (M, 7): image, class, confidence, x1, y1, x2, y2 in parts of the image
        boxes = rows[rows[:, 2] > defaults.CONFIDENCE, 3:7] * [width, height, width, height]
        inside = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1]).astype(int)
        return [box for box in inside.tolist() if box[0] < box[2] and box[1] < box[3]]

    return find


def classic_classifier(model_path: Path) -> Callable[[list[np.ndarray]], list[list[float]]]:
    """`model.predict` on one batch of face crops."""
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    import cv2
    import keras
    import numpy as np

    model = keras.models.load_model(model_path, compile=False)
    size = model.input_shape[1:3]

    def classify(crops: list[np.ndarray]) -> list[list[float]]:
        if not crops:
            return []
        faces = [cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), size) for crop in crops]
        batch = [keras.applications.mobilenet_v2.preprocess_input(keras.utils.img_to_array(face)) for face in faces]
        return model.predict(np.array(batch, dtype="float32"), batch_size=32, verbose=0).tolist()

    return classify


if __name__ == "__main__":
    sys.exit(main())
