"""Pictures of any size: checked, made smaller, and painted in tiles."""

import numpy as np
import tensorflow as tf

from aigc_keras.guards import as_images, check_images, check_number, check_numbers


def check_image(name, image):
    try:
        shape = np.shape(image)
    except ValueError:  # rows of different length
        shape = ()
    if len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < 16:
        raise ValueError(
            f"{name}: got shape {shape}, accepted is (height, width, 3), at least 16 px a side."
        )
    return as_images(name, np.asarray(image)[None], shape)[0]


def check_pictures(name, images):
    if images is None:
        return []
    images = images if isinstance(images, list | tuple) else [images]
    return [check_image(f"{name}[{i}]", image) for i, image in enumerate(images)]


def check_batch(name, images, multiple):
    """Refuse what are not images with sides divisible by `multiple`."""
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) != 4 or shape[3] != 3 or any(side % multiple for side in shape[1:3]):
        raise ValueError(
            f"{name}: got shape {shape}, accepted is (B, H, W, 3), H and W divisible by {multiple}."
        )
    check_images(name, images, shape[1:])


def check_styles(styles, style_mix):
    """(list of images, their shares of the sum 1)."""
    styles = check_pictures("styles", styles)
    accepted = f"accepted are {len(styles)} numbers >= 0 with a sum above 0, one for each style"
    mix = np.ones(len(styles)) if style_mix is None else style_mix
    mix = check_numbers("style_mix", mix, accepted).astype("float64")
    if mix.shape != (len(styles),) or (mix < 0).any() or (len(styles) and not mix.sum() > 0):
        raise ValueError(f"style_mix: got {style_mix!r}, {accepted}.")
    return styles, mix / max(mix.sum(), 1e-12)


def resized(image, size):
    """The image with (height, width) `size`."""
    if image.shape[:2] == size:
        return image
    image = tf.image.resize(image, size, method="bicubic", antialias=True)
    return np.clip(image.numpy(), -1.0, 1.0)


def rescaled(image, scale, multiple=1):
    """The image with sides `scale` times as long, of at least 16 px and divisible by `multiple`."""
    sides = (multiple * round(side * scale / multiple) for side in image.shape[:2])
    return resized(image, tuple(max(16, side) for side in sides))


def thumbnail(image, longest=512):
    """The image with a longer side of at most `longest` px, and sides divisible by 8."""
    return rescaled(image, min(1.0, longest / max(image.shape[:2])), multiple=8)


BORDER = 16  # px


def mirrored(image):
    """An image (H, W, 3) with its edges mirrored by `BORDER` px, and sides that are multiples of 8.

    So the zeros that convolutions see outside of an image do not show.
    """
    edges = [(BORDER, BORDER + -side % 8) for side in image.shape[:2]]
    return np.pad(image, [*edges, (0, 0)], mode="reflect")


def in_tiles(function, image, tile=512, overlap=64):
    """`function` of images (1, h, w, 3) on a large image (H, W, 3), tile by tile.

    A tile sees `overlap` px around it, and `mirrored` edges, which are cut off again: where these
    cover the receptive field, tiles equal the whole. All sizes are multiples of 8.
    """
    check_number("tile", tile, low=64, integer=True)
    tile -= tile % 8
    image = np.asarray(image)
    whole, result = mirrored(image), np.empty_like(image)
    for top in range(0, image.shape[0], tile):
        for left in range(0, image.shape[1], tile):
            # `image[top, left]` is `whole[top + BORDER, left + BORDER]`.
            (first, row), (second, column) = (
                (max(0, start + BORDER - overlap), min(start + BORDER, overlap))
                for start in (top, left)
            )
            end = BORDER + tile + overlap
            seen = whole[first : top + end, second : left + end]
            painted = np.clip(function(tf.constant(seen[None])), -1.0, 1.0)[0, row:, column:]
            inside = result[top : top + tile, left : left + tile]
            inside[:] = painted[: len(inside), : inside.shape[1]]
    return result
