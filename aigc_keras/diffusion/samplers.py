"""Samplers: from noise to data, for any function that denoises."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.diffusion.schedules import half_log_snr, rates_at, steps_back
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


def check_times(steps):
    """`steps`, times, as an array (steps,), or a ValueError."""
    try:
        times = np.asarray(steps, "float64")
        if times.ndim != 1 or times[0] != 1 or not times[-1] > 0 or not (np.diff(times) < 0).all():
            raise ValueError
    except (TypeError, ValueError, IndexError):
        raise ValueError(
            f"steps: got {steps!r:.80}, accepted are an integer >= 1, or times that fall from 1 to "
            "above 0."
        ) from None
    return times


class Sampler:
    """A way from noise (t = 1) to data (t = 0), in `steps` steps.

    Subclasses give the `coefficients` of all steps, computed beforehand in double precision, and
    one `step`. The last step of each is the same: it takes the image that the network sees.

    With twice the steps, a method of second order quarters its error: on the straight path with any
    spacing, on the linear and cosine ones with `"quadratic"`. With `"uniform"` these have first
    order, because the noise rate begins as the root of the time; with `"log_snr"` the error of the
    last step remains, from `last_time`.

    Args:
        steps: number of steps, or the times themselves, falling from 1.
        spacing: where the times lie: evenly (`"uniform"`), closer together at the end
            (`"quadratic"`, Song et al. 2020, app. D.2), or evenly in the logarithm of the
            signal-to-noise ratio (`"log_snr"`, Lu et al. 2022, section 3.4), which the straight
            path does not allow: it ends in pure noise.

    Raises:
        ValueError: an argument is out of range.
    """

    last_time = 1e-3  # of "log_snr", whose last step but one would otherwise be infinitely far

    def __init__(self, steps=20, spacing="uniform"):
        self.stated = check_times(steps) if isinstance(steps, list | tuple | np.ndarray) else None
        n = steps if self.stated is None else len(self.stated)
        self.steps = check_number("steps", n, low=1, integer=True)
        self.spacing = check_choice("spacing", spacing, SPACINGS)

    def times(self, schedule):
        """`steps` times, falling from 1, at which the data are denoised."""
        if self.stated is not None:
            return self.stated
        evenly = np.linspace(1, 0, self.steps + 1)[:-1]
        if self.spacing == "uniform":
            return evenly
        if self.spacing == "quadratic":
            return evenly**2
        fine = np.linspace(self.last_time, 1, 100_001)
        log_snr = half_log_snr(rates_at(schedule, fine)["alpha_bar"])  # falls
        if np.isinf(log_snr[-1]):
            raise ValueError(
                "spacing: got 'log_snr', accepted are uniform, quadratic on a path to pure noise."
            )
        wanted = np.linspace(log_snr[-1], log_snr[0], self.steps)
        return np.interp(wanted, log_snr[::-1], fine[::-1])

    def coefficients(self, schedule):
        """Everything about the steps: arrays (steps,) by name; `next_` is after the step.

        Args:
            schedule: function of time that gives alpha_bar, or (signal_rate, noise_rate).
        """
        times = self.times(schedule)
        now, data = rates_at(schedule, times), rates_at(lambda time: 1.0, 0.0)
        after = {name: np.append(values[1:], data[name]) for name, values in now.items()}
        c = {"time": times, "next_time": np.append(times[1:], 0.0), **now, **steps_back(now, after)}
        return c | {f"next_{name}": values for name, values in after.items()}

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        """(x_s, the image seen in x_t), from x_t = `noisy`.

        Args:
            c: the step's coefficients by name.
            previous: the image seen a step earlier.
            noise: a function that gives fresh noise of the shape of `noisy`.
        """
        raise NotImplementedError

    def sample(self, denoise, noisy, schedule, seed=0):
        """Data, shaped like `noisy`, which is noise from N(0, I).

        Args:
            denoise: function (noisy, time, signal_rate, noise_rate) -> Denoised.
            schedule: see `coefficients`.
            seed: integer; of the noise that the steps add.
        """
        c = self.coefficients(schedule)
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

    def coefficients(self, schedule):
        c = super().coefficients(schedule)
        c["std"] = self.eta * np.sqrt(c["variance"])
        c["direction"] = np.sqrt(np.maximum(c["next_noise_rate"] ** 2 - c["std"] ** 2, 0))
        return c

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        seen = _see(denoise, noisy, c)
        known = c["next_signal_rate"] * seen.image + c["direction"] * seen.noise
        return known + c["std"] * noise(), seen.image


class DPMSolver(Sampler):
    """DPM-Solver++(2M): Lu et al. 2022 (arXiv:2211.01095), algorithm 2, without noise.

    One look of the network a step: the image's change since the step before serves as derivative.
    Of second order where `Sampler` says so; on the straight path only with hundreds of steps.
    """

    def coefficients(self, schedule):
        c = super().coefficients(schedule)
        log_snr = half_log_snr(c["alpha_bar"])
        h = np.append(np.diff(log_snr), np.inf)
        c["ratio"] = c["next_noise_rate"] / c["noise_rate"]
        c["gain"] = -c["next_signal_rate"] * np.expm1(-h)
        # 1 / (2 r) with r = h_previous / h; the first step has nothing to extrapolate from.
        c["extrapolation"] = np.zeros(self.steps)
        c["extrapolation"][1:-1] = 0.5 * h[1:-1] / h[:-2]
        return c

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        image = _see(denoise, noisy, c).image
        straight = image + c["extrapolation"] * (image - previous)
        return c["ratio"] * noisy + c["gain"] * straight, image


class Euler(Sampler):
    """Euler's method: on the straight path x_s = x_t + (s - t) * (noise - image).

    It mixes the image and the noise that it sees anew: what `DDIM` without noise does on any path.
    """

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        seen = _see(denoise, noisy, c)
        return c["next_signal_rate"] * seen.image + c["next_noise_rate"] * seen.noise, seen.image


class Heun(Sampler):
    """Heun's method: Karras et al. 2022 (arXiv:2206.00364), algorithm 1.

    On x / signal_rate, whose derivative by noise_rate / signal_rate is the noise; on the straight
    path on x itself, whose derivative by time is noise - image. Two looks of the network a step,
    but for the last. Of second order where `Sampler` says so.
    """

    def __init__(self, steps=10, spacing="uniform"):
        super().__init__(steps, spacing)

    def coefficients(self, schedule):
        c = super().coefficients(schedule)
        circle = (c["scale"] == 1).all()  # the squares of the rates add up to 1
        for p in ("", "next_"):
            c[p + "unit"] = c[p + "signal_rate"] + (0.0 if circle else c[p + "noise_rate"])
        return c

    @staticmethod
    def step(denoise, noisy, c, previous, noise):
        unit, next_unit = c["unit"], c["next_unit"]
        of_image = c["next_signal_rate"] / next_unit - c["signal_rate"] / unit
        of_noise = c["next_noise_rate"] / next_unit - c["noise_rate"] / unit

        def ahead(image, noise):
            return next_unit * (noisy / unit + of_noise * noise + of_image * image)

        first = _see(denoise, noisy, c)
        second = _see(denoise, ahead(first.image, first.noise), c, "next_")
        image, noise = (0.5 * (a + b) for a, b in zip(first[:2], second[:2], strict=True))
        return ahead(image, noise), first.image


SAMPLERS = {"ddpm": DDPM, "ddim": DDIM, "dpm_solver": DPMSolver, "euler": Euler, "heun": Heun}
