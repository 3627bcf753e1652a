"""Variational autoencoders (VAE, 变分自编码器): chapter 02.

An encoder turns an image into a distribution over latents, a decoder turns latents into images, and
both maximise a lower bound of the data's log-likelihood (Kingma and Welling 2014, arXiv:1312.6114).
All losses are nats an image: summed over pixels and latent dimensions, averaged over the batch.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.guards import (
    as_images,
    check_choice,
    check_conditions,
    check_functional,
    check_labels,
    check_network,
    check_number,
    check_numbers,
    check_rows,
    check_settings,
    check_shape,
    check_sizes,
)
from aigc_keras.model import Model, compiled, in_batches, join, signature
from aigc_keras.replicas import batch_mean

# --- likelihoods: (images, outputs of the decoder, log_scale) -> log p(x|z), (B,), nats ---


def bernoulli(images, logits, log_scale=None):
    """Kingma and Welling 2014, eq. 11: every pixel is white with probability sigmoid(logit).

    A grey pixel counts as the mixture of black and white that it is: the result is the expected
    log-likelihood of pictures whose pixels are drawn black or white, and never above 0.
    """
    white = 0.5 * (images + 1.0)
    # log sigmoid(l) = l - softplus(l) and log(1 - sigmoid(l)) = -softplus(l).
    return ops.sum(white * logits - ops.softplus(logits), axis=(1, 2, 3))


def gaussian(images, means, log_scale):
    """Kingma and Welling 2014, eq. 12, with one standard deviation exp(log_scale) for all pixels.

    It is learned like a weight (Rybkin et al. 2021, arXiv:2006.13202, section 3.1). A density of
    pixels in [-1, 1]: it may be above 0, and cannot be compared with `bernoulli`.
    """
    squares = ops.square((images - means) / ops.exp(log_scale))
    return -ops.sum(0.5 * squares + log_scale + 0.5 * math.log(2 * math.pi), axis=(1, 2, 3))


LIKELIHOODS = {"bernoulli": bernoulli, "gaussian": gaussian}


def gaussian_kl(mean, log_variance):
    """KL(N(mean, variance) || N(0, 1)) a latent dimension: Kingma and Welling 2014, app. B."""
    return 0.5 * (ops.square(mean) + ops.exp(log_variance) - log_variance - 1.0)


# --- networks ---


def conv_encoder(image_shape, latent_dim, width=16, hidden=256, num_classes=None, dtype=None):
    """Strided convolutions to a small map, then dense layers to [mean, log_variance].

    Args:
        image_shape: (height, width, channels); sides divisible by 4, channels 1 or 3.
        width: channels of the first convolution; each further one has twice as many.
        hidden: units of the dense layer.
        num_classes: with it, the network takes (images, labels).
    """
    check_sizes(latent_dim=latent_dim, width=width, hidden=hidden)
    images = keras.Input(image_shape, name="images")
    inputs, x = images, conv_features(images, width, dtype)
    if num_classes:
        labels = keras.Input((), dtype="int32", name="labels")
        embedding = layers.Embedding(num_classes, hidden, dtype=dtype)(labels)
        inputs, x = [images, labels], layers.Concatenate(dtype=dtype)([x, embedding])
    x = layers.Dense(hidden, activation="relu", dtype=dtype)(x)
    mean = layers.Dense(latent_dim, dtype="float32", name="mean")(x)
    # Zero weights: the first posterior has variance 1, wherever its mean is.
    log_variance = layers.Dense(
        latent_dim, kernel_initializer="zeros", dtype="float32", name="log_variance"
    )(x)
    return keras.Model(inputs, [mean, log_variance], name="encoder")


def conv_features(images, width=16, dtype=None):
    """The strided convolutions of `conv_encoder`, flattened: (B, features) of a `keras.Input`."""
    for i in range(_n_halvings(images.shape[1:])):
        images = layers.Conv2D(
            width * 2**i, 4, strides=2, padding="same", activation="relu", dtype=dtype
        )(images)
    return layers.Flatten(dtype=dtype)(images)


def conv_decoder(
    image_shape, latent_dim, width=16, hidden=256, num_classes=None, activation=None, dtype=None
):
    """Dense layers to a small map, then transposed convolutions back to the image.

    Without `activation` the outputs are the logits of the Bernoulli likelihood; the Gaussian one
    takes means, `activation="tanh"`. The other arguments are those of `conv_encoder`.
    """
    n_doublings = _n_halvings(image_shape)
    height, breadth, channels = image_shape
    small = (height // 2**n_doublings, breadth // 2**n_doublings, width * 2 ** (n_doublings - 1))
    latents = keras.Input((latent_dim,), name="latents")
    inputs, x = latents, latents
    if num_classes:
        labels = keras.Input((), dtype="int32", name="labels")
        embedding = layers.Embedding(num_classes, hidden, dtype=dtype)(labels)
        inputs, x = [latents, labels], layers.Concatenate(dtype=dtype)([latents, embedding])
    x = layers.Dense(hidden, activation="relu", dtype=dtype)(x)
    x = layers.Dense(math.prod(small), activation="relu", dtype=dtype)(x)
    x = layers.Reshape(small, dtype=dtype)(x)
    for i in reversed(range(n_doublings - 1)):
        x = layers.Conv2DTranspose(
            width * 2**i, 4, strides=2, padding="same", activation="relu", dtype=dtype
        )(x)
    x = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", dtype=dtype)(x)
    outputs = layers.Activation(activation or "linear", dtype="float32", name="outputs")(x)
    return keras.Model(inputs, outputs, name="decoder")


def code_encoder(image_shape, width=32, code_channels=8, dtype=None, halvings=2):
    """Convolutions only: an image to a code (height / 4, width / 4, code_channels).

    More `halvings` make a smaller map; the sides of the image are divisible by 2**halvings.
    """
    check_sizes(width=width, code_channels=code_channels, halvings=halvings)
    _n_halvings(image_shape)
    if any(side % 2**halvings for side in image_shape[:2]):
        accepted = f"accepted are sides divisible by 2**halvings, {2**halvings}"
        raise ValueError(f"image_shape: got {tuple(image_shape)}, {accepted}.")
    images = x = keras.Input(image_shape, name="images")
    for i in range(halvings):
        x = layers.Conv2D(
            width * 2**i, 4, strides=2, padding="same", activation="relu", dtype=dtype
        )(x)
    x = layers.Conv2D(code_channels, 3, padding="same", dtype=dtype, name="code")(x)
    return keras.Model(images, x, name="encoder")


def code_decoder(image_shape, width=32, code_channels=8, dtype=None, halvings=2):
    """The way back from the code of `code_encoder`, by transposed convolutions."""
    *sides, channels = image_shape
    code = x = keras.Input((*(side // 2**halvings for side in sides), code_channels), name="code")
    widths = [width * 2**i for i in reversed(range(halvings))]
    x = layers.Conv2D(widths[0], 3, padding="same", activation="relu", dtype=dtype)(x)
    twice = {"strides": 2, "padding": "same", "dtype": dtype}
    for narrower in widths[1:]:
        x = layers.Conv2DTranspose(narrower, 4, activation="relu", **twice)(x)
    x = layers.Conv2DTranspose(channels, 4, **twice)(x)
    outputs = layers.Activation("tanh", dtype="float32", name="outputs")(x)
    return keras.Model(code, outputs, name="decoder")


def _n_halvings(image_shape):
    """How often the sides can be halved: at least twice, and on while both are even and over 8."""
    check_settings()
    accepted = "(height, width, channels) with sides divisible by 4 and channels 1 or 3"
    *sides, channels = check_shape("image_shape", image_shape, accepted, rank=3)
    if channels not in (1, 3) or any(side % 4 for side in sides):
        raise ValueError(f"image_shape: got {tuple(image_shape)}, accepted is {accepted}.")
    n, sides = 2, [side // 4 for side in image_shape[:2]]
    while all(side > 8 and side % 2 == 0 for side in sides):
        n, sides = n + 1, [side // 2 for side in sides]
    return n


# --- the models ---


@keras.saving.register_keras_serializable("aigc_keras")
class VAE(Model):
    """A convolutional VAE for images of any size divisible by 4 (Kingma and Welling 2014).

    Args:
        image_shape: (height, width, channels); sides divisible by 4, channels 1 or 3.
        latent_dim: dimension of the latents.
        beta: weight of the KL divergence (Higgins et al. 2017, eq. 4); 1 is the ELBO, 0 an
            autoencoder.
        warmup_steps: training steps over which the weight rises linearly from 0 to `beta`
            (Bowman et al. 2016, arXiv:1511.06349, section 3.1).
        free_bits: nats that each latent dimension may use free of charge (Kingma et al. 2016,
            arXiv:1606.04934, eq. 15).
        likelihood: `"bernoulli"` or `"gaussian"`.
        width, hidden: size of the networks, see `conv_encoder`.
        encoder, decoder: networks of your own instead; the decoder gives logits with the Bernoulli
            likelihood and means with the Gaussian one.
        seed: seed of the noise; by default `keras.utils.set_random_seed` decides.

    Raises:
        ValueError: an argument is out of range, or the networks do not fit together.
    """

    tracked = ("loss", "negative_elbo", "reconstruction_loss", "kl_divergence")
    takes_metrics = True

    def __init__(
        self,
        image_shape,
        latent_dim=16,
        beta=1.0,
        warmup_steps=0,
        free_bits=0.0,
        likelihood="bernoulli",
        width=16,
        hidden=256,
        encoder=None,
        decoder=None,
        seed=None,
        dtype=None,
        **kwargs,
    ):
        super().__init__(dtype=dtype, **kwargs)
        accepted = "(height, width, channels)"
        self.image_shape = check_shape("image_shape", image_shape, accepted, rank=3)
        self.latent_dim = check_number("latent_dim", latent_dim, low=1, integer=True)
        self.beta = check_number("beta", beta, low=0)
        self.warmup_steps = check_number("warmup_steps", warmup_steps, low=0, integer=True)
        self.free_bits = check_number("free_bits", free_bits, low=0)
        self.likelihood = check_choice("likelihood", likelihood, LIKELIHOODS)
        sizes = {"width": width, "hidden": hidden, "num_classes": self.num_classes, "dtype": dtype}
        self.encoder = encoder or conv_encoder(image_shape, latent_dim, **sizes)
        last = "tanh" if likelihood == "gaussian" else None
        self.decoder = decoder or conv_decoder(image_shape, latent_dim, activation=last, **sizes)
        labels, latents = [()] if self.num_classes else [], (self.latent_dim,)
        check_network("encoder", self.encoder, [self.image_shape, *labels], [latents, latents])
        check_network("decoder", self.decoder, [latents, *labels], [self.image_shape])
        self.log_scale = None
        if likelihood == "gaussian":
            self.log_scale = self.add_weight((), "zeros", name="log_scale", dtype="float32")
        self.set_up(seed)
        self._encode_batch = compiled(self.encoder, lambda inputs: self.encoder(inputs))
        self._decode_batch = compiled(
            self.decoder, lambda inputs: self.to_images(self.decoder(inputs))
        )
        self._log_weights = tf.function(self.log_weights, reduce_retracing=True)

    # --- the objective ---

    def reconstruction_log_likelihood(self, images, outputs):
        """log p(x|z), (B,), in nats, of images (B, H, W, C) given the decoder's outputs."""
        return LIKELIHOODS[self.likelihood](images, outputs, self.log_scale)

    kl_divergence = staticmethod(gaussian_kl)  # KL(q(z|x) || p(z)), (B, latent_dim)

    def reparameterise(self, mean, log_variance, noise=None):
        """Latents z = mean + sigma * noise: a sample through which gradients flow."""
        if noise is None:
            noise = self.noise(ops.shape(mean))
        return mean + ops.exp(0.5 * log_variance) * noise

    def elbo_terms(self, images, conditions=(), training=False, noise=None):
        """(log p(x|z) with one z ~ q(z|x), (B,); KL(q(z|x) || p(z)), (B, latent_dim)), nats."""
        mean, log_variance = self.encoder(join(images, conditions), training=training)
        latents = self.reparameterise(mean, log_variance, noise)
        outputs = self.decoder(join(latents, conditions), training=training)
        log_likelihood = self.reconstruction_log_likelihood(images, outputs)
        return log_likelihood, self.kl_divergence(mean, log_variance)

    def objective(self, log_likelihood, kl, beta):
        """-E[log p(x|z)] + beta * KL, where a dimension's KL counts as at least `free_bits`."""
        kl = batch_mean(kl) if self.free_bits else ops.mean(kl, axis=0)
        kl = ops.maximum(kl, self.free_bits)
        return -ops.mean(log_likelihood) + beta * ops.sum(kl)

    def warm_beta(self):
        """The weight of the KL divergence at this training step."""
        if not self.warmup_steps:
            return self.beta
        step = ops.cast(self.optimizer.iterations, "float32")
        return self.beta * ops.minimum(1.0, step / self.warmup_steps)

    # --- training ---

    def train_step(self, data):
        images, conditions = self.unpack(data)
        with tf.GradientTape() as tape:
            log_likelihood, kl = self.elbo_terms(images, conditions, training=True)
            loss = self.objective(log_likelihood, kl, self.warm_beta())
        self.descend(tape, loss, images)
        return self.track_terms(loss, log_likelihood, kl)

    def test_step(self, data):
        images, conditions = self.unpack(data)
        log_likelihood, kl = self.elbo_terms(images, conditions)
        loss = self.objective(log_likelihood, kl, self.beta)
        return self.track_terms(loss, log_likelihood, kl) | self.compare_drawn(images, conditions)

    def compare_drawn(self, images, conditions):
        """The metrics of `compile` on as many new images of the same classes: a dict."""
        if not self.evaluation_metrics:
            return {}
        noise = self.noise((ops.shape(images)[0], self.latent_dim))
        return self.compare(
            images, self.to_images(self.decoder(join(noise, conditions), training=False))
        )

    def track_terms(self, loss, log_likelihood, kl):
        kl = ops.sum(kl, axis=1)
        return self.track(
            kl,
            loss=loss,
            negative_elbo=kl - log_likelihood,
            reconstruction_loss=-log_likelihood,
            kl_divergence=kl,
        )

    # --- using it ---

    def call(self, inputs, training=False):
        """Reconstructed images of images (B, H, W, C), through the mean of the posterior."""
        images, *conditions = inputs if isinstance(inputs, tuple | list) else (inputs,)
        mean, _ = self.encoder(join(images, conditions), training=training)
        return self.to_images(self.decoder(join(mean, conditions), training=training))

    def call_signature(self):
        return signature(self.encoder)

    def to_images(self, outputs):
        """The mean image in [-1, 1] that the decoder's outputs describe."""
        if self.likelihood == "bernoulli":
            return ops.tanh(0.5 * outputs)  # 2 * sigmoid(logit) - 1
        return ops.clip(outputs, -1.0, 1.0)

    def encode(self, images, *conditions, batch_size=256):
        """(mean, log_variance) of q(z|x), each (n, latent_dim), for images in [-1, 1]."""
        images = as_images("images", images, self.image_shape)
        conditions = check_conditions(conditions, len(images), self.num_classes)
        return in_batches(self._encode_batch, images, conditions, batch_size)

    def decode(self, latents, *conditions, batch_size=256):
        """Images in [-1, 1], (n, *image_shape), for latents (n, latent_dim)."""
        latents = check_rows("latents", latents, (self.latent_dim,))
        conditions = check_conditions(conditions, len(latents), self.num_classes)
        return in_batches(self._decode_batch, latents, conditions, batch_size)

    def reconstruct(self, images, *conditions, batch_size=256):
        """The images, encoded and decoded again through the mean of q(z|x)."""
        mean, _ = self.encode(images, *conditions, batch_size=batch_size)
        return self.decode(mean, *conditions, batch_size=batch_size)

    def generate(self, n, *conditions, seed=None, batch_size=256):
        """`n` images, float32 in [-1, 1], decoded from z ~ N(0, I), without pixel noise.

        The same integer `seed` gives the same images; without one, every call gives new ones.
        """
        n = check_number("n", n, low=1, integer=True)
        return self.decode(self.sample_latents(n, seed), *conditions, batch_size=batch_size)

    def sample_latents(self, n, seed=None):
        """Latents z ~ N(0, I) of shape (n, latent_dim)."""
        return self.noise((n, self.latent_dim), seed).numpy()

    def interpolate(self, start, end, *conditions, n=8, method="spherical"):
        """Images on the way from each image of `start` to that of `end`: (B, n, *image_shape)."""
        ends = (self.encode(images, *conditions)[0] for images in (start, end))
        path = interpolate_latents(*ends, n, method)
        conditions = check_conditions(conditions, len(path), self.num_classes)
        each = [np.repeat(x, n) for x in conditions]
        images = self.decode(path.reshape(-1, self.latent_dim), *each)
        return images.reshape(len(path), n, *self.image_shape)

    def log_likelihood(self, images, *conditions, n_samples=64, seed=None, batch_size=256):
        """A lower bound of log p(x) in nats, (n,): the importance-weighted one.

        log 1/K sum_k p(x, z_k) / q(z_k|x) with K = `n_samples`, z_k ~ q(z|x) (Burda et al. 2016,
        arXiv:1509.00519, eq. 8). K = 1 is the ELBO; the bound grows with K and tends to log p(x).
        One sample of at most `batch_size` images is in memory at a time.
        """
        n_samples = check_number("n_samples", n_samples, low=1, integer=True)
        means, log_variances = self.encode(images, *conditions, batch_size=batch_size)
        images = np.asarray(images, "float32")
        conditions = check_conditions(conditions, len(images), self.num_classes)
        generator = self.generator_of(seed)

        def bound(batch):
            total = np.full(len(batch[0]), -np.inf)
            for _ in range(n_samples):
                noise = keras.random.normal(batch[1].shape, seed=generator)
                total = np.logaddexp(total, self._log_weights(noise, *batch))
            return tf.constant(total - np.log(n_samples))

        return in_batches(bound, images, (means, log_variances, *conditions), batch_size)

    def log_weights(self, noise, images, mean, log_variance, *conditions):
        """log p(x, z) / q(z|x), (B,), for the z that `noise` (B, latent_dim) leads to."""
        latents = self.reparameterise(mean, log_variance, noise)
        outputs = self.decoder(join(latents, conditions), training=False)
        # log p(z) - log q(z|x): the constants of the two normal densities cancel.
        log_ratio = 0.5 * ops.sum(ops.square(noise) + log_variance - ops.square(latents), axis=1)
        return self.reconstruction_log_likelihood(images, outputs) + log_ratio

    def active_units(self, images, *conditions, threshold=0.01):
        """Which latent dimensions carry information: booleans (latent_dim,).

        A dimension is active if the mean of q(z|x) has a variance above `threshold` over the images
        (Burda et al. 2016, section 5.2). If none is, the posterior has collapsed.
        """
        threshold = check_number("threshold", threshold, low=0)
        mean, _ = self.encode(images, *conditions)
        return mean.var(axis=0) > threshold


