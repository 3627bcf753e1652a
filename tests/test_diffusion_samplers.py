"""Chapter 04: schedules, posterior and samplers, against closed forms and exact denoisers."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
from keras import ops

from aigc_keras import diffusion
from aigc_keras.datasets import ring_centers
from aigc_keras.diffusion import DDIM, DDPM, SAMPLERS, SPACINGS, DPMSolver, Heun, cosine

SCHEDULES = list(diffusion.NOISE_SCHEDULES.values())
TIMES = np.linspace(0, 1, 1001)
NOISELESS = [DDIM, DPMSolver, Heun]


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


# --- coefficients ---


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_times(schedule, spacing):
    sampler = DDIM(12, spacing=spacing)
    times = sampler.times(schedule)
    assert times.shape == (12,)
    assert times[0] == 1
    assert (np.diff(times) < 0).all()
    assert times[-1] > 0
    even = {
        "uniform": np.append(times, 0),
        "quadratic": np.sqrt(np.append(times, 0)),
        "log_snr": diffusion.half_log_snr(schedule(times)),
    }[spacing]
    np.testing.assert_allclose(np.diff(even), np.diff(even).mean(), rtol=1e-5)
    if spacing == "log_snr":
        np.testing.assert_allclose(times[-1], sampler.last_time, rtol=1e-12)


def test_ddim_with_eta_1_has_ddpm_s_variance_and_mean():
    ddpm, ddim = DDPM(20).coefficients(cosine), DDIM(20, eta=1).coefficients(cosine)
    std = np.exp(0.5 * ddpm["log_small"])
    np.testing.assert_allclose(ddim["std"][:-1], std[:-1], rtol=1e-12)
    # DDIM's mean, with the noise written as what x_t has besides the image.
    of_noisy = ddim["direction"] / ddim["noise_rate"]
    of_image = ddim["next_signal_rate"] - of_noisy * ddim["signal_rate"]
    np.testing.assert_allclose(of_noisy, ddpm["noisy_weight"], atol=1e-12)
    np.testing.assert_allclose(of_image, ddpm["image_weight"], atol=1e-12)


def test_ddim_with_eta_1_takes_ddpm_s_way():
    """One way with the same noise: whatever the network says."""
    ways = [sample(s, wave("velocity"), START) for s in (DDPM(20), DDIM(20, eta=1))]
    np.testing.assert_allclose(*ways, rtol=1e-9)
    assert not np.allclose(ways[0], sample(DDIM(20, eta=0.5), wave("velocity"), START), rtol=0.01)


@pytest.mark.parametrize("eta", [0, 0.3, 1])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_ddim_keeps_the_marginals_of_one_image(eta, spacing):
    """Where the image is known, the noise in x_s has variance 1 - alpha_bar: paper, lemma 1."""
    c = DDIM(15, eta, spacing).coefficients(cosine)
    np.testing.assert_allclose(c["direction"] ** 2 + c["std"] ** 2, 1 - c["next_alpha_bar"])


@pytest.mark.parametrize(("data_std", "fraction"), [(0.0, 0.0), (1.0, 1.0)])
def test_ddpm_is_exact_in_the_limits_of_its_variance(data_std, fraction):
    """Ho et al., section 3.2: the small variance is right for one image, the large for N(0, I)."""
    denoise = gaussian_denoiser([0.4], [[data_std**2]], fraction)
    sampler = DDPM(7)
    c = sampler.coefficients(cosine)
    for k in range(sampler.steps - 1):
        step = {name: values[k] for name, values in c.items()}

        def after(offset, noise, step=step):
            """x_s from x_t, `offset` away from its mean, and a noise."""
            x = np.array([[step["signal_rate"] * 0.4 + offset]])
            return sampler.step(denoise, x, step, 0.0, lambda: noise)[0].numpy().item()

        mean = after(0.0, 0.0)
        np.testing.assert_allclose(mean, 0.4 * step["next_signal_rate"], rtol=1e-9)
        variance = step["alpha_bar"] * data_std**2 + step["noise_rate"] ** 2
        variance_after = (after(1.0, 0.0) - mean) ** 2 * variance + (after(0.0, 1.0) - mean) ** 2
        expected = step["next_alpha_bar"] * data_std**2 + step["next_noise_rate"] ** 2
        np.testing.assert_allclose(variance_after, expected, rtol=1e-9)


def test_learned_variance_lies_between_the_two_in_the_logarithm():
    c = {name: values[3] for name, values in DDPM(10).coefficients(cosine).items()}
    x = np.zeros(1)

    def std(fraction):
        denoise = lambda *_: diffusion.Denoised(x, x, fraction)  # noqa: E731
        return DDPM.step(denoise, x, c, x, lambda: 1.0)[0].numpy().item()

    alpha = c["alpha_bar"] / c["next_alpha_bar"]
    _, small = diffusion.posterior(0, 0, c["alpha_bar"], c["next_alpha_bar"])
    expected = [small**0.5, (small * (1 - alpha)) ** 0.25, (1 - alpha) ** 0.5]
    np.testing.assert_allclose([std(0.0), std(0.5), std(1.0)], expected)


# --- samplers with exact denoisers ---


def denoised(image, noisy, signal_rate, noise_rate, fraction=0.0):
    """From E[x_0 | x_t]."""
    return diffusion.Denoised(image, (noisy - signal_rate * image) / noise_rate, fraction)


def gaussian_denoiser(mean, covariance, fraction=0.0):
    """E[x_0 | x_t] of x_0 ~ N(mean, covariance)."""
    mean, covariance = np.array(mean), np.array(covariance)
    identity = np.eye(len(mean))

    def denoise(noisy, time, signal_rate, noise_rate):
        of_noisy = signal_rate**2 * covariance + noise_rate**2 * identity
        gain = signal_rate * covariance @ tf.linalg.inv(of_noisy)
        image = mean + (noisy - signal_rate * mean) @ ops.transpose(gain)
        return denoised(image, noisy, signal_rate, noise_rate, fraction)

    return denoise


def mixture_denoiser(centers, weights, std):
    """E[x_0 | x_t] of a mixture of N(center, std^2 I): those of the modes, by their posterior."""
    centers, log_weights = np.array(centers, "float64"), np.log(weights)

    half_squares = 0.5 * np.sum(centers**2, axis=1)

    def denoise(noisy, time, signal_rate, noise_rate):
        variance = signal_rate**2 * std**2 + noise_rate**2
        of_modes = signal_rate * (noisy @ centers.T) - signal_rate**2 * half_squares
        center = ops.softmax(log_weights + of_modes / variance) @ centers
        image = center + signal_rate * std**2 / variance * (noisy - signal_rate * center)
        return denoised(image, noisy, signal_rate, noise_rate)

    return denoise


def last_std(std, sampler, schedule=cosine):
    """Of data with `std`, the part that the last step returns: it takes E[x_0 | x_t]."""
    alpha_bar = schedule(sampler.times(schedule)[-1])
    return np.sqrt(alpha_bar * std**4 / (alpha_bar * std**2 + 1 - alpha_bar))


def sample(sampler, denoise, noisy, schedule=cosine, seed=0):
    return np.asarray(sampler.sample(denoise, noisy, schedule, seed))


def normal(n, dims=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dims))


WAYS = {
    "ddpm": lambda spacing: DDPM(150, spacing),
    "ddim": lambda spacing: DDIM(80, spacing=spacing),
    # With eta = 1, DDIM gives DDPM's very samples: see above.
    "ddim, eta 0.5": lambda spacing: DDIM(100, 0.5, spacing),
    "dpm_solver": lambda spacing: DPMSolver(40, spacing),
    "heun": lambda spacing: Heun(30, spacing),
}
MEAN, ROTATION = np.array([0.5, -0.3]), np.array([[0.8, -0.6], [0.6, 0.8]])
STDS = np.array([0.6, 0.25])  # along the rotated axes


@pytest.mark.parametrize(
    ("way", "schedule", "spacing"),
    [
        *itertools.product(WAYS, [cosine], SPACINGS),
        *itertools.product(["ddpm", "heun"], [diffusion.linear, diffusion.sigmoid], ["log_snr"]),
    ],
)
def test_samplers_return_a_gaussian(way, schedule, spacing):
    sampler = WAYS[way](spacing)
    n = 5000
    denoise = gaussian_denoiser(MEAN, ROTATION @ np.diag(STDS**2) @ ROTATION.T)
    points = sample(sampler, denoise, normal(n), schedule, seed=1)
    along = (points - MEAN) @ ROTATION
    expected = last_std(STDS, sampler, schedule)
    # 4 standard errors, and what steps of this size do.
    np.testing.assert_allclose(along.mean(axis=0) / STDS, 0, atol=4 / math.sqrt(n) + 0.01)
    np.testing.assert_allclose(along.std(axis=0) / expected, 1, atol=4 / math.sqrt(2 * n) + 0.02)
    assert abs(np.corrcoef(along.T)[0, 1]) < 4 / math.sqrt(n)
    assert (scipy.stats.kstest(along / along.std(axis=0), "norm", axis=0).pvalue > 1e-3).all()


EVEN, UNEVEN = np.full(8, 1 / 8), np.arange(1, 9) / 36


# Even times are too few at the end, where modes as narrow as these come apart.
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("weights", "spacing"), [(EVEN, "quadratic"), (EVEN, "log_snr"), (UNEVEN, "log_snr")]
)
def test_samplers_return_the_ring(way, weights, spacing):
    sampler = WAYS[way](spacing)
    std, n, centers = 0.03, 2500, ring_centers()
    points = sample(sampler, mixture_denoiser(centers, weights, std), normal(n), seed=1)
    distances = np.linalg.norm(points[:, None] - centers, axis=-1)
    modes = distances.argmin(axis=1)
    assert distances.min(axis=1).max() < 0.2  # none between the modes, which are 0.57 apart
    counts = np.bincount(modes, minlength=8)
    assert scipy.stats.chisquare(counts, n * weights).pvalue > 1e-3
    offsets = points - centers[modes]
    within = last_std(std, sampler)
    for k in range(8):
        error = 4.5 * within / math.sqrt(counts[k])
        np.testing.assert_allclose(offsets[modes == k].mean(axis=0), 0, atol=error + 0.001)
    np.testing.assert_allclose(offsets.std(axis=0) / within, 1, atol=4 / math.sqrt(2 * n) + 0.03)


# --- order of convergence ---


def unevenly(sampler_class):
    """Steps that are by turns long and short in the log-SNR, and end at the same time."""

    class Uneven(sampler_class):
        def times(self, alpha_bar):
            way = np.cumsum(np.arange(self.steps - 1) % 2 * 2 + 1)
            fine = np.linspace(self.last_time, 1, 100_001)
            log_snr = diffusion.half_log_snr(alpha_bar(fine))
            wanted = log_snr[-1] + np.append(0, way / way[-1]) * (log_snr[0] - log_snr[-1])
            return np.interp(wanted, log_snr[::-1], fine[::-1])

    return Uneven


def order(sampler_class, denoise, noisy, exact, steps):
    """The power of the step's length with which the error falls when there are twice as many."""

    def error(steps):
        found = sample(sampler_class(steps, spacing="log_snr"), denoise, noisy)
        return np.abs(found - exact).max()

    # n times have n - 1 steps between them.
    coarse, fine = error(steps + 1), error(2 * steps + 1)
    assert fine > 1e-11  # above round-off
    return math.log2(coarse / fine)


