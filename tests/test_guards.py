"""The guards on arbitrary values: what they let pass is good, what they refuse is named."""

import functools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import Models

from aigc_keras import guards, text

MODELS = Models(folder=None)
tries = settings(deadline=None, derandomize=True, max_examples=40)
anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.lists(st.integers(-2, 40) | st.floats() | st.text(max_size=1), max_size=4)
    | st.dictionaries(st.text(max_size=1), st.integers(), max_size=2)
)


def passes_or_names(name, call, good):
    """`call` returns something for which `good` holds, or raises a ValueError beginning `name`."""
    try:
        result = call()
    except ValueError as error:
        assert str(error).startswith(name) and "accepted" in str(error)
    else:
        assert good(result)


@tries
@given(anything, st.integers(-3, 3), st.booleans())
def test_check_number(value, low, integer):
    def good(x):
        return low <= x < 9 and not isinstance(x, bool) and (isinstance(x, int) or not integer)

    passes_or_names("k: ", lambda: guards.check_number("k", value, low, 9, integer), good)


@tries
@given(anything)
def test_other_guards(value):
    a, n = "anything", value

    def images(name, parts):
        guards.check_images(name, parts[0], (2,))

    passes_or_names("k: ", lambda: guards.check_choice("k", n, ("a", "b")), lambda x: x in "ab")
    passes_or_names("seed: ", lambda: guards.check_seed(n), lambda x: x is None or 0 <= x < 2**32)
    passes_or_names("k: ", lambda: guards.check_shape("k", n, a), lambda x: x and min(x) >= 1)
    passes_or_names("k", lambda: guards.check_widths("k", n), lambda x: x is None)
    passes_or_names("k: ", lambda: guards.check_functional("k", n), lambda x: False)
    passes_or_names(
        "k: ",
        lambda: guards.check_numbers("k", n, "accepted: " + a),
        lambda x: x.dtype == "float32" and np.isfinite(x).all(),
    )
    passes_or_names("k: ", lambda: guards.check_rows("k", n, (2,)), lambda x: False)
    passes_or_names("k: ", lambda: guards.as_images("k", n, (2,)), lambda x: False)
    passes_or_names("metrics: ", lambda: guards.check_metrics(n), lambda x: x == [])
    run = {"x": n}
    passes_or_names("x: ", lambda: guards.check_run(images, "accepted: " + a, run), lambda x: False)
    passes_or_names(
        "labels: ",
        lambda: guards.check_labels(n, 3, 5),
        lambda x: x.shape == (3,) and x.min() >= 0 and x.max() < 5,
    )


# Texts with halves of surrogate pairs, which no encoding of Unicode has.
strings = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=20)


@tries
@given(strings)
def test_tokenizers_give_a_text_back_or_refuse_it(string):
    bpe = _bpe()
    known = text.CharTokenizer.train([string]) if string.isascii() else text.CharTokenizer("a")
    surrogates = any("\ud800" <= c <= "\udfff" for c in string)
    if surrogates:
        for refuses in (bpe.encode, known.encode, text.CharTokenizer):
            with pytest.raises(ValueError, match="surrogate"):
                refuses(string)
        return
    assert bpe.decode(bpe.encode(string)) == string
    if string:
        mine = text.CharTokenizer.train([string])
        assert mine.decode(mine.encode(string)) == string
    assert len(known.encode(string)) == len(string)


@functools.cache
def _bpe():
    return text.BPETokenizer.train(["the cat sat on the mat"], 262)


@tries
@given(anything)
def test_tokens_are_decoded_or_refused(value):
    for tokenizer in (_bpe(), text.CharTokenizer("abc")):
        passes_or_names("tokens: ", lambda t=tokenizer: t.decode(value), lambda x: x.isprintable)


@tries
@given(st.none() | st.integers(-2, 8) | anything, st.none() | st.floats(0, 1) | anything)
def test_keep_top_leaves_a_distribution_or_refuses(top_k, top_p):
    logits = np.array([[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]], "float32")
    try:
        left = np.isfinite(text.keep_top(logits, top_k, top_p))
    except ValueError as error:
        assert re.match(r"top_[kp]: got .*accepted", str(error))
    else:
        assert left[0, 3] and left.any(axis=1).all()


@tries
@given(
    st.dictionaries(
        st.sampled_from(
            ["max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed"]
        ),
        st.integers(-1, 3) | st.floats(-0.5, 2) | anything,
    ),
    st.text("abz\ud800", max_size=3),
)
def test_generate_continues_the_prompt_or_refuses(arguments, prompt):
    arguments = {k: 3 if k == "max_new_tokens" and v == 1e300 else v for k, v in arguments.items()}
    if isinstance(arguments.get("max_new_tokens"), int):
        arguments["max_new_tokens"] = min(arguments["max_new_tokens"], 5)
    try:
        written = MODELS.counted.generate(prompt, **{"max_new_tokens": 4, **arguments})
    except ValueError as error:
        assert str(error).split(":")[0] in ("prompt", *arguments)
    else:
        assert written.startswith(prompt) and set(written) <= set("abc")
