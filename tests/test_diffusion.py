"""Chapter 04: networks, loss, bound and models, against data whose best network is known."""

import json
import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from keras import ops

from aigc_keras import callbacks, checkpoints, diffusion, metrics, vae

SHAPE = (8, 8, 1)
PREDICTIONS = diffusion.PREDICTIONS


def images(n, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype("float32")


def points(n, seed=0):
    return images(n, (2,), seed)


class Oracle(keras.layers.Layer):
    """What the best network answers where the data are a mixture of N(means[k], std^2 I).

    Of a class k, data are the k-th part of it; of the label that says nothing, all of it. Written
    for the cosine schedule, in double precision.
    """

    def __init__(self, means, std, prediction, fractions=None, **kwargs):
        super().__init__(**kwargs)
        self.means, self.std, self.prediction = means, std, prediction
        self.fractions = fractions

    def call(self, noisy, times, labels=None):
        x, t = (ops.cast(v, "float64") for v in (noisy, times))
        means = np.array(self.means, "float64")
        ones = (-1,) + (1,) * (means.ndim - 1)
        angle = lambda t: ops.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
        zero = math.cos(0.008 / 1.008 * np.pi / 2) ** 2
        alpha_bar = ops.reshape(1 - (1 - 1e-4) * (1 - angle(t) / zero), ones)
        signal, noise = ops.sqrt(alpha_bar), ops.sqrt(1 - alpha_bar)
        total = signal**2 * self.std**2 + noise**2
        distances = ops.expand_dims(x, 1) - ops.expand_dims(signal, 1) * means
        axes = tuple(range(2, means.ndim + 1))
        scores = -0.5 * ops.sum(distances**2 / ops.expand_dims(total, 1), axes)
        if labels is not None:
            classes = ops.one_hot(labels, len(means), dtype="float64")  # the last + 1: all zeros
            nothing = ops.cast(ops.expand_dims(labels, 1) == len(means), "float64")
            scores += ops.log(classes + nothing + 1e-300)
        weights = ops.exp(scores - ops.max(scores, axis=1, keepdims=True))
        weights /= ops.sum(weights, axis=1, keepdims=True)
        weights = ops.reshape(weights, (-1, len(means), *ones[1:]))
        shrink = ops.expand_dims(signal * self.std**2 / total, 1)
        image = ops.sum(weights * (means + shrink * distances), axis=1)
        epsilon = (x - signal * image) / noise
        answers = {"noise": epsilon, "image": image, "velocity": signal * epsilon - noise * image}
        output = answers[self.prediction]
        if self.fractions is not None:
            steps = ops.cast(ops.round(t * (len(self.fractions) - 1)), "int32")
            fractions = ops.take(np.array(self.fractions), steps)
            fractions = ops.reshape(2 * fractions - 1, ones) * ops.ones_like(output)
            output = ops.concatenate([output, fractions], axis=-1)
        return ops.cast(output, "float32")

    def get_config(self):
        own = {k: getattr(self, k) for k in ("means", "std", "prediction", "fractions")}
        return {**super().get_config(), **own}


def network_inputs(shape, num_classes=None):
    labels = [keras.Input((), dtype="int32")] if num_classes else []
    return [keras.Input(shape), keras.Input(()), *labels]


def oracle(
    means=((0.0, 0.0),),
    std=0.2,
    prediction="velocity",
    classes=False,
    fractions=None,
    cls=diffusion.DiffusionModel,
    **kwargs,
):
    """A model that has nothing to learn."""
    means = np.asarray(means, "float64").tolist()
    shape = np.shape(means)[1:]
    num_classes = len(means) if classes else None
    inputs = network_inputs(shape, num_classes)
    network = keras.Model(inputs, Oracle(means, std, prediction, fractions)(*inputs))
    return cls(shape, num_classes, prediction=prediction, network=network, **kwargs)


def dense_network(shape, num_classes=None, outputs=1, zero=False):
    """One dense layer, whose graph is built at once; with `zero`, it answers 0."""
    noisy, times, *labels = inputs = network_inputs(shape, num_classes)
    parts = [keras.layers.Flatten()(noisy), keras.layers.Reshape((1,))(times)]
    parts += [keras.layers.Embedding(num_classes + 1, 4)(x) for x in labels]
    shape = (*shape[:-1], outputs * shape[-1])
    start = "zeros" if zero else "glorot_uniform"
    x = keras.layers.Concatenate()(parts)
    x = keras.layers.Dense(math.prod(shape), kernel_initializer=start, name="outputs")(x)
    return keras.Model(inputs, keras.layers.Reshape(shape)(x))


def small_model(shape=(2,), num_classes=None, cls=diffusion.DiffusionModel, zero=False, **kwargs):
    """A model that trains in milliseconds, and hardly learns."""
    outputs = 2 if kwargs.get("variance") == "learned" else 1
    network = dense_network(shape, num_classes, outputs, zero)
    return cls(shape, num_classes, **{"network": network, **kwargs})


def picture_model(**kwargs):
    """A model with the library's own network."""
    return diffusion.DiffusionModel(SHAPE, **{"widths": (8, 16), "blocks": 1, **kwargs})


def compiled(model, learning_rate=0.01, run_eagerly=True, **kwargs):
    """Ready for a few steps of gradient descent: building a graph would take longer."""
    model.compile(keras.optimizers.SGD(learning_rate), run_eagerly=run_eagerly, **kwargs)
    return model


def fit(model, *data, **kwargs):
    return model.fit(*data, **{"verbose": 0, "shuffle": False, **kwargs}).history


def evaluate(model, *data, **kwargs):
    return model.evaluate(*data, verbose=0, return_dict=True, **kwargs)


def loss_of(model, data, *labels, training=False):
    labels = tuple(tf.constant(x, "int32") for x in labels)
    return float(model.batch_loss(model.network, tf.constant(data), labels, training))


def rates(timesteps, schedule=diffusion.cosine):
    """(signal rates, noise rates) of the steps 1 to `timesteps`, in double precision."""
    alpha_bar = schedule(np.arange(1, timesteps + 1) / timesteps)
    return np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)


