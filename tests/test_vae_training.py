"""Chapter 02: training steps against naive ones, Keras' promises, refusals."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from vae_models import (
    N_PIXELS,
    SHAPE,
    FixedNoise,
    assert_same_weights,
    compiled,
    conv_vae,
    evaluate,
    fit,
    images,
    linear_networks,
    pixel_denoiser,
    set_layers,
    small_vae,
    train,
)

from aigc_keras import checkpoints, metrics, vae

# --- the train step ---


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
@pytest.mark.parametrize("beta", [0.0, 4.0])
def test_train_step_equals_a_naive_one(likelihood, beta):
    """With beta = 0 the naive one is an autoencoder, whose latents are noisy."""
    model = compiled(small_vae(FixedNoise, likelihood=likelihood, beta=beta), run_eagerly=False)
    noise = np.random.default_rng(7).normal(size=(16, 2)).astype("float32")
    model.noise = noise
    encoder, decoder = (keras.models.clone_model(x) for x in (model.encoder, model.decoder))
    encoder.set_weights(model.encoder.get_weights())
    decoder.set_weights(model.decoder.get_weights())
    log_scale = keras.Variable(0.0)
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
    batch = images(16)
    with tf.GradientTape() as tape:
        mean, log_variance = encoder(batch)
        outputs = decoder(mean + tf.sqrt(tf.exp(log_variance)) * noise)
        if likelihood == "bernoulli":
            loss = cross_entropy((batch + 1) / 2, outputs) / 16
        else:
            squares = tf.reduce_sum((batch - outputs) ** 2) / 16
            loss = squares / (2 * tf.exp(log_scale) ** 2)
            loss += N_PIXELS * (log_scale + 0.5 * math.log(2 * math.pi))
        if beta:
            variance = tf.exp(log_variance)
            loss += beta * tf.reduce_sum(mean**2 + variance - tf.math.log(variance) - 1) / 32
    variables = encoder.trainable_variables + decoder.trainable_variables
    if likelihood == "gaussian":
        variables.append(log_scale)
    gradients = tape.gradient(loss, [v.value for v in variables])
    keras.optimizers.SGD(0.01).apply(gradients, variables)

    history = fit(model, batch, batch_size=16)
    np.testing.assert_allclose(history["loss"], [float(loss)], rtol=1e-5)
    assert_same_weights(model.encoder, encoder, atol=1e-5)
    assert_same_weights(model.decoder, decoder, atol=1e-5)
    if likelihood == "gaussian":
        np.testing.assert_allclose(model.log_scale.numpy(), log_scale.numpy(), atol=1e-5)


def test_without_beta_the_posterior_variance_costs_nothing():
    """The KL has no gradient: what moves is the autoencoder, through the noise's latents only."""
    model = compiled(small_vae(FixedNoise, beta=0.0))
    mean, log_variance = (model.encoder.get_layer(name) for name in ("mean", "log_variance"))
    before = [layer.get_weights()[0] for layer in (mean, log_variance)]
    history = fit(model, images(32), batch_size=8, epochs=3)
    assert history["loss"] == history["reconstruction_loss"]
    assert history["kl_divergence"][0] > 0
    assert (mean.get_weights()[0] != before[0]).all()
    np.testing.assert_array_equal(log_variance.get_weights()[0], before[1])


def test_warm_up_is_linear_and_evaluation_uses_all_of_beta():
    def weight(losses):
        loss, reconstruction, kl = (
            np.array(losses[k]) for k in ("loss", "reconstruction_loss", "kl_divergence")
        )
        return (loss - reconstruction) / kl

    model = compiled(small_vae(beta=2.0, warmup_steps=4), learning_rate=1e-4, run_eagerly=False)
    data = images(8)
    np.testing.assert_allclose(weight(evaluate(model, data)), 2.0, rtol=1e-4)
    history = fit(model, data, batch_size=8, epochs=7, validation_data=data)
    np.testing.assert_allclose(weight(history), [0, 0.5, 1, 1.5, 2, 2, 2], atol=1e-4)
    validation = {k[4:]: v for k, v in history.items() if k.startswith("val_")}
    np.testing.assert_allclose(weight(validation), np.full(7, 2.0), rtol=1e-4)
    with_kl, without = (
        np.array(history[k]) for k in ("negative_elbo", "reconstruction_loss")
    )  # the bound itself knows no beta
    np.testing.assert_allclose(with_kl - without, history["kl_divergence"], rtol=1e-4)


