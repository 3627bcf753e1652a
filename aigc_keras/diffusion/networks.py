"""Networks: (noisy data, times (B,), labels (B,) where there are classes) -> prediction."""

import math

import keras
import numpy as np
from keras import layers, ops

from aigc_keras.guards import check_number, check_shape, check_sizes


@keras.saving.register_keras_serializable("aigc_keras")
class SinusoidalEmbedding(layers.Layer):
    """Times (B,) in [0, 1] as (B, dim): sines and cosines of waves from slow to fast.

    Vaswani et al. 2017 (arXiv:1706.03762), section 3.5, of 1000 t.
    """

    def __init__(self, dim, **kwargs):
        super().__init__(autocast=False, **kwargs)  # a time in half precision is another time
        self.dim = check_number("dim", dim, low=2, integer=True)

    def call(self, times):
        frequencies = np.exp(-math.log(10_000) * np.arange(self.dim // 2) / (self.dim // 2))
        angles = 1000.0 * ops.cast(times, "float32")[:, None] * frequencies.astype("float32")
        waves = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
        return ops.cast(waves, self.compute_dtype)

    def compute_output_shape(self, shape):
        return (shape[0], self.dim // 2 * 2)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}


def _embedding(times, labels, num_classes, dim, dtype, vector=None):
    """Time and class, or `vector`, as one vector (B, dim), which every block is given."""
    x = SinusoidalEmbedding(64, dtype=dtype)(times)
    x = layers.Dense(dim, activation="silu", dtype=dtype)(x)
    x = layers.Dense(dim, dtype=dtype)(x)
    if num_classes:  # one more class than there are: none
        label = layers.Embedding(num_classes + 1, dim, dtype=dtype)(labels)
        x = layers.Add(dtype=dtype)([x, label])
    if vector is not None:
        x = layers.Add(dtype=dtype)([x, layers.Dense(dim, dtype=dtype)(vector)])
    return layers.Activation("silu", dtype=dtype)(x)


def _inputs(shape, num_classes):
    if num_classes is not None:
        check_number("num_classes", num_classes, low=1, integer=True)
    noisy, times = keras.Input(shape, name="noisy"), keras.Input((), name="times")
    labels = keras.Input((), dtype="int32", name="labels") if num_classes else None
    return noisy, times, labels, [noisy, times] + ([labels] if num_classes else [])


def unet(
    image_shape,
    widths=(48, 96),
    blocks=2,
    patch=1,
    num_classes=None,
    outputs=1,
    dtype=None,
    condition=(None, None, None),
):
    """A compact U-Net (Ronneberger et al. 2015; Ho et al. 2020, app. B) for two cores.

    Residual blocks whose normalised maps are scaled and shifted by time and class, skip connections
    from each block to its mirror image, and attention at the lowest resolution.

    Args:
        image_shape: (height, width, channels), the sides divisible by `patch`.
        widths: channels at each resolution, multiples of 8; each is half the one before.
        blocks: residual blocks at each resolution, down and up.
        patch: side of the squares of pixels that the first layer makes one position of. 2 saves
            three quarters of the work.
        num_classes: with it, the network takes labels; `num_classes` itself means "any class".
        outputs: maps for each channel of the image; 2 with a learned variance.
        condition: what the network takes in place of labels, a `keras.Input`; of it, a vector (B,
            any), which is added to the time, or None; and a function that every map (B, h, w, c)
            passes behind its block, or None.
    """
    check_sizes(patch=patch, blocks=blocks, outputs=outputs)
    accepted = f"(height, width, channels) with sides divisible by patch, {patch}"
    if any(side % patch for side in check_shape("image_shape", image_shape, accepted, rank=3)[:2]):
        raise ValueError(f"image_shape: got {image_shape!r}, accepted is {accepted}.")
    accepted = "at least one positive multiple of 8"
    if any(width % 8 for width in check_shape("widths", widths, accepted)):
        raise ValueError(f"widths: got {widths!r}, accepted is {accepted}.")
    noisy, times, labels, inputs = _inputs(image_shape, num_classes)
    given, vector, look = condition
    inputs += [] if given is None else [given]
    embedding = _embedding(times, labels, num_classes, 2 * widths[-1], dtype, vector)
    same = {"padding": "same", "dtype": dtype}

    def residual_block(x, width):
        h = layers.GroupNormalization(8, dtype=dtype)(x)
        scale, shift = (
            # Not [:, None, None], whose gradient costs as much as a small convolution.
            layers.Reshape((1, 1, x.shape[-1]))(layers.Dense(x.shape[-1], dtype=dtype)(embedding))
            for _ in range(2)
        )
        h = layers.ReLU(dtype=dtype)(h * (1 + scale) + shift)
        h = layers.Conv2D(width, 3, activation="relu", **same)(h)
        h = layers.Conv2D(width, 3, kernel_initializer="zeros", **same)(h)
        if x.shape[-1] != width:
            x = layers.Conv2D(width, 1, **same)(x)
        x = layers.Add(dtype=dtype)([x, h])
        return x if look is None else look(x)

    def attention(x):
        height, breadth, width = x.shape[1:]
        h = layers.GroupNormalization(8, dtype=dtype)(x)
        h = layers.Reshape((height * breadth, width), dtype=dtype)(h)
        h = layers.MultiHeadAttention(4, width // 4, dtype=dtype)(h, h)
        return layers.Add(dtype=dtype)([x, layers.Reshape(x.shape[1:], dtype=dtype)(h)])

    x = layers.Conv2D(widths[0], patch if patch > 1 else 3, strides=patch, **same)(noisy)
    skips = []
    for i, width in enumerate(widths):
        if i:
            x = layers.Conv2D(width, 3, strides=2, **same)(x)
        for _ in range(blocks):
            x = residual_block(x, width)
            skips.append(x)
    x = attention(residual_block(x, widths[-1]))
    for i, width in reversed(list(enumerate(widths))):
        for _ in range(blocks):
            x = residual_block(layers.Concatenate(dtype=dtype)([x, skips.pop()]), width)
        if i:
            x = layers.UpSampling2D(dtype=dtype)(x)
            height, breadth = skips[-1].shape[1:3]  # an odd side was rounded up
            crop = ((0, x.shape[1] - height), (0, x.shape[2] - breadth))
            x = layers.Cropping2D(crop, dtype=dtype)(x)
            x = layers.Conv2D(widths[i - 1], 3, **same)(x)
    x = layers.GroupNormalization(8, dtype=dtype)(x)
    x = layers.ReLU(dtype=dtype)(x)
    last = {"kernel_initializer": "zeros", "padding": "same", "dtype": "float32", "name": "outputs"}
    channels = outputs * image_shape[-1]
    if patch == 1:
        x = layers.Conv2D(channels, 3, **last)(x)
    else:
        x = layers.Conv2DTranspose(channels, 2 * patch, strides=patch, **last)(x)
    return keras.Model(inputs, x, name="unet")


def mlp(dim, widths=(256, 256, 256), num_classes=None, outputs=1, dtype=None):
    """Dense layers for points (B, dim), each given time and class anew.

    With ReLU: where clouds of points part, the answer bends sharply.
    """
    check_sizes(dim=dim, outputs=outputs)
    check_shape("widths", widths, "a tuple of at least one integer >= 1")
    noisy, times, labels, inputs = _inputs((dim,), num_classes)
    embedding = _embedding(times, labels, num_classes, widths[0], dtype)
    x = noisy
    for width in widths:
        x = layers.Concatenate(dtype=dtype)([x, embedding])
        x = layers.Dense(width, activation="relu", dtype=dtype)(x)
    x = layers.Dense(outputs * dim, dtype="float32", name="outputs")(x)
    return keras.Model(inputs, x, name="mlp")
