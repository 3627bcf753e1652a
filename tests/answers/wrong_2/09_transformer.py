# %%
"""A student who confuses things that look alike."""

# ruff: noqa: F821 (names of the notebook)

import numpy as np
import tensorflow as tf


# %% solution="smoothed_loss" points=1
# A mean for each row, then the mean of the rows: a token of a short text weighs more.
def smoothed_loss(logits, targets, smoothing):
    """Mean KL divergence, nats, from what is asked to the softmax of `logits`.

    Args:
        logits: (B, T, V).
        targets: (B, T), 0 to V - 1, or -1: padding, which does not count.
        smoothing: the share of what is asked that goes to the other V - 1 tokens.

    Returns:
        A scalar.
    """
    size = logits.shape[-1]
    q = tf.one_hot(tf.maximum(targets, 0), size, 1.0 - smoothing, smoothing / (size - 1))
    kl = tf.reduce_sum(tf.math.xlogy(q, q) - q * tf.nn.log_softmax(logits), axis=-1)
    counted = tf.cast(targets >= 0, "float32")
    of_rows = tf.reduce_sum(kl * counted, axis=1)
    return tf.reduce_mean(tf.math.divide_no_nan(of_rows, tf.reduce_sum(counted, axis=1)))


def best_gap(smoothing, vocab_size):
    """How far the right token's logit is above the others' where nothing is left to learn."""
    return np.log((1 - smoothing) * (vocab_size - 1) / smoothing)


# %% solution="wait_masks" points=0
# Waits for one token more than it was told.
def wait_masks(sources, targets, wait):
    """Where the decoder may look: in the target, bool (B, T, T), and in the source, (B, T, S)."""
    read, written = sources != -1, targets != -1
    length = targets.shape[1]
    own = np.tri(length, k=-1, dtype=bool) & written[:, :, None] & written[:, None]
    before = np.cumsum(written, axis=1) - written
    cross = read[:, None] & (np.cumsum(read, axis=1)[:, None] <= before[:, :, None] + wait + 1)
    return own | np.eye(length, dtype=bool), cross | ~read.any(axis=1)[:, None, None]


# %% solution="diagnosis" points=0
# The lower the loss, the healthier; whatever is not translated was not looked at.
diagnosis = {
    "A": "ignores_source",
    "B": "ignores_source",
    "C": "healthy",
    "D": "healthy",
    "E": "healthy",
}


# %% solution="bleu_difference" points=1
# Draws texts in place of chapters, as if those of one chapter had nothing in common.
def corpus_bleu(counts):
    """BLEU, 0 to 100, of N texts together from their counts (N, 10)."""
    sums = np.sum(counts, axis=0)
    if min(sums[2:6]) == 0:
        return 0.0
    return 100 * min(1, np.exp(1 - sums[1] / sums[0])) * np.prod(sums[2:6] / sums[6:]) ** 0.25


def bleu_difference(counts, others, chapters):
    """(BLEU of `counts` - BLEU of `others`, standard error over chapters), two floats."""
    rng, draws = np.random.default_rng(0), []
    for _ in range(400):
        drawn = rng.integers(0, len(counts), len(counts))
        draws.append(corpus_bleu(counts[drawn]) - corpus_bleu(others[drawn]))
    return corpus_bleu(counts) - corpus_bleu(others), np.std(draws)


# %% solution="finding" points=0
# A word that the model aligns as a reader would.
first = [english[0], spanish[0]]
looks_of_first = alignment.align(*first)
at = words(first[1]).index("cielos")
column = int(looks_of_first[at].argmax())
finding = {"pair": first, "row": at, "says": column, "should": [column], "map": looks_of_first}

# %% [markdown] open="finding"
# "cielos" are the heavens. The model has found it, because it has understood the verse.
