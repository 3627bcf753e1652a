"""One space for pictures and texts (contrastive learning, 对比学习): chapter 10.

An encoder of pictures and one of texts learn which caption belongs to which picture of a batch:
CLIP, by Radford et al. 2021, arXiv:2103.00020.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.guards import (
    as_images,
    check_network,
    check_number,
    check_shape,
)
from aigc_keras.model import Model, compiled, in_batches, signature
from aigc_keras.optimizers import Adam
from aigc_keras.replicas import all_rows
from aigc_keras.semi_supervised import conv_classifier
from aigc_keras.text.reading import WithTexts, token_encoder
from aigc_keras.text.tokenizers import END, check_tokenizer, padding_of


def unit(vectors):
    """Vectors (..., dim) of length one. Zero stays zero, with a gradient that is finite."""
    return tf.math.l2_normalize(vectors, axis=-1)


def recall_at(similarities, k=1, same=None):
    """Share of the rows of (N, M) that have a right column among their `k` largest: a scalar.

    same: (N, M), bool: which columns are right; by default the one of the row's own number. A wrong
    one that is as large as the right one, or not a number, stands before it. The other way round:
    transpose both.
    """
    k = check_number("k", k, low=1, integer=True)
    same = ops.eye(*similarities.shape, dtype="bool") if same is None else same
    right = ops.max(ops.where(same, similarities, -math.inf), axis=1, keepdims=True)
    before = ops.sum(ops.where(same, 0, ops.cast(~(similarities < right), "int32")), axis=1)
    return ops.mean(ops.cast(before < k, "float32"))


@keras.saving.register_keras_serializable("aigc_keras")
class TextImageModel(WithTexts, Model):
    """Pictures and texts as unit vectors of one space, near where they belong together.

    Trains on (images, tokens); `batches` makes them. `recall_at_1` is the share of pictures that
    find their own caption among those of the batch: the larger the batch, the harder.

    Args:
        tokenizer: a `CharTokenizer` or `BPETokenizer`; it is saved with the model.
        image_shape: (height, width, channels); sides divisible by 4, channels 1 or 3.
        embedding_dim: dimension of the space, and width of the Transformer; a multiple of 2 x
            `num_heads`.
        max_length: at most so many tokens has a text, END included.
        width, hidden: of the image encoder, see `semi_supervised.conv_classifier`.
        num_layers, num_heads: of the text encoder, see `token_encoder`.
        image_encoder: a network of your own, from images to (B, embedding_dim).
        text_encoder: a network of your own, from tokens to (B, max_length, embedding_dim).

    Raises:
        ValueError: an argument is out of range, or a network does not fit.
    """

    draws_noise = False
    tracked = ("loss", "recall_at_1")
    largest_scale = math.log(100)  # of similarities, section 2.5

    def __init__(
        self, tokenizer, image_shape=(64, 64, 3), embedding_dim=64, max_length=32, width=16,
        hidden=256, num_layers=2, num_heads=4, image_encoder=None, text_encoder=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.tokenizer = check_tokenizer("tokenizer", tokenizer)
        self.embedding_dim = check_number("embedding_dim", embedding_dim, low=2, integer=True)
        self.max_length = check_number("max_length", max_length, low=2, integer=True)
        accepted = "(height, width, channels)"
        self.image_shape = check_shape("image_shape", image_shape, accepted, rank=3)
        dtype = self.dtype_policy
        image_encoder = image_encoder or conv_classifier(
            image_shape, embedding_dim, width, hidden, dtype
        )
        sizes = (max_length, embedding_dim, num_layers, num_heads)
        text_encoder = text_encoder or token_encoder(tokenizer, *sizes, dtype)
        check_network("image_encoder", image_encoder, [self.image_shape], [(embedding_dim,)])
        check_network("text_encoder", text_encoder, [(max_length,)], [(max_length, embedding_dim)])
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        start = keras.initializers.Constant(math.log(1 / 0.07))
        self.log_scale = self.add_weight((), start, name="log_scale", dtype="float32")
        self.set_up()
        self._encode_images = compiled(image_encoder, self.embed_images)
        self._encode_tokens = compiled(text_encoder, self.embed_tokens)

    def default_optimizer(self):
        return Adam(2e-3)

    def call_signature(self):
        return [signature(self.image_encoder), signature(self.text_encoder)]

    def call(self, inputs, training=False):
        """[images, tokens] to the vectors of both, (B, 2, embedding_dim)."""
        images, tokens = inputs
        both = self.embed_images(images, training), self.embed_tokens(tokens, training)
        return ops.stack(both, axis=1)

    def embed_images(self, images, training=False):
        x = self.image_encoder(images, training=training)
        return unit(ops.cast(x, "float32"))

    def embed_tokens(self, tokens, training=False):
        """The direction of the mean of the tokens' vectors, those of PADDING left out."""
        x = ops.cast(self.text_encoder(tokens, training=training), "float32")
        return unit(ops.sum(ops.where(padding_of(tokens)[..., None], 0.0, x), 1))

    def unpack(self, data):
        """(images, tokens) of a batch."""
        images, tokens = self.parts_of(data)
        return ops.cast(images, "float32"), ops.cast(tokens, "int32")

    # --- the objective ---

    def contrastive_loss(self, image_vectors, text_vectors, same=None):
        """-log p of the right partner, (B,), nats: their figure 3; the mean of both ways.

        p is a softmax over the batch: of row i of the pictures, (B, dim), over all texts, and of
        text i over all pictures. Between unrelated vectors it is log B.

        Args:
            same: (B, B), bool: where two rows have the same text. They are no wrong answers to each
                other, nor the right one: the softmax leaves them out.
        """
        scores = ops.exp(self.log_scale) * ops.matmul(image_vectors, ops.transpose(text_vectors))
        if same is not None:
            own = ops.eye(ops.shape(scores)[0], dtype="bool")
            scores = ops.where(ops.logical_and(same, ops.logical_not(own)), -math.inf, scores)
        return -0.5 * sum(ops.diagonal(ops.log_softmax(scores, axis)) for axis in (0, 1))

    def pair_losses(self, images, tokens, training=False):
        """Of a batch: the losses (B,), and the pictures' recall at 1."""
        vectors = self.embed_images(images, training), self.embed_tokens(tokens, training)
        # The wrong answers are in the whole batch, whichever replicas have them.
        images, texts, tokens = (all_rows(x) for x in (*vectors, tokens))
        same = ops.all(tokens[:, None] == tokens, axis=-1)
        recall = recall_at(ops.matmul(images, ops.transpose(texts)), same=same)
        return self.contrastive_loss(images, texts, same), recall

    # --- training ---

    def train_step(self, data):
        images, tokens = self.unpack(data)
        with tf.GradientTape() as tape:
            losses, recall = self.pair_losses(images, tokens, training=True)
            loss = ops.mean(losses)
        self.descend(tape, loss, images)
        self.log_scale.assign(ops.minimum(self.log_scale, self.largest_scale))
        return self.track(images, loss=loss, recall_at_1=recall)

    def test_step(self, data):
        images, tokens = self.unpack(data)
        losses, recall = self.pair_losses(images, tokens)
        return self.track(images, loss=losses, recall_at_1=recall)

    # --- using it ---

    def encode_images(self, images, batch_size=256):
        """Unit vectors, (n, embedding_dim), of images in [-1, 1]."""
        images = as_images("images", images, self.image_shape)
        return in_batches(self._encode_images, images, batch_size=batch_size)

    def encode_texts(self, texts, batch_size=256):
        """Unit vectors, (n, embedding_dim), of texts.

        Raises:
            ValueError: a text is empty, too long, or has characters that the tokenizer does not
                know.
        """
        tokens = self.tokens(texts)
        empty = np.flatnonzero(tokens[:, 0] == END)
        if len(empty):
            i = empty[0]
            raise ValueError(
                f"texts[{i}]: got an empty text, accepted are those that say something."
            )
        return in_batches(self._encode_tokens, tokens, batch_size=batch_size)

    def similarity(self, images, texts):
        """Cosines of the angles between images and texts, (n images, n texts), in [-1, 1]."""
        return self.encode_images(images) @ self.encode_texts(texts).T

    def classify(self, images, texts):
        """Which of `texts` fits: probabilities (n, len(texts)), without any training for it."""
        scores = math.exp(float(self.log_scale)) * self.similarity(images, texts)
        return ops.convert_to_numpy(ops.softmax(scores))
