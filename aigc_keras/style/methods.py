"""Two files to a picture, by each of the three methods."""

import functools

import keras
import numpy as np

from aigc_keras import checkpoints, datasets, images
from aigc_keras.guards import check_choice, check_number
from aigc_keras.style.fast import FastStyleTransfer
from aigc_keras.style.gatys import StyleTransfer, over_levels


@functools.cache
def _checkpoint(name):
    return checkpoints.load(name)


# TensorFlow keeps the graphs of everything that was ever built or trained, so one model serves all
# calls.
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


def _untrained(method, shape=(16, 16, 3), steps=None):
    """A compiled model whose optimizer stands at its first step."""
    model, start = _compiled(method, tuple(shape), steps, keras.config.dtype_policy().name)
    for variable, value in zip(model.optimizer.variables, start, strict=True):
        variable.assign(value)
    return model


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
    check_choice("method", method, ("gatys", "fast", "adain"))
    check_number("size", size, low=16, integer=True)
    content = images.read(content_path, size)
    style = images.read(style_path, size if method == "gatys" else min(256, size))
    if method == "adain":
        if steps is not None:
            raise ValueError(f"steps: got {steps!r}, accepted with 'adain' is None: no training.")
        return _checkpoint("adain").stylize(content, style)
    if method == "gatys":

        def train(image, styles, steps, **initial):
            new = StyleTransfer(image, styles, **initial)
            model = _untrained(method, new.image_shape)
            model.set_weights(new.get_weights())
            model.fit(steps, verbose=verbose)
            return model

        return over_levels(train, content, style, 100 if steps is None else steps).picture()
    steps = check_number("steps", 250 if steps is None else steps, low=1, integer=True)
    model = _untrained(method, steps=steps)
    model.change_style(style)
    model.measure.set_weights(_checkpoint("fast_style_waves").measure.get_weights())
    crops = datasets.load("photographs", "train", batch_size=4, seed=0).repeat()
    model.fit(crops, steps_per_epoch=steps, verbose=verbose)
    return model.stylize(content)
