"""Chapter 02: the bound against models whose likelihood is known, limit cases, refusals."""

import json
import math

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
from keras import ops

from aigc_keras import checkpoints, metrics, vae

SHAPE = (4, 4, 1)
N_PIXELS = 16


def images(n, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype("float32")


def linear_networks(latent_dim=2, shape=SHAPE):
    """An encoder and a decoder without hidden layers: what they do can be computed by hand."""
    pictures = keras.Input(shape)
    flat = keras.layers.Flatten()(pictures)
    outputs = [keras.layers.Dense(latent_dim, name=name)(flat) for name in ("mean", "log_variance")]
    latents = keras.Input((latent_dim,))
    pixels = keras.layers.Dense(math.prod(shape), name="pixels")(latents)
    return {
        "encoder": keras.Model(pictures, outputs),
        "decoder": keras.Model(latents, keras.layers.Reshape(shape)(pixels)),
    }


def small_vae(cls=vae.VAE, latent_dim=2, **kwargs):
    """A VAE that trains in milliseconds."""
    return cls(SHAPE, latent_dim=latent_dim, **{**linear_networks(latent_dim), **kwargs})


def conv_vae(cls=vae.VAE, shape=(8, 8, 1), **kwargs):
    """A small VAE with the library's own networks."""
    return cls(shape, **{"latent_dim": 2, "width": 4, "hidden": 8, **kwargs})


def compiled(model, learning_rate=0.01, run_eagerly=True, **kwargs):
    """Ready for a few steps of gradient descent: building a graph would take longer."""
    model.compile(keras.optimizers.SGD(learning_rate), run_eagerly=run_eagerly, **kwargs)
    return model


def set_layers(network, **weights):
    for name, values in weights.items():
        network.get_layer(name).set_weights([np.asarray(x, "float32") for x in values])


def set_posterior(model, mean, log_variance):
    """Let q(z|x) be the same for every image."""
    kernel = np.zeros((N_PIXELS, len(mean)))
    set_layers(model.encoder, mean=[kernel, mean], log_variance=[kernel, log_variance])


class FixedNoise(vae.VAE):
    """Takes `noise` for the reparameterisation; with 0, every latent is the posterior's mean."""

    noise = 0.0

    def reparameterise(self, mean, log_variance, noise=None):
        return super().reparameterise(mean, log_variance, self.noise)


def fit(model, *data, **kwargs):
    return model.fit(*data, **{"verbose": 0, "shuffle": False, **kwargs}).history


def train(model, data, n_steps, learning_rate=0.03):
    """Many steps with Adam on all of `data` at once, in one epoch: Keras' epochs are slow."""
    model.compile(keras.optimizers.Adam(learning_rate))
    many = tf.data.Dataset.from_tensors(data).repeat(n_steps)
    return fit(model, many)


def evaluate(model, *data, **kwargs):
    return model.evaluate(*data, verbose=0, return_dict=True, **kwargs)


def assert_same_weights(ours, others, **tolerance):
    for a, b in zip(ours.get_weights(), others.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 0, "atol": 0, **tolerance})


# --- the KL divergence ---

MEANS = np.array([0.0, 0.7, -2.0, 0.0, 1.5])
LOG_VARIANCES = np.array([0.0, -1.0, 0.5, -3.0, 1.2])


def test_kl_divergence_is_the_integral():
    def divergence(mean, log_variance):
        q = scipy.stats.norm(mean, np.exp(0.5 * log_variance))
        log_ratio = lambda z: q.logpdf(z) - scipy.stats.norm.logpdf(z)  # noqa: E731
        return scipy.integrate.quad(lambda z: q.pdf(z) * log_ratio(z), *q.interval(1 - 1e-14))[0]

    expected = [divergence(*pair) for pair in zip(MEANS, LOG_VARIANCES, strict=True)]
    ours = small_vae().kl_divergence(MEANS[None], LOG_VARIANCES[None])
    np.testing.assert_allclose(ours[0], expected, rtol=1e-6, atol=1e-12)
    assert expected[0] == 0  # q is the prior


def test_kl_divergence_is_what_sampling_finds():
    """E_q[log q - log p], with the samples that the reparameterisation draws."""
    model = small_vae(latent_dim=5, seed=1)
    mean, log_variance = (np.tile(x, (20_000, 1)).astype("float32") for x in (MEANS, LOG_VARIANCES))
    latents = np.asarray(model.reparameterise(mean, log_variance), "float64")
    log_q = scipy.stats.norm.logpdf(latents, MEANS, np.exp(0.5 * LOG_VARIANCES))
    samples = log_q - scipy.stats.norm.logpdf(latents)
    errors = samples.mean(axis=0) - vae.gaussian_kl(MEANS, LOG_VARIANCES)
    assert (np.abs(errors) <= 4 * samples.std(axis=0) / np.sqrt(len(samples)) + 1e-6).all()


@pytest.mark.parametrize("latent_dim", [1, 2, 4])
def test_losses_are_sums_over_dimensions_and_pixels(latent_dim):
    """Twice the latents of the same posterior cost twice the nats; a fair coin a pixel, log 2."""
    model = compiled(small_vae(latent_dim=latent_dim))
    set_posterior(model, np.full(latent_dim, 0.8), np.full(latent_dim, -0.5))
    set_layers(model.decoder, pixels=[np.zeros((latent_dim, N_PIXELS)), np.zeros(N_PIXELS)])
    one = 0.5 * (0.8**2 + np.exp(-0.5) + 0.5 - 1)
    losses = evaluate(model, images(5))
    np.testing.assert_allclose(losses["kl_divergence"], latent_dim * one, rtol=1e-5)
    np.testing.assert_allclose(losses["reconstruction_loss"], N_PIXELS * np.log(2), rtol=1e-5)
    np.testing.assert_allclose(
        losses["negative_elbo"], latent_dim * one + N_PIXELS * np.log(2), rtol=1e-5
    )


# --- likelihoods ---


def test_bernoulli_is_the_probability_of_binary_images():
    binary = np.sign(images(6, (4, 4, 3)))
    logits = np.random.default_rng(1).normal(0, 3, binary.shape).astype("float32")
    expected = scipy.stats.bernoulli.logpmf(binary > 0, scipy.special.expit(logits))
    np.testing.assert_allclose(
        vae.bernoulli(binary, logits), expected.sum(axis=(1, 2, 3)), rtol=1e-5
    )


