"""Chapter 03: the picture that is trained: losses, gradients, options, saving, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from style_models import SMALL, image, model, moments, recolored, tensors

from aigc_keras import style
from aigc_keras.callbacks import SampleGrid, TimeLimit
from aigc_keras.style import (
    PerceptualFeatures,
    coarse_to_fine,
    color_error,
    gram_matrix,
    relative_error,
    total_variation,
)
from aigc_keras.style.colors import mixed_colors
from aigc_keras.style.gatys import over_levels


@pytest.mark.usefixtures("eagerly")
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
    colors = color_error(picture, *mixed_colors(styles, (0.75, 0.25)))
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


@pytest.mark.usefixtures("eagerly")
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


@pytest.mark.usefixtures("eagerly")
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


@pytest.mark.usefixtures("eagerly")
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


@pytest.mark.usefixtures("eagerly")
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


@pytest.mark.usefixtures("eagerly")
def test_the_same_seed_gives_the_same_picture():
    pictures = []
    for seed in (3, 3, 4):
        transfer = model(initial="noise", seed=seed)
        transfer.fit(3, verbose=0)
        pictures.append(transfer.picture())
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()


@pytest.mark.usefixtures("eagerly")
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


@pytest.mark.usefixtures("eagerly")
def test_a_broken_loss_stops_the_run():
    transfer = model()
    transfer.compile(keras.optimizers.SGD(float("nan")))
    with pytest.raises(FloatingPointError, match="loss became nan"):
        transfer.fit(3, verbose=0)


@pytest.mark.usefixtures("eagerly")
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

    def untrained(content, styles, steps, initial="content"):
        return style.StyleTransfer(content, styles, initial=initial, **SMALL)

    transfer = over_levels(untrained, sharp, sharp, steps=2)
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
    with pytest.raises(TypeError, match="positional"):  # what Keras has there are labels
        model().fit(2, 3)
    with pytest.raises(ValueError, match="steps: got 1"):
        coarse_to_fine(image(), image(), steps=1)
    with pytest.raises(ValueError, match="styles: got none"):
        coarse_to_fine(image(), None)
    with pytest.raises(ValueError, match="layers: got none"):
        PerceptualFeatures([])
