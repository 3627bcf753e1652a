"""Numbers for texts: perplexity, bits per character, copied runs."""

import math

import keras
from keras import ops

from aigc_keras.guards import check_number, check_numbers


class _Ratio(keras.metrics.Metric):
    """Nats over something that is counted, both added up over the batches."""

    def __init__(self, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.nats = self.add_variable(shape=(), initializer="zeros", name="nats")
        self.count = self.add_variable(shape=(), initializer="zeros", name="count")

    def update_state(self, nats, count, sample_weight=None):
        self.nats.assign_add(nats)
        self.count.assign_add(ops.cast(count, self.dtype))

    def mean(self):
        return self.nats / ops.maximum(self.count, 1.0)


@keras.saving.register_keras_serializable("aigc_keras")
class Perplexity(_Ratio):
    """exp(nats a token): as unsure as an even choice among so many. Depends on the tokeniser.

    `update_state(nats, count)`: the sum of -log p over `count` tokens.
    """

    def result(self):
        return ops.exp(self.mean())


@keras.saving.register_keras_serializable("aigc_keras")
class BitsPerCharacter(_Ratio):
    """Bits to write a character with: comparable between tokenisers.

    `update_state(nats, count)`: the sum of -log p over tokens that are `count` characters.
    """

    def result(self):
        return self.mean() / math.log(2)


def bits_per_character(nats, characters):
    """(bits per character, standard error) from the nats and characters of N >= 2 texts, (N,) each.

    The error is that of a ratio whose texts were drawn at random (Cochran 1977, eq. 2.46).
    """
    accepted = "accepted are numbers (N,)"
    # The first of any sign: a difference of models has an error too.
    nats = check_numbers("nats", nats, accepted, "float64")
    characters = check_numbers("characters", characters, accepted, "float64")
    if characters.min(initial=0) < 0:
        raise ValueError(f"characters: got {characters.min()}, {accepted}, none below 0.")
    if nats.shape != characters.shape or nats.ndim != 1 or len(nats) < 2:
        raise ValueError(
            f"nats, characters: got shapes {nats.shape} and {characters.shape}, accepted is (N,) "
            "twice, with N >= 2."
        )
    if characters.sum() == 0:
        raise ValueError("characters: got a sum of 0, accepted is at least one character.")
    bits = nats.sum() / characters.sum() / math.log(2)
    residuals = nats / math.log(2) - bits * characters
    error = residuals.std(ddof=1) / (math.sqrt(len(nats)) * characters.mean())
    return float(bits), float(error)


def ngram_overlap(texts, reference, n):
    """Share of the runs of `n` items in `texts` that `reference` has too: is it copied?

    Args:
        texts, reference: lists of sequences: strings (items are characters) or lists of words.
        n: length of a run, >= 1.

    Raises:
        ValueError: no text is as long as `n`.
    """
    n = check_number("n", n, low=1, integer=True)
    for name, sequences in (("texts", texts), ("reference", reference)):
        good = isinstance(sequences, tuple | list)
        if not good or not all(isinstance(x, str | tuple | list) for x in sequences):
            raise ValueError(
                f"{name}: got {sequences!r:.80}, accepted is a list of strings or of lists."
            )

    def runs(sequences):
        return (tuple(text[i : i + n]) for text in sequences for i in range(len(text) - n + 1))

    wanted = list(runs(texts))
    if not wanted:
        raise ValueError(
            f"texts: none of the {len(texts)} has {n} items, accepted is at least one."
        )
    # Only what is asked for is remembered: a whole corpus would take gigabytes.
    found = set(wanted).intersection(runs(reference))
    return sum(run in found for run in wanted) / len(wanted)