def test_free_bits_beyond_reach_leave_the_posterior_alone():
    model = compiled(small_vae(FixedNoise, latent_dim=3, beta=2.0, free_bits=1e3))
    before = model.encoder.get_layer("log_variance").get_weights()
    history = fit(model, images(16), batch_size=8, epochs=2)
    np.testing.assert_allclose(
        history["loss"], np.array(history["reconstruction_loss"]) + 2 * 3 * 1e3, rtol=1e-6
    )
    for a, b in zip(before, model.encoder.get_layer("log_variance").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_free_bits_are_for_a_dimension_and_its_mean_over_the_batch():
    """Kingma et al. 2016, eq. 15; rows: two images, columns: three latent dimensions."""
    kl, log_likelihood = tf.constant([[0.0, 0.1, 2.0], [2.0, 0.3, 2.0]]), tf.constant([-10.0, -20])
    with tf.GradientTape() as tape:
        tape.watch(kl)
        loss = small_vae(free_bits=0.5).objective(log_likelihood, kl, beta=4.0)
    np.testing.assert_allclose(loss, 15 + 4 * (1.0 + 0.5 + 2.0))
    np.testing.assert_allclose(tape.gradient(loss, kl), [[2, 0, 2], [2, 0, 2]])
    plain = small_vae(free_bits=0.0).objective(log_likelihood, kl, beta=4.0)
    np.testing.assert_allclose(plain, 15 + 4 * (1.0 + 0.2 + 2.0))


def levels(n=64, shape=SHAPE):
    """Pictures of one grey each, from dark to bright, with a little noise: one fact an image."""
    brightness = np.linspace(-0.8, 0.8, n, dtype="float32")[:, None, None, None]
    return brightness + 0.1 * images(n, shape)


def test_active_units_are_those_whose_mean_depends_on_the_image():
    model = small_vae(latent_dim=3)
    kernel = np.zeros((N_PIXELS, 3))
    kernel[:, 0] = 1 / N_PIXELS  # the brightness; a constant mean is no information
    set_layers(model.encoder, mean=[kernel, [0.0, 0.0, 5.0]])
    data = levels()
    np.testing.assert_array_equal(model.active_units(data), [True, False, False])
    variance = data.mean(axis=(1, 2, 3)).var()
    assert model.active_units(data, threshold=0.99 * variance)[0]
    assert not model.active_units(data, threshold=1.01 * variance).any()


@pytest.mark.parametrize(("beta", "collapses"), [(1000.0, True), (0.1, False)])
def test_collapsed_posterior_is_detected(beta, collapses):
    """The same data and the same steps: only the price of the latents differs."""
    model = small_vae(beta=beta)
    train(model, levels(), 60)
    active = model.active_units(levels())
    assert active.shape == (2,)
    assert active.any() != collapses
    mean, log_variance = model.encode(levels())
    assert (vae.gaussian_kl(mean, log_variance).numpy().sum(axis=1).mean() < 0.05) == collapses


def test_two_runs_are_alike():
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = compiled(conv_vae())
        history = fit(model, images(20, (8, 8, 1)), batch_size=8, epochs=2, shuffle=True)
        data = images(5, (8, 8, 1))
        runs.append((history, model.generate(6), model.log_likelihood(data, n_samples=2)))
    assert runs[0][0] == runs[1][0]
    for a, b in zip(runs[0][1:], runs[1][1:], strict=True):
        np.testing.assert_array_equal(a, b)


# --- Keras' promises ---


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_saved_model_generates_the_same_and_goes_on_alike(likelihood, tmp_path):
    """In the middle of the warm-up, so that the step count matters too."""
    data = images(16, (8, 8, 1))
    model = conv_vae(likelihood=likelihood, beta=2.0, warmup_steps=6, free_bits=0.01, seed=5)
    model.compile()
    fit(model, data, batch_size=8)
    model.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert isinstance(loaded, vae.VAE)
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    if likelihood == "gaussian":
        assert loaded.log_scale.numpy() == model.log_scale.numpy() != 0
    np.testing.assert_array_equal(model.generate(9, seed=1), loaded.generate(9, seed=1))
    np.testing.assert_array_equal(model.generate(9), loaded.generate(9))
    histories = [fit(m, data, batch_size=8) for m in (model, loaded)]
    assert histories[0] == histories[1]
    assert_same_weights(model, loaded)
    np.testing.assert_array_equal(
        *(m.log_likelihood(data, n_samples=2) for m in (model, loaded))
    )  # without a seed: the random numbers stand at the same place


def test_every_model_survives_saving(tmp_path):
    model = conv_vae(vae.ConditionalVAE, num_classes=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, vae.ConditionalVAE) and loaded.num_classes == 3
    np.testing.assert_array_equal(model.generate(4, seed=1), loaded.generate(4, seed=1))


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_checkpoint_restores_the_model_in_half_precision(likelihood, tmp_path):
    model = compiled(small_vae(likelihood=likelihood, beta=0.5))
    fit(model, images(16), epochs=2)
    checkpoints.save(model, "vae", tmp_path, epochs=2)
    loaded = checkpoints.load("vae", tmp_path)
    assert loaded.get_config()["beta"] == 0.5
    model.set_weights([x.astype("float16") for x in model.get_weights()])
    assert_same_weights(model, loaded)
    if likelihood == "gaussian":
        assert loaded.log_scale.numpy() == model.log_scale.numpy() != 0
    np.testing.assert_array_equal(model.generate(9, seed=1), loaded.generate(9, seed=1))
    np.testing.assert_array_equal(
        *(m.log_likelihood(images(4), n_samples=2, seed=0) for m in (model, loaded))
    )


def test_a_variant_overrides_the_divergence_and_nothing_else():
    class Laplace(vae.VAE):
        def kl_divergence(self, mean, log_variance):
            return ops.abs(mean)

    model = compiled(small_vae(Laplace), learning_rate=0.0)
    mean, _ = model.encode(images(8))
    history = fit(model, images(8))
    np.testing.assert_allclose(history["kl_divergence"], np.abs(mean).sum(axis=1).mean(), rtol=1e-5)


def test_validation_reports_losses_and_metrics():
    pictures = keras.Input(SHAPE)
    features = keras.layers.Lambda(lambda x: x[:, :2, 0, 0])(pictures)
    outputs = [features, keras.layers.Softmax()(features)]
    extractor = metrics.Features(keras.Model(pictures, outputs), "pixels")
    model = compiled(small_vae(), metrics=[metrics.FrechetDistance(extractor)])
    history = fit(model, images(64), validation_data=images(64, seed=1), epochs=2)
    assert history["val_frechet_distance"][0] > 0
    losses = {"loss", "negative_elbo", "reconstruction_loss", "kl_divergence"}
    reported = {*(f"val_{name}" for name in losses), "val_frechet_distance"}
    assert set(history) == losses | reported
    assert evaluate(model, images(16)).keys() == {*losses, "frechet_distance"}


def test_training_lowers_the_loss():
    model, data = small_vae(), np.sign(levels())
    before = model.log_likelihood(data, n_samples=4).mean()
    train(model, data, 60)
    assert model.log_likelihood(data, n_samples=4).mean() > 0.7 * before


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_mixed_precision_trains_and_generates_float32(likelihood):
    model = compiled(conv_vae(likelihood=likelihood, dtype="mixed_bfloat16"))
    data = images(8, (8, 8, 1))
    history = fit(model, data, epochs=2)
    assert np.isfinite(history["loss"]).all()
    assert model.generate(2, seed=0).dtype == np.float32
    assert all(x.dtype == np.float32 for x in model.encode(data))
    for network in (model.encoder, model.decoder):
        assert "bfloat16" in {layer.compute_dtype for layer in network.layers}


# --- refusals ---


def network(takes, *gives):
    inputs = keras.Input(takes)
    pixels = keras.layers.Flatten()(inputs)
    outputs = [
        keras.layers.Reshape(shape)(keras.layers.Dense(math.prod(shape))(pixels)) for shape in gives
    ]
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 0}, "latent_dim: got 0"),
        ({"latent_dim": 2.5}, "latent_dim: got 2.5"),
        ({"beta": -1.0}, "beta: got -1.0"),
        ({"beta": float("nan")}, "beta: got nan"),
        ({"beta": "1"}, "beta: got '1'"),
        ({"warmup_steps": -1}, "warmup_steps: got -1"),
        ({"warmup_steps": 0.5}, "warmup_steps: got 0.5"),
        ({"free_bits": -0.1}, "free_bits: got -0.1"),
        ({"likelihood": "poisson"}, "likelihood: got 'poisson', accepted are bernoulli, gaussian"),
        ({"encoder": network((8, 8, 1), (2,), (2,))}, "encoder: turns"),
        ({"encoder": network(SHAPE, (3,), (3,))}, "encoder: turns"),
        ({"encoder": network(SHAPE, (2,), (3,))}, "encoder: turns"),
        ({"encoder": network(SHAPE, (2,))}, "encoder: "),
        ({"decoder": network((3,), SHAPE)}, "decoder: turns"),
        ({"decoder": network((2,), (4, 4, 3))}, "decoder: turns"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        vae.VAE(SHAPE, **{"latent_dim": 2, **linear_networks(), **arguments})


@pytest.mark.parametrize("num_classes", [0, -1, 2.0])
def test_conditional_vae_refuses_a_bad_number_of_classes(num_classes):
    with pytest.raises(ValueError, match=f"num_classes: got {num_classes}"):
        vae.ConditionalVAE(SHAPE, num_classes)


def test_conditional_vae_refuses_networks_without_labels():
    with pytest.raises(ValueError, match="encoder: "):
        vae.ConditionalVAE(SHAPE, 3, latent_dim=2, **linear_networks())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_std": -0.1}, "noise_std: got -0.1"),
        ({"encoder": network((8, 8, 1), (1, 1, 8))}, "encoder: turns"),
        ({"decoder": network((1, 1, 8), (8, 8, 1))}, "decoder: turns"),
        ({"decoder": network((5,), SHAPE)}, "decoder: turns"),
    ],
)
def test_denoiser_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        vae.DenoisingAutoencoder(SHAPE, **arguments)