def test_bernoulli_of_grey_images_is_the_cross_entropy():
    grey = images(1)
    logits = np.random.default_rng(1).normal(0, 3, grey.shape).astype("float32")
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
    ours = vae.bernoulli(grey, logits)
    np.testing.assert_allclose(ours[0], -cross_entropy((grey + 1) / 2, logits), rtol=1e-5)
    # It is the mean over pictures whose pixels are drawn black or white.
    drawn = np.random.default_rng(2).uniform(-1, 1, (20_000, *SHAPE)) < grey
    samples = vae.bernoulli(np.where(drawn, 1.0, -1.0).astype("float32"), logits).numpy()
    assert abs(samples.mean() - float(ours[0])) < 4 * samples.std() / np.sqrt(len(samples))


def test_bernoulli_logits_that_are_sure_stay_finite():
    sure = np.full((1, *SHAPE), 500.0, "float32")
    white = np.ones_like(sure)
    for logits in (sure, -sure):
        right, wrong = (
            float(vae.bernoulli(x, logits)[0]) for x in (np.sign(logits) * white, -np.sign(logits))
        )
        assert right == 0 and wrong == -N_PIXELS * 500


@pytest.mark.parametrize("log_scale", [-2.0, 0.0, 0.7])
def test_gaussian_is_the_density(log_scale):
    real, means = images(6, (4, 4, 3)), images(6, (4, 4, 3), seed=1)
    expected = scipy.stats.norm.logpdf(real, means, np.exp(log_scale)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(vae.gaussian(real, means, log_scale), expected, rtol=1e-5)


def test_scale_of_the_gaussian_learns_the_error():
    """Rybkin et al. 2021, eq. 5: the best sigma is the root mean squared error."""
    networks = linear_networks()
    constant = np.linspace(-0.5, 0.5, N_PIXELS)
    set_layers(networks["decoder"], pixels=[np.zeros((2, N_PIXELS)), constant])
    networks["decoder"].trainable = False
    model = small_vae(beta=0.0, likelihood="gaussian", **networks)
    data = 0.3 * images(32)
    train(model, data, 150)
    error = np.sqrt(np.mean((data.reshape(-1, N_PIXELS) - constant) ** 2))
    np.testing.assert_allclose(np.exp(model.log_scale.numpy()), error, rtol=1e-3)


def test_decoded_images_are_the_mean_of_the_likelihood():
    latents = np.random.default_rng(0).normal(0, 3, (9, 2)).astype("float32")
    model = small_vae()
    outputs = model.decoder(latents).numpy()
    np.testing.assert_allclose(
        model.decode(latents), 2 * scipy.special.expit(outputs) - 1, atol=1e-6
    )
    model = small_vae(likelihood="gaussian")
    outputs = model.decoder(latents).numpy()
    assert np.abs(outputs).max() > 1
    np.testing.assert_allclose(model.decode(latents), np.clip(outputs, -1, 1), atol=1e-6)


# --- the reparameterisation ---


def test_gradient_of_the_reparameterisation_against_finite_differences():
    model = small_vae()
    mean, log_variance, noise = np.random.default_rng(0).normal(size=(3, 5, 2))

    def value(mean, log_variance):
        latents = model.reparameterise(mean, log_variance, noise)
        return tf.reduce_sum(tf.sin(2 * latents) * latents**2)

    variables = [tf.constant(mean), tf.constant(log_variance)]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        result = value(*variables)
    step = 1e-6
    for k, gradient in enumerate(tape.gradient(result, variables)):
        for index in np.ndindex(5, 2):
            ends = []
            for sign in (1, -1):
                arrays = [mean.copy(), log_variance.copy()]
                arrays[k][index] += sign * step
                ends.append(float(value(*(tf.constant(x) for x in arrays))))
            difference = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose(gradient[index], difference, rtol=1e-6, atol=1e-7)


def test_gradient_of_the_reparameterisation_is_the_gradient_of_the_expectation():
    """E[z^2] = mean^2 + variance: its gradients are 2 mean and the variance."""
    mean, log_variance = tf.constant([0.7, -1.5]), tf.constant([-1.0, 0.4])
    n = 100_000
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([mean, log_variance])
        tiled = [tf.tile(x[None], (n, 1)) for x in (mean, log_variance)]
        value = tf.reduce_mean(small_vae(seed=3).reparameterise(*tiled) ** 2, axis=0)
        value = tf.reduce_sum(value)
    np.testing.assert_allclose(tape.gradient(value, mean), 2 * mean, atol=0.02)
    np.testing.assert_allclose(tape.gradient(value, log_variance), tf.exp(log_variance), atol=0.02)


# --- the bound on a model whose likelihood is known ---

SHIFT = np.array([0.15, -0.1])
LOG_STRETCH = np.array([0.5, 0.8])


def linear_gaussian(shift=(0.0, 0.0), log_stretch=(0.0, 0.0), cls=vae.VAE, **kwargs):
    """x = W z + b + sigma * noise, with q(z|x) off the true posterior by a shift and a stretch.

    Returns the model, the exact distribution of x, and the posterior's variance. The columns of W
    are orthogonal, so the posterior is a diagonal Gaussian, as the encoder's is.
    """
    rng = np.random.default_rng(0)
    columns, _ = np.linalg.qr(rng.normal(size=(N_PIXELS, 2)))
    w, b, sigma = columns * [1.5, 0.7], 0.1 * rng.normal(size=N_PIXELS), 0.4
    variance = 1 / (1 + (w**2).sum(axis=0) / sigma**2)
    model = small_vae(cls, likelihood="gaussian", **kwargs)
    model.log_scale.assign(np.log(sigma))
    kernel = w * variance / sigma**2
    set_layers(
        model.encoder,
        mean=[kernel, shift - b @ kernel],
        log_variance=[np.zeros_like(w), np.log(variance) + log_stretch],
    )
    set_layers(model.decoder, pixels=[w.T, b])
    covariance = w @ w.T + sigma**2 * np.eye(N_PIXELS)
    return model, scipy.stats.multivariate_normal(b, covariance), variance


def flat(x):
    return x.reshape(-1, N_PIXELS)


def gap(variance, shift, log_stretch):
    """log p(x) - ELBO = KL(q || posterior), nats, of `linear_gaussian`."""
    return 0.5 * np.sum(shift**2 / variance + np.exp(log_stretch) - log_stretch - 1)


def test_bound_is_exact_with_the_true_posterior():
    """p(x, z) / q(z|x) is then p(x) for every z: one sample is as good as any number."""
    model, marginal, _ = linear_gaussian()
    data = images(10)
    for n_samples, batch_size in ((1, 256), (1, 3), (4, 3)):
        bound = model.log_likelihood(data, n_samples=n_samples, batch_size=batch_size)
        assert bound.shape == (10,)
        np.testing.assert_allclose(bound, marginal.logpdf(flat(data)), rtol=1e-5)


def test_elbo_and_its_gradient_are_exact_over_sigma_points():
    """log p(x|z) is quadratic: four points of mean 0 and covariance 1 give its expectation."""
    model, marginal, variance = linear_gaussian(SHIFT, LOG_STRETCH, FixedNoise)
    model.noise = np.sqrt(2) * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], "float32")
    batch = np.repeat(images(1), 4, axis=0)
    biases = [model.encoder.get_layer(name).bias for name in ("mean", "log_variance")]
    with tf.GradientTape() as tape:
        log_likelihood, kl = model.elbo_terms(batch)
        loss = model.objective(log_likelihood, kl, beta=1.0)
    expected = gap(variance, SHIFT, LOG_STRETCH) - marginal.logpdf(batch[0].ravel())
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for_mean, for_log_variance = tape.gradient(loss, [x.value for x in biases])
    np.testing.assert_allclose(for_mean, SHIFT / variance, rtol=1e-3)
    np.testing.assert_allclose(for_log_variance, 0.5 * (np.exp(LOG_STRETCH) - 1), rtol=1e-3)


