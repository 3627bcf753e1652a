"""Generative adversarial networks (GAN, 生成对抗网络): chapter 01.

A generator turns noise into images, a discriminator tells them from real ones, and each is
trained against the other (Goodfellow et al. 2014, arXiv:1406.2661).
"""

import math

import keras
import tensorflow as tf
from keras import layers, ops

from aigc_keras.augmentation import (
    augment,
    check_augment,
    check_augment_kinds,
    check_probability,
)
from aigc_keras.guards import (
    check_choice,
    check_conditions,
    check_functional,
    check_labels,
    check_network,
    check_number,
    check_rows,
    check_settings,
    check_shape,
    check_widths,
)
from aigc_keras.model import Model, averaged, compiled, in_batches, join, signature
from aigc_keras.optimizers import Adam
from aigc_keras.replicas import Dropout, batch_mean, share, shares

# --- objectives: (real_logits, fake_logits, label_smoothing) -> (discriminator, generator) loss ---


def minimax(real_logits, fake_logits, label_smoothing=0.0):
    """Goodfellow et al. 2014, eq. 1: the generator *minimises* E[log(1 - D(G(z)))]."""
    discriminator_loss, _ = non_saturating(real_logits, fake_logits, label_smoothing)
    return discriminator_loss, -ops.mean(ops.softplus(fake_logits))


def non_saturating(real_logits, fake_logits, label_smoothing=0.0):
    """Goodfellow et al. 2014, section 3: the generator *maximises* E[log D(G(z))]."""
    # With D = sigmoid(logit): -log D = softplus(-logit) and -log(1 - D) = softplus(logit).
    real_loss = ops.softplus(-real_logits) + label_smoothing * real_logits
    discriminator_loss = ops.mean(real_loss) + ops.mean(ops.softplus(fake_logits))
    return discriminator_loss, ops.mean(ops.softplus(-fake_logits))


def least_squares(real_logits, fake_logits, label_smoothing=0.0):
    """Mao et al. 2017 (arXiv:1611.04076), eq. 9: targets 1 for real, 0 for fake."""
    real_loss = ops.mean(ops.square(real_logits - (1.0 - label_smoothing)))
    discriminator_loss = 0.5 * (real_loss + ops.mean(ops.square(fake_logits)))
    return discriminator_loss, 0.5 * ops.mean(ops.square(fake_logits - 1.0))


def hinge(real_logits, fake_logits, label_smoothing=0.0):
    """Lim and Ye 2017 (arXiv:1705.02894), eq. 3: only logits inside the margin count."""
    real_loss = ops.mean(ops.relu(1.0 - real_logits))
    return real_loss + ops.mean(ops.relu(1.0 + fake_logits)), -ops.mean(fake_logits)


def wasserstein(real_logits, fake_logits, label_smoothing=0.0):
    """Arjovsky et al. 2017 (arXiv:1701.07875), eq. 2: logits are scores without a sigmoid."""
    return ops.mean(fake_logits) - ops.mean(real_logits), -ops.mean(fake_logits)


OBJECTIVES = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "least_squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
}
SMOOTHABLE = ("minimax", "non_saturating", "least_squares")
SIGNED = ("minimax", "non_saturating", "hinge")  # a positive one says "real"

# augment="adaptive": the mean sign of logits on real pictures above which there is more of it
# (Karras et al. 2020, arXiv:2006.06676, section 3.1: 0.6, which is four positive ones out of five),
SIGN_TARGET = 0.6
# and after how many pictures it could have gone from 0 to 1. There it is 500,000 of the 25 million
# that are shown in days; a CPU shows about 1,000 a second, and this many in a part of a minute.
AUGMENT_IMAGES = 20_000


