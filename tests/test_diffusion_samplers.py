"""Chapter 04: samplers, against closed forms and exact denoisers."""

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
from aigc_keras.diffusion import (
    DDIM,
    DDPM,
    SAMPLERS,
    SPACINGS,
    DPMSolver,
    Euler,
    Heun,
    cosine,
    straight,
)

SCHEDULES = list(diffusion.NOISE_SCHEDULES.values())
NOISELESS = [DDIM, DPMSolver, Euler, Heun]


def rates(alpha_bar):
    return np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)


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
    alpha_bar = diffusion.rates_at(schedule, sampler.times(schedule)[-1])["alpha_bar"]
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
    "euler": lambda spacing: Euler(80, spacing),
    "heun": lambda spacing: Heun(30, spacing),
}
MEAN, ROTATION = np.array([0.5, -0.3]), np.array([[0.8, -0.6], [0.6, 0.8]])
STDS = np.array([0.6, 0.25])  # along the rotated axes


@pytest.mark.parametrize(
    ("way", "schedule", "spacing"),
    [
        *itertools.product(WAYS, [cosine], SPACINGS),
        *itertools.product(["ddpm", "heun"], [diffusion.linear, diffusion.sigmoid], ["log_snr"]),
        *itertools.product(WAYS, [straight], ["uniform"]),
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


@pytest.mark.parametrize(
    ("sampler_class", "schedule", "spacing", "low", "high"),
    [
        (DPMSolver, cosine, "quadratic", 1.8, 2.2),
        (Heun, cosine, "quadratic", 1.8, 2.2),
        (DPMSolver, cosine, "uniform", 0.5, 1.4),
        (Heun, cosine, "uniform", 0.8, 1.4),
        (Euler, straight, "uniform", 0.9, 1.1),
        (DPMSolver, straight, "uniform", 1.5, 2.1),
        (Heun, straight, "uniform", 1.9, 2.1),
        (Heun, straight, "quadratic", 1.9, 2.1),
    ],
)
def test_order_of_the_whole_way_depends_on_the_spacing(sampler_class, schedule, spacing, low, high):
    """To the data themselves, which is what `Sampler` speaks of.

    Against SciPy's solution: on any path x / (signal_rate + noise_rate) moves by noise - image as
    its noise rate grows.
    """
    denoise = mixture_denoiser([[-0.6], [0.5]], np.array([0.3, 0.7]), 0.3)
    noisy = np.linspace(-1.5, 1.5, 4)[:, None]

    def slope(rate, x):
        seen = denoise(x[:, None], None, 1 - rate, rate)
        return (seen.noise - seen.image).numpy()[:, 0]

    path = diffusion.rates_at(schedule, 1.0)
    total = path["signal_rate"] + path["noise_rate"]
    interval, start = (path["noise_rate"] / total, 1e-9), noisy[:, 0] / total
    solution = scipy.integrate.solve_ivp(slope, interval, start, "DOP853", rtol=1e-9, atol=1e-9)

    def error(steps):
        way = tf.function(sampler_class(steps, spacing=spacing).sample)
        return np.abs(way(denoise, noisy, schedule) - solution.y[:, -1:]).max()

    assert low < math.log2(error(80) / error(320)) / 2 < high


@pytest.mark.parametrize(("sampler_class", "expected"), [(Euler, 1), (DDIM, 1), (Heun, 2)])
def test_the_flow_of_a_gaussian(sampler_class, expected):
    """The exact solution of rectified flow is x_0 = mean + std * x_1."""
    denoise = gaussian_denoiser([0.5], [[0.2**2]])
    noisy = np.linspace(-2, 2, 5)[:, None]
    coarse, fine = (
        np.abs(sample(sampler_class(n), denoise, noisy, straight) - (0.5 + 0.2 * noisy)).max()
        for n in (50, 100)
    )
    np.testing.assert_allclose(math.log2(coarse / fine), expected, atol=0.15)


@pytest.mark.parametrize("schedule", [cosine, straight])
def test_euler_goes_ddims_way(schedule):
    ways = [sample(s, wave("flow"), START, schedule) for s in (Euler(7), DDIM(7))]
    np.testing.assert_allclose(*ways, rtol=1e-12)


@pytest.mark.parametrize(("sampler_class", "slopes"), [(Euler, (1, 0)), (Heun, (0.5, 0.5))])
def test_steps_on_the_straight_path_are_the_textbooks(sampler_class, slopes):
    denoise, x, (first, second) = wave("flow"), START, slopes
    c = sampler_class(3).coefficients(straight)
    step = {name: values[1] for name, values in c.items()}  # from 2 / 3 to 1 / 3
    found, _ = sampler_class.step(denoise, x, step, None, None)
    here = np.sin(2 * x + 2 / 3)  # what `wave` says
    there = np.sin(2 * (x - here / 3) + 1 / 3)
    np.testing.assert_allclose(found, x - (first * here + second * there) / 3, rtol=1e-9)


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


@pytest.mark.parametrize("name", SAMPLERS)
def test_times_may_be_stated(name):
    spaced = SAMPLERS[name](6, spacing="quadratic")
    times = spaced.times(cosine)
    for steps in (list(times), tuple(times), times):
        stated = SAMPLERS[name](steps)
        assert stated.steps == 6
        ways = [sample(s, wave("velocity"), START) for s in (spaced, stated)]
        np.testing.assert_array_equal(*ways)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [0.9, 0.5],
        [1.0, 0.5, 0.5],
        [1.0, 0.2, 0.5],
        [1.0, 0.0],
        [1.0, -0.5],
        [1.0, math.nan],
        [[1.0, 0.5]],
        ["1", "a"],
        np.array(20),
    ],
)
def test_bad_times_are_refused(steps):
    with pytest.raises(ValueError, match=r"steps: got .*, accepted are an integer >= 1, or times"):
        DDIM(steps)


def test_log_snr_has_no_first_step_from_pure_noise():
    with pytest.raises(ValueError, match="spacing: got 'log_snr', accepted are uniform, quadratic"):
        Heun(5, "log_snr").coefficients(straight)


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan"), "1"])
def test_ddim_refuses_eta(eta):
    with pytest.raises(ValueError, match="eta: got"):
        DDIM(eta=eta)
