"""Sampling (采样): logits (B, V), then rules, then a choice of a token each.

A rule is called as rule(logits, written) and gives logits; what must not be has -inf. A choice is
called as choice(logits, log_p, written, seed), where log_p is what the model itself thinks of what
the rules have left. It gives a token for each row, (B,), and twice None or, where rows go on from
others, from which, and with which log p: (B,) each.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.guards import check_number
from aigc_keras.text.tokenizers import END


def bounded(number):
    """`number` > 0 in [1e-20, 1e10], where float32 can divide by it; beyond, limits are reached."""
    return min(max(number, 1e-20), 1e10)


def keep_top(logits, top_k=None, top_p=None):
    """Logits (B, V) of the distribution that is drawn from; what is cut off has -inf.

    Args:
        top_k: keep the k largest (Fan et al. 2018, arXiv:1805.04833).
        top_p: then keep the fewest largest that together have probability >= top_p (Holtzman et al.
            2020, arXiv:1904.09751); 1 keeps all. Of equal logits all are kept or none.
    """
    check_top(top_k, top_p)
    if top_k is None and top_p is None:
        return logits
    ordered = ops.sort(logits, axis=-1)  # the smallest first
    smallest, size = ordered[..., :1], ordered.shape[-1]
    if top_k is not None:
        top_k = ops.minimum(top_k, size) if tf.is_tensor(top_k) else min(top_k, size)
        smallest = ops.take(ordered, [size - top_k], axis=-1)
        ordered = ops.where(ordered < smallest, -math.inf, ordered)
    if top_p is not None:
        # Of each and all smaller ones: float32, or a sum from the largest down, would lose the
        # smallest of many tokens.
        together = ops.cumsum(ops.softmax(ops.cast(ordered, "float64")), axis=-1)
        rest = 1 - (tf.cast(top_p, "float64") if tf.is_tensor(top_p) else float(top_p))
        left = (together > rest) | (rest == 0)
        smallest = ops.min(ops.where(left, ordered, ordered[..., -1:]), axis=-1, keepdims=True)
    return ops.where(logits < smallest, -math.inf, logits)


def check_top(top_k, top_p):
    """A ValueError unless they are None, or an integer >= 1 and a number in (0, 1]."""
    # In a graph there is nothing to look at.
    if top_k is not None and not tf.is_tensor(top_k):
        check_number("top_k", top_k, low=1, integer=True)
    if top_p is None or tf.is_tensor(top_p):
        return
    if not 0 < check_number("top_p", top_p, low=0) <= 1:
        raise ValueError(f"top_p: got {top_p}, accepted is a number in (0, 1].")


class Written(NamedTuple):
    """What is written so far: all that rules and choices may look at.

    Fields:
        tokens: int32 (B, T). Those up to `position` are there.
        position: what a rule is asked for is the token at `position` + 1.
        lengths: (B,): so many tokens of a row were given, END before the text included.
        seen: bool (B, V): the tokens of a row, without that END.
        finished: bool (B,).
        scores: float64 (B,): log p of what is new.
    """

    tokens: Any
    position: Any
    lengths: Any
    seen: Any
    finished: Any
    scores: Any


def rows_of(n):
    """How many rows are written where `n` are asked for: a power of two.

    XLA compiles for each number anew; rows that are finished fill it up.
    """
    return 2 ** (n - 1).bit_length()


# --- rules; numbers may be tensors, so that others need no other graph ---


class Never(NamedTuple):
    """This token is not written."""

    token: int

    def __call__(self, logits, written):
        return tf.where(tf.range(logits.shape[-1]) != self.token, logits, -math.inf)


class Usual(NamedTuple):
    """The settings of `generate`, in the order in which they act; None does nothing."""

    repetition_penalty: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def __call__(self, logits, written):
        if self.repetition_penalty is not None:
            # Dividing would make a token with a negative logit likelier.
            lower, higher = logits / self.repetition_penalty, logits * self.repetition_penalty
            logits = ops.where(written.seen, ops.where(logits > 0, lower, higher), logits)
        if self.temperature is not None:
            logits = logits / self.temperature
        return keep_top(logits, self.top_k, self.top_p)


def usual_rule(temperature=1.0, top_k=None, top_p=None, repetition_penalty=1.0):
    """`Usual` with these settings of `generate`; refuses bad ones."""
    check_number("temperature", temperature, low=0)
    check_number("repetition_penalty", repetition_penalty, low=1)
    check_top(top_k, top_p)
    penalty = None
    if repetition_penalty != 1:
        penalty = tf.constant(bounded(repetition_penalty), "float32")
    if temperature == 0:  # takes the likeliest, whatever else is kept
        return Usual(penalty)
    few = None if top_k is None else tf.constant(min(top_k, 2**31 - 1), "int32")
    share = None if top_p in (None, 1) else tf.constant(bounded(top_p), "float64")
    return Usual(penalty, tf.constant(bounded(temperature), "float32"), few, share)


# --- choices ---


def likeliest(logits, log_p, written, seed):
    """The likeliest token (贪心)."""
    return ops.cast(ops.argmax(logits, axis=-1), "int32"), None, None


def drawn(logits, log_p, written, seed):
    """A token from the softmax of `logits`; `seed` is two integers.

    argmax(logits + Gumbel noise) has exactly that distribution (Gumbel 1954; Maddison et al. 2014).
    """
    tiny = np.finfo("float32").tiny
    uniform = tf.random.stateless_uniform(tf.shape(logits), seed, minval=tiny, alg="philox")
    return likeliest(logits - ops.log(-ops.log(uniform)), log_p, written, seed)


class Beams(NamedTuple):
    """Beam search (Lowerre 1976): of the `rows` of a prompt the best `n` beginnings, then texts.

    Texts that have ended are sorted by log p / (1 + tokens) ** `length_penalty`. The search is over
    when `n` have ended and the best beginning, if it ended now, would be behind them: without a
    penalty nothing better can come, for log p only falls; with one it hardly does.
    """

    n: int
    length_penalty: float = 0.0

    @property
    def rows(self):
        return rows_of(2 * self.n)

    def __call__(self, logits, log_p, written, seed):
        # The best of a prompt are among the best of its rows; END, the first token, stands apart.
        size = min(self.n, log_p.shape[-1] - 1)
        gained, tokens = tf.math.top_k(log_p[:, END + 1 :], size)
        scores = written.scores[:, None] + tf.cast(gained, "float64")
        scores = tf.where(written.finished[:, None], -math.inf, scores)
        ended = written.scores + tf.cast(log_p[:, END], "float64")
        ended = tf.where(written.finished, written.scores, ended)
        best_scores, best = tf.math.top_k(tf.reshape(scores, [-1, self.rows * size]), self.n)
        tokens = tf.reshape(tokens + END + 1, [-1, self.rows * size])
        tokens = tf.gather(tokens, best, batch_dims=1)
        ranks = tf.reshape(self.ranks(ended, written), [-1, self.rows])
        kept, others = tf.math.top_k(ranks, self.rows - self.n)
        of_best = tf.gather(self.tokens(written), best[:, 0] // size + self.first_rows(best))
        over = kept[:, self.n - 1] >= best_scores[:, 0] / (1.0 + of_best) ** self.length_penalty
        best_scores = tf.where(over[:, None], -math.inf, best_scores)
        tokens = tf.where(over[:, None], END, tokens)
        tokens = tf.concat([tokens, tf.fill(tf.shape(others), END)], 1)
        ended = tf.gather(tf.reshape(ended, [-1, self.rows]), others, batch_dims=1)
        parents = tf.concat([best // size, others], 1)
        parents = parents + self.first_rows(best)[:, None]
        found = tokens, parents, tf.concat([best_scores, ended], 1)
        return tuple(tf.reshape(x, [-1]) for x in found)

    def first_rows(self, best):
        """Which of all rows is the first of each prompt."""
        return self.rows * tf.range(tf.shape(best)[0])

    def sorted(self, texts, written):
        """Of each prompt the best `n` of `texts`, as a list of (text, log p of what is new)."""
        scores = np.array(written.scores)
        ranks = np.reshape(self.ranks(written.scores, written), (-1, self.rows))
        best = np.argsort(-ranks, axis=1, kind="stable")[:, : self.n]
        best = best + self.rows * np.arange(len(best))[:, None]
        found = [[(texts[i], float(scores[i])) for i in row] for row in best]
        return [[(text, score) for text, score in row if np.isfinite(score)] for row in found]

    def ranks(self, scores, written):
        """What beams that have ended, or now end, are sorted by: (B,)."""
        return scores / self.tokens(written) ** self.length_penalty

    def tokens(self, written):
        """How many are new in each row, (B,), float64, with the END after them."""
        new = tf.math.count_nonzero(written.tokens != END, axis=1, dtype="float64")
        return new + 2.0 - tf.cast(written.lengths, "float64")  # the END before, and the one after
