"""Diffusion models (扩散模型): chapter 04.

Data are mixed with noise until nothing else is left; a network learns to say what the noise was,
and samplers walk the way back (Sohl-Dickstein et al. 2015, arXiv:1503.03585; Ho et al. 2020,
arXiv:2006.11239). Time t runs from 0 (data) to 1 (noise):

    x_t = signal_rate * x_0 + noise_rate * noise,    signal_rate^2 + noise_rate^2 = 1

and alpha_bar = signal_rate^2 is what a noise schedule gives.
"""

import collections
import functools
import itertools
import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.guards import (
    as_images,
    check_choice,
    check_conditions,
    check_labels,
    check_metrics,
    check_number,
    check_run,
    check_seed,
    check_shape,
    check_sizes,
)
from aigc_keras.model import (
    Model,
    by_name,
    compile_config,
    in_batches,
    join,
    restored,
    signature,
    update_average,
)
from aigc_keras.replicas import draw_rows, scaled
from aigc_keras.vae import VAE, check_network, code_decoder, code_encoder

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


# --- samplers: from noise to data, for any function that denoises ---


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


# --- networks: (noisy data, times (B,), labels (B,) where there are classes) -> prediction ---


@keras.saving.register_keras_serializable("aigc_keras")
class SinusoidalEmbedding(layers.Layer):
    """Times (B,) in [0, 1] as (B, dim): sines and cosines of waves from slow to fast.

    Vaswani et al. 2017 (arXiv:1706.03762), section 3.5, of 1000 t.
    """

    def __init__(self, dim, **kwargs):
        super().__init__(autocast=False, **kwargs)  # a time in half precision is another time
        self.dim = check_number("dim", dim, low=2, integer=True)

    def call(self, times):
        frequencies = np.exp(-math.log(10_000) * np.arange(self.dim // 2) / (self.dim // 2))
        angles = 1000.0 * ops.cast(times, "float32")[:, None] * frequencies.astype("float32")
        waves = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
        return ops.cast(waves, self.compute_dtype)

    def compute_output_shape(self, shape):
        return (shape[0], self.dim // 2 * 2)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}


def _embedding(times, labels, num_classes, dim, dtype):
    """Time and class as one vector (B, dim), which every block of a network is given."""
    x = SinusoidalEmbedding(64, dtype=dtype)(times)
    x = layers.Dense(dim, activation="silu", dtype=dtype)(x)
    x = layers.Dense(dim, dtype=dtype)(x)
    if num_classes:  # one more class than there are: none
        x = layers.Add(dtype=dtype)(
            [x, layers.Embedding(num_classes + 1, dim, dtype=dtype)(labels)]
        )
    return layers.Activation("silu", dtype=dtype)(x)


def _inputs(shape, num_classes):
    if num_classes is not None:
        check_number("num_classes", num_classes, low=1, integer=True)
    noisy, times = keras.Input(shape, name="noisy"), keras.Input((), name="times")
    labels = keras.Input((), dtype="int32", name="labels") if num_classes else None
    return noisy, times, labels, [noisy, times] + ([labels] if num_classes else [])


def unet(
    image_shape, widths=(48, 96), blocks=2, patch=1, num_classes=None, outputs=1, dtype=None
):  # fmt: skip
    """A compact U-Net (Ronneberger et al. 2015; Ho et al. 2020, app. B) for two cores.

    Residual blocks whose normalised maps are scaled and shifted by time and class, skip connections
    from each block to its mirror image, and attention at the lowest resolution.

    Args:
        image_shape: (height, width, channels), the sides divisible by `patch`.
        widths: channels at each resolution, multiples of 8; each is half the one before.
        blocks: residual blocks at each resolution, down and up.
        patch: side of the squares of pixels that the first layer makes one position of. 2 saves
            three quarters of the work.
        num_classes: with it, the network takes labels; `num_classes` itself means "any class".
        outputs: maps for each channel of the image; 2 with a learned variance.
    """
    check_sizes(patch=patch, blocks=blocks, outputs=outputs)
    accepted = f"(height, width, channels) with sides divisible by patch, {patch}"
    if any(side % patch for side in check_shape("image_shape", image_shape, accepted, rank=3)[:2]):
        raise ValueError(f"image_shape: got {image_shape!r}, accepted is {accepted}.")
    accepted = "at least one positive multiple of 8"
    if any(width % 8 for width in check_shape("widths", widths, accepted)):
        raise ValueError(f"widths: got {widths!r}, accepted is {accepted}.")
    noisy, times, labels, inputs = _inputs(image_shape, num_classes)
    embedding = _embedding(times, labels, num_classes, 2 * widths[-1], dtype)
    same = {"padding": "same", "dtype": dtype}

    def residual_block(x, width):
        h = layers.GroupNormalization(8, dtype=dtype)(x)
        scale, shift = (
            # Not [:, None, None], whose gradient costs as much as a small convolution.
            layers.Reshape((1, 1, x.shape[-1]))(layers.Dense(x.shape[-1], dtype=dtype)(embedding))
            for _ in range(2)
        )
        h = layers.ReLU(dtype=dtype)(h * (1 + scale) + shift)
        h = layers.Conv2D(width, 3, activation="relu", **same)(h)
        h = layers.Conv2D(width, 3, kernel_initializer="zeros", **same)(h)
        if x.shape[-1] != width:
            x = layers.Conv2D(width, 1, **same)(x)
        return layers.Add(dtype=dtype)([x, h])

    def attention(x):
        height, breadth, width = x.shape[1:]
        h = layers.GroupNormalization(8, dtype=dtype)(x)
        h = layers.Reshape((height * breadth, width), dtype=dtype)(h)
        h = layers.MultiHeadAttention(4, width // 4, dtype=dtype)(h, h)
        return layers.Add(dtype=dtype)([x, layers.Reshape(x.shape[1:], dtype=dtype)(h)])

    x = layers.Conv2D(widths[0], patch if patch > 1 else 3, strides=patch, **same)(noisy)
    skips = []
    for i, width in enumerate(widths):
        if i:
            x = layers.Conv2D(width, 3, strides=2, **same)(x)
        for _ in range(blocks):
            x = residual_block(x, width)
            skips.append(x)
    x = attention(residual_block(x, widths[-1]))
    for i, width in reversed(list(enumerate(widths))):
        for _ in range(blocks):
            x = residual_block(layers.Concatenate(dtype=dtype)([x, skips.pop()]), width)
        if i:
            x = layers.UpSampling2D(dtype=dtype)(x)
            height, breadth = skips[-1].shape[1:3]  # an odd side was rounded up
            crop = ((0, x.shape[1] - height), (0, x.shape[2] - breadth))
            x = layers.Cropping2D(crop, dtype=dtype)(x)
            x = layers.Conv2D(widths[i - 1], 3, **same)(x)
    x = layers.GroupNormalization(8, dtype=dtype)(x)
    x = layers.ReLU(dtype=dtype)(x)
    last = {"kernel_initializer": "zeros", "padding": "same", "dtype": "float32", "name": "outputs"}
    channels = outputs * image_shape[-1]
    if patch == 1:
        x = layers.Conv2D(channels, 3, **last)(x)
    else:
        x = layers.Conv2DTranspose(channels, 2 * patch, strides=patch, **last)(x)
    return keras.Model(inputs, x, name="unet")


def mlp(dim, widths=(256, 256, 256), num_classes=None, outputs=1, dtype=None):
    """Dense layers for points (B, dim), each given time and class anew.

    With ReLU: where clouds of points part, the answer bends sharply.
    """
    check_sizes(dim=dim, outputs=outputs)
    check_shape("widths", widths, "a tuple of at least one integer >= 1")
    noisy, times, labels, inputs = _inputs((dim,), num_classes)
    embedding = _embedding(times, labels, num_classes, widths[0], dtype)
    x = noisy
    for width in widths:
        x = layers.Concatenate(dtype=dtype)([x, embedding])
        x = layers.Dense(width, activation="relu", dtype=dtype)(x)
    x = layers.Dense(outputs * dim, dtype="float32", name="outputs")(x)
    return keras.Model(inputs, x, name="mlp")


# --- the models ---


def gaussian_log_density(x, mean, log_variance):
    """log N(x; mean, variance) of each number, in nats."""
    squares = ops.square(x - mean) * ops.exp(-log_variance)
    return -0.5 * (squares + log_variance + math.log(2 * math.pi))


@keras.saving.register_keras_serializable("aigc_keras")
class DiffusionModel(Model):
    """A diffusion model of images or points, with or without classes (Ho et al. 2020).

    Args:
        image_shape: (height, width, channels), or (2,) for points.
        num_classes: with it, trains on (images, labels) with integer labels in [0, num_classes),
            draws the class it is asked for, and can be guided.
        noise_schedule: one of `NOISE_SCHEDULES`.
        prediction: what the network predicts: one of `PREDICTIONS`.
        loss_weighting: `"simple"` or `"min_snr"`, see `loss_weights`.
        variance: of the steps back: `"small"` (the posterior's), `"large"` (that of the step
            forward; Ho et al. 2020, section 3.2) or `"learned"` between the two, by the variational
            bound (Nichol and Dhariwal 2021, eq. 15 and 16).
        timesteps: number of times that training knows.
        label_dropout: share of the labels that training hides, so that the network also learns to
            do without (Ho and Salimans 2022, arXiv:2207.12598, algorithm 1).
        ema_momentum: `generate` and `evaluate` use an exponential moving average of the weights.
        widths, blocks, patch: size of the network, see `unet`.
        network: a network of your own instead, from [noisy, times, (labels)] to the prediction,
            with twice the channels if the variance is learned.
        seed: seed of the noise; by default `keras.utils.set_random_seed` decides.

    Raises:
        ValueError: an argument is out of range, or the network does not fit.
    """

    def __init__(
        self,
        image_shape,
        num_classes=None,
        noise_schedule="cosine",
        prediction="velocity",
        loss_weighting="simple",
        variance="small",
        timesteps=1000,
        label_dropout=0.1,
        ema_momentum=0.999,
        widths=(48, 96),
        blocks=2,
        patch=2,
        network=None,
        seed=None,
        dtype=None,
        **kwargs,
    ):
        super().__init__(dtype=dtype, **kwargs)
        accepted = "(height, width, channels), or (2,) for points"
        self.image_shape = check_shape("image_shape", image_shape, accepted)
        self.num_classes = num_classes
        if num_classes is not None:
            num_classes = check_number("num_classes", num_classes, low=1, integer=True)
            self.num_classes = num_classes
        self.noise_schedule = check_choice("noise_schedule", noise_schedule, NOISE_SCHEDULES)
        self.prediction = check_choice("prediction", prediction, PREDICTIONS)
        self.loss_weighting = check_choice("loss_weighting", loss_weighting, LOSS_WEIGHTINGS)
        self.variance = check_choice("variance", variance, ("small", "large", "learned"))
        self.timesteps = check_number("timesteps", timesteps, low=2, integer=True)
        self.label_dropout = check_number("label_dropout", label_dropout, low=0, below=1)
        self.ema_momentum = check_number("ema_momentum", ema_momentum, low=0, below=1)
        outputs = 2 if variance == "learned" else 1
        shape = self.data_shape
        if network is None:
            sizes = {"num_classes": num_classes, "outputs": outputs, "dtype": dtype}
            if len(shape) == 1:
                network = mlp(shape[0], **sizes)
            else:
                network = unet(shape, widths, blocks, patch, **sizes)
        labels = [()] if num_classes else []
        check_network(
            "network", network, [shape, (), *labels], [(*shape[:-1], outputs * shape[-1])]
        )
        self.network = network
        self.ema_network = keras.models.clone_model(network)
        self.ema_network.set_weights(network.get_weights())
        self.ema_network.name = "ema_network"
        self.ema_network.trainable = False
        self.seed = check_seed(seed)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.steps = self._single_steps()
        self._axes = tuple(range(1, len(shape) + 1))
        self._ones = (-1,) + (1,) * len(shape)
        self.loops = collections.UserDict()  # an export looks into a dict
        self._encode_batch = tf.function(self.encode, reduce_retracing=True)
        self._bound_batch = tf.function(self.bound_batch, reduce_retracing=True)
        self.built = True

    @property
    def data_shape(self):
        """Shape of what is diffused: here that of the images."""
        return self.image_shape

    def _single_steps(self):
        """Everything about the steps from k to k - 1, float32 (timesteps + 1,); 0 is the data."""
        alpha_bar = self.alpha_bar(np.arange(self.timesteps + 1) / self.timesteps)
        now, before = alpha_bar[1:], alpha_bar[:-1]
        image_weight, small = posterior(1.0, 0.0, now, before)
        noisy_weight, _ = posterior(0.0, 1.0, now, before)
        small[0] = small[1]  # it is 0 (Nichol and Dhariwal 2021, section 3.1)
        steps = {
            "loss_weight": loss_weights(self.loss_weighting, self.prediction, now),
            "image_weight": image_weight,
            "noisy_weight": noisy_weight,
            "log_small": np.log(small),
            "log_large": np.log(1 - now / before),
        }
        steps = {name: np.append(0.0, values) for name, values in steps.items()}
        steps |= {"signal_rate": np.sqrt(alpha_bar), "noise_rate": np.sqrt(1 - alpha_bar)}
        return {name: values.astype("float32") for name, values in steps.items()}

    def compile(self, optimizer=None, metrics=None, jit_compile=False, **kwargs):
        """Choose the optimizer; without arguments, settings that train well on two cores.

        Args:
            optimizer: by default Adam, 1e-3.
            metrics: metrics of `aigc_keras.metrics`, updated with (real, generated) images by
                `evaluate` and validation, never in a training step.
            jit_compile: XLA; off by default, see `make bench`.
        """
        metrics = check_metrics(metrics)
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)
        self.evaluation_metrics = metrics
        self.optimizer.build(self.network.trainable_variables)

    # --- the process ---

    def alpha_bar(self, times):
        """The noise schedule: alpha_bar of times in [0, 1], NumPy, falling from 1."""
        return NOISE_SCHEDULES[self.noise_schedule](times)

    def at(self, name, steps):
        """The coefficient `name` of each of `steps` (B,), shaped to multiply data."""
        return ops.reshape(ops.take(self.steps[name], steps), self._ones)

    def diffuse(self, data, noise, steps):
        """x_t of x_0 = `data` at t = `steps` / timesteps, in one go (Ho et al. 2020, eq. 4)."""
        return self.at("signal_rate", steps) * data + self.at("noise_rate", steps) * noise

    def network_output(self, network, noisy, times, labels, training=False):
        """(prediction, variance_fraction) of a network for x_t at `times` (B,) in [0, 1]."""
        output = network(join(noisy, (times, *labels)), training=training)
        if self.variance != "learned":
            return output, float(self.variance == "large")
        output, fraction = ops.split(output, 2, axis=-1)
        return output, 0.5 + 0.5 * fraction

    # --- the objective ---

    def objective(self, target, output, weights):
        """The weighted mean squared error of the prediction: Ho et al. 2020, eq. 14."""
        return ops.mean(weights * ops.square(target - output))

    def bound_terms(self, data, noisy, image, fraction, steps):
        """L_(k-1) of the variational bound for k = `steps`, (B,), in nats: Ho et al. 2020, eq. 5.

        KL(q(x_(k-1) | x_k, x_0) || p(x_(k-1) | x_k)); for k = 1 it is -log p(x_0 | x_1).
        """
        names = ("image_weight", "noisy_weight", "log_small", "log_large")
        image_weight, noisy_weight, small, large = (self.at(name, steps) for name in names)
        mean = image_weight * data + noisy_weight * noisy
        model_mean = image_weight * image + noisy_weight * noisy
        log_variance = fraction * large + (1 - fraction) * small
        squares = ops.square(mean - model_mean) * ops.exp(-log_variance)
        kl = 0.5 * (log_variance - small + ops.exp(small - log_variance) + squares - 1.0)
        first = -self.data_log_likelihood(data, model_mean, log_variance)
        is_first = ops.reshape(steps == 1, self._ones)
        return ops.sum(ops.where(is_first, first, kl), axis=self._axes)

    def data_log_likelihood(self, data, mean, log_variance):
        """log p(x_0 | x_1) of each number, in nats.

        Of a pixel the probability of its level among 256 (Ho et al. 2020, eq. 13); of a point the
        density.
        """
        if len(self.data_shape) == 1:
            return gaussian_log_density(data, mean, log_variance)
        std = ops.exp(0.5 * log_variance)

        def below(edge):
            return 0.5 * (1.0 + ops.erf((edge - mean) / (std * math.sqrt(2.0))))

        # The first and the last level reach to infinity.
        upper = ops.where(data > 0.999, 1.0, below(data + 1 / 255))
        lower = ops.where(data < -0.999, 0.0, below(data - 1 / 255))
        return ops.log(ops.maximum(upper - lower, 1e-12))

    def batch_loss(self, network, data, labels, training):
        """The objective at random times, as a mean over the batch."""
        batch_size = ops.shape(data)[0]
        any_step = functools.partial(
            keras.random.randint, minval=1, maxval=self.timesteps + 1, dtype="int32"
        )
        steps = draw_rows(any_step, (batch_size,), self.seed_generator)
        noise = draw_rows(keras.random.normal, ops.shape(data), self.seed_generator)
        if training and self.num_classes:
            hidden = draw_rows(keras.random.uniform, (batch_size,), self.seed_generator)
            labels = (ops.where(hidden < self.label_dropout, self.num_classes, labels[0]),)
        noisy = self.diffuse(data, noise, steps)
        rates = self.at("signal_rate", steps), self.at("noise_rate", steps)
        times = ops.cast(steps, "float32") / self.timesteps
        output, fraction = self.network_output(network, noisy, times, labels, training)
        target = prediction_target(self.prediction, data, noise, *rates)
        loss = self.objective(target, output, self.at("loss_weight", steps))
        if self.variance == "learned":
            # The bound shapes the variance only (Nichol and Dhariwal 2021, section 3.1).
            image, _ = components(self.prediction, ops.stop_gradient(output), noisy, *rates)
            bound = self.timesteps * ops.mean(self.bound_terms(data, noisy, image, fraction, steps))
            loss += 0.001 * bound / math.prod(self.data_shape)
        return loss

    # --- training ---

    def train_step(self, data):
        data, labels = self.unpack(data)
        with tf.GradientTape() as tape:
            loss = self.batch_loss(self.network, data, labels, training=True)
            scaled_loss = scaled(loss, self.optimizer, ops.shape(data)[0])
        gradients = tape.gradient(scaled_loss, self.network.trainable_variables)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        update_average(self.ema_network, self.network, self.ema_momentum, self.optimizer.iterations)
        return self.track(loss, data)

    def test_step(self, data):
        images, _ = super().unpack(data)
        data, labels = self.unpack(data)
        results = self.track(self.batch_loss(self.ema_network, data, labels, training=False), data)
        if self.evaluation_metrics:
            noise = draw_rows(keras.random.normal, ops.shape(data), self.seed_generator)
            samples = DPMSolver().sample(self.denoiser(labels), noise, self.alpha_bar)
            samples = self.decode(samples)
        for metric in self.evaluation_metrics:
            metric.update_state(images, samples)
            results[metric.name] = metric.result()
        return results

    def unpack(self, data):
        """(what is diffused, labels): without classes, labels that came along are not used."""
        images, labels = super().unpack(data)
        return self.encode(images), labels

    def track(self, loss, data):
        self.loss_tracker.update_state(loss, sample_weight=ops.shape(data)[0])
        return self.get_metrics_result()

    @property
    def metrics(self):
        return [self.loss_tracker, *getattr(self, "evaluation_metrics", [])]

    def get_metrics_result(self):
        # Metrics of whole sets of images have no value while they are not updated.
        return {"loss": self.loss_tracker.result()}

    # --- what a latent diffusion model does otherwise ---

    def encode(self, images):
        """What is diffused in place of images (B, *image_shape): here they themselves."""
        return images

    def decode(self, data):
        """The way back, to images in [-1, 1]."""
        return ops.clip(data, -1.0, 1.0)

    def encode_mask(self, mask):
        """The mask (B, H, W, 1) of what is diffused."""
        return mask

    def clip(self, data):
        """A denoised x_0, kept where data can be."""
        return ops.clip(data, -1.0, 1.0)

    # --- sampling ---

    def call(self, inputs, training=False):
        """The averaged network's prediction for [noisy, times, (labels)]."""
        return self.ema_network(inputs, training=training)

    def call_signature(self):
        return signature(self.ema_network)

    def denoiser(self, labels=(), guidance_scale=1.0, guided=False):
        """The model as samplers want it: (noisy, time, signal_rate, noise_rate) -> Denoised.

        With `guided`, prediction = unconditional + guidance_scale * (conditional - unconditional):
        1 is the conditional model, 0 the unconditional one, and more exaggerates the class (Ho and
        Salimans 2022, eq. 6, whose w is guidance_scale - 1).
        """

        def denoise(noisy, time, signal_rate, noise_rate):
            x, conditions = noisy, labels
            if guided:  # both in one pass
                x = ops.concatenate([noisy, noisy])
                conditions = (ops.concatenate([labels[0], self.no_labels(labels[0])]),)
            times = ops.broadcast_to(ops.cast(time, "float32"), (ops.shape(x)[0],))
            output, fraction = self.network_output(self.ema_network, x, times, conditions)
            if guided:
                conditional, unconditional = ops.split(output, 2)
                output = unconditional + guidance_scale * (conditional - unconditional)
                fraction = ops.split(fraction, 2)[0] if self.variance == "learned" else fraction
            image, noise = components(self.prediction, output, noisy, signal_rate, noise_rate)
            clipped = self.clip(image)
            if clipped is not image:
                noise = (noisy - signal_rate * clipped) / noise_rate
            return Denoised(clipped, noise, fraction)

        return denoise

    def no_labels(self, labels):
        """The label that says nothing, once for each of `labels`."""
        return ops.full_like(labels, self.num_classes)

    def inpainter(self, denoise, images, mask, seed):
        """`denoise`, told what is known: `images` where `mask` (B, H, W, 1) is not 0."""
        data, mask = self.encode(images), self.encode_mask(mask)
        noise = tf.random.stateless_normal(ops.shape(data), seed)

        def inpaint(noisy, time, signal_rate, noise_rate):
            known = signal_rate * data + noise_rate * noise
            seen = denoise(mask * known + (1 - mask) * noisy, time, signal_rate, noise_rate)
            return Denoised(
                mask * data + (1 - mask) * seen.image,
                mask * noise + (1 - mask) * seen.noise,
                seen.variance_fraction,
            )

        return inpaint

    def generate(
        self, n, labels=None, sampler=None, guidance_scale=1.0, seed=None, batch_size=256
    ):  # fmt: skip
        """`n` images, float32 in [-1, 1], of shape `(n, *image_shape)`.

        The same integer `seed` (and, with a sampler that adds noise, the same `batch_size`) gives
        the same images; without one, every call gives new ones.

        Args:
            labels: with classes: one class, one for each image, or by default all in turn.
            sampler: a `Sampler`; by default `DPMSolver()`.
            guidance_scale: how much to exaggerate the class, >= 0; see `denoiser`.
            batch_size: images computed at a time, so that memory stays bounded.
        """
        n = check_number("n", n, low=1, integer=True)
        return self._sample(n, labels, sampler, guidance_scale, seed, batch_size)

    def inpaint(
        self, images, mask, labels=None, sampler=None, guidance_scale=1.0, seed=None, batch_size=256
    ):  # fmt: skip
        """`images` with the part where `mask` is False drawn anew, to fit the rest.

        At every step the known part of x_t is set to the image with as much noise as x_t has
        (Lugmayr et al. 2022, arXiv:2201.09865, eq. 8; always the same noise), whatever the sampler.

        Args:
            images: (n, *image_shape) in [-1, 1].
            mask: booleans, True where the image is known: (n, height, width, 1), or what broadcasts
                to it.

        The other arguments are those of `generate`.
        """
        images = as_images("images", images, self.image_shape)
        mask, shape = np.asarray(mask), (*images.shape[:-1], 1)
        try:
            if mask.dtype != bool:
                raise ValueError
            mask = np.broadcast_to(mask, shape)
        except ValueError:
            raise ValueError(
                f"mask: got {mask.dtype.name} of shape {mask.shape}, accepted are booleans of "
                f"shape {shape} or what broadcasts to it."
            ) from None
        known = (images, mask.astype("float32"))
        args = (labels, sampler, guidance_scale, seed, batch_size)
        return np.where(mask, images, self._sample(len(images), *args, known=known))

    def _sample(self, n, labels, sampler, guidance_scale, seed, batch_size, known=()):
        sampler = DPMSolver() if sampler is None else sampler
        if not isinstance(sampler, Sampler):
            raise ValueError(f"sampler: got {sampler!r}, accepted is a Sampler such as DDIM(20).")
        check_number("guidance_scale", guidance_scale, low=0)
        if self.num_classes:
            labels = check_labels(labels, n, self.num_classes)
            labels = (self.no_labels(labels).numpy() if guidance_scale == 0 else labels,)
        elif labels is not None or guidance_scale != 1:
            raise ValueError(
                f"labels, guidance_scale: got {labels!r}, {guidance_scale!r}, accepted are None, 1 "
                "by a model without num_classes."
            )
        else:
            labels = ()
        generator = self.generator_of(seed)
        noise = keras.random.normal((n, *self.data_shape), dtype="float32", seed=generator).numpy()
        seed = tf.cast(generator.next(), "int32")
        c = sampler.coefficients(self.alpha_bar)
        values = np.stack([c[name] for name in sorted(c)], axis=1).astype("float32")
        guided = guidance_scale not in (0, 1)
        loop = self._loop(type(sampler), tuple(sorted(c)), guided, len(labels), len(known))
        batches = itertools.count()

        def sample(inputs):
            fresh = tf.random.experimental.stateless_fold_in(seed, next(batches))
            return loop(tf.nest.flatten(inputs), values, guidance_scale, fresh)

        return in_batches(sample, noise, (*labels, *known), batch_size)

    def _loop(self, sampler_class, names, guided, n_labels, n_known):
        """A sampler's whole loop as one graph, for batches of any size and any number of steps."""
        key = (sampler_class, guided, n_known)
        if key not in self.loops:

            def loop(inputs, values, guidance_scale, seed):
                noise, labels, known = inputs[0], inputs[1 : 1 + n_labels], inputs[1 + n_labels :]
                c = {name: values[:, i] for i, name in enumerate(names)}
                denoise = self.denoiser(labels, guidance_scale, guided)
                if known:
                    denoise = self.inpainter(denoise, *known, seed)
                return self.decode(sampler_class.loop(denoise, noise, c, seed))

            shapes = [self.data_shape, self.image_shape, (*self.image_shape[:-1], 1)]
            specs = [tf.TensorSpec((None, *shape)) for shape in shapes[: 1 + n_known]]
            specs[1:1] = [tf.TensorSpec((None,), "int32")] * n_labels
            signature = [specs, tf.TensorSpec((None, len(names))), tf.TensorSpec(())]
            signature.append(tf.TensorSpec((2,), "int32"))
            self.loops[key] = tf.function(loop, input_signature=signature)
        return self.loops[key]

    # --- likelihood ---

    def variational_bound(self, images, labels=None, n_steps=50, seed=None, batch_size=256):
        """-log p(x) is at most this many nats, (n,): Ho et al. 2020, eq. 5.

        The sum over all `timesteps` is estimated, without bias, from the first and `n_steps`
        others, spread evenly and different for each image. For what is diffused: pixels of 256
        levels; of points, and of the latents of a `LatentDiffusion`, the density.

        With `variance="large"` the first step's is beta_1, where the code of Ho et al. has the
        posterior's of step 2: that term, and so the bits per dimension, differ from published ones.
        """
        n_steps = check_number("n_steps", n_steps, low=1, integer=True)
        images = as_images("images", images, self.image_shape)
        conditions = () if labels is None else (labels,)
        conditions = check_conditions(conditions, len(images), self.num_classes)
        generator = self.generator_of(seed)
        # Not the numbers of default_rng(seed): the caller's data may be made of those.
        rng = np.random.default_rng([*generator.next().numpy(), n_steps])
        data = in_batches(self._encode_batch, images, batch_size=batch_size)
        rate = self.steps["signal_rate"][-1] ** 2
        prior = 0.5 * (rate * data**2 - rate - np.log1p(-rate))  # KL(q(x_T | x_0) || N(0, I))
        total = prior.reshape(len(data), -1).sum(axis=1).astype("float64")
        later = self.timesteps - 1
        for i in range(n_steps + 1):
            # The first step, of another kind and size than the others, is not left to chance.
            steps = np.ones(len(data), "int32")
            if i:
                steps = 2 + ((i - 1 + rng.random(len(data))) * later / n_steps).astype("int32")
            noise = rng.standard_normal(data.shape).astype("float32")
            terms = in_batches(self._bound_batch, data, (noise, steps, *conditions), batch_size)
            total += terms * (later / n_steps if i else 1.0)
        return total

    def bound_batch(self, inputs):
        """`bound_terms` of [data, noise, steps, (labels)] by the averaged network."""
        data, noise, steps, *labels = inputs
        noisy = self.diffuse(data, noise, steps)
        times = ops.cast(steps, "float32") / self.timesteps
        output, fraction = self.network_output(self.ema_network, noisy, times, labels)
        rates = self.at("signal_rate", steps), self.at("noise_rate", steps)
        image, _ = components(self.prediction, output, noisy, *rates)
        return self.bound_terms(data, noisy, self.clip(image), fraction, steps)

    # --- saving ---

    def get_config(self):
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
            "num_classes": self.num_classes,
            "noise_schedule": self.noise_schedule,
            "prediction": self.prediction,
            "loss_weighting": self.loss_weighting,
            "variance": self.variance,
            "timesteps": self.timesteps,
            "label_dropout": self.label_dropout,
            "ema_momentum": self.ema_momentum,
            "network": keras.saving.serialize_keras_object(self.network),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, "network"))

    def get_compile_config(self):
        metrics = getattr(self, "evaluation_metrics", [])
        metrics = [keras.saving.serialize_keras_object(metric) for metric in metrics]
        return compile_config(self, metrics=metrics)


def bits_per_dimension(nats, image_shape):
    """Nats an image as bits for each number in it."""
    image_shape = check_shape("image_shape", image_shape, "a tuple of integers >= 1")
    return nats / math.prod(image_shape) / math.log(2)


def latent_autoencoder(image_shape, channels=4, width=32, beta=0.1):
    """A VAE whose latents are a map (height / 4, width / 4, channels), for `LatentDiffusion`.

    The KL divergence hardly weighs: the latents shall keep what is needed for a sharp image, and
    only be kept from drifting apart (Rombach et al. 2022, section 3.1).
    """
    check_sizes(channels=channels, width=width)
    encoder = code_encoder(image_shape, width, 2 * channels)
    images = keras.Input(image_shape, name="images")
    code = encoder(images)
    mean, log_variance = ops.split(code, 2, axis=-1)
    moments = [layers.Flatten()(mean), layers.Flatten()(log_variance)]
    encoder = keras.Model(images, moments, name="encoder")
    latents = keras.Input((encoder.outputs[0].shape[-1],), name="latents")
    to_images = code_decoder(image_shape, width, channels)
    code = layers.Reshape(to_images.inputs[0].shape[1:])(latents)
    decoder = keras.Model(latents, to_images(code), name="decoder")
    model = VAE(
        image_shape,
        latent_dim=latents.shape[-1],
        beta=beta,
        likelihood="gaussian",
        encoder=encoder,
        decoder=decoder,
    )
    model.log_scale.assign(-1.5)  # near where it ends: Adam moves it by a thousandth a step
    return model


@keras.saving.register_keras_serializable("aigc_keras")
class LatentDiffusion(DiffusionModel):
    """Diffusion of the latents of a frozen autoencoder (Rombach et al. 2022, arXiv:2112.10752).

    Latents of 7 x 7 x 4 numbers instead of 28 x 28 pixels: less to learn, and to compute.

    Args:
        autoencoder: a trained `aigc_keras.vae.VAE`; `fit` leaves it as it is.
        latent_shape: (height, width, channels), as many numbers as the autoencoder's latent_dim.
        **kwargs: as for `DiffusionModel`, which takes the image_shape from the autoencoder.
    """

    def __init__(
        self, autoencoder, latent_shape=(7, 7, 4), widths=(64, 128), patch=1, dtype=None, **kwargs
    ):
        kwargs.pop("image_shape", None)  # part of a saved configuration
        if not isinstance(autoencoder, VAE) or autoencoder.num_classes:
            raise ValueError(
                f"autoencoder: got {autoencoder!r:.80}, accepted is a VAE without classes."
            )
        accepted = (
            f"(height, width, channels) of the autoencoder's {autoencoder.latent_dim} latents"
        )
        self._latent_shape = check_shape("latent_shape", latent_shape, accepted, rank=3)
        if math.prod(latent_shape) != autoencoder.latent_dim:
            raise ValueError(f"latent_shape: got {self._latent_shape}, accepted is {accepted}.")
        super().__init__(autoencoder.image_shape, widths=widths, patch=patch, dtype=dtype, **kwargs)
        self.autoencoder = autoencoder
        autoencoder.trainable = False
        shape = (self._latent_shape[-1],)
        self.latent_mean = self.add_weight(
            shape, "zeros", trainable=False, dtype="float32", name="latent_mean"
        )
        self.latent_std = self.add_weight(
            shape, "zeros", trainable=False, dtype="float32", name="latent_std"
        )

    @property
    def data_shape(self):
        return self._latent_shape

    def adapt(self, x):
        """Find mean and standard deviation of the channels of the latents.

        `fit` does it by itself the first time.

        Args:
            x: images, or a `tf.data.Dataset` or `keras.utils.PyDataset` of batches, with labels or
                without; the first 5,000 images or so are looked at.

        Raises:
            ValueError: x is something else.
        """
        if isinstance(x, tf.data.Dataset | keras.utils.PyDataset):
            batches, seen = [], 0
            if isinstance(x, keras.utils.PyDataset):
                n = 5000 if x.num_batches is None else x.num_batches
                x = map(x.__getitem__, range(n))
            for batch in x:
                batches.append(np.asarray(self.parts_of(batch)[0]))
                seen += len(batches[-1])
                if seen >= 5000:
                    break
            if not batches:
                raise ValueError("x: got an empty dataset, accepted is at least one batch.")
            x = np.concatenate(batches)
        elif not isinstance(x, np.ndarray | tf.Tensor):
            raise ValueError(
                f"x: got {type(x).__name__}, accepted are images, a tf.data.Dataset or a "
                "keras.utils.PyDataset; otherwise call adapt(images) before fit."
            )
        latents, _ = self.autoencoder.encode(x[:5000])
        latents = latents.reshape(-1, self._latent_shape[-1])
        std = latents.std(axis=0)
        if not std.all():
            raise ValueError(f"autoencoder: its latent channels vary by {std}, accepted is > 0.")
        self.latent_mean.assign(latents.mean(axis=0))
        self.latent_std.assign(std)

    def _check_adapted(self):
        if not np.any(self.latent_std):
            raise ValueError("model: it knows no latents yet; call fit, or adapt(images), first.")

    def _sample(self, *args, **kwargs):
        self._check_adapted()
        return super()._sample(*args, **kwargs)

    @functools.wraps(keras.Model.evaluate, assigned=())
    def evaluate(self, *args, **kwargs):
        self._check_adapted()
        return super().evaluate(*args, **kwargs)

    @functools.wraps(keras.Model.fit, assigned=())
    def fit(self, *args, **kwargs):
        """`DiffusionModel.fit`, after `adapt` if that is still to be done."""
        if not np.any(self.latent_std):
            given = by_name(keras.Model.fit, args, kwargs)
            check_run(self.check_batch, self.accepted_data, **given)
            self.adapt(given["x"])
        return super().fit(*args, **kwargs)

    def encode(self, images):
        mean, _ = self.autoencoder.encoder(images, training=False)
        latents = ops.reshape(mean, (-1, *self._latent_shape))
        return (latents - self.latent_mean) / self.latent_std

    def encode_mask(self, mask):
        """A latent is known if all pixels of its part of the image are."""
        sides = zip(self.image_shape[:2], self._latent_shape[:2], strict=True)
        return -ops.max_pool(-mask, [side // small for side, small in sides])

    def decode(self, data):
        latents = data * self.latent_std + self.latent_mean
        latents = ops.reshape(latents, (-1, self.autoencoder.latent_dim))
        outputs = self.autoencoder.decoder(latents, training=False)
        return self.autoencoder.to_images(outputs)

    def clip(self, data):
        return data

    def data_log_likelihood(self, data, mean, log_variance):
        return gaussian_log_density(data, mean, log_variance)

    def get_config(self):
        return {
            **super().get_config(),
            "autoencoder": keras.saving.serialize_keras_object(self.autoencoder),
            "latent_shape": self._latent_shape,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, "network", "autoencoder"))
