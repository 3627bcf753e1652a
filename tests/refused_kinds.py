"""Kinds of bad values, and how a row of the table of refusals is written."""

import math

import keras
import numpy as np
from small_models import IMAGES, PICTURE, POINTS, SHAPE

nan, inf = math.nan, math.inf
IDS = np.zeros((2, 5), int)
DIGITS = np.zeros((4, *SHAPE), "float32")
CODES = np.zeros((2, 2, 2), int)  # of two pictures, each of three
REAL = np.random.default_rng(0).normal(size=(8, 2))
FAKE = REAL + 1


class Of:
    """A bad value that is made of the models `m` when it is needed.

    named: what the message may begin with, "a|b", if it is not the argument's own name.
    """

    def __init__(self, make, named=None):
        self.make, self.named = make, named


def row(called, good=None, **refused):
    """What is called, its good arguments by name, and what it refuses: argument -> values."""
    return called, good or {}, refused


def headless():
    return keras.Sequential([keras.layers.Dense(2)])


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, i):
        return POINTS


class PointsAndNone(Endless):
    num_batches = 2

    def __getitem__(self, i):
        return POINTS, None


class Halved(keras.callbacks.LearningRateScheduler):
    """A callback of one's own is a callback of its kind."""


# --- kinds of bad values ---

NO_NUMBER = ("x", None, True, nan)
COUNT = (*NO_NUMBER, 0, -1, 2.5, "3")  # for an integer >= 1
SIZE = (*COUNT, 1)  # for an integer >= 2
FINITE = (*NO_NUMBER, inf)
WEIGHT = (*FINITE, -1, "1")  # for a number >= 0
ABOVE = (*WEIGHT, 0)  # for a number > 0
RATE = (*WEIGHT, 1.5)  # for a number in [0, 1)
SEED = ("a", -3, 1.5, True, nan, 2**40, [1])  # for None or an integer that fits
CHOICE = (None, "other", ["x"])
FLAG = ("no", None)
SHAPES = (None, 8, "8", (), (0, 8, 1), (-8, 8, 1), (8.0, 8, 1), (8, 8, True), (None, None, 1))
VECTORS = (None, 8, "ring", (), (0,), (-2,), (2.5,), (True,))
WIDTHS = (5, "64", (0,), (2.5,), (8.0,))
NETWORK = ("dcgan", headless())  # for a network, or None
CLASSES = (0, -1, True, "10", 2.5)  # for an integer >= 1, or None
CLASS_OF_TWO = ("ab", [[0], [1, 2]], True, [], nan, 2**70, [0, 3])  # labels of three classes
ARRAY = (None, "a", [[1, 2], [3]])
PIXELS = (*ARRAY, IMAGES * nan, np.full((2, 8, 8, 1), inf), IMAGES[:0], IMAGES.astype(bool))
PAINTED = (*ARRAY, PICTURE * nan, PICTURE.astype(bool))
LATENTS = (*ARRAY, np.full((2, 3), nan), np.full((2, 3), inf), np.zeros((2, 3), complex))
FEATURES = (*ARRAY, REAL.astype(complex), REAL > 0)
TEXT = (None, 5, ["a"])
STRING = (*TEXT, b"ab", "a\ud800")
TEXTS = ("abc", [], None, ["a", 5], ["a", None], [b"a"])
TOKENS = ([-5], [9999], None, "ab", [1.5], 3, [[1, 2]])
OPTIMIZER = ("adm", "", 5, keras.optimizers.Adam)
NAME = (None, [], 5)
