"""Noise schedules, what a network predicts, and one step back where the image is known."""

from collections import namedtuple

import numpy as np

from aigc_keras.guards import check_choice, check_number

# --- noise schedules: times in [0, 1] (NumPy) -> alpha_bar, from 1 down to almost 0 ---

MIN_ALPHA_BAR = 1e-4  # pure noise would leave no way back: its signal rate is 0


def linear(times):
    """Ho et al. 2020, section 4, in continuous time: Song et al. 2021, arXiv:2011.13456, eq. 33."""
    times = np.asarray(times, "float64")
    return _from_one(np.exp(-0.1 * times - 0.5 * (20.0 - 0.1) * times**2))


def cosine(times):
    """Nichol and Dhariwal 2021 (arXiv:2102.09672), eq. 17."""
    offset = 0.008
    angles = (np.asarray(times, "float64") + offset) / (1 + offset) * np.pi / 2
    return _from_one(np.cos(angles) ** 2 / np.cos(offset / (1 + offset) * np.pi / 2) ** 2)


def sigmoid(times):
    """Jabri et al. 2022 (arXiv:2212.11972), algorithm 1, from -3 to 3 at temperature 1."""
    start, end = (1 / (1 + np.exp(-x)) for x in (-3.0, 3.0))
    values = 1 / (1 + np.exp(-(6 * np.asarray(times, "float64") - 3)))
    return _from_one((end - values) / (end - start))


def _from_one(alpha_bar):
    return 1 - (1 - MIN_ALPHA_BAR) * (1 - alpha_bar)


def straight(times):
    """(signal_rate, noise_rate) of rectified flow: Liu et al. 2022 (arXiv:2209.03003), eq. 1.

    The straight way from the image to the noise, in flow matching that of optimal transport (Lipman
    et al. 2022, arXiv:2210.02747, section 4.1, example II). Both papers count the time from noise.
    """
    times = np.asarray(times, "float64")
    return 1 - times, times


NOISE_SCHEDULES = {"linear": linear, "cosine": cosine, "sigmoid": sigmoid}
PATHS = {**NOISE_SCHEDULES, "straight": straight}


def rates_at(schedule, times):
    """signal_rate, noise_rate, alpha_bar and scale by name, at `times`.

    Args:
        schedule: function of time that gives alpha_bar, or (signal_rate, noise_rate): then their
            squares add up to scale^2, and x_t / scale has an alpha_bar again.
    """
    given = schedule(times)
    if isinstance(given, tuple):
        scale = np.hypot(*given)
        values = (*given, (given[0] / scale) ** 2, scale)
    else:
        values = np.sqrt(given), np.sqrt(1 - given), given, np.ones_like(given)
    return dict(zip(("signal_rate", "noise_rate", "alpha_bar", "scale"), values, strict=True))


def betas(noise_schedule, timesteps):
    """DDPM's beta_1 ... beta_T, (T,): variances of the single steps of a schedule.

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I) composes to the schedule's alpha_bar
    (Ho et al. 2020, eq. 2 and 4).
    """
    if not callable(noise_schedule):
        raise ValueError(f"noise_schedule: got {noise_schedule!r}, accepted is a function of time.")
    timesteps = check_number("timesteps", timesteps, low=1, integer=True)
    alpha_bar = rates_at(noise_schedule, np.arange(timesteps + 1) / timesteps)["alpha_bar"]
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def half_log_snr(alpha_bar):
    """lambda = log(signal_rate / noise_rate) (Lu et al. 2022, arXiv:2206.00927, section 2)."""
    with np.errstate(divide="ignore"):  # of pure noise it is -infinity
        return 0.5 * (np.log(alpha_bar) - np.log1p(-alpha_bar))


# --- what the network predicts ---


Prediction = namedtuple("Prediction", ("target", "components", "weight"))


