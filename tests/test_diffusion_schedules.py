"""Chapter 04: schedules, posterior and predictions, against closed forms."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from aigc_keras import diffusion
from aigc_keras.diffusion import cosine

SCHEDULES = list(diffusion.NOISE_SCHEDULES.values())
TIMES = np.linspace(0, 1, 1001)


def rates(alpha_bar):
    return np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)


# --- noise schedules ---


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_fall_from_data_to_almost_pure_noise(schedule):
    alpha_bar = schedule(TIMES)
    assert alpha_bar[0] == 1
    assert (np.diff(alpha_bar) < 0).all()
    # The linear one has exp(-10.05) of its own left.
    assert -1e-12 < alpha_bar[-1] - diffusion.MIN_ALPHA_BAR < 5e-5


def test_linear_is_the_limit_of_ho_et_al():
    """Their betas, from 1e-4 to 0.02 in 1,000 steps, made finer: half the step, half the error."""

    def error(n):
        discrete = np.cumprod(1 - np.linspace(0.1 / n, 20 / n, n))
        ours = diffusion.linear(np.arange(1, n + 1) / n)
        ours = 1 - (1 - ours) / (1 - diffusion.MIN_ALPHA_BAR)  # without the signal that is left
        return np.abs(ours - discrete).max()

    assert error(1000) < 2.5e-3  # log alpha_bar is off by sum beta^2 / 2, 0.07 over all steps
    np.testing.assert_allclose(error(1000) / error(2000), 2, rtol=0.01)


def test_cosine_is_that_of_nichol_and_dhariwal():
    f = np.array([math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 for t in TIMES])
    theirs = f / f[0]
    assert np.abs(cosine(TIMES) - theirs).max() <= 1.001 * diffusion.MIN_ALPHA_BAR
    betas = 1 - theirs[1:] / theirs[:-1]
    # The last ones, which they clip at 0.999, are where the signal that is left matters.
    np.testing.assert_allclose(diffusion.betas(cosine, 1000)[:900], betas[:900], rtol=0.01)


def test_sigmoid_is_that_of_jabri_et_al():
    value = {t: scipy.special.expit(6 * t - 3) for t in (0.0, *TIMES, 1.0)}
    theirs = [(value[1.0] - value[t]) / (value[1.0] - value[0.0]) for t in TIMES]
    ours = diffusion.sigmoid(TIMES)
    assert np.abs(ours - theirs).max() <= 1.001 * diffusion.MIN_ALPHA_BAR
    np.testing.assert_allclose(ours + ours[::-1], ours[0] + ours[-1], atol=1e-12)  # odd about 1/2


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("timesteps", [1, 10, 1000])
def test_betas_compose_to_the_schedule(schedule, timesteps):
    betas = diffusion.betas(schedule, timesteps)
    assert betas.shape == (timesteps,)
    assert ((betas > 0) & (betas < 1)).all()
    expected = schedule(np.arange(1, timesteps + 1) / timesteps)
    np.testing.assert_allclose(np.cumprod(1 - betas), expected, rtol=1e-9)


def test_half_log_snr():
    alpha_bar = np.array([1e-4, 0.5, 0.8, 1 - 1e-9])
    signal_rate, noise_rate = rates(alpha_bar)
    expected = np.log(signal_rate / noise_rate)
    np.testing.assert_allclose(diffusion.half_log_snr(alpha_bar), expected, atol=1e-7)


# --- forward and back: q(x_t | x_0) and q(x_s | x_t, x_0) ---


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_single_steps_compose_to_the_closed_form(schedule):
    """Each adds variance beta to what it leaves of the variance before."""
    mean, variance, means, variances = 1.0, 0.0, [], []
    for beta in diffusion.betas(schedule, 200):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        means.append(mean)
        variances.append(variance)
    signal_rate, noise_rate = rates(schedule(np.arange(1, 201) / 200))
    np.testing.assert_allclose(means, signal_rate, rtol=1e-9)
    np.testing.assert_allclose(variances, noise_rate**2, rtol=1e-9)


def test_simulated_steps_find_the_closed_form_and_not_the_text_s():
    """Text 003 has x_t ~ N(sqrt(1 - beta_t) x_0, beta_t): right for the first step only."""
    n, timesteps, start = 50_000, 40, 1.5
    rng = np.random.default_rng(0)
    betas = diffusion.betas(cosine, timesteps)

    def errors(noisy, mean, variance):
        """How many standard errors the mean and the variance of a normal sample are off."""
        of_variance = (noisy.var() / variance - 1) / math.sqrt(2 / n)
        return np.abs([(noisy.mean() - mean) / math.sqrt(variance / n), of_variance])

    noisy, text = np.full(n, start), []
    for k, beta in enumerate(betas, start=1):
        noisy = np.sqrt(1 - beta) * noisy + np.sqrt(beta) * rng.standard_normal(n)
        signal_rate, noise_rate = rates(cosine(k / timesteps))
        assert (errors(noisy, signal_rate * start, noise_rate**2) < 4.5).all()
        text.append(errors(noisy, math.sqrt(1 - beta) * start, beta))
    assert (text[0] < 4.5).all()
    assert (np.array(text[4:-2]) > 30).all()  # the very last beta is almost 1


@pytest.mark.parametrize(
    ("time", "next_time"), [(0.5, 0.499), (0.9, 0.2), (1.0, 0.6), (0.05, 0.04)]
)
def test_posterior_is_bayes(time, next_time):
    """q(x_s | x_0) q(x_t | x_s), normalised, on a grid of x_s."""
    image, noisy = 0.7, -0.4
    alpha_bar, alpha_bar_next = cosine(time), cosine(next_time)
    mean, variance = diffusion.posterior(image, noisy, alpha_bar, alpha_bar_next)

    x, width = np.linspace(-8, 8, 400_001, retstep=True)
    signal_rate, noise_rate = rates(alpha_bar_next)
    step_signal, step_noise = rates(alpha_bar / alpha_bar_next)
    density = scipy.stats.norm.pdf(x, signal_rate * image, noise_rate)
    density *= scipy.stats.norm.pdf(noisy, step_signal * x, step_noise)
    density /= density.sum() * width
    grid_mean = (density * x).sum() * width
    np.testing.assert_allclose(mean, grid_mean, atol=1e-8)
    np.testing.assert_allclose(variance, (density * (x - grid_mean) ** 2).sum() * width, rtol=1e-6)


@pytest.mark.parametrize(
    ("time", "next_time"), [(0.5, 0.499), (0.9, 0.2), (1.0, 0.6), (0.05, 0.04)]
)
@pytest.mark.parametrize("schedule", [cosine, diffusion.straight])
def test_steps_back_are_those_of_gaussians(schedule, time, next_time):
    """x_t is `kept` x_s and noise: the conditional of two Gaussians, on any path."""
    now, after = (diffusion.rates_at(schedule, np.array(t)) for t in (time, next_time))
    kept = now["signal_rate"] / after["signal_rate"]
    added = now["noise_rate"] ** 2 - kept**2 * after["noise_rate"] ** 2
    of_noisy = kept * after["noise_rate"] ** 2 / now["noise_rate"] ** 2
    of_image = after["signal_rate"] - of_noisy * now["signal_rate"]
    variance = added * after["noise_rate"] ** 2 / now["noise_rate"] ** 2
    found = diffusion.steps_back(now, after)
    np.testing.assert_allclose(found["noisy_weight"], of_noisy, atol=1e-12)
    np.testing.assert_allclose(found["image_weight"], of_image, atol=1e-12)
    np.testing.assert_allclose(found["variance"], variance, rtol=1e-9)
    np.testing.assert_allclose(np.exp(found["log_small"]), variance, rtol=1e-9)
    # Of the step forward, as large as if its x_t were on the scale of x_s.
    added *= (after["scale"] / now["scale"]) ** 2
    np.testing.assert_allclose(np.exp(found["log_large"]), added, rtol=1e-9)


def test_posterior_in_the_limits():
    """Back to the data in one step, it is certain; from pure noise, it forgets the noise."""
    mean, variance = diffusion.posterior(0.7, -0.4, 0.3, 1.0)
    np.testing.assert_allclose([mean, variance], [0.7, 0], atol=1e-12)
    mean, variance = diffusion.posterior(0.7, -0.4, 1e-14, 0.5)
    np.testing.assert_allclose([mean, variance], [math.sqrt(0.5) * 0.7, 0.5], atol=1e-6)


# --- predictions and weights ---


@pytest.mark.parametrize("prediction", diffusion.PREDICTIONS)
@pytest.mark.parametrize("alpha_bar", [0.01, 0.5, 0.99])
def test_components_undo_the_target(prediction, alpha_bar):
    rng = np.random.default_rng(0)
    image, noise = rng.uniform(-1, 1, (2, 100))
    signal_rate, noise_rate = rates(alpha_bar)
    noisy = signal_rate * image + noise_rate * noise
    target = diffusion.prediction_target(prediction, image, noise, signal_rate, noise_rate)
    found = diffusion.components(prediction, target, noisy, signal_rate, noise_rate)
    np.testing.assert_allclose(found, (image, noise), atol=1e-13)
    # A wrong answer, too, splits x_t without a rest.
    wrong = diffusion.components(prediction, target + 0.3, noisy, signal_rate, noise_rate)
    np.testing.assert_allclose(signal_rate * wrong[0] + noise_rate * wrong[1], noisy, atol=1e-13)
    assert not np.allclose(wrong, found)


def test_velocity_is_the_derivative_along_the_circle():
    """With signal_rate = cos(angle): d x_t / d angle (Salimans and Ho 2022, section 4)."""
    image, noise, angle, small = 0.7, -0.4, 0.6, 1e-6
    before, after = (math.cos(a) * image + math.sin(a) * noise for a in (angle, angle + small))
    velocity = diffusion.prediction_target(
        "velocity", image, noise, math.cos(angle), math.sin(angle)
    )
    np.testing.assert_allclose(velocity, (after - before) / small, rtol=1e-5)


def test_the_straight_path_is_straight_and_the_flow_its_direction():
    image, noise = 0.7, -0.4
    path = diffusion.rates_at(diffusion.straight, TIMES)
    x = path["signal_rate"] * image + path["noise_rate"] * noise
    np.testing.assert_allclose(x, image + TIMES * (noise - image), atol=1e-15)
    flow = diffusion.prediction_target("flow", image, noise, None, None)
    np.testing.assert_allclose(flow, np.diff(x) * 1000)
    snr = path["signal_rate"][1:] ** 2 / path["noise_rate"][1:] ** 2
    np.testing.assert_allclose(path["alpha_bar"][1:], snr / (1 + snr))
    scaled = path["scale"] * np.sqrt([path["alpha_bar"], 1 - path["alpha_bar"]])
    np.testing.assert_allclose(scaled, [path["signal_rate"], path["noise_rate"]], atol=1e-7)


@pytest.mark.parametrize("prediction", ["image", "flow"])
@pytest.mark.parametrize("time", [0.01, 0.5, 1.0])
def test_components_on_the_straight_path(prediction, time):
    noisy = (1 - time) * 0.7 + time * -0.4
    target = diffusion.prediction_target(prediction, 0.7, -0.4, 1 - time, time)
    found = diffusion.components(prediction, target, noisy, 1 - time, time)
    np.testing.assert_allclose(found, (0.7, -0.4), atol=1e-13)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_of_a_schedule_are_its_roots(schedule):
    """To the last bit: the scale is 1, and not almost 1."""
    path = diffusion.rates_at(schedule, TIMES)
    np.testing.assert_array_equal(path["alpha_bar"], schedule(TIMES))
    np.testing.assert_array_equal([path["signal_rate"], path["noise_rate"]], rates(schedule(TIMES)))
    np.testing.assert_array_equal(path["scale"], 1.0)


@pytest.mark.parametrize("prediction", diffusion.PREDICTIONS)
def test_min_snr_weighs_the_image_s_error(prediction):
    """The same loss for the same wrong answer, whatever it is written as."""
    alpha_bar = np.array([1e-4, 0.1, 0.5, 0.83, 0.84, 0.999])  # SNR 5 is at 5/6
    signal_rate, noise_rate = rates(alpha_bar)
    image, noise, error = 0.7, -0.4, 0.01
    noisy = signal_rate * image + noise_rate * noise
    target = diffusion.prediction_target(prediction, image, noise, signal_rate, noise_rate)
    seen, _ = diffusion.components(prediction, target + error, noisy, signal_rate, noise_rate)
    expected = np.minimum(alpha_bar / (1 - alpha_bar), 5) * (seen - image) ** 2
    weights = diffusion.loss_weights("min_snr", prediction, alpha_bar)
    np.testing.assert_allclose(weights * error**2, expected, rtol=1e-9)
    np.testing.assert_array_equal(diffusion.loss_weights("simple", prediction, alpha_bar), 1)
