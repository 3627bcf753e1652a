"""What the tests of chapter 04 share: small models, and models whose network is the best one."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras import diffusion

SHAPE = (8, 8, 1)
PREDICTIONS = diffusion.PREDICTIONS


def images(n, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype("float32")


def points(n, seed=0):
    return images(n, (2,), seed)


class Oracle(keras.layers.Layer):
    """What the best network answers where the data are a mixture of N(means[k], std^2 I).

    Of a class k, data are the k-th part of it; of the label that says nothing, all of it. Written
    for the cosine schedule, or for the straight path, in double precision.
    """

    def __init__(self, means, std, prediction, fractions=None, straight=False, **kwargs):
        super().__init__(**kwargs)
        self.means, self.std, self.prediction = means, std, prediction
        self.fractions, self.straight = fractions, straight

    def call(self, noisy, times, labels=None):
        x, t = (ops.cast(v, "float64") for v in (noisy, times))
        means = np.array(self.means, "float64")
        ones = (-1,) + (1,) * (means.ndim - 1)
        angle = lambda t: ops.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
        zero = math.cos(0.008 / 1.008 * np.pi / 2) ** 2
        alpha_bar = ops.reshape(1 - (1 - 1e-4) * (1 - angle(t) / zero), ones)
        signal, noise = ops.sqrt(alpha_bar), ops.sqrt(1 - alpha_bar)
        if self.straight:
            signal, noise = ops.reshape(1 - t, ones), ops.reshape(t, ones)
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
        output = (answers | {"flow": epsilon - image})[self.prediction]
        if self.fractions is not None:
            steps = ops.cast(ops.round(t * (len(self.fractions) - 1)), "int32")
            fractions = ops.take(np.array(self.fractions), steps)
            fractions = ops.reshape(2 * fractions - 1, ones) * ops.ones_like(output)
            output = ops.concatenate([output, fractions], axis=-1)
        return ops.cast(output, "float32")

    def get_config(self):
        names = ("means", "std", "prediction", "fractions", "straight")
        own = {k: getattr(self, k) for k in names}
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
    straight = kwargs.get("noise_schedule") == "straight"
    network = keras.Model(inputs, Oracle(means, std, prediction, fractions, straight)(*inputs))
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
    path = diffusion.rates_at(schedule, np.arange(1, timesteps + 1) / timesteps)
    return path["signal_rate"], path["noise_rate"]


def assert_same_weights(ours, others, **tolerance):
    for a, b in zip(ours.get_weights(), others.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 0, "atol": 0, **tolerance})


def assert_mean(samples, expected, atol=0.0):
    """The mean over the first axis is what is expected, within four standard errors."""
    error = np.std(samples, axis=0) / np.sqrt(len(samples))
    assert (np.abs(np.mean(samples, axis=0) - expected) <= 4 * error + atol).all()


def guidance_model(prediction="velocity", **kwargs):
    """Classes that overlap, so that with a class something else is right than without."""
    means = [[0.2, 0.1], [-0.2, 0.1], [0.0, -0.2]]
    return oracle(means, 0.1, prediction, classes=True, **kwargs)


def steps_of(timesteps, schedule):
    """(rates before, rates after, variance of the noise added) of the single steps forward."""
    path = diffusion.rates_at(schedule, np.arange(timesteps + 1) / timesteps)
    before, after = ({k: x[part] for k, x in path.items()} for part in (np.s_[:-1], np.s_[1:]))
    kept = after["signal_rate"] / before["signal_rate"]
    return before, after, after["noise_rate"] ** 2 - kept**2 * before["noise_rate"] ** 2


def exact_variances(timesteps, std, schedule=diffusion.cosine):
    """Of q(x_(k-1) | x_k), k = 1 to `timesteps`, where the data are N(0, std^2): Bayes' rule."""
    before, after, added = steps_of(timesteps, schedule)
    totals = (x["signal_rate"] ** 2 * std**2 + x["noise_rate"] ** 2 for x in (before, after))
    return next(totals) * added / next(totals)


def fixed_variances(timesteps, schedule=diffusion.cosine):
    """(small, large), with the paper's stand-in for the small variance of step 1, which is 0."""
    before, after, added = steps_of(timesteps, schedule)
    small = added * before["noise_rate"] ** 2 / after["noise_rate"] ** 2
    small[0] = small[1]
    return small, added * (before["scale"] / after["scale"]) ** 2


def exact_fractions(timesteps, std, schedule=diffusion.cosine):
    small, large = (np.log(v) for v in fixed_variances(timesteps, schedule))
    fractions = (np.log(exact_variances(timesteps, std, schedule)) - small) / (large - small)
    return [0.0, *fractions.tolist()]


LATENT = (2, 2, 3)


def latent_model(cls=diffusion.LatentDiffusion, seed=0, **kwargs):
    """With `kwargs`, or with a network of one dense layer."""
    keras.utils.set_random_seed(seed)
    autoencoder = diffusion.latent_autoencoder(SHAPE, channels=3, width=4)
    if not kwargs.keys() & {"network", "widths"}:
        outputs = 2 if kwargs.get("variance") == "learned" else 1
        kwargs["network"] = dense_network(LATENT, kwargs.get("num_classes"), outputs)
    return cls(autoencoder, LATENT, **kwargs)