def test_bound_grows_from_the_elbo_to_the_marginal():
    """Burda et al. 2016, theorem 1: ELBO <= bound of K samples <= bound of more <= log p(x)."""
    model, marginal, variance = linear_gaussian(SHIFT, LOG_STRETCH)
    data = images(5)
    exact = marginal.logpdf(flat(data))
    many = np.repeat(data, 800, axis=0)  # as many independent estimates as seeds would give
    elbo = exact - gap(variance, SHIFT, LOG_STRETCH)
    before = elbo
    for n_samples in (1, 4, 16):
        bound = model.log_likelihood(many, n_samples=n_samples, seed=1, batch_size=4000)
        bound = bound.reshape(5, 800)
        error = bound.std(axis=1) / np.sqrt(800)
        if n_samples == 1:  # one sample is the ELBO, on average
            assert (np.abs(bound.mean(axis=1) - elbo) < 4 * error).all()
        else:
            assert (bound.mean(axis=1) > before + 4 * error).all()
        before = bound.mean(axis=1)
        assert (before < exact).all()
    bound = model.log_likelihood(data, n_samples=1000, seed=1)
    np.testing.assert_allclose(bound, exact, atol=0.05 * gap(variance, SHIFT, LOG_STRETCH))


def test_evaluate_reports_the_elbo():
    model, marginal, variance = linear_gaussian(SHIFT, LOG_STRETCH, seed=1)
    model.compile()
    data = images(4)
    losses = evaluate(model, np.repeat(data, 2000, axis=0), batch_size=1000)
    expected = gap(variance, SHIFT, LOG_STRETCH) - marginal.logpdf(flat(data)).mean()
    np.testing.assert_allclose(losses["negative_elbo"], expected, atol=0.1)
    np.testing.assert_allclose(losses["loss"], losses["negative_elbo"], rtol=1e-6)


