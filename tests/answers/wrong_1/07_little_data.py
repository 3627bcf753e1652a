# %%
"""A student who pleases the visible tests, more or less."""

import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="m2_bound" points=1
# The logarithm of q, which is 0 for a sure classifier: 0 times minus infinity is no number.
def m2_bound(class_bounds, logits, labels):
    """M2's lower bound on log p(x, y) where the label is known, otherwise on log p(x), in nats.

    Args:
        class_bounds: (B, C), a bound on log p(x, y) for each class.
        logits: (B, C), q(y|x) is their softmax.
        labels: (B,), 0 to C - 1, or -1 where it is unknown.

    Returns:
        (B,).
    """
    q = ops.softmax(logits)
    guessed = ops.sum(q * class_bounds - q * ops.log(q), axis=1)
    known = ops.sum(ops.one_hot(labels, class_bounds.shape[1]) * class_bounds, axis=1)
    return ops.where(labels < 0, guessed, known)


def best_logits(class_bounds):
    """Logits (B, C) that make the bound of pictures without labels as large as possible."""
    return class_bounds


# %% solution="shifted" points=1
# What comes in is 0, whatever was asked for.
def shifted(images, rows, columns, fill):
    """Each picture moved down by its number of `rows` and right by its number of `columns`.

    Args:
        images: (B, H, W, C), float32.
        rows, columns: (B,), int32, also negative.
        fill: the number that comes in.

    Returns:
        (B, H, W, C).
    """
    down = tf.one_hot(tf.range(images.shape[1]) - rows[:, None], images.shape[1])
    right = tf.one_hot(tf.range(images.shape[2]) - columns[:, None], images.shape[2])
    return tf.einsum("bij,bkl,bjlc->bikc", down, right, images)


# %% solution="diagnosis" points=3
# "p = 1 leaks", although the boots of run A stand upright and nobody asked for so large a p.
diagnosis = {"A": "leaks", "B": "healthy", "C": "leaks", "D": "learns by heart"}


# %% solution="split_by_character" points=1
# A tenth of the characters instead of a tenth of the pictures.
def split_by_character(characters, seed):
    """Rows for training and for testing, so that no character stands on both sides.

    Args:
        characters: a list of n texts, the character of each picture.
        seed: an integer.

    Returns:
        (train_rows, test_rows): together 0 to n - 1, test as near to a tenth as k allows.
    """
    names = np.unique(characters)
    testing = np.random.default_rng(seed).permutation(names)[: max(1, len(names) // 10)]
    is_test = np.isin(characters, testing)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


# %% solution="my_augmentation" points=0
# NumPy, through which no gradient passes.
def my_augmentation(images, numbers):
    """Changed pictures (B, 28, 28, 1) in [-1, 1]; `numbers` (B, 4) in [0, 1) say how."""
    turned = np.array(images)
    for i in range(len(turned)):
        turned[i] = np.flipud(turned[i]) if numbers[i, 0] < 0.5 else turned[i]
    return turned


# %% [markdown] open="my_augmentation"
# I turn the pictures upside down. The GAN will have twice as many pictures, so it will be better.
