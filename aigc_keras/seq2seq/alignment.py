"""Counting words that stand across from each other: IBM model 1."""

import re

import numpy as np

from aigc_keras.guards import check_number
from aigc_keras.text.tokenizers import check_text, check_texts

NULL = ""  # the source word of those that come from none


def words(text):
    """The words of a text in small letters; a mark is a word too."""
    return re.findall(r"\w+|[^\w\s]", check_text("text", text).lower())


class WordAlignment:
    """p(target word | source word): IBM model 1 (Brown et al. 1993, section 4.2), by EM.

    Each target word comes from one word of the source, any of them alike, or from none. `fit`
    learns from which, and `translate` writes word for word: the baseline of translation.
    """

    def fit(self, sources, targets, epochs=5):
        """Learn from pairs of texts: the log-likelihood of a target word, nats, before each epoch.

        Raises:
            ValueError: not as many targets as sources, or no words.
        """
        check_texts(sources)
        check_texts(targets)
        epochs = check_number("epochs", epochs, low=1, integer=True)
        if len(sources) != len(targets):
            raise ValueError(f"targets: got {len(targets)} texts, accepted are {len(sources)}.")
        pairs = [([NULL, *words(s)], words(t)) for s, t in zip(sources, targets, strict=True)]
        self.source_words = sorted(set().union(*(s for s, _ in pairs)))
        self.target_words = sorted(set().union(*(t for _, t in pairs)))
        if not self.target_words:
            raise ValueError("targets: got no words, accepted is at least one.")
        self._sources = {word: i for i, word in enumerate(self.source_words)}
        self._targets = {word: i for i, word in enumerate(self.target_words)}
        keys, sizes = [], []  # each target word with each word across: one number
        for source, target in pairs:
            rows = np.array([self._sources[word] for word in source], "int64")
            columns = np.array([self._targets[word] for word in target], "int64")
            keys.append((rows * len(self.target_words) + columns[:, None]).ravel())
            sizes += [len(source)] * len(target)
        self._keys, which = np.unique(np.concatenate(keys), return_inverse=True)
        owner, rows = np.repeat(np.arange(len(sizes)), sizes), self._keys // len(self.target_words)
        p, history = np.full(len(self._keys), 1 / len(self.target_words)), []
        for _ in range(epochs):
            likelihood = np.bincount(owner, p[which])
            history.append(float(np.mean(np.log(likelihood / sizes))))
            counts = np.bincount(which, p[which] / likelihood[owner])
            p = counts / np.bincount(rows, counts)[rows]
        self._p = p
        return history

    def probability(self, source_word, target_word):
        """p(target word | source word); 0 where they never stood across from each other."""
        row, column = self._sources.get(source_word), self._targets.get(target_word)
        if row is None or column is None:
            return 0.0
        key = row * len(self.target_words) + column
        at = np.searchsorted(self._keys, key)
        return float(self._p[at]) if at < len(self._keys) and self._keys[at] == key else 0.0

    def translations(self, word, n=5):
        """The likeliest translations of a word, as [(word, p)], the best first; [] if unknown."""
        check_number("n", n, low=1, integer=True)
        row = self._sources.get(check_text("word", word).lower())
        if row is None:
            return []
        size = len(self.target_words)
        start, stop = np.searchsorted(self._keys, [row * size, (row + 1) * size])
        best = start + np.argsort(-self._p[start:stop], kind="stable")[:n]
        return [(self.target_words[self._keys[i] % size], float(self._p[i])) for i in best]

    def translate(self, text):
        """Each word's likeliest translation, in the order of the source; unknown words stay."""
        found = [(word, self.translations(word, 1)) for word in words(text)]
        return " ".join(best[0][0] if best else word for word, best in found)

    def align(self, source, target):
        """From which word of the source each word of the target is: p, (T, 1 + S); 0: none.

        A target word that was never seen with any of them has a row of zeros.
        """
        source, target = [NULL, *words(source)], words(target)
        p = np.array([[self.probability(s, t) for s in source] for t in target])
        p = p.reshape(len(target), len(source))
        totals = p.sum(axis=1, keepdims=True)
        return np.divide(p, totals, out=np.zeros_like(p), where=totals > 0)
