"""`aigc_keras.semi_supervised`: the bound, its limits, labels that are unknown."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, logsumexp, softmax
from vae_models import compiled, evaluate, fit, images, set_layers, train

from aigc_keras import vae
from aigc_keras.semi_supervised import SemiSupervisedVAE, conv_classifier

SHAPE = (4, 4, 1)
N = 6


def linear(inputs, *outputs):
    """Outputs that are one matrix each: of the inputs, and of the class where there is one."""
    parts = [keras.layers.Flatten()(inputs[0])]
    parts += [keras.layers.Embedding(classes, 3)(labels) for labels, classes in inputs[1:]]
    x = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    return [keras.layers.Dense(n, name=name)(x) for name, n in outputs]


def networks(num_classes=3, latent_dim=2):
    """An encoder and a decoder without hidden layers, for which many rows cost nothing."""
    pictures, latents = keras.Input(SHAPE), keras.Input((latent_dim,))
    labels = keras.Input((), dtype="int32")
    sides = [(name, latent_dim) for name in ("mean", "log_variance")]
    encoder = linear([pictures, (labels, num_classes)], *sides)
    (pixels,) = linear([latents, (labels, num_classes)], ("pixels", 16))
    decoder = keras.Model([latents, labels], keras.layers.Reshape(SHAPE)(pixels))
    return {"encoder": keras.Model([pictures, labels], encoder), "decoder": decoder}


def small(num_classes=3, **kwargs):
    pictures = keras.Input(SHAPE)
    classifier = keras.Model(pictures, linear([pictures], ("logits", num_classes)))
    return SemiSupervisedVAE(
        SHAPE, num_classes, latent_dim=2, classifier=classifier, **networks(num_classes), **kwargs
    )


def unknown(n=N):
    return np.full(n, -1, "int32")


@pytest.fixture
def silent(monkeypatch):
    monkeypatch.setattr(SemiSupervisedVAE, "noise", lambda self, shape, seed=None: tf.zeros(shape))
    monkeypatch.setattr(vae.ConditionalVAE, "noise", lambda self, shape, seed=None: tf.zeros(shape))


# --- the bound --------------------------------------------------------------------------------


def bound_of(model, data, labels):
    """-U(x) or -L(x, y) of the paper, (n,)."""
    log_likelihood, kl = model.bound_terms(data, labels, model.classifier(data))
    return log_likelihood.numpy() - kl.numpy().sum(axis=1)


def test_bound_is_the_enumeration_of_all_classes(silent):
    model, data = small(), images(N)
    logits = model.classifier(data).numpy()
    each = []
    for label in range(3):
        log_likelihood, kl = model.elbo_terms(tf.constant(data), (tf.fill([N], label),))
        each.append(log_likelihood.numpy() - kl.numpy().sum(axis=1) - np.log(3))  # eq. 6
    each = np.stack(each, axis=1)
    q = softmax(logits, axis=1)
    expected = (q * (each - log_softmax(logits, axis=1))).sum(axis=1)  # eq. 7
    np.testing.assert_allclose(bound_of(model, data, unknown()), expected, rtol=1e-5)
    labels = np.array([0, -1, 2, 1, -1, 0])
    expected = np.where(labels < 0, expected, each[np.arange(N), labels])
    np.testing.assert_allclose(bound_of(model, data, labels), expected, rtol=1e-5)


def test_bound_is_the_mean_of_samples_and_below_the_likelihood():
    model, n = small(), 20_000
    set_layers(model.classifier, logits=[np.zeros((16, 3)), [0.5, 0.0, -1.0]])
    data = np.repeat(images(1), n, axis=0)
    found = bound_of(model, data[:5_000], unknown(5_000))
    # The same with a class drawn from q(y|x), and all densities written out.
    rng = np.random.default_rng(0)
    q = softmax([0.5, 0.0, -1.0])
    classes = rng.choice(3, size=n, p=q)
    mean, log_variance = (x.numpy() for x in model.encoder([data, classes]))
    noise = rng.normal(size=mean.shape)
    latents = (mean + np.exp(log_variance / 2) * noise).astype("float32")
    log_p_x = model.reconstruction_log_likelihood(data, model.decoder([latents, classes])).numpy()
    log_p_z = -0.5 * (latents**2 + np.log(2 * np.pi)).sum(axis=1)
    log_q_z = -0.5 * (noise**2 + log_variance + np.log(2 * np.pi)).sum(axis=1)
    drawn = log_p_x + log_p_z - log_q_z - np.log(3) - np.log(q)[classes]
    error = np.hypot(drawn.std() / np.sqrt(n), found.std() / np.sqrt(len(found)))
    assert abs(drawn.mean() - found.mean()) < 4 * error
    conditional = [model.log_likelihood(data[:1], [i], n_samples=200, seed=0) for i in range(3)]
    assert found.mean() < logsumexp(conditional) - np.log(3) - 4 * error


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [1, 3])
def test_with_all_labels_it_is_a_conditional_vae_and_a_classifier(num_classes, silent):
    """With one class, also without labels."""
    model = compiled(small(num_classes, alpha=2.5, beta=0.5))
    parts = {"encoder": model.encoder, "decoder": model.decoder}
    other = compiled(vae.ConditionalVAE(SHAPE, num_classes, latent_dim=2, beta=0.5, **parts))
    data, labels = images(N), np.arange(N) % num_classes
    found, expected = evaluate(model, data, labels), evaluate(other, data, labels)
    errors = -log_softmax(model.classifier(data).numpy(), axis=1)[np.arange(N), labels]
    assert found["reconstruction_loss"] == pytest.approx(expected["reconstruction_loss"], 1e-5)
    kl = expected["kl_divergence"] + np.log(num_classes)
    assert found["kl_divergence"] == pytest.approx(kl, 1e-5)
    assert found["classification_loss"] == pytest.approx(errors.mean(), 1e-5, abs=1e-7)
    loss = expected["loss"] + 0.5 * np.log(num_classes) + 2.5 * errors.mean()
    assert found["loss"] == pytest.approx(loss, 1e-5)
    if num_classes == 1:
        assert evaluate(model, data, unknown())["loss"] == pytest.approx(found["loss"], 1e-5)


def test_alpha_is_that_of_the_paper_over_the_number_of_labels(silent):
    """Eq. 9 with all classes enumerated: sums of L and U, and alpha times a mean over labels."""
    model, data = small(), images(N)
    labels = np.array([0, -1, 2, 1, -1, -1])
    known = np.flatnonzero(labels >= 0)
    log_q = log_softmax(model.classifier(data).numpy(), axis=1)
    total = 0.0
    for row, label in enumerate(labels):
        bounds = []
        for each in range(3):
            log_likelihood, kl = model.elbo_terms(tf.constant(data[[row]]), (tf.constant([each]),))
            bounds.append(float(log_likelihood[0]) - kl.numpy().sum() - np.log(3))
        guess = np.exp(log_q[row])
        unlabelled = (guess * (bounds - log_q[row])).sum()
        total -= unlabelled if label < 0 else bounds[label]
    papers_alpha = 0.1 * N
    total -= papers_alpha * log_q[known, labels[known]].mean()
    model.alpha = papers_alpha / len(known)
    found = evaluate(compiled(model), data, labels)
    assert N * found["loss"] == pytest.approx(total, rel=1e-5)


def steps_of_the_classifier(labels, alpha):
    """How a step changes the classifier's matrix."""
    keras.utils.set_random_seed(0)
    model = compiled(small(alpha=alpha, seed=0))
    before = model.classifier.get_weights()[0]
    fit(model, images(N), labels, batch_size=N)
    return model.classifier.get_weights()[0] - before


