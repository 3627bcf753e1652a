"""Differentiable augmentation (数据增强) of pictures for GANs: chapter 07.

With few pictures the discriminator learns them by heart. It is shown real and drawn ones changed
at random: then it has more to learn, and gradients reach the generator through the change (Zhao et
al. 2020, arXiv:2006.10738). Each kind changes each picture with probability p (Karras et al. 2020,
arXiv:2006.06676, section 3.1).
"""

import numpy as np
from keras import ops


def augment(images, p, kinds, numbers):
    """Pictures (B, H, W, C), float32; each kind changes each of them with probability `p`.

    Args:
        kinds: names out of `KINDS`, in the order in which they are applied.
        numbers: uniform in [0, 1), (B, len(kinds), 4): of a kind, whether it changes the picture,
            and three that say how.
    """
    images = ops.cast(images, "float32")
    for i, kind in enumerate(kinds):
        chosen, *how = (x[:, None, None, None] for x in ops.unstack(numbers[:, i], 4, axis=1))
        images = ops.where(chosen < p, KINDS[kind](images, *how), images)
    return images


# --- kinds: pictures and three numbers for each, (B, 1, 1, 1), to pictures ---


def color(images, brightness, saturation, contrast):
    """Add -0.5 to 0.5; distance from grey times 0 to 2; from the picture's mean 0.5 to 1.5."""
    brightness, saturation, contrast = brightness - 0.5, 2.0 * saturation, 0.5 + contrast
    grey = ops.mean(images, axis=-1, keepdims=True)
    mean = ops.mean(grey, axis=(1, 2), keepdims=True)
    # The three multiplied out, so that of all that is computed little is as large as the pictures.
    level = contrast * (1.0 - saturation) * grey + (1.0 - contrast) * mean + brightness
    return contrast * saturation * images + level


def translation(images, vertical, horizontal, _):
    """Move by up to an eighth of the side each way; what comes in is 0, a medium grey."""
    rows, columns = (
        _moved(x, size) for x, size in zip((vertical, horizontal), images.shape[1:3], strict=True)
    )
    # Products with matrices of zeros and ones: on a CPU faster than to look pixels up.
    images = ops.einsum("bij,bjkc->bikc", rows, images)
    return ops.einsum("bkl,bilc->bikc", columns, images)


def _moved(number, size):
    """(B, size, size): 1 where position i takes what is at j."""
    furthest = (size + 4) // 8
    distance = ops.floor(number[:, 0] * (2 * furthest + 1)) - furthest
    positions = ops.arange(size, dtype="float32")
    return ops.cast(positions[:, None] + distance == positions, "float32")


def cutout(images, vertical, horizontal, _):
    """A rectangle of half of the sides turns 0, a medium grey; its centre is any pixel."""
    height, width = images.shape[1:3]
    rows = _hidden(vertical, ops.arange(height, dtype="float32")[:, None, None], height)
    columns = _hidden(horizontal, ops.arange(width, dtype="float32")[:, None], width)
    return ops.where(rows & columns, 0.0, images)


def _hidden(number, positions, size):
    """Which positions lie in a stretch of half the size, of which a part may stand out."""
    length = (size + 1) // 2
    start = ops.floor(number * (size + 1 - length % 2)) - length // 2
    return (positions >= start) & (positions < start + length)


def rotation(images, turns, *_):
    """Quarter turns: none, one, two or three, of square pictures."""
    turns = ops.floor(4.0 * turns)
    images = ops.where(turns >= 2.0, images[:, ::-1, ::-1], images)
    return ops.where(turns % 2.0 == 1.0, ops.swapaxes(images, 1, 2)[:, ::-1], images)


KINDS = {"color": color, "translation": translation, "cutout": cutout, "rotation": rotation}


# --- refusals ---


def check_augment(augment, kinds, image_shape):
    """None, "adaptive" or a number in (0, 1], as it is; otherwise a ValueError.

    Also one of what the `kinds`, which have been checked, do not change: points, or by quarter
    turns pictures that are not square.
    """
    if augment is None:
        return None
    if not isinstance(augment, str) or augment != "adaptive":
        augment = check_probability("augment", augment, 'None, "adaptive" or a number')
    if len(image_shape) != 3:
        raise ValueError(
            f"augment: got {augment!r} for images of shape {image_shape}, accepted is None: what "
            "is augmented are pictures, (height, width, channels)."
        )
    if "rotation" in kinds and image_shape[0] != image_shape[1]:
        raise ValueError(
            f"augment_kinds: got rotation for images of shape {image_shape}, accepted with square "
            "ones."
        )
    return augment


def check_probability(name, p, accepted="a number"):
    """`p` as int or float if 0 < p <= 1, otherwise a ValueError."""
    good = isinstance(p, int | float | np.integer | np.floating) and not isinstance(p, bool)
    if not good or not 0 < p <= 1:
        raise ValueError(f"{name}: got {p!r}, accepted is {accepted} > 0 and <= 1.")
    return p.item() if isinstance(p, np.generic) else p


def check_augment_kinds(kinds):
    """The names as a tuple; a ValueError unless they are one or more different ones of `KINDS`."""
    good = isinstance(kinds, tuple | list) and kinds and all(kind in [*KINDS] for kind in kinds)
    if not good or len(set(kinds)) < len(kinds):
        raise ValueError(
            f"augment_kinds: got {kinds!r}, accepted is a tuple of different names out of "
            f"{', '.join(KINDS)}."
        )
    return tuple(kinds)
