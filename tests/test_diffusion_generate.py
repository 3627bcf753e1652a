"""Chapter 04: guidance, samples, inpainting and the variational bound."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from diffusion_models import (
    PREDICTIONS,
    SHAPE,
    assert_mean,
    compiled,
    exact_fractions,
    exact_variances,
    fit,
    fixed_variances,
    guidance_model,
    images,
    oracle,
    points,
    rates,
    small_model,
)
from keras import ops

from aigc_keras import diffusion

# --- guidance ---


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
