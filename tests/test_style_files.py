"""Chapter 03: a picture of two files, by each of the three methods."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from style_models import (
    SMALL,
    adain_model,
    batch,
    fast_model,
    image,
    moments,
    painter,
    recolored,
    tensors,
)

from aigc_keras import checkpoints, datasets, style
from aigc_keras import images as files
from aigc_keras.style import color_error, methods


@pytest.fixture
def paths(tmp_path):
    """Two pictures, the style larger than `stylize` reads it."""
    files.write(tmp_path / "content.jpg", image(192, 288))
    files.write(tmp_path / "style.png", image(320, 256, 1))
    kept = methods._checkpoint, methods._compiled
    for cache in kept:
        cache.cache_clear()
    yield tmp_path / "content.jpg", tmp_path / "style.png"
    for cache in kept:
        cache.cache_clear()


@pytest.mark.usefixtures("eagerly")
def test_two_files_by_training_the_picture(paths, tmp_path):
    picture = style.stylize(*paths, "gatys", size=48, steps=2, verbose=0)
    assert (picture.shape, picture.dtype) == ((32, 48, 3), np.float32)
    assert np.abs(picture).max() <= 1
    content, other = files.read(paths[0], 48), files.read(paths[1], 48)
    assert np.abs(picture - content).max() > 0.1
    before, after = (
        float(color_error(x[None], *tensors(moments(other)))) for x in (content, picture)
    )
    assert after < 0.5 * before
    files.write(tmp_path / "result.png", picture)
    np.testing.assert_allclose(files.read(tmp_path / "result.png"), picture, atol=1 / 127)


def test_two_files_by_adain(paths, monkeypatch):
    transfer = painter(adain_model)
    asked = []
    monkeypatch.setattr(checkpoints, "load", lambda name: asked.append(name) or transfer)
    for size, style_size in ((48, 48), (272, 256)):
        content, other = files.read(paths[0], size), files.read(paths[1], style_size)
        picture = style.stylize(*paths, size=size)
        assert picture.shape == content.shape and max(picture.shape) == size
        np.testing.assert_array_equal(picture, transfer.stylize(content, other))
    assert asked == ["adain"]


def test_many_pictures_by_adain_need_one_model_and_few_graphs(paths, monkeypatch):
    transfer = adain_model(painting=True)
    monkeypatch.setattr(checkpoints, "load", lambda name: transfer)
    for size in (48, 64, 80, 48, 96, 64):
        style.stylize(*paths, size=size)
    functions = transfer._match_colors, transfer._paint, transfer._statistics
    # The second shape is the last one that is compiled for.
    assert max(f.experimental_get_tracing_count() for f in functions) <= 2


def test_many_pictures_by_training_need_one_graph_for_a_shape(paths, monkeypatch):
    """And each is what a new model makes."""
    traced = []
    train_step = style.StyleTransfer.train_step

    def counted(self, data):
        traced.append(self.image_shape)
        return train_step(self, data)

    monkeypatch.setattr(style.StyleTransfer, "train_step", counted)
    small = functools.partial(style.StyleTransfer, **SMALL)
    monkeypatch.setattr(methods, "StyleTransfer", small)
    content, other = paths
    pictures = [
        style.stylize(*pair, "gatys", size=48, steps=4, verbose=0)
        for pair in ((content, other), (content, content), (content, other))
    ]
    assert sorted(traced) == [(16, 24, 3), (32, 48, 3)]
    np.testing.assert_array_equal(pictures[0], pictures[2])
    assert np.abs(pictures[0] - pictures[1]).max() > 0.1
    read = (files.read(path, 48) for path in (content, other))
    new = style.coarse_to_fine(*read, 4, verbose=0, **SMALL)
    np.testing.assert_allclose(pictures[2], new.picture(), atol=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_two_files_by_a_network_trained_for_the_style(paths, monkeypatch):
    """And that of one call leaves nothing behind for the next, which has the same network."""
    start, asked, fitted = fast_model(painting=True), [], []
    before = [w.copy() for w in start.measure.get_weights()]

    def crops(name, split, batch_size, seed):
        asked.append((name, split))
        return tf.data.Dataset.from_tensor_slices(batch(2 * batch_size)).batch(batch_size)

    class Small(style.FastStyleTransfer):
        def fit(self, x, steps_per_epoch, **kwargs):
            fitted.append((self, self.measure.get_weights(), steps_per_epoch))
            return super().fit(x, steps_per_epoch=min(steps_per_epoch, 2), **kwargs)

    small = functools.partial(Small, width=4, n_blocks=1, **SMALL)
    monkeypatch.setattr(methods, "FastStyleTransfer", small)
    monkeypatch.setattr(checkpoints, "load", lambda name: asked.append(name) or start)
    monkeypatch.setattr(datasets, "load", crops)
    content, other = paths
    pictures = [
        style.stylize(content, path, method="fast", size=48, steps=steps, verbose=0)
        for path, steps in ((content, None), (other, 3), (content, 3), (other, 3))
    ]
    assert asked == ["fast_style_waves", *4 * [("photographs", "train")]]
    assert [n_steps for *_, n_steps in fitted] == [250, 3, 3, 3]
    assert len({id(transfer) for transfer, *_ in fitted[1:]}) == 1
    for _, began, _ in fitted:
        for found, kept, value in zip(began, start.measure.get_weights(), before, strict=True):
            np.testing.assert_array_equal(found, value, "training begins at the checkpoint")
            np.testing.assert_array_equal(kept, value, "the checkpoint stays as it is")
    picture, transfer = pictures[3], fitted[3][0]
    np.testing.assert_array_equal(picture, pictures[1])
    assert np.abs(picture - pictures[2]).max() > 0.1
    content, other = files.read(paths[0], 48), files.read(paths[1], 48)
    targets = (x.perceptual_loss.get_weights() for x in (transfer, small(other)))
    for found, expected in zip(*targets, strict=True):
        np.testing.assert_array_equal(found, expected)
    found = transfer.recolored(content[None])[0]
    np.testing.assert_allclose(found, recolored(content, other), atol=1e-4)
    np.testing.assert_array_equal(picture, transfer.stylize(content))
    trained = picture.copy()
    transfer.measure.set_weights(before)
    assert np.abs(trained - transfer.stylize(content)).max() > 1e-3, "nothing was trained"


@pytest.mark.parametrize("method", ["gatys", "fast", "adain"])
def test_files_that_are_no_pictures_are_refused(paths, tmp_path, method):
    text, dot = tmp_path / "text.jpg", tmp_path / "dot.png"
    text.write_text("not a picture", encoding="utf-8")
    files.write(dot, np.zeros((1, 1, 3), "float32"))
    for bad, message in ((text, "text.jpg' is not an image"), (dot, "1 x 1 pixels")):
        for content_path, style_path in ((bad, paths[1]), (paths[0], bad)):
            with pytest.raises(ValueError, match=f"path: .*{message}"):
                style.stylize(content_path, style_path, method, size=48)
    for missing in ((tmp_path / "none.png", paths[1]), (paths[0], tmp_path / "none.png")):
        with pytest.raises(FileNotFoundError, match=r"none\.png"):
            style.stylize(*missing, method, size=48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "cyclegan"}, "method: got 'cyclegan', accepted are gatys, fast, adain"),
        ({"method": "adain", "steps": 10}, "steps: got 10"),
        ({"method": "adain", "steps": 0}, "steps: got 0"),
        ({"method": "gatys", "steps": -1}, "steps: got -1"),
        ({"method": "gatys", "steps": 0}, "steps: got 0"),
        ({"size": None}, "size: got None"),
        ({"method": "gatys", "steps": 1}, "steps: got 1"),
        ({"method": "fast", "steps": 0}, "steps: got 0"),
        ({"method": "fast", "steps": 1.5}, "steps: got 1.5"),
        ({"size": 8}, "size: got 8"),
    ],
)
def test_two_files_refusals(paths, arguments, message):
    with pytest.raises(ValueError, match=message):
        style.stylize(*paths, **{"size": 48} | arguments)
