"""Features of images, Keras metrics over batches, the score."""

import dataclasses
import json
import socket

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras import metrics
from aigc_keras.metrics.distances import _polynomial_mmd

DIM = 8


def small_features(name="test features", seed=0):
    """Features are the eight pixels themselves, so that every expected value can be computed."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((2, 2, 2))
    flat = keras.layers.Flatten()(images)
    probabilities = keras.layers.Dense(3, activation="softmax")(flat)
    return metrics.Features(keras.Model(images, [flat, probabilities]), name)


def random_images(n, seed, shift=0.0, spread=0.2):
    rng = np.random.default_rng(seed)
    images = shift + spread * rng.standard_normal((n, 2, 2, 2))
    return np.clip(images, -1, 1).astype("float32")


# Features -------------------------------------------------------------------------------------


def test_features_are_the_same_for_arrays_and_datasets():
    features, images = small_features(), random_images(23, 24)
    assert (features.name, features.dim) == ("test features", DIM)
    expected, probabilities = features.extract(images)
    np.testing.assert_array_equal(expected, images.reshape(23, DIM))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    dataset = tf.data.Dataset.from_tensor_slices((images, np.arange(23))).batch(7)
    unlabelled = dataset.map(lambda image, label: image)
    for got in (
        features.extract(images, batch_size=5),
        features.extract(dataset),
        features.extract(unlabelled),
    ):
        np.testing.assert_array_equal(got[0], expected)
        np.testing.assert_allclose(got[1], probabilities, rtol=1e-6)
    np.testing.assert_array_equal(features(tf.constant(images)), expected)


def test_features_refuse_what_they_cannot_take():
    features, images = small_features(), random_images(5, 26)
    with pytest.raises(ValueError, match=r"images: got shape \(5, 2, 2\)"):
        features.extract(images[..., 0])
    with pytest.raises(ValueError, match="images: got values from"):
        features.extract(images + 100)
    with pytest.raises(ValueError, match="images: got uint8"):
        features.extract(np.zeros((5, 2, 2, 2), "uint8"))
    with pytest.raises(ValueError, match="images: got none"):
        features.extract(images[:0])
    with pytest.raises(ValueError, match=r"model: got outputs of shapes \[\(None, 8\)\]"):
        metrics.Features(keras.Model(features.model.input, features.model.outputs[0]), "one")


def test_fashion_features_come_from_the_checkpoint(monkeypatch):
    asked = []

    def load(name):
        asked.append(name)
        return small_features(seed=5).model

    monkeypatch.setattr("aigc_keras.checkpoints.load", load)
    features = metrics.fashion_features()
    assert features.name == "fashion_mnist_classifier"
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(features)))
    again = keras.saving.deserialize_keras_object(config)
    assert asked == ["classifier_fashion_mnist"] * 2  # by name, with no weights in the file
    images = random_images(4, 27)
    np.testing.assert_array_equal(again.extract(images)[1], features.extract(images)[1])


def test_inception_features_without_the_weights_say_so(monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(socket.socket, "connect", offline)
    monkeypatch.setattr(keras.config, "keras_home", lambda: str(tmp_path), raising=False)
    monkeypatch.setattr("keras.src.backend.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(RuntimeError, match="weights of Inception-v3 cannot be had"):
        metrics.inception_features()


def test_inception_features_take_grey_and_rgb_of_any_size(monkeypatch):
    def untrained(weights):
        assert weights == "imagenet"
        return network(weights=None)

    network = keras.applications.InceptionV3
    monkeypatch.setattr(keras.applications, "InceptionV3", untrained)
    features = metrics.inception_features()
    assert (features.name, features.dim) == ("keras_inception_v3", 2048)
    grey = np.random.default_rng(28).uniform(-1, 1, (2, 28, 28, 1)).astype("float32")
    from_grey, from_rgb = features(grey).numpy(), features(np.repeat(grey, 3, axis=-1)).numpy()
    assert from_grey.shape == (2, 2048) and features.n_classes == 1000
    np.testing.assert_allclose(from_grey, from_rgb, rtol=1e-4)
    assert np.abs(from_grey[0] - from_grey[1]).max() > 0


# Streaming metrics ----------------------------------------------------------------------------


def test_streamed_frechet_distance_of_60000_images_with_large_means():
    rng = np.random.default_rng(29)
    real, fake = 1000 + 0.1 * rng.standard_normal((2, 60_000, 2, 2, 2)).astype("float32")
    fake[..., 0] += 0.05
    metric = metrics.FrechetDistance(small_features(), dtype="float64")
    for start in range(0, 60_000, 7_000):  # a short last batch
        metric.update_state(real[start : start + 7_000], fake[start : start + 7_000])
    expected = metrics.frechet_distance(real.reshape(-1, DIM), fake.reshape(-1, DIM))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    assert sum(v.shape.num_elements() for v in metric.variables) == 2 * (1 + DIM + DIM**2)
    # The same sums in float32 lose the covariance altogether.
    rows = real.reshape(-1, DIM)
    mean = rows.mean(axis=0)
    naive = rows.T @ rows / np.float32(60_000) - np.outer(mean, mean)
    assert np.abs(naive - np.cov(rows.T)).max() > 1


def test_streamed_frechet_distance_warns_and_stays_finite_on_few_samples():
    metric = metrics.FrechetDistance(small_features())
    with pytest.warns(UserWarning, match="N = 0 real and N = 0 fake samples with D = 8"):
        assert float(metric.result()) == 0
    metric.update_state(random_images(1, 30), random_images(1, 31))
    with pytest.warns(UserWarning, match="N = 1 fake samples"):
        assert np.isfinite(metric.result())


def test_streamed_kernel_distance_is_the_weighted_mean_of_batches():
    real, fake = random_images(21, 32), random_images(21, 33, shift=0.3)
    metric = metrics.KernelDistance(small_features(), dtype="float64")
    assert float(metric.result()) == 0
    batches = [slice(0, 10), slice(10, 15), slice(15, 20), slice(20, 21)]
    for part in batches:
        metric.update_state(real[part], fake[part])
    values = [
        _polynomial_mmd(real[p].reshape(-1, 8).astype(float), fake[p].reshape(-1, 8))
        for p in batches[:3]  # one pair of images says nothing
    ]
    expected = np.average(values, weights=[9, 4, 4])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


def both_metrics(features):
    return [metrics.FrechetDistance(features), metrics.KernelDistance(features)]


class Copier(keras.Model):
    """Its 'generated' images are the real ones, brighter."""

    def __init__(self, features):
        super().__init__()
        self.scores = both_metrics(features)

    def call(self, images):
        return keras.ops.clip(images + 0.2, -1, 1)

    def test_step(self, images):
        fake = self(images)
        for metric in self.scores:
            metric.update_state(images, fake)
        return self.get_metrics_result()


@pytest.mark.parametrize(("jit_compile", "batch_size"), [(False, 28), (True, 32)])
def test_metrics_work_in_evaluate(jit_compile, batch_size):
    features, images = small_features(), random_images(64, 37)
    model = Copier(features)
    model.compile(jit_compile=jit_compile)
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(batch_size)  # 28: a short last batch
    got = model.evaluate(dataset, return_dict=True, verbose=0)
    again = model.evaluate(dataset, return_dict=True, verbose=0)
    assert got == pytest.approx(again)  # Keras resets the state in between
    real, fake = images.reshape(64, DIM), np.clip(images + 0.2, -1, 1).reshape(64, DIM)
    assert got["frechet_distance"] == pytest.approx(metrics.frechet_distance(real, fake), rel=1e-4)
    batches = [slice(i, min(i + batch_size, 64)) for i in range(0, 64, batch_size)]
    values = [_polynomial_mmd(real[b].astype(float), fake[b]) for b in batches]
    expected = np.average(values, weights=[b.stop - b.start - 1 for b in batches])
    assert got["kernel_distance"] == pytest.approx(expected, rel=1e-3)


def test_metrics_survive_a_config_round_trip_with_their_weights():
    real, fake = random_images(40, 38), random_images(40, 39, shift=0.2)
    for metric in both_metrics(small_features(seed=6)):
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(metric)))
        keras.utils.set_random_seed(99)  # fresh weights would now differ
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is type(metric) and again.name == metric.name
        assert again.features.name == "test features"
        for key, value in metric.get_config().items():
            assert key == "features" or again.get_config()[key] == value
        metric.update_state(real, fake)
        again.update_state(real, fake)
        assert float(again.result()) == float(metric.result())


def test_reset_state_forgets_everything():
    real, fake = random_images(40, 40), random_images(40, 41, shift=0.2)
    for metric in both_metrics(small_features()):
        metric.update_state(real, fake)
        expected = float(metric.result())
        metric.reset_state()
        metric.update_state(fake, fake + 0.3)
        assert float(metric.result()) != expected
        metric.reset_state()
        metric.update_state(real, fake)
        assert float(metric.result()) == expected


def test_bad_features_are_refused_by_name():
    with pytest.raises(ValueError, match="features: got 'inception'"):
        metrics.FrechetDistance("inception")


# Score ----------------------------------------------------------------------------------------


def test_evaluate_samples_names_its_features():
    features = small_features()
    real, fake = random_images(200, 42), random_images(200, 43, shift=0.1)
    score = metrics.evaluate_samples(fake, real, features, seed=3)
    rows = real.reshape(-1, DIM), fake.reshape(-1, DIM)
    assert score.frechet == pytest.approx(metrics.frechet_distance(*rows))
    assert (score.precision, score.recall) == metrics.precision_recall(*rows)
    assert (score.kernel, score.kernel_error) == metrics.kernel_distance(*rows, seed=3)
    assert (score.n_real, score.n_fake, score.features) == (200, 200, "test features")
    assert "\n" not in str(score) and str(score).endswith("(200 images, test features features)")
    assert score == metrics.evaluate_samples(fake, features.extract(real), features, seed=3)
    assert score == metrics.evaluate_samples(fake, real, features, seed=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.frechet = 0.0


@pytest.mark.parametrize(
    ("frechet", "error", "text"),
    [
        (12.34, 0.43, "12.3 ± 0.4"),
        (12.34, 0.043, "12.34 ± 0.04"),
        (123.4, 12.0, "123 ± 12"),
        (0.0, 0.0, "0.00 ± 0.00"),
    ],
)
def test_score_shows_as_many_decimals_as_the_error_allows(frechet, error, text):
    counts = {"n_real": 10_000, "n_fake": 5_000, "features": "fashion_mnist_classifier"}
    score = metrics.Score(frechet, error, 0.1, 0.01, 0.712, 0.55, **counts)
    assert str(score) == (
        f"Frechet distance {text}, precision 0.71, recall 0.55 "
        "(5,000 against 10,000 real images, fashion_mnist_classifier features)"
    )
