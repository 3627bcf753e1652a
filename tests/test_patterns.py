"""`aigc_keras.patterns`: pictures of any size, the same for the same seed, each in its palette."""

import numpy as np
import pytest

from aigc_keras import patterns

NAMES = ["strokes", "mosaic", "ink_wash", "waves"]


def halved(image):
    return image.reshape(len(image) // 2, 2, -1, 2, 3).mean((1, 3))


def test_names():
    assert list(patterns.NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_shape_range_and_determinism(name):
    image = patterns.draw(name, 96, seed=3)
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.float32
    assert image.min() >= -1
    assert image.max() <= 1
    np.testing.assert_array_equal(image, patterns.draw(name, 96, seed=3))
    assert np.abs(image - patterns.draw(name, 96, seed=4)).mean() > 0.05
    assert patterns.draw(name, 33).shape == (33, 33, 3)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_show_the_same_picture(name):
    large, small = (halved(halved(patterns.draw(name, size))) for size in (256, 128))
    other = halved(halved(halved(patterns.draw(name, 256, seed=1))))
    assert np.abs(halved(large) - small).mean() < 0.5 * np.abs(other - small).mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_texture_at_every_scale(name, seed):
    """What a style is made of: contrast that is lost at each halving, from fine to coarse."""
    image = patterns.draw(name, 128, seed)
    for scale in (1, 2, 4, 8):
        coarse = halved(image)
        lost = image - coarse.repeat(2, 0).repeat(2, 1)
        assert lost.std() > 0.04, scale
        image = coarse


def test_palettes_differ_as_the_names_say():
    mean, chroma = {}, {}
    for name in NAMES:
        image = patterns.draw(name, 128)
        mean[name] = image.mean((0, 1))
        chroma[name] = (image.max(-1) - image.min(-1)).mean()
    for blue in ("strokes", "waves"):
        assert mean[blue][2] > mean[blue][0] + 0.1
    assert mean["ink_wash"][0] > mean["ink_wash"][2] > mean["ink_wash"][0] - 0.4  # warm paper
    for colourful in ("strokes", "mosaic", "waves"):
        assert chroma[colourful] > 1.4 * chroma["ink_wash"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(name="oil"), r"name: got 'oil', accepted are strokes, mosaic, ink_wash, waves"),
        (dict(name=["waves"]), r"name: got \['waves'\]"),
        (dict(name="waves", size=31), r"size: got 31, accepted is an integer >= 32 and < 1025"),
        (dict(name="waves", size=64.0), r"size: got 64.0"),
        (dict(name="waves", seed=-1), r"seed: got -1"),
        (dict(name="waves", seed=True), r"seed: got True"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        patterns.draw(**arguments)
