"""Image files in and out: any format that OpenCV or Pillow knows, any path, judged by content."""

from __future__ import annotations

import io
from pathlib import Path, PurePath

import cv2
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from mask_detection.utils.defaults import MAX_PIXELS
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, read_whole

DAMAGED = "is not an image or is damaged; open it in a viewer and save it again"
TOO_MANY_PIXELS = f"more than {MAX_PIXELS // 1_000_000} megapixels; scale it down"
NOT_FOR_COLOR = frozenset({".exr", ".pbm", ".pgm"})  # OpenCV has writers for them, but not for 8-bit colour

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_TRAILER_BYTES = 4096  # that a camera may add behind the end

IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .dib .gif .heic .heif .hif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff "
    ".webp".split()
)
# Pillow also "opens" HDF5, PDF and PostScript, the last by running a program: only images here.
PILLOW_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")

# The start of a file in High Efficiency Image File Format names a brand: ISO/IEC 23008-12, annex B.
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"))


def read_image(path: Path) -> np.ndarray:
    """Read an image as it is meant to be seen: EXIF rotation applied, grey, alpha, CMYK and 16-bit turned to colour.

    Returns:
        The image, (H, W, 3) BGR uint8. Of an animation, the first frame.

    Raises:
        MaskDetectionError: it is missing, not an image, truncated, or larger than ``MAX_PIXELS``.
    """
    return decode_image(read_whole(path, "an image"), path)


def decode_image(data: bytes, name: str | PurePath) -> np.ndarray:
    """Like :func:`read_image`, for a file whose bytes are at hand.

    Args:
        data: all bytes of the file.
        name: what it is called, for messages.

    Raises:
        MaskDetectionError: it is not an image, truncated, or larger than ``MAX_PIXELS``.
    """
    n_pixels = _announced_pixels(data)
    if not n_pixels and _is_heif(data):
        return _decode_heif(data, name)
    if n_pixels > MAX_PIXELS:
        raise MaskDetectionError(f"{name}: has {TOO_MANY_PIXELS}")
    # What Pillow doesn't know, OpenCV may: Radiance and others, of any size, and in shades that are no 0..255.
    decoders = [_decode_with_opencv, _decode_with_pillow]
    if data[8:12] == b"WEBP" or data[4:10] == b"ftypav":
        decoders.reverse()  # OpenCV 4.12 leaves WebP as the camera held it, 4.14 still AVIF
    for decode in decoders if n_pixels else ():
        image = decode(data)
        if image is not None:
            return image
    raise MaskDetectionError(f"{name}: {DAMAGED}")


AnyImage = str | Path | np.ndarray | Image.Image


def to_bgr(image: AnyImage) -> np.ndarray:
    """Take an image in any of the usual forms: the one place where they are converted or refused.

    Args:
        image: a path, read as :func:`read_image` does; a PIL image, turned as its EXIF data say, whose frame is the
            current one and whose transparency is dropped; or an uint8 array as OpenCV holds them, BGR (H, W, 3),
            BGRA (H, W, 4), whose transparency is dropped, or grey (H, W).

    Returns:
        (H, W, 3) BGR uint8, contiguous; an array of that kind is returned as it is, not copied.

    Raises:
        MaskDetectionError: it cannot be read, is larger than ``MAX_PIXELS``, or is none of these, such as an array of
            floats or 16-bit numbers, whose range nobody knows.
    """
    if isinstance(image, (str, Path)):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return _check_array(_from_pillow(image))
    if not isinstance(image, np.ndarray) or isinstance(image, np.ma.MaskedArray):
        raise MaskDetectionError(f"image: is {type(image).__name__}; give a path, a BGR uint8 array or a PIL image")
    return _check_array(np.asarray(image))  # without what a subclass makes of indices


def _check_array(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8:
        raise MaskDetectionError(
            f"image: is an array of {image.dtype}; scale it to 0..255 and convert it with .astype('uint8')"
        )
    if image.size == 0 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise MaskDetectionError(f"image: is an array of shape {image.shape}; give (H, W, 3) BGR, at least one pixel")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise MaskDetectionError(f"image: has {TOO_MANY_PIXELS}")
    image = np.ascontiguousarray(image)
    channels = image.shape[2] if image.ndim == 3 else 1
    if channels == 3:
        return image
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR)


