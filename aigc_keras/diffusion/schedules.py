"""Noise schedules, what a network predicts, and one step back where the image is known."""

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


NOISE_SCHEDULES = {"linear": linear, "cosine": cosine, "sigmoid": sigmoid}


def betas(noise_schedule, timesteps):
    """DDPM's beta_1 ... beta_T, (T,): variances of the single steps of a schedule.

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I) composes to the schedule's alpha_bar
    (Ho et al. 2020, eq. 2 and 4).
    """
    if not callable(noise_schedule):
        raise ValueError(f"noise_schedule: got {noise_schedule!r}, accepted is a function of time.")
    timesteps = check_number("timesteps", timesteps, low=1, integer=True)
    alpha_bar = noise_schedule(np.arange(timesteps + 1) / timesteps)
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def half_log_snr(alpha_bar):
    """lambda = log(signal_rate / noise_rate) (Lu et al. 2022, arXiv:2206.00927, section 2)."""
    return 0.5 * (np.log(alpha_bar) - np.log1p(-alpha_bar))


# --- what the network predicts ---

PREDICTIONS = ("noise", "image", "velocity")
LOSS_WEIGHTINGS = ("simple", "min_snr")


def prediction_target(prediction, image, noise, signal_rate, noise_rate):
    """What a network that predicts `"noise"`, `"image"` or `"velocity"` should answer.

    The velocity is signal_rate * noise - noise_rate * image (Salimans and Ho 2022,
    arXiv:2202.00512, section 4).
    """
    if check_choice("prediction", prediction, PREDICTIONS) == "noise":
        return noise
    return image if prediction == "image" else signal_rate * noise - noise_rate * image


def components(prediction, output, noisy, signal_rate, noise_rate):
    """(image, noise) that a prediction means: exactly those of which `noisy` is the mixture."""
    if check_choice("prediction", prediction, PREDICTIONS) == "noise":
        return (noisy - noise_rate * output) / signal_rate, output
    if prediction == "image":
        return output, (noisy - signal_rate * output) / noise_rate
    return signal_rate * noisy - noise_rate * output, noise_rate * noisy + signal_rate * output


def loss_weights(loss_weighting, prediction, alpha_bar, gamma=5.0):
    """Weights of the squared error of a prediction, one for each alpha_bar.

    `"simple"`: 1 (Ho et al. 2020, eq. 14, with the noise). `"min_snr"`: the image's squared error
    counts min(SNR, gamma) times (Hang et al. 2023, arXiv:2303.09556, section 3.4).
    """
    check_choice("prediction", prediction, PREDICTIONS)
    if check_choice("loss_weighting", loss_weighting, LOSS_WEIGHTINGS) == "simple":
        return np.ones_like(alpha_bar)
    snr = alpha_bar / (1 - alpha_bar)
    # The image's squared error is that of the noise / SNR, and that of the velocity / (SNR + 1).
    factor = {"noise": 1 / snr, "image": 1.0, "velocity": 1 / (snr + 1)}[prediction]
    return np.minimum(snr, gamma) * factor


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
