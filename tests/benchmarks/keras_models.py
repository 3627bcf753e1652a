"""The language models of `aigc_keras` as one builds them of `keras.layers`, for `bench.py`.

The same sizes, tied weights and optimizer; the layers are left at their defaults, and so is
`compile` but for `kwargs`.
"""

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import keras
from keras import layers, ops


def lstm(vocab_size, units, context_length, **kwargs):
    def hidden(tokens, x):
        return layers.LSTM(units, return_sequences=True)(x)

    return language_model(hidden, vocab_size, units, context_length, **kwargs)


def gpt(vocab_size, width, num_layers, num_heads, context_length, **kwargs):
    """With learned positions: `keras.layers` has no rotary ones."""

    def hidden(tokens, x):
        positions = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
        x = x + layers.Embedding(context_length, width)(positions)
        for _ in range(num_layers):
            h = layers.LayerNormalization(epsilon=1e-5)(x)
            attention = layers.MultiHeadAttention(num_heads, width // num_heads)
            x = x + attention(h, h, use_causal_mask=True)
            h = layers.LayerNormalization(epsilon=1e-5)(x)
            h = ops.gelu(layers.Dense(4 * width)(h), approximate=True)
            x = x + layers.Dense(width)(h)
        return layers.LayerNormalization(epsilon=1e-5)(x)

    return language_model(hidden, vocab_size, width, context_length, **kwargs)


def language_model(hidden, vocab_size, width, context_length, **kwargs):
    tokens = keras.Input((context_length,), dtype="int32")
    embedding = layers.ReversibleEmbedding(vocab_size, width)  # also the output weights
    logits = embedding(hidden(tokens, embedding(tokens)), reverse=True)
    model = keras.Model(tokens, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(ak.text.adamw(), loss, **kwargs)
    return model


def pairs(tokens):
    """(inputs, targets) for `fit`, of a batch of `windows`; its little padding becomes END."""
    tokens = ops.maximum(tokens, ak.text.END)
    return tokens[:, :-1], tokens[:, 1:]