def predictions(s, n):
    """What can be predicted where x = s * image + n * noise: functions, by name.

    `target` gives the right answer, `components` the (image, noise) that an answer means, `weight`
    the squared error of that image where the answer's is 1. The velocity is that of Salimans and Ho
    2022 (arXiv:2202.00512, section 4), where s^2 + n^2 = 1; the flow that of the straight path.
    """
    return {
        "noise": Prediction(
            target=lambda image, noise: noise,
            components=lambda answer, x: ((x - n * answer) / s, answer),
            weight=lambda: (n / s) ** 2,
        ),
        "image": Prediction(
            target=lambda image, noise: image,
            components=lambda answer, x: (answer, (x - s * answer) / n),
            weight=lambda: 1.0,
        ),
        "velocity": Prediction(
            target=lambda image, noise: s * noise - n * image,
            components=lambda answer, x: (s * x - n * answer, n * x + s * answer),
            weight=lambda: n**2,
        ),
        "flow": Prediction(
            target=lambda image, noise: noise - image,
            components=lambda answer, x: ((x - n * answer) / (s + n), (x + s * answer) / (s + n)),
            weight=lambda: (n / (s + n)) ** 2,
        ),
    }


PREDICTIONS = tuple(predictions(1, 1))
LOSS_WEIGHTINGS = ("simple", "min_snr")


def prediction_target(prediction, image, noise, signal_rate, noise_rate):
    """What a network that predicts one of `PREDICTIONS` should answer."""
    check_choice("prediction", prediction, PREDICTIONS)
    return predictions(signal_rate, noise_rate)[prediction].target(image, noise)


def components(prediction, output, noisy, signal_rate, noise_rate):
    """(image, noise) that a prediction means: exactly those of which `noisy` is the mixture."""
    check_choice("prediction", prediction, PREDICTIONS)
    return predictions(signal_rate, noise_rate)[prediction].components(output, noisy)


def loss_weights(loss_weighting, prediction, alpha_bar, gamma=5.0):
    """Weights of the squared error of a prediction, one for each alpha_bar.

    `"simple"`: 1 (Ho et al. 2020, eq. 14, with the noise). `"min_snr"`: the image's squared error
    counts min(SNR, gamma) times (Hang et al. 2023, arXiv:2303.09556, section 3.4).
    """
    check_choice("prediction", prediction, PREDICTIONS)
    if check_choice("loss_weighting", loss_weighting, LOSS_WEIGHTINGS) == "simple":
        return np.ones_like(alpha_bar)
    table = predictions(np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar))
    return np.minimum(alpha_bar / (1 - alpha_bar), gamma) * table[prediction].weight()


def posterior(image, noisy, alpha_bar, alpha_bar_next):
    """(mean, variance) of q(x_s | x_t, x_0), s < t: Ho et al. 2020, eq. 7, for steps of any size.

    Args:
        image, noisy: x_0 and x_t.
        alpha_bar, alpha_bar_next: those of t and of s.
    """
    alpha = alpha_bar / alpha_bar_next  # of the step from s to t
    image_weight = alpha_bar_next**0.5 * (1 - alpha) / (1 - alpha_bar)
    noisy_weight = alpha**0.5 * (1 - alpha_bar_next) / (1 - alpha_bar)
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha)
    return image_weight * image + noisy_weight * noisy, variance


def steps_back(now, after):
    """From x_t to x_s where x_0 is known: arrays by name, of what `rates_at` gives for t and for s.

    Mean image_weight * x_0 + noisy_weight * x_t and variance of q(x_s | x_t, x_0). Its logarithm is
    log_small; log_large is that of the variance of the step forward (Ho et al. 2020, section 3.2).
    """
    alpha_bars, scale = (now["alpha_bar"], after["alpha_bar"]), after["scale"]
    image_weight, variance = posterior(1.0, 0.0, *alpha_bars)
    noisy_weight, _ = posterior(0.0, 1.0, *alpha_bars)
    log_scale = 2 * np.log(scale)
    return {
        "image_weight": scale * image_weight,
        "noisy_weight": scale / now["scale"] * noisy_weight,
        "variance": scale**2 * variance,
        # To the data themselves, it is 0.
        "log_small": np.log(np.maximum(variance, 1e-20)) + log_scale,
        "log_large": np.log(1 - alpha_bars[0] / alpha_bars[1]) + log_scale,
    }