def test_only_labels_teach_by_cross_entropy_and_only_the_unknown_by_the_bound():
    np.testing.assert_array_equal(*(steps_of_the_classifier(unknown(), a) for a in (0, 9)))
    assert np.abs(steps_of_the_classifier(unknown(), 0)).max() > 1e-4
    labels = np.arange(N) % 3
    assert not steps_of_the_classifier(labels, 0).any()
    once, twice = (steps_of_the_classifier(labels, a) for a in (1, 2))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-3, atol=1e-7)
    assert np.abs(once).max() > 1e-4


# --- using it ---------------------------------------------------------------------------------


def test_accuracy_is_that_of_the_labels_and_without_any_nothing_is_nan():
    model = compiled(small())
    data, labels = images(N), np.array([0, 1, -1, -1, -1, 2])
    known = labels >= 0
    right = model.classify(data).argmax(axis=1) == labels
    found = evaluate(model, data, labels, batch_size=2)  # one of three batches has no label
    assert found["accuracy"] == pytest.approx(right[known].mean())
    history = fit(model, data, unknown(), batch_size=4)
    assert np.isfinite(list(history.values())).all()
    assert history["accuracy"] == history["classification_loss"] == [0]


def test_it_gives_probabilities_and_survives_saving(tmp_path):
    model = small(alpha=3)
    found = model.classify(images(N))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found, softmax(model.classifier(images(N)), axis=1), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.alpha == 3
    np.testing.assert_array_equal(loaded.classify(images(N)), found)
    np.testing.assert_array_equal(loaded.generate(3, seed=1), model.generate(3, seed=1))


def test_classifier_has_the_convolutions_of_the_encoder():
    network = conv_classifier((8, 8, 1), 5, width=4, hidden=8, dtype="mixed_bfloat16")
    encoder = vae.conv_encoder((8, 8, 1), 2, width=4, hidden=8)
    assert network.output_shape == (None, 5) and network.output.dtype == "float32"
    kernels = [
        [x.shape for x in each.trainable_variables if len(x.shape) == 4]
        for each in (network, encoder)
    ]
    assert kernels[0] == kernels[1]


def test_images_without_labels_teach_the_classes():
    """Of two kinds of pictures one has a label each: what the others look like helps."""
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=200)
    data = rng.normal(0, 0.8, (200, *SHAPE))
    data[truth == 0, :2] += 0.8
    data[truth == 1, 2:] += 0.8
    data = np.tanh(data).astype("float32")
    labels = np.full(200, -1)
    labels[[np.argmin(truth), np.argmax(truth)]] = 0, 1
    accuracy = {}
    for name, rows in (("labels", labels >= 0), ("all", slice(None))):
        keras.utils.set_random_seed(0)
        model = small(2, alpha=50)
        train(model, (data[rows], labels[rows]), n_steps=300)
        accuracy[name] = np.mean(model.classify(data).argmax(axis=1) == truth)
    assert accuracy["all"] > accuracy["labels"] + 0.05