@pytest.mark.parametrize("cls", [vae.VAE, vae.DenoisingAutoencoder])
@pytest.mark.parametrize("shape", [(28, 28), (30, 30, 1), (27, 28, 1), (2, 4, 1), (28, 28, 4)])
def test_other_image_shapes_are_refused(cls, shape):
    with pytest.raises(ValueError, match="image_shape: got"):
        cls(shape)


BAD_IMAGES = [
    (images(4, (4, 4, 3)), "got shape"),
    (images(4, (5, 4, 1)), "got shape"),
    (np.full((4, *SHAPE), 2.0, "float32"), "got values from 2 to 2"),
    (np.full((4, *SHAPE), np.nan, "float32"), "got values from nan"),
    (np.zeros((4, *SHAPE), "uint8"), "got uint8"),
    (np.zeros((0, *SHAPE), "float32"), "got no images"),
]


@pytest.mark.parametrize(("data", "message"), BAD_IMAGES)
@pytest.mark.parametrize("as_dataset", [False, True])
@pytest.mark.parametrize("build", [small_vae, pixel_denoiser])
def test_bad_data_is_refused_before_training(build, data, message, as_dataset):
    model = compiled(build())
    before = model.get_weights()
    if as_dataset:
        message = "empty dataset" if len(data) == 0 else message
        data = tf.data.Dataset.from_tensor_slices(data).batch(2)
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("data", "message"), BAD_IMAGES)
def test_bad_images_are_refused(data, message):
    model = small_vae()
    for method in (
        model.encode,
        model.reconstruct,
        model.log_likelihood,
        model.active_units,
        lambda x: model.interpolate(x, images(4)),
        lambda x: model.interpolate(images(4), x),
    ):
        with pytest.raises(ValueError, match=f"images: {message}"):
            method(data)


