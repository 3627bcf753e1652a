"""The networks that paint in one pass, and the statistics of maps that they give and take."""

import keras
from keras import layers, ops

from aigc_keras.guards import check_number, check_settings, check_shape


def channel_statistics(maps):
    """Mean and standard deviation over positions: maps (B, h, w, C) to (B, 2, C), float32."""
    mean, variance = ops.moments(ops.cast(maps, "float32"), axes=(1, 2))
    return ops.stack([mean, ops.sqrt(variance + 1e-5)], axis=1)


def _mean_and_std(statistics):
    """Statistics (B, 2, C) as two tensors (B, 1, 1, C), which fit maps (B, h, w, C)."""
    return ops.split(ops.expand_dims(statistics, 2), 2, axis=1)


@keras.saving.register_keras_serializable("aigc_keras")
class InstanceNormalization(layers.Layer):
    """Each channel of each image to mean 0 and variance 1, then a learned scale and shift.

    Ulyanov et al. 2016 (arXiv:1607.08022), eq. 5. Call: maps (B, h, w, C), and optionally
    statistics (B, 2, C) to use instead of the maps' own, so that the tiles of a large image are
    treated alike. Returns (maps, statistics).
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)  # statistics and weights stay in float32

    def build(self, shape):
        self.scale = self.add_weight((shape[-1],), "ones", name="scale", autocast=False)
        self.shift = self.add_weight((shape[-1],), "zeros", name="shift", autocast=False)

    def call(self, maps, statistics=None):
        if statistics is None:
            statistics = channel_statistics(maps)
        mean, std = _mean_and_std(statistics)
        gain = self.scale / std
        normalised = ops.cast(maps, "float32") * gain + (self.shift - mean * gain)
        return ops.cast(normalised, maps.dtype), statistics


def adaptive_instance_normalization(maps, statistics, style_statistics):
    """Huang and Belongie 2017 (arXiv:1703.06868), eq. 8: `maps` with the style's statistics.

    Both statistics are those of `channel_statistics`, (B, 2, C) or (1, 2, C).
    """
    mean, std = _mean_and_std(statistics)
    style_mean, style_std = _mean_and_std(style_statistics)
    return (ops.cast(maps, "float32") - mean) / std * style_std + style_mean


# Adam moves the hundreds of weights of the last layer together, by the same rate each: unscaled,
# the first steps throw the picture out of its range, from where it does not come back.
CORRECTION = 0.4


def _last_convolution():
    """What it gives is added to a picture; it starts with nothing."""
    return layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", dtype="float32")


def transformer(width=32, n_blocks=5):
    """The network of Johnson et al. 2016 (arXiv:1603.08155), for images with sides divisible by 4.

    Two halvings, residual blocks, two doublings. Doubling repeats pixels and then convolves,
    because transposed convolutions leave a checkerboard (Odena et al. 2016). What comes out is
    added to the image, so that training begins at a picture and not at nothing.

    Returns:
        Two models that share all weights: `measure`, images to [pictures, statistics of each
        normalisation ...], and `paint`, [images, such statistics ...] to pictures.
    """
    check_settings()
    width = check_number("width", width, low=1, integer=True)
    n_blocks = check_number("n_blocks", n_blocks, low=0, integer=True)
    sizes = [(width, 9, 1), (2 * width, 3, 2), (4 * width, 3, 2)]  # filters, size, stride
    sizes += 2 * n_blocks * [(4 * width, 3, 1)] + [(2 * width, 3, 1), (width, 3, 1)]
    pairs = [
        (layers.Conv2D(filters, size, strides, padding="same"), InstanceNormalization())
        for filters, size, strides in sizes
    ]
    last = _last_convolution()

    def build(given=None):
        images = keras.Input((None, None, 3), name="images")
        found = []

        def normalised(x):
            convolution, normalisation = pairs[len(found)]
            x, statistics = normalisation(convolution(x), given and given[len(found)])
            found.append(statistics)
            return x

        x = images
        for _ in range(3):
            x = ops.relu(normalised(x))
        for _ in range(n_blocks):
            x = x + normalised(ops.relu(normalised(x)))
        for _ in range(2):
            x = ops.relu(normalised(layers.UpSampling2D(2, interpolation="nearest")(x)))
        return images, images + CORRECTION * last(x), found

    images, pictures, found = build()
    measure = keras.Model(images, [pictures, *found], name="measure")
    statistics = [keras.Input(x.shape[1:]) for x in found]
    images, pictures, _ = build(statistics)
    return measure, keras.Model([images, *statistics], pictures, name="paint")


def adain_decoder(channels=(64, 128, 256, 512), width=32):
    """From normalised maps of all style layers to what changes in a picture.

    Huang and Belongie 2017 decode the deepest maps alone and take days; the shallower ones carry
    the detail, so that nothing has to be invented (after Sheng et al. 2018, arXiv:1805.03857).

    Args:
        channels: of the style layers, first to last, one layer for each block of the perceptual
            network from the first on.
        width: filters at full size, twice as many at each halving.

    Returns:
        A model of the list of maps, first to last, to corrections (B, H, W, 3).
    """
    check_settings()
    check_shape("channels", channels, "a tuple of at least one integer >= 1")
    check_number("width", width, low=1, integer=True)
    maps = [keras.Input((None, None, c), name=f"maps_{i}") for i, c in enumerate(channels)]
    x = maps[-1]
    for i in reversed(range(len(channels))):
        if i < len(channels) - 1:
            x = layers.Concatenate()([x, maps[i]])
        for _ in range(1 if i < 2 else 2):  # texture is made where a convolution costs little
            x = layers.Conv2D(width * 2**i, 3, padding="same", activation="relu")(x)
        if i:
            x = layers.UpSampling2D(2, interpolation="nearest")(x)
    return keras.Model(maps, CORRECTION * _last_convolution()(x), name="decoder")
