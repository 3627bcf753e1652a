"""Pictures appear when asked for, in every place, and always from the same noise."""

import contextlib
import time

import keras
import numpy as np
import PIL.Image
import pytest

from aigc_keras import callbacks, gan


def image_gan(**kwargs):
    model = gan.MLPGAN((28, 28, 1), 4, generator_widths=(8,), discriminator_widths=(8,))
    model.compile(**kwargs)
    return model


def trained(callback, epochs=2, **kwargs):
    model = image_gan(**kwargs)
    data = np.random.default_rng(0).uniform(-1, 1, (12, 28, 28, 1)).astype("float32")
    model.fit(data, batch_size=4, epochs=epochs, callbacks=[callback], verbose=0)
    return model


def test_sample_grid_every_epoch_and_every_second_step(tmp_path):
    epochs = callbacks.SampleGrid(n=4, folder=tmp_path)
    model = trained(epochs)
    assert epochs.counts == [0, 1, 2]
    np.testing.assert_array_equal(epochs.batches[-1], model.generate(4, seed=0))
    assert (epochs.batches[0] != epochs.batches[-1]).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0000.png", "0001.png", "0002.png",
    ]  # fmt: skip
    steps = callbacks.SampleGrid(n=4, every=2, unit="step")
    trained(steps)
    assert steps.counts == [0, 2, 4, 6]
    several = callbacks.SampleGrid(n=4, every=2, unit="step")
    trained(several, steps_per_execution=3)  # told of steps 3 and 6 only
    assert several.counts == [0, 3, 6]


def pictures(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_a_resumed_training_goes_on_counting(tmp_path, unit):
    """In the folder, in the labels, and in TensorBoard; nothing is written over."""
    settings = {"n": 4, "unit": unit, "every": {"epoch": 1, "step": 3}[unit]}
    model = trained(callbacks.SampleGrid(folder=tmp_path, **settings))
    before = pictures(tmp_path)
    resumed = callbacks.SampleGrid(folder=tmp_path, **settings)
    data = np.zeros((12, 28, 28, 1), "float32")
    arguments = {"batch_size": 4, "callbacks": [resumed], "verbose": 0}
    model.fit(data, initial_epoch=2, epochs=4, **arguments)
    assert resumed.counts == {"epoch": [2, 3, 4], "step": [6, 9, 12]}[unit]
    model.fit(data, epochs=1, **arguments)  # and on, with the same callback
    assert resumed.counts[3:] == {"epoch": [5], "step": [15]}[unit]
    again = callbacks.SampleGrid(folder=tmp_path, **settings)
    model.fit(data, epochs=1, **{**arguments, "callbacks": [again]})  # another training
    after = pictures(tmp_path)
    assert list(after) == [f"{i:04d}.png" for i in range(8)]
    assert {name: after[name] for name in before} == before


def test_a_restored_training_goes_on_counting(tmp_path):
    class Crash(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    data = np.zeros((12, 28, 28, 1), "float32")
    for more in ([Crash()], []):
        model = image_gan()
        grid = callbacks.SampleGrid(n=1, folder=tmp_path / "pictures")
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        arguments = {"batch_size": 12, "epochs": 4, "verbose": 0}
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(data, callbacks=[grid, *more, backup], **arguments)
    assert grid.counts == [2, 3, 4]
    assert list(pictures(tmp_path / "pictures")) == [f"{i:04d}.png" for i in range(6)]


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    grid = callbacks.SampleGrid(n=1, folder="~/pictures", log_dir="~/logs")
    trained(grid, epochs=1)
    grid.gif("~/training.gif")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["logs", "pictures", "training.gif"]


def test_strip_and_gif_show_the_whole_training(tmp_path):
    callback = callbacks.SampleGrid(n=4)
    trained(callback, epochs=3)
    labels = [axis.get_title() for axis in callback.strip(n=2).axes]
    assert labels == ["epoch 0", "epoch 3"]
    with PIL.Image.open(callback.gif(tmp_path / "training.gif")) as gif:
        assert gif.n_frames == 4
        assert gif.size == (2 * 2 * 28, 2 * 2 * 28)


def test_pictures_reach_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained(callbacks.SampleGrid(n=4, log_dir=tmp_path))
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert [event.step for event in events.Tensors("samples")] == [0, 1, 2]


@pytest.mark.parametrize("arguments", [{"unit": "batch"}, {"n": 0}, {"every": 0}])
def test_bad_arguments_are_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name}: got"):
        callbacks.SampleGrid(**arguments)


def small_gan(**kwargs):
    model = gan.MLPGAN((2,), latent_dim=3, generator_widths=(8,), discriminator_widths=(8,))
    model.compile(**kwargs)
    return model


def test_time_limit_stops_in_the_middle_of_an_epoch():
    model = small_gan()
    limit = callbacks.TimeLimit(0.2)
    data = np.zeros((400_000, 2), "float32")
    history = model.fit(data, batch_size=8, epochs=3, callbacks=[limit], verbose=0)
    assert 0.2 <= limit.seconds < 5
    assert len(history.epoch) == 1
    assert int(model.optimizer.iterations) < 50_000


@pytest.mark.parametrize("steps_per_execution", [1, 5])
def test_time_limit_counts_the_steps_of_all_epochs_but_the_first_ones(steps_per_execution):
    model = small_gan(steps_per_execution=steps_per_execution)
    limit = callbacks.TimeLimit(0.3, skip=10)
    data = np.zeros((160, 2), "float32")  # 20 steps an epoch
    history = model.fit(data, batch_size=8, epochs=10_000, callbacks=[limit], verbose=0)
    assert 1 < len(history.epoch) < 10_000
    assert limit.steps == int(model.optimizer.iterations) - 10


def test_time_limit_times_at_least_one_step_and_leaves_the_skipped_ones_out():
    class SlowStart(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            time.sleep(0.3 if batch < 3 else 0)

    limit = callbacks.TimeLimit(0, skip=3)
    data = np.zeros((80, 2), "float32")
    small_gan().fit(data, batch_size=8, callbacks=[SlowStart(), limit], verbose=0)
    assert limit.steps == 1
    assert 0 < limit.seconds < 0.3


@pytest.mark.parametrize("arguments", [{"limit": -1}, {"limit": 1, "skip": 0}])
def test_bad_arguments_of_the_time_limit_are_named(arguments):
    *_, name = arguments
    with pytest.raises(ValueError, match=f"{name}: got"):
        callbacks.TimeLimit(**arguments)
