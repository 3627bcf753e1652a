"""What the picture of Gatys and the network of Johnson both minimise."""

import keras
import tensorflow as tf
from keras import ops

from aigc_keras.guards import check_number
from aigc_keras.style.colors import color_error, mixed_colors
from aigc_keras.style.features import PerceptualFeatures, check_names

PARTS = ("loss", "content_loss", "style_loss", "color_loss", "variation_loss")


def gram_matrix(features):
    """Gatys et al. 2016, eq. 3: G_ij = mean over positions of F_i F_j, in float32.

    Which channels are active together, wherever that is: maps (B, h, w, C) become (B, C, C).
    A mean, not a sum, so that images of different sizes compare.
    """
    shape = ops.shape(features)
    flat = ops.reshape(features, (shape[0], shape[1] * shape[2], shape[3]))
    gram = tf.matmul(flat, flat, transpose_a=True)
    return ops.cast(gram, "float32") / ops.cast(shape[1] * shape[2], "float32")


def relative_error(values, targets):
    """||values - targets||^2 / ||targets||^2 of each image, averaged over the batch.

    0 is equal, 1 is as far away as nothing at all. Relative, so that layers of very different
    activations count alike. One target (1, ...) may serve all images.
    """
    values, targets = ops.cast(values, "float32"), ops.cast(targets, "float32")
    axes = tuple(range(1, len(values.shape)))
    errors = ops.sum(ops.square(values - targets), axis=axes)
    return ops.mean(errors / (ops.sum(ops.square(targets), axis=axes) + 1e-8))


def total_variation(images):
    """Mean absolute difference of neighbouring pixels, both directions added (Rudin et al. 1992).

    The square of it would spare the grain of flat areas and blur the edges; this does the opposite.
    """
    down = ops.abs(images[:, 1:] - images[:, :-1])
    right = ops.abs(images[:, :, 1:] - images[:, :, :-1])
    return ops.mean(down) + ops.mean(right)


class PerceptualLoss(keras.layers.Layer):
    """Content, style, colour and variation of pictures, weighed (Gatys et al. 2016, eq. 7).

    Args: as for `StyleTransfer`. The targets of the style are weights, which a model saves.

    Call: pictures (B, H, W, 3) in [-1, 1] and the features of their contents, to a dict of
    `"loss"` and its parts before their weights, `"content_loss"`, `"style_loss"`, `"color_loss"`,
    `"variation_loss"`.
    """

    def __init__(
        self,
        styles,
        style_mix,
        content_layers,
        style_layers,
        content_weight,
        style_weight,
        color_weight,
        variation_weight,
        weights,
        dtype,
    ):
        super().__init__(dtype="float32", trainable=False, autocast=False)
        self.part_weights = {
            "content_loss": check_number("content_weight", content_weight, low=0),
            "style_loss": check_number("style_weight", style_weight, low=0),
            "color_loss": check_number("color_weight", color_weight, low=0),
            "variation_loss": check_number("variation_weight", variation_weight, low=0),
        }
        if not content_weight and not style_weight:
            raise ValueError(
                "content_weight: got 0 and style_weight 0, accepted is at least one above 0."
            )
        self.content_layers = _layer_weights("content_layers", content_layers)
        self.style_layers = _layer_weights("style_layers", style_layers)
        # A part of weight zero costs nothing: its layers are not even built.
        used = list(self.content_layers) if content_weight else []
        used += list(self.style_layers) if style_weight else []
        self.features = PerceptualFeatures(dict.fromkeys(used), weights=weights, dtype=dtype)
        if (style_weight or color_weight) and not styles:
            raise ValueError(
                "styles: got none, accepted is at least one where style_weight or color_weight "
                "is above 0."
            )
        self.style_targets = {
            name: constant(self, f"style_{name}", gram)
            for name, gram in self._mean_grams(styles, style_mix).items()
        }
        if color_weight:
            mean, covariance = mixed_colors(styles, style_mix)
            self.color_mean = constant(self, "color_mean", mean)
            self.color_covariance = constant(self, "color_covariance", covariance)
        self.built = True

    def _mean_grams(self, styles, style_mix):
        """The target of each style layer: the error to a mean of Gram matrices has the same
        gradient as the mean of the errors to each, and costs one.
        """
        means = {}
        for share, style in zip(style_mix, styles, strict=True):
            maps = self.features(style[None]) if self.part_weights["style_loss"] else {}
            for name in self.style_layers if maps else ():
                means[name] = means.get(name, 0.0) + share * gram_matrix(maps[name])
        return means

    def content_of(self, images):
        """A dict from content layer to the features of images, as the call wants them."""
        maps = self.features(images) if self.part_weights["content_loss"] else {}
        return {name: maps[name] for name in self.content_layers if maps}

    def call(self, pictures, content):
        maps = self.features(pictures)
        losses = {
            "content_loss": sum(
                self.content_layers[name] * relative_error(maps[name], target)
                for name, target in content.items()
            ),
            "style_loss": sum(
                self.style_layers[name] * relative_error(gram_matrix(maps[name]), target)
                for name, target in self.style_targets.items()
            ),
            "color_loss": 0.0,
            "variation_loss": total_variation(pictures),
        }
        if self.part_weights["color_loss"]:
            losses["color_loss"] = color_error(pictures, self.color_mean, self.color_covariance)
        return {"loss": sum(self.part_weights[n] * x for n, x in losses.items())} | losses

    def get_config(self):
        return {
            "content_layers": self.content_layers,
            "style_layers": self.style_layers,
            **{n.replace("loss", "weight"): w for n, w in self.part_weights.items()},
            "weights": self.features.weights_name,
            "dtype": self.features.compute_dtype,
        }


def _layer_weights(name, layers):
    """A dict from layer to weight, of the sum 1."""
    if not isinstance(layers, dict):
        layers = dict.fromkeys(check_names(name, layers), 1.0)
    weights = dict(layers)
    for layer, weight in weights.items():
        check_number(f"{name}[{layer!r}]", weight, low=0)
    if not sum(weights.values()) > 0:
        raise ValueError(f"{name}: got {layers!r}, accepted is at least one layer of weight > 0.")
    return {layer: w / sum(weights.values()) for layer, w in weights.items() if w}


def constant(model, name, value):
    """A weight of `model` that is saved with it and never trained."""
    weight = model.add_weight(value.shape, name=name, dtype="float32", trainable=False)
    weight.assign(ops.cast(value, "float32"))
    return weight
