# %%
"""A student who got everything right, by other ways than the model answer."""

# ruff: noqa: F821 (names of the notebook)

import numpy as np
import tensorflow as tf


# %% solution="best_adapter"
def merged(kernel, a, b, alpha):
    """The kernel (d, d') with the adapter A (d, r), B (r, d') added to it."""
    rank = len(b)
    return kernel + np.einsum("ir,rj->ij", a, b) * (alpha / rank)


def best_adapter(kernel, tuned, rank, alpha):
    """(A (d, rank), B (rank, d')) with which the merged kernel is as near to `tuned` as can be."""
    # The change, projected on the directions in which it is largest.
    change = np.asarray(tuned) - kernel
    _, directions = np.linalg.eigh(change @ change.T)  # the largest come last
    a = directions[:, ::-1][:, :rank]
    b = a.T @ change
    missing = rank - a.shape[1]
    b = np.concatenate([b, np.zeros((missing, b.shape[1]))]) * (rank / alpha)
    return np.hstack([a, np.zeros((len(a), missing))]), b


def largest_rank(shapes, budget):
    """The largest rank with which adapters of kernels (d, d') have at most `budget` numbers."""
    return int(np.floor(budget / np.sum(shapes)))


# %% solution="info_nce"
def info_nce(questions, answers, numbers, temperature):
    """-log p of each question's own answer among the different texts of the batch, nats.

    Args:
        questions, answers: (B, D), unit vectors; row i of the one belongs to row i of the other.
        numbers: (B,), integers: rows with the same one have the same answer text.
        temperature: cosines are divided by it.

    Returns:
        (B,).
    """
    # A sum of e to the differences from the own score, each with its weight; shifted by the largest.
    _, which, counts = tf.unique_with_counts(numbers)
    weights = 1.0 / tf.cast(tf.gather(counts, which), "float32")
    other = tf.cast(which[:, None] != which[None], "float32")
    cosines = tf.einsum("id,jd->ij", questions, answers)
    gaps = (cosines - tf.linalg.diag_part(cosines)[:, None]) / temperature
    gaps = tf.where(other > 0, gaps, 0.0)  # 0 is that of its own
    largest = tf.stop_gradient(tf.reduce_max(gaps, axis=1))
    wrong = tf.reduce_sum(other * weights * tf.exp(gaps - largest[:, None]), axis=1)
    return largest + tf.math.log(tf.exp(-largest) + wrong)


def knows_nothing(numbers):
    """The mean loss where all vectors are alike, nats."""
    return np.log(len(set(numbers.tolist())))


# %% solution="diagnosis"
diagnosis = dict.fromkeys("ABCDE", "")
diagnosis["D"] = "label_leaks"  # reads digits
diagnosis["B"] = "forgets"  # the third bar
diagnosis["C"] = "overfits"  # the two curves part
diagnosis["A"] = "validation_in_training"  # the two curves are one
diagnosis["E"] = "healthy"


# %% solution="alarm_day"
def rates(reader):
    """How many of the bad ones it finds, how many of the others it calls bad."""
    found, false = reader[0] / reader[1], reader[2] / reader[3]
    if not found > false:
        raise ValueError("reader: tells nothing apart")
    return found, false


def corrected_share(called, total, reader):
    """(share of bad reviews, its standard error) where `called` of `total` were called bad.

    Args:
        called, total: integers.
        reader: (hits, bad reviews, false calls, other reviews) of validation.
    """
    rates(reader)
    shares = np.array([called / total, reader[0] / reader[1], reader[2] / reader[3]])
    variances = shares * (1 - shares) / [total, reader[1], reader[3]]

    def p(x):
        return (x[0] - x[2]) / (x[1] - x[2])

    # The derivatives, as differences.
    steps = 1e-6 * np.eye(3)
    slopes = np.array([(p(shares + step) - p(shares - step)) / 2e-6 for step in steps])
    return p(shares), float(np.sqrt(slopes**2 @ variances))


def alarm_day(called, totals, reader, usual, much, threshold):
    """The first day, from 0, on which the sum of bad reviews too many exceeds `threshold`, or -1.

    Args:
        called, totals: (T,), of each day's reviews, how many were called bad and how many came.
        reader: as above.
        usual, much: shares; what is above the middle of them is too many.
        threshold: of the sum, in reviews.
    """
    found, false = rates(reader)
    called, totals = np.asarray(called, float), np.asarray(totals, float)
    too_many = (called - totals * false) / (found - false) - totals * (usual + much) / 2
    since_start = np.cumsum(too_many)
    lowest = np.minimum.accumulate(np.minimum(since_start, 0))
    days = np.flatnonzero(since_start - lowest > threshold)
    return days[0] if days.size else -1


# %% solution="finding"
def without(review):
    """The review once for each of its words, which is left out."""
    parts = review.split()
    return [" ".join(x for i, x in enumerate(parts) if i != k) for k in range(len(parts))]


# Of those read wrongly the least sure one; out go the words that pull most.
p_shown = judge(shown)
least_sure = np.where((p_shown > 0.5) != is_bad, abs(p_shown - 0.5), 1).argmin()
mine = changed_mine = shown[least_sure]
bad_mine = bool(is_bad[least_sure])
for _ in range(3):
    if (judge([changed_mine])[0] > 0.5) != bad_mine:
        shorter = without(changed_mine)
        p_shorter = judge(shorter)
        changed_mine = shorter[p_shorter.argmax() if bad_mine else p_shorter.argmin()]
finding = {
    "review": mine,
    "p": float(p_shown[least_sure]),
    "without": judge(without(mine)),
    "changed": changed_mine,
}

# %% [markdown] open="finding"
# My review is one of which the model is hardly sure: p is near a half, so that any word turns it. The picture shows several words that pull, in both
# directions, and none that stands out. I do not think that a single word has misled it, but that it stands near the border.
#
# I would give it more labels. If this review were then still read wrongly, with a p that is far from a half, I was wrong.