def test_log_likelihood_repeats_with_a_seed_and_varies_without():
    model, _, _ = linear_gaussian(SHIFT, LOG_STRETCH)
    first, again, other = (
        model.log_likelihood(images(7), n_samples=2, seed=seed, batch_size=3) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    unseeded = [model.log_likelihood(images(7), n_samples=2) for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).all()


def test_log_likelihood_in_chunks_is_the_same_on_average():
    """Other chunks meet other noise; no chunk may share its noise with the next."""
    model, _, _ = linear_gaussian(SHIFT, LOG_STRETCH)
    same = np.repeat(images(1), 600, axis=0)
    whole, chunks = (
        model.log_likelihood(same, n_samples=3, seed=1, batch_size=b) for b in (1024, 7)
    )
    assert abs(whole.mean() - chunks.mean()) < 4 * whole.std() * np.sqrt(2 / 600)
    assert len(np.unique(chunks)) > 590


def test_log_likelihood_of_binary_images_is_the_sum_over_a_grid_of_latents():
    """One latent dimension, an encoder that says nothing: p(x) is an integral over the line."""
    model = small_vae(latent_dim=1)
    set_posterior(model, [0.2], [0.3])
    data = np.sign(images(3))
    grid = np.linspace(-6, 6, 2001)[:, None]
    white = scipy.special.expit(model.decoder(grid.astype("float32")).numpy())
    likelihood = scipy.stats.bernoulli.logpmf(data[:, None] > 0, white[None]).sum(axis=(2, 3, 4))
    joint = np.exp(likelihood) * scipy.stats.norm.pdf(grid[:, 0])
    expected = np.log(scipy.integrate.trapezoid(joint, grid[:, 0]))
    np.testing.assert_allclose(
        model.log_likelihood(data, n_samples=400, seed=0), expected, atol=0.2
    )


# --- the train step ---


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
@pytest.mark.parametrize("beta", [0.0, 4.0])
def test_train_step_equals_a_naive_one(likelihood, beta):
    """With beta = 0 the naive one is an autoencoder, whose latents are noisy."""
    model = compiled(small_vae(FixedNoise, likelihood=likelihood, beta=beta), run_eagerly=False)
    noise = np.random.default_rng(7).normal(size=(16, 2)).astype("float32")
    model.noise = noise
    encoder, decoder = (keras.models.clone_model(x) for x in (model.encoder, model.decoder))
    encoder.set_weights(model.encoder.get_weights())
    decoder.set_weights(model.decoder.get_weights())
    log_scale = keras.Variable(0.0)
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
    batch = images(16)
    with tf.GradientTape() as tape:
        mean, log_variance = encoder(batch)
        outputs = decoder(mean + tf.sqrt(tf.exp(log_variance)) * noise)
        if likelihood == "bernoulli":
            loss = cross_entropy((batch + 1) / 2, outputs) / 16
        else:
            squares = tf.reduce_sum((batch - outputs) ** 2) / 16
            loss = squares / (2 * tf.exp(log_scale) ** 2)
            loss += N_PIXELS * (log_scale + 0.5 * math.log(2 * math.pi))
        if beta:
            variance = tf.exp(log_variance)
            loss += beta * tf.reduce_sum(mean**2 + variance - tf.math.log(variance) - 1) / 32
    variables = encoder.trainable_variables + decoder.trainable_variables
    if likelihood == "gaussian":
        variables.append(log_scale)
    gradients = tape.gradient(loss, [v.value for v in variables])
    keras.optimizers.SGD(0.01).apply(gradients, variables)

    history = fit(model, batch, batch_size=16)
    np.testing.assert_allclose(history["loss"], [float(loss)], rtol=1e-5)
    assert_same_weights(model.encoder, encoder, atol=1e-5)
    assert_same_weights(model.decoder, decoder, atol=1e-5)
    if likelihood == "gaussian":
        np.testing.assert_allclose(model.log_scale.numpy(), log_scale.numpy(), atol=1e-5)


def test_without_beta_the_posterior_variance_costs_nothing():
    """The KL has no gradient: what moves is the autoencoder, through the noise's latents only."""
    model = compiled(small_vae(FixedNoise, beta=0.0))
    mean, log_variance = (model.encoder.get_layer(name) for name in ("mean", "log_variance"))
    before = [layer.get_weights()[0] for layer in (mean, log_variance)]
    history = fit(model, images(32), batch_size=8, epochs=3)
    assert history["loss"] == history["reconstruction_loss"]
    assert history["kl_divergence"][0] > 0
    assert (mean.get_weights()[0] != before[0]).all()
    np.testing.assert_array_equal(log_variance.get_weights()[0], before[1])


def test_warm_up_is_linear_and_evaluation_uses_all_of_beta():
    def weight(losses):
        loss, reconstruction, kl = (
            np.array(losses[k]) for k in ("loss", "reconstruction_loss", "kl_divergence")
        )
        return (loss - reconstruction) / kl

    model = compiled(small_vae(beta=2.0, warmup_steps=4), learning_rate=1e-4, run_eagerly=False)
    data = images(8)
    np.testing.assert_allclose(weight(evaluate(model, data)), 2.0, rtol=1e-4)
    history = fit(model, data, batch_size=8, epochs=7, validation_data=data)
    np.testing.assert_allclose(weight(history), [0, 0.5, 1, 1.5, 2, 2, 2], atol=1e-4)
    validation = {k[4:]: v for k, v in history.items() if k.startswith("val_")}
    np.testing.assert_allclose(weight(validation), np.full(7, 2.0), rtol=1e-4)
    with_kl, without = (
        np.array(history[k]) for k in ("negative_elbo", "reconstruction_loss")
    )  # the bound itself knows no beta
    np.testing.assert_allclose(with_kl - without, history["kl_divergence"], rtol=1e-4)


def test_free_bits_beyond_reach_leave_the_posterior_alone():
    model = compiled(small_vae(FixedNoise, latent_dim=3, beta=2.0, free_bits=1e3))
    before = model.encoder.get_layer("log_variance").get_weights()
    history = fit(model, images(16), batch_size=8, epochs=2)
    np.testing.assert_allclose(
        history["loss"], np.array(history["reconstruction_loss"]) + 2 * 3 * 1e3, rtol=1e-6
    )
    for a, b in zip(before, model.encoder.get_layer("log_variance").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_free_bits_are_for_a_dimension_and_its_mean_over_the_batch():
    """Kingma et al. 2016, eq. 15; rows: two images, columns: three latent dimensions."""
    kl, log_likelihood = tf.constant([[0.0, 0.1, 2.0], [2.0, 0.3, 2.0]]), tf.constant([-10.0, -20])
    with tf.GradientTape() as tape:
        tape.watch(kl)
        loss = small_vae(free_bits=0.5).objective(log_likelihood, kl, beta=4.0)
    np.testing.assert_allclose(loss, 15 + 4 * (1.0 + 0.5 + 2.0))
    np.testing.assert_allclose(tape.gradient(loss, kl), [[2, 0, 2], [2, 0, 2]])
    plain = small_vae(free_bits=0.0).objective(log_likelihood, kl, beta=4.0)
    np.testing.assert_allclose(plain, 15 + 4 * (1.0 + 0.2 + 2.0))


def levels(n=64, shape=SHAPE):
    """Pictures of one grey each, from dark to bright, with a little noise: one fact an image."""
    brightness = np.linspace(-0.8, 0.8, n, dtype="float32")[:, None, None, None]
    return brightness + 0.1 * images(n, shape)


def test_active_units_are_those_whose_mean_depends_on_the_image():
    model = small_vae(latent_dim=3)
    kernel = np.zeros((N_PIXELS, 3))
    kernel[:, 0] = 1 / N_PIXELS  # the brightness; a constant mean is no information
    set_layers(model.encoder, mean=[kernel, [0.0, 0.0, 5.0]])
    data = levels()
    np.testing.assert_array_equal(model.active_units(data), [True, False, False])
    variance = data.mean(axis=(1, 2, 3)).var()
    assert model.active_units(data, threshold=0.99 * variance)[0]
    assert not model.active_units(data, threshold=1.01 * variance).any()


@pytest.mark.parametrize(("beta", "collapses"), [(1000.0, True), (0.1, False)])
def test_collapsed_posterior_is_detected(beta, collapses):
    """The same data and the same steps: only the price of the latents differs."""
    model = small_vae(beta=beta)
    train(model, levels(), 60)
    active = model.active_units(levels())
    assert active.shape == (2,)
    assert active.any() != collapses
    mean, log_variance = model.encode(levels())
    assert (vae.gaussian_kl(mean, log_variance).numpy().sum(axis=1).mean() < 0.05) == collapses


def test_two_runs_are_alike():
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = compiled(conv_vae())
        history = fit(model, images(20, (8, 8, 1)), batch_size=8, epochs=2, shuffle=True)
        data = images(5, (8, 8, 1))
        runs.append((history, model.generate(6), model.log_likelihood(data, n_samples=2)))
    assert runs[0][0] == runs[1][0]
    for a, b in zip(runs[0][1:], runs[1][1:], strict=True):
        np.testing.assert_array_equal(a, b)


# --- using it ---


def test_generate_repeats_with_a_seed_and_varies_without():
    model = small_vae()
    np.testing.assert_array_equal(model.generate(9, seed=4), model.generate(9, seed=4))
    assert (model.generate(9, seed=4) != model.generate(9, seed=5)).any()
    assert (model.generate(9) != model.generate(9)).any()
    np.testing.assert_array_equal(
        model.generate(9, seed=4), model.decode(model.sample_latents(9, seed=4))
    )


def test_latents_are_standard_normal():
    latents = small_vae(latent_dim=3).sample_latents(3000, seed=0)
    assert latents.shape == (3000, 3)
    assert scipy.stats.kstest(latents.ravel(), "norm").pvalue > 0.01
    np.testing.assert_allclose(np.corrcoef(latents.T), np.eye(3), atol=0.08)


@pytest.mark.parametrize("n", [1, 7, 20])
def test_chunks_are_the_whole(n):
    model = conv_vae(latent_dim=3)
    data = images(n, (8, 8, 1))
    for method, argument, shape in (
        (model.generate, n, (n, 8, 8, 1)),
        (model.reconstruct, data, (n, 8, 8, 1)),
        (model.decode, np.ones((n, 3)), (n, 8, 8, 1)),
        (lambda x, batch_size: model.encode(x, batch_size=batch_size)[1], data, (n, 3)),
    ):
        seed = {"seed": 1} if method == model.generate else {}
        whole, chunks = (method(argument, batch_size=b, **seed) for b in (256, 7))
        assert whole.shape == shape and whole.dtype == np.float32
        np.testing.assert_allclose(whole, chunks, atol=1e-5)


def test_encode_reconstruct_and_call_use_the_mean():
    model = small_vae()
    data = images(5)
    mean, log_variance = model.encode(data)
    for ours, theirs in zip((mean, log_variance), model.encoder(data), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_array_equal(model.reconstruct(data), model.decode(mean))
    np.testing.assert_allclose(model(data), model.reconstruct(data), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_images_of_every_float_type_are_taken(dtype):
    model = compiled(small_vae())
    data = np.sign(images(3))
    fit(model, data.astype(dtype))
    for method in (model.reconstruct, lambda x: model.log_likelihood(x, n_samples=2, seed=0)):
        np.testing.assert_allclose(method(data.astype(dtype)), method(data), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "likelihood"),
    [
        ((4, 4, 1), "bernoulli"),
        ((28, 28, 1), "gaussian"),
        ((32, 32, 3), "bernoulli"),
        ((64, 64, 3), "gaussian"),
        ((28, 32, 1), "bernoulli"),
    ],
)
def test_every_size_trains(shape, likelihood):
    model = compiled(conv_vae(shape=shape, likelihood=likelihood))
    before = model.get_weights()
    assert np.isfinite(fit(model, images(3, shape))["loss"]).all()
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    for made in (model.generate(3, seed=0), model.reconstruct(images(3, shape))):
        assert made.shape == (3, *shape) and made.dtype == np.float32
        assert np.abs(made).max() <= 1


def test_colours_are_reconstructed():
    """Red, green and blue pictures: a latent that knows no channels could only say grey."""
    colours = np.repeat(2 * np.eye(3) - 1, 16, axis=0)[:, None, None, :]
    data = (0.8 * np.broadcast_to(colours, (48, 4, 4, 3))).astype("float32")
    model = vae.VAE((4, 4, 3), latent_dim=2, beta=0.01, **linear_networks(shape=(4, 4, 3)))
    train(model, data, 60, learning_rate=0.05)
    made = model.reconstruct(data).mean(axis=(1, 2))
    np.testing.assert_array_equal(made.argmax(axis=1), np.repeat(np.arange(3), 16))


def test_labels_that_come_along_are_ignored():
    model = compiled(small_vae())
    data = tf.data.Dataset.from_tensor_slices((images(8), np.arange(8))).batch(4)
    assert len(fit(model, data, shuffle=None)["loss"]) == 1


# --- interpolation ---


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_interpolation_starts_and_ends_at_the_ends(method):
    start, end = np.random.default_rng(0).normal(size=(2, 6, 5)).astype("float32")
    path = vae.interpolate_latents(start, end, 7, method)
    assert path.shape == (6, 7, 5)
    np.testing.assert_allclose(path[:, 0], start, atol=1e-5)
    np.testing.assert_allclose(path[:, -1], end, atol=1e-5)


def test_linear_interpolation_has_equal_steps():
    start, end = np.random.default_rng(0).normal(size=(2, 6, 5)).astype("float32")
    path = vae.interpolate_latents(start, end, 5, "linear")
    np.testing.assert_allclose(path[:, 2], (start + end) / 2, atol=1e-6)
    steps = np.broadcast_to((end - start)[:, None] / 4, (6, 4, 5))
    np.testing.assert_allclose(np.diff(path, axis=1), steps, atol=1e-6)


def test_spherical_interpolation_turns_evenly():
    start, end = np.random.default_rng(0).normal(size=(2, 6, 5)) * [[[1.0]], [[3.0]]]
    path = vae.interpolate_latents(start, end, 9)
    lengths = [np.linalg.norm(x, axis=-1)[:, None] for x in (start, end)]
    expected = lengths[0] + (lengths[1] - lengths[0]) * np.linspace(0, 1, 9)
    np.testing.assert_allclose(np.linalg.norm(path, axis=-1), expected, rtol=1e-5)
    directions = unit(path)
    angles = np.arccos(np.sum(directions[:, 1:] * directions[:, :-1], axis=-1))
    whole = np.arccos(np.sum(unit(start) * unit(end), axis=-1))
    np.testing.assert_allclose(angles, np.repeat(whole[:, None] / 8, 8, axis=1), rtol=1e-4)
    for points, a, b in zip(path, start, end, strict=True):  # it stays in their plane
        assert np.linalg.matrix_rank(np.vstack([a, b, points]), tol=1e-5) == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_spherical_interpolation_of_equal_opposite_and_zero_vectors(dtype):
    start = np.random.default_rng(0).normal(size=(200, 5)).astype(dtype)
    np.testing.assert_allclose(
        vae.interpolate_latents(start, start, 4), np.repeat(start[:, None], 4, axis=1), atol=1e-3
    )
    for end in (-start, -2 * start, 0 * start):
        path = vae.interpolate_latents(start, end, 5)
        assert np.isfinite(path).all()
        np.testing.assert_allclose(path[:, 0], start, atol=1e-3)
        np.testing.assert_allclose(path[:, -1], end, atol=1e-3)


def test_opposite_directions_are_joined_by_the_line():
    start = np.random.default_rng(0).normal(size=(200, 5)).astype("float32")
    spherical, linear = (
        vae.interpolate_latents(start, -2 * start, 9, method) for method in ("spherical", "linear")
    )
    np.testing.assert_allclose(spherical, linear, atol=1e-3)


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_interpolated_images_start_and_end_at_the_reconstructions(method):
    model = conv_vae()
    start, end = images(3, (8, 8, 1)), images(3, (8, 8, 1), seed=1)
    path = model.interpolate(start, end, n=5, method=method)
    assert path.shape == (3, 5, 8, 8, 1) and path.dtype == np.float32
    np.testing.assert_allclose(path[:, 0], model.reconstruct(start), atol=1e-5)
    np.testing.assert_allclose(path[:, -1], model.reconstruct(end), atol=1e-5)
    assert model.interpolate(start, end).shape == (3, 8, 8, 8, 1)


# --- ConditionalVAE ---


def test_conditional_vae_learns_what_a_label_means():
    """Dark and bright pictures: after a short training the label decides the brightness."""
    labels = np.arange(64) % 2
    brightness = np.where(labels, 0.6, -0.6)[:, None, None, None]
    data = (brightness + 0.1 * images(64, (8, 8, 1))).astype("float32")
    model = conv_vae(vae.ConditionalVAE, num_classes=2, hidden=16)
    train(model, (data, labels), 100)
    dark, bright = (model.generate(16, labels=k, seed=0).mean() for k in (0, 1))
    assert dark < -0.2 and bright > 0.2
    # The same latents, another label: a dark picture is decoded bright.
    mean, _ = model.encode(data, labels)
    assert model.decode(mean, 1 - labels)[labels == 0].mean() > 0.2
    right, wrong = (model.log_likelihood(data, y, n_samples=4).mean() for y in (labels, 1 - labels))
    assert right > wrong
    assert model.generate(5).shape == (5, 8, 8, 1)
    turns = model.generate(4, seed=1).mean(axis=(1, 2, 3))  # classes 0, 1, 0, 1
    assert (turns[::2] < turns[1::2]).all()


def test_conditional_vae_takes_labels_after_images():
    model = conv_vae(vae.ConditionalVAE, num_classes=3)
    data, labels = images(5, (8, 8, 1)), np.array([0, 1, 2, 0, 1])
    path = model.interpolate(data, data[::-1], labels, n=4)
    assert path.shape == (5, 4, 8, 8, 1)
    np.testing.assert_allclose(path[:, 0], model.reconstruct(data, labels), atol=1e-5)
    np.testing.assert_allclose(
        path[:, -1], model.decode(model.encode(data[::-1], labels)[0], labels), atol=1e-5
    )
    np.testing.assert_allclose(
        model.reconstruct(data, labels, batch_size=2), model.reconstruct(data, labels), atol=1e-5
    )
    np.testing.assert_array_equal(model.encode(data, 2)[0], model.encode(data, [2] * 5)[0])
    assert model.active_units(data, labels).shape == (2,)
    assert model.log_likelihood(data, labels, n_samples=2, batch_size=2).shape == (5,)
    np.testing.assert_allclose(
        model([data, labels]), model.reconstruct(data, labels), atol=1e-5
    )  # Keras calls a model with one argument


# --- DenoisingAutoencoder ---


def pixel_denoiser(**kwargs):
    """Every pixel times one weight: the best denoiser of Gaussian pixels is one of these."""
    pictures, code = keras.Input(SHAPE), keras.Input(SHAPE)
    pixel = keras.layers.Conv2D(1, 1, use_bias=False, name="pixel")
    encoder = keras.Model(pictures, pixel(pictures))
    decoder = keras.Model(code, keras.layers.Identity()(code))
    return vae.DenoisingAutoencoder(SHAPE, encoder=encoder, decoder=decoder, **kwargs)


@pytest.mark.parametrize(("std", "noise_std"), [(0.25, 0.5), (0.25, 0.1)])
def test_denoiser_learns_tweedies_formula(std, noise_std):
    """Of Gaussian pixels, noisy x + noise_std^2 * score(noisy x) shrinks by a known factor."""
    data = np.random.default_rng(0).normal(0, std, (8000, *SHAPE)).clip(-1, 1).astype("float32")
    model = pixel_denoiser(noise_std=noise_std)
    total = std**2 + noise_std**2
    compiled(model, learning_rate=0.25 / total)  # the curvature of the loss is 2 * total
    fit(model, data, batch_size=800, epochs=2)
    noisy = np.linspace(-1.5, 1.5, 5 * N_PIXELS).reshape(5, *SHAPE)
    log_density, step = scipy.stats.norm(0, np.sqrt(total)).logpdf, 1e-4
    score = (log_density(noisy + step) - log_density(noisy - step)) / (2 * step)
    tweedie = noisy + noise_std**2 * score
    np.testing.assert_allclose(tweedie, noisy * std**2 / total, atol=1e-8)
    np.testing.assert_allclose(model.denoise(noisy), tweedie, atol=0.02)
    # What no denoiser can know: the variance of a pixel given the noisy one.
    left = std**2 * noise_std**2 / total
    np.testing.assert_allclose(evaluate(model, data, batch_size=800)["loss"], left, rtol=0.02)


def test_noise_has_the_right_strength_and_is_not_clipped():
    model = pixel_denoiser(noise_std=0.3)
    data = np.ones((2000, *SHAPE), "float32")
    noise = np.asarray(model.corrupt(data, seed=1)) - data
    assert scipy.stats.kstest(noise.ravel(), scipy.stats.norm(0, 0.3).cdf).pvalue > 0.01
    np.testing.assert_array_equal(model.corrupt(data, seed=1), model.corrupt(data, seed=1))
    assert (np.asarray(model.corrupt(data[:5])) != np.asarray(model.corrupt(data[:5]))).all()
    np.testing.assert_array_equal(pixel_denoiser(noise_std=0.0).corrupt(data), data)


def test_denoising_loss_is_a_pixels_mean_squared_error_of_the_clean_image():
    """Also over a short last batch: with weight 0 it is the data's mean square."""
    model = compiled(pixel_denoiser(), learning_rate=0.0)
    set_layers(model.encoder, pixel=[np.zeros((1, 1, 1, 1))])
    data = images(10) * np.linspace(0.1, 1, 10, dtype="float32")[:, None, None, None]
    history = fit(model, data, batch_size=4, validation_data=(data,), validation_batch_size=4)
    assert set(history) == {"loss", "val_loss"}
    np.testing.assert_allclose([*history.values()], np.mean(data**2) * np.ones((2, 1)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4, 1), (28, 28, 1), (32, 32, 3), (28, 32, 1)])
def test_denoiser_takes_every_size(shape):
    model = vae.DenoisingAutoencoder(shape, width=4, code_channels=2)
    compiled(model)
    before = model.get_weights()
    assert np.isfinite(fit(model, images(3, shape))["loss"]).all()
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    noisy = 3 * images(5, shape)
    clean = model.denoise(noisy)
    assert clean.shape == (5, *shape) and clean.dtype == np.float32
    np.testing.assert_allclose(clean, model.denoise(noisy, batch_size=2), atol=1e-5)


# --- Keras' promises ---


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_saved_model_generates_the_same_and_goes_on_alike(likelihood, tmp_path):
    """In the middle of the warm-up, so that the step count matters too."""
    data = images(16, (8, 8, 1))
    model = conv_vae(likelihood=likelihood, beta=2.0, warmup_steps=6, free_bits=0.01, seed=5)
    model.compile()
    fit(model, data, batch_size=8)
    model.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert isinstance(loaded, vae.VAE)
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    if likelihood == "gaussian":
        assert loaded.log_scale.numpy() == model.log_scale.numpy() != 0
    np.testing.assert_array_equal(model.generate(9, seed=1), loaded.generate(9, seed=1))
    np.testing.assert_array_equal(model.generate(9), loaded.generate(9))
    histories = [fit(m, data, batch_size=8) for m in (model, loaded)]
    assert histories[0] == histories[1]
    assert_same_weights(model, loaded)
    np.testing.assert_array_equal(
        *(m.log_likelihood(data, n_samples=2) for m in (model, loaded))
    )  # without a seed: the random numbers stand at the same place


def test_every_model_survives_saving(tmp_path):
    model = conv_vae(vae.ConditionalVAE, num_classes=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, vae.ConditionalVAE) and loaded.num_classes == 3
    np.testing.assert_array_equal(model.generate(4, seed=1), loaded.generate(4, seed=1))


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_checkpoint_restores_the_model_in_half_precision(likelihood, tmp_path):
    model = compiled(small_vae(likelihood=likelihood, beta=0.5))
    fit(model, images(16), epochs=2)
    checkpoints.save(model, "vae", tmp_path, epochs=2)
    loaded = checkpoints.load("vae", tmp_path)
    assert loaded.get_config()["beta"] == 0.5
    model.set_weights([x.astype("float16") for x in model.get_weights()])
    assert_same_weights(model, loaded)
    if likelihood == "gaussian":
        assert loaded.log_scale.numpy() == model.log_scale.numpy() != 0
    np.testing.assert_array_equal(model.generate(9, seed=1), loaded.generate(9, seed=1))
    np.testing.assert_array_equal(
        *(m.log_likelihood(images(4), n_samples=2, seed=0) for m in (model, loaded))
    )


def test_a_variant_overrides_the_divergence_and_nothing_else():
    class Laplace(vae.VAE):
        def kl_divergence(self, mean, log_variance):
            return ops.abs(mean)

    model = compiled(small_vae(Laplace), learning_rate=0.0)
    mean, _ = model.encode(images(8))
    history = fit(model, images(8))
    np.testing.assert_allclose(history["kl_divergence"], np.abs(mean).sum(axis=1).mean(), rtol=1e-5)


def test_validation_reports_losses_and_metrics():
    pictures = keras.Input(SHAPE)
    features = keras.layers.Lambda(lambda x: x[:, :2, 0, 0])(pictures)
    outputs = [features, keras.layers.Softmax()(features)]
    extractor = metrics.Features(keras.Model(pictures, outputs), "pixels")
    model = compiled(small_vae(), metrics=[metrics.FrechetDistance(extractor)])
    history = fit(model, images(64), validation_data=images(64, seed=1), epochs=2)
    assert history["val_frechet_distance"][0] > 0
    losses = {"loss", "negative_elbo", "reconstruction_loss", "kl_divergence"}
    reported = {*(f"val_{name}" for name in losses), "val_frechet_distance"}
    assert set(history) == losses | reported
    assert evaluate(model, images(16)).keys() == {*losses, "frechet_distance"}


def test_training_lowers_the_loss():
    model, data = small_vae(), np.sign(levels())
    before = model.log_likelihood(data, n_samples=4).mean()
    train(model, data, 60)
    assert model.log_likelihood(data, n_samples=4).mean() > 0.7 * before


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_mixed_precision_trains_and_generates_float32(likelihood):
    model = compiled(conv_vae(likelihood=likelihood, dtype="mixed_bfloat16"))
    data = images(8, (8, 8, 1))
    history = fit(model, data, epochs=2)
    assert np.isfinite(history["loss"]).all()
    assert model.generate(2, seed=0).dtype == np.float32
    assert all(x.dtype == np.float32 for x in model.encode(data))
    for network in (model.encoder, model.decoder):
        assert "bfloat16" in {layer.compute_dtype for layer in network.layers}


# --- refusals ---


def network(takes, *gives):
    inputs = keras.Input(takes)
    pixels = keras.layers.Flatten()(inputs)
    outputs = [
        keras.layers.Reshape(shape)(keras.layers.Dense(math.prod(shape))(pixels)) for shape in gives
    ]
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 0}, "latent_dim: got 0"),
        ({"latent_dim": 2.5}, "latent_dim: got 2.5"),
        ({"beta": -1.0}, "beta: got -1.0"),
        ({"beta": float("nan")}, "beta: got nan"),
        ({"beta": "1"}, "beta: got '1'"),
        ({"warmup_steps": -1}, "warmup_steps: got -1"),
        ({"warmup_steps": 0.5}, "warmup_steps: got 0.5"),
        ({"free_bits": -0.1}, "free_bits: got -0.1"),
        ({"likelihood": "poisson"}, "likelihood: got 'poisson', accepted are bernoulli, gaussian"),
        ({"encoder": network((8, 8, 1), (2,), (2,))}, "encoder: turns"),
        ({"encoder": network(SHAPE, (3,), (3,))}, "encoder: turns"),
        ({"encoder": network(SHAPE, (2,), (3,))}, "encoder: turns"),
        ({"encoder": network(SHAPE, (2,))}, "encoder: "),
        ({"decoder": network((3,), SHAPE)}, "decoder: turns"),
        ({"decoder": network((2,), (4, 4, 3))}, "decoder: turns"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        vae.VAE(SHAPE, **{"latent_dim": 2, **linear_networks(), **arguments})


@pytest.mark.parametrize("num_classes", [0, -1, 2.0])
def test_conditional_vae_refuses_a_bad_number_of_classes(num_classes):
    with pytest.raises(ValueError, match=f"num_classes: got {num_classes}"):
        vae.ConditionalVAE(SHAPE, num_classes)


def test_conditional_vae_refuses_networks_without_labels():
    with pytest.raises(ValueError, match="encoder: "):
        vae.ConditionalVAE(SHAPE, 3, latent_dim=2, **linear_networks())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_std": -0.1}, "noise_std: got -0.1"),
        ({"encoder": network((8, 8, 1), (1, 1, 8))}, "encoder: turns"),
        ({"decoder": network((1, 1, 8), (8, 8, 1))}, "decoder: turns"),
        ({"decoder": network((5,), SHAPE)}, "decoder: turns"),
    ],
)
def test_denoiser_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        vae.DenoisingAutoencoder(SHAPE, **arguments)