def test_bad_requests_are_refused():
    model = small_vae()
    for n in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"n: got {n}"):
            model.generate(n)
    for n in (1, 2.5):
        with pytest.raises(ValueError, match=f"n: got {n}"):
            model.interpolate(images(2), images(2), n=n)
    with pytest.raises(ValueError, match="method: got 'cubic', accepted are spherical, linear"):
        model.interpolate(images(2), images(2), method="cubic")
    for n_samples in (0, 1.5):
        with pytest.raises(ValueError, match=f"n_samples: got {n_samples}"):
            model.log_likelihood(images(2), n_samples=n_samples)
    for shape in ((2, 5), (2,), (2, 2, 2)):
        with pytest.raises(ValueError, match="latents: got shape"):
            model.decode(np.zeros(shape))
    for shape in ((5, 4, 4, 3), (5, 8, 8, 1), SHAPE):
        with pytest.raises(ValueError, match="images: got shape"):
            pixel_denoiser().denoise(np.zeros(shape, "float32"))


def test_bad_labels_are_refused():
    data = images(3, (8, 8, 1))
    with pytest.raises(ValueError, match="labels: got some"):
        conv_vae().encode(data, np.zeros(3, int))
    model = compiled(conv_vae(vae.ConditionalVAE, num_classes=3))
    requests = (
        lambda *labels: model.encode(data, *labels),
        lambda *labels: model.reconstruct(data, *labels),
        lambda *labels: model.decode(np.zeros((3, 2)), *labels),
        lambda *labels: model.log_likelihood(data, *labels),
        lambda *labels: model.interpolate(data, data, *labels),
    )
    bad = (3, -1, [0, 1], [0, 1, 3], [0, 1, -1], [0.5, 1.0, 2.0])
    for request in requests:
        for labels in ((), (None,), *((x,) for x in bad)):
            with pytest.raises(ValueError, match="labels: got"):
                request(*labels)
    for labels in bad:
        with pytest.raises(ValueError, match="labels: got"):
            model.generate(3, labels=labels)
        if np.shape(labels) == (3,):
            with pytest.raises(ValueError, match="labels: got"):
                model.fit(data, np.array(labels), verbose=0)
    for x in (data, tf.data.Dataset.from_tensor_slices(data).batch(2)):
        with pytest.raises(ValueError, match="got images only"):
            model.fit(x, verbose=0)


def test_nan_stops_the_run_and_what_was_saved_survives(tmp_path):
    model = compiled(small_vae())
    path = tmp_path / "vae.keras"
    saver = keras.callbacks.ModelCheckpoint(path)
    fit(model, images(8), callbacks=[saver])
    saved = path.read_bytes()
    model.optimizer.learning_rate = np.inf
    with pytest.raises(FloatingPointError, match="became nan"):
        fit(model, images(8), batch_size=2, epochs=2, callbacks=[saver])
    assert path.read_bytes() == saved