ORDERS = [(DDIM, 1), (DPMSolver, 2), (Heun, 2)]
LAST = {"signal_rate": rates(cosine(1e-3))[0], "noise_rate": rates(cosine(1e-3))[1]}


@pytest.mark.parametrize(("sampler_class", "expected"), ORDERS)
@pytest.mark.parametrize("uneven", [False, True])
def test_order_of_convergence_to_a_gaussian(sampler_class, expected, uneven):
    """The exact way keeps what x_t is in standard deviations from its mean."""
    mean, std = np.array([0.5]), 0.4
    noisy = np.linspace(-2, 2, 5)[:, None]

    def marginal(time):
        signal_rate, noise_rate = rates(cosine(time))
        return signal_rate * mean, np.hypot(signal_rate * std, noise_rate)

    (start_mean, start_std), (end_mean, end_std) = marginal(1.0), marginal(1e-3)
    end = end_mean + end_std / start_std * (noisy - start_mean)
    denoise = gaussian_denoiser(mean, [[std**2]])
    exact = denoise(end, 1e-3, **LAST).image  # the last step, as all samplers do it
    cls = unevenly(sampler_class) if uneven else sampler_class
    found = order(cls, denoise, noisy, exact, 60)
    np.testing.assert_allclose(found, expected, atol=0.1)