@pytest.mark.parametrize("cls", [vae.VAE, vae.DenoisingAutoencoder])
@pytest.mark.parametrize("shape", [(28, 28), (30, 30, 1), (27, 28, 1), (2, 4, 1), (28, 28, 4)])
def test_other_image_shapes_are_refused(cls, shape):
    with pytest.raises(ValueError, match="image_shape: got"):
        cls(shape)


BAD_IMAGES = [
    (images(4, (4, 4, 3)), "got shape"),
    (images(4, (5, 4, 1)), "got shape"),
    (np.full((4, *SHAPE), 2.0, "float32"), "got values from 2 to 2"),
    (np.full((4, *SHAPE), np.nan, "float32"), "got values from nan"),
    (np.zeros((4, *SHAPE), "uint8"), "got uint8"),
    (np.zeros((0, *SHAPE), "float32"), "got no images"),
]


@pytest.mark.parametrize(("data", "message"), BAD_IMAGES)
@pytest.mark.parametrize("as_dataset", [False, True])
@pytest.mark.parametrize("build", [small_vae, pixel_denoiser])
def test_bad_data_is_refused_before_training(build, data, message, as_dataset):
    model = compiled(build())
    before = model.get_weights()
    if as_dataset:
        message = "empty dataset" if len(data) == 0 else message
        data = tf.data.Dataset.from_tensor_slices(data).batch(2)
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("data", "message"), BAD_IMAGES)
def test_bad_images_are_refused(data, message):
    model = small_vae()
    for method in (
        model.encode,
        model.reconstruct,
        model.log_likelihood,
        model.active_units,
        lambda x: model.interpolate(x, images(4)),
        lambda x: model.interpolate(images(4), x),
    ):
        with pytest.raises(ValueError, match=f"images: {message}"):
            method(data)