def _from_pillow(image: Image.Image) -> np.ndarray:
    """A PIL image as an array (H, W, 3) BGR or (H, W) grey, uint8."""
    if image.width * image.height > MAX_PIXELS:
        raise MaskDetectionError(f"image: has {TOO_MANY_PIXELS}")
    if image.mode in ("I", "F"):  # Pillow would cut off at 255, and so make white of most that such images hold
        raise MaskDetectionError(f"image: is of mode {image.mode}, of any range; scale it to 0..255 and convert('L')")
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            return (np.asarray(upright) >> 8).astype(np.uint8)  # as files of 16 bits are read
        return np.ascontiguousarray(np.asarray(upright.convert("RGB"))[..., ::-1])
    except Exception as error:  # a file that is read only now, or a mode that Pillow cannot convert
        reason = str(error).strip().split("\n")[0][:200]
        raise MaskDetectionError(f"image: PIL cannot convert it to RGB ({reason}); convert or open it anew") from None


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) BGR uint8 in the format that the file's suffix names.

    Raises:
        MaskDetectionError: OpenCV writes no such format or none of this size, or the place cannot be written.
    """
    data = encode_image(path, image)
    with atomic_write(path) as part:
        part.write_bytes(data)


def encode_image(path: Path, image: np.ndarray) -> bytes:
    """The bytes that :func:`write_image` writes.

    Raises:
        MaskDetectionError: OpenCV writes no such format or none of this size.
    """
    if not can_write_format(path):
        raise MaskDetectionError(f"{path}: OpenCV writes no {path.suffix or 'such'} images; use .jpg or .png")
    encoded, data = cv2.imencode(path.suffix, image)
    if not encoded:
        height, width = image.shape[:2]
        raise MaskDetectionError(f"{path}: OpenCV writes no {path.suffix} of {width} x {height} pixels; use .png")
    return data.tobytes()


def can_write_format(path: PurePath) -> bool:
    """Tell whether OpenCV writes colour images of the kind that the file's suffix names."""
    suffix = path.suffix.lower()
    return bool(suffix) and suffix not in NOT_FOR_COLOR and cv2.haveImageWriter(f"image{suffix}")


def is_image_file(path: Path) -> bool:
    """Tell whether a file claims to be an image, by its suffix or by its first bytes."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with Image.open(path, formats=PILLOW_FORMATS):
            return True
    except Image.DecompressionBombError:  # an image all the same, which reading then refuses
        return True
    except OSError:
        return _starts_as_heif(path)


def _starts_as_heif(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _is_heif(file.read(12))
    except OSError:
        return False


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS


def _decode_heif(data: bytes, name: str | PurePath) -> np.ndarray:
    """A photo as phones store it; see :func:`decode_image`."""
    try:
        import pi_heif
    except ImportError:  # it is not made for every machine
        raise MaskDetectionError(
            f"{name}: is a HEIC photo, which takes a library that is missing; run `pip install pi-heif`, or save the "
            "photo as .jpg"
        ) from None
    try:
        opened = pi_heif.open_heif(io.BytesIO(data))
        if opened.size[0] * opened.size[1] <= MAX_PIXELS:
            return to_bgr(opened.to_pillow())  # turned already
    except Exception:  # whatever damage leads the library to
        raise MaskDetectionError(f"{name}: {DAMAGED}") from None
    raise MaskDetectionError(f"{name}: has {TOO_MANY_PIXELS}")


def _announced_pixels(data: bytes) -> int:
    """Width times height as the header says; 0 for what is none of ``PILLOW_FORMATS``."""
    try:
        with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        return MAX_PIXELS + 1
    except Exception:  # Pillow's readers raise whatever a damaged header leads them to
        return _announced_by_tiff(data)


def _announced_by_tiff(data: bytes) -> int:
    """Like :func:`_announced_pixels`, for TIFF files of colours that Pillow doesn't know, such as 16-bit ones."""
    try:
        header = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:3] == b"+" else 8])  # "+" is BigTIFF
        stream = io.BytesIO(data)
        stream.seek(header.next)
        header.load(stream)
        return int(header[TiffImagePlugin.IMAGEWIDTH]) * int(header[TiffImagePlugin.IMAGELENGTH])
    except Exception:  # as above
        return 0


def _decode_with_opencv(data: bytes) -> np.ndarray | None:
    if data.startswith(JPEG_START) and JPEG_END not in data[-JPEG_TRAILER_BYTES:]:
        return None  # perhaps cut off, which OpenCV 4.10 does not notice and Pillow does
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _decode_with_pillow(data: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
            rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception:  # as above
        return None
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
