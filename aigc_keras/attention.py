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


class Attention(layers.Layer):
    """Heads that look from each of (B, T, width) at others (Vaswani et al. 2017, section 3.2).

    What all kinds have in common. Where `hidden`, (B, S), bool, is True, nobody looks: padding.
    """

    def __init__(self, num_heads, output_std=0.02, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = check_number("num_heads", num_heads, low=1, integer=True)
        self.output_std = output_std

    def dense(self, shape, n=1, std=0.02, reads=None):
        """A layer to n x width numbers, from (B, T, width), the `shape`, or from `reads`."""
        width = shape[-1]
        if width % (2 * self.num_heads):
            raise ValueError(
                f"num_heads: got {self.num_heads}, accepted is one of which twice as many divide "
                f"the width, {width}."
            )
        normal = keras.initializers.RandomNormal(stddev=std)
        layer = layers.Dense(n * width, kernel_initializer=normal, dtype=self.dtype_policy)
        layer.build(reads or shape)
        return layer

    def heads(self, x, n):
        """(B, T, n x width) as n tensors (B, heads, T, width / heads)."""
        batch, length, width = ops.shape(x)[0], ops.shape(x)[1], x.shape[-1] // n
        x = ops.reshape(x, (batch, length, n, self.num_heads, width // self.num_heads))
        return ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), n)

    def look(self, queries, keys, mask=False):
        """softmax(Q K^T / sqrt(d)), (B, heads, T, S), their eq. 1; 0 where `mask` is True."""
        scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
        scores = ops.cast(scores, "float32") / math.sqrt(queries.shape[-1])
        # Not Keras' softmax, which warns where there is but one position.
        weights = tf.nn.softmax(ops.where(mask, -math.inf, scores))
        return ops.cast(weights, keys.dtype)

    def mixed(self, weights, values):
        """The values that are looked at, of all heads together: (B, T, width)."""
        mixed = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))
        shape = ops.shape(mixed)
        return self.out(ops.reshape(mixed, (shape[0], shape[1], shape[2] * shape[3])))

    def get_config(self):
        config = {"num_heads": self.num_heads, "output_std": self.output_std}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("aigc_keras")
class SelfAttention(Attention):
    """Every position of (B, T, width) looks at all of them.

    `start` is the position of the first of the T. `cache`, if there is one, is the keys and the
    values of all positions, two tensors (B, heads, context_length, width / heads), into which the
    new ones are written.
    """

    def __init__(self, num_heads, positions="rotary", output_std=0.02, **kwargs):
        super().__init__(num_heads, output_std, **kwargs)
        self.positions = check_choice("positions", positions, POSITIONS)

    def build(self, shape):
        self.qkv = self.dense(shape, 3)
        self.out = self.dense(shape, std=self.output_std)

    def mask(self, positions, n):
        """Which of `n` positions must not be seen from each of `positions`: none."""
        return False

    def weights_and_values(self, x, cache=None, start=0, hidden=None):
        """How much each position looks at each, (B, heads, T, all); the values there; the cache."""
        queries, keys, values = self.heads(self.qkv(x), 3)
        positions = start + ops.arange(ops.shape(x)[1])
        if self.positions == "rotary":
            queries, keys = rotate(queries, positions), rotate(keys, positions)
        if cache is not None:
            keys = ops.slice_update(cache[0], (0, 0, start, 0), keys)
            values = ops.slice_update(cache[1], (0, 0, start, 0), values)
        mask = self.mask(positions, ops.shape(keys)[2])
        if hidden is not None:
            mask = hidden[:, None, None] | mask
        return self.look(queries, keys, mask), values, (keys, values)

    def call(self, x, cache=None, start=0, hidden=None):
        weights, values, cache = self.weights_and_values(x, cache, start, hidden)
        return self.mixed(weights, values), cache

    def get_config(self):
        return {**super().get_config(), "positions": self.positions}


@keras.saving.register_keras_serializable("aigc_keras")
class CausalSelfAttention(SelfAttention):
    """Every position looks at itself and at those before it."""

    def mask(self, positions, n):
        """The causal mask: which of `n` positions must not be seen from each of `positions`."""
        return ops.arange(n) > positions[:, None]


