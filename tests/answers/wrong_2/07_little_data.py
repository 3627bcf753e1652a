# %%
"""A student who confuses things that look alike."""

import keras
import numpy as np
from keras import ops


# %% solution="m2_bound" points=1
# Class 0 is taken for unknown.
def m2_bound(class_bounds, logits, labels):
    """M2's lower bound on log p(x, y) where the label is known, otherwise on log p(x), in nats.

    Args:
        class_bounds: (B, C), a bound on log p(x, y) for each class.
        logits: (B, C), q(y|x) is their softmax.
        labels: (B,), 0 to C - 1, or -1 where it is unknown.

    Returns:
        (B,).
    """
    log_q = ops.log_softmax(logits)
    guessed = ops.sum(ops.exp(log_q) * (class_bounds - log_q), axis=1)
    known = ops.sum(ops.one_hot(labels, class_bounds.shape[1]) * class_bounds, axis=1)
    return ops.where(labels > 0, known, guessed)


def best_logits(class_bounds):
    """Logits (B, C) that make the bound of pictures without labels as large as possible."""
    # The class of the largest bound, for sure.
    return 100.0 * ops.one_hot(ops.argmax(class_bounds, axis=1), class_bounds.shape[1])


# %% solution="shifted" points=0
# Rolled, so that what leaves comes back on the other side; and by NumPy.
def shifted(images, rows, columns, fill):
    """Each picture moved down by its number of `rows` and right by its number of `columns`.

    Args:
        images: (B, H, W, C), float32.
        rows, columns: (B,), int32, also negative.
        fill: the number that comes in.

    Returns:
        (B, H, W, C).
    """
    pairs = zip(np.array(images), np.array(rows), np.array(columns), strict=True)
    return np.stack([np.roll(image, (row, column), axis=(0, 1)) for image, row, column in pairs])


# %% solution="diagnosis" points=0
# Takes equal curves for a discriminator that does nothing, and a rule at rest for a wrong one.
diagnosis = {
    "A": "learns by heart",
    "B": "reversed rule",
    "C": "idle discriminator",
    "D": "learns by heart",
}


# %% solution="split_by_character" points=1
# Characters are added until there are enough pictures, also if the last one is far too many.
def split_by_character(characters, seed):
    """Rows for training and for testing, so that no character stands on both sides.

    Args:
        characters: a list of n texts, the character of each picture.
        seed: an integer.

    Returns:
        (train_rows, test_rows): together 0 to n - 1, test as near to a tenth as k allows.
    """
    testing = []
    for name in np.random.default_rng(seed).permutation(np.unique(characters)):
        if np.isin(characters, testing).sum() >= len(characters) / 10:
            break
        testing.append(name)
    is_test = np.isin(characters, testing)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


# %% solution="my_augmentation" points=0
# Noise of its own, in place of the numbers that are given.
def my_augmentation(images, numbers):
    """Changed pictures (B, 28, 28, 1) in [-1, 1]; `numbers` (B, 4) in [0, 1) say how."""
    return ops.tanh(ops.arctanh(0.99 * images) + keras.random.normal(images.shape))


# %% [markdown] open="my_augmentation"
# Noise makes every model more robust, and it cannot leak because the network takes it away again.
