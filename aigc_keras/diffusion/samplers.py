"""Samplers: from noise to data, for any function that denoises."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.diffusion.schedules import half_log_snr, posterior
from aigc_keras.guards import check_choice, check_number


class Denoised(NamedTuple):
    """What a network says about x_t: the `image` and the `noise` in it.

    `variance_fraction` in [0, 1] places the log-variance of a step back between the posterior's
    (0) and that of the step forward (1): Nichol and Dhariwal 2021, eq. 15.
    """

    image: object
    noise: object
    variance_fraction: object = 0.0


SPACINGS = ("uniform", "quadratic", "log_snr")


class Sampler:
    """A way from noise (t = 1) to data (t = 0), in `steps` steps.

    Subclasses give the `coefficients` of all steps, computed beforehand in double precision, and
    one `step`. The last step of each is the same: it takes the image that the network sees.

    Args:
        steps: number of steps.
        spacing: where the times lie: evenly (`"uniform"`), closer together at the end
            (`"quadratic"`, Song et al. 2020, app. D.2), or evenly in the logarithm of the
            signal-to-noise ratio (`"log_snr"`, Lu et al. 2022, section 3.4).

    Raises:
        ValueError: an argument is out of range.
    """

    last_time = 1e-3  # of "log_snr", whose last step but one would otherwise be infinitely far

    def __init__(self, steps=20, spacing="uniform"):
        self.steps = check_number("steps", steps, low=1, integer=True)
        self.spacing = check_choice("spacing", spacing, SPACINGS)

    def times(self, alpha_bar):
        """`steps` times, falling from 1, at which the data are denoised."""
        evenly = np.linspace(1, 0, self.steps + 1)[:-1]
        if self.spacing == "uniform":
            return evenly
        if self.spacing == "quadratic":
            return evenly**2
        fine = np.linspace(self.last_time, 1, 100_001)
        log_snr = half_log_snr(alpha_bar(fine))  # falls
        wanted = np.linspace(log_snr[-1], log_snr[0], self.steps)
        return np.interp(wanted, log_snr[::-1], fine[::-1])

    def grid(self, alpha_bar):
        """Everything about the steps: arrays (steps,) by name; `next_` is after the step."""
        times = self.times(alpha_bar)
        values = alpha_bar(times)
        next_values = np.append(values[1:], 1.0)
        return {
            "time": times,
            "alpha_bar": values,
            "signal_rate": np.sqrt(values),
            "noise_rate": np.sqrt(1 - values),
            "next_alpha_bar": next_values,
            "next_signal_rate": np.sqrt(next_values),
            "next_noise_rate": np.sqrt(1 - next_values),
            "next_time": np.append(times[1:], 0.0),
        }

    def coefficients(self, alpha_bar):
        """Arrays (steps,) by name, for the schedule `alpha_bar`, a function of time."""
        return self.grid(alpha_bar)

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        """(x_s, the image seen in x_t), from x_t = `noisy`.

        Args:
            c: the step's coefficients by name.
            previous: the image seen a step earlier.
            noise: a function that gives fresh noise of the shape of `noisy`.
        """
        raise NotImplementedError

    def sample(self, denoise, noisy, alpha_bar, seed=0):
        """Data, shaped like `noisy`, which is noise from N(0, I).

        Args:
            denoise: function (noisy, time, signal_rate, noise_rate) -> Denoised.
            alpha_bar: the noise schedule.
            seed: integer; of the noise that the steps add.
        """
        c = self.coefficients(alpha_bar)
        c = {name: ops.convert_to_tensor(values, noisy.dtype) for name, values in c.items()}
        return self.loop(denoise, ops.convert_to_tensor(noisy), c, tf.constant([0, seed]))

    @classmethod
    def loop(cls, denoise, noisy, c, seed):
        """All steps, as a loop inside the graph where this is called from one."""
        n = ops.shape(c["time"])[0]

        def body(i, state):
            def noise():
                fresh = tf.random.experimental.stateless_fold_in(seed, i)
                return tf.random.stateless_normal(ops.shape(noisy), fresh, dtype=noisy.dtype)

            return cls.step(denoise, state[0], {k: v[i] for k, v in c.items()}, state[1], noise)

        noisy, _ = ops.fori_loop(0, n - 1, body, (noisy, ops.zeros_like(noisy)))
        return denoise(noisy, c["time"][-1], c["signal_rate"][-1], c["noise_rate"][-1]).image


def _see(denoise, noisy, c, prefix=""):
    return denoise(noisy, *(c[prefix + name] for name in ("time", "signal_rate", "noise_rate")))


class DDPM(Sampler):
    """Ancestral sampling (祖先采样): draw from p(x_s | x_t), Ho et al. 2020, algorithm 2."""

    def __init__(self, steps=1000, spacing="uniform"):
        super().__init__(steps, spacing)

    def coefficients(self, alpha_bar):
        c = self.grid(alpha_bar)
        c["image_weight"], small = posterior(1.0, 0.0, c["alpha_bar"], c["next_alpha_bar"])
        c["noisy_weight"], _ = posterior(0.0, 1.0, c["alpha_bar"], c["next_alpha_bar"])
        # The variance of the last step is 0; its place is not used.
        c["log_small"] = np.log(np.maximum(small, 1e-20))
        c["log_large"] = np.log(1 - c["alpha_bar"] / c["next_alpha_bar"])
        return c

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        seen = _see(denoise, noisy, c)
        fraction = seen.variance_fraction
        log_variance = fraction * c["log_large"] + (1 - fraction) * c["log_small"]
        mean = c["image_weight"] * seen.image + c["noisy_weight"] * noisy
        return mean + ops.exp(0.5 * log_variance) * noise(), seen.image


class DDIM(Sampler):
    """Song et al. 2020 (arXiv:2010.02502), eq. 12: the same marginals with less, or no, noise.

    Args:
        eta: 0 adds no noise, 1 as much as DDPM's posterior (their eq. 16).
    """

    def __init__(self, steps=20, eta=0.0, spacing="uniform"):
        super().__init__(steps, spacing)
        self.eta = check_number("eta", eta, low=0)
        if eta > 1:
            raise ValueError(f"eta: got {eta!r}, accepted is a number from 0 to 1.")

    def coefficients(self, alpha_bar):
        c = self.grid(alpha_bar)
        _, variance = posterior(0.0, 0.0, c["alpha_bar"], c["next_alpha_bar"])
        c["std"] = self.eta * np.sqrt(variance)
        c["direction"] = np.sqrt(np.maximum(c["next_noise_rate"] ** 2 - c["std"] ** 2, 0))
        return c

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        seen = _see(denoise, noisy, c)
        known = c["next_signal_rate"] * seen.image + c["direction"] * seen.noise
        return known + c["std"] * noise(), seen.image


class DPMSolver(Sampler):
    """DPM-Solver++(2M): Lu et al. 2022 (arXiv:2211.01095), algorithm 2; second order, no noise.

    One look of the network a step: the image's change since the step before serves as derivative.
    """

    def __init__(self, steps=20, spacing="uniform"):
        super().__init__(steps, spacing)

    def coefficients(self, alpha_bar):
        c = self.grid(alpha_bar)
        log_snr = half_log_snr(c["alpha_bar"])
        h = np.append(np.diff(log_snr), np.inf)
        c["ratio"] = c["next_noise_rate"] / c["noise_rate"]
        c["gain"] = -c["next_signal_rate"] * np.expm1(-h)
        # 1 / (2 r) with r = h_previous / h; the first step has nothing to extrapolate from.
        c["extrapolation"] = np.append(0.0, 0.5 * h[1:] / h[:-1])
        c["extrapolation"][-1] = 0.0
        return c

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        image = _see(denoise, noisy, c).image
        straight = image + c["extrapolation"] * (image - previous)
        return c["ratio"] * noisy + c["gain"] * straight, image


class Heun(Sampler):
    """Heun's second-order method: Karras et al. 2022 (arXiv:2206.00364), algorithm 1.

    On x / signal_rate, whose derivative by noise_rate / signal_rate is the noise. Two looks of the
    network a step, but for the last.
    """

    def __init__(self, steps=10, spacing="uniform"):
        super().__init__(steps, spacing)

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        before, after = (c[p + "noise_rate"] / c[p + "signal_rate"] for p in ("", "next_"))
        scaled = noisy / c["signal_rate"]
        first = _see(denoise, noisy, c)
        euler = scaled + (after - before) * first.noise
        second = _see(denoise, c["next_signal_rate"] * euler, c, "next_")
        slope = 0.5 * (first.noise + second.noise)
        return c["next_signal_rate"] * (scaled + (after - before) * slope), first.image


SAMPLERS = {"ddpm": DDPM, "ddim": DDIM, "dpm_solver": DPMSolver, "heun": Heun}
