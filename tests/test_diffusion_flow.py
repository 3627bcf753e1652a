"""Chapter 04: models of the straight path, and images to begin with."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from diffusion_models import (
    LATENT,
    SHAPE,
    assert_mean,
    compiled,
    dense_network,
    exact_fractions,
    fit,
    images,
    latent_model,
    loss_of,
    oracle,
    points,
    small_model,
)

from aigc_keras import diffusion

FLOW = {"noise_schedule": "straight", "prediction": "flow"}
SAMPLERS = [diffusion.Euler(80), diffusion.Heun(20), diffusion.DPMSolver(30), diffusion.DDPM(200)]
NAMES = ["Euler", "Heun", "DPMSolver", "DDPM"]


# --- rectified flow ---


def test_loss_of_the_flow():
    """Of constant data 0, whose best answer E[noise - 0 | x_t] is known; of Gaussian, the rest."""
    assert loss_of(oracle(std=0.0, timesteps=50, **FLOW), np.zeros((200, 2), "float32")) < 1e-9
    zero = small_model(zero=True, timesteps=50, seed=1, **FLOW)
    data = points(60_000)
    np.testing.assert_allclose(loss_of(zero, data), 1 + np.mean(data**2), rtol=0.02)
    data = np.random.default_rng(0).normal(0, 0.25, (60_000, 2)).astype("float32")
    times = np.arange(1, 11) / 10
    left = 0.25**2 / ((1 - times) ** 2 * 0.25**2 + times**2)  # the flow's variance given x_t
    model = oracle(std=0.25, timesteps=10, **FLOW)
    np.testing.assert_allclose(loss_of(model, data), left.mean(), rtol=0.02)


@pytest.mark.parametrize("prediction", ["image", "flow"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=NAMES)
def test_every_sampler_draws_the_distribution(sampler, prediction):
    arguments = FLOW | {"prediction": prediction}
    model = oracle([[0.3, -0.1]], 0.2, **arguments)
    made = model.generate(4000, sampler=sampler, seed=1, batch_size=4000)
    assert_mean(made, [0.3, -0.1], atol=2e-3)
    np.testing.assert_allclose(made.std(axis=0), 0.2, rtol=0.07)
    assert abs(np.corrcoef(made.T)[0, 1]) < 0.06


def test_each_point_goes_its_exact_way():
    """x_0 = mean + std * x_1, in the model's own graph, and by default."""
    model = oracle([[0.3, -0.1]], 0.2, **FLOW)
    noise = keras.random.normal((9, 2), seed=keras.random.SeedGenerator(3))
    made = model.generate(9, seed=3, sampler=diffusion.Heun(100))
    np.testing.assert_allclose(made, [0.3, -0.1] + 0.2 * np.asarray(noise), atol=1e-3)
    np.testing.assert_allclose(model.generate(9, seed=3), made, atol=0.02)


def test_a_flow_is_learned():
    rng = np.random.default_rng(0)
    mean, covariance = np.array([0.3, -0.2]), np.array([[0.04, 0.025], [0.025, 0.03]])
    data = rng.multivariate_normal(mean, covariance, 4096).clip(-1, 1).astype("float32")
    network = diffusion.mlp(2, widths=(64, 64))
    model = diffusion.DiffusionModel((2,), network=network, ema_momentum=0.98, seed=0, **FLOW)
    model.compile(keras.optimizers.Adam(2e-3))
    batches = tf.data.Dataset.from_tensor_slices(data).repeat().batch(256).take(300)
    fit(model, batches, shuffle=None)
    made = model.generate(4000, sampler=diffusion.Heun(10), seed=1, batch_size=4000)
    np.testing.assert_allclose(made.mean(axis=0), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(made.T), covariance, atol=0.012)


def test_guidance_draws_the_class_or_everything():
    means = np.array([[0.5, 0.5], [-0.5, 0.5], [0.0, -0.5]])
    model = oracle(means, 0.05, classes=True, **FLOW)
    arguments = {"labels": 2, "sampler": diffusion.Heun(40, "quadratic"), "seed": 0}
    for scale in (1.0, 1.5):
        made = model.generate(300, guidance_scale=scale, **arguments)
        np.testing.assert_allclose(made.mean(axis=0), means[2], atol=0.03)
    made = model.generate(600, guidance_scale=0, **arguments)
    nearest = np.linalg.norm(made[:, None] - means, axis=-1).argmin(axis=1)
    assert scipy.stats.chisquare(np.bincount(nearest, minlength=3)).pvalue > 1e-3


def test_inpainting_fits_the_rest_to_what_is_known():
    model = oracle([np.full((4, 4, 1), -0.5), np.full((4, 4, 1), 0.5)], 0.05, **FLOW)
    level = np.where(np.arange(200) % 2, 0.5, -0.5)
    data = np.random.default_rng(0).normal(0, 0.05, (200, 4, 4, 1)).astype("float32")
    data += level[:, None, None, None]
    data[:, :, 3:] = 1.0  # behind the mask: must not be looked at
    mask = np.arange(4)[:, None] < 3
    for sampler in (None, diffusion.Euler(20), diffusion.Heun(10)):
        made = model.inpaint(data, mask, sampler=sampler, seed=0)
        np.testing.assert_array_equal(made[:, :, :3], data[:, :, :3])
        drawn = made[:, :, 3:].mean(axis=(1, 2, 3))
        assert np.mean(np.abs(drawn - level) < 0.1) > 0.9  # chance: 0.5


