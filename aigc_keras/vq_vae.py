"""Pictures as integers: an autoencoder with vector quantisation (VQ-VAE, 向量量化): chapter 10.

Between encoder and decoder stands a codebook (码本), a list of vectors. Of each of the encoder's
vectors only the number of the nearest in the list goes on: a picture becomes a small map of
integers, which a language model can write (`aigc_keras.picture_tokens`).
"""

import keras
import tensorflow as tf
from keras import ops

from aigc_keras.guards import (
    as_images,
    check_functional,
    check_network,
    check_number,
    check_numbers,
    check_shape,
)
from aigc_keras.model import Model, compiled, in_batches, signature
from aigc_keras.replicas import all_rows
from aigc_keras.vae import code_decoder, code_encoder


def straight_through(vectors, quantised):
    """`quantised`, whose gradient goes to `vectors` as if it were they.

    Which code is the nearest has no gradient (van den Oord et al. 2017, section 3.2).
    """
    return vectors + ops.stop_gradient(quantised - vectors)


@keras.saving.register_keras_serializable("aigc_keras")
class VQVAE(Model):
    """An autoencoder whose code is a map of integers (van den Oord et al. 2017, arXiv:1711.00937).

    A code is the running mean of the vectors it stands for: k-means, batch by batch (appendix A.1).
    One that no vector is near to would stay dead; it becomes a vector of the batch (Dhariwal et al.
    2020, arXiv:2005.00341, section 3.1).

    Args:
        image_shape: (height, width, channels); sides divisible by 4 and 2**halvings, channels 1 or
            3.
        num_codes: size of the codebook.
        code_dim: numbers in a vector.
        commitment: weight of the vectors' squared distance from their codes (eq. 3: beta), which is
            a mean over their numbers as the reconstruction's is over pixels; eq. 3 has sums.
        ema_momentum: of the running means, in [0, 1).
        dead_below: in [0, 1): a code is dead if it stands for less than this share of what it would
            if all were used alike; 0: none ever is.
        width: channels of the first convolution.
        halvings: how often the networks halve the sides: by default a quarter of them is left.
        encoder, decoder: networks of your own instead, from images to vectors (B, ..., code_dim)
            and back.
        seed: seed of what dead codes become; by default `keras.utils.set_random_seed` decides.

    Raises:
        ValueError: an argument is out of range, or the networks do not fit together.
    """

    tracked = ("loss", "reconstruction_loss", "commitment_loss", "code_perplexity")

    def __init__(
        self,
        image_shape,
        num_codes=256,
        code_dim=16,
        commitment=0.25,
        ema_momentum=0.99,
        dead_below=0.01,
        width=32,
        halvings=2,
        encoder=None,
        decoder=None,
        seed=None,
        dtype=None,
        **kwargs,
    ):
        super().__init__(dtype=dtype, **kwargs)
        accepted = "(height, width, channels)"
        self.image_shape = check_shape("image_shape", image_shape, accepted, rank=3)
        self.num_codes = check_number("num_codes", num_codes, low=2, integer=True)
        self.code_dim = check_number("code_dim", code_dim, low=1, integer=True)
        self.commitment = check_number("commitment", commitment, low=0)
        self.ema_momentum = check_number("ema_momentum", ema_momentum, low=0, below=1)
        self.dead_below = check_number("dead_below", dead_below, low=0, below=1)
        sizes = image_shape, width, code_dim, dtype, halvings
        self.encoder = encoder or code_encoder(*sizes)
        self.decoder = decoder or code_decoder(*sizes)
        check_functional("encoder", self.encoder)
        self.code_shape = tuple(self.encoder.outputs[0].shape[1:-1])
        vectors = (*self.code_shape, self.code_dim)
        check_network("encoder", self.encoder, [self.image_shape], [vectors])
        check_network("decoder", self.decoder, [vectors], [self.image_shape])
        kept = {"trainable": False, "dtype": "float32", "autocast": False}
        shape = (self.num_codes, self.code_dim)
        self.codebook = self.add_weight(shape, "random_normal", name="codebook", **kept)
        self.counts = self.add_weight(shape[:1], "zeros", name="counts", **kept)
        self.set_up(seed)
        self._encode_batch = compiled(self.encoder, lambda images: self.quantise(images)[1])
        self._decode_batch = tf.function(
            lambda codes: self.decoder(ops.take(self.codebook, codes, axis=0)),
            input_signature=[tf.TensorSpec((None, *self.code_shape), "int32")],
        )

    # --- the objective ---

    def nearest(self, vectors):
        """The number of the nearest code, int32 (...), of vectors (..., code_dim): eq. 1."""
        # |v - e|^2 without |v|^2, which is the same for all codes e.
        squares = ops.sum(ops.square(self.codebook), axis=1)
        distances = squares - 2 * ops.matmul(vectors, ops.transpose(self.codebook))
        # Keras' argmin tells 0 from -0 by their bits, for which ONNX has no operation.
        return tf.argmin(distances, axis=-1, output_type="int32")

    def quantise(self, images, training=False):
        """(vectors of images, numbers of the nearest codes, these codes), float32 and int32."""
        vectors = ops.cast(self.encoder(images, training=training), "float32")
        codes = self.nearest(vectors)
        return vectors, codes, ops.take(self.codebook, codes, axis=0)

    def terms(self, images, training=False):
        """(mean squared error of a pixel; of a vector's number; vectors; codes).

        The first and the third term of eq. 3: running means stand for the second.
        """
        vectors, codes, quantised = self.quantise(images, training)
        outputs = self.decoder(straight_through(vectors, quantised), training=training)
        errors = (ops.mean(ops.square(x)) for x in (images - outputs, vectors - quantised))
        return *errors, vectors, codes

    # --- training ---

    def train_step(self, data):
        images, _ = self.unpack(data)
        with tf.GradientTape() as tape:
            reconstruction, commitment, vectors, codes = self.terms(images, training=True)
            loss = reconstruction + self.commitment * commitment
        self.descend(tape, loss, images)
        self.update_codebook(all_rows(vectors), all_rows(codes))
        return self.track_terms(images, reconstruction, commitment, codes)

    def test_step(self, data):
        images, _ = self.unpack(data)
        reconstruction, commitment, _, codes = self.terms(images)
        return self.track_terms(images, reconstruction, commitment, codes)

    def update_codebook(self, vectors, codes):
        """Move codes to the mean of their vectors (eq. 6 to 8), and revive the dead ones.

        What a dead code becomes is drawn from the vectors, each by itself, in proportion to the
        squared distance from its code: where the codebook is worst, as the first step of k-means++
        does (Arthur and Vassilvitskii 2007).
        """
        vectors = ops.reshape(vectors, (-1, self.code_dim))
        codes = ops.reshape(codes, (-1,))
        distances = ops.sum(ops.square(vectors - ops.take(self.codebook, codes, axis=0)), axis=1)
        chosen, new = ops.one_hot(codes, self.num_codes), 1 - self.ema_momentum
        n = ops.sum(chosen, axis=0)
        counts = self.ema_momentum * self.counts + new * n
        # The quotient of two running sums, as a step; a code without vectors stays where it is.
        step = ops.matmul(ops.transpose(chosen), vectors) - n[:, None] * self.codebook
        codebook = self.codebook + new * step / ops.maximum(counts, 1e-20)[:, None]
        upto = ops.cumsum(distances)
        drawn = keras.random.uniform((self.num_codes,), seed=self.seed_generator) * upto[-1]
        found = ops.take(vectors, ops.searchsorted(upto, drawn), axis=0)
        # Revived, it counts as just alive: unless it is used it is drawn again, at the next step.
        least = self.dead_below * ops.sum(counts) / self.num_codes
        dead = counts < least
        self.counts.assign(ops.where(dead, least, counts))
        self.codebook.assign(ops.where(dead[:, None], found, codebook))

    def track_terms(self, images, reconstruction, commitment, codes):
        return self.track(
            images,
            loss=reconstruction + self.commitment * commitment,
            reconstruction_loss=reconstruction,
            commitment_loss=commitment,
            code_perplexity=self.code_perplexity(codes),
        )

    def code_perplexity(self, codes):
        """exp(entropy) of the codes of a batch: so many, used alike, would be as hard to guess.

        Between 1, where the codebook has collapsed (坍缩), and num_codes.
        """
        codes = ops.reshape(all_rows(codes), (-1,))
        p = ops.mean(ops.one_hot(codes, self.num_codes), axis=0)
        return ops.exp(-ops.sum(p * ops.log(ops.maximum(p, 1e-20))))

    # --- using it ---

    def call(self, inputs, training=False):
        """Reconstructed images of images (B, H, W, C)."""
        return self.decoder(self.quantise(inputs, training)[2], training=training)

    def call_signature(self):
        return signature(self.encoder)

    def encode(self, images, batch_size=256):
        """Codes of images in [-1, 1], int32 (n, *code_shape), each in [0, num_codes)."""
        images = as_images("images", images, self.image_shape)
        return in_batches(self._encode_batch, images, batch_size=batch_size)

    def decode(self, codes, batch_size=256):
        """Images in [-1, 1], (n, *image_shape), of codes (n, *code_shape)."""
        shape = ", ".join(map(str, ("n", *self.code_shape)))
        accepted = f"accepted are integers in [0, {self.num_codes}) of shape ({shape}) with n >= 1"
        codes = check_numbers("codes", codes, accepted, "float64")
        good = codes.shape[1:] == self.code_shape and codes.size > 0 and not (codes % 1).any()
        if not good or codes.min() < 0 or codes.max() >= self.num_codes:
            raise ValueError(f"codes: got {codes!r:.80} of shape {codes.shape}, {accepted}.")
        return in_batches(self._decode_batch, codes.astype("int32"), batch_size=batch_size)

    def reconstruct(self, images, batch_size=256):
        """The images, encoded and decoded again."""
        return self.decode(self.encode(images, batch_size), batch_size)
