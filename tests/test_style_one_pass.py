"""Chapter 03: networks that paint in one pass: normalisation, tiles, losses, saving, refusals."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from style_models import (
    SMALL,
    adain_model,
    batch,
    fast_model,
    image,
    model,
    painter,
    recolored,
    start_painting,
)

from aigc_keras import style
from aigc_keras.style import (
    color_error,
    color_statistics,
    gram_matrix,
    match_colors,
    relative_error,
    total_variation,
)


def rms(statistics):
    """Root mean square of maps with these channel statistics: E x^2 = mean^2 + std^2."""
    return np.sqrt(np.square(statistics).sum(1).mean(-1))[:, None, None, None]


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
    losses = transfer.fit(batch(4), epochs=12, verbose=0).history["loss"]
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
    transfer = painter(fast_model)
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
    transfer = painter(make)
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
    transfer, content = painter(fast_model), image(600, 32)
    one, tiles = (transfer.stylize(content, tile=tile) for tile in (640, 64))
    assert np.abs(one - recolored(content, image(48, 24, 1))).max() > 0.05, "nothing painted"
    np.testing.assert_allclose(tiles, one, atol=1e-5)
    own = style.in_tiles(
        lambda x: transfer.measure(x)[0], transfer.recolored(content[None])[0], 640
    )
    assert np.abs(own - one).max() > 1e-4, "normalised by all of its pixels"


def test_tiles_without_the_pixels_around_them_do_not_equal_the_whole():
    """The test above can fail: the overlap is what makes it pass."""
    transfer, content = painter(fast_model), image(160, 160)
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
    transfer, content = painter(adain_model), image(seed=2)
    styles = [image(seed=5), image(seed=6, low=0.0)]
    one, other = (transfer.stylize(content, x) for x in styles)
    assert np.abs(one - other).max() > 1e-3
    for mix, expected in (((1, 0), one), ((0, 3), other)):
        np.testing.assert_allclose(transfer.stylize(content, styles, mix), expected, atol=1e-5)
    plain = transfer.stylize(content, styles[0], alpha=0)
    np.testing.assert_allclose(plain, content, atol=1e-4)
    assert np.abs(transfer.stylize(content, content) - content).max() > 0.05, "nothing painted"


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
    pairs = tf.data.Dataset.from_tensors((batch(4), batch(4)[::-1]))
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
        transfer.fit(tf.data.Dataset.from_tensors(data), verbose=0)
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
        (lambda: painter(fast_model).stylize(image()[..., :1]), "image: got shape"),
        (lambda: painter(fast_model).stylize(image(), tile=8), "tile: got 8"),
        (lambda: adain_model(color_weight=-1), "color_weight: got -1"),
        (lambda: adain_model(style_weight="1"), "style_weight: got '1'"),
        (lambda: adain_model(variation_weight=-1), "variation_weight: got -1"),
        (lambda: painter(adain_model).stylize(image(), image(), alpha=1.5), "alpha: got 1.5"),
        (lambda: painter(adain_model).stylize(image(), image(), alpha=-0.5), "alpha: got -0.5"),
        (lambda: painter(adain_model).stylize(image(), [image()] * 2, (1,)), "style_mix: got"),
        (lambda: painter(adain_model).stylize(image(), []), "styles: got none|with 0 styles"),
        (lambda: style.AdaIN(["block2_conv1"]), "style_layers: got .* accepted without a decoder"),
        (lambda: painter(fast_model).fit(255 * batch()), "x: got values from"),
        (lambda: painter(fast_model).fit(batch()[:, :30]), r"x: got shape \(8, 30, 32, 3\)"),
        (lambda: painter(adain_model).fit(batch()), "x: got 1 parts, accepted are pairs"),
        (lambda: painter(adain_model).fit(batch(), batch()[:, :28]), "divisible by 8"),
        (
            lambda: painter(adain_model).fit(batch().astype("uint8"), batch()),
            "x: got uint8",
        ),
        (
            lambda: painter(fast_model).fit(tf.data.Dataset.range(0)),
            "empty dataset",
        ),
    ],
)
def test_feed_forward_models_refuse(request_, message):
    with pytest.raises(ValueError, match=message):
        request_()
