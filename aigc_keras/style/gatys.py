"""Gatys et al. 2016: the picture itself is trained."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.guards import check_choice, check_number
from aigc_keras.model import Model, steady
from aigc_keras.optimizers import Adam
from aigc_keras.style.colors import luminance, match_colors, matched_luminance, mixed_colors
from aigc_keras.style.features import CONTENT_LAYERS, STYLE_LAYERS
from aigc_keras.style.losses import PARTS, PerceptualLoss, constant
from aigc_keras.style.pictures import check_image, check_pictures, check_styles, rescaled, resized


@keras.saving.register_keras_serializable("aigc_keras")
class StyleTransfer(Model):
    """A picture with the content of one image and the style of others (Gatys et al. 2016).

    The only trained weight is the picture, so `fit()` takes no data: a step of training is a step
    of the picture. `compile`, callbacks, early stopping and saving work as for every model.

    Args:
        content: image (H, W, 3), floats in [-1, 1], at least 16 px a side.
        styles: one such image or a list of them, of any sizes; None where the weights of style and
            colour are 0.
        style_mix: share of each style, by default equal ones; scaled to the sum 1.
        content_layers, style_layers: names of layers, or a dict from names to weights.
        content_weight, style_weight, color_weight, variation_weight: of the parts of the loss. The
            last one keeps noise out of flat areas.
        preserve_color: train the luminance only and keep the colours of `content` (Gatys et al.
            2016, arXiv:1606.05897, section 4); `color_weight` is then 0.
        initial: where the picture starts: `"recolored"`, the content in the colours of the styles
            (as `"content"` where these are not wanted); `"content"`, `"noise"` (faint), or an image
            like `content`.
        weights: source of the perceptual network, as for `PerceptualFeatures`.
        seed: seed of the noise.
        dtype: precision of the perceptual network, as for `PerceptualFeatures`; the picture and
            the losses are float32.

    Raises:
        ValueError: an argument is out of range.
    """

    tracked = PARTS
    draws_noise = False

    def __init__(
        self,
        content,
        styles,
        style_mix=None,
        content_layers=CONTENT_LAYERS,
        style_layers=STYLE_LAYERS,
        content_weight=0.05,
        style_weight=1.0,
        color_weight=0.05,
        variation_weight=0.2,
        preserve_color=False,
        initial="recolored",
        weights="hed",
        seed=0,
        dtype=None,
        **kwargs,
    ):
        super().__init__(dtype="float32", **kwargs)
        content = check_image("content", content)
        self.image_shape = content.shape
        if not isinstance(preserve_color, bool | np.bool_):
            raise ValueError(
                f"preserve_color: got {preserve_color!r}, accepted are True and False."
            )
        self.preserve_color = bool(preserve_color)
        self.seed = check_number("seed", seed, low=0, integer=True)
        styles, style_mix = check_styles(styles, style_mix)
        if self.preserve_color:
            styles = [self._seen(matched_luminance(style, content)) for style in styles]
            color_weight = 0.0
        layers = content_layers, style_layers
        part_weights = content_weight, style_weight, color_weight, variation_weight
        self.perceptual_loss = PerceptualLoss(
            styles, style_mix, *layers, *part_weights, weights, dtype
        )
        # Non-trainable weights, so that a saved model goes on without its images.
        self.content = constant(self, "content", content)
        targets = self.perceptual_loss.content_of(self._seen(self._inside(content))[None])
        self.content_targets = {
            name: constant(self, f"content_{name}", maps) for name, maps in targets.items()
        }
        start = self._inside(self._initial(content, initial, styles, style_mix))
        self.pixels = self.add_weight(start.shape, name="pixels", dtype="float32")
        self.pixels.assign(start)
        self.set_up()

    def _initial(self, content, initial, styles, style_mix):
        if isinstance(initial, str):
            check_choice("initial", initial, ("recolored", "content", "noise"))
            if initial == "recolored" and styles and not self.preserve_color:
                return match_colors(content[None], *mixed_colors(styles, style_mix))[0]
            if initial != "noise":
                return content
            noise = np.random.default_rng(self.seed).normal(0.0, 0.05, content.shape)
            return noise.astype("float32")
        initial = check_image("initial", initial)
        if initial.shape != content.shape:
            raise ValueError(
                f"initial: got shape {initial.shape}, accepted is the content's {content.shape}."
            )
        return initial

    def _inside(self, image):
        """What is trained of an image: all of it, or its luminance (H, W, 1)."""
        return luminance(image) if self.preserve_color else image

    def _seen(self, pixels):
        """What the perceptual network sees of `pixels`: three channels."""
        return ops.repeat(pixels, 3, axis=-1) if self.preserve_color else pixels

    def default_optimizer(self):
        """Adam with steps that shrink from 0.05, in pixel units."""
        # It moves every pixel by about the rate however small its gradient: grain, unless the steps
        # shrink.
        rate = keras.optimizers.schedules.InverseTimeDecay(0.05, decay_steps=50, decay_rate=1.0)
        return Adam(rate)

    # --- the objective ---

    def objective(self, pixels):
        """A dict of the losses of `pixels`, see `PerceptualLoss`."""
        content = {n: ops.convert_to_tensor(maps) for n, maps in self.content_targets.items()}
        return self.perceptual_loss(self._seen(pixels)[None], content)

    # --- training ---

    def train_step(self, data):
        with tf.GradientTape() as tape:
            losses = self.objective(ops.convert_to_tensor(self.pixels))
        self.descend(tape, losses["loss"], rows=1)
        self.pixels.assign(ops.clip(self.pixels, -1.0, 1.0))
        return self.track(1, **losses)

    def test_step(self, data):
        return self.track(1, **self.objective(ops.convert_to_tensor(self.pixels)))

    def fit(self, steps_per_epoch=100, *, epochs=1, **kwargs):
        """`keras.Model.fit` without data: `epochs` times `steps_per_epoch` steps of the picture.

        The steps stand where Keras has `x`: `fit(50)`. What else `fit` takes, it takes by name.
        Losses are means over an epoch, so early stopping wants epochs of a few steps.
        """
        _check_no_data(kwargs)
        check_number("steps_per_epoch", steps_per_epoch, low=1, integer=True)
        nothing = steady(tf.data.Dataset.from_tensors(0).repeat())
        return super().fit(nothing, steps_per_epoch=steps_per_epoch, epochs=epochs, **kwargs)

    def evaluate(self, **kwargs):
        """`keras.Model.evaluate` without data: the losses of the picture as it is now."""
        _check_no_data(kwargs)
        return super().evaluate(tf.data.Dataset.from_tensors(0), **kwargs)

    def train_on_batch(self, x=None, **kwargs):
        """`keras.Model.train_on_batch` without data: one step of the picture."""
        _check_no_data({"x": x, **kwargs})
        return super().train_on_batch(tf.zeros(1), **kwargs)

    def test_on_batch(self, x=None, **kwargs):
        """`keras.Model.test_on_batch` without data."""
        _check_no_data({"x": x, **kwargs})
        return super().test_on_batch(tf.zeros(1), **kwargs)

    def check_batch(self, name, parts):
        """There is nothing to check: the pictures were given before."""

    def export(self, *args, **kwargs):
        raise ValueError(
            "model: got a StyleTransfer, accepted for export are models with a function to call; "
            "images.write saves picture()."
        )

    # --- using the trained picture ---

    def picture(self):
        """The picture as it is now: (H, W, 3), float32, [-1, 1]."""
        pixels = ops.convert_to_numpy(self.pixels)
        if self.preserve_color:
            # The same change of all three channels leaves the colour differences alone.
            content = ops.convert_to_numpy(self.content)
            pixels = content + (pixels - luminance(content))
        return np.clip(pixels, -1.0, 1.0).astype("float32")

    def generate(self, n=1, seed=None):
        """`picture()` n times, (n, H, W, 3), as callbacks expect it; there is nothing random."""
        n = check_number("n", n, low=1, integer=True)
        return np.repeat(self.picture()[None], n, axis=0)

    # --- saving ---

    def get_config(self):
        # The images are weights: a configuration of megabytes could not be read by anyone.
        return {
            "name": self.name,
            "image_shape": self.image_shape,
            "preserve_color": self.preserve_color,
            "seed": self.seed,
            **self.perceptual_loss.get_config(),
        }

    @classmethod
    def from_config(cls, config):
        """A model of grey images; loading its weights brings the real ones."""
        config = dict(config)
        content = np.zeros(config.pop("image_shape"), "float32")
        return cls(content, content, **config)


def _check_no_data(arguments):
    for name in ("x", "y", "validation_data"):
        if arguments.get(name) is not None:
            raise ValueError(
                f"{name}: got a {type(arguments[name]).__name__}, accepted is None: the pictures "
                "were given before."
            )


def coarse_to_fine(content, styles, steps=100, levels=2, callbacks=None, verbose="auto", **kwargs):
    """Gatys et al. 2017 (arXiv:1611.07865), section 5: first small, where a step costs a quarter.

    Args:
        content, styles, **kwargs: as for `StyleTransfer`; all images are scaled alike.
        steps: of all levels together, shared equally and rounded down.
        levels: number of sizes, each twice the one before, the last that of `content`.
        callbacks, verbose: as for `fit`, which runs once a level.

    Returns:
        The `StyleTransfer` of the last level, trained.
    """

    def train(image, small, steps, **initial):
        model = StyleTransfer(image, small, **kwargs | initial)
        model.compile()
        model.fit(steps, callbacks=callbacks, verbose=verbose)
        return model

    return over_levels(train, content, styles, steps, levels)


def over_levels(train, content, styles, steps, levels=2):
    """What `train`, function (content, styles, steps, initial=...), returns for the last level."""
    levels = check_number("levels", levels, low=1, integer=True)
    steps = check_number("steps", steps, low=levels, integer=True)
    content = check_image("content", content)
    styles = check_pictures("styles", styles)
    model, initial = None, {}
    for level in reversed(range(levels)):
        image, *small = (rescaled(x, 0.5**level) for x in (content, *styles))
        if model is not None:
            # What the smaller picture could not hold comes from the content.
            before, size = model.picture(), image.shape[:2]
            lost = image - resized(resized(image, before.shape[:2]), size)
            initial = {"initial": np.clip(resized(before, size) + lost, -1.0, 1.0)}
        model = train(image, small, steps // levels, **initial)
    return model
