"""Chapter 02: the bound against models whose likelihood is known, and limit cases."""

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
from vae_models import (
    N_PIXELS,
    SHAPE,
    FixedNoise,
    compiled,
    evaluate,
    images,
    linear_networks,
    set_layers,
    set_posterior,
    small_vae,
    train,
)

from aigc_keras import vae

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