def interpolate_latents(start, end, n, method="spherical"):
    """`n` points from `start` to `end`, both (B, latent_dim), with both ends: (B, n, latent_dim).

    `"linear"` walks on the straight line; `"spherical"` turns the direction at constant speed and
    changes the length evenly, so that the middle is no shorter than the ends (White 2016,
    arXiv:1609.04468). Between opposite directions it has no way to prefer and takes the line.
    """
    n = check_number("n", n, low=2, integer=True)
    check_choice("method", method, ("spherical", "linear"))
    accepted = "accepted are finite numbers of shape (B, latent_dim)"
    for name, latents in (("start", start), ("end", end)):
        shape = check_numbers(name, latents, accepted).shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"{name}: got shape {shape}, {accepted}.")
    if np.shape(start) != np.shape(end):
        raise ValueError(
            f"end: got shape {np.shape(end)}, accepted is that of start, {np.shape(start)}."
        )
    t = np.linspace(0, 1, n)[:, None]
    # In float64: the angle of nearly opposite directions needs its digits.
    start, end = (np.asarray(x, "float64")[:, None] for x in (start, end))
    line = (1 - t) * start + t * end
    if method == "linear":
        return line.astype("float32")
    lengths = [np.linalg.norm(x, axis=-1, keepdims=True) + 1e-12 for x in (start, end)]
    a, b = start / lengths[0], end / lengths[1]
    angle = np.arccos(np.clip(np.sum(a * b, axis=-1, keepdims=True), -1, 1))
    turns = np.sin(angle) > 1e-4
    sine = np.where(turns, np.sin(angle), 1.0)
    direction = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / sine
    arc = ((1 - t) * lengths[0] + t * lengths[1]) * direction
    return np.where(turns, arc, line).astype("float32")


