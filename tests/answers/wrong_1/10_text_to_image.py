# %%
"""A student who pleases the visible tests, more or less."""

# ruff: noqa: F821 (names of the notebook)

import numpy as np
import tensorflow as tf


# %% solution="guided_noise" points=1
# What is drawn is taken for the sharpened density.
def guided_noise(x, signal, noise, wanted, negative, scale):
    """The noise that guidance predicts in x = signal * data + noise * epsilon.

    Args:
        x: (N,) or (N, D).
        wanted, negative: (mean, deviation) of the data with the prompt, and with the negative one.
        scale: 0: as the negative prompt says; 1: as the prompt says.
    """
    found = []
    for mean, deviation in (negative, wanted):
        variance = (signal * deviation) ** 2 + noise**2
        found.append(noise * (x - signal * mean) / variance)
    return found[0] + scale * (found[1] - found[0])


def sharpened(wanted, negative, scale):
    """(mean, deviation) of the density proportional to p_wanted^scale p_negative^(1 - scale)."""
    a, b = scale / wanted[1] ** 2, (1 - scale) / negative[1] ** 2
    if np.any(a + b <= 0):
        raise ValueError("no density")
    return (a * wanted[0] + b * negative[0]) / (a + b), 1 / np.sqrt(a + b)


def drawn_deviation(wanted, negative, scale):
    """The deviation of what a sampler with many small steps draws."""
    return sharpened(wanted, negative, scale)[1]


# %% solution="gradients_in_pieces" points=1
# The mean of the pieces' own gradients: right only for one piece.
def gradients_in_pieces(model, images, tokens, size):
    """(loss, gradients) of a whole batch of pairs, of which an encoder gets `size` at a time."""
    n, losses, total = len(images), 0.0, None
    for k in range(0, n, size):
        part = tokens[k : k + size]
        with tf.GradientTape() as tape:
            vectors = model.embed_images(images[k : k + size]), model.embed_tokens(part)
            same = tf.reduce_all(part[:, None] == part, axis=-1)
            loss = tf.reduce_sum(model.contrastive_loss(*vectors, same)) / n
        slopes = [tf.convert_to_tensor(x) for x in tape.gradient(loss, model.trainable_variables)]
        total = slopes if total is None else [a + b for a, b in zip(total, slopes, strict=True)]
        losses += loss
    return losses, total


# %% solution="diagnosis" points=3
# What the judge says is believed: does not look at the drawings.
diagnosis = {
    "A": "combinations_leak",
    "B": "word_cut_off",
    "C": "healthy",
    "D": "captions_shuffled",
    "E": "combinations_leak",
}


# %% solution="best_of" points=1
# Equal scores: the last one wins. And counts up to what is needed, with the mean chance.
def best_of(scores, shows, n):
    """(share of captions shown by the best of n pictures, its standard error).

    Args:
        scores: (C, m), of whoever chooses; higher is better.
        shows: (C, m), 1 where the picture shows what was said, else 0; or shares.
        n: so many pictures are drawn, one of them is chosen.
    """
    m = scores.shape[1]
    weights = np.array([math.comb(k, n - 1) / math.comb(m, n) for k in range(m)])
    ordered = np.take_along_axis(shows, np.argsort(scores, axis=1, kind="stable"), axis=1)
    means = ordered @ weights
    return means.mean(), means.std(ddof=1) / np.sqrt(len(means))


def needed(chances, share):
    """The smallest number of pictures of which one shows what was said, for `share` of captions."""
    for n in range(1, 10_000):
        if 1 - (1 - np.mean(chances)) ** n >= share:
            return n
    return -1


# %% solution="finding" points=0
# Covers with black.
mine = int(np.flatnonzero(~right.all(axis=1))[0])
taken_for_mine = read(encoders, held_images[[mine]])[0].tolist()
margins_of_mine = []
for k in range(65):
    black_square = held_images[mine].copy()
    if k:
        i, j = (k - 1) // 8, (k - 1) % 8
        black_square[4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = -1
    found_there = cosines(encoders, black_square[None])[0]
    margins_of_mine.append(found_there[tuple(held_said[mine])] - found_there[tuple(taken_for_mine)])
finding = {
    "picture": mine,
    "read": tuple(taken_for_mine),
    "margin": margins_of_mine[0],
    "covered": np.array(margins_of_mine[1:]).reshape(8, 8),
}

# %% [markdown] open="finding"
# The tone is wrong. The model does not see what a person sees.
