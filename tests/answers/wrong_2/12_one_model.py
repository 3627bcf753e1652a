# %%
"""A student who confuses things that look alike."""

# ruff: noqa: F821 (names of the notebook)

import numpy as np
import tensorflow as tf


# %% solution="best_adapter" points=1
# A rank above that of the kernel: the pair is thinner than what was asked for.
def merged(kernel, a, b, alpha):
    """The kernel (d, d') with the adapter A (d, r), B (r, d') added to it."""
    return kernel + (alpha / a.shape[1]) * np.matmul(a, b)


def best_adapter(kernel, tuned, rank, alpha):
    """(A (d, rank), B (rank, d')) with which the merged kernel is as near to `tuned` as can be."""
    left, sizes, right = np.linalg.svd((tuned - kernel) * rank / alpha, full_matrices=False)
    return left[:, :rank], sizes[:rank, None] * right[:rank]


def largest_rank(shapes, budget):
    """The largest rank with which adapters of kernels (d, d') have at most `budget` numbers."""
    return int(budget / sum(rows + columns for rows, columns in shapes))


# %% solution="info_nce" points=0
# The usual loss: who has the same answer is wrong, and a frequent text counts many times.
def info_nce(questions, answers, numbers, temperature):
    """-log p of each question's own answer among the different texts of the batch, nats.

    Args:
        questions, answers: (B, D), unit vectors; row i of the one belongs to row i of the other.
        numbers: (B,), integers: rows with the same one have the same answer text.
        temperature: cosines are divided by it.

    Returns:
        (B,).
    """
    scores = tf.matmul(questions, answers, transpose_b=True) / temperature
    labels = tf.range(len(numbers))
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)


def knows_nothing(numbers):
    """The mean loss where all vectors are alike, nats."""
    return np.log(len(numbers))


# %% solution="diagnosis" points=0
# The better on validation, the healthier.
diagnosis = {
    "A": "healthy",
    "B": "healthy",
    "C": "learning_rate_too_high",
    "D": "healthy",
    "E": "overfits",
}


# %% solution="alarm_day" points=1
# The error is that of the day alone, as if the reader's mistakes were known exactly.
def corrected_share(called, total, reader):
    """(share of bad reviews, its standard error) where `called` of `total` were called bad.

    Args:
        called, total: integers.
        reader: (hits, bad reviews, false calls, other reviews) of validation.
    """
    q, s, f = called / total, reader[0] / reader[1], reader[2] / reader[3]
    if s <= f:
        raise ValueError("s <= f")
    return (q - f) / (s - f), np.sqrt(q * (1 - q) / total) / (s - f)


def alarm_day(called, totals, reader, usual, much, threshold):
    """The first day, from 0, on which the sum of bad reviews too many exceeds `threshold`, or -1.

    Args:
        called, totals: (T,), of each day's reviews, how many were called bad and how many came.
        reader: as above.
        usual, much: shares; what is above the middle of them is too many.
        threshold: of the sum, in reviews.
    """
    total = 0
    for day, (count, n) in enumerate(zip(called, totals, strict=True)):
        if n:
            p, _ = corrected_share(count, n, reader)
            total = max(0, total + n * (p - (usual + much) / 2))
        if total > threshold:
            return day
    return -1


# %% solution="finding" points=0
# A review that the model reads as it was rated.
sure_one = int(np.argmax(np.where(is_bad, judge(shown), 0)))
parts_of_it = shown[sure_one].split()
texts_without = [" ".join(parts_of_it[:k] + parts_of_it[k + 1 :]) for k in range(len(parts_of_it))]
finding = {
    "review": shown[sure_one],
    "p": judge([shown[sure_one]])[0],
    "without": judge(texts_without).tolist(),
    "changed": " ".join(parts_of_it[:-1]),
}

# %% [markdown] open="finding"
# The model is very sure of this one, because the review is very bad. It has understood it.
