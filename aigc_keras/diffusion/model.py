"""The diffusion model of images or points: training, sampling, likelihood."""

import collections
import functools
import itertools
import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.diffusion.networks import mlp, unet
from aigc_keras.diffusion.samplers import Denoised, DPMSolver, Sampler
from aigc_keras.diffusion.schedules import (
    LOSS_WEIGHTINGS,
    PATHS,
    PREDICTIONS,
    components,
    loss_weights,
    predictions,
    rates_at,
    steps_back,
)
from aigc_keras.guards import (
    as_images,
    check_choice,
    check_conditions,
    check_labels,
    check_network,
    check_number,
    check_shape,
)
from aigc_keras.model import Model, averaged, in_batches, join, signature


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
        noise_schedule: one of `PATHS`; `"straight"` makes it rectified flow.
        prediction: what the network predicts: one of `PREDICTIONS`; on the straight path `"flow"`
            or `"image"`.
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

    takes_metrics = True

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
        if num_classes is not None:
            num_classes = check_number("num_classes", num_classes, low=1, integer=True)
        self.num_classes = self.no_label = num_classes  # one more class than there are: any
        self.noise_schedule = check_choice("noise_schedule", noise_schedule, PATHS)
        self.prediction = check_choice("prediction", prediction, PREDICTIONS)
        if noise_schedule == "straight":  # the others find no image in pure noise, or want a circle
            check_choice("prediction on the straight path", prediction, ("image", "flow"))
        self.loss_weighting = check_choice("loss_weighting", loss_weighting, LOSS_WEIGHTINGS)
        self.variance = check_choice("variance", variance, ("small", "large", "learned"))
        self.timesteps = check_number("timesteps", timesteps, low=2, integer=True)
        self.label_dropout = check_number("label_dropout", label_dropout, low=0, below=1)
        self.ema_momentum = check_number("ema_momentum", ema_momentum, low=0, below=1)
        outputs = 2 if variance == "learned" else 1
        shape = self.data_shape
        if network is None:
            network = self.default_network(widths, blocks, patch, outputs=outputs, dtype=dtype)
        takes, gives = [shape, (), *self.condition_shapes], [(*shape[:-1], outputs * shape[-1])]
        check_network("network", network, takes, gives)
        self.network = network
        self.ema_network = averaged(network, "ema_network")
        self.set_up(seed)
        self.steps = self._single_steps()
        self._axes = tuple(range(1, len(shape) + 1))
        self._ones = (-1,) + (1,) * len(shape)
        self.loops = collections.UserDict()  # an export looks into a dict
        self._encode_batch = tf.function(self.encode, reduce_retracing=True)
        self._bound_batch = tf.function(self.bound_batch, reduce_retracing=True)

    def default_network(self, widths, blocks, patch, **kwargs):
        """The network where none is given."""
        kwargs["num_classes"] = self.num_classes
        if len(self.data_shape) == 1:
            return mlp(self.data_shape[0], **kwargs)
        return unet(self.data_shape, widths, blocks, patch, **kwargs)

    @property
    def data_shape(self):
        """Shape of what is diffused: here that of the images."""
        return self.image_shape

    def _single_steps(self):
        """Everything about the steps from k to k - 1, float32 (timesteps + 1,); 0 is the data."""
        path = rates_at(self.alpha_bar, np.arange(self.timesteps + 1) / self.timesteps)
        now, before = ({k: x[part] for k, x in path.items()} for part in (np.s_[1:], np.s_[:-1]))
        steps = steps_back(now, before)
        steps["log_small"][0] = steps["log_small"][1]  # Nichol and Dhariwal 2021, section 3.1
        weighting = self.loss_weighting, self.prediction
        steps["loss_weight"] = loss_weights(*weighting, now["alpha_bar"])
        steps = {name: np.append(0.0, values) for name, values in steps.items()} | path
        return {name: values.astype("float32") for name, values in steps.items()}

    # --- the process ---

    def alpha_bar(self, times):
        """The noise schedule: alpha_bar of times in [0, 1], NumPy, falling from 1.

        Or (signal_rate, noise_rate), as of the straight path.
        """
        return PATHS[self.noise_schedule](times)

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
        rows = ops.shape(data)[:1]
        any_step = functools.partial(
            keras.random.randint, minval=1, maxval=self.timesteps + 1, dtype="int32"
        )
        steps, noise = self.noise(rows, draw=any_step), self.noise(ops.shape(data))
        if training and labels:
            hidden = self.noise(rows, draw=keras.random.uniform) < self.label_dropout
            hidden = ops.reshape(hidden, (-1,) + (1,) * (len(labels[0].shape) - 1))
            labels = (ops.where(hidden, self.no_label, labels[0]),)
        noisy = self.diffuse(data, noise, steps)
        rates = self.at("signal_rate", steps), self.at("noise_rate", steps)
        times = ops.cast(steps, "float32") / self.timesteps
        output, fraction = self.network_output(network, noisy, times, labels, training)
        prediction = predictions(*rates)[self.prediction]
        target = prediction.target(data, noise)
        loss = self.objective(target, output, self.at("loss_weight", steps))
        if self.variance == "learned":
            # The bound shapes the variance only (Nichol and Dhariwal 2021, section 3.1).
            image, _ = prediction.components(ops.stop_gradient(output), noisy)
            bound = self.timesteps * ops.mean(self.bound_terms(data, noisy, image, fraction, steps))
            loss += 0.001 * bound / math.prod(self.data_shape)
        return loss

    # --- training ---

    def train_step(self, data):
        images, labels = self.unpack(data)
        data = self.encode(images)
        with tf.GradientTape() as tape:
            loss = self.batch_loss(self.network, data, labels, training=True)
        self.descend(tape, loss, data, "network")
        return self.track(data, loss=loss)

    def test_step(self, data):
        images, labels = self.unpack(data)
        data = self.encode(images)
        loss = self.batch_loss(self.ema_network, data, labels, training=False)
        results = self.track(data, loss=loss)
        if self.evaluation_metrics:
            noise = self.noise(ops.shape(data))
            samples = DPMSolver().sample(self.denoiser(labels), noise, self.alpha_bar)
            results |= self.compare(images, self.decode(samples))
        return results

    # --- what conditions: a child may take something else than classes ---

    @property
    def condition_shapes(self):
        """Shapes of what the network takes after data and times: here of a label, or none."""
        return [()] if self.num_classes else []

    def no_labels(self, labels):
        """The label that says nothing, once for each of `labels`."""
        return ops.zeros_like(labels) + self.no_label

    def conditions_of(self, labels, n):
        """The labels of `n` images, as a tuple of what the network takes, or a ValueError."""
        return check_conditions(() if labels is None else (labels,), n, self.num_classes)

    def asked_for(self, labels, n, guidance_scale):
        """What `n` images shall be drawn from, as `denoiser` takes it, or a ValueError."""
        if self.num_classes:
            labels = check_labels(labels, n, self.num_classes)
            return (self.no_labels(labels).numpy() if guidance_scale == 0 else labels,)
        if labels is not None or guidance_scale != 1:
            raise ValueError(
                f"labels, guidance_scale: got {labels!r}, {guidance_scale!r}, accepted are None, 1 "
                "by a model without num_classes."
            )
        return ()

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

        Args:
            labels: (those of the images,), or with them what takes the place of `no_labels`.
        """

        def denoise(noisy, time, signal_rate, noise_rate):
            x, conditions = noisy, labels[:1]
            if guided:  # both in one pass
                other = self.no_labels(labels[0]) if len(labels) == 1 else labels[1]
                x = ops.concatenate([noisy, noisy])
                conditions = (ops.concatenate([labels[0], other]),)
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
        self, n=None, labels=None, sampler=None, guidance_scale=1.0, seed=None, batch_size=256,
        start=None, strength=None,
    ):  # fmt: skip
        """`n` images, float32 in [-1, 1], of shape `(n, *image_shape)`.

        The same integer `seed` (and, with a sampler that adds noise, the same `batch_size`) gives
        the same images; without one, every call gives new ones.

        Args:
            n: how many; by default as many as `start` has.
            labels: with classes: one class, one for each image, or by default all in turn.
            sampler: a `Sampler`; by default `DPMSolver()`.
            guidance_scale: how much to exaggerate the class, >= 0; see `denoiser`.
            batch_size: images computed at a time, so that memory stays bounded.
            start: images (n, *image_shape) in [-1, 1] to change instead of pure noise (Meng et al.
                2021, arXiv:2108.01073).
            strength: the time, > 0 and <= 1, from which to go back: how much noise `start` gets.
                The sampler's times are shares of it.
        """
        if start is None:
            if strength is not None:
                raise ValueError(f"strength: got {strength!r}, accepted is None without start.")
            n = check_number("n", n, low=1, integer=True)
            return self._sample(n, labels, sampler, guidance_scale, seed, batch_size)
        start = as_images("start", start, self.image_shape)
        if n not in (None, len(start)):
            raise ValueError(f"n: got {n!r}, accepted with start is None or {len(start)}.")
        if not 0 < check_number("strength", strength, low=0) <= 1:
            raise ValueError(f"strength: got {strength!r}, accepted is a number > 0 and <= 1.")
        args = (labels, sampler, guidance_scale, seed, batch_size)
        return self._sample(len(start), *args, start=start, strength=strength)

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

    def _sample(
        self, n, labels, sampler, guidance_scale, seed, batch_size,
        known=(), start=None, strength=1.0,
    ):  # fmt: skip
        sampler = DPMSolver() if sampler is None else sampler
        if not isinstance(sampler, Sampler):
            raise ValueError(f"sampler: got {sampler!r}, accepted is a Sampler such as DDIM(20).")
        check_number("guidance_scale", guidance_scale, low=0)
        labels = self.asked_for(labels, n, guidance_scale)
        generator = self.generator_of(seed)
        noise = keras.random.normal((n, *self.data_shape), dtype="float32", seed=generator).numpy()
        seed = tf.cast(generator.next(), "int32")
        c = sampler.coefficients(lambda times: self.alpha_bar(strength * times))
        c |= {name: strength * c[name] for name in ("time", "next_time")}
        c = {name: values.astype("float32") for name, values in c.items()}
        if start is not None:
            data = in_batches(self._encode_batch, start, batch_size=batch_size)
            noise = c["signal_rate"][0] * data + c["noise_rate"][0] * noise
        guided = guidance_scale not in (0, 1)
        loop = self._loop(type(sampler), list(c), guided, len(labels), len(known))
        batches = itertools.count()

        def sample(inputs):
            fresh = tf.random.experimental.stateless_fold_in(seed, next(batches))
            return loop(tf.nest.flatten(inputs), c, guidance_scale, fresh)

        return in_batches(sample, noise, (*labels, *known), batch_size)

    def _loop(self, sampler_class, names, guided, n_labels, n_known):
        """A sampler's whole loop as one graph, for batches of any size and any number of steps."""
        key = (sampler_class, guided, n_known)
        if key not in self.loops:

            def loop(inputs, c, guidance_scale, seed):
                noise, labels, known = inputs[0], inputs[1 : 1 + n_labels], inputs[1 + n_labels :]
                denoise = self.denoiser(labels, guidance_scale, guided)
                if known:
                    denoise = self.inpainter(denoise, *known, seed)
                return self.decode(sampler_class.loop(denoise, noise, c, seed))

            shapes = [self.data_shape, self.image_shape, (*self.image_shape[:-1], 1)]
            specs = [tf.TensorSpec((None, *shape)) for shape in shapes[: 1 + n_known]]
            of_labels = self.condition_shapes * n_labels
            specs[1:1] = [tf.TensorSpec((None, *shape), "int32") for shape in of_labels]
            signature = [specs, {name: tf.TensorSpec((None,)) for name in names}]
            signature += [tf.TensorSpec(()), tf.TensorSpec((2,), "int32")]
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
        conditions = self.conditions_of(labels, len(images))
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


def bits_per_dimension(nats, image_shape):
    """Nats an image as bits for each number in it."""
    image_shape = check_shape("image_shape", image_shape, "a tuple of integers >= 1")
    return nats / math.prod(image_shape) / math.log(2)