def assert_same_weights(ours, others, **tolerance):
    for a, b in zip(ours.get_weights(), others.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 0, "atol": 0, **tolerance})


def assert_mean(samples, expected, atol=0.0):
    """The mean over the first axis is what is expected, within four standard errors."""
    error = np.std(samples, axis=0) / np.sqrt(len(samples))
    assert (np.abs(np.mean(samples, axis=0) - expected) <= 4 * error + atol).all()


# --- networks ---


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-4), ("mixed_bfloat16", 0.01)])
def test_embedding_is_the_formula(dtype, atol):
    """In half precision too: 1000 t must not be rounded before the sine is taken."""
    times = np.linspace(0, 1, 41).astype("float32")
    layer = diffusion.SinusoidalEmbedding(6, dtype=dtype)
    angles = 1000.0 * times.astype("float64")[:, None] / 10_000.0 ** (np.arange(3) / 3)
    ours = ops.cast(layer(times), "float32")
    np.testing.assert_allclose(ours, np.hstack([np.sin(angles), np.cos(angles)]), atol=atol)
    assert layer(times).dtype == layer.compute_dtype
    assert tuple(layer.compute_output_shape((41,))) == (41, 6)


@pytest.mark.parametrize("dim", [0, 1, 2.5])
def test_embedding_refuses_other_sizes(dim):
    with pytest.raises(ValueError, match=f"dim: got {dim}"):
        diffusion.SinusoidalEmbedding(dim)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((8, 8, 1), {"widths": (8,)}),
        ((7, 7, 4), {"outputs": 2}),
        ((5, 9, 2), {"widths": (8, 8, 8)}),
        ((12, 10, 3), {"patch": 2, "num_classes": 3}),
        ((8, 8, 3), {"patch": 4, "outputs": 2, "widths": (16,)}),
    ],
)
def test_unet_keeps_the_shape_and_starts_at_zero(shape, arguments):
    network = diffusion.unet(shape, **{"widths": (8, 16), "blocks": 1, **arguments})
    inputs = [images(3, shape), np.array([0.1, 0.5, 1.0], "float32")]
    if "num_classes" in arguments:
        inputs.append(np.array([0, 2, 3], "int32"))
    outputs = network(inputs).numpy()
    channels = arguments.get("outputs", 1) * shape[-1]
    np.testing.assert_array_equal(outputs, np.zeros((3, *shape[:-1], channels), "float32"))


