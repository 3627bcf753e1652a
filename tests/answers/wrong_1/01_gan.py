# %%
"""A student who pleases the visible tests, more or less."""

# ruff: noqa: F821 (names of the notebook)

import aigc_keras as ak
import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="flipped_loss" points=1
# The logarithm of a rounded probability, saved from infinity by a small number: wrong at large logits.
def flipped_loss(real_logits, fake_logits, flip):
    """The discriminator's loss, in expectation over labels that are wrong with probability `flip`.

    Args:
        real_logits: (N, 1), logits of real pictures.
        fake_logits: (M, 1), logits of generated pictures.
        flip: a number in [0, 1].

    Returns:
        A scalar, in nats.
    """
    tiny = 1e-7
    real, fake = ops.sigmoid(real_logits), ops.sigmoid(fake_logits)
    real_loss = (1 - flip) * ops.log(real + tiny) + flip * ops.log(1 - real + tiny)
    fake_loss = (1 - flip) * ops.log(1 - fake + tiny) + flip * ops.log(fake + tiny)
    return -ops.mean(real_loss) - ops.mean(fake_loss)


# %% solution="FeatureMatching" points=1
# Returns the losses of this step instead of the trackers' means, and never updates the trackers.
class FeatureMatching(TwoPlayers):
    def train_step(self, images):
        """One step of the discriminator, then one of the generator on the features' means.

        Args:
            images: a batch (N, ...); N may be unknown while the graph is built.

        Returns:
            A dict: {name of a tracker: its result}.
        """
        discriminator_loss = self.discriminator_step(images)
        latents = self.sample_latents(ops.shape(images)[0])
        with tf.GradientTape() as tape:
            fakes = self.generator(latents, training=True)
            real_mean = ops.mean(self.features(images), axis=0)
            fake_mean = ops.mean(self.features(fakes), axis=0)
            generator_loss = ops.sum((real_mean - fake_mean) ** 2)
        variables = self.generator.trainable_variables
        self.generator_optimizer.apply(tape.gradient(generator_loss, variables), variables)
        return {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}


# %% solution="diagnosis" points=2
# Looks at the points only: A and C look alike, and the losses of D look healthy to it.
diagnosis = {
    "A": "mode collapse",
    "B": "healthy",
    "C": "mode collapse",
    "D": "mode collapse",
}


# %% solution="variety_ratio" points=1
# Counts the pairs of a picture with itself, and takes the pairs for independent measurements.
def variety_ratio(fake_features, fake_labels, real_features, real_labels):
    """How varied are the generated pictures of each class, compared with the real ones?

    Args:
        fake_features, real_features: (N, D) and (M, D), float32.
        fake_labels, real_labels: (N,) and (M,), integers 0 to 9.

    Returns:
        (ratios, standard_errors), each of shape (10,).
    """
    ratios, errors = [], []
    for k in range(10):
        varieties, relative = [], []
        for features, labels in ((fake_features, fake_labels), (real_features, real_labels)):
            mine = features[labels == k].astype("float64")
            norms = (mine**2).sum(axis=1)
            squared = np.maximum(norms[:, None] + norms - 2 * mine @ mine.T, 0)
            varieties.append(squared.mean())
            relative.append(squared.std() / np.sqrt(squared.size) / squared.mean())
        ratios.append(varieties[0] / varieties[1])
        errors.append(ratios[-1] * np.hypot(*relative))
    return np.array(ratios), np.array(errors)


# %% solution="walk" points=0
# Fades one picture into the other: the ends are right, nothing between is the generator's.
garments = (1, 3)
start, end = (checkpoint.decode(walk_latents, np.full(8, k, "int32")) for k in garments)
ts = np.linspace(0, 1, 11).reshape(1, 11, 1, 1, 1).astype("float32")
walk = (1 - ts) * start[:, None] + ts * end[:, None]
ak.plots.grid(walk.reshape(-1, 28, 28, 1), columns=11)

# %% [markdown] open="walk" points=3
# The trousers become a dress in the middle, at t = 0.5, because there both are equally strong.