@pytest.mark.parametrize(("sampler_class", "expected"), ORDERS)
def test_order_of_convergence_to_a_mixture(sampler_class, expected):
    """Against SciPy's solution: x / signal_rate has the noise as derivative by noise / signal."""
    centers, weights, std = np.array([[-0.6], [0.5]]), np.array([0.3, 0.7]), 0.3
    denoise = mixture_denoiser(centers, weights, std)
    noisy = np.linspace(-1.5, 1.5, 4)[:, None]

    def noise(ratio, scaled):
        """-d log p / dx of the mixture, times the standard deviation, all on x / signal_rate."""
        variance = std**2 + ratio**2
        offsets = scaled[:, None] - centers[:, 0]
        responsibilities = scipy.special.softmax(
            np.log(weights) - 0.5 * offsets**2 / variance, axis=1
        )
        return ratio / variance * (responsibilities * offsets).sum(axis=1)

    signal_rate, noise_rate = rates(cosine(1.0))
    interval = noise_rate / signal_rate, LAST["noise_rate"] / LAST["signal_rate"]
    solution = scipy.integrate.solve_ivp(
        noise, interval, noisy[:, 0] / signal_rate, method="DOP853", rtol=1e-12, atol=1e-12
    )
    end = LAST["signal_rate"] * solution.y[:, -1:]
    exact = denoise(end, 1e-3, **LAST).image
    found = order(sampler_class, denoise, noisy, exact, 60)
    np.testing.assert_allclose(found, expected, atol=0.1)


