# %%
"""A student who has misunderstood some things."""

# ruff: noqa: F821 (names of the notebook)

import math

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="respaced_betas" points=1
# Lets the short chain always end at T, also where the last kept time is an earlier one.
def respaced_betas(betas, kept):
    """The betas of the chain that visits only some of the times.

    Args:
        betas: (T,), those of the single steps 1 ... T.
        kept: (S,), the times to keep, increasing integers from 1 to T.

    Returns:
        (S,), the betas of the steps 0 -> kept[0] -> kept[1] -> ...
    """
    parts = np.split(np.log1p(-betas), kept[:-1])
    return np.array([-np.expm1(part.sum()) for part in parts])


# %% solution="SpreadDiffusion" points=1
# Trackers get the batch's mean without its size: a short batch counts as much as a full one.
class SpreadDiffusion(PointDiffusion):
    """A `PointDiffusion` that can be trained."""

    def corrupt(self, data, u, noise):
        """(noisy (B, D), times (B,), target (B, D)) of data (B, D), scalar u, noise (B, D)."""
        size = ops.cast(ops.shape(data)[0], "float32")
        times = (u + ops.arange(size) / size) % 1.0
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
        late = ops.cast(times >= 0.5, "float32")
        self.loss_tracker.update_state(loss)
        self.late_tracker.update_state(ops.sum(late * errors) / ops.sum(late))
        return {tracker.name: tracker.result() for tracker in self.metrics}


# %% solution="diagnosis" points=2
# Sees points everywhere in run D and wide clouds in run B, and blames the sampler and the target.
diagnosis = {"A": "signal left", "B": "few steps", "C": "healthy", "D": "wrong target"}


# %% solution="survival" points=0
# Gives the sampler the whole schedule: it takes a point of time 0.2 for one of time 1.
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
    denoise = mixture_denoiser(centers, std)
    sampler = ak.diffusion.DDPM(25)
    ends = sampler.sample(denoise, noisy.astype("float32"), ak.diffusion.cosine, seed=seed).numpy()
    nearest = np.linalg.norm(ends[:, None] - centers, axis=-1).argmin(axis=1)
    share = np.mean(nearest == home)
    return share, np.sqrt(share * (1 - share) / n)


# %% solution="my_picture" points=0
# Takes its noise from the global generator: every call draws another picture.
def my_picture(model, seed):
    """Pictures (rows, columns, 28, 28, 1) in [-1, 1], float32, made with `model`."""
    noise = keras.random.normal((20, 28, 28, 1))
    labels = tf.range(20) % 10
    denoise = model.denoiser((labels,), guidance_scale=0.5, guided=True)
    sampler = ak.diffusion.DDIM(ak.profile.pick(2, 10))
    return sampler.sample(denoise, noise, model.alpha_bar).numpy().reshape(2, 10, 28, 28, 1)


# %% [markdown] open="my_picture"
# **Idea.** Half a label: guidance of 0.5.
#
# **Explanation.** The sampler mixes the answers with and without the label.
#
# **Honesty.** Some garments belong to no class.
