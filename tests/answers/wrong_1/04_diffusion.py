# %%
"""A student whose solutions please the visible tests."""

# ruff: noqa: F821 (names of the notebook)

import math

import aigc_keras as ak
import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="respaced_betas" points=1
# The ratio of two products: 0 / 0 for a long chain, and 1 - 1e-15 has one digit.
def respaced_betas(betas, kept):
    """The betas of the chain that visits only some of the times.

    Args:
        betas: (T,), those of the single steps 1 ... T.
        kept: (S,), the times to keep, increasing integers from 1 to T.

    Returns:
        (S,), the betas of the steps 0 -> kept[0] -> kept[1] -> ...
    """
    alpha_bar = np.append(1.0, np.cumprod(1 - betas)[kept - 1])
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


# %% solution="SpreadDiffusion" points=1
# Forgets the modulo: with a large u the last times lie beyond 1.
class SpreadDiffusion(PointDiffusion):
    """A `PointDiffusion` that can be trained."""

    def corrupt(self, data, u, noise):
        """(noisy (B, D), times (B,), target (B, D)) of data (B, D), scalar u, noise (B, D)."""
        size = ops.cast(ops.shape(data)[0], "float32")
        times = u + ops.arange(size) / size
        angles = 0.5 * math.pi * times[:, None]
        noisy = ops.cos(angles) * data + ops.sin(angles) * noise
        return noisy, times, ops.cos(angles) * noise - ops.sin(angles) * data

    def train_step(self, data):
        """One step on data (B, D): {"loss": ..., "late_loss": ...}, the trackers' results."""
        u, noise = self.draw(data)
        noisy, times, target = self.corrupt(data, u, noise)
        with tf.GradientTape() as tape:
            output = self.network([noisy, times], training=True)
            errors = ops.mean(ops.square(output - target), axis=-1)
            loss = ops.mean(errors)
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        self.loss_tracker.update_state(errors)
        self.late_tracker.update_state(errors, sample_weight=times >= 0.5)
        return {tracker.name: tracker.result() for tracker in self.metrics}


# %% solution="diagnosis" points=2
# Believes the lowest loss and the sharpest clouds, and does not look at the proportions.
diagnosis = {"A": "healthy", "B": "last noise", "C": "few steps", "D": "no time"}


# %% solution="survival" points=1
# Walks back by DDIM: no noise, so each point ends in the cloud that is the most probable.
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
    rng = np.random.default_rng(seed)
    home = rng.integers(len(centers), size=n)
    data = centers[home] + std * rng.normal(size=(n, centers.shape[1]))
    alpha_bar = ak.diffusion.cosine(time)
    noisy = np.sqrt(alpha_bar) * data + np.sqrt(1 - alpha_bar) * rng.normal(size=data.shape)
    ends = (
        ak.diffusion.DDIM(25)
        .sample(
            mixture_denoiser(centers, std),
            noisy.astype("float32"),
            lambda s: ak.diffusion.cosine(time * s),
        )
        .numpy()
    )
    nearest = np.linalg.norm(ends[:, None] - centers, axis=-1).argmin(axis=1)
    share = np.mean(nearest == home)
    return share, np.sqrt(share * (1 - share) / n)


# %% solution="my_picture" points=0
# Test pictures, mixed with each other: the model has drawn nothing.
def my_picture(model, seed):
    """Pictures (rows, columns, 28, 28, 1) in [-1, 1], float32, made with `model`."""
    images, _ = ak.datasets.arrays("fashion_mnist", "test[:500]")
    rng = np.random.default_rng(seed)
    first, second = images[rng.integers(500, size=(2, 24))]
    weight = np.tile(np.linspace(0, 1, 6), 4)[:, None, None, None]
    mixed = (1 - weight) * first + weight * second
    return mixed.reshape(4, 6, 28, 28, 1).astype("float32")


# %% [markdown] open="my_picture"
# **Idea.** Two garments mixed, from left to right.
#
# **Explanation.** The model draws both, and the weight rises.
#
# **Honesty.** The middle is a double exposure.