def test_unet_attends_at_the_lowest_resolution():
    network = diffusion.unet((12, 10, 1), (8, 8, 16), blocks=1)
    (attention,) = (x for x in network.layers if isinstance(x, keras.layers.MultiHeadAttention))
    assert attention.output.shape == (None, 3 * 3, 16)  # every position with every other


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((8, 8), {}, r"image_shape: got \(8, 8\)"),
        ((7, 8, 1), {"patch": 2}, r"image_shape: got \(7, 8, 1\)"),
        ((8, 8, 1), {"patch": 0}, "patch: got 0"),
        ((8, 8, 1), {"widths": ()}, r"widths: got \(\)"),
        ((8, 8, 1), {"widths": (8, 12)}, r"widths: got \(8, 12\)"),
        ((8, 8, 1), {"widths": (0,)}, r"widths: got \(0,\)"),
        ((8, 8, 1), {"blocks": 0}, "blocks: got 0"),
    ],
)
def test_unet_refuses_other_sizes(shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        diffusion.unet(shape, **{"widths": (8, 8), **arguments})


def test_mlp_is_told_time_and_class():
    network = diffusion.mlp(3, widths=(8, 8), num_classes=2, outputs=2)
    same = np.repeat(images(1, (3,)), 4, axis=0)
    times = np.array([0.2, 0.2, 0.2, 0.7], "float32")
    answers = network([same, times, np.array([0, 1, 2, 0], "int32")]).numpy()
    assert answers.shape == (4, 6)
    assert len(np.unique(answers.round(4), axis=0)) == 4


@pytest.mark.parametrize("variance", ["small", "learned"])
def test_model_builds_the_network_that_fits(variance):
    assert picture_model(variance=variance).network.name == "unet"
    model = diffusion.DiffusionModel((2,), num_classes=3, variance=variance)
    assert model.network.name == "mlp"
    times = np.full(4, 0.5, "float32")
    answers = model([points(4), times, np.arange(4)])
    np.testing.assert_array_equal(answers, model.ema_network([points(4), times, np.arange(4)]))
    assert answers.shape == (4, 4 if variance == "learned" else 2)


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
        weights = np.ones(8)
    else:
        errors = {
            "noise": (noise / signal) ** 2,
            "image": square,
            "velocity": noise**4 * square + signal**2 * noise**2,
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
    factor = {"noise": signal**2 / noise**2, "image": 1.0, "velocity": 1 / noise**2}[prediction]
    np.testing.assert_allclose(loss_of(model, data), np.mean(left * factor), rtol=0.02)


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


# --- guidance ---


def guidance_model(prediction="velocity", **kwargs):
    """Classes that overlap, so that with a class something else is right than without."""
    means = [[0.2, 0.1], [-0.2, 0.1], [0.0, -0.2]]
    return oracle(means, 0.1, prediction, classes=True, **kwargs)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_guidance_is_linear_between_and_beyond_the_two_models(prediction):
    model = guidance_model(prediction)
    labels = np.array([0, 1, 2, 0], "int32")
    noisy = tf.constant(0.3 * points(4))
    signal, noise = (float(r[499]) for r in rates(1000))

    def see(labels, **kwargs):
        return model.denoiser((tf.constant(labels),), **kwargs)(noisy, 0.5, signal, noise)

    conditional, unconditional = see(labels), see(np.full(4, 3, "int32"))
    assert np.abs(conditional.image - unconditional.image).max() > 0.01
    for scale in (0.0, 0.5, 1.0, 2.0):
        seen = see(labels, guided=True, guidance_scale=scale)
        for ours, with_class, without in zip(
            seen[:2], conditional[:2], unconditional[:2], strict=True
        ):
            expected = without + scale * (with_class - without)
            assert np.abs(seen.image).max() < 1  # not clipped
            np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_both_graphs_agree_at_the_ends():
    """At 1 and at 0, `generate` looks once a step; a hair beside them, twice."""
    model = guidance_model()
    for scale in (0, 1):
        one, two = (model.generate(9, seed=1, guidance_scale=s) for s in (scale, scale + 1e-6))
        np.testing.assert_allclose(one, two, atol=1e-4)
    assert len(model.loops) == 2


def test_denoised_images_are_clipped_and_stay_parts_of_the_mixture():
    model = guidance_model()
    noisy = tf.constant(2 * points(50))
    labels = (tf.zeros(50, "int32"),)
    denoise = model.denoiser(labels, guidance_scale=30.0, guided=True)
    seen = denoise(noisy, 0.5, *(float(r[499]) for r in rates(1000)))
    assert np.abs(seen.image).max() == 1
    mixed = rates(1000)[0][499] * seen.image + rates(1000)[1][499] * seen.noise
    np.testing.assert_allclose(mixed, noisy, atol=1e-5)


def test_guidance_draws_the_class_or_everything():
    means = np.array([[0.5, 0.5], [-0.5, 0.5], [0.0, -0.5]])
    model = oracle(means, 0.05, classes=True)
    arguments = {"sampler": diffusion.DPMSolver(20, "log_snr"), "seed": 0, "batch_size": 600}
    made = model.generate(600, **arguments)
    for k in range(3):  # by default all in turn
        np.testing.assert_allclose(made[k::3].mean(axis=0), means[k], atol=0.02)
        np.testing.assert_allclose(made[k::3].std(axis=0), 0.05, rtol=0.15)
    made = model.generate(600, labels=2, **arguments)
    np.testing.assert_allclose(made.mean(axis=0), means[2], atol=0.02)
    made = model.generate(600, labels=2, guidance_scale=0, **arguments)
    nearest = np.linalg.norm(made[:, None] - means, axis=-1).argmin(axis=1)
    assert scipy.stats.chisquare(np.bincount(nearest, minlength=3)).pvalue > 1e-3


# --- generating ---

SAMPLERS = [
    diffusion.DDPM(200),
    diffusion.DDIM(50),
    diffusion.DDIM(200, eta=1.0),
    diffusion.DDIM(50, eta=0.5, spacing="quadratic"),
    diffusion.DPMSolver(40),
    diffusion.DPMSolver(20, spacing="log_snr"),
    diffusion.Heun(20),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: f"{type(s).__name__} {s.spacing}")
def test_every_sampler_draws_the_distribution(sampler):
    model = oracle([[0.3, -0.1]], 0.2)
    made = model.generate(4000, sampler=sampler, seed=1, batch_size=4000)
    assert_mean(made, [0.3, -0.1], atol=2e-3)
    np.testing.assert_allclose(made.std(axis=0), 0.2, rtol=0.07)
    assert abs(np.corrcoef(made.T)[0, 1]) < 0.06


@pytest.mark.parametrize("variance", ["small", "large", "learned"])
def test_ancestral_sampling_takes_the_models_variance(variance):
    """With few steps, the exact variance gives the exact distribution and the others miss it."""
    exact = exact_fractions(10, 0.3)
    fractions = exact if variance == "learned" else None
    model = oracle(std=0.3, timesteps=10, variance=variance, fractions=fractions)
    signal, noise = rates(10)
    seen = model.denoiser()(tf.constant(points(3)), 0.5, float(signal[4]), float(noise[4]))
    fraction = {"small": 0.0, "large": 1.0, "learned": exact[5]}[variance]
    np.testing.assert_allclose(seen.variance_fraction, fraction, atol=1e-5)
    made = model.generate(8000, sampler=diffusion.DDPM(10), seed=1, batch_size=8000)
    # The last step takes the mean: what x_1 does not say of the data is lost.
    lost = (0.3 * noise[0]) ** 2 / ((0.3 * signal[0]) ** 2 + noise[0] ** 2)
    ratio = made.std() / np.sqrt(0.3**2 - lost)
    low, high = {"small": (0.5, 0.95), "learned": (0.98, 1.02), "large": (1.05, 1.5)}[variance]
    assert low < ratio < high, ratio


@pytest.mark.parametrize("sampler", SAMPLERS[:2], ids=["DDPM", "DDIM"])
def test_generate_repeats_with_a_seed_and_varies_without(sampler):
    model = small_model(SHAPE)
    draw = lambda seed=None: model.generate(9, sampler=sampler, seed=seed)  # noqa: E731
    np.testing.assert_array_equal(draw(4), draw(4))
    assert (draw(4) != draw(5)).any()
    assert (draw() != draw()).any()
    made = draw(4)
    assert made.shape == (9, *SHAPE) and made.dtype == np.float32
    assert np.abs(made).max() <= 1
    assert len(np.unique(made[:, 0, 0, 0])) > 1


def test_chunks_are_the_whole():
    model = guidance_model()
    for sampler in (diffusion.DDIM(5), diffusion.DPMSolver(5), diffusion.Heun(5)):
        for n in (1, 7, 20):
            arguments = {"sampler": sampler, "guidance_scale": 1.5, "seed": 1}
            whole, chunks = (model.generate(n, batch_size=b, **arguments) for b in (256, 7))
            assert whole.shape == (n, 2)
            np.testing.assert_allclose(whole, chunks, atol=1e-5)


def test_chunks_get_noise_of_their_own():
    """Ancestral steps of two chunks that start alike must not add the same noise."""
    model = oracle(std=0.2, variance="large")
    made = model.generate(2000, sampler=diffusion.DDPM(20), seed=1, batch_size=1000)
    assert abs(np.corrcoef(made[:1000, 0], made[1000:, 0])[0, 1]) < 0.13


def test_one_graph_serves_any_number_of_images_and_steps():
    model = small_model(num_classes=2)
    for n, sampler in ((3, diffusion.DDIM(4)), (8, diffusion.DDIM(9, 1.0, "quadratic"))):
        for scale in (0, 1):
            model.generate(n, sampler=sampler, guidance_scale=scale)
    (loop,) = model.loops.values()
    assert loop.experimental_get_tracing_count() == 1
    model.generate(3, sampler=diffusion.DDIM(4), guidance_scale=2.0)
    model.generate(3, sampler=diffusion.DDIM(3), guidance_scale=3.5)
    assert [x.experimental_get_tracing_count() for x in model.loops.values()] == [1, 1]


def test_graph_follows_the_training():
    model = compiled(small_model(ema_momentum=0.0), learning_rate=0.5)
    before = model.generate(5, seed=1)
    fit(model, points(8), epochs=3)
    assert (model.generate(5, seed=1) != before).any()


def test_generated_images_are_the_samplers():
    """`generate` in its graph and `Sampler.sample` step by step: the same noise, the same image."""
    model = small_model(SHAPE)
    noise = keras.random.normal((4, *SHAPE), seed=keras.random.SeedGenerator(3))
    for sampler in (diffusion.DPMSolver(4), diffusion.Heun(3)):
        ours = model.generate(4, sampler=sampler, seed=3)
        plain = sampler.sample(model.denoiser(), noise, model.alpha_bar)
        np.testing.assert_allclose(ours, np.clip(plain, -1, 1), atol=1e-5)


# --- inpainting ---


def test_inpainting_keeps_what_is_known_and_fits_the_rest_to_it():
    """All pictures are dark, or all bright: most of one says what the rest is."""
    model = oracle([np.full((4, 4, 1), -0.5), np.full((4, 4, 1), 0.5)], 0.05)
    level = np.where(np.arange(200) % 2, 0.5, -0.5)
    data = np.random.default_rng(0).normal(0, 0.05, (200, 4, 4, 1)).astype("float32")
    data += level[:, None, None, None]
    data[:, :, 3:] = 1.0  # behind the mask: must not be looked at
    mask = np.arange(4)[:, None] < 3
    for sampler in (None, diffusion.DDPM(50), diffusion.DDIM(20), diffusion.Heun(10)):
        made = model.inpaint(data, mask, sampler=sampler, seed=0)
        assert made.shape == data.shape and made.dtype == np.float32
        np.testing.assert_array_equal(made[:, :, :3], data[:, :, :3])
        drawn = made[:, :, 3:].mean(axis=(1, 2, 3))
        assert np.mean(np.abs(drawn - level) < 0.1) > 0.9  # chance: 0.5


def test_the_network_is_shown_what_is_known_and_only_asked_for_the_rest():
    shown, model, data = [], small_model(SHAPE), images(3)
    mask = (images(3, seed=1) > 0).astype("float32")

    def denoise(noisy, time, signal_rate, noise_rate):
        shown.append(noisy)
        return diffusion.Denoised(7 * ops.ones_like(noisy), 8 * ops.ones_like(noisy), 0.25)

    inpaint = model.inpainter(denoise, tf.constant(data), tf.constant(mask), tf.constant([0, 1]))
    noisy = images(3, seed=2)
    for signal, rate in ((0.6, 0.8), (0.8, 0.6)):
        image, noise, fraction = inpaint(tf.constant(noisy), 0.5, signal, rate)
        known = signal * data + rate * noise.numpy()
        for got, where_known, elsewhere in (
            (image, data, 7.0),
            (noise, noise, 8.0),
            (shown[-1], known, noisy),
        ):
            np.testing.assert_allclose(got, np.where(mask, where_known, elsewhere), atol=1e-6)
        assert fraction == 0.25
    assert abs(np.std(noise.numpy()[mask > 0]) - 1) < 0.25
    mixtures = [x.numpy()[mask > 0] for x in shown]  # always the same noise
    clean, fresh = data[mask > 0], noise.numpy()[mask > 0]
    np.testing.assert_allclose(mixtures[0], 0.6 * clean + 0.8 * fresh, atol=1e-6)
    np.testing.assert_allclose(mixtures[1], 0.8 * clean + 0.6 * fresh, atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS[:2], ids=["DDPM", "DDIM"])
def test_inpainting_all_or_nothing(sampler):
    model = small_model(SHAPE, num_classes=2)
    data, arguments = images(5), {"labels": [0, 1, 1, 0, 1], "sampler": sampler, "seed": 1}
    np.testing.assert_array_equal(model.inpaint(data, np.ones((1,), bool), **arguments), data)
    made = model.inpaint(data, np.zeros((5, *SHAPE), bool), **arguments)
    np.testing.assert_allclose(made, model.generate(5, **arguments), atol=1e-5)


def test_inpainting_takes_masks_of_every_shape_and_guidance():
    model = small_model((8, 8, 3), num_classes=2)
    data = images(6, (8, 8, 3))
    mask = np.random.default_rng(0).random((8, 8, 1)) < 0.5
    arguments = {"guidance_scale": 2.0, "seed": 1, "sampler": diffusion.DDIM(4)}
    made = model.inpaint(data, mask, **arguments)
    for other in (mask[None], np.repeat(mask[None], 6, axis=0)):
        np.testing.assert_array_equal(model.inpaint(data, other, **arguments), made)
    rows = mask[:, :1]
    np.testing.assert_array_equal(
        model.inpaint(data, rows, **arguments),
        model.inpaint(data, np.repeat(rows, 8, axis=1), **arguments),
    )
    known = np.broadcast_to(mask, data.shape)
    np.testing.assert_array_equal(made[known], data[known])
    assert (made[~known] != data[~known]).mean() > 0.99
    assert model.inpaint(data, mask, batch_size=4).shape == data.shape


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((8, 8, 1), int),
        np.ones((8, 8, 1)),
        np.ones((8, 8, 3), bool),
        np.ones((2, 3, 8, 8, 1), bool),
        np.ones((5, 1, 1), bool),
        np.ones((2, 8, 8, 1), bool),
    ],
)
def test_bad_masks_are_refused(mask):
    with pytest.raises(ValueError, match="mask: got"):
        small_model(SHAPE).inpaint(images(3), mask)


