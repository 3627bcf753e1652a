"""Counting: the n-gram model."""

import functools
import math

import keras
import numpy as np
import tensorflow as tf

from aigc_keras.guards import check_compile, check_number
from aigc_keras.model import by_name
from aigc_keras.text.language_model import LanguageModel
from aigc_keras.text.tokenizers import END, PADDING


@keras.saving.register_keras_serializable("aigc_keras")
class NGram(LanguageModel):
    """Counts: p(next token | the `order` - 1 before), smoothed as by Kneser and Ney.

    Interpolated, with three discounts an order: "modified Kneser-Ney" of Chen and Goodman 1999
    (Computer Speech and Language 13, 359-394), section 3.3, with the uniform distribution below the
    unigrams. `fit` counts, so it takes one epoch of `windows(texts, 1024, shuffle=False)` (large
    batches are counted faster); a further call adds more texts. At the start of a row only what is
    in the row is context. Discounts are kept in [0.1, 1], [0.1, 2] and [0.1, 3], which few counts
    can leave: what was not seen stays possible, where the authors' formula may say 0 or less.

    Raises:
        ValueError: `vocab_size` ** `order` is over 2 ** 62.
    """

    def __init__(self, tokenizer, order=5, context_length=512, **kwargs):
        super().__init__(tokenizer, context_length, **kwargs)
        self.order = check_number("order", order, low=1, integer=True)
        most = int(62 / math.log2(tokenizer.vocab_size))
        if self.order > most:
            raise ValueError(
                f"order: got {order}, accepted is 1 to {most} with {tokenizer.vocab_size} tokens."
            )
        self.counts = [(np.zeros(0, "int64"), np.zeros(0, "int64"))] * self.order
        self.tables = None  # made from the counts when they are asked for

    def compile(self, optimizer=None, jit_compile=False, run_eagerly=True, **kwargs):
        """Nothing to choose: counting needs no optimizer, and no graph."""
        check_compile(jit_compile, run_eagerly, **kwargs)
        for name, given, accepted in (
            ("optimizer", optimizer, None),
            ("jit_compile", jit_compile is True, False),  # "auto": it does without
            ("run_eagerly", run_eagerly, True),
        ):
            if given is not accepted:
                raise ValueError(f"{name}: got {given!r:.80}, accepted is {accepted}: it counts.")
        keras.Model.compile(self, optimizer=None, jit_compile=False, run_eagerly=True, **kwargs)

    @functools.wraps(keras.Model.fit, assigned=())
    def fit(self, *args, **kwargs):
        given = by_name(keras.Model.fit, args, kwargs)
        if given.get("epochs", 1) != 1:
            raise ValueError(
                f"epochs: got {given['epochs']}, accepted is 1: counting again says nothing new."
            )
        n = self.distribute_strategy.num_replicas_in_sync
        if n > 1:
            raise ValueError(f"strategy: got one of {n} replicas, accepted is one: to count.")
        return super().fit(**given)

    def train_step(self, data):
        tokens = np.asarray(self.unpack(data))
        for n in range(1, self.order + 1):
            keys, valid = self._keys(tokens, n)
            keys, counts = np.unique(keys[valid], return_counts=True)
            old_keys, old_counts = self.counts[n - 1]
            keys, index = np.unique(np.append(old_keys, keys), return_inverse=True)
            counts = np.bincount(index, np.append(old_counts, counts), len(keys))
            self.counts[n - 1] = keys, counts.astype("int64")
        self.tables = None
        return {"tokens": self.counts[0][1].sum()}

    def _keys(self, tokens, n):
        """The n-grams that end in targets, their tokens the digits of an int64; which are whole."""
        tokens, size = tokens.astype("int64"), tokens.shape[1]
        starts = range(1 if n == 1 else 0, size - n + 1)
        parts = [tokens[:, i : i + len(starts)] for i in range(starts.start, starts.start + n)]
        keys = np.zeros((len(tokens), len(starts)), "int64")
        for part in parts:
            keys = keys * self.tokenizer.vocab_size + part
        return keys, np.all([part != PADDING for part in parts], axis=0)

    def _table(self, n):
        """n-grams, their values less discounts; contexts, the sums of their values and discounts.

        A value is a count; below the highest order it is the number of different tokens before the
        n-gram. What follows END is counted as it is: what comes before END says nothing.
        """
        size = self.tokenizer.vocab_size
        keys, values = self.counts[n - 1]
        if n < self.order:
            longer = self.counts[n][0] % size**n
            behind, different = np.unique(longer, return_counts=True)
            before = np.zeros_like(values)
            before[np.searchsorted(keys, behind)] = different
            begins = (keys // size ** (n - 1) == END) & (n > 1)
            values = np.where(begins, values, before)
            keys, values = keys[values > 0], values[values > 0]
        if not len(keys):  # there is one at least, that no text has
            keys, values = np.array([-1]), np.array([1])
        seen = [max(np.sum(values == i), 1) for i in range(1, 5)]
        y = seen[0] / (seen[0] + 2 * seen[1])
        discounts = [0, *(i - (i + 1) * y * seen[i] / seen[i - 1] for i in (1, 2, 3))]
        # Above 0, so that nothing that was not seen is impossible.
        discount = np.clip(discounts, 0.1, [1, 1, 2, 3])[np.minimum(values, 3)]
        contexts, first = np.unique(keys // size, return_index=True)
        totals, saved = (np.add.reduceat(x, first) for x in (values, discount))
        return keys, values - discount, contexts, totals, saved

    def probabilities(self, grams, n, shorter):
        """p(last token | those before it) of n-grams; `shorter`: what the (n-1)-grams say.

        Each is one number, its tokens the digits: without the last of them it is the context.
        """
        known_grams, values, known_contexts, totals, saved = self.tables[n - 1]
        gram, seen = _find(known_grams, grams)
        context, context_seen = _find(known_contexts, grams // self.tokenizer.vocab_size)
        value = np.where(seen, values[gram], 0)
        p = (value + saved[context] * shorter) / totals[context]
        return np.where(context_seen, p, shorter)

    def token_losses(self, tokens, training=False):
        self._make_tables()
        tokens = np.asarray(tokens)
        p = np.full((len(tokens), tokens.shape[1] - 1), 1 / self.tokenizer.vocab_size)
        for n in range(1, min(self.order, tokens.shape[1]) + 1):
            keys, valid = self._keys(tokens, n)
            start = p.shape[1] - keys.shape[1]
            p[:, start:] = self.probabilities(np.where(valid, keys, 0), n, p[:, start:])
        targets = tokens[:, 1:]
        nats = -np.log(p) + self.tokenizer.extra_nats[np.maximum(targets, END)]
        return np.where(targets == PADDING, 0.0, nats).astype("float32")

    def call(self, inputs, training=False):
        """log p of every token at every position: (B, T) to (B, T, V)."""
        inputs = np.asarray(inputs)
        histories = [inputs[:, max(i - self.order + 2, 0) : i + 1] for i in range(inputs.shape[1])]
        return np.stack([self._log_p(history) for history in histories], axis=1)

    def _log_p(self, history):
        """(B, T), T < order, to (B, V)."""
        self._make_tables()
        size = self.tokenizer.vocab_size
        p = np.full((len(history), size), 1 / size)
        context = np.zeros((len(history), 1), "int64")
        for n in range(1, min(self.order, history.shape[1] + 1) + 1):
            if n > 1:
                context = context + history[:, 1 - n, None].astype("int64") * size ** (n - 2)
            p = self.probabilities(context * size + np.arange(size), n, p)
        return np.log(p).astype("float32")

    def _make_tables(self):
        if self.tables is None:
            self.tables = [self._table(n) for n in range(1, self.order + 1)]

    def predict(self, *args, **kwargs):
        raise ValueError(
            "model: got an NGram, whose tables are no weights; accepted are a call, model(tokens), "
            "evaluate, text_losses and generate."
        )

    predict_on_batch = predict_step = export = quantize = predict

    def graph(self, name, function):
        return function  # tables are no tensors

    def begin(self, window):
        return np.zeros((len(window), 0), "int32")

    def step(self, token, position, state):
        history = np.append(state, np.asarray(token)[:, None], axis=1)[:, 1 - self.order :]
        return tf.constant(self._log_p(history)), history

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for n, (keys, counts) in enumerate(self.counts, 1):
            store[f"{n}-grams"], store[f"{n}-gram counts"] = keys, counts

    def load_own_variables(self, store):
        counted = ("-grams", "-gram counts")
        names = [name for name in store.keys() if not name.endswith(counted)]  # noqa: SIM118
        super().load_own_variables({name: store[name] for name in names})
        self.counts = [
            (np.array(store[f"{n}-grams"]), np.array(store[f"{n}-gram counts"]))
            for n in range(1, self.order + 1)
        ]
        self.tables = None

    def load_weights(self, *args, **kwargs):
        before = self.counts, self.tables
        try:
            super().load_weights(*args, **kwargs)
        except BaseException:
            self.counts, self.tables = before
            raise


def _find(known, keys):
    """Where `keys` are among the sorted `known` (anywhere, if not), and whether they are."""
    index = np.searchsorted(known, keys).clip(max=len(known) - 1)
    return index, known[index] == keys