@keras.saving.register_keras_serializable("aigc_keras")
class ConditionalVAE(VAE):
    """A VAE that knows the class (Sohn et al. 2015): the latents keep what the class leaves open.

    Trains on (images, labels) with integer labels in [0, num_classes). Methods that take images or
    latents take labels after them: `encode(images, labels)`.

    Args:
        image_shape: as for `VAE`.
        num_classes: number of classes.
        **kwargs: as for `VAE`.
    """

    def __init__(self, image_shape, num_classes, **kwargs):
        self.num_classes = check_number("num_classes", num_classes, low=1, integer=True)
        super().__init__(image_shape, **kwargs)

    def generate(self, n, labels=None, seed=None, batch_size=256):
        """`n` images of the classes `labels`: one class, one for each image, or all in turn."""
        n = check_number("n", n, low=1, integer=True)
        labels = check_labels(labels, n, self.num_classes)
        return super().generate(n, labels, seed=seed, batch_size=batch_size)


@keras.saving.register_keras_serializable("aigc_keras")
class DenoisingAutoencoder(Model):
    """Learns to take away the noise that training adds (Vincent et al. 2008, ICML).

    The best denoiser of squared error is E[x | noisy x] = noisy x + noise_std^2 * score, where the
    score is the gradient of the noisy images' log-density (Alain and Bengio 2014, arXiv:1211.4246,
    theorem 1): chapter 04 starts there.

    Args:
        image_shape: (height, width, channels); sides divisible by 4, channels 1 or 3.
        noise_std: standard deviation of the Gaussian noise on pixels in [-1, 1].
        width: channels of the first convolution.
        code_channels: channels of the code, a map of a quarter of the image's height and width.
        encoder, decoder: networks of your own instead.
        seed: seed of the noise; by default `keras.utils.set_random_seed` decides.

    Raises:
        ValueError: an argument is out of range, or the networks do not fit together.
    """

    def __init__(
        self,
        image_shape,
        noise_std=0.5,
        width=32,
        code_channels=8,
        encoder=None,
        decoder=None,
        seed=None,
        dtype=None,
        **kwargs,
    ):
        super().__init__(dtype=dtype, **kwargs)
        self.encoder = encoder or code_encoder(image_shape, width, code_channels, dtype)
        self.decoder = decoder or code_decoder(image_shape, width, code_channels, dtype)
        self.image_shape = tuple(image_shape)
        self.noise_std = check_number("noise_std", noise_std, low=0)
        check_functional("encoder", self.encoder)
        code = tuple(self.encoder.outputs[0].shape[1:])
        check_network("encoder", self.encoder, [self.image_shape], [code])
        check_network("decoder", self.decoder, [code], [self.image_shape])
        self.set_up(seed)
        self._denoise_batch = compiled(self.encoder, lambda images: self(images, training=False))

    def corrupt(self, images, seed=None):
        """The images with Gaussian noise; deliberately not clipped to [-1, 1]."""
        return images + self.noise_std * self.noise(ops.shape(images), seed)

    def denoising_loss(self, images, denoised):
        """Mean squared error of a pixel; its square root has the unit of `noise_std`."""
        return ops.mean(ops.square(images - denoised))

    def train_step(self, data):
        images = self.unpack(data)
        with tf.GradientTape() as tape:
            loss = self.denoising_loss(images, self(self.corrupt(images), training=True))
        self.descend(tape, loss, images)
        return self.track(images, loss=loss)

    def test_step(self, data):
        images = self.unpack(data)
        loss = self.denoising_loss(images, self(self.corrupt(images)))
        return self.track(images, loss=loss)

    def unpack(self, data):
        """The images of a batch; labels that came along are not used."""
        images, _ = super().unpack(data)
        return images

    def call(self, inputs, training=False):
        """The clean images that noisy images (B, H, W, C) come from, as far as one can tell."""
        return self.decoder(self.encoder(inputs, training=training), training=training)

    def call_signature(self):
        return signature(self.encoder)

    def denoise(self, images, batch_size=256):
        """Clean images, float32, for noisy ones (n, *image_shape) of any range."""
        images = check_rows("images", images, self.image_shape)
        return in_batches(self._denoise_batch, images, batch_size=batch_size)
