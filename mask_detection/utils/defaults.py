"""Default places and values that more than one command shows in its help; importing it costs nothing."""

from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parents[2]

DATASET_FOLDER = PROJECT_FOLDER / "dataset"
FACE_FOLDER = PROJECT_FOLDER / "face_detector"
MODEL_FILE = PROJECT_FOLDER / "mask_detector.h5"
WEB_FOLDER = PROJECT_FOLDER / "web"
BUILTIN_DETECTOR_FILE = FACE_FOLDER / "mask_face_detector.tflite"

DETECTORS = ("auto", "caffe", "yunet", "builtin", "haar")
SOURCE_TIMEOUT_S = 30.0  # without a frame, before a camera or stream is given up
MAX_PIXELS = 200_000_000  # of an image: 200 megapixels are 600 MB as BGR
MAX_DETECT_SIZE = 8192  # pixels of an image's longer side for the face detector; half of it takes 1.5 GB
BUILTIN_PHOTO_SIZE = 640  # pixels of a photo's longer side for the built-in face detector
BUILTIN_VIDEO_SIZE = 416  # of a frame's: under half the time, but it misses faces that 640 finds
CONFIDENCE = 0.5  # of a face, 0..1: what is below is dropped
