# %%
"""A student whose answers are right, and written another way than the model answer."""

# ruff: noqa: F821 (names of the notebook)

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import layers


# %% solution="flipped_loss"
# NumPy: the honest loss, and what the lies change about it, which is linear in the logits.
def flipped_loss(real_logits, fake_logits, flip):
    """The discriminator's loss, in expectation over labels that are wrong with probability `flip`.

    Args:
        real_logits: (N, 1), logits of real pictures.
        fake_logits: (M, 1), logits of generated pictures.
        flip: a number in [0, 1].

    Returns:
        A scalar, in nats.
    """
    real, fake = (np.asarray(x, "float64") for x in (real_logits, fake_logits))
    honest = np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean()
    return honest + flip * (real.mean() - fake.mean())


# %% solution="FeatureMatching"
# One pass of both kinds through the features; the mean of the differences.
class FeatureMatching(TwoPlayers):
    def train_step(self, images):
        """One step of the discriminator, then one of the generator on the features' means.

        Args:
            images: a batch (N, ...); N may be unknown while the graph is built.

        Returns:
            A dict: {name of a tracker: its result}.
        """
        self.discriminator_loss_tracker.update_state(self.discriminator_step(images))
        n = tf.shape(images)[0]
        with tf.GradientTape() as tape:
            fakes = self.generator(self.sample_latents(n))
            both = self.features(tf.concat([images, fakes], axis=0))
            gap = tf.reduce_sum(both[:n] - both[n:], axis=0) / tf.cast(n, tf.float32)
            loss = tf.tensordot(gap, gap, axes=1)
        gradients = tape.gradient(loss, self.generator.trainable_weights)
        self.generator_optimizer.apply_gradients(
            zip(gradients, self.generator.trainable_weights, strict=True)
        )
        self.generator_loss_tracker.update_state(loss)
        return {
            "generator_loss": self.generator_loss_tracker.result(),
            "discriminator_loss": self.discriminator_loss_tracker.result(),
        }


# %% solution="diagnosis"
diagnosis = {"A": "", "B": "", "C": "", "D": ""}
diagnosis["A"] = "idle discriminator"
diagnosis["B"] = "healthy"
diagnosis["C"] = "no gradient"
diagnosis["D"] = "mode collapse"


# %% solution="variety_ratio"
# All pairs in a matrix; the error by leaving out one picture after the other (jackknife).
def variety_ratio(fake_features, fake_labels, real_features, real_labels):
    """How varied are the generated pictures of each class, compared with the real ones?

    Args:
        fake_features, real_features: (N, D) and (M, D), float32.
        fake_labels, real_labels: (N,) and (M,), integers 0 to 9.

    Returns:
        (ratios, standard_errors), each of shape (10,).
    """

    def variety(rows):
        """(variety, the varieties without each picture)."""
        rows = rows.astype("float64") - rows.mean(axis=0)
        norms = (rows**2).sum(axis=1)
        squared = np.maximum(norms[:, None] + norms - 2 * rows @ rows.T, 0)
        n, total = len(rows), squared.sum()
        return total / (n * (n - 1)), (total - 2 * squared.sum(axis=1)) / ((n - 1) * (n - 2))

    result = np.zeros((2, 10))
    for k in range(10):
        fake, fakes_without = variety(fake_features[fake_labels == k])
        real, reals_without = variety(real_features[real_labels == k])
        variance = 0.0
        for ratios in (fakes_without / real, fake / reals_without):
            variance += (len(ratios) - 1) * np.var(ratios)
        result[:, k] = fake / real, np.sqrt(variance)
    return tuple(result)


# %% solution="walk"
garments = (5, 7)  # sandal to sneaker
# A copy of the generator, in whose table of embeddings the first garment's row is moved.
network = keras.models.clone_model(checkpoint.ema_generator)
network.set_weights(checkpoint.ema_generator.get_weights())
(table,) = (x for x in network.layers if isinstance(x, layers.Embedding))
first_vector, last_vector = (table.get_weights()[0][k].copy() for k in garments)
more_latents = checkpoint.sample_latents(pick(30, 100), seed=1).numpy()
walk = np.zeros((8, 11, 28, 28, 1), "float32")
means = []
for j in range(11):
    weights = table.get_weights()[0]
    weights[garments[0]] = first_vector * (1 - j / 10) + last_vector * (j / 10)
    table.set_weights([weights])
    walk[:, j] = network([walk_latents, np.full(8, garments[0])])
    more = network.predict([more_latents, np.full(len(more_latents), garments[0])], verbose=0)
    means.append(fashion_features.extract(more)[1].mean(axis=0)[list(garments)])
ak.plots.grid(
    walk.reshape(-1, 28, 28, 1),
    columns=11,
    column_labels=[f"{mean[1]:.0%}" for mean in means],
    title="mean probability of a sneaker",
)

# %% [markdown] open="walk" points=3
# From sandal to sneaker, 100 noise vectors. The mean probability of a sneaker passes one half between
# t = 0.4 and t = 0.5, and rises slowly, over half of the way. A single row is quicker: the
# openings of the sandal are filled within two pictures, but each row at another place. Fading one picture
# into the other would show the holes as grey; here they close from their edges. What the classifier
# says between the classes it has never learned, so "half a sneaker" is a statement about the classifier.