def test_bad_requests_are_refused():
    model = small_vae()
    for n in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"n: got {n}"):
            model.generate(n)
    for n in (1, 2.5):
        with pytest.raises(ValueError, match=f"n: got {n}"):
            model.interpolate(images(2), images(2), n=n)
    with pytest.raises(ValueError, match="method: got 'cubic', accepted are spherical, linear"):
        model.interpolate(images(2), images(2), method="cubic")
    for n_samples in (0, 1.5):
        with pytest.raises(ValueError, match=f"n_samples: got {n_samples}"):
            model.log_likelihood(images(2), n_samples=n_samples)
    for shape in ((2, 5), (2,), (2, 2, 2)):
        with pytest.raises(ValueError, match="latents: got shape"):
            model.decode(np.zeros(shape))
    for shape in ((5, 4, 4, 3), (5, 8, 8, 1), SHAPE):
        with pytest.raises(ValueError, match="images: got shape"):
            pixel_denoiser().denoise(np.zeros(shape, "float32"))


def test_bad_labels_are_refused():
    data = images(3, (8, 8, 1))
    with pytest.raises(ValueError, match="labels: got some"):
        conv_vae().encode(data, np.zeros(3, int))
    model = compiled(conv_vae(vae.ConditionalVAE, num_classes=3))
    requests = (
        lambda *labels: model.encode(data, *labels),
        lambda *labels: model.reconstruct(data, *labels),
        lambda *labels: model.decode(np.zeros((3, 2)), *labels),
        lambda *labels: model.log_likelihood(data, *labels),
        lambda *labels: model.interpolate(data, data, *labels),
    )
    bad = (3, -1, [0, 1], [0, 1, 3], [0, 1, -1], [0.5, 1.0, 2.0])
    for request in requests:
        for labels in ((), (None,), *((x,) for x in bad)):
            with pytest.raises(ValueError, match="labels: got"):
                request(*labels)
    for labels in bad:
        with pytest.raises(ValueError, match="labels: got"):
            model.generate(3, labels=labels)
        if np.shape(labels) == (3,):
            with pytest.raises(ValueError, match="labels: got"):
                model.fit(data, np.array(labels), verbose=0)
    for x in (data, tf.data.Dataset.from_tensor_slices(data).batch(2)):
        with pytest.raises(ValueError, match="got images only"):
            model.fit(x, verbose=0)


def test_nan_stops_the_run_and_what_was_saved_survives(tmp_path):
    model = compiled(small_vae())
    path = tmp_path / "vae.keras"
    saver = keras.callbacks.ModelCheckpoint(path)
    fit(model, images(8), callbacks=[saver])
    saved = path.read_bytes()
    model.optimizer.learning_rate = np.inf
    with pytest.raises(FloatingPointError, match="became nan"):
        fit(model, images(8), batch_size=2, epochs=2, callbacks=[saver])
    assert path.read_bytes() == saved