# --- golden values ---

# Made with the package diffusers 0.42.1 (torch 2.13.0), whose tables are float32, thus the
# tolerance. Both schedulers: num_train_timesteps=1000, timestep_spacing="trailing",
# trained_betas=betas(cosine, 1000), prediction_type "epsilon" | "sample" | "v_prediction".
# DDIMScheduler: clip_sample=False, set_alpha_to_one=True; step(..., eta=eta, variance_noise=noise).
# DPMSolverMultistepScheduler: algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint",
# lower_order_final=True, final_sigmas_type="zero". set_timesteps(10), whose index i is our time
# t = (i + 1) / 1000; x = linspace(-1, 1, 5) in float64; x = step(model, i, x).prev_sample for each,
# with model = sin(2 x + t) and noise = cos(10 t + [0, 1, 2, 3, 4]).
GOLDEN = {
    ("noise", "ddim", 0.0): [-22.346707, -47.729447, -82.879733, -36.103696, 85.437002],
    ("noise", "ddim", 0.7): [-22.328592, -49.369956, -82.094631, -31.944602, 89.332808],
    ("noise", "dpm_solver", None): [-22.51727, -46.947882, -82.783258, -35.988444, 85.479897],
    ("image", "ddim", 0.0): [-0.92977502, -0.99027771, 0.93629679, 0.93392008, 0.93361475],
    ("image", "ddim", 0.7): [-0.92247413, -0.91041591, 0.97822024, 0.9413107, 0.85611298],
    ("image", "dpm_solver", None): [-0.91805566, -0.98497517, 0.93623365, 0.92039545, 0.91380547],
    ("velocity", "ddim", 0.0): [-0.15854684, -0.14428933, -0.13235434, -0.10966192, 0.022054821],
    ("velocity", "ddim", 0.7): [-0.21592712, -0.17347783, -0.079669352, 0.0076915719, 0.046383604],
    ("velocity", "dpm_solver", None): [
        -0.18121292,
        -0.15181936,
        -0.12598599,
        -0.085517867,
        0.061427121,
    ],
}
START = np.linspace(-1, 1, 5)


def wave(prediction):
    """A network that says sin(2 x + t)."""

    def denoise(noisy, time, signal_rate, noise_rate):
        output = ops.sin(2 * noisy + time)
        image, noise = diffusion.components(prediction, output, noisy, signal_rate, noise_rate)
        return diffusion.Denoised(image, noise)

    return denoise


