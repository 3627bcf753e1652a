"""Johnson et al. 2016: one style in one pass."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.guards import check_number
from aigc_keras.model import Model, signature
from aigc_keras.optimizers import Adam
from aigc_keras.style.colors import color_statistics, match_colors
from aigc_keras.style.features import STYLE_LAYERS
from aigc_keras.style.losses import PARTS, PerceptualLoss, constant
from aigc_keras.style.networks import transformer
from aigc_keras.style.pictures import (
    BORDER,
    check_batch,
    check_image,
    in_tiles,
    mirrored,
    thumbnail,
)


@keras.saving.register_keras_serializable("aigc_keras")
class FastStyleTransfer(Model):
    """A network that learns one style and then paints any image in one pass (Johnson et al. 2016).

    Trains on images (B, H, W, 3) in [-1, 1], sides divisible by 4, by the loss of `StyleTransfer`.
    The network sees the image in the colours of the style and paints what has to change.

    Args:
        style: image (H, W, 3), floats in [-1, 1], at least 16 px a side.
        width, n_blocks: size of the network, see `transformer`.
        content_layers, style_layers, content_weight, style_weight, color_weight,
            variation_weight: as for `StyleTransfer`.
        weights, dtype: of the perceptual network, as for `PerceptualFeatures`.

    Raises:
        ValueError: an argument is out of range.
    """

    tracked = PARTS
    draws_noise = False

    def __init__(
        self,
        style,
        width=32,
        n_blocks=5,
        content_layers=("block3_conv2",),
        style_layers=STYLE_LAYERS,
        content_weight=0.4,
        style_weight=1.0,
        color_weight=0.05,
        variation_weight=0.05,
        weights="hed",
        dtype=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # colours need all their digits
        style = check_image("style", style)
        self.width = check_number("width", width, low=1, integer=True)
        self.n_blocks = check_number("n_blocks", n_blocks, low=0, integer=True)
        layers = content_layers, style_layers
        part_weights = content_weight, style_weight, color_weight, variation_weight
        self.perceptual_loss = PerceptualLoss(
            [style], [1.0], *layers, *part_weights, weights, dtype
        )
        self.colors = [constant(self, "colors", x) for x in color_statistics(style[None])]
        self.measure, self.paint = transformer(width, n_blocks)
        self._recolored, self._measure, self._paint = (
            tf.function(function, reduce_retracing=True)
            for function in (self.recolored, self.measure, self.paint)
        )
        self.set_up()

    def change_style(self, style):
        """Train for another style from now on, an image (H, W, 3); the network stays as it is."""
        style = check_image("style", style)
        loss = PerceptualLoss([style], [1.0], **self.perceptual_loss.get_config())
        self.perceptual_loss.set_weights(loss.get_weights())
        for kept, value in zip(self.colors, color_statistics(style[None]), strict=True):
            kept.assign(value)

    def default_optimizer(self):
        return Adam(2e-3)

    def recolored(self, images):
        """Images (B, H, W, 3) in the colours of the style."""
        return match_colors(images, *(ops.convert_to_tensor(x) for x in self.colors))

    def objective(self, pictures, images):
        """A dict of the losses of pictures painted from images, see `PerceptualLoss`."""
        return self.perceptual_loss(pictures, self.perceptual_loss.content_of(images))

    def train_step(self, data):
        images, _ = self.unpack(data)
        images = self.recolored(images)
        with tf.GradientTape() as tape:
            pictures, *_ = self.measure(images, training=True)
            losses = self.objective(pictures, images)
        self.descend(tape, losses["loss"], images)
        return self.track(images, **losses)

    def test_step(self, data):
        images, _ = self.unpack(data)
        images = self.recolored(images)
        pictures, *_ = self.measure(images)
        return self.track(images, **self.objective(pictures, images))

    def check_batch(self, name, parts):
        check_batch(name, parts[0], 4)

    def call(self, inputs, training=False):
        """Painted images of images (B, H, W, 3) in [-1, 1], sides divisible by 4."""
        pictures, *_ = self.measure(self.recolored(inputs), training=training)
        return ops.clip(pictures, -1.0, 1.0)

    def call_signature(self):
        return signature(self.measure)

    def stylize(self, image, tile=512):
        """One image (H, W, 3) of any size, painted; a large one in tiles of `tile` px.

        All tiles are normalised by the statistics of the whole image, taken at a longer side of
        about 512 px, and see 64 px around them: there are no seams, and memory stays bounded.
        """
        image = self._recolored(check_image("image", image)[None])[0]
        whole = mirrored(image)
        small = thumbnail(whole, longest=512 + 2 * BORDER)
        picture, *statistics = self._measure(small[None])

        def paint(x):
            # Measuring paints too: a small image is done.
            done = x.shape[1:] == small.shape == whole.shape
            return picture if done else self._paint([x, *statistics])

        return in_tiles(paint, image, tile)

    def get_config(self):
        network = {"name": self.name, "width": self.width, "n_blocks": self.n_blocks}
        return network | self.perceptual_loss.get_config()

    @classmethod
    def from_config(cls, config):
        """A model of a grey style; loading its weights brings the real one."""
        return cls(np.zeros((16, 16, 3), "float32"), **config)
