"""Huang and Belongie 2017: any style in one pass."""

import keras
import tensorflow as tf
from keras import ops

from aigc_keras.guards import check_number, check_own_network
from aigc_keras.model import Model
from aigc_keras.optimizers import Adam
from aigc_keras.style.colors import color_error, color_statistics, match_colors, mixed_colors
from aigc_keras.style.features import STYLE_LAYERS, PerceptualFeatures, check_names
from aigc_keras.style.losses import PARTS, gram_matrix, relative_error, total_variation
from aigc_keras.style.networks import (
    adain_decoder,
    adaptive_instance_normalization,
    channel_statistics,
)
from aigc_keras.style.pictures import check_batch, check_image, check_styles, in_tiles, thumbnail


@keras.saving.register_keras_serializable("aigc_keras")
class AdaIN(Model):
    """Any style in one pass: the content's features get the style's statistics, and are decoded.

    Huang and Belongie 2017 (arXiv:1703.06868). Trains on pairs (images, styles), both (B, H, W, 3)
    in [-1, 1] with sides divisible by 8. The colours are matched in closed form (`match_colors`):
    the decoder paints what has to change besides.

    Args:
        style_layers: layers whose statistics are given to the content, and whose Gram matrices are
            compared with the style's.
        style_weight, color_weight, variation_weight: beside a content loss of weight 1: how far
            the last layer's maps are from the normalised ones.
        decoder: network of your own instead, from a list of maps of the style layers to
            corrections of the picture.
        weights, dtype: of the perceptual network, as for `PerceptualFeatures`.

    Raises:
        ValueError: an argument is out of range.
    """

    tracked = PARTS
    draws_noise = False

    def __init__(
        self,
        style_layers=STYLE_LAYERS,
        style_weight=10.0,
        color_weight=0.05,
        variation_weight=0.05,
        decoder=None,
        weights="hed",
        dtype=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # colours need all their digits
        self.style_weight = check_number("style_weight", style_weight, low=0)
        self.color_weight = check_number("color_weight", color_weight, low=0)
        self.variation_weight = check_number("variation_weight", variation_weight, low=0)
        self.style_layers = tuple(check_names("style_layers", style_layers))
        self.features = PerceptualFeatures(self.style_layers, weights=weights, dtype=dtype)
        blocks = [layer.split("_")[0] for layer in self.style_layers]
        if decoder is None and blocks != [f"block{i + 1}" for i in range(len(blocks))]:
            raise ValueError(
                f"style_layers: got {style_layers!r}, accepted without a decoder of your own is "
                "one layer of each block from block1 on."
            )
        if decoder is not None:
            check_own_network("decoder", decoder)
            if len(decoder.inputs) != len(blocks) or decoder.output_shape[-1] != 3:
                raise ValueError(
                    f"decoder: takes {len(decoder.inputs)} inputs to {decoder.output_shape}, "
                    f"accepted are {len(blocks)} to (B, H, W, 3)."
                )
        self.decoder = decoder or adain_decoder([64 * 2**i for i in range(len(blocks))])
        self._match_colors, self._paint, self._statistics = (
            tf.function(function, reduce_retracing=True)
            for function in (match_colors, self.paint, self.statistics)
        )
        self.set_up()

    def default_optimizer(self):
        # A few styles have far larger errors than the rest.
        return Adam(1e-3, global_clipnorm=1.0)

    def statistics(self, images):
        """The channel statistics of the style layers of images (B, H, W, 3), a list."""
        return [channel_statistics(x) for x in self.features(images).values()]

    def paint(self, images, style_statistics, statistics=None, training=False):
        """(pictures, the maps that they should have) of images in the colours of their styles.

        Statistics of the images are those of all of them, unless they are given.
        """
        maps = list(self.features(images).values())
        statistics = statistics or [channel_statistics(x) for x in maps]
        maps = [
            adaptive_instance_normalization(*each)
            for each in zip(maps, statistics, style_statistics, strict=True)
        ]
        # Each layer has its own scale, up to hundreds: the decoder sees all of them at size 1.
        sizes = [ops.sqrt(2.0 * ops.mean(ops.square(x), axis=(1, 2))) for x in style_statistics]
        inputs = [
            x / (size[:, None, None, None] + 1e-5) for x, size in zip(maps, sizes, strict=True)
        ]
        return images + self.decoder(inputs, training=training), maps

    def objective(self, pictures, maps, style_maps, colors):
        """A dict of losses: the deepest maps as decoded, Gram matrices and colours of the style."""
        found = list(self.features(pictures).values())
        errors = [
            relative_error(gram_matrix(x), gram_matrix(y))
            for x, y in zip(found, style_maps, strict=True)
        ]
        losses = {
            "content_loss": relative_error(found[-1], maps[-1]),
            "style_loss": sum(errors) / len(errors),
            "color_loss": color_error(pictures, *colors),
            "variation_loss": total_variation(pictures),
        }
        loss = (
            losses["content_loss"]
            + self.style_weight * losses["style_loss"]
            + self.color_weight * losses["color_loss"]
            + self.variation_weight * losses["variation_loss"]
        )
        return {"loss": loss} | losses

    def losses_of(self, data, training):
        images, styles = data
        style_maps = list(self.features(styles).values())
        colors = color_statistics(styles)
        pictures, maps = self.paint(
            match_colors(images, *colors),
            [channel_statistics(x) for x in style_maps],
            training=training,
        )
        return self.objective(pictures, maps, style_maps, colors)

    def train_step(self, data):
        data = self.unpack(data)
        with tf.GradientTape() as tape:
            losses = self.losses_of(data, training=True)
        self.descend(tape, losses["loss"], data[0])
        return self.track(data[0], **losses)

    def test_step(self, data):
        data = self.unpack(data)
        return self.track(data[0], **self.losses_of(data, training=False))

    accepted_data = (
        "accepted are pairs (images, styles): a tf.data.Dataset or keras.utils.PyDataset of them, "
        "or two arrays x and y."
    )

    def unpack(self, data):
        """(images, styles) of a batch."""
        return tuple(ops.cast(part, "float32") for part in self.parts_of(data))

    def check_parts(self, name, parts):
        if len(parts) != 2:
            raise ValueError(f"{name}: got {len(parts)} parts, {self.accepted_data}")

    def check_batch(self, name, parts):
        self.check_parts(name, parts)
        for part in parts:
            check_batch(name, part, 8)

    def call(self, inputs, training=False):
        """Painted images of [images, styles], both (B, H, W, 3) in [-1, 1], as in training."""
        images, styles = inputs
        images = match_colors(images, *color_statistics(styles))
        pictures, _ = self.paint(images, self.statistics(styles), training=training)
        return ops.clip(pictures, -1.0, 1.0)

    def call_signature(self):
        return [tf.TensorSpec((None, None, None, 3), name=name) for name in ("images", "styles")]

    def stylize(self, image, styles, style_mix=None, alpha=1.0, tile=512):
        """One image (H, W, 3) of any size in the style of one image or of several.

        Args:
            image, styles: floats in [-1, 1], (H, W, 3); `styles` may be a list.
            style_mix: share of each style, by default equal ones.
            alpha: strength of the style, from 0 (the image as it is) to 1.
            tile: a larger image is painted in tiles, see `FastStyleTransfer.stylize`.
        """
        image = check_image("image", image)
        styles, style_mix = check_styles(styles, style_mix)
        alpha = check_number("alpha", alpha, low=0)
        if alpha > 1 or not styles:
            raise ValueError(
                f"alpha: got {alpha} with {len(styles)} styles, accepted is a number from 0 to 1 "
                "with at least one style."
            )
        shares = [1.0 - alpha, *(alpha * style_mix)]
        image = self._match_colors(image[None], *mixed_colors([image, *styles], shares))[0]
        own, *theirs = (self._statistics(thumbnail(x)[None]) for x in (image, *styles))
        target = [
            sum(share * x for share, x in zip(shares, layer, strict=True))
            for layer in zip(own, *theirs, strict=True)
        ]

        def paint(x):
            # No decoder is an exact inverse: less style is less paint, too, and none is the image.
            return x + alpha * (self._paint(x, target, own)[0] - x)

        return in_tiles(paint, image, tile)

    def get_config(self):
        # Of the perceptual network: Keras knows both names as the model's own.
        features = {"weights": self.features.weights_name, "dtype": self.features.compute_dtype}
        return dict(sorted((super().get_config() | features).items()))
