"""Attention (注意力): every position looks up what it needs; and the block built around it."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.guards import check_choice, check_number, check_seed
from aigc_keras.replicas import Dropout

POSITIONS = ("rotary", "learned")


def rotate(x, positions):
    """Rotary positions (Su et al. 2021, arXiv:2104.09864, eq. 34) of (B, heads, T, width).

    Number i and number i + half (in the paper, neighbours) are turned by an angle that grows with
    the position, so that the product of a query and a key knows positions by their distance alone.
    """
    half = x.shape[-1] // 2
    speeds = 10_000.0 ** (-np.arange(half, dtype="float32") / half)
    angles = ops.cast(positions, "float32")[:, None] * speeds
    cos, sin = ops.cast(ops.cos(angles), x.dtype), ops.cast(ops.sin(angles), x.dtype)
    a, b = x[..., :half], x[..., half:]
    return ops.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def dropout_layer(rate, seed, policy):
    """The same numbers of a row's vectors are dropped at all its positions.

    After Gal and Ghahramani 2016, arXiv:1512.05287. It takes context_length times fewer random
    numbers, which cost a CPU nearly half of the training time.
    """
    return Dropout(rate, noise_shape=(None, 1, None), seed=seed, **policy)


@keras.saving.register_keras_serializable("aigc_keras")
class CausalSelfAttention(layers.Layer):
    """Every position looks at itself and at those before it (Vaswani et al. 2017, section 3.2).

    Takes (B, T, width); `start` is the position of the first of the T. `cache`, if there is one, is
    the keys and the values of all positions, two tensors (B, heads, context_length, width / heads),
    into which the new ones are written.
    """

    def __init__(self, num_heads, positions="rotary", output_std=0.02, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = check_number("num_heads", num_heads, low=1, integer=True)
        self.positions = check_choice("positions", positions, POSITIONS)
        self.output_std = output_std

    def build(self, shape):
        width, policy = shape[-1], {"dtype": self.dtype_policy}
        if width % (2 * self.num_heads):
            raise ValueError(
                f"num_heads: got {self.num_heads}, accepted is one of which twice as many divide "
                f"the width, {width}."
            )
        normal = keras.initializers.RandomNormal
        self.qkv = layers.Dense(3 * width, kernel_initializer=normal(stddev=0.02), **policy)
        self.out = layers.Dense(width, kernel_initializer=normal(stddev=self.output_std), **policy)
        self.qkv.build(shape)
        self.out.build(shape)

    def mask(self, positions, n):
        """The causal mask: which of `n` positions must not be seen from each of `positions`."""
        return ops.arange(n) > positions[:, None]

    def weights_and_values(self, x, cache=None, start=0):
        """How much each position looks at each, (B, heads, T, all); the values there; the cache."""
        batch, length, width = ops.shape(x)[0], ops.shape(x)[1], x.shape[-1]
        x = ops.reshape(self.qkv(x), (batch, length, 3, self.num_heads, width // self.num_heads))
        queries, keys, values = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3)
        positions = start + ops.arange(length)
        if self.positions == "rotary":
            queries, keys = rotate(queries, positions), rotate(keys, positions)
        if cache is not None:
            keys = ops.slice_update(cache[0], (0, 0, start, 0), keys)
            values = ops.slice_update(cache[1], (0, 0, start, 0), values)
        scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
        scores = ops.cast(scores, "float32") / math.sqrt(width // self.num_heads)
        mask = self.mask(positions, ops.shape(keys)[2])
        # Not Keras' softmax, which warns where there is but one position.
        weights = tf.nn.softmax(ops.where(mask, -math.inf, scores))
        return ops.cast(weights, values.dtype), values, (keys, values)

    def call(self, x, cache=None, start=0):
        weights, values, cache = self.weights_and_values(x, cache, start)
        mixed = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, ops.shape(x))), cache

    def get_config(self):
        config = {"num_heads": self.num_heads, "positions": self.positions}
        return {**super().get_config(), **config, "output_std": self.output_std}


@keras.saving.register_keras_serializable("aigc_keras")
class TransformerBlock(layers.Layer):
    """Attention between positions, then a small network at each, both added to what was there.

    Pre-norm: the sums themselves are never normalised (Xiong et al. 2020, arXiv:2002.04745).
    """

    def __init__(
        self, num_heads, dropout=0.0, positions="rotary", output_std=0.02, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_heads = check_number("num_heads", num_heads, low=1, integer=True)
        self.dropout = check_number("dropout", dropout, low=0, below=1)
        self.positions = check_choice("positions", positions, POSITIONS)
        self.output_std, self.seed = output_std, check_seed(seed)

    def build(self, shape):
        width, policy = shape[-1], {"dtype": self.dtype_policy}
        normal = keras.initializers.RandomNormal
        self.norm1 = layers.LayerNormalization(epsilon=1e-5, **policy)
        self.attention = CausalSelfAttention(
            self.num_heads, self.positions, self.output_std, **policy
        )
        self.norm2 = layers.LayerNormalization(epsilon=1e-5, **policy)
        self.expand = layers.Dense(4 * width, kernel_initializer=normal(stddev=0.02), **policy)
        self.project = layers.Dense(
            width, kernel_initializer=normal(stddev=self.output_std), **policy
        )
        self.drop = dropout_layer(self.dropout, self.seed, policy)
        for layer in (self.norm1, self.attention, self.norm2, self.expand):
            layer.build(shape)
        self.project.build((*shape[:-1], 4 * width))

    def call(self, x, cache=None, start=0, training=False):
        seen, cache = self.attention(self.norm1(x), cache=cache, start=start)
        x = x + self.drop(seen, training=training)
        update = self.project(ops.gelu(self.expand(self.norm2(x)), approximate=True))
        return x + self.drop(update, training=training), cache

    def get_config(self):
        config = {"num_heads": self.num_heads, "dropout": self.dropout, "seed": self.seed}
        more = {"positions": self.positions, "output_std": self.output_std}
        return {**super().get_config(), **config, **more}
