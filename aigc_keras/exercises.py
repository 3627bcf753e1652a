"""Tests of the problem sets: they say what came, what was meant, and give a hint."""

import sys

import numpy as np


def expect(what, got, wanted, hint, rtol=1e-4, atol=1e-5):
    """Nothing, if `got` has the shape and, within rtol and atol, the values of `wanted`.

    Raises:
        AssertionError: it names `what`, says what came and what was meant, and ends with the hint.
    """
    wanted = np.asarray(wanted, "float64")
    if got is None:
        raise _wrong(what, "nothing came (None). Is there a `return`?", hint)
    try:
        values = _numbers(got).astype("float64")
    except (TypeError, ValueError):
        raise _wrong(what, f"{got!r:.80} came, numbers were meant.", hint) from None
    if values.shape != wanted.shape:
        raise _wrong(what, f"shape {values.shape} came, {wanted.shape} was meant.", hint)
    differs = ~np.isclose(values, wanted, rtol, atol)
    if differs.any():
        at = tuple(np.argwhere(differs)[0].tolist())
        place = f" at {list(at)}" if at else ""
        raise _wrong(what, f"{values[at]:.6g} came{place}, {wanted[at]:.6g} was meant.", hint)


def expect_one_of(what, got, accepted):
    """Nothing, if `got` is one of the accepted answers.

    Raises:
        AssertionError: it says what came and lists what is accepted.
    """
    if not any(_is_text(got, text) for text in accepted):
        raise _wrong(what, f"{got!r} came.", f"accepted are {', '.join(map(repr, accepted))}.")


def wrong_names(what, got, truth):
    """The keys of the dict `truth` under which the dict `got` has another text, or none.

    Raises:
        AssertionError: `got` is no dict.
    """
    if type(got) is not dict:
        raise _wrong(what, f"{got!r:.80} came.", "a dict was meant.")
    return [key for key, text in truth.items() if not _is_text(got.get(key), text)]


# Only what a library made is converted and compared: an answer of a type of its own could read in
# the caller's frame what is wanted, or be equal to everything.


def _is_text(got, text):
    return type(got) in (str, np.str_) and str(got) == text


def _numbers(got):
    """A fresh array of a library's numbers, or of lists and tuples of them."""
    kind = type(got)
    if kind in (list, tuple):
        return np.array([_numbers(part) for part in got])
    known = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind
    if kind.__module__ == "__main__" or not known:
        raise TypeError(f"numbers of type {kind.__name__}")
    values = np.array(got)
    if values.dtype != object:
        return values
    return _numbers(got.tolist()) if kind is np.ndarray else np.array(float(got))


def _wrong(what, said, hint):
    return AssertionError(f"{what}: {said}\nHint: {hint}")
