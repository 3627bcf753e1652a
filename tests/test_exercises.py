"""The tests of the problem sets tell right from wrong and say what came and what was meant."""

import math
import sys
from fractions import Fraction
from pathlib import Path

import classroom
import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras.exercises import expect, expect_one_of, wrong_names

EXERCISES = Path(__file__).parents[1] / "notebooks" / "exercises" / "source"


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


class Equal(str):
    """A text that equals everything."""

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


class Peeps:
    """An answer that looks up in the caller's frame what is wanted."""

    def __array__(self, dtype=None, copy=None):
        return sys._getframe(2).f_locals.get("wanted", np.zeros(2))

    def __float__(self):
        return 1.0


holding_peeps = np.empty(2, object)
holding_peeps.fill(Peeps())


class PeepingArray(np.ndarray):
    def __array__(self, dtype=None, copy=None):
        return np.ones(2)


Peeps.__module__ = PeepingArray.__module__ = "__main__"


@pytest.mark.parametrize(
    "got",
    [
        Peeps(),
        [Peeps(), Peeps()],
        holding_peeps,
        np.zeros(2).view(PeepingArray),
        type("Forged", (Peeps,), {"__module__": "numpy"})(),
    ],
)
def test_expect_asks_no_object_of_the_students_own_for_its_numbers(got):
    with pytest.raises(AssertionError, match="came, numbers were meant"):
        expect("f", got, [1.0, 1.0], "hint")


def test_expect_takes_nested_sequences_of_numbers_of_different_kinds():
    expect("f", [(1, np.float32(2)), [tf.constant(3.0), True]], [[1, 2], [3, 1]], "hint")
    expect("f", np.array([1, 2.5], object), [1, 2.5], "hint")
    expect("f", [], [], "hint")
    expect("f", [10**30, Fraction(1, 2)], [1e30, 0.5], "hint")


def test_a_text_that_equals_everything_is_no_answer():
    with pytest.raises(AssertionError, match=r"'x' came\.\nHint: accepted are 'healthy'"):
        expect_one_of("A", Equal("x"), ("healthy",))
    assert wrong_names("names", {"A": Equal("x"), "B": np.str_("b")}, {"A": "a", "B": "b"}) == ["A"]


def test_wrong_names_are_the_keys_with_another_text_or_none():
    truth = {"A": "a", "B": "b", "C": "c"}
    assert wrong_names("names", dict(truth), truth) == []
    assert wrong_names("names", {"A": "b", "B": "b", "D": "d"}, truth) == ["A", "C"]
    with pytest.raises(AssertionError, match=r"names: None came\.\nHint: a dict was meant\."):
        wrong_names("names", None, truth)


SLIPS = [  # a set, a task, and what a student might have written in the model's place
    ("03_style_transfer", "crop_worth", "length - side + 1", "length - side"),
    ("03_style_transfer", "crop_worth", "length - side + 1", "max(length - side, 1)"),
    ("03_style_transfer", "crop_worth", "std(ddof=1)", "std()"),
    ("04_diffusion", "SpreadDiffusion", "times >= 0.5", "times > 0.5"),
    ("10_text_to_image", "guided_noise", "signal**2 * deviation**2", "deviation**2"),
    ("10_text_to_image", "guided_noise", " * negative[1] ** (1 - scale)", ""),
    ("10_text_to_image", "gradients_in_pieces", "tokens[:, None] == tokens", "tokens[:, None] < 0"),
    ("10_text_to_image", "best_of", "weights[end - k : end].mean()", "weights[end - 1]"),
    ("10_text_to_image", "best_of", ", ddof=1", ""),
    ("10_text_to_image", "best_of", ">= share", "> share"),
    ("12_one_model", "best_adapter", " * rank / alpha", ""),
    ("12_one_model", "info_nce", "scores - log_counts", "scores"),
    ("12_one_model", "alarm_day", "total > threshold", "total >= threshold"),
    ("12_one_model", "alarm_day", "(1 - p) ** 2", "p**2"),
]


@pytest.mark.parametrize(("name", "task", "right", "slip"), SLIPS)
def test_a_slip_against_the_text_of_a_task_is_noticed(name, task, right, slip):
    notebook = classroom.read_source(EXERCISES / f"{name}.py")
    sources = {}
    for cell in notebook.cells:
        sources.setdefault(classroom.grade_id(cell), cell.source)
    names = {"np": np, "tf": tf, "keras": keras, "layers": keras.layers, "ops": keras.ops}
    names["math"] = math
    base = next((text for text in sources.values() if text.startswith("class PointDiffusion")), "")
    exec(base if name.startswith("04") else "", names)
    solution, tests = sources[f"{task}-solution"], sources[f"{task}-hidden_tests"]
    exec(solution, names)
    exec(tests, names)
    assert right in solution
    exec(solution.replace(right, slip), names)
    with pytest.raises((AssertionError, ValueError), match=r"was meant|high <= 0"):
        exec(tests, names)
