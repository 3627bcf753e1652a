"""Chapter 01: objectives against closed forms, the train step against a naive one, refusals."""

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
from keras import ops

from aigc_keras import gan, metrics, replicas


def images(n, shape=(28, 28, 1), seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype("float32")


def small_gan(cls=gan.MLPGAN, **kwargs):
    """A GAN over 2-D points that trains in milliseconds."""
    kwargs = {"generator_widths": (8,), "discriminator_widths": (8,), "dropout": 0.0, **kwargs}
    return cls((2,), latent_dim=3, **kwargs)


def compiled(model, learning_rate=0.1, **kwargs):
    sgd = keras.optimizers.SGD
    model.compile(sgd(learning_rate), sgd(learning_rate), **kwargs)
    return model


# --- objectives ---


def test_non_saturating_is_binary_cross_entropy():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 50, 1))
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    discriminator_loss, generator_loss = gan.non_saturating(real, fake, label_smoothing=0.1)
    expected = cross_entropy(np.full((50, 1), 0.9), real) + cross_entropy(np.zeros((50, 1)), fake)
    np.testing.assert_allclose(discriminator_loss, expected, rtol=1e-5)
    np.testing.assert_allclose(generator_loss, cross_entropy(np.ones((50, 1)), fake), rtol=1e-5)


def test_best_discriminator_measures_the_jensen_shannon_divergence():
    """Goodfellow et al. 2014, theorem 1: at D* = p / (p + q) the loss is 2 log 2 - 2 JSD(p, q)."""
    p, q = scipy.stats.norm(0, 1), scipy.stats.norm(1.5, 1)
    logit = lambda x: p.logpdf(x) - q.logpdf(x)  # noqa: E731
    x, y = p.rvs(400_000, random_state=0), q.rvs(400_000, random_state=1)
    discriminator_loss, generator_loss = gan.minimax(logit(x), logit(y))

    def divergence(x):
        middle = 0.5 * (p.pdf(x) + q.pdf(x))
        return 0.5 * sum(d.pdf(x) * np.log(d.pdf(x) / middle) for d in (p, q))

    jsd, _ = scipy.integrate.quad(divergence, -8, 10)
    np.testing.assert_allclose(discriminator_loss, 2 * np.log(2) - 2 * jsd, atol=3e-3)
    # The minimax generator minimises its half of the same value: the two sum to -E[-log D(x)].
    np.testing.assert_allclose(
        discriminator_loss + generator_loss, np.mean(np.logaddexp(0, -logit(x))), rtol=1e-5
    )