def test_the_flows_chain_has_a_bound_too():
    """Its steps back are Gaussians with the path's marginals: with the exact ones, -log p(x)."""
    fractions = exact_fractions(30, 0.3, diffusion.straight)
    learned = {"timesteps": 30, "variance": "learned", "fractions": fractions, **FLOW}
    model = oracle(std=0.3, **learned)
    data = np.array([[0.0, 0.0], [0.3, -0.1], [-0.6, 0.2], [0.5, 0.7]], "float32")
    many = np.repeat(data, 500, axis=0)
    bound = model.variational_bound(many, n_steps=30, seed=0, batch_size=2000)
    exact = -scipy.stats.norm(0, 0.3).logpdf(data).sum(axis=1)
    assert_mean(bound.reshape(4, 500).T, exact, atol=1e-3)


def test_a_saved_flow_generates_the_same(tmp_path):
    model = compiled(small_model(SHAPE, num_classes=2, **FLOW))
    fit(model, images(8), np.arange(8) % 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {name: loaded.get_config()[name] for name in FLOW} == FLOW
    np.testing.assert_array_equal(model.generate(4, seed=1), loaded.generate(4, seed=1))


def test_latents_flow_too():
    model = compiled(latent_model(num_classes=2, **FLOW), learning_rate=0.05)
    assert np.isfinite(fit(model, images(16), np.arange(16) % 2)["loss"]).all()
    made = model.generate(3, sampler=diffusion.Euler(4), guidance_scale=2.0, seed=1)
    assert made.shape == (3, *SHAPE) and np.abs(made).max() <= 1
    mask = np.arange(8)[:, None, None] < 4
    drawn = model.inpaint(images(3), mask, seed=1)
    np.testing.assert_array_equal(drawn[:, :4], images(3)[:, :4])


# --- images to begin with ---


@pytest.mark.parametrize("path", [{}, FLOW], ids=["cosine", "straight"])
@pytest.mark.parametrize("strength", [0.3, 0.8])
def test_from_a_start_part_way(path, strength):
    """Of a Gaussian, each point keeps what it is in standard deviations from its mean."""
    model = oracle([[0.3, -0.1]], 0.2, **path)
    start = np.tile(np.float32([[0.6, 0.5]]), (4000, 1))
    sampler = diffusion.Heun(30, "quadratic")
    made = model.generate(start=start, strength=strength, sampler=sampler, seed=1)
    rates = diffusion.rates_at(model.alpha_bar, strength)
    total = np.hypot(rates["signal_rate"] * 0.2, rates["noise_rate"])
    offset = rates["signal_rate"] * (start[0] - [0.3, -0.1])
    assert_mean(made, [0.3, -0.1] + 0.2 / total * offset, atol=2e-3)
    np.testing.assert_allclose(made.std(axis=0), 0.2 / total * rates["noise_rate"], rtol=0.06)


@pytest.mark.parametrize("model", [small_model, latent_model])
def test_strength_goes_from_the_start_to_something_else(model):
    model = model(SHAPE, num_classes=2) if model is small_model else model(num_classes=2, **FLOW)
    data = images(5)
    if isinstance(model, diffusion.LatentDiffusion):
        model.adapt(data)
    arguments = {"labels": [0, 1, 0, 1, 0], "guidance_scale": 2.0, "seed": 1, "batch_size": 2}
    kept = model.decode(model.encode(data))
    found = [
        np.abs(model.generate(start=data, strength=strength, **arguments) - kept).mean()
        for strength in (1e-4, 0.3, 0.9)
    ]
    assert found[0] < 1e-2 and found[0] < found[1] < found[2]
    made = model.generate(5, start=data, strength=0.5, **arguments)
    np.testing.assert_array_equal(model.generate(start=data, strength=0.5, **arguments), made)


def test_at_full_strength_the_straight_path_forgets_the_start():
    model = small_model(SHAPE, **FLOW)
    made = model.generate(start=images(4), strength=1, seed=2)
    np.testing.assert_array_equal(made, model.generate(4, seed=2))


def test_bad_starts_are_refused():
    model, data = small_model(SHAPE), images(3)
    with pytest.raises(ValueError, match="n: got None"):
        model.generate()
    with pytest.raises(ValueError, match=r"strength: got 0.5, accepted is None without start"):
        model.generate(3, strength=0.5)
    for strength in (None, 0, -0.5, 1.5, float("nan"), "1", True):
        with pytest.raises(ValueError, match="strength: got"):
            model.generate(start=data, strength=strength)
    for n in (2, 4, "3"):
        with pytest.raises(ValueError, match=f"n: got {n!r}, accepted .*None or 3"):
            model.generate(n, start=data, strength=0.5)
    for start, message in (
        (images(3, (5, 8, 1)), "got shape"),
        (2 * np.ones((3, *SHAPE), "float32"), "got values from 2 to 2"),
        (np.zeros((3, *SHAPE), "uint8"), "got uint8"),
        (np.zeros((0, *SHAPE), "float32"), "got no images"),
    ):
        with pytest.raises(ValueError, match=f"start: {message}"):
            model.generate(start=start, strength=0.5)


def test_latents_must_be_known_first():
    model = latent_model(network=dense_network(LATENT))
    with pytest.raises(ValueError, match="knows no latents"):
        model.generate(start=images(2), strength=0.5)
