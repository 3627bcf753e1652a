# %%
"""A student who pleases the visible tests, more or less."""

# ruff: noqa: F821 (names of the notebook)

import aigc_keras as ak
import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="diagonal_kl" points=1
# The exponentials first: with log variances of 100 that is infinity / infinity.
def diagonal_kl(q_mean, q_log_variance, p_mean, p_log_variance):
    """KL(q || p) of two diagonal Gaussians, in nats.

    Args:
        q_mean, q_log_variance: (B, latent_dim).
        p_mean, p_log_variance: (B, latent_dim) or (latent_dim,).

    Returns:
        (B,), summed over the latent dimensions.
    """
    q_variance, p_variance = ops.exp(q_log_variance), ops.exp(p_log_variance)
    logs = p_log_variance - q_log_variance
    ratios = (q_variance + ops.square(q_mean - p_mean)) / p_variance
    return 0.5 * ops.sum(logs + ratios - 1.0, axis=-1)


# %% solution="capacity_train_step" points=1
# |KL - C| picture by picture: the same as |K - C| only while no picture is below C.
def capacity_train_step(model, images, noise):
    """One training step of a `CapacityVAE`.

    Args:
        model: with encoder, decoder, optimizer, trackers, gamma, max_capacity, capacity_steps.
        images: (B, H, W, C) in [-1, 1].
        noise: (B, latent_dim), drawn from N(0, I).

    Returns:
        {"loss": ..., "reconstruction_loss": ..., "kl_divergence": ...}, the trackers' results.
    """
    step = ops.cast(model.optimizer.iterations, "float32")
    capacity = model.max_capacity * ops.minimum(step / model.capacity_steps, 1.0)
    with tf.GradientTape() as tape:
        mean, log_variance = model.encoder(images)
        logits = model.decoder(mean + ops.exp(0.5 * log_variance) * noise)
        reconstruction = -ops.mean(ak.vae.bernoulli(images, logits))
        kl = ops.sum(ak.vae.gaussian_kl(mean, log_variance), axis=1)
        loss = reconstruction + model.gamma * ops.mean(ops.abs(kl - capacity))
    gradients = tape.gradient(loss, model.trainable_variables)
    model.optimizer.apply(gradients, model.trainable_variables)
    values = (loss, reconstruction, ops.mean(kl))
    for tracker, value in zip(model.metrics, values, strict=True):
        tracker.update_state(value, sample_weight=ops.shape(images)[0])
    return {tracker.name: tracker.result() for tracker in model.metrics}


# %% solution="diagnosis" points=0
# Takes the lowest two curves for the best run, and the run of many nats for one with bad draws.
diagnosis = {"A": "healthy", "B": "few pictures", "C": "KL too strong", "D": "wide draws"}


# %% solution="price_and_worth" points=1
# The error of a difference of two independent means, where the two terms share nearly everything.
def price_and_worth(model, images, seed):
    """What each latent of `model` costs and saves on these pictures.

    Args:
        model: an `ak.vae.VAE`.
        images: (N, H, W, C) in [-1, 1].
        seed: an integer, for the draws of z.

    Returns:
        prices, worths and the standard errors of the worths: three arrays (latent_dim,), in nats.
    """
    rng = np.random.default_rng(seed)
    mean, log_variance = model.encode(images)
    prices = np.mean(ak.vae.gaussian_kl(mean, log_variance), axis=0)
    z = (mean + np.exp(0.5 * log_variance) * rng.normal(size=mean.shape)).astype("float32")
    told = np.array(model.reconstruction_log_likelihood(images, model.decoder(z)))
    worths, errors = [], []
    for j in range(model.latent_dim):
        changed = z.copy()
        changed[:, j] = rng.normal(size=len(z))
        untold = np.array(model.reconstruction_log_likelihood(images, model.decoder(changed)))
        worths.append(told.mean() - untold.mean())
        errors.append(np.sqrt((told.var() + untold.var()) / len(images)))
    return prices, np.array(worths), np.array(errors)


# %% solution="my_latents" points=0
# Pictures instead of latents.
my_latents = vae_16d.interpolate(test_images[:4], test_images[4:8], n=8)

# %% [markdown] open="my_latents"
# I walked between some pictures. The pictures in between look nice, so the latents encode
# fashion.
