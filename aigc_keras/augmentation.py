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
        how = ops.where(numbers[:, i, :1] < p, numbers[:, i, 1:], NEUTRAL[kind])
        images = KINDS[kind](images, *ops.unstack(how, 3, axis=1))
    return images


# --- kinds: pictures and three numbers for each, (B,), to pictures ---
#
# Each is written so that little of what it computes is as large as the pictures, and nothing is
# repeated along their last axis: with few channels that is what takes the time.


def color(images, brightness, saturation, contrast):
    """Add -0.5 to 0.5; distance from grey times 0 to 2; from the picture's mean 0.5 to 1.5."""
    height, width, channels = images.shape[1:]
    brightness, saturation, contrast = (
        x[:, None, None] for x in (brightness - 0.5, 2.0 * saturation, 0.5 + contrast)
    )
    pixels = ops.reshape(images, (-1, height * width, channels))
    mean = ops.mean(pixels, axis=(1, 2), keepdims=True)
    # The three multiplied out: of a pixel a product with a matrix, of a picture what is added.
    matrix = contrast * (saturation * ops.eye(channels) + (1.0 - saturation) / channels)
    pixels = ops.matmul(pixels, matrix) + ((1.0 - contrast) * mean + brightness)
    return ops.reshape(pixels, (-1, height, width, channels))


def translation(images, vertical, horizontal, _):
    """Move by up to an eighth of the side each way; what comes in is 0, a medium grey."""
    height, width, channels = images.shape[1:]
    high, rows = _moved(vertical, height)
    wide, columns = _moved(horizontal, width)
    images = ops.pad(images, ((0, 0), (high, high), (wide, wide), (0, 0)))
    height, width = images.shape[1:3]
    # The number of each pixel among those of all pictures, behind each other.
    first = height * width * ops.arange(ops.shape(images)[0])
    numbers = first[:, None, None] + width * rows[:, :, None] + columns[:, None, :]
    return ops.take(ops.reshape(images, (-1, channels)), numbers, axis=0)


def _moved(number, size):
    """The furthest way, and for each position the one it takes from, with that much at each end."""
    furthest = (size + 4) // 8
    start = ops.floor(number * (2 * furthest + 1))
    return furthest, ops.cast(start, "int32")[:, None] + ops.arange(size)


def cutout(images, vertical, horizontal, _):
    """A rectangle of half of the sides turns 0, a medium grey; its centre is any pixel."""
    height, width, channels = images.shape[1:]
    rows = _hidden(vertical, height)[:, :, None]
    columns = ops.repeat(_hidden(horizontal, width), channels, axis=1)[:, None, :]
    flat = ops.reshape(images, (-1, height, width * channels))
    return ops.reshape(flat * (1.0 - rows * columns), (-1, height, width, channels))


def _hidden(number, size):
    """(B, size): 1 where positions lie in a stretch of half the size, which may stand out."""
    length = (size + 1) // 2
    start = ops.floor(number * (size + 1 - length % 2))[:, None] - length // 2
    positions = ops.arange(size, dtype="float32")
    return ops.cast((positions >= start) & (positions < start + length), "float32")


def rotation(images, turns, *_):
    """Quarter turns: none, one, two or three, of square pictures."""
    turns = ops.floor(4.0 * turns)[:, None, None, None]
    images = ops.where(turns >= 2.0, images[:, ::-1, ::-1], images)
    return ops.where(turns % 2.0 == 1.0, ops.swapaxes(images, 1, 2)[:, ::-1], images)


KINDS = {"color": color, "translation": translation, "cutout": cutout, "rotation": rotation}
# Numbers with which a kind leaves a picture as it is, bit by bit; of cutout they are outside of it.
NEUTRAL = {"color": 0.5, "translation": 0.5, "cutout": 2.0, "rotation": 0.0}


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