# --- the variational bound ---


def exact_variances(timesteps, std):
    """Of q(x_(k-1) | x_k), k = 1 to `timesteps`, where the data are N(0, std^2): Bayes' rule."""
    alpha_bar = diffusion.cosine(np.arange(timesteps + 1) / timesteps)
    total = alpha_bar * std**2 + 1 - alpha_bar
    beta = diffusion.betas(diffusion.cosine, timesteps)
    return total[:-1] * beta / total[1:]


def fixed_variances(timesteps, schedule=diffusion.cosine):
    """(small, large), with the paper's stand-in for the small variance of step 1, which is 0."""
    alpha_bar = schedule(np.arange(timesteps + 1) / timesteps)
    large = diffusion.betas(schedule, timesteps)
    small = large * (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:])
    small[0] = small[1]
    return small, large


def exact_fractions(timesteps, std):
    small, large = (np.log(v) for v in fixed_variances(timesteps))
    fractions = (np.log(exact_variances(timesteps, std)) - small) / (large - small)
    return [0.0, *fractions.tolist()]


def test_bound_is_exact_with_the_exact_steps_back():
    """Then p(x_0 ... x_T) is q(x_0 ... x_T): the bound's expectation is -log p(x), for every x."""
    fractions = exact_fractions(30, 0.3)
    model = oracle(std=0.3, timesteps=30, variance="learned", fractions=fractions)
    data = np.array([[0.0, 0.0], [0.3, -0.1], [-0.6, 0.2], [0.5, 0.7]], "float32")
    many = np.repeat(data, 500, axis=0)
    bound = model.variational_bound(many, n_steps=30, seed=0, batch_size=2000)
    exact = -scipy.stats.norm(0, 0.3).logpdf(data).sum(axis=1)
    assert_mean(bound.reshape(4, 500).T, exact, atol=1e-3)


