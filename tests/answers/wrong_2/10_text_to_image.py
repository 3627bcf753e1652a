# %%
"""A student who confuses things that look alike."""

# ruff: noqa: F821 (names of the notebook)

import numpy as np
import tensorflow as tf


# %% solution="guided_noise" points=0
# Guidance on top of the prompt, as if scale 0 were the prompt.
def guided_noise(x, signal, noise, wanted, negative, scale):
    """The noise that guidance predicts in x = signal * data + noise * epsilon.

    Args:
        x: (N,) or (N, D).
        wanted, negative: (mean, deviation) of the data with the prompt, and with the negative one.
        scale: 0: as the negative prompt says; 1: as the prompt says.
    """

    def prediction(mean, deviation):
        return noise * (x - signal * mean) / (signal**2 * deviation**2 + noise**2)

    to, away = prediction(*wanted), prediction(*negative)
    return to + scale * (to - away)


def sharpened(wanted, negative, scale):
    """(mean, deviation) of the density proportional to p_wanted^scale p_negative^(1 - scale)."""
    mean = negative[0] + scale * (wanted[0] - negative[0])
    return mean, negative[1] + scale * (wanted[1] - negative[1])


def drawn_deviation(wanted, negative, scale):
    """The deviation of what a sampler with many small steps draws."""
    return negative[1] + scale * (wanted[1] - negative[1])


# %% solution="gradients_in_pieces" points=1
# The other pieces are held still as wrong answers, but their own gradient is forgotten.
def gradients_in_pieces(model, images, tokens, size):
    """(loss, gradients) of a whole batch of pairs, of which an encoder gets `size` at a time."""
    parts = [slice(k, k + size) for k in range(0, len(images), size)]
    u = tf.concat([model.embed_images(images[part]) for part in parts], axis=0)
    v = tf.concat([model.embed_tokens(tokens[part]) for part in parts], axis=0)
    same = tf.reduce_all(tokens[:, None] == tokens, axis=-1)
    loss = tf.reduce_mean(model.contrastive_loss(u, v, same))
    total = None
    for part in parts:
        with tf.GradientTape() as tape:
            x, y = model.embed_images(images[part]), model.embed_tokens(tokens[part])
            own = tf.concat([u[: part.start], x, u[part.stop :]], axis=0)
            texts = tf.concat([v[: part.start], y, v[part.stop :]], axis=0)
            mine = tf.reduce_sum(model.contrastive_loss(own, texts, same)[part]) / len(images)
        slopes = [tf.convert_to_tensor(x) for x in tape.gradient(mine, model.trainable_variables)]
        total = slopes if total is None else [a + b for a, b in zip(total, slopes, strict=True)]
    return loss, total


# %% solution="diagnosis" points=0
# The higher the bars, the healthier.
diagnosis = {
    "A": "healthy",
    "B": "colour_follows_shape",
    "C": "captions_shuffled",
    "D": "guidance_too_strong",
    "E": "healthy",
}


# %% solution="best_of" points=0
# Draws with replacement: as if one picture could come twice.
def best_of(scores, shows, n):
    """(share of captions shown by the best of n pictures, its standard error).

    Args:
        scores: (C, m), of whoever chooses; higher is better.
        shows: (C, m), 1 where the picture shows what was said, else 0; or shares.
        n: so many pictures are drawn, one of them is chosen.
    """
    c, m = scores.shape
    ranks = np.arange(1, m + 1)
    weights = (ranks / m) ** n - ((ranks - 1) / m) ** n
    hits = np.take_along_axis(shows, scores.argsort(axis=1), axis=1) * weights
    share = hits.sum(axis=1).mean()
    return share, np.sqrt(share * (1 - share) / (c * m))


def needed(chances, share):
    """The smallest number of pictures of which one shows what was said, for `share` of captions."""
    return int(np.ceil(np.log(1 - share) / np.log(1 - np.mean(chances))))


# %% solution="finding" points=0
# A picture that is read rightly.
sure_one = int(np.flatnonzero((read(encoders, held_images) == held_said).any(axis=1))[-1])
for k in range(len(held_images)):
    if (read(encoders, held_images[[k]])[0] == held_said[k]).all():
        sure_one = k
finding = {
    "picture": sure_one,
    "read": tuple(held_said[sure_one].tolist()),
    "margin": 0.0,
    "covered": np.ones((8, 8)),
}

# %% [markdown] open="finding"
# The picture is read well, because the model has learned what the words mean.
