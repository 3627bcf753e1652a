"""The tests of the problem sets tell right from wrong and say what came and what was meant."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras.exercises import expect, expect_one_of


@pytest.mark.parametrize(
    "make", [np.asarray, list, tf.constant, keras.ops.convert_to_tensor, tf.Variable]
)
def test_expect_takes_numbers_of_every_kind(make):
    expect("f", make([1.0, 2.0]), [1, 2], "hint")


def test_expect_takes_truth_values_and_scalars():
    expect("mask", tf.constant([[True, False]]), np.array([[1, 0]], bool), "hint")
    expect("loss", tf.constant(2.0), 2, "hint")


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (None, "nothing came"),
        ("words", "'words' came, numbers were meant"),
        ([[1], [1, 2]], "came, numbers were meant"),
        ([1.0, 2.0, 3.0], r"shape \(3,\) came, \(2,\) was meant"),
        ([1.0, 2.5], r"2\.5 came at \[1\], 2 was meant"),
        ([1.0, np.nan], r"nan came at \[1\], 2 was meant"),
        ([1.0, np.inf], r"inf came at \[1\], 2 was meant"),
    ],
)
def test_expect_says_what_came_and_what_was_meant_and_gives_the_hint(got, said):
    with pytest.raises(AssertionError, match=f"^kl: .*{said}.*\nHint: sum, not mean$"):
        expect("kl", got, [1.0, 2.0], "sum, not mean")


def test_expect_allows_what_the_tolerances_allow():
    expect("f", 1.05, 1.0, "hint", rtol=0, atol=0.06)
    with pytest.raises(AssertionError, match=r"1\.05 came, 1 was meant"):
        expect("f", 1.05, 1.0, "hint", rtol=0, atol=0.04)


@pytest.mark.parametrize("got", ["", "Healthy", None, ["healthy"]])
def test_expect_one_of_lists_what_is_accepted(got):
    expect_one_of("A", "healthy", ("healthy", "collapsed"))
    with pytest.raises(AssertionError, match=r"came\.\nHint: accepted are 'healthy', 'collapsed'"):
        expect_one_of("A", got, ("healthy", "collapsed"))
