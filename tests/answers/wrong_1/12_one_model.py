# %%
"""A student who pleases the visible tests, more or less."""

# ruff: noqa: F821 (names of the notebook)

import numpy as np
from keras import ops


# %% solution="best_adapter" points=1
# Forgets that alpha / rank comes on top: right only where the two are equal.
def merged(kernel, a, b, alpha):
    """The kernel (d, d') with the adapter A (d, r), B (r, d') added to it."""
    return kernel + alpha / a.shape[1] * a @ b


def best_adapter(kernel, tuned, rank, alpha):
    """(A (d, rank), B (rank, d')) with which the merged kernel is as near to `tuned` as can be."""
    left, sizes, right = np.linalg.svd(tuned - kernel, full_matrices=False)
    return left[:, :rank] * sizes[:rank], right[:rank]


def largest_rank(shapes, budget):
    """The largest rank with which adapters of kernels (d, d') have at most `budget` numbers."""
    return budget // np.sum(shapes)


# %% solution="info_nce" points=1
# e to the score, which float32 cannot hold at a low temperature.
def info_nce(questions, answers, numbers, temperature):
    """-log p of each question's own answer among the different texts of the batch, nats.

    Args:
        questions, answers: (B, D), unit vectors; row i of the one belongs to row i of the other.
        numbers: (B,), integers: rows with the same one have the same answer text.
        temperature: cosines are divided by it.

    Returns:
        (B,).
    """
    same = ops.cast(numbers[:, None] == numbers, "float32")
    e = ops.exp(ops.matmul(questions, ops.transpose(answers)) / temperature)
    own = ops.diagonal(e)
    return -ops.log(own / (own + ops.sum((1 - same) * e / ops.sum(same, axis=0), axis=1)))


def knows_nothing(numbers):
    """The mean loss where all vectors are alike, nats."""
    return np.log(len(np.unique(numbers)))


# %% solution="diagnosis" points=3
# Two curves that fall together: does not ask why they are the same.
diagnosis = {
    "A": "healthy",
    "B": "forgets",
    "C": "overfits",
    "D": "label_leaks",
    "E": "healthy",
}


# %% solution="alarm_day" points=1
# A share below 0 cannot be, and is cut off: on quiet days too many are bad on average.
def corrected_share(called, total, reader):
    """(share of bad reviews, its standard error) where `called` of `total` were called bad.

    Args:
        called, total: integers.
        reader: (hits, bad reviews, false calls, other reviews) of validation.
    """
    q, s, f = called / total, reader[0] / reader[1], reader[2] / reader[3]
    if s <= f:
        raise ValueError("s <= f")
    p = np.clip((q - f) / (s - f), 0, 1)
    parts = (q * (1 - q) / total, p**2 * s * (1 - s) / reader[1])
    return p, np.sqrt(sum(parts) + (1 - p) ** 2 * f * (1 - f) / reader[3]) / (s - f)


def alarm_day(called, totals, reader, usual, much, threshold):
    """The first day, from 0, on which the sum of bad reviews too many exceeds `threshold`, or -1.

    Args:
        called, totals: (T,), of each day's reviews, how many were called bad and how many came.
        reader: as above.
        usual, much: shares; what is above the middle of them is too many.
        threshold: of the sum, in reviews.
    """
    total = 0
    for day in range(len(called)):
        if totals[day] > 0:
            p, _ = corrected_share(called[day], totals[day], reader)
            total = max(0, total + totals[day] * (p - (usual + much) / 2))
        if total > threshold:
            return day
    return -1


# %% solution="finding" points=0
# "without" holds differences in place of probabilities.
review_of_mine = "Really pretty, but runs at least a full size small."
words_of_mine = review_of_mine.split()
p_of_mine = judge([review_of_mine])[0]
finding = {
    "review": review_of_mine,
    "p": p_of_mine,
    "without": [
        p_of_mine - judge([" ".join(words_of_mine[:k] + words_of_mine[k + 1 :])])[0]
        for k in range(len(words_of_mine))
    ],
    "changed": "Really pretty, and runs a full size small.",
}

# %% [markdown] open="finding"
# The word "but" makes the review bad. The model does not understand what a reader understands.
