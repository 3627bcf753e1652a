"""What reads texts: those of pictures, chapter 10; in batches by length, chapter 12."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.attention import TransformerBlock
from aigc_keras.guards import check_images, check_sizes
from aigc_keras.model import steady
from aigc_keras.text.tokenizers import END, PADDING, check_texts, known_tokens, padding_of


def token_encoder(tokenizer, max_length=32, width=64, num_layers=2, num_heads=4, dtype=None):
    """A Transformer: tokens (B, max_length), int32, to a vector each, (B, max_length, width).

    Every token sees the whole text, and none sees PADDING, of which no text may begin.
    """
    check_sizes(max_length=max_length, width=width, num_layers=num_layers, num_heads=num_heads)
    normal = keras.initializers.RandomNormal(stddev=0.02)
    tokens = keras.Input((max_length,), dtype="int32", name="tokens")
    x, hidden = ops.maximum(tokens, END), padding_of(tokens)
    x = layers.Embedding(tokenizer.vocab_size, width, normal, dtype=dtype)(x)
    for _ in range(num_layers):
        x, _ = TransformerBlock(num_heads, causal=False, dtype=dtype)(x, hidden=hidden)
    x = layers.LayerNormalization(epsilon=1e-5, dtype=dtype)(x)
    return keras.Model(tokens, x, name="text_encoder")


class WithTexts:
    """What models of pictures and their texts do alike, beside being a `Model`.

    A child has a `tokenizer` and a `max_length`: at most so many tokens has a text, END included.
    """

    def tokens(self, texts):
        """Tokens of texts, or of one, with END and PADDING behind them: int32 (n, max_length).

        Raises:
            ValueError: no strings, or a text is too long or has characters that the tokenizer does
                not know.
        """
        texts = [texts] if isinstance(texts, str) else texts
        check_texts(texts)
        return np.stack([self.row(f"texts[{i}]", text) for i, text in enumerate(texts)])

    def row(self, name, text):
        """Those of a single text, int32 (max_length,); an error calls it `name`."""
        tokens = np.append(known_tokens(name, text, self.tokenizer), END)
        if len(tokens) > self.max_length:
            raise ValueError(
                f"{name}: got {len(tokens)} tokens with END, accepted are at most "
                f"{self.max_length} (max_length)."
            )
        free = self.max_length - len(tokens)
        return np.pad(tokens, (0, free), constant_values=PADDING).astype("int32")

    def batches(self, data):
        """Batches of (images, tokens) for `fit`.

        Args:
            data: a `tf.data.Dataset` of batches of (images, strings), such as
                `datasets.captioned().batches()`.
        """
        spec = getattr(data, "element_spec", None)
        texts = spec[1] if isinstance(spec, tuple) and len(spec) == 2 else None
        strings = isinstance(texts, tf.TensorSpec) and texts.dtype == tf.string
        if not strings or texts.shape.rank != 1:
            raise ValueError(
                f"data: got {data!r:.80}, accepted is a tf.data.Dataset of batches of (images, "
                "strings), a string for each image."
            )

        def read(images, texts):
            tokens = tf.numpy_function(
                lambda texts: self.tokens([text.decode() for text in texts]), [texts], tf.int32
            )
            return images, tf.ensure_shape(tokens, (None, self.max_length))

        return steady(data.map(read).prefetch(2))

    @property
    def accepted_data(self):
        return (
            f"accepted are images and tokens, integers (N, {self.max_length}) in [{PADDING}, "
            f"{self.tokenizer.vocab_size}), the first not {PADDING}: model.batches(dataset) or "
            "model.tokens(texts) makes them."
        )

    def check_parts(self, name, parts):
        if len(parts) != 2:
            raise ValueError(f"{name}: got {len(parts)} parts, {self.accepted_data}")

    def check_batch(self, name, parts):
        self.check_parts(name, parts)
        check_images(name, parts[0], self.image_shape)
        x = np.asarray(parts[1])
        good = x.shape == (len(parts[0]), self.max_length) and np.issubdtype(x.dtype, np.integer)
        if not good:
            raise ValueError(f"{name}: got {x.dtype} of shape {x.shape}, {self.accepted_data}")
        if x.min() < PADDING or x.max() >= self.tokenizer.vocab_size:
            raise ValueError(f"{name}: got {x.min()} to {x.max()}, {self.accepted_data}")
        if (x[:, 0] == PADDING).any():
            raise ValueError(f"{name}: got tokens that begin with {PADDING}, {self.accepted_data}")


def by_length(columns, limit, batch_size, shuffle=True, seed=0, beside=()):
    """Batches of rows of tokens, int32 (B, T), with PADDING behind; as a `tf.data.Dataset`.

    T is a multiple of 8, or `limit`. Texts of nearly one length share a batch.

    Args:
        columns: lists of as many rows of tokens each: what stands at one place belongs together.
        shuffle: deal anew each epoch: the rows of 16 batches are drawn, and sorted by length.
            False: all of them by length.
        beside: arrays of as many rows, which come along.
    """
    n = len(columns[0])
    with tf.device("CPU"):
        lengths = [np.array([len(row) for row in rows]) for rows in columns]
        texts = [
            tf.RaggedTensor.from_row_lengths(np.concatenate(rows), each)
            for rows, each in zip(columns, lengths, strict=True)
        ]
        total, beside = tf.constant(sum(lengths)), [tf.constant(x) for x in beside]

    def sort(rows):
        return tf.gather(rows, tf.argsort(tf.gather(total, rows), stable=True))

    def take(rows):
        filled = []
        for text in texts:
            text = tf.gather(text, rows).to_tensor(PADDING)
            length = tf.shape(text)[1]
            free = tf.minimum(-(-length // 8) * 8, limit) - length
            filled.append(tf.pad(text, [[0, 0], [0, free]], constant_values=PADDING))
        return (*filled, *(tf.gather(x, rows) for x in beside))

    index = tf.data.Dataset.range(n)
    if shuffle:
        index = index.shuffle(n, seed=seed, reshuffle_each_iteration=True)
    index = index.batch(16 * batch_size if shuffle else n).map(sort).rebatch(batch_size)
    if shuffle:
        index = index.shuffle(16, seed=seed, reshuffle_each_iteration=True)
    count = tf.data.experimental.assert_cardinality(-(-n // batch_size))
    return steady(index.map(take).apply(count).prefetch(2))
