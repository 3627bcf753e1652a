"""Tests of the problem sets: they say what came, what was meant, and give a hint."""

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
        values = np.asarray(got).astype("float64")
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
    if not isinstance(got, str) or got not in accepted:
        raise _wrong(what, f"{got!r} came.", f"accepted are {', '.join(map(repr, accepted))}.")


def _wrong(what, said, hint):
    return AssertionError(f"{what}: {said}\nHint: {hint}")