@pytest.mark.parametrize(
    ("variance", "prediction"),
    [("small", "noise"), ("large", "noise"), ("small", "image"), ("large", "velocity")],
)
def test_bound_lies_above_the_entropy_by_what_the_variances_miss(variance, prediction):
    """Of each step, the KL divergence of two Gaussians with the same mean."""
    data = np.random.default_rng(1).normal(0, 0.25, (3000, 2)).clip(-1, 1).astype("float32")
    negative_log_p = -scipy.stats.norm(0, 0.25).logpdf(data).sum(axis=1)
    gaps = []
    for timesteps in (5, 40):
        ratio = (
            exact_variances(timesteps, 0.25)
            / dict(zip(("small", "large"), fixed_variances(timesteps), strict=True))[variance]
        )
        gaps.append(2 * np.sum(0.5 * (ratio - 1 - np.log(ratio))))
        model = oracle(std=0.25, prediction=prediction, timesteps=timesteps, variance=variance)
        bound = model.variational_bound(data, n_steps=timesteps, seed=0, batch_size=3000)
        assert_mean(bound - negative_log_p, gaps[-1], atol=1e-3)
    assert min(gaps) > 0
    if variance == "large":  # the small variance misses the last steps, however many there are
        assert gaps[1] < 0.2 * gaps[0]


