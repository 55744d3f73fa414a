"""Default places and values that more than one command shows in its help; importing it costs nothing."""

from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parent.parent

DATASET_FOLDER = PROJECT_FOLDER / "dataset"
FACE_FOLDER = PROJECT_FOLDER / "face_detector"
MODEL_FILE = PROJECT_FOLDER / "mask_detector.h5"

DETECTORS = ("auto", "caffe", "yunet", "haar")
SOURCE_TIMEOUT_S = 30.0  # without a picture, before a camera or stream is given up
CONFIDENCE = 0.5  # of a face, 0..1: what is less sure is left out
