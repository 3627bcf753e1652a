"""Checkpoints come back as they were; altered ones are refused; a recipe continues."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from aigc_keras import checkpoints, datasets, diffusion, gan, patterns, recipes


@pytest.fixture
def saved(tmp_path):
    model = gan.MLPGAN((2,), latent_dim=3, generator_widths=(8,), discriminator_widths=(8,))
    checkpoints.save(model, "tiny", tmp_path, seed=3, data="ring")
    return model, tmp_path


def test_round_trip_in_half_precision(saved):
    model, folder = saved
    loaded = checkpoints.load("tiny", folder)
    assert type(loaded) is gan.MLPGAN
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(np.float16(a.numpy()), b.numpy())
    np.testing.assert_allclose(model.generate(5, seed=0), loaded.generate(5, seed=0), atol=2e-3)


def test_equal_weights_are_kept_once(tmp_path):
    """A diffusion model's network and its average, where the recipe has made them the same."""
    model = diffusion.DiffusionModel((2,), widths=(64, 64), seed=0)
    rng, sizes = np.random.default_rng(0), []
    values = [rng.normal(size=weight.shape) for weight in model.network.weights]
    for averages in ([1.5 * value for value in values], values):
        model.network.set_weights(values)
        model.ema_network.set_weights(averages)
        checkpoints.save(model, "tiny", tmp_path)
        sizes.append(checkpoints.manifest(tmp_path)["tiny"]["bytes"])
        loaded = checkpoints.load("tiny", tmp_path)
        for a, b in zip(model.weights, loaded.weights, strict=True):
            np.testing.assert_array_equal(np.asarray(a).astype("float16"), b.numpy())
    assert sizes[1] < 0.6 * sizes[0]


def test_manifest_keeps_every_entry_and_its_facts(saved):
    model, folder = saved
    checkpoints.save(model, "other", folder)
    assert checkpoints.names(folder) == ("other", "tiny")
    entry = checkpoints.manifest(folder)["tiny"]
    assert (entry["seed"], entry["data"]) == (3, "ring")
    assert entry["bytes"] == (folder / "tiny.npz").stat().st_size


def test_saving_twice_gives_the_same_bytes(saved):
    model, folder = saved
    before = (folder / "tiny.npz").read_bytes()
    checkpoints.save(model, "tiny", folder)
    assert (folder / "tiny.npz").read_bytes() == before


def test_processes_that_save_at_once_lose_no_entry(saved):
    """Each in turn reads, changes and writes the one manifest."""
    model, folder = saved
    names = [f"model_{i}" for i in range(24)]
    with ThreadPoolExecutor(8) as pool:  # the lock is of the file: threads are like processes
        list(pool.map(lambda name: checkpoints.save(model, name, folder), names))
    assert set(checkpoints.names(folder)) == {"tiny", *names}
    for name in names:
        checkpoints.load(name, folder)


def test_a_folder_may_begin_at_home(saved, monkeypatch):
    model, home = saved
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    checkpoints.save(model, "other", "~/mine")
    assert (home / "mine" / "other.npz").is_file()
    assert checkpoints.names("~/mine") == ("other",)
    assert type(checkpoints.load("other", "~/mine")) is type(model)


def test_refusals(saved):
    _, folder = saved
    with pytest.raises(ValueError, match="name: got 'tinny', accepted are tiny"):
        checkpoints.load("tinny", folder)
    path = folder / "tiny.npz"
    good = path.read_bytes()
    for bad in (good[:-10], good[:100] + b"x" + good[101:]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"tiny\.npz is truncated or altered"):
            checkpoints.load("tiny", folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="make checkpoints NAME=tiny"):
        checkpoints.load("tiny", folder)


