"""Pictures from files and into files: `read` and `write`, float32 (H, W, 3) in [-1, 1].

A path may begin with ~, the home folder.
"""

import contextlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from aigc_keras.files import replaced
from aigc_keras.guards import check_number

MAX_PIXELS = 25_000_000  # 300 MB as float32
MIN_SIDE = 16
# Pillow refuses a PNG with more than 1 MB in one text or colour profile, as programs write them.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # 64 MB
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF's tag Orientation


def read(path, size=None):
    """The picture in a file, as float32 (H, W, 3) in [-1, 1].

    Any format that Pillow reads, grey, palette, CMYK or 16 bits as well; turned as its EXIF says,
    transparent parts on white, of an animation the first frame. size: length of the longer side in
    pixels, the ratio of the sides is kept; None takes all pixels there are.

    Raises OSError, such as FileNotFoundError, if the file cannot be opened; ValueError if it is no
    picture or damaged, if a side has fewer than 16 pixels, or if there are more than 25 megapixels;
    with a `size` up to `PIL.Image.MAX_IMAGE_PIXELS` (89 megapixels), of a JPEG that is not
    progressive twice as many.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path: got {path!r}, accepted is the path of an image file.")
    if size is not None:
        check_number("size", size, MIN_SIDE, integer=True)
    with open(os.path.expanduser(path), "rb") as file:
        with decoding(path):
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
        with decoding(path):
            image = to_rgb(image, size)
    if size is not None:
        image = image.resize(_fitted(image.size, size), Image.LANCZOS, reducing_gap=3.0)
    return np.asarray(image, "float32") / np.float32(127.5) - np.float32(1)


def write(path, image):
    """Write a picture, floats (H, W, 3) in [-1, 1], as PNG or JPEG, whichever the path ends in.

    Raises ValueError for another ending, shape, type or range.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path: got {path!r}, accepted is the path of an image file.")
    path = Path(os.path.expanduser(path))
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
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
    format = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    Image.fromarray(pixels).save(encoded, format, quality=95, subsampling=0)  # PNG ignores the two
    with replaced(path) as partial:
        partial.write_bytes(encoded.getvalue())


@contextlib.contextmanager
def decoding(path):
    """Make whatever Pillow raises for a file a ValueError, with that as its cause."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags, or it raises afterwards
            yield
    except MemoryError:
        raise
    # Its plugins let anything through: struct.error, KeyError, ZeroDivisionError, zlib.error, ...
    except Exception as error:
        raise ValueError(
            f"path: {str(path)!r} is not an image, or a damaged one ({type(error).__name__}: "
            f"{error}); accepted are JPEG, PNG and what else Pillow reads."
        ) from error


def to_rgb(image, size=None):
    """An opened Pillow image as mode RGB: turned as its EXIF says, transparent parts on white.

    A JPEG may come smaller, its sides at least twice `size`. Raises ValueError for pixels
    without a known range (mode F, or I beyond 16 bits) and for too many of them.
    """
    if size is not None and not image.info.get("progressive"):  # which is unpacked whole anyway
        image.draft(None, (2 * size, 2 * size))  # a JPEG unpacks at a fraction of its size
    limit = Image.MAX_IMAGE_PIXELS  # from here on Pillow itself only warns
    if limit is not None and image.width * image.height > limit:
        raise ValueError(
            f"it has {image.width} x {image.height} pixels, Pillow's limit against decompression "
            f"bombs is {limit:,}"
        )
    clear = image.info.get("transparency")
    if clear is not None and image.format == "PNG":  # Pillow scales the pixels, but not this
        raw = image.tile[0].args
        narrow = {"L;2": 85, "L;4": 17}.get(raw, 1)
        clear = tuple(c >> 8 for c in clear) if raw == "RGB;16B" else clear * narrow
        image.info["transparency"] = clear
    if not isinstance(image.info.get("xmp"), bytes | None):
        del image.info["xmp"]  # on which a TIFF fails
    image.load()  # a TIFF is turned by it
    turn = TURNS.get(_orientation(image))
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown")
    if image.mode.startswith("I"):  # 16 bits, for which Pillow's own conversion clips at 255
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65_535:
            raise ValueError("its pixels have more than 16 bits")
        tags = getattr(image, "tag_v2", {})  # of a TIFF, whose numbers Pillow gives as they are
        white = 2 ** min(tags.get(ExifTags.Base.BitsPerSample, (16,))[0], 16) - 1
        if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # 0 is white
            grey = white - grey.astype("int32")
        image = Image.fromarray(np.round(grey / np.float32(white / 255)).astype("uint8"))
        if clear is not None:
            image.putalpha(Image.fromarray((grey != clear).astype("uint8") * np.uint8(255)))
    if turn is not None:
        image = image.transpose(turn)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _orientation(image):
    """EXIF's tag Orientation, even where other tags are damaged; 1 if there is none."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as in `decoding`; the pixels are there
        return 1


def _fitted(sides, size):
    """The two sides, scaled so that the longer one is `size`."""
    return tuple(max(1, round(side * size / max(sides))) for side in sides)


def _check_sides(argument, value, sides):
    if min(sides) < MIN_SIDE or (argument == "size" and sides[0] * sides[1] > MAX_PIXELS):
        raise ValueError(
            f"{argument}: {str(value)!r} gives {sides[0]} x {sides[1]} pixels, accepted are sides "
            f"of at least {MIN_SIDE} and {MAX_PIXELS / 1e6:g} megapixels."
        )