@pytest.mark.parametrize("n_steps", [1, 4, 7, 20, 33])
def test_few_steps_estimate_the_sum_of_all(n_steps):
    model = oracle(std=0.3, timesteps=20, variance="large")
    data = np.tile(np.array([[0.3, -0.1]], "float32"), (4000, 1))
    few, all_ = (
        model.variational_bound(data, n_steps=n, seed=seed, batch_size=4000)
        for n, seed in ((n_steps, 0), (20, 1))
    )
    error = np.sqrt(few.var() + all_.var()) / np.sqrt(4000)
    assert abs(few.mean() - all_.mean()) < 4 * error
    assert few.shape == (4000,) and few.dtype == np.float64


def test_bound_of_constant_images_in_closed_form():
    """An oracle that knows the picture: only the prior and the first step cost anything.

    The schedule ends halfway, where the prior still costs something.
    """
    halfway = lambda times: diffusion.cosine(times / 2)  # noqa: E731

    class Halfway(diffusion.DiffusionModel):
        def alpha_bar(self, times):
            return halfway(times)

    picture = np.round(images(1, (4, 4, 1), seed=2) * 127.5 + 127.5) / 127.5 - 1
    model = oracle(picture, 0.0, "image", timesteps=10, cls=Halfway)
    alpha_bar = halfway(1.0)
    prior = 0.5 * np.sum(alpha_bar * picture.astype("float64") ** 2 - alpha_bar)
    prior -= 16 * 0.5 * np.log(1 - alpha_bar)
    # The model's mean of x_0 is the pixel itself; outermost levels reach to infinity.
    first = scipy.stats.norm(0, np.sqrt(fixed_variances(10, halfway)[0][0]))
    below = np.where(picture < -0.999, 0.0, first.cdf(-1 / 255))
    above = np.where(picture > 0.999, 1.0, first.cdf(1 / 255))
    bound = model.variational_bound(np.repeat(picture, 3, axis=0).astype("float32"), n_steps=10)
    assert prior > 0.1
    np.testing.assert_allclose(bound, prior - np.log(above - below).sum(), rtol=1e-4)


@pytest.mark.parametrize("std", [0.003, 0.05, 2.0])
@pytest.mark.parametrize("mean", [-1.3, -1.0, -0.2, 0.0, 0.501, 1.0])
def test_probabilities_of_the_levels_sum_to_one(mean, std):
    levels = (np.arange(256) / 127.5 - 1).astype("float32").reshape(256, 1, 1, 1)
    ours = small_model((1, 1, 1)).data_log_likelihood(levels, mean, 2 * np.log(std))
    probabilities = np.exp(np.asarray(ours, "float64")).ravel()
    np.testing.assert_allclose(probabilities.sum(), 1, atol=1e-5)
    edges = (levels.ravel()[:-1] + levels.ravel()[1:]) / 2
    edges = np.concatenate([[-np.inf], edges.astype("float64"), [np.inf]])
    exact = np.diff(scipy.stats.norm(mean, std).cdf(edges))
    np.testing.assert_allclose(probabilities, exact, atol=1e-5)


def test_likelihood_of_points_is_the_density():
    data, mean = points(20), points(20, seed=1)
    ours = small_model().data_log_likelihood(data, mean, -1.4)
    np.testing.assert_allclose(ours, scipy.stats.norm.logpdf(data, mean, np.exp(-0.7)), rtol=1e-5)


def test_bits_per_dimension_of_pure_chance_are_eight():
    nats = np.full(3, 64 * np.log(256))
    np.testing.assert_allclose(diffusion.bits_per_dimension(nats, SHAPE), 8.0)
    np.testing.assert_allclose(diffusion.bits_per_dimension(2 * np.log(2), (2,)), 1.0)


