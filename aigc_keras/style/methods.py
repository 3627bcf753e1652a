"""Two files to a picture, by each of the three methods."""

import functools

import keras
import numpy as np

from aigc_keras import checkpoints, datasets, images
from aigc_keras.guards import check_choice, check_number
from aigc_keras.style.fast import FastStyleTransfer
from aigc_keras.style.gatys import StyleTransfer, over_levels

METHODS = ("gatys", "fast", "adain")


@functools.cache
def _adain():
    return checkpoints.load("adain")


# TensorFlow keeps the graph of everything that was ever trained, so one model serves all calls.
@functools.lru_cache(maxsize=8)
def _compiled(method, shape, steps, policy):
    """(compiled model of grey images, the first values of its optimizer)."""
    grey = np.zeros(shape, "float32")
    if method == "gatys":
        model = StyleTransfer(grey, grey)
        model.compile()
    else:
        model = FastStyleTransfer(grey)
        schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
        model.compile(keras.optimizers.Adam(schedule))
    return model, [variable.numpy() for variable in model.optimizer.variables]


def _trained(model, method, data=(), shape=(16, 16, 3), steps=None, **kwargs):
    """A model like `model` after `fit`."""
    policy = keras.config.dtype_policy().name
    compiled, start = _compiled(method, tuple(shape), steps, policy)
    compiled.set_weights(model.get_weights())
    for variable, value in zip(compiled.optimizer.variables, start, strict=True):
        variable.assign(value)
    compiled.fit(*data, **kwargs)
    return compiled


def stylize(content_path, style_path, method="adain", size=512, steps=None, verbose="auto"):
    """The picture of one file in the style of another, (H, W, 3), float32, [-1, 1].

    Args:
        content_path, style_path: image files, see `images.read`; `images.write` saves the result.
        method: `"adain"`, in one pass; `"gatys"`, which trains the picture, in two sizes; `"fast"`,
            which trains a network for this style, from that of the checkpoint on.
        size: longer side of the result in pixels. The style is made as large, for `"fast"` and
            `"adain"` at most 256 px, at which they were trained.
        steps: of training, by default 100 for `"gatys"` and 250 for `"fast"`.
        verbose: as for `fit`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is no image or cannot be used, or another argument is out of range.
    """
    check_choice("method", method, METHODS)
    check_number("size", size, low=16, integer=True)
    content = images.read(content_path, size)
    style = images.read(style_path, size if method == "gatys" else min(256, size))
    if method == "adain":
        if steps is not None:
            raise ValueError(f"steps: got {steps!r}, accepted with 'adain' is None: no training.")
        return _adain().stylize(content, style)
    if method == "gatys":

        def train(image, styles, steps, **initial):
            model = StyleTransfer(image, styles, **initial)
            shape = model.image_shape
            return _trained(model, method, shape=shape, steps_per_epoch=steps, verbose=verbose)

        return over_levels(train, content, style, 100 if steps is None else steps).picture()
    steps = check_number("steps", 250 if steps is None else steps, low=1, integer=True)
    start = checkpoints.load("fast_style_waves")
    model = FastStyleTransfer(style)
    model.measure.set_weights(start.measure.get_weights())
    crops = datasets.load("photographs", "train", batch_size=4, seed=0).repeat()
    how = {"steps_per_epoch": steps, "verbose": verbose}
    return _trained(model, method, [crops], steps=steps, **how).stylize(content)