def test_a_weight_too_large_for_half_precision_is_refused_and_nothing_is_lost(saved):
    model, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model.weights[0].assign(np.full(model.weights[0].shape, 1e6))
    with pytest.raises(ValueError, match="not finite in half precision"):
        checkpoints.save(model, "tiny", folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_committed_checkpoints_are_what_the_manifest_says(name):
    entry = checkpoints.manifest()[name]
    model = checkpoints.load(name)
    assert entry["bytes"] < 8_000_000
    assert entry["parameters"] == model.count_params()
    assert entry["recipe"].startswith("aigc_keras.recipes.")
    assert np.isfinite(np.concatenate([w.numpy().ravel() for w in model.weights])).all()


def test_committed_classifier_has_the_accuracy_it_claims():
    entry = checkpoints.manifest()["classifier_fashion_mnist"]
    images, labels = datasets.arrays("fashion_mnist", "test[:2000]")
    _, probabilities = checkpoints.load("classifier_fashion_mnist").predict(
        images, batch_size=500, verbose=0
    )
    accuracy = np.mean(probabilities.argmax(axis=1) == labels)
    standard_error = np.sqrt(entry["test_accuracy"] * (1 - entry["test_accuracy"]) / 2000)
    assert abs(accuracy - entry["test_accuracy"]) < 3 * standard_error
    assert entry["test_accuracy"] >= 0.92


@pytest.mark.parametrize("name", ["fast_style_waves", "adain"])
def test_committed_style_networks_do_better_than_colours_alone(name):
    """On crops of photographs that they never saw, against a network that paints nothing."""
    crops, _ = datasets.arrays("photographs", "test[:4]")
    styles = np.stack([patterns.draw(style, 128, seed=99) for style in patterns.NAMES])
    model = checkpoints.load(name)
    network = model.measure if name == "fast_style_waves" else model.decoder
    data = tf.data.Dataset.from_tensor_slices((crops, styles)).batch(4)
    model.compile()
    trained = model.evaluate(data, verbose=0, return_dict=True)
    (last,) = [w for w in network.trainable_weights if len(w.shape) == 4 and w.shape[-1] == 3]
    for weight in network.trainable_weights:
        if weight is last or weight.shape == (3,):
            weight.assign(np.zeros(weight.shape))
    colored = model.evaluate(data, verbose=0, return_dict=True)
    assert trained["content_loss"] < 0.6
    assert trained["style_loss"] < 0.7 * colored["style_loss"]
    assert trained["loss"] < 0.9 * colored["loss"]


def test_an_interrupted_recipe_continues(tmp_path, monkeypatch):
    """Stopped in training or while it is scored, it trains what is left, as if uninterrupted."""
    data = np.random.default_rng(0).uniform(-1, 1, (64, 2)).astype("float32")

    def recipe(fit):
        model = gan.MLPGAN((2,), latent_dim=3, generator_widths=(8,), discriminator_widths=(8,))
        model.compile()
        train = tf.data.Dataset.from_tensor_slices(data).batch(16)
        fit(model, train, epochs=3)
        return model, {"epochs_seen": int(model.optimizer.iterations) // 4}

    def interrupted(fit):
        def fit_one(model, train, epochs):
            fit(model, train, 1)
            raise KeyboardInterrupt

        return recipe(fit_one)

    def scoring(fit):
        recipe(fit)
        raise KeyboardInterrupt

    def finishing(fit):
        """Nothing is left to train."""
        model, facts = recipe(fit)
        assert model.history.epoch == []
        return model, facts

    finished = {}
    monkeypatch.setattr(recipes, "RUNS", tmp_path / "runs")
    for name, attempts in (
        ("whole", [recipe]),
        ("resumed", [interrupted, recipe]),
        ("scored", [interrupted, scoring, finishing]),
    ):
        for attempt in attempts:
            monkeypatch.setitem(recipes.RECIPES, name, (attempt, "random numbers"))
            try:
                recipes.run(name, folder=tmp_path)
            except KeyboardInterrupt:
                assert (tmp_path / "runs" / name).exists()
        finished[name] = checkpoints.load(name, tmp_path)
        assert checkpoints.manifest(tmp_path)[name]["epochs_seen"] == 3
    whole, *others = (model.generate(9, seed=0) for model in finished.values())
    for other in others:
        np.testing.assert_allclose(whole, other, atol=1e-3)
    assert not list((tmp_path / "runs").iterdir())
    assert json.loads((tmp_path / "manifest.json").read_text())["resumed"]["training_minutes"] >= 0


def test_an_epoch_that_is_trained_again_counts_once(tmp_path, monkeypatch):
    now = iter([0, 5, 100, 107, 200, 201])
    monkeypatch.setattr(recipes.time, "time", lambda: next(now))
    clock = recipes.Clock(tmp_path / "seconds.json")
    for epoch in (0, 1, 1):
        clock.on_epoch_begin(epoch)
        clock.on_epoch_end(epoch)
    assert clock.seconds() == {"0": 5, "1": 1}


@pytest.mark.parametrize(
    ("name", "content"),
    [("seconds.json", ""), ("seconds.json", "\0"), ("backup/training_metadata.json", "{}")],
)
def test_damaged_progress_is_refused_before_any_training(tmp_path, monkeypatch, name, content):
    """Killed while a backup is taken away, its text may be left alone: no model is made of it."""
    monkeypatch.setattr(recipes, "RUNS", tmp_path / "runs")
    monkeypatch.setitem(recipes.RECIPES, "tiny", (pytest.fail, "no data"))
    path = tmp_path / "runs" / "tiny" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(ValueError, match=f"{path.parent.name}.* is (damaged|missing)"):
        recipes.run("tiny", folder=tmp_path)
