# %%
"""A student who has misunderstood something in each task."""

# ruff: noqa: F821 (names of the notebook)

import aigc_keras as ak
import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="flipped_loss" points=0
# Lies about the real pictures only: that is one-sided label smoothing.
def flipped_loss(real_logits, fake_logits, flip):
    """The discriminator's loss, in expectation over labels that are wrong with probability `flip`.

    Args:
        real_logits: (N, 1), logits of real pictures.
        fake_logits: (M, 1), logits of generated pictures.
        flip: a number in [0, 1].

    Returns:
        A scalar, in nats.
    """
    loss, _ = ak.gan.non_saturating(real_logits, fake_logits, label_smoothing=flip)
    return loss


# %% solution="FeatureMatching" points=0
# Compares picture with picture instead of mean with mean: real and generated pictures have no pairs.
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
            gap = self.features(images) - self.features(self.generator(latents))
            generator_loss = ops.mean(ops.sum(ops.square(gap), axis=1))
        variables = self.generator.trainable_variables
        self.generator_optimizer.apply(tape.gradient(generator_loss, variables), variables)
        self.discriminator_loss_tracker.update_state(discriminator_loss)
        self.generator_loss_tracker.update_state(generator_loss)
        trackers = (self.discriminator_loss_tracker, self.generator_loss_tracker)
        return {tracker.name: tracker.result() for tracker in trackers}


# %% solution="diagnosis" points=0
# Looks at the curves only, and takes losses that stand still for a player that has stopped learning.
diagnosis = {
    "A": "no gradient",
    "B": "healthy",
    "C": "idle discriminator",
    "D": "healthy",
}


# %% solution="variety_ratio" points=1
# The real pictures are taken for the truth itself: their share of the error is missing.
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
        fake, real = fake_features[fake_labels == k], real_features[real_labels == k]
        truth = 2 * np.var(real, axis=0, ddof=1).sum()
        n = len(fake)
        shares = 2 * n / (n - 1) * np.square(fake - fake.mean(axis=0)).sum(axis=1)
        ratios.append(shares.mean() / truth)
        errors.append(shares.std(ddof=1) / np.sqrt(n) / truth)
    return np.array(ratios), np.array(errors)


# %% solution="walk" points=0
# A walk through the noise, as in the chapter, whose label changes in the middle.
garments = (1, 3)
ts = np.linspace(0, 1, 11)[:, None]
rows = []
for i in range(8):
    noise = (1 - ts) * walk_latents[i] + ts * walk_latents[(i + 1) % 8]
    labels = np.where(np.arange(11) < 6, *garments).astype("int32")
    rows.append(checkpoint.decode(noise, labels))
walk = np.stack(rows)
ak.plots.grid(walk.reshape(-1, 28, 28, 1), columns=11)

# %% [markdown] open="walk" points=3
# The class changes suddenly at t = 0.6, in all rows alike.
