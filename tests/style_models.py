"""Small models and pictures for the tests of chapter 03."""

import functools

import keras
import numpy as np
import tensorflow as tf

from aigc_keras import style
from aigc_keras.style import StyleTransfer, match_colors

# Few layers, so that a step on a small image takes milliseconds.
SMALL = {
    "content_layers": ("block2_conv1",),
    "style_layers": ("block1_conv1", "block2_conv1"),
    "dtype": "float32",
}


def image(height=32, width=40, seed=0, low=-0.8, high=0.8):
    """Coloured blobs, smooth enough to be an image."""
    coarse = np.random.default_rng(seed).uniform(low, high, (height // 8, width // 8, 3))
    return tf.image.resize(coarse, (height, width)).numpy().astype("float32")


def batch(n=8, **kwargs):
    return np.stack([image(32, 32, seed, **kwargs) for seed in range(n)])


def model(content=None, styles=None, **kwargs):
    content = image() if content is None else content
    transfer = StyleTransfer(
        content, image(48, 24, 1) if styles is None else styles, **SMALL | kwargs
    )
    transfer.compile()
    return transfer


def fast_model(style_image=None, painting=False, **kwargs):
    sizes = {"width": 4, "n_blocks": 1}
    style_image = image(48, 24, 1) if style_image is None else style_image
    transfer = style.FastStyleTransfer(style_image, **SMALL | sizes | kwargs)
    transfer.compile(keras.optimizers.Adam(3e-3))
    if painting:
        start_painting(transfer.measure, 0.1)
    return transfer


def adain_model(painting=False, **kwargs):
    keras.utils.set_random_seed(0)
    decoder = style.adain_decoder(channels=(64, 128), width=4)
    transfer = style.AdaIN(SMALL["style_layers"], decoder=decoder, dtype="float32", **kwargs)
    transfer.compile()
    if painting:
        start_painting(transfer.decoder, 0.02)
    return transfer


@functools.cache
def painter(make):
    """A model that paints, for tests that leave it as it is."""
    keras.utils.set_random_seed(0)
    return make(painting=True)


def start_painting(network, deviation):
    """A last layer that is not zero, as after training; or all pictures would be the image.

    Small enough that pictures stay in range: clipped ones would be equal for no good reason.
    """
    (kernel,) = [w for w in network.trainable_weights if len(w.shape) == 4 and w.shape[-1] == 3]
    assert not kernel.numpy().any()
    kernel.assign(np.random.default_rng(0).normal(0, deviation, kernel.shape))


def moments(*images):
    """Mean (3,) and covariance (3, 3) of all pixels of the images together, by NumPy."""
    pixels = np.concatenate([np.reshape(x, (-1, 3)) for x in images]).astype("float64")
    return pixels.mean(0), np.cov(pixels.T, bias=True)


def tensors(statistics):
    return [tf.constant(x[None], "float32") for x in statistics]


def recolored(content, *styles):
    """The content in the colours of all pixels of the styles."""
    return match_colors(content[None], *tensors(moments(*styles)))[0]