def test_bound_knows_the_class():
    model = guidance_model(timesteps=20)
    data = np.tile(np.array([[0.2, 0.1]], "float32"), (200, 1))
    right, wrong = (
        model.variational_bound(data, np.full(200, k), n_steps=20, seed=0).mean() for k in (0, 2)
    )
    assert right + 1 < wrong


def test_bound_repeats_with_a_seed_and_does_not_depend_on_chunks():
    model, data = small_model(SHAPE), images(7)
    first, again, chunks, other = (
        model.variational_bound(data, n_steps=3, seed=seed, batch_size=b)
        for seed, b in ((1, 256), (1, 256), (1, 3), (2, 256))
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, chunks, rtol=1e-5)
    assert (first != other).all()
    unseeded = [model.variational_bound(data, n_steps=3) for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).all()


# --- latent diffusion ---

LATENT = (2, 2, 3)


def latent_model(cls=diffusion.LatentDiffusion, seed=0, **kwargs):
    """With `kwargs`, or with a network of one dense layer."""
    keras.utils.set_random_seed(seed)
    autoencoder = diffusion.latent_autoencoder(SHAPE, channels=3, width=4)
    if not kwargs.keys() & {"network", "widths"}:
        outputs = 2 if kwargs.get("variance") == "learned" else 1
        kwargs["network"] = dense_network(LATENT, kwargs.get("num_classes"), outputs)
    return cls(autoencoder, LATENT, **kwargs)


