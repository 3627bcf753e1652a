# %%
"""A student who got everything right, by other ways than the model answer."""

# ruff: noqa: F821 (names of the notebook)

import numpy as np
import tensorflow as tf


# %% solution="m2_bound"
def m2_bound(class_bounds, logits, labels):
    """M2's lower bound on log p(x, y) where the label is known, otherwise on log p(x), in nats.

    Args:
        class_bounds: (B, C), a bound on log p(x, y) for each class.
        logits: (B, C), q(y|x) is their softmax.
        labels: (B,), 0 to C - 1, or -1 where it is unknown.

    Returns:
        (B,).
    """
    # What all classes together are worth, less what the guess is wrong by.
    log_q = tf.nn.log_softmax(logits)
    log_posterior = tf.nn.log_softmax(class_bounds)
    kl = tf.reduce_sum(tf.nn.softmax(logits) * (log_q - log_posterior), axis=1)
    known = tf.gather(class_bounds, tf.maximum(labels, 0), axis=1, batch_dims=1)
    return tf.where(labels == -1, tf.reduce_logsumexp(class_bounds, axis=1) - kl, known)


def best_logits(class_bounds):
    """Logits (B, C) that make the bound of pictures without labels as large as possible."""
    return tf.nn.log_softmax(class_bounds)


# %% solution="shifted"
def shifted(images, rows, columns, fill):
    """Each picture moved down by its number of `rows` and right by its number of `columns`.

    Args:
        images: (B, H, W, C), float32.
        rows, columns: (B,), int32, also negative.
        fill: the number that comes in.

    Returns:
        (B, H, W, C).
    """
    # Products with a matrix of zeros and ones for each picture; a row of zeros is where nothing comes from.
    _, height, width, _ = images.shape
    down = tf.one_hot(tf.range(height) - rows[:, tf.newaxis], height)
    right = tf.one_hot(tf.range(width) - columns[:, tf.newaxis], width)
    return fill + tf.einsum("bij,bkl,bjlc->bikc", down, right, images - fill)


# %% solution="diagnosis"
diagnosis = dict.fromkeys("ABCD", "")
diagnosis["D"] = "learns by heart"  # unseen boots are fakes to it
diagnosis["C"] = "leaks"  # upside down to the end, at p = 1
diagnosis["A"] = "reversed rule"  # more and more of it, for a discriminator that only guesses
diagnosis["B"] = "healthy"


# %% solution="split_by_character"
def split_by_character(characters, seed):
    """Rows for training and for testing, so that no character stands on both sides.

    Args:
        characters: a list of n texts, the character of each picture.
        seed: an integer.

    Returns:
        (train_rows, test_rows): together 0 to n - 1, test as near to a tenth as k allows.
    """
    import random

    names = sorted(set(characters))
    random.Random(seed).shuffle(names)
    wanted, count = len(characters) / 10, characters.count(names[0])
    testing = {names[0]}
    for name in names[1:]:
        more = characters.count(name)
        if abs(count + more - wanted) >= abs(count - wanted):
            break
        testing.add(name)
        count += more
    rows = range(len(characters))
    return (
        np.array([i for i in rows if characters[i] not in testing]),
        np.array([i for i in rows if characters[i] in testing]),
    )


# %% solution="my_augmentation"
def my_augmentation(images, numbers):
    """Changed pictures (B, 28, 28, 1) in [-1, 1]; `numbers` (B, 4) in [0, 1) say how."""
    # A light from the side: one edge of the garment is darker by up to two thirds.
    strength = 0.66 * numbers[:, 0]
    ramp = tf.where(numbers[:, 1:2] < 0.5, tf.linspace(0.0, 1.0, 28), tf.linspace(1.0, 0.0, 28))
    shade = 1.0 - strength[:, None, None, None] * ramp[:, None, :, None]
    return (images + 1.0) * shade - 1.0


lit = my_augmentation(test_images[:500], np.full((500, 4), 0.99, "float32"))
for view in (test_images[:500], lit):
    _, says = garments.extract(np.asarray(view))
    print(np.mean(says.argmax(axis=1) == test_labels[:500]))

# %% [markdown] open="my_augmentation"
# A garment in a light from the left or from the right is the same garment: nothing of its outline is lost, only one side
# gets darker. If it leaks, drawn garments have a shaded side (as in the columns on the right of my picture).
#
# I computed how many of 500 test pictures are recognised, as they are and with the strongest shade; the two numbers are printed above and can be
# compared with the library's cutout, which hides the garment.
#
# The light comes from the left as often as from the right, and there is always some. A generator that draws shaded garments is
# seen with more shade than the real ones, at most two shades on one picture, and that can be told: a drawn picture with a shade of s would be seen
# darker than any real one. So it should not leak. I would use it with probability 0.8 and measure the mean of the left half minus that of
# the right half on drawn and on test pictures.
