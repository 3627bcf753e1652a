"""Chapter 04: the loss, training and Keras' promises, against data whose best network is known."""

import json

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from diffusion_models import (
    PREDICTIONS,
    SHAPE,
    assert_mean,
    assert_same_weights,
    compiled,
    dense_network,
    evaluate,
    fit,
    images,
    latent_model,
    loss_of,
    network_inputs,
    oracle,
    picture_model,
    points,
    rates,
    small_model,
)
from keras import ops

from aigc_keras import callbacks, checkpoints, diffusion, metrics

# --- the loss ---


@pytest.mark.parametrize("loss_weighting", ["simple", "min_snr"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_of_a_network_that_answers_zero(prediction, loss_weighting):
    """For the noise it is E[noise^2] = 1; min-SNR weighs the error of the image that 0 means."""
    model = small_model(
        prediction=prediction, loss_weighting=loss_weighting, timesteps=8, zero=True, seed=1
    )
    data = points(60_000)
    signal, noise = rates(8)
    square = np.mean(data.astype("float64") ** 2)
    if loss_weighting == "simple":
        errors = {"noise": 1.0, "image": square, "velocity": signal**2 + noise**2 * square}
        errors["flow"] = 1 + square
        weights = np.ones(8)
    else:
        errors = {
            "noise": (noise / signal) ** 2,
            "image": square,
            "velocity": noise**4 * square + signal**2 * noise**2,
            "flow": (1 + square) * (noise / (signal + noise)) ** 2,
        }
        weights = np.minimum((signal / noise) ** 2, 5.0)
    expected = np.mean(weights * errors[prediction])
    np.testing.assert_allclose(loss_of(model, data), expected, rtol=0.03)
    if prediction == "noise" and loss_weighting == "simple":
        assert expected == 1


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_oracle_of_constant_data_has_no_loss(prediction):
    means = images(2, seed=3)
    model = oracle(means, 0.0, prediction, classes=True, timesteps=50)
    labels = np.arange(200) % 2
    assert loss_of(model, means[labels], labels) < 1e-5
    assert loss_of(model, means[labels], 1 - labels) > 0.01


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_no_network_can_know_remains(prediction):
    """Of Gaussian data, the image's variance given x_t, as an error of what is predicted."""
    model = oracle(std=0.25, prediction=prediction, timesteps=10)
    data = np.random.default_rng(0).normal(0, 0.25, (60_000, 2)).astype("float32")
    signal, noise = rates(10)
    left = (0.25 * noise) ** 2 / ((0.25 * signal) ** 2 + noise**2)
    # An error of the image is one of the noise, times signal / noise; of the velocity, 1 / noise.
    factors = {"noise": signal**2 / noise**2, "image": 1.0, "velocity": 1 / noise**2}
    factors["flow"] = (1 + signal / noise) ** 2
    expected = np.mean(left * factors[prediction])
    np.testing.assert_allclose(loss_of(model, data), expected, rtol=0.02)


@pytest.mark.parametrize("timesteps", [2, 5])
def test_training_sees_every_step_equally_often(timesteps):
    seen = []

    class Recorder(diffusion.DiffusionModel):
        def diffuse(self, data, noise, steps):
            seen.append(np.asarray(steps))
            return super().diffuse(data, noise, steps)

    loss_of(small_model(cls=Recorder, timesteps=timesteps), points(5000))
    steps, counts = np.unique(np.concatenate(seen), return_counts=True)
    np.testing.assert_array_equal(steps, np.arange(1, timesteps + 1))
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_diffused_data_are_the_mixture_of_their_step():
    model = small_model(SHAPE, timesteps=4, noise_schedule="linear")
    data, noise = images(4), images(4, seed=1)
    signal, rate = (r[:, None, None, None] for r in rates(4, diffusion.linear))
    mixed = model.diffuse(data, noise, np.arange(1, 5))
    np.testing.assert_allclose(mixed, signal * data + rate * noise, atol=1e-6)
    np.testing.assert_array_equal(model.diffuse(data, noise, np.zeros(4, int)), data)


def test_label_dropout_hides_its_share_in_training_only():
    seen = []

    class Spy(keras.layers.Layer):
        def call(self, noisy, labels):
            seen.append(labels)
            return noisy

    noisy, _, labels = inputs = network_inputs((2,), 3)
    network = keras.Model(inputs, Spy()(noisy, labels))
    model = diffusion.DiffusionModel((2,), 3, network=network, label_dropout=0.3, seed=0)
    given = np.arange(9000) % 3
    loss_of(model, points(9000), given, training=True)
    taken = np.asarray(seen[-1])
    hidden = taken == 3
    np.testing.assert_array_equal(taken[~hidden], given[~hidden])
    for k in range(3):  # of all classes alike
        assert_mean(hidden[given == k], 0.3)
    loss_of(model, points(9000), given)
    np.testing.assert_array_equal(seen[-1], given)


def gradients(model, data):
    """Of the loss, for the columns of the last layer: of the prediction, of the variance."""
    with tf.GradientTape() as tape:
        loss = model.batch_loss(model.network, tf.constant(data), (), training=True)
    kernel = model.network.get_layer("outputs").kernel.value
    return np.split(tape.gradient(loss, kernel).numpy(), 2, axis=-1)


class ErrorOnly(diffusion.DiffusionModel):
    def bound_terms(self, *args):
        return 0.0 * super().bound_terms(*args)


class BoundOnly(diffusion.DiffusionModel):
    def objective(self, *args):
        return 0.0 * super().objective(*args)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_learned_variance_learns_from_the_bound_alone_and_the_mean_from_the_error(prediction):
    found = {}
    for cls in (diffusion.DiffusionModel, ErrorOnly, BoundOnly):
        keras.utils.set_random_seed(2)  # the same weights
        model = small_model(
            cls=cls, prediction=prediction, variance="learned", timesteps=10, seed=4
        )
        found[cls] = gradients(model, points(64))
    both, error, bound = found.values()
    np.testing.assert_allclose(both[0], error[0], rtol=1e-5)
    np.testing.assert_allclose(both[1], bound[1], rtol=1e-5)
    assert (error[0] != 0).all() and (bound[1] != 0).all()
    assert (error[1] == 0).all() and (bound[0] == 0).all()


def test_learned_variance_is_weighed_as_in_the_paper():
    """Nichol and Dhariwal 2021, eq. 16: a thousandth of the bound, here for each number."""
    learned = {"fractions": [0.5] * 6, "timesteps": 5, "variance": "learned"}
    model = oracle(std=0.3, prediction="image", cls=BoundOnly, **learned)
    data = np.random.default_rng(0).normal(0, 0.3, (40_000, 2)).clip(-1, 1).astype("float32")
    bound = model.variational_bound(data, n_steps=5, seed=0, batch_size=40_000).mean()
    alpha_bar = diffusion.cosine(1.0)
    prior = 0.5 * (alpha_bar * (data.astype("float64") ** 2).mean() - alpha_bar)
    prior -= 0.5 * np.log(1 - alpha_bar)  # no network changes it
    np.testing.assert_allclose(loss_of(model, data), 0.001 * (bound / 2 - prior), rtol=0.05)


# --- training ---


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_train_step_equals_a_naive_one(prediction):
    model = compiled(small_model(prediction=prediction, timesteps=20, seed=5), learning_rate=0.1)
    naive = keras.models.clone_model(model.network)
    naive.set_weights(model.network.get_weights())
    data = points(16)
    generator = keras.random.SeedGenerator(5)
    steps = keras.random.randint((16,), 1, 21, seed=generator).numpy()
    noise = keras.random.normal((16, 2), seed=generator).numpy()
    signal, rate = (r[steps - 1, None].astype("float32") for r in rates(20))
    targets = {"noise": noise, "image": data, "velocity": signal * noise - rate * data}
    targets["flow"] = noise - data
    with tf.GradientTape() as tape:
        outputs = naive([signal * data + rate * noise, (steps / 20).astype("float32")])
        loss = tf.reduce_mean((targets[prediction] - outputs) ** 2)
    slopes = tape.gradient(loss, [v.value for v in naive.trainable_variables])
    keras.optimizers.SGD(0.1).apply(slopes, naive.trainable_variables)

    history = fit(model, data, batch_size=16)
    np.testing.assert_allclose(history["loss"], [float(loss)], rtol=1e-5)
    assert_same_weights(model.network, naive, atol=1e-6)


def test_points_of_a_gaussian_are_learned():
    rng = np.random.default_rng(0)
    mean, covariance = np.array([0.3, -0.2]), np.array([[0.04, 0.025], [0.025, 0.03]])
    data = rng.multivariate_normal(mean, covariance, 4096).clip(-1, 1).astype("float32")
    network = diffusion.mlp(2, widths=(64, 64))
    model = diffusion.DiffusionModel((2,), network=network, ema_momentum=0.98, seed=0)
    model.compile(keras.optimizers.Adam(2e-3))
    batches = tf.data.Dataset.from_tensor_slices(data).repeat().batch(256).take(300)
    fit(model, batches, shuffle=None)
    made = model.generate(4000, seed=1, batch_size=4000)
    np.testing.assert_allclose(made.mean(axis=0), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(made.T), covariance, atol=0.012)


def test_pictures_of_two_classes_are_learned():
    """After a short training on two pictures the class decides which is drawn."""
    pictures = np.full((2, *SHAPE), -0.6, "float32")
    pictures[0, :4] = pictures[1, :, :4] = 0.6
    model = picture_model(num_classes=2, ema_momentum=0.9, seed=0)
    model.compile(keras.optimizers.Adam(0.01))
    before = [v.numpy() for v in model.network.trainable_variables]
    labels = np.arange(16) % 2
    batches = tf.data.Dataset.from_tensors((pictures[labels], labels)).repeat(150)
    fit(model, batches, shuffle=None)
    made = model.generate(10, seed=0)
    errors = [[np.mean((made[k::2] - x) ** 2) for x in pictures] for k in (0, 1)]
    assert max(errors[0][0], errors[1][1]) < 0.2 * min(errors[0][1], errors[1][0])
    for variable, start in zip(model.network.trainable_variables, before, strict=True):
        if not variable.path.endswith("key/bias"):  # it cancels in the softmax
            assert (variable.numpy() != start).any(), variable.path
    answers = model.network(
        [made[[0, 0, 0, 0]], np.array([0.1, 0.9, 0.1, 0.1], "float32"), np.array([0, 0, 1, 2])]
    ).numpy()  # time and class make a difference, and so does none
    for i in range(4):
        for j in range(i):
            assert np.abs(answers[i] - answers[j]).max() > 0.01


def test_ema_follows_its_recurrence():
    model = compiled(small_model(ema_momentum=0.6), learning_rate=0.1)
    average, seen = model.network.get_weights(), []
    recorder = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(model.network.get_weights())
    )
    fit(model, points(30), batch_size=1, callbacks=[recorder])
    for step, weights in enumerate(seen, start=1):
        momentum = min(0.6, step / (step + 10))
        average = [momentum * a + (1 - momentum) * w for a, w in zip(average, weights, strict=True)]
    assert len(seen) == 30
    for a, b in zip(average, model.ema_network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_average_is_what_generates_evaluates_and_bounds():
    def results():
        return model.generate(5, seed=1), model.variational_bound(points(5), n_steps=2, seed=1)

    model = compiled(small_model(ema_momentum=0.9, seed=0))
    before = results()
    model.network.set_weights([w + 1 for w in model.network.get_weights()])
    for a, b in zip(before, results(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.ema_network.set_weights([w + 1 for w in model.ema_network.get_weights()])
    for a, b in zip(before, results(), strict=True):
        assert (a != b).any()
    model.ema_network.set_weights([0 * w for w in model.ema_network.get_weights()])
    data = points(6000)
    signal, noise = rates(1000)
    expected = np.mean(signal**2 + noise**2 * np.mean(data**2))
    np.testing.assert_allclose(evaluate(model, data, batch_size=6000)["loss"], expected, rtol=0.1)


def test_without_ema_the_network_itself_generates():
    model = compiled(small_model(ema_momentum=0.0))
    fit(model, points(8), epochs=3)
    assert_same_weights(model.ema_network, model.network)


def test_two_runs_are_alike():
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = compiled(small_model(num_classes=2))
        history = fit(model, points(20), np.arange(20) % 2, batch_size=8, epochs=2, shuffle=True)
        bound = model.variational_bound(points(4), [0, 1, 0, 1], n_steps=3)
        runs.append((history, model.generate(6), bound))
    assert runs[0][0] == runs[1][0]
    for a, b in zip(runs[0][1:], runs[1][1:], strict=True):
        np.testing.assert_array_equal(a, b)


# --- Keras' promises ---


def test_saved_model_generates_the_same_and_goes_on_alike(tmp_path):
    """As if it had not been interrupted: optimizer, averages and random numbers included."""
    data = (images(16), np.arange(16) % 2)
    arguments = {
        "num_classes": 2,
        "variance": "learned",
        "noise_schedule": "sigmoid",
        "prediction": "noise",
        "loss_weighting": "min_snr",
        "timesteps": 30,
        "label_dropout": 0.3,
        "ema_momentum": 0.7,
        "seed": 5,
    }
    model = small_model(SHAPE, **arguments)
    model.compile()
    fit(model, *data, batch_size=8)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, diffusion.DiffusionModel)
    config = loaded.get_config()
    assert json.dumps(config) == json.dumps(model.get_config())
    assert {name: config[name] for name in arguments} == arguments
    np.testing.assert_array_equal(model.generate(9, seed=1), loaded.generate(9, seed=1))
    np.testing.assert_array_equal(model.generate(9), loaded.generate(9))
    histories = [fit(m, *data, batch_size=8, epochs=2) for m in (model, loaded)]
    assert histories[0] == histories[1]
    assert_same_weights(model, loaded)
    np.testing.assert_array_equal(
        *(m.variational_bound(data[0], data[1], n_steps=2) for m in (model, loaded))
    )  # without a seed: the random numbers stand at the same place


def test_checkpoint_restores_the_model_in_half_precision(tmp_path):
    model = latent_model()
    model.adapt(images(16))
    checkpoints.save(model, "latent", tmp_path, epochs=0)
    loaded = checkpoints.load("latent", tmp_path)
    model.set_weights([x.astype("float16") for x in model.get_weights()])
    assert_same_weights(model, loaded)
    np.testing.assert_array_equal(model.generate(4, seed=1), loaded.generate(4, seed=1))


def test_images_of_every_float_type_are_taken():
    model, data = compiled(small_model(), learning_rate=0.0), np.sign(points(4))
    mask = np.ones((1,), bool)
    bound, inpainted = model.variational_bound(data, n_steps=2, seed=0), model.inpaint(data, mask)
    for dtype in ("float16", "float64"):
        other = data.astype(dtype)
        np.testing.assert_allclose(
            model.variational_bound(other, n_steps=2, seed=0), bound, rtol=1e-5
        )
        np.testing.assert_array_equal(model.inpaint(other, mask), inpainted)
        assert np.isfinite(fit(model, other)["loss"]).all()


def test_labels_that_come_along_are_ignored():
    model = compiled(small_model())
    data = tf.data.Dataset.from_tensor_slices((points(8), np.arange(8))).batch(4)
    assert len(fit(model, data, shuffle=None)["loss"]) == 1


def test_labels_of_every_integer_type_are_taken():
    histories = []
    for dtype in ("int64", "uint8"):
        keras.utils.set_random_seed(0)
        model = compiled(small_model(num_classes=3))
        histories.append(fit(model, points(9), (np.arange(9) % 3).astype(dtype)))
    assert histories[0] == histories[1]


def test_a_variant_overrides_the_objective_and_nothing_else():
    class Absolute(diffusion.DiffusionModel):
        def objective(self, target, output, weights):
            return ops.mean(ops.abs(target - output))

    model = compiled(small_model(cls=Absolute, prediction="image", zero=True), learning_rate=0.0)
    np.testing.assert_allclose(fit(model, points(8))["loss"], [np.abs(points(8)).mean()], rtol=1e-5)


def extractor(shape):
    pictures = keras.Input(shape)
    flat = keras.layers.Flatten()(pictures)[:, :2]
    return metrics.Features(
        keras.Model(pictures, [flat, keras.layers.Softmax()(flat)]), "first two"
    )


def test_validation_reports_the_loss_and_metrics():
    model = latent_model(num_classes=2)
    compiled(model, metrics=[metrics.FrechetDistance(extractor(SHAPE))])
    labels = np.arange(24) % 2
    validation = (images(24, seed=1), labels)
    history = fit(model, images(24), labels, validation_data=validation, epochs=2)
    assert set(history) == {"loss", "val_loss", "val_frechet_distance"}
    assert history["val_frechet_distance"][0] > 0
    assert evaluate(model, *validation, batch_size=10).keys() == {"loss", "frechet_distance"}


def test_distance_of_perfect_samples_is_small():
    """Evaluation draws of the classes that the data have, and compares with the same images."""
    model = oracle([[0.5, 0.5], [-0.5, 0.5]], 0.05, classes=True)
    data = np.random.default_rng(0).normal([0.5, 0.5], 0.05, (1000, 2)).astype("float32")
    model.compile(metrics=[metrics.FrechetDistance(extractor((2,)))])
    right, wrong = (
        evaluate(model, data, np.full(1000, k), batch_size=500)["frechet_distance"] for k in (0, 1)
    )
    assert right < 0.003
    np.testing.assert_allclose(wrong, 1.0, rtol=0.1)  # the squared distance of the means


def test_saved_metrics_are_there_again(tmp_path):
    model = compiled(small_model(), metrics=[metrics.FrechetDistance(extractor((2,)))])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [m.name for m in loaded.metrics] == ["loss", "frechet_distance"]


def test_sample_grid_shows_pictures_from_fixed_noise(tmp_path):
    model = compiled(small_model(SHAPE), learning_rate=0.0)
    grid = callbacks.SampleGrid(n=4, folder=tmp_path, seed=3, display=False)
    fit(model, images(8), epochs=1, callbacks=[grid])
    first, second = grid.batches
    np.testing.assert_array_equal(first, second)
    assert len(list(tmp_path.iterdir())) == 2


def test_mixed_precision_trains_and_generates_float32():
    model = compiled(picture_model(dtype="mixed_bfloat16"), run_eagerly=True)
    assert np.isfinite(fit(model, images(4))["loss"]).all()
    made = model.generate(2, seed=0, sampler=diffusion.DDIM(2))
    assert made.dtype == np.float32 and np.isfinite(made).all()
    assert "bfloat16" in {layer.compute_dtype for layer in model.network.layers}
    assert all(v.dtype == "float32" for v in model.network.trainable_variables)
    assert model.network.get_layer("outputs").compute_dtype == "float32"


# --- refusals ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes: got 0"),
        ({"num_classes": 2.0}, "num_classes: got 2.0"),
        ({"noise_schedule": "square"}, "noise_schedule: got 'square', accepted are linear, cosine"),
        ({"prediction": "score"}, "prediction: got 'score', accepted are noise, image, velocity"),
        (
            {"noise_schedule": "straight"},
            "prediction .*path: got 'velocity', accepted are image, f",
        ),
        ({"noise_schedule": "straight", "prediction": "noise"}, "prediction .*: got 'noise'"),
        ({"loss_weighting": "snr"}, "loss_weighting: got 'snr', accepted are simple, min_snr"),
        ({"variance": "medium"}, "variance: got 'medium', accepted are small, large, learned"),
        ({"timesteps": 1}, "timesteps: got 1"),
        ({"timesteps": 10.0}, "timesteps: got 10.0"),
        ({"label_dropout": 1.0}, "label_dropout: got 1.0"),
        ({"label_dropout": -0.1}, "label_dropout: got -0.1"),
        ({"ema_momentum": 1.0}, "ema_momentum: got 1.0"),
        ({"ema_momentum": float("nan")}, "ema_momentum: got nan"),
        ({"network": dense_network((3,))}, "network: turns"),
        ({"network": dense_network((2,), outputs=2)}, "network: turns"),
        ({"network": dense_network((2,), num_classes=3)}, "network: turns"),
        ({"network": dense_network((2,)), "num_classes": 3}, "network: turns"),
        ({"network": dense_network((2,)), "variance": "learned"}, "network: turns"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        diffusion.DiffusionModel((2,), **arguments)


@pytest.mark.parametrize("shape", [(8, 8), (7, 8, 1)])
def test_other_image_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="image_shape: got"):
        diffusion.DiffusionModel(shape)


BAD_IMAGES = [
    (images(4, (8, 8, 3)), "got shape"),
    (images(4, (5, 8, 1)), "got shape"),
    (np.full((4, *SHAPE), 2.0, "float32"), "got values from 2 to 2"),
    (np.full((4, *SHAPE), np.nan, "float32"), "got values from nan"),
    (np.zeros((4, *SHAPE), "uint8"), "got uint8"),
    (np.zeros((0, *SHAPE), "float32"), "got no images"),
]


@pytest.fixture(scope="module", params=["pixels", "latents"])
def untrained(request):
    return compiled(small_model(SHAPE) if request.param == "pixels" else latent_model())


@pytest.mark.parametrize(("data", "message"), BAD_IMAGES)
def test_bad_data_is_refused_before_training(untrained, data, message):
    before = untrained.get_weights()
    with pytest.raises(ValueError, match=f"x: {message}"):
        fit(untrained, data)
    with pytest.raises(ValueError, match="empty dataset" if len(data) == 0 else message):
        fit(untrained, tf.data.Dataset.from_tensor_slices(data).batch(2))
    for a, b in zip(before, untrained.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("data", "message"), BAD_IMAGES)
def test_bad_images_are_refused(data, message):
    model = small_model(SHAPE)
    for method in (model.variational_bound, lambda x: model.inpaint(x, np.array(True))):
        with pytest.raises(ValueError, match=f"images: {message}"):
            method(data)


def test_bad_requests_are_refused():
    model = small_model(SHAPE)
    for n in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"n: got {n}"):
            model.generate(n)
    for n_steps in (0, 1.5):
        with pytest.raises(ValueError, match=f"n_steps: got {n_steps}"):
            model.variational_bound(images(2), n_steps=n_steps)
    requests = (model.generate, lambda n, **kw: model.inpaint(images(n), np.array(True), **kw))
    for request in requests:
        for sampler in ("ddim", diffusion.DDIM, 20):
            with pytest.raises(ValueError, match=r"sampler: got .*, accepted is a Sampler"):
                request(2, sampler=sampler)
        for scale in (-1.0, float("nan"), "2"):
            with pytest.raises(ValueError, match="guidance_scale: got"):
                request(2, guidance_scale=scale)
        for more in ({"guidance_scale": 2.0}, {"guidance_scale": 0}, {"labels": 1}):
            with pytest.raises(ValueError, match="without num_classes"):
                request(2, **more)
        with pytest.raises(ValueError, match="batch_size: got 0"):
            request(2, batch_size=0)
    with pytest.raises(ValueError, match="labels"):
        model.variational_bound(images(2), labels=[0, 1])


def test_bad_labels_are_refused():
    model = compiled(small_model(SHAPE, num_classes=3))
    data = images(3)
    requests = (
        lambda labels: model.generate(3, labels=labels),
        lambda labels: model.inpaint(data, np.array(True), labels=labels),
        lambda labels: model.variational_bound(data, labels, n_steps=1),
    )
    for labels in (3, -1, [0, 1], [0, 1, 3], [0, 1, -1], [0.5, 1.0, 2.0]):
        for request in requests:
            with pytest.raises(ValueError, match="labels: got"):
                request(labels)
        if np.shape(labels) == (3,):
            with pytest.raises(ValueError, match="labels: got"):
                fit(model, data, np.array(labels))
    with pytest.raises(ValueError, match="labels: got"):
        model.variational_bound(data)  # of which class?
    for x in (data, tf.data.Dataset.from_tensor_slices(data).batch(2)):
        with pytest.raises(ValueError, match="got images only"):
            fit(model, x)


def test_nan_stops_the_run_and_what_was_saved_survives(tmp_path):
    model = compiled(small_model())
    path = tmp_path / "model.keras"
    saver = keras.callbacks.ModelCheckpoint(path)
    fit(model, points(8), callbacks=[saver])
    saved = path.read_bytes()
    model.optimizer.learning_rate = np.inf
    with pytest.raises(FloatingPointError, match="became nan"):
        fit(model, points(8), batch_size=2, epochs=2, callbacks=[saver])
    assert path.read_bytes() == saved
    np.testing.assert_array_equal(
        np.isfinite(keras.models.load_model(path).generate(4)), np.ones((4, 2), bool)
    )
