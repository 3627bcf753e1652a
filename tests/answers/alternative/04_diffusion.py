# %%
"""A student who solves all tasks, in other ways than the model answers."""

# ruff: noqa: F821 (names of the notebook)

import math

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf


# %% solution="respaced_betas"
def respaced_betas(betas, kept):
    """The betas of the chain that visits only some of the times.

    Args:
        betas: (T,), those of the single steps 1 ... T.
        kept: (S,), the times to keep, increasing integers from 1 to T.

    Returns:
        (S,), the betas of the steps 0 -> kept[0] -> kept[1] -> ...
    """
    result, before = [], 0
    for time in kept:
        # What is left of the noise-free share after each single step of this stretch.
        logs = [math.log1p(-beta) for beta in betas[before:time]]
        result.append(-math.expm1(math.fsum(logs)))
        before = time
    return result


# %% solution="SpreadDiffusion"
class SpreadDiffusion(PointDiffusion):
    """A `PointDiffusion` that can be trained."""

    def corrupt(self, data, u, noise):
        """(noisy (B, D), times (B,), target (B, D)) of data (B, D), scalar u, noise (B, D)."""
        size = tf.cast(tf.shape(data)[0], tf.float32)
        times = tf.math.floormod(u + tf.range(size) / size, 1.0)
        turn = tf.exp(tf.complex(0.0, -math.pi / 2 * times))[:, None]
        turned = tf.complex(data, noise) * turn
        return tf.math.real(turned), times, tf.math.imag(turned)

    def train_step(self, data):
        """One step on data (B, D): {"loss": ..., "late_loss": ...}, the trackers' results."""
        noisy, times, target = self.corrupt(data, *self.draw(data))
        with tf.GradientTape() as tape:
            output = self.network([noisy, times], training=True)
            loss = keras.losses.MeanSquaredError()(target, output)
        variables = self.network.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))
        late = tf.cast(times >= 0.5, tf.float32)
        squares = tf.reduce_sum((target - output) ** 2, axis=1) / data.shape[1]
        late_loss = tf.math.divide_no_nan(tf.reduce_sum(late * squares), tf.reduce_sum(late))
        self.loss_tracker.update_state(loss, sample_weight=tf.shape(data)[0])
        self.late_tracker.update_state(late_loss, sample_weight=tf.reduce_sum(late))
        return {"loss": self.loss_tracker.result(), "late_loss": self.late_tracker.result()}


# %% solution="diagnosis"
diagnosis = dict(zip("ABCD", ["signal left", "last noise", "healthy", "no time"], strict=True))


# %% solution="survival"
def survival(centers, std, time, n, seed):
    """How many of n points come back to their own cloud after noise up to `time`.

    Args:
        centers: (K, D), of equally probable clouds.
        std: their standard deviation in every direction.
        time: in (0, 1], where the walk back begins.
        n: number of points.
        seed: integer.

    Returns:
        the share in [0, 1], and its standard error.
    """
    rng = np.random.default_rng([seed, 4])
    denoise = mixture_denoiser(centers, std)
    home = rng.choice(len(centers), n)
    x = rng.normal(centers[home], std)
    alpha_bars = ak.diffusion.cosine(np.linspace(time, 0, 26))
    x = alpha_bars[0] ** 0.5 * x + (1 - alpha_bars[0]) ** 0.5 * rng.normal(size=x.shape)
    for i in range(24):
        now, following = alpha_bars[i], alpha_bars[i + 1]
        image = np.array(denoise(tf.constant(x), None, now**0.5, (1 - now) ** 0.5).image)
        mean, variance = ak.diffusion.posterior(image, x, now, following)
        x = mean + variance**0.5 * rng.normal(size=x.shape)
    now = alpha_bars[-2]
    x = np.array(denoise(tf.constant(x), None, now**0.5, (1 - now) ** 0.5).image)
    squares = ((x[:, None] - centers) ** 2).sum(axis=2)
    survived = (np.argmin(squares, axis=1) == home).astype(float)
    return survived.mean(), survived.std(ddof=1) / math.sqrt(n)


# %% solution="my_picture"
def my_picture(model, seed):
    """Pictures (rows, columns, 28, 28, 1) in [-1, 1], float32, made with `model`."""
    images, labels = ak.datasets.arrays("fashion_mnist", "test[:200]")
    images = images[[np.flatnonzero(labels == k)[seed] for k in range(10)]]
    known = np.zeros((28, 28, 1), bool)
    known[::4] = True  # every fourth row of the picture
    sampler = ak.diffusion.DDPM(ak.profile.pick(2, 15))
    rows = [images, np.where(known, images, 0.3).astype("float32")]
    for wanted in (np.arange(10), (np.arange(10) + 1) % 10):  # the right label, and the next one
        rows.append(model.inpaint(images, known, wanted, sampler, seed=seed))
    return tf.constant(np.stack(rows))


# %% [markdown] open="my_picture"
# **Idea.** How strong is a label against what is seen? Of each test picture every fourth row is known (second line). Line 3: drawn with
# the right label. Line 4: with the label of the next class. If the label decided, line 4 would show other garments.
#
# **Explanation.** In every step the known rows of the denoised image are replaced by the original, and in $x_t$ they have the noise
# that belongs to $t$. From the first step on they say where it is bright, so the outline, which is otherwise decided at small signal rates
# by label and noise, is decided already. The label can only choose among pictures with this outline.
#
# **Honesty.** Between the known rows there are stripes, most of all in line 4. I think that the network never saw a picture whose
# rows disagree like that. With every eighth row known, the label should win more often; the classifier could count it.
