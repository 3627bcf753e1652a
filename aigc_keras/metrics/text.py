"""Numbers for texts: perplexity, bits per character, copied runs, BLEU, chrF and ROUGE."""

import math
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import ops

from aigc_keras.guards import check_choice, check_number, check_numbers, check_seed, extra


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


@dataclass(frozen=True)
class TextScore:
    """A score of texts against references, from 0 to 100, its standard error, how it was counted.

    `samples`: the score of each draw of documents; of one seed and the same documents the draws are
    the same, so that `difference` pairs them.
    """

    name: str
    value: float
    error: float
    signature: str
    samples: np.ndarray = field(repr=False)

    def __str__(self):
        return f"{self.name} {self.value:.1f} ± {self.error:.1f}"

    def difference(self, other):
        """(self - other, standard error): of two scores of one kind on the same references."""
        if self.signature != other.signature or self.samples.shape != other.samples.shape:
            raise ValueError(
                f"other: got a score by {other.signature!r} of {len(other.samples)} draws, "
                f"accepted is one by {self.signature!r} of {len(self.samples)}."
            )
        return self.value - other.value, float(np.std(self.samples - other.samples, ddof=1))


def bleu(texts, references, documents=None, n_draws=300, seed=0):
    """BLEU (Papineni et al. 2002) of N texts against a reference each, by sacrebleu: `TextScore`.

    The geometric mean of the shares of runs of one to four words that the reference has, each
    counted at most as often as there; less if the texts together are shorter than the references.

    Args:
        texts, references: lists of str.
        documents: for each text the number or name of its document; by default each is one. The
            error comes from drawing as many documents again, with replacement (bootstrap).
        n_draws, seed: how often, and by which random numbers.

    Raises:
        ValueError: not one reference for each text, no text, or something else than texts.
    """
    return _by_sacrebleu("BLEU", texts, references, documents, n_draws, seed)


def chrf(texts, references, documents=None, n_draws=300, seed=0):
    """chrF (Popović 2015): runs of one to six characters, recall twice as heavy; as `bleu`."""
    return _by_sacrebleu("CHRF", texts, references, documents, n_draws, seed)


def rouge(texts, references, kind="rougeL", documents=None, n_draws=300, seed=0):
    """ROUGE (Lin 2004), the mean F-measure of stemmed words, by rouge-score; as `bleu`.

    Args:
        kind: "rouge1" (words), "rouge2" (pairs of words) or "rougeL" (longest common subsequence).
    """
    check_choice("kind", kind, ("rouge1", "rouge2", "rougeL"))
    _check_pairs(texts, references)
    with extra("text"):
        from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], use_stemmer=True)
    shares = [
        scorer.score(reference, text)[kind].fmeasure
        for text, reference in zip(texts, references, strict=True)
    ]
    counts = np.stack([shares, np.ones(len(shares))], axis=1)

    def score(sums):
        return 100 * sums[0] / sums[1]

    name, signature = kind.replace("rouge", "ROUGE-"), f"{kind}, stemmed words, F-measure"
    return _bootstrapped(name, counts, score, signature, documents, n_draws, seed)


def _by_sacrebleu(kind, texts, references, documents, n_draws, seed):
    _check_pairs(texts, references)
    with extra("text"):
        from sacrebleu import metrics

    # `force`: no advice is printed on texts that look as if they were cut into words.
    metric = metrics.BLEU(force=True) if kind == "BLEU" else metrics.CHRF()
    # Its own bootstrap knows no documents; these two are what it is made of.
    counts = np.array(metric._extract_corpus_statistics(texts, [references]))

    def score(sums):
        return metric._compute_score_from_stats(sums.tolist()).score

    name = kind.replace("CHR", "chr")
    signature = f"{name}|{metric.get_signature()}"
    return _bootstrapped(name, counts, score, signature, documents, n_draws, seed)


def _check_pairs(texts, references):
    for name, strings in (("texts", texts), ("references", references)):
        if not isinstance(strings, list | tuple) or not all(isinstance(x, str) for x in strings):
            raise ValueError(f"{name}: got {strings!r:.80}, accepted is a list of strings.")
    if not texts or len(texts) != len(references):
        raise ValueError(
            f"references: got {len(references)}, accepted is one for each of the {len(texts)} "
            "texts, at least one."
        )


def _bootstrapped(name, counts, score, signature, documents, n_draws, seed):
    """A `TextScore` of what each text counts, (N, K), by `score` of their sum, (K,)."""
    n_draws = check_number("n_draws", n_draws, low=2, integer=True)
    check_seed(seed)
    documents = range(len(counts)) if documents is None else documents
    if len(documents) != len(counts):
        raise ValueError(f"documents: got {len(documents)}, accepted are {len(counts)}.")
    _, which = np.unique(np.asarray(documents), return_inverse=True)
    sums = np.zeros((which.max() + 1, counts.shape[1]), counts.dtype)
    np.add.at(sums, which, counts)
    chosen = np.random.default_rng(seed).integers(len(sums), size=(n_draws, len(sums)))
    samples = np.array([score(sums[rows].sum(axis=0)) for rows in chosen])
    value, error = score(counts.sum(axis=0)), samples.std(ddof=1)
    return TextScore(name, float(value), float(error), signature, samples)
