"""Sampling (采样): from logits (B, V) to a token each."""

import math

import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.guards import check_number


def bounded(number):
    """`number` > 0 in [1e-20, 1e10], where float32 can divide by it; beyond, limits are reached."""
    return min(max(number, 1e-20), 1e10)


def penalize_repetition(logits, seen, repetition_penalty):
    """Make tokens `seen` (B, V), bool, less likely: after Keskar et al. 2019, arXiv:1909.05858.

    A positive logit is divided by `repetition_penalty` >= 1 (section 4.1). A negative one is
    multiplied by it: dividing would make it likelier.
    """
    if not tf.is_tensor(repetition_penalty):
        repetition_penalty = bounded(check_number("repetition_penalty", repetition_penalty, low=1))
    lower = ops.where(logits > 0, logits / repetition_penalty, logits * repetition_penalty)
    return ops.where(seen, lower, logits)


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


def draw(logits, seed):
    """One token each, int32 (B,), from the softmax of `logits`; `seed` is two integers.

    argmax(logits + Gumbel noise) has exactly that distribution (Gumbel 1954; Maddison et al. 2014).
    """
    tiny = np.finfo("float32").tiny
    uniform = tf.random.stateless_uniform(tf.shape(logits), seed, minval=tiny, alg="philox")
    return ops.cast(ops.argmax(logits - ops.log(-ops.log(uniform)), axis=-1), "int32")
