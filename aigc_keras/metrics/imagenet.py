"""EfficientNet-Lite0, a small network trained on ImageNet's 1,000 classes of photographs.

From EfficientNet (Tan and Le 2019, arXiv:1905.11946), made lighter by its authors: no squeeze and
excitation, ReLU6 instead of swish.
"""

import collections
import pickle
import struct

import keras
import numpy as np
from keras import layers

from aigc_keras.datasets import imagenet

SIZE = 224  # pixels of a side, as in training
STRIDE_2 = (1, 3, 5, 11)  # blocks that halve the sides


def lite0():
    """The network: images (B, 224, 224, 3) in [-1, 1] to features (B, 1280), probabilities.

    The features are those before the last layer, averaged over the image. Weights cannot be
    trained; batch normalisation is part of the convolutions' own.
    """
    weights = read_torch(imagenet.lite0())
    images = keras.Input((SIZE, SIZE, 3), name="images")
    # In training it was (pixel - 127) / 128 of pixels in 0..255.
    x = layers.Rescaling(127.5 / 128, 0.5 / 128, dtype="float32")(images)
    x = _convolution(x, weights, "_conv_stem", "_bn0", strides=2)
    for i in range(16):
        block, before = f"_blocks.{i}.", x
        if i > 0:
            x = _convolution(x, weights, f"{block}_expand_conv", f"{block}_bn0")
        strides = 2 if i in STRIDE_2 else 1
        x = _convolution(x, weights, f"{block}_depthwise_conv", f"{block}_bn1", strides)
        x = _convolution(x, weights, f"{block}_project_conv", f"{block}_bn2", relu=False)
        if x.shape == before.shape:
            x = layers.Add(dtype="float32")([x, before])
    x = _convolution(x, weights, "_conv_head", "_bn1")
    features = layers.GlobalAveragePooling2D(dtype="float32", name="features")(x)
    last = layers.Dense(1000, "softmax", dtype="float32", name="probabilities")
    network = keras.Model(images, [features, last(features)], name="efficientnet_lite0")
    last.set_weights([weights["_fc.weight"].T, weights["_fc.bias"]])
    network.trainable = False
    return network


def _convolution(x, weights, name, norm, strides=1, relu=True):
    """Convolution and batch normalisation, as one with a bias; then ReLU6."""
    gamma, beta, mean, variance = (
        weights[f"{norm}.{each}"] for each in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + 1e-3)
    kernel = weights[f"{name}.weight"]  # (outputs, inputs of each, height, width)
    options = {"strides": strides, "padding": "same", "dtype": "float32"}
    if kernel.shape[1] == 1:
        layer = layers.DepthwiseConv2D(kernel.shape[2:], **options)
        kernel = kernel.transpose(2, 3, 0, 1) * scale[:, None]
    else:
        layer = layers.Conv2D(kernel.shape[0], kernel.shape[2:], **options)
        kernel = kernel.transpose(2, 3, 1, 0) * scale
    x = layer(x)
    layer.set_weights([kernel, beta - mean * scale])
    return layers.ReLU(6.0, dtype="float32")(x) if relu else x


# --- torch's file, without torch ---


class _Reader(pickle.Unpickler):
    """A pickle may name any function and have it called: this one knows four names, no more."""

    def find_class(self, module, name):
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda *tensor: tensor[:4],
            ("torch", "FloatStorage"): "<f4",
            ("torch", "LongStorage"): "<i8",
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not what a file of weights needs")
        return known[module, name]

    def persistent_load(self, pid):
        _, dtype, key, *_ = pid
        return key, np.dtype(dtype)


def read_torch(path):
    """{name: array} of a state that torch has saved in its format before 1.6.

    Three pickles that say which format it is, one of the tensors, which are views of stores, one of
    the stores' keys; then the stores, each behind its length.

    Raises pickle.UnpicklingError for anything else, ValueError for a tensor beyond its store.
    """
    with open(path, "rb") as file:
        *_, tensors, keys = (_Reader(file).load() for _ in range(5))
        dtypes = {key: dtype for (key, dtype), *_ in tensors.values()}
        stores = {}
        for key in keys:
            (length,) = struct.unpack("<q", file.read(8))
            stores[key] = file.read(length * dtypes[key].itemsize)
    arrays = {}
    for name, ((key, dtype), offset, shape, strides) in tensors.items():
        size = dtype.itemsize
        steps = [size * step for step in strides]
        arrays[name] = np.ndarray(shape, dtype, stores[key], size * offset, steps)
    return arrays