@pytest.mark.parametrize("name", gan.OBJECTIVES)
def test_objectives_pull_in_opposite_directions(name):
    logits = tf.constant([[0.1], [0.3], [0.8]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        on_real, _ = gan.OBJECTIVES[name](logits, tf.zeros_like(logits))
        on_fake, for_generator = gan.OBJECTIVES[name](tf.zeros_like(logits), logits)
    assert (tape.gradient(on_real, logits).numpy() < 0).all()  # real logits shall rise
    assert (tape.gradient(on_fake, logits).numpy() > 0).all()  # fake logits shall fall,
    assert (tape.gradient(for_generator, logits).numpy() < 0).all()  # says D; rise, says G


def test_minimax_gradient_vanishes_when_the_discriminator_is_sure():
    logits = tf.constant([[-12.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        _, saturating = gan.minimax(logits, logits)
        _, non_saturating = gan.non_saturating(logits, logits)
    assert abs(tape.gradient(saturating, logits).numpy().item()) < 1e-5
    np.testing.assert_allclose(tape.gradient(non_saturating, logits), [[-1.0]], atol=1e-4)


def test_logits_that_are_sure_stay_finite():
    for objective in gan.OBJECTIVES.values():
        losses = objective(np.full((4, 1), 500.0, "float32"), np.full((4, 1), -500.0, "float32"))
        assert np.isfinite([float(loss) for loss in losses]).all()


# --- gradient penalty ---


def linear_critic(weights):
    points = keras.Input((2,))
    layer = keras.layers.Dense(1, use_bias=False)
    model = keras.Model(points, layer(points))
    layer.set_weights([np.array(weights, "float32").reshape(2, 1)])
    return model


def test_gradient_penalty_of_a_linear_critic():
    """The gradient of w.x is w everywhere, so the penalty is (|w| - 1)^2."""
    model = gan.GAN(
        small_gan().generator, linear_critic([3.0, 4.0]), latent_dim=3, objective="wasserstein"
    )
    penalty = model.penalty(images(7, (2,)), images(7, (2,), seed=1), ())
    np.testing.assert_allclose(penalty, (5.0 - 1.0) ** 2, rtol=1e-5)


def test_gradient_penalty_of_a_flat_critic_has_a_finite_gradient():
    critic = linear_critic([0.0, 0.0])
    model = gan.GAN(small_gan().generator, critic, latent_dim=3, objective="wasserstein")
    with tf.GradientTape() as tape:
        penalty = model.penalty(images(7, (2,)), images(7, (2,), seed=1), ())
    (gradient,) = tape.gradient(penalty, critic.trainable_variables)
    assert np.isfinite(gradient.numpy()).all()


def test_gradient_penalty_mixes_uniformly():
    """Between real 0 and fake 1, the penalty sees every point of the segment equally often."""
    seen = []

    class Spy(keras.layers.Layer):
        def call(self, x):
            seen.append(x)
            return ops.sum(x, axis=-1, keepdims=True)

    points = keras.Input((2,))
    critic = keras.Model(points, Spy()(points))
    model = gan.GAN(small_gan().generator, critic, latent_dim=3, objective="wasserstein")
    model.penalty(np.zeros((5000, 2), "float32"), np.ones((5000, 2), "float32"), ())
    mixed = np.asarray(seen[-1])
    assert (mixed[:, 0] == mixed[:, 1]).all()  # one coefficient an image, not one a pixel
    assert scipy.stats.kstest(mixed[:, 0], "uniform").pvalue > 0.01


# --- the train step ---


class FixedNoise(gan.MLPGAN):
    def sample_latents(self, n, seed=None):
        return ops.convert_to_tensor(np.random.default_rng(7).normal(size=(n, 3)), "float32")


@pytest.mark.parametrize("objective", gan.OBJECTIVES)
def test_train_step_equals_a_naive_one(objective):
    """One shared pass gives the gradients that two separate passes give."""
    model = compiled(
        small_gan(FixedNoise, objective=objective, gradient_penalty=0, discriminator_steps=1)
    )
    generator, discriminator = (
        keras.models.clone_model(x) for x in (model.generator, model.discriminator)
    )
    generator.set_weights(model.generator.get_weights())
    discriminator.set_weights(model.discriminator.get_weights())
    batch = images(16, (2,))
    latents = model.sample_latents(16)
    with tf.GradientTape() as tape:
        logits = discriminator(batch), discriminator(generator(latents))
        loss, _ = gan.OBJECTIVES[objective](*logits)
    d_gradients = tape.gradient(loss, discriminator.trainable_variables)
    with tf.GradientTape() as tape:
        logits = discriminator(batch), discriminator(generator(latents))
        _, loss = gan.OBJECTIVES[objective](*logits)
    g_gradients = tape.gradient(loss, generator.trainable_variables)
    keras.optimizers.SGD(0.1).apply(d_gradients, discriminator.trainable_variables)
    keras.optimizers.SGD(0.1).apply(g_gradients, generator.trainable_variables)

    model.fit(batch, batch_size=16, shuffle=False, verbose=0)
    for ours, naive in ((model.generator, generator), (model.discriminator, discriminator)):
        for a, b in zip(ours.get_weights(), naive.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_each_optimizer_moves_its_own_network_only():
    for moved in ("generator", "discriminator"):
        model = small_gan()
        rates = {"generator": 0.0, "discriminator": 0.0, moved: 0.1}
        model.compile(*(keras.optimizers.SGD(rates[k]) for k in ("generator", "discriminator")))
        before = {k: getattr(model, k).get_weights() for k in rates}
        model.fit(images(8, (2,)), verbose=0)
        for name in rates:
            pairs = zip(before[name], getattr(model, name).get_weights(), strict=True)
            changed = any((a != b).any() for a, b in pairs)
            assert changed == (name == moved)


class Halving(keras.callbacks.LearningRateScheduler):
    """A callback of one's own, which looks at the optimizer that Keras knows of."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.seen = float(self.model.optimizer.learning_rate)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    "callback",
    [
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
        lambda: Halving(lambda epoch, rate: rate / 2),
        lambda: keras.callbacks.ReduceLROnPlateau(
            "generator_loss", 0.5, 1, mode="min", min_delta=1e9
        ),
    ],
)
def test_callbacks_of_the_learning_rate_move_both(callback, scaled):
    model, callback = small_gan(), callback()
    both = [keras.optimizers.SGD(rate) for rate in (0.1, 0.4)]
    if scaled:
        both = [keras.optimizers.LossScaleOptimizer(x) for x in both]
    model.compile(*both)
    history = model.fit(images(8, (2,)), epochs=3, callbacks=[callback], verbose=0).history
    rates = [float(x.learning_rate) for x in both]
    np.testing.assert_allclose(
        rates, np.array([0.1, 0.4]) / (4 if "min_lr" in vars(callback) else 8)
    )
    keys = [f"learning_rate{end}" for end in ("", "_optimizer", "_discriminator_optimizer")]
    found = np.array([history[key] for key in keys])
    start = found[:, 0] / (1 if "min_lr" in vars(callback) else 0.5)
    np.testing.assert_allclose(start, [0.1, 0.1, 0.4], rtol=1e-6)
    np.testing.assert_allclose(found[:, 2] * 2, found[:, 1], rtol=1e-6)
    assert getattr(callback, "seen", rates[0]) == rates[0]


class Average(keras.callbacks.Callback):
    """The exponential moving average of a network's weights, over epochs of one step."""

    def on_epoch_end(self, epoch, logs=None):
        weights = self.model.discriminator.get_weights()
        pairs = zip(getattr(self, "mean", weights), weights, strict=True)
        self.mean = [0.5 * a + 0.5 * w for a, w in pairs]


@pytest.mark.parametrize("swap", [False, True])
def test_averages_of_the_discriminators_optimizer_are_used(swap):
    """Keras puts them into the model at the end of `fit`, and SwapEMAWeights does it before."""
    model, average, x = small_gan(), Average(), images(8, (2,))
    average_of = {"use_ema": True, "ema_momentum": 0.5}
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1, **average_of))
    tested = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: tested.append(model.discriminator.get_weights())
    )
    swapper = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    callbacks = [average, *([swapper] if swap else []), look]
    model.fit(x, epochs=4, validation_data=(x,), callbacks=callbacks, verbose=0)
    for mean, weight in zip(average.mean, model.discriminator.get_weights(), strict=True):
        np.testing.assert_allclose(weight, mean, rtol=1e-5)
    for mean, weight in zip(average.mean, tested[-1], strict=True):
        assert np.allclose(weight, mean, rtol=1e-5) == swap


@pytest.mark.parametrize(("batch_size", "n_steps"), [(12, 3), (7, 3), (2, 5), (1, 4)])
def test_discriminator_steps_share_the_batch(batch_size, n_steps):
    rows = np.arange(batch_size)[:, None] * np.ones((1, 2))
    shares = [ops.convert_to_numpy(x[:, 0]) for x, _ in replicas.shares(n_steps, rows, ())]
    assert len(shares) == n_steps
    assert len({len(share) for share in shares}) == 1
    assert set(np.concatenate(shares)) == set(range(batch_size))


def test_several_discriminator_steps_train_on_a_short_batch():
    model = small_gan(objective="wasserstein", discriminator_steps=5)
    model.compile()
    history = model.fit(images(13, (2,)), batch_size=10, epochs=2, verbose=0).history
    assert np.isfinite(history["discriminator_loss"]).all()
    assert int(model.discriminator_optimizer.iterations) == 5 * int(model.optimizer.iterations)


def test_ema_follows_its_recurrence():
    model = compiled(small_gan(ema_momentum=0.6))
    average = model.generator.get_weights()
    for step in range(1, 31):
        model.fit(images(8, (2,), seed=step), verbose=0)
        momentum = min(0.6, step / (step + 10))
        average = [
            momentum * a + (1 - momentum) * w
            for a, w in zip(average, model.generator.get_weights(), strict=True)
        ]
    for a, b in zip(average, model.ema_generator.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_without_ema_the_generator_itself_generates():
    model = compiled(small_gan(ema_momentum=0.0))
    model.fit(images(8, (2,)), epochs=3, verbose=0)
    latents = model.sample_latents(5, seed=1)
    np.testing.assert_allclose(model.decode(latents), model.generator(latents), atol=1e-6)


def test_two_runs_are_alike():
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = small_gan(gradient_penalty=1.0, dropout=0.4)
        model.compile()
        history = model.fit(images(40, (2,)), batch_size=8, epochs=2, verbose=0).history
        runs.append((history, model.generate(6, seed=1)))
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


# --- generating ---


def test_generate_repeats_with_a_seed_and_varies_without():
    model = small_gan()
    np.testing.assert_array_equal(model.generate(9, seed=4), model.generate(9, seed=4))
    assert (model.generate(9, seed=4) != model.generate(9, seed=5)).any()
    assert (model.generate(9) != model.generate(9)).any()


@pytest.mark.parametrize("n", [1, 7, 20])
def test_generate_in_chunks_is_the_same(n):
    model = small_gan()
    whole, chunks = (model.generate(n, seed=1, batch_size=b) for b in (256, 7))
    assert whole.shape == (n, 2) and whole.dtype == np.float32
    np.testing.assert_allclose(whole, chunks, atol=1e-6)


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_dcgan_makes_every_size(size, channels):
    shape = (size, size, channels)
    model = gan.DCGAN(shape, latent_dim=4, generator_width=8, discriminator_width=4)
    model.compile()
    model.fit(images(4, shape), verbose=0)
    generated = model.generate(3, seed=0)
    assert generated.shape == (3, *shape)
    assert np.abs(generated).max() <= 1


def test_conditional_gan_learns_what_a_label_means():
    """Dark and bright pictures: after a short training the label decides the brightness."""
    labels = np.arange(256) % 2
    levels = np.where(labels, 0.6, -0.6)[:, None, None, None]
    data = (levels + 0.1 * images(256)).astype("float32")
    model = gan.ConditionalGAN(
        (28, 28, 1), 2, latent_dim=4, generator_width=16, discriminator_width=8
    )
    model.compile(*(keras.optimizers.Adam(2e-3, beta_1=0.5) for _ in range(2)))
    model.fit(data, labels, batch_size=32, epochs=15, verbose=0)
    dark, bright = (model.generate(16, labels=k, seed=0).mean() for k in (0, 1))
    assert dark < -0.2 and bright > 0.2
    assert model.generate(5).shape == (5, 28, 28, 1)


def test_labels_that_come_along_are_ignored():
    model = compiled(small_gan())
    data = tf.data.Dataset.from_tensor_slices((images(8, (2,)), np.arange(8))).batch(4)
    assert len(model.fit(data, verbose=0).history["generator_loss"]) == 1


# --- Keras' promises ---


def test_a_variant_overrides_the_objective_and_nothing_else():
    class Relativistic(gan.MLPGAN):
        def adversarial_loss(self, real_logits, fake_logits):
            difference = real_logits - fake_logits
            return ops.mean(ops.softplus(-difference)), ops.mean(ops.softplus(difference))

    model = compiled(small_gan(Relativistic))
    assert np.isfinite(model.fit(images(8, (2,)), verbose=0).history["generator_loss"][0])


def test_validation_reports_losses_and_metrics():
    points = keras.Input((2,))
    outputs = [keras.layers.Identity()(points), keras.layers.Softmax()(points)]
    extractor = metrics.Features(keras.Model(points, outputs), "points")
    model = compiled(small_gan(), metrics=[metrics.FrechetDistance(extractor)])
    history = model.fit(
        images(64, (2,)), validation_data=images(64, (2,), seed=1), epochs=2, verbose=0
    ).history
    assert history["val_frechet_distance"][0] > 0
    assert set(history) == {
        "discriminator_loss", "generator_loss", "val_discriminator_loss", "val_generator_loss",
        "val_frechet_distance",
    }  # fmt: skip
    assert model.evaluate(images(16, (2,)), verbose=0, return_dict=True).keys() == {
        "discriminator_loss", "generator_loss", "frechet_distance",
    }  # fmt: skip


def test_mixed_precision_trains_and_generates_float32():
    model = gan.DCGAN(
        (28, 28, 1), latent_dim=4, generator_width=8, discriminator_width=4, dtype="mixed_bfloat16"
    )
    model.compile()
    history = model.fit(images(16), epochs=2, verbose=0).history
    assert np.isfinite(history["discriminator_loss"]).all()
    assert model.generate(2, seed=0).dtype == np.float32
    assert model.generator.layers[1].compute_dtype == "bfloat16"


# --- refusals ---


def identity(shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.Identity()(inputs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "minmax"}, "objective: got 'minmax'"),
        ({"latent_dim": 0}, "latent_dim: got 0"),
        ({"latent_dim": 2.5}, "latent_dim: got 2.5"),
        ({"label_smoothing": 1.0}, "label_smoothing: got 1.0"),
        ({"label_smoothing": 0.1, "objective": "hinge"}, "label_smoothing: got 0.1"),
        ({"gradient_penalty": -1}, "gradient_penalty: got -1"),
        ({"discriminator_steps": 0}, "discriminator_steps: got 0"),
        ({"ema_momentum": 1.0}, "ema_momentum: got 1.0"),
        ({"generator": linear_critic([1, 1])}, "generator: turns"),
        ({"discriminator": identity((3,))}, "discriminator: turns"),
        ({"discriminator": identity((2,))}, "discriminator: turns"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    networks = small_gan()
    defaults = {
        "generator": networks.generator,
        "discriminator": networks.discriminator,
        "latent_dim": 3,
    }
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        gan.GAN(**{**defaults, **arguments})


@pytest.mark.parametrize("shape", [(28, 28), (28, 32, 1), (30, 30, 1), (28, 28, 4)])
def test_dcgan_refuses_other_image_shapes(shape):
    with pytest.raises(ValueError, match="image_shape: got"):
        gan.DCGAN(shape)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (images(4, (3,)), "got shape"),
        (np.full((4, 2), 2.0, "float32"), "got values from 2 to 2"),
        (np.full((4, 2), np.nan, "float32"), "got values from nan"),
        (np.zeros((4, 2), "uint8"), "got uint8"),
        (np.zeros((0, 2), "float32"), "got no images"),
    ],
)
@pytest.mark.parametrize("as_dataset", [False, True])
def test_bad_data_is_refused_before_training(data, message, as_dataset):
    model = compiled(small_gan())
    before = model.generator.get_weights()
    if as_dataset:
        message = "empty dataset" if len(data) == 0 else message
        data = tf.data.Dataset.from_tensor_slices(data).batch(2)
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0)
    for a, b in zip(before, model.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_requests_are_refused():
    model = small_gan()
    with pytest.raises(ValueError, match="n: got 0"):
        model.generate(0)
    with pytest.raises(ValueError, match="latents: got shape"):
        model.decode(np.zeros((2, 5)))
    conditional = gan.ConditionalGAN(
        (28, 28, 1), 3, latent_dim=4, generator_width=8, discriminator_width=4
    )
    for labels in (3, -1, [0, 1], [0.5, 1.0, 2.0]):
        with pytest.raises(ValueError, match="labels: got"):
            conditional.generate(3, labels=labels)
    with pytest.raises(ValueError, match="got images only"):
        conditional.compile()
        conditional.fit(images(4), verbose=0)


def test_nan_stops_the_run_and_what_was_saved_survives(tmp_path):
    model = small_gan()
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
    path = tmp_path / "gan.keras"
    saver = keras.callbacks.ModelCheckpoint(path)
    model.fit(images(8, (2,)), callbacks=[saver], verbose=0)
    saved = path.read_bytes()
    model.discriminator_optimizer.learning_rate = np.inf
    with pytest.raises(FloatingPointError, match="_loss became"):
        model.fit(images(8, (2,)), batch_size=2, epochs=2, callbacks=[saver], verbose=0)
    assert path.read_bytes() == saved