@pytest.mark.parametrize(("shape", "channels"), [((28, 28, 1), 4), ((32, 24, 3), 2)])
def test_latent_autoencoder_gives_maps(shape, channels):
    autoencoder = diffusion.latent_autoencoder(shape, channels=channels, width=4)
    assert isinstance(autoencoder, vae.VAE)
    latent_shape = (shape[0] // 4, shape[1] // 4, channels)
    mean, log_variance = autoencoder.encode(images(2, shape))
    assert mean.shape == log_variance.shape == (2, math.prod(latent_shape))
    assert autoencoder.reconstruct(images(2, shape)).shape == (2, *shape)
    model = diffusion.LatentDiffusion(autoencoder, latent_shape, widths=(8,), blocks=1)
    assert model.data_shape == latent_shape and model.image_shape == shape


def test_latents_are_maps_of_their_place():
    """A pixel moves the latents near it, and not the ones at the other end."""
    autoencoder = diffusion.latent_autoencoder((32, 32, 1), channels=2, width=4)
    data = np.repeat(images(1, (32, 32, 1)), 2, axis=0)
    data[1, 0, 0] *= -1
    mean, _ = autoencoder.encode(data)
    moved = np.abs(mean[0] - mean[1]).reshape(8, 8, 2).max(axis=-1)
    assert moved[0, 0] > 1e-6 and moved[4:].max() < 1e-6 and moved[:, 4:].max() < 1e-6


def test_trained_autoencoder_reconstructs():
    """Its latents have the room: after a few steps it is far better than the mean picture."""
    data = np.repeat(np.repeat(images(64, (2, 2, 1)), 4, axis=1), 4, axis=2)
    autoencoder = diffusion.latent_autoencoder(SHAPE, channels=2, width=8)
    autoencoder.compile(keras.optimizers.Adam(0.01))
    fit(autoencoder, tf.data.Dataset.from_tensors(data).repeat(120))
    error = np.mean((autoencoder.reconstruct(data) - data) ** 2)
    assert error < 0.1 * np.mean((data.mean(axis=0) - data) ** 2)


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays, size=10):
        super().__init__()
        self.arrays, self.size = arrays, size

    def __len__(self):
        return -(-len(self.arrays[0]) // self.size)

    def __getitem__(self, i):
        parts = tuple(x[i * self.size : (i + 1) * self.size] for x in self.arrays)
        return parts if len(parts) > 1 else parts[0]


class EndlessBatches(Batches):
    """Without `__len__`, which Keras 3 does not ask for."""

    __len__ = None
    num_batches = None

    def __getitem__(self, i):
        return super().__getitem__(i % 2)


@pytest.mark.parametrize(
    "kind", ["array", "tensor", "dataset", "dataset with labels", "sequence", "endless sequence"]
)
def test_adapt_makes_the_latents_of_one_size(kind):
    data = images(64) * np.linspace(0.2, 1, 8, dtype="float32")[:, None, None]
    x = {
        "array": data,
        "tensor": tf.constant(data),
        "dataset": tf.data.Dataset.from_tensor_slices(data).batch(10),
        "dataset with labels": tf.data.Dataset.from_tensor_slices((data, np.arange(64))).batch(10),
        "sequence": Batches(data, np.arange(64)),
        "endless sequence": EndlessBatches(data, size=32),
    }[kind]
    model = latent_model()
    model.adapt(x)
    latents = np.asarray(model.encode(data), "float64")
    assert latents.shape == (64, *LATENT)
    # Of a sequence without an end the first 5,000 images count, which do not come equally often.
    most = 0.01 if kind == "endless sequence" else 1e-5
    np.testing.assert_allclose(latents.mean(axis=(0, 1, 2)), 0, atol=most)
    np.testing.assert_allclose(latents.std(axis=(0, 1, 2)), 1, rtol=10 * most)


@pytest.mark.parametrize("x", [None, "images", iter([1])], ids=["none", "text", "iterator"])
def test_adapt_refuses_what_it_cannot_look_at(x):
    with pytest.raises(ValueError, match=f"x: got {type(x).__name__}"):
        latent_model().adapt(x)


def test_latents_and_back_are_the_autoencoders_reconstruction():
    model, data = latent_model(), images(6)
    model.adapt(data)
    back = model.decode(model.encode(data))
    np.testing.assert_allclose(back, model.autoencoder.reconstruct(data), atol=1e-5)


@pytest.mark.parametrize("kind", ["array", "dataset", "sequence"])
def test_latent_diffusion_trains_and_leaves_the_autoencoder_alone(kind):
    data, labels = images(21), np.arange(21) % 2
    x = {
        "array": (data, labels),
        "dataset": (tf.data.Dataset.from_tensor_slices((data, labels)).batch(8),),
        "sequence": (Batches(data, labels, size=8),),
    }[kind]
    model = compiled(latent_model(num_classes=2), learning_rate=0.05)
    before = model.autoencoder.get_weights(), model.network.get_weights()
    kwargs = {"batch_size": 8} if kind == "array" else {"shuffle": None}
    history = fit(model, *x, **kwargs)
    assert np.isfinite(history["loss"]).all()
    for a, b in zip(before[0], model.autoencoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(before[1], model.network.get_weights(), strict=True))
    mean = model.latent_mean.numpy()
    latents = model.autoencoder.encode(data)[0].reshape(-1, 3)
    np.testing.assert_allclose(mean, latents.mean(axis=0), atol=1e-6)
    fit(model, 0.1 * data, labels)  # the first time decides
    np.testing.assert_array_equal(model.latent_mean.numpy(), mean)


def test_latent_diffusion_trains_with_its_own_network():
    model = latent_model(widths=(8,), blocks=1)
    assert model.network.name == "unet" and model.network.output_shape == (None, *LATENT)
    compiled(model, run_eagerly=True)
    assert np.isfinite(fit(model, images(4))["loss"]).all()


def test_latent_diffusion_generates_and_inpaints_images():
    model = latent_model(num_classes=2)
    data = images(9)
    model.adapt(data)
    made = model.generate(5, seed=1, guidance_scale=1.5)
    assert made.shape == (5, *SHAPE) and made.dtype == np.float32 and np.abs(made).max() <= 1
    mask = np.ones((9, *SHAPE), bool)
    mask[:, 3:, 2:] = False
    drawn = model.inpaint(data, mask, seed=1)
    np.testing.assert_array_equal(drawn[mask], data[mask])
    assert (drawn[~mask] != data[~mask]).any()
    np.testing.assert_array_equal(model.inpaint(data, np.array(True)), data)
    arguments = {"labels": 1, "seed": 2}
    np.testing.assert_allclose(
        model.inpaint(data, np.zeros((1, 1, 1), bool), **arguments),
        model.generate(9, **arguments),
        atol=1e-5,
    )


def test_a_latent_is_known_if_all_its_pixels_are():
    mask = np.ones((1, 8, 8, 1), "float32")
    mask[0, 1, 6] = 0  # in the square at the top right
    known = np.asarray(latent_model().encode_mask(mask))
    np.testing.assert_array_equal(known[0, :, :, 0], [[1, 0], [1, 1]])


def test_likelihood_of_latents_is_the_density():
    data, mean = 2 * images(5, LATENT), images(5, LATENT, seed=1)
    ours = latent_model().data_log_likelihood(data, mean, -1.4)
    np.testing.assert_allclose(
        ours, scipy.stats.norm.logpdf(data, mean, np.exp(-0.7)), rtol=1e-5, atol=1e-6
    )


def test_bound_of_latents_is_that_of_their_density():
    """Latents that are all the mean, and an oracle that says so: the prior and one density."""
    means = np.zeros((1, *LATENT))
    network = oracle(means, 0.0, timesteps=10).network
    model = latent_model(network=network, timesteps=10)
    model.latent_mean.assign(model.autoencoder.encode(images(1))[0].reshape(-1, 3)[0])
    model.latent_std.assign([1e6] * 3)  # whatever the latents are, they are 0 now
    small, _ = fixed_variances(10)
    alpha_bar = diffusion.cosine(1.0)
    prior = -12 * 0.5 * (alpha_bar + np.log(1 - alpha_bar))
    bound = model.variational_bound(images(4), n_steps=10)
    expected = prior - 12 * scipy.stats.norm.logpdf(0, 0, np.sqrt(small[0]))
    np.testing.assert_allclose(bound, expected, rtol=1e-3)


@pytest.mark.parametrize("latent_shape", [(2, 2, 2), (12, 2), (4, 2, 2)])
def test_latent_diffusion_refuses_shapes_that_do_not_fit(latent_shape):
    autoencoder = diffusion.latent_autoencoder(SHAPE, channels=3, width=4)
    with pytest.raises(ValueError, match="latent_shape: got"):
        diffusion.LatentDiffusion(autoencoder, latent_shape, widths=(8,))


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
