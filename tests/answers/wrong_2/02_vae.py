# %%
"""A student who confuses things that look alike."""

# ruff: noqa: F821 (names of the notebook)

import aigc_keras as ak
import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="diagonal_kl" points=0
# KL(p || q) for KL(q || p).
def diagonal_kl(q_mean, q_log_variance, p_mean, p_log_variance):
    """KL(q || p) of two diagonal Gaussians, in nats.

    Args:
        q_mean, q_log_variance: (B, latent_dim).
        p_mean, p_log_variance: (B, latent_dim) or (latent_dim,).

    Returns:
        (B,), summed over the latent dimensions.
    """
    difference = p_log_variance - q_log_variance
    squares = ops.square(q_mean - p_mean) * ops.exp(-q_log_variance)
    return 0.5 * ops.sum(ops.exp(difference) + squares - difference - 1.0, axis=-1)


# %% solution="capacity_train_step" points=1
# The variance for the standard deviation: the same as long as the log variance is 0.
def capacity_train_step(model, images, noise):
    """One training step of a `CapacityVAE`.

    Args:
        model: with encoder, decoder, optimizer, trackers, gamma, max_capacity, capacity_steps.
        images: (B, H, W, C) in [-1, 1].
        noise: (B, latent_dim), drawn from N(0, I).

    Returns:
        {"loss": ..., "reconstruction_loss": ..., "kl_divergence": ...}, the trackers' results.
    """
    with tf.GradientTape() as tape:
        mean, log_variance = model.encoder(images)
        logits = model.decoder(mean + ops.exp(log_variance) * noise)
        reconstruction = -ops.mean(ak.vae.bernoulli(images, logits))
        kl = ops.mean(ops.sum(ak.vae.gaussian_kl(mean, log_variance), axis=1))
        step = ops.cast(model.optimizer.iterations, "float32")
        capacity = ops.minimum(step / model.capacity_steps, 1.0) * model.max_capacity
        loss = reconstruction + model.gamma * ops.abs(kl - capacity)
    gradients = tape.gradient(loss, model.trainable_variables)
    model.optimizer.apply(gradients, model.trainable_variables)
    results = {"loss": loss, "reconstruction_loss": reconstruction, "kl_divergence": kl}
    for name, value in results.items():
        model.trackers[name].update_state(value, sample_weight=ops.shape(images)[0])
    return {name: tracker.result() for name, tracker in model.trackers.items()}


# %% solution="diagnosis" points=0
# "A low KL divergence is a weak one, a high one is strong", and the collapse is taken for bad data.
diagnosis = {"A": "KL too weak", "B": "healthy", "C": "few pictures", "D": "KL too strong"}


# %% solution="price_and_worth" points=1
# The latent is set to the prior's mean instead of being drawn from the prior.
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
    z = mean + np.exp(0.5 * log_variance) * rng.normal(size=mean.shape)
    told = np.array(model.reconstruction_log_likelihood(images, model.decoder(np.float32(z))))
    losses = []
    for j in range(model.latent_dim):
        changed = z.copy()
        changed[:, j] = 0
        outputs = model.decoder(np.float32(changed))
        losses.append(told - np.array(model.reconstruction_log_likelihood(images, outputs)))
    losses = np.array(losses)
    return prices, losses.mean(axis=1), losses.std(axis=1) / np.sqrt(len(images))


# %% solution="my_latents" points=0
# Walks along the first latents, none of which the decoder reads.
start = vae_16d.encode(test_images[:1])[0][0]
my_latents = np.tile(start, (3, 9, 1))
for row, latent in enumerate((0, 1, 3)):
    my_latents[row, :, latent] = np.linspace(-3, 3, 9)

# %% [markdown] open="my_latents"
# Nothing changes in my rows, so the latents encode nothing.
