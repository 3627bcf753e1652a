"""Pictures from files and into files: `read` and `write`, float32 (H, W, 3) in [-1, 1]."""

import contextlib
import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from aigc_keras.shared import replaced

MAX_PIXELS = 25_000_000  # 300 MB as float32
MIN_SIDE = 16
# What Pillow raises for a damaged file depends on the format.
UNREADABLE = (OSError, SyntaxError, EOFError, ValueError, struct.error)
UNREADABLE += (Image.DecompressionBombError,)  # twice Image.MAX_IMAGE_PIXELS, 179 megapixels


def read(path, size=None):
    """The picture in a file, as float32 (H, W, 3) in [-1, 1].

    Any format that Pillow reads, grey, palette, CMYK or 16 bits as well; turned as its EXIF says,
    transparent parts on white, of an animation the first frame. size: length of the longer side in
    pixels, the ratio of the sides is kept; None takes all pixels there are.

    Raises FileNotFoundError; ValueError if the file is no picture or damaged, if a side has fewer
    than 16 pixels, or if there are more than 25 megapixels (of such a file, pass a `size`).
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path: got {path!r}, accepted is the path of an image file.")
    is_int = isinstance(size, int | np.integer) and not isinstance(size, bool)
    if size is not None and (not is_int or size < MIN_SIDE):
        raise ValueError(f"size: got {size!r}, accepted are None and an integer >= {MIN_SIDE}.")
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is ours
        with _decoding(path):
            image = Image.open(file)
        _check_sides("path", path, image.size)
        if size is not None:
            _check_sides("size", size, _fitted(image.size, size))
        elif image.width * image.height > MAX_PIXELS:
            raise ValueError(
                f"path: {str(path)!r} has {image.width} x {image.height} pixels, accepted are "
                f"{MAX_PIXELS / 1e6:g} megapixels; pass a size, such as size=1024, and it is made "
                "smaller while it is read."
            )
        with _decoding(path):
            if size is not None:
                image.draft(None, (2 * size, 2 * size))  # a JPEG unpacks at a fraction of its size
            image = to_rgb(image)
    if size is not None:
        image = image.resize(_fitted(image.size, size), Image.LANCZOS, reducing_gap=3.0)
    return np.asarray(image, "float32") / np.float32(127.5) - np.float32(1)


def write(path, image):
    """Write a picture, floats (H, W, 3) in [-1, 1], as PNG or JPEG, whichever the path ends in.

    Raises ValueError for another ending, shape, type or range.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path: got {path!r}, accepted is the path of an image file.")
    if Path(path).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"path: got {str(path)!r}, accepted endings are .png, .jpg, .jpeg.")
    try:
        image = np.asarray(image)
    except ValueError:  # rows of different length
        image = np.zeros(0)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image: got shape {image.shape}, accepted is (H, W, 3).")
    accepted = "accepted are floats in [-1, 1]"
    if image.dtype.kind != "f":
        raise ValueError(f"image: got {image.dtype}, {accepted}; try image / 127.5 - 1.")
    low, high = image.min(), image.max()
    if not (low >= -1.001 and high <= 1.001):  # so put, NaN is refused too
        raise ValueError(f"image: got values from {low:g} to {high:g}, {accepted}.")
    pixels = np.clip(np.round((image + 1.0) * 127.5), 0, 255).astype("uint8")
    # In memory first: Pillow does not notice when the disk is too full for a JPEG.
    encoded = io.BytesIO()
    format = "PNG" if Path(path).suffix.lower() == ".png" else "JPEG"
    Image.fromarray(pixels).save(encoded, format, quality=95, subsampling=0)  # PNG ignores the two
    with replaced(path) as partial:
        partial.write_bytes(encoded.getvalue())


def to_rgb(image):
    """An opened Pillow image as mode RGB: turned as its EXIF says, transparent parts on white.

    Raises ValueError for pixels without a known range (mode F, or I beyond 16 bits).
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown")
    if image.mode.startswith("I"):  # 16 bits, for which Pillow's own conversion clips at 255
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65_535:
            raise ValueError("its pixels have more than 16 bits")
        image = Image.fromarray(np.round(grey / np.float32(257)).astype("uint8"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


@contextlib.contextmanager
def _decoding(path):
    try:
        yield
    except UNREADABLE as error:
        raise ValueError(
            f"path: {str(path)!r} is not an image, or a damaged one ({error}); accepted are JPEG, "
            "PNG and what else Pillow reads."
        ) from error


def _fitted(sides, size):
    """The two sides, scaled so that the longer one is `size`."""
    return tuple(max(1, round(side * size / max(sides))) for side in sides)


def _check_sides(argument, value, sides):
    if min(sides) < MIN_SIDE or (argument == "size" and sides[0] * sides[1] > MAX_PIXELS):
        raise ValueError(
            f"{argument}: {str(value)!r} gives {sides[0]} x {sides[1]} pixels, accepted are sides "
            f"of at least {MIN_SIDE} and {MAX_PIXELS / 1e6:g} megapixels."
        )