@keras.saving.register_keras_serializable("aigc_keras")
class CrossAttention(Attention):
    """Every position of (B, T, width) looks at all of `memory`, (B, S, any width): another text.

    `memory` may also be what `keys_and_values` made of it, once for many calls: their cache.
    """

    def build(self, x_shape, memory_shape=None):
        self.query, self.key_value = self.dense(x_shape), self.dense(x_shape, 2, reads=memory_shape)
        self.out = self.dense(x_shape, std=self.output_std)

    def keys_and_values(self, memory):
        return tuple(self.heads(self.key_value(memory), 2))

    def weights_and_values(self, x, memory, hidden=None):
        """How much each position looks at each of `memory`, (B, heads, T, S); the values there."""
        (queries,) = self.heads(self.query(x), 1)
        ready = isinstance(memory, tuple | list)
        keys, values = memory if ready else self.keys_and_values(memory)
        return self.look(queries, keys, False if hidden is None else hidden[:, None, None]), values

    def call(self, x, memory, hidden=None):
        return self.mixed(*self.weights_and_values(x, memory, hidden))


@keras.saving.register_keras_serializable("aigc_keras")
class TransformerBlock(layers.Layer):
    """Attention between positions, then a small network at each, both added to what was there.

    Pre-norm: the sums themselves are never normalised (Xiong et al. 2020, arXiv:2002.04745).

    Args:
        dropout: share that is dropped of what is added.
        positions, output_std: as for `SelfAttention`.
        causal: a position sees itself and those before it, as in a decoder; False: all, as in an
            encoder.
        cross: between the two, look at `memory`, as in the decoder of an encoder-decoder.
    """

    def __init__(
        self,
        num_heads,
        dropout=0.0,
        positions="rotary",
        output_std=0.02,
        seed=None,
        causal=True,
        cross=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dropout = check_number("dropout", dropout, low=0, below=1)
        self.seed, self.causal = check_seed(seed), causal
        policy = {"dtype": self.dtype_policy}
        kind = CausalSelfAttention if causal else SelfAttention
        self.norm1 = layers.LayerNormalization(epsilon=1e-5, **policy)
        self.attention = kind(num_heads, positions, output_std, **policy)
        self.cross = CrossAttention(num_heads, output_std, **policy) if cross else None

    def build(self, shape):
        width, policy = shape[-1], {"dtype": self.dtype_policy}
        normal, std = keras.initializers.RandomNormal, self.attention.output_std
        self.norm2 = layers.LayerNormalization(epsilon=1e-5, **policy)
        self.expand = layers.Dense(4 * width, kernel_initializer=normal(stddev=0.02), **policy)
        self.project = layers.Dense(width, kernel_initializer=normal(stddev=std), **policy)
        self.drop = dropout_layer(self.dropout, self.seed, policy)
        for layer in (self.norm1, self.attention, self.norm2, self.expand):
            layer.build(shape)
        self.project.build((*shape[:-1], 4 * width))
        if self.cross is not None:
            self.norm3 = layers.LayerNormalization(epsilon=1e-5, **policy)
            self.norm3.build(shape)
            self.cross.build(shape)
        if not self.trainable:  # of a frozen one that is loaded, Keras would train the parts
            for layer in self._layers:
                layer.trainable = False

    def call(
        self, x, cache=None, start=0, memory=None, hidden=None, memory_hidden=None, training=False
    ):
        seen, cache = self.attention(self.norm1(x), cache=cache, start=start, hidden=hidden)
        x = x + self.drop(seen, training=training)
        if self.cross is not None:
            seen = self.cross(self.norm3(x), memory, hidden=memory_hidden)
            x = x + self.drop(seen, training=training)
        update = self.project(ops.gelu(self.expand(self.norm2(x)), approximate=True))
        return x + self.drop(update, training=training), cache

    def get_config(self):
        config = {"dropout": self.dropout, "seed": self.seed, "causal": self.causal}
        config["cross"] = self.cross is not None
        return {**self.attention.get_config(), **super().get_config(), **config}