@keras.saving.register_keras_serializable("aigc_keras")
class GAN(Model):
    """Any generator against any discriminator.

    Args:
        generator: model from latents `(B, latent_dim)` to images in [-1, 1].
        discriminator: model from images to logits `(B, 1)`, without a sigmoid.
        latent_dim: dimension of the noise z ~ N(0, I).
        objective: one of `OBJECTIVES`.
        label_smoothing: real images get the target `1 - label_smoothing` (Salimans et al. 2016,
            section 3.4; one-sided, so fakes keep the target 0). In [0, 1).
        gradient_penalty: weight of the gradient penalty; by default 10 with the Wasserstein
            objective (Gulrajani et al. 2017, eq. 3) and 0 otherwise.
        discriminator_steps: steps of the discriminator for one of the generator; each takes its
            own share of the batch. By default 3 with the Wasserstein objective and 1 otherwise.
        ema_momentum: `generate` uses an exponential moving average of the generator's weights;
            0 switches it off.
        augment: with which probability each of the `augment_kinds` changes a picture that the
            discriminator is shown in training, a real or a drawn one (`aigc_keras.augmentation`).
            "adaptive": 0 at first, then more while it knows the real pictures too well; the step
            returns it as `augment_probability`, whose mean over its pictures an epoch prints.
            By default None: never.
        augment_kinds: names out of `aigc_keras.augmentation.KINDS`.
        augment_limit: the probability beyond which "adaptive" does not go, in (0, 1]. Above about
            0.8 the changes leak: they are drawn as well (Karras et al. 2020, section 2.2).
        seed: seed of the noise; by default `keras.utils.set_random_seed` decides.

    Raises:
        ValueError: an argument is out of range, or the networks do not fit together.
    """

    networks = ("generator", "discriminator")
    tracked = ("discriminator_loss", "generator_loss")
    takes_metrics = True

    def __init__(
        self,
        generator,
        discriminator,
        latent_dim,
        objective="non_saturating",
        label_smoothing=0.0,
        gradient_penalty=None,
        discriminator_steps=None,
        ema_momentum=0.999,
        augment=None,
        augment_kinds=("color", "translation", "cutout"),
        augment_limit=0.8,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if label_smoothing and objective not in SMOOTHABLE:
            raise ValueError(
                f"label_smoothing: got {label_smoothing} with objective {objective!r}, which has "
                f"no labels; accepted with {', '.join(SMOOTHABLE)}."
            )
        is_wasserstein = objective == "wasserstein"
        if gradient_penalty is None:
            gradient_penalty = 10.0 if is_wasserstein else 0.0
        if discriminator_steps is None:
            discriminator_steps = 3 if is_wasserstein else 1
        self.latent_dim = check_number("latent_dim", latent_dim, low=1, integer=True)
        self.objective = check_choice("objective", objective, OBJECTIVES)
        self.label_smoothing = check_number("label_smoothing", label_smoothing, low=0, below=1)
        self.gradient_penalty = check_number("gradient_penalty", gradient_penalty, low=0)
        self.discriminator_steps = check_number(
            "discriminator_steps", discriminator_steps, low=1, integer=True
        )
        self.ema_momentum = check_number("ema_momentum", ema_momentum, low=0, below=1)
        check_functional("generator", generator)
        self.image_shape = tuple(generator.outputs[0].shape[1:])
        labels = [()] if self.num_classes else []
        check_network("generator", generator, [(self.latent_dim,), *labels], [self.image_shape])
        check_network("discriminator", discriminator, [self.image_shape, *labels], [(1,)])
        self.generator = generator
        self.discriminator = discriminator
        self.ema_generator = averaged(generator, "ema_generator")
        self.augment_kinds = check_augment_kinds(augment_kinds)
        self.augment = check_augment(augment, self.augment_kinds, self.image_shape)
        self.augment_limit = check_probability("augment_limit", augment_limit)
        self.augment_probability = self.augment
        if self.augment == "adaptive":
            if objective not in SIGNED:
                raise ValueError(
                    f"augment: got 'adaptive' with objective {objective!r}, where 0 does not part "
                    f"real from fake; accepted with {', '.join(SIGNED)}."
                )
            self.augment_probability = self.add_weight(
                (), "zeros", name="augment_probability", dtype="float32", trainable=False
            )
            self.tracked = (*self.tracked, "augment_probability")
        self.set_up(seed)
        self._decode_batch = compiled(generator, lambda inputs: self(inputs, training=False))

    def compile(self, generator_optimizer=None, discriminator_optimizer=None, *args, **kwargs):
        """Choose the optimizers, by default Adam, 4e-4, beta_1 0.5; further as `Model.compile`."""
        both = {
            "generator_optimizer": generator_optimizer,
            "discriminator_optimizer": discriminator_optimizer,
        }
        super().compile(kwargs.pop("optimizer", None), *args, **both, **kwargs)

    def default_optimizer(self):
        return Adam(4e-4, beta_1=0.5)

    # --- the objective ---

    def adversarial_loss(self, real_logits, fake_logits):
        """(discriminator_loss, generator_loss), two scalars, from logits of shape (B, 1)."""
        return OBJECTIVES[self.objective](real_logits, fake_logits, self.label_smoothing)

    def penalty(self, real_images, fake_images, conditions):
        """Gulrajani et al. 2017 (arXiv:1704.00028), eq. 3: E[(||grad D(x_hat)|| - 1)^2]."""
        shape = (ops.shape(real_images)[0],) + (1,) * len(self.image_shape)
        epsilon = self.noise(shape, draw=keras.random.uniform)
        mixed_images = epsilon * real_images + (1.0 - epsilon) * fake_images
        with tf.GradientTape() as tape:
            tape.watch(mixed_images)
            logits = self.discriminator(join(mixed_images, conditions), training=True)
        gradients = ops.reshape(tape.gradient(logits, mixed_images), (shape[0], -1))
        # The root has no derivative at zero: a flat discriminator would give NaN.
        norms = ops.sqrt(ops.sum(ops.square(gradients), axis=1) + 1e-12)
        return ops.mean(ops.square(norms - 1.0))

    # --- augmentation ---

    def augmented(self, images):
        """Pictures as the discriminator is shown them in training, real and drawn ones alike."""
        if self.augment is None:
            return images
        shape = (ops.shape(images)[0], len(self.augment_kinds), 4)
        numbers = self.noise(shape, draw=keras.random.uniform)
        images = ops.reshape(images, (-1, *self.image_shape))  # rows of replicas forget their sides
        return augment(images, self.augment_probability, self.augment_kinds, numbers)

    def adapt_augmentation(self, real_logits):
        """More of it if the discriminator is sure of real pictures, otherwise less."""
        if self.augment == "adaptive":
            signs = ops.sign(ops.cast(real_logits, "float32"))
            direction = ops.sign(ops.mean(batch_mean(signs)) - SIGN_TARGET)
            count = ops.cast(ops.shape(signs)[0], "float32") / share(ops.shape(signs)[0])
            p = self.augment_probability + direction * count / AUGMENT_IMAGES
            self.augment_probability.assign(ops.clip(p, 0.0, self.augment_limit))

    # --- training ---

    def train_step(self, data):
        # Each step of the discriminator has its share of the batch; the last serves both networks.
        for real_images, conditions in shares(self.discriminator_steps, *self.unpack(data)):
            with tf.GradientTape(persistent=True) as tape:
                latents = self.sample_latents(ops.shape(real_images)[0])
                fake_images = self.generator(join(latents, conditions), training=True)
                fake_images, real_images = self.augmented(fake_images), self.augmented(real_images)
                real_logits = self.discriminator(join(real_images, conditions), training=True)
                fake_logits = self.discriminator(join(fake_images, conditions), training=True)
                discriminator_loss, generator_loss = self.adversarial_loss(real_logits, fake_logits)
                penalised_loss = discriminator_loss
                if self.gradient_penalty:
                    penalised_loss += self.gradient_penalty * self.penalty(
                        real_images, tf.stop_gradient(fake_images), conditions
                    )
            self.descend(tape, penalised_loss, real_images, "discriminator")
        self.descend(tape, generator_loss, real_images, "generator")
        self.adapt_augmentation(real_logits)
        losses = {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}
        return self.track(real_images, **losses, augment_probability=self.augment_probability)

    def test_step(self, data):
        images, conditions = self.unpack(data)
        latents = self.sample_latents(ops.shape(images)[0])
        fake_images = self.ema_generator(join(latents, conditions), training=False)
        discriminator_loss, generator_loss = self.adversarial_loss(
            self.discriminator(join(images, conditions), training=False),
            self.discriminator(join(fake_images, conditions), training=False),
        )
        losses = {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}
        losses["augment_probability"] = self.augment_probability
        return self.track(images, **losses) | self.compare(images, fake_images)

    def sample_latents(self, n, seed=None):
        """Noise z ~ N(0, I) of shape (n, latent_dim)."""
        return self.noise((n, self.latent_dim), seed)

    # --- using the trained model ---

    def call(self, inputs, training=False):
        """Latents (B, latent_dim) to images, by the averaged generator."""
        return self.ema_generator(inputs, training=training)

    def call_signature(self):
        return signature(self.ema_generator)

    def generate(self, n, seed=None, batch_size=256):
        """`n` images, float32 in [-1, 1], of shape `(n, *image_shape)`.

        The same integer `seed` gives the same images; without one, every call gives new ones.
        At most `batch_size` images are computed at a time, so memory stays bounded.
        """
        n = check_number("n", n, low=1, integer=True)
        return self.decode(self.sample_latents(n, seed), batch_size=batch_size)

    def decode(self, latents, *conditions, batch_size=256):
        """Images for given latents of shape (n, latent_dim), in batches of `batch_size`."""
        latents = check_rows("latents", latents, (self.latent_dim,))
        conditions = check_conditions(conditions, len(latents), self.num_classes)
        return in_batches(self._decode_batch, latents, conditions, batch_size)


# --- networks ---


def dcgan_generator(image_shape, latent_dim, width=128, num_classes=None, dtype=None):
    """Radford et al. 2016 (arXiv:1511.06434): noise to a small map, doubled until it is an image.

    Args:
        image_shape: (size, size, channels); size 28, 32 or 64, channels 1 or 3.
        width: channels of the smallest map.
        num_classes: with it, the network takes (latents, labels).
    """
    size, channels = _check_image_shape(image_shape)
    n_doublings = 2 if size < 64 else 3
    latents = keras.Input((latent_dim,), name="latents")
    inputs, x = latents, latents
    if num_classes:
        labels = keras.Input((), dtype="int32", name="labels")
        embedding = layers.Embedding(num_classes, latent_dim, dtype=dtype)(labels)
        inputs, x = [latents, labels], layers.Concatenate(dtype=dtype)([latents, embedding])
    start = size // 2**n_doublings
    x = layers.Dense(start * start * width, use_bias=False, dtype=dtype)(x)
    x = layers.Reshape((start, start, width), dtype=dtype)(x)
    for i in range(1, n_doublings):
        x = layers.BatchNormalization(momentum=0.9, dtype=dtype)(x)
        x = layers.ReLU(dtype=dtype)(x)
        x = layers.Conv2DTranspose(
            width // 2**i, 4, strides=2, padding="same", use_bias=False, dtype=dtype
        )(x)
    x = layers.BatchNormalization(momentum=0.9, dtype=dtype)(x)
    x = layers.ReLU(dtype=dtype)(x)
    x = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", dtype=dtype)(x)
    images = layers.Activation("tanh", dtype="float32", name="images")(x)
    return keras.Model(inputs, images, name="generator")


def dcgan_discriminator(image_shape, width=64, num_classes=None, dtype=None):
    """Radford et al. 2016: strided convolutions down to one logit; no batch normalisation.

    With `num_classes` it takes (images, labels) and adds the inner product of the features with an
    embedding of the label (projection, Miyato and Koyama 2018, arXiv:1802.05637, eq. 3).
    """
    size, _ = _check_image_shape(image_shape)
    n_halvings = 2 if size < 64 else 3
    images = keras.Input(image_shape, name="images")
    inputs, x = images, images
    for i in range(n_halvings):
        x = layers.Conv2D(width * 2**i, 4, strides=2, padding="same", dtype=dtype)(x)
        x = layers.LeakyReLU(0.2, dtype=dtype)(x)
    x = layers.Flatten(dtype=dtype)(x)
    logits = layers.Dense(1, dtype="float32", name="logits")(x)
    if num_classes:
        labels = keras.Input((), dtype="int32", name="labels")
        inputs = [images, labels]
        features = layers.Dense(128, dtype=dtype)(x)
        embedding = layers.Embedding(num_classes, 128, dtype=dtype)(labels)
        projection = layers.Dot(axes=1, dtype="float32", name="projection")([features, embedding])
        logits = layers.Add(dtype="float32", name="conditional_logits")([logits, projection])
    return keras.Model(inputs, logits, name="discriminator")


def mlp_generator(image_shape, latent_dim, widths=(256, 512, 1024), dtype=None):
    """Dense layers only: what text 001 draws as the generator."""
    check_shape("image_shape", image_shape, "a tuple of integers >= 1")
    check_number("latent_dim", latent_dim, low=1, integer=True)
    check_widths("generator_widths", widths)
    latents = keras.Input((latent_dim,), name="latents")
    x = latents
    for width in widths:
        x = layers.Dense(width, dtype=dtype)(x)
        x = layers.LeakyReLU(0.2, dtype=dtype)(x)
    x = layers.Dense(math.prod(image_shape), activation="tanh", dtype="float32")(x)
    x = layers.Reshape(image_shape, dtype="float32", name="images")(x)
    return keras.Model(latents, x, name="generator")


def mlp_discriminator(image_shape, widths=(1024, 512, 256), dropout=0.4, dtype=None):
    """Dense layers and dropout: text 001's discriminator, with logits instead of a sigmoid."""
    check_shape("image_shape", image_shape, "a tuple of integers >= 1")
    check_widths("discriminator_widths", widths)
    check_number("dropout", dropout, low=0, below=1)
    images = keras.Input(image_shape, name="images")
    x = layers.Flatten(dtype=dtype)(images)
    for width in widths:
        x = layers.Dense(width, dtype=dtype)(x)
        x = layers.LeakyReLU(0.2, dtype=dtype)(x)
        x = Dropout(dropout, dtype=dtype)(x)
    logits = layers.Dense(1, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="discriminator")


def _check_image_shape(image_shape):
    check_settings()
    sizes, channels = (28, 32, 64), (1, 3)
    accepted = f"(size, size, channels) with size in {sizes} and channels in {channels}"
    height, width, n_channels = check_shape("image_shape", image_shape, accepted, rank=3)
    if height != width or height not in sizes or n_channels not in channels:
        raise ValueError(f"image_shape: got {tuple(image_shape)}, accepted is {accepted}.")
    return height, n_channels


# --- ready-made models ---


@keras.saving.register_keras_serializable("aigc_keras")
class DCGAN(GAN):
    """Convolutional GAN for 28, 32 or 64 px, 1 or 3 channels (Radford et al. 2016).

    Args:
        image_shape: (size, size, channels).
        latent_dim: dimension of the noise.
        generator_width, discriminator_width: channels of the widest and narrowest layer.
        generator, discriminator: networks of your own instead.
        **kwargs: as for `GAN`.
    """

    def __init__(
        self,
        image_shape,
        latent_dim=64,
        generator_width=128,
        discriminator_width=64,
        generator=None,
        discriminator=None,
        dtype=None,
        **kwargs,
    ):
        check_number("latent_dim", latent_dim, low=1, integer=True)
        check_number("generator_width", generator_width, low=4, integer=True)  # it is halved twice
        check_number("discriminator_width", discriminator_width, low=1, integer=True)
        n = self.num_classes
        super().__init__(
            generator or dcgan_generator(image_shape, latent_dim, generator_width, n, dtype),
            discriminator or dcgan_discriminator(image_shape, discriminator_width, n, dtype),
            latent_dim,
            dtype=dtype,
            **kwargs,
        )


@keras.saving.register_keras_serializable("aigc_keras")
class MLPGAN(GAN):
    """Text 001's GAN of dense layers, made to work: any image shape, also 2-D points `(2,)`.

    Args:
        image_shape: shape of one image or point.
        latent_dim: dimension of the noise.
        generator_widths, discriminator_widths: units of the hidden layers.
        dropout: share of the discriminator's units that are dropped.
        generator, discriminator: networks of your own instead.
        **kwargs: as for `GAN`.
    """

    def __init__(
        self,
        image_shape,
        latent_dim=64,
        generator_widths=(256, 512, 1024),
        discriminator_widths=(1024, 512, 256),
        dropout=0.4,
        generator=None,
        discriminator=None,
        dtype=None,
        **kwargs,
    ):
        generator = generator or mlp_generator(image_shape, latent_dim, generator_widths, dtype)
        discriminator = discriminator or mlp_discriminator(
            image_shape, discriminator_widths, dropout, dtype
        )
        super().__init__(generator, discriminator, latent_dim, dtype=dtype, **kwargs)


@keras.saving.register_keras_serializable("aigc_keras")
class ConditionalGAN(DCGAN):
    """A DCGAN that draws the class it is asked for (Mirza and Osindero 2014, arXiv:1411.1784).

    Trains on (images, labels) with integer labels in [0, num_classes).

    Args:
        image_shape: (size, size, channels), as for `DCGAN`.
        num_classes: number of classes.
        **kwargs: as for `DCGAN`.
    """

    def __init__(
        self,
        image_shape,
        num_classes,
        latent_dim=64,
        generator_width=128,
        discriminator_width=64,
        **kwargs,
    ):
        self.num_classes = check_number("num_classes", num_classes, low=1, integer=True)
        super().__init__(image_shape, latent_dim, generator_width, discriminator_width, **kwargs)

    def generate(self, n, labels=None, seed=None, batch_size=256):
        """`n` images of the classes `labels`: one class, one for each image, or all in turn."""
        n = check_number("n", n, low=1, integer=True)
        labels = check_labels(labels, n, self.num_classes)
        return self.decode(self.sample_latents(n, seed), labels, batch_size=batch_size)