@pytest.mark.parametrize(("prediction", "name", "eta"), GOLDEN)
def test_steps_equal_those_of_diffusers(prediction, name, eta):
    sampler = SAMPLERS[name](10) if eta is None else DDIM(10, eta)
    expected = GOLDEN[prediction, name, eta]
    denoise = wave(prediction)
    c = sampler.coefficients(cosine)
    x, previous = START, np.zeros(5)
    for k in range(10):
        step = {name: values[k] for name, values in c.items()}
        noise = np.cos(10 * step["time"] + np.arange(5))
        x, previous = sampler.step(denoise, x, step, previous, lambda noise=noise: noise)
    # The last step, as written for all others, is that to the image.
    np.testing.assert_allclose(x, previous, rtol=1e-12)
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)
    if not eta:
        np.testing.assert_allclose(sample(sampler, denoise, START), expected, rtol=1e-5, atol=1e-6)


# --- the loop ---


@pytest.mark.parametrize("sampler", [DDPM(8), DDIM(8, eta=0.5)])
def test_seeds(sampler):
    first, again, other = (sample(sampler, wave("image"), START, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.parametrize("sampler_class", NOISELESS)
def test_without_noise_the_seed_does_not_matter(sampler_class):
    ways = [sample(sampler_class(8), wave("image"), START, seed=s) for s in (3, 4)]
    np.testing.assert_array_equal(*ways)


def test_noise_is_fresh_in_every_step_and_everywhere():
    """Steps that add up standard noise: n of them have variance n."""

    class Sum(diffusion.Sampler):
        @staticmethod
        def step(denoise, noisy, c, previous, noise):
            return noisy + noise(), previous

    keep = lambda noisy, *_: diffusion.Denoised(noisy, noisy)  # noqa: E731
    n = 20_000
    total = sample(Sum(17), keep, np.zeros(n)) / 4
    assert abs(total.mean()) < 4 / math.sqrt(n)
    assert abs(total.var() - 1) < 4 * math.sqrt(2 / n)
    assert len(np.unique(total)) == n


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_takes_the_image_seen_in_the_noise(name, spacing):
    signal_rate, noise_rate = rates(cosine(1.0))
    expected = wave("velocity")(START, 1.0, signal_rate, noise_rate).image
    found = sample(SAMPLERS[name](1, spacing=spacing), wave("velocity"), START)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_loop_is_one_graph_of_any_number_of_steps(name):
    """And gives what it gives outside of one."""

    def graph(steps):
        sampler = SAMPLERS[name](steps)
        function = tf.function(lambda x: sampler.sample(wave("velocity"), x, cosine, seed=1))
        return function.get_concrete_function(tf.TensorSpec([5], "float64"))

    def count(graph):
        definition = graph.graph.as_graph_def()
        return len(definition.node) + sum(len(f.node_def) for f in definition.library.function)

    short, long = graph(3), graph(50)
    assert count(short) == count(long)
    inside = short(tf.constant(START))
    outside = sample(SAMPLERS[name](3), wave("velocity"), START, seed=1)
    np.testing.assert_allclose(inside, outside, rtol=1e-9)


@pytest.mark.parametrize("sampler_class", NOISELESS)
def test_float32_is_enough(sampler_class):
    sampler = sampler_class(50, spacing="log_snr")
    denoise, x = mixture_denoiser(ring_centers(), EVEN, 0.1), normal(20)
    single, double = (sample(sampler, denoise, x.astype(dtype)) for dtype in ("float32", "float64"))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, atol=1e-4)


# --- refusals ---


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps: got 0"),
        ({"steps": 2.5}, "steps: got 2.5"),
        ({"steps": None}, "steps: got None"),
        ({"spacing": "karras"}, "spacing: got 'karras', accepted are uniform, quadratic, log_snr"),
    ],
)
def test_samplers_refuse(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        SAMPLERS[name](**arguments)


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan"), "1"])
def test_ddim_refuses_eta(eta):
    with pytest.raises(ValueError, match="eta: got"):
        DDIM(eta=eta)
