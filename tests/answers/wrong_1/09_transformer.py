# %%
"""A student who pleases the visible tests, more or less."""

# ruff: noqa: F821 (names of the notebook)

import numpy as np
from keras import ops


# %% solution="smoothed_loss" points=1
# The logarithm of the softmax, which is 0 for a sure model.
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
    right = ops.one_hot(ops.maximum(targets, 0), size)
    q = right * (1 - smoothing) + (1 - right) * smoothing / (size - 1)
    kl = ops.sum(q * ops.log(q / ops.softmax(logits)), axis=-1)
    counted = ops.cast(targets != -1, "float32")
    return ops.sum(kl * counted) / ops.maximum(ops.sum(counted), 1.0)


def best_gap(smoothing, vocab_size):
    """How far the right token's logit is above the others' where nothing is left to learn."""
    return np.log((1 - smoothing) / smoothing * (vocab_size - 1))


# %% solution="wait_masks" points=1
# Counts positions in place of tokens: padding before a text delays it.
def wait_masks(sources, targets, wait):
    """Where the decoder may look: in the target, bool (B, T, T), and in the source, (B, T, S)."""
    i, j, k = (np.arange(n) for n in (targets.shape[1], targets.shape[1], sources.shape[1]))
    text = targets != -1
    own = (j < i[:, None]) & text[:, :, None] & text[:, None] | (j == i[:, None])
    cross = (k < i[:, None] + wait) & (sources != -1)[:, None]
    return own, cross | (sources == -1).all(axis=1)[:, None, None]


# %% solution="diagnosis" points=3
# A healthy curve, right translations: does not look at the second bar.
diagnosis = {
    "A": "no_positions",
    "B": "one_batch",
    "C": "healthy",
    "D": "healthy",
    "E": "targets_not_shifted",
}


# %% solution="bleu_difference" points=1
# The two systems are drawn apart, as if they had translated other texts.
def corpus_bleu(counts):
    """BLEU, 0 to 100, of N texts together from their counts (N, 10)."""
    sums = np.sum(counts, axis=0)
    if min(sums[2:6]) == 0:
        return 0.0
    return 100 * min(1, np.exp(1 - sums[1] / sums[0])) * np.prod(sums[2:6] / sums[6:]) ** 0.25


def bleu_difference(counts, others, chapters):
    """(BLEU of `counts` - BLEU of `others`, standard error over chapters), two floats."""
    rng, names = np.random.default_rng(0), np.unique(chapters)

    def variance(rows):
        of = [rows[chapters == name] for name in names]
        draws = [
            corpus_bleu(np.concatenate([of[i] for i in rng.integers(0, len(of), len(of))]))
            for _ in range(300)
        ]
        return np.var(draws)

    error = np.sqrt(variance(counts) + variance(others))
    return corpus_bleu(counts) - corpus_bleu(others), error


# %% solution="finding" points=0
# Counts English words from 0, so that "says" is one too small.
verse_of_mine = next(i for i, text in enumerate(english) if "his wife Eve, because" in text)
map_of_mine = alignment.align(english[verse_of_mine], spanish[verse_of_mine])
row_of_mine = words(spanish[verse_of_mine]).index("vivientes")
finding = {
    "pair": [english[verse_of_mine], spanish[verse_of_mine]],
    "row": row_of_mine,
    "says": map_of_mine[row_of_mine, 1:].argmax(),
    "should": [words(english[verse_of_mine]).index("living")],
    "map": map_of_mine,
}

# %% [markdown] open="finding"
# "vivientes" comes from Eve in the map, but it means living. The model has too little data.
