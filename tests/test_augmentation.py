"""Chapter 07: augmentation against loops and closed forms, its probability, and what leaks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from aigc_keras import gan
from aigc_keras.augmentation import KINDS, augment

RNG = np.random.default_rng(0)
PICTURES = RNG.uniform(-1, 1, (40, 8, 12, 3)).astype("float32")


def uniform(*shape):
    return RNG.uniform(size=shape).astype("float32")


def changed(kind, images, numbers):
    """By one kind, whose three numbers for each picture are (B, 3)."""
    numbers = np.concatenate([np.zeros((len(numbers), 1)), numbers], axis=1)
    return ops.convert_to_numpy(augment(images, 1.0, (kind,), numbers[:, None].astype("float32")))


# --- kinds ---


def test_color_is_three_changes_after_each_other():
    numbers = uniform(40, 3)
    expected = []
    for image, (brightness, saturation, contrast) in zip(PICTURES, numbers, strict=True):
        bright = image + brightness - 0.5
        grey = bright.mean(axis=-1, keepdims=True)
        colored = grey + 2 * saturation * (bright - grey)
        expected.append(colored.mean() + (0.5 + contrast) * (colored - colored.mean()))
    found = changed("color", PICTURES, numbers)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Of the three, brightness alone moves the mean.
    moved = found.mean(axis=(1, 2, 3)) - PICTURES.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(moved, numbers[:, 0] - 0.5, atol=1e-5)


def test_translation_moves_and_fills_with_grey():
    """Each of 3 distances down (8 px: up to 1) and 5 to the right (12 px: up to 2 by rounding)."""
    numbers = uniform(40, 3)
    seen = set()
    found = changed("translation", PICTURES, numbers)
    for image, moved, (vertical, horizontal, _) in zip(PICTURES, found, numbers, strict=True):
        up, left = int(vertical * 3) - 1, int(horizontal * 5) - 2
        seen.add((up, left))
        expected = np.zeros_like(image)
        for i in range(8):
            for j in range(12):
                if 0 <= i + up < 8 and 0 <= j + left < 12:
                    expected[i, j] = image[i + up, j + left]
        np.testing.assert_array_equal(moved, expected)
    assert len(seen) > 10


def test_area_of_cutout():
    """Of 4 rows 2 are hidden and of 5 columns 3, around each of 5 centres; fewer at the ends."""
    centres = np.stack(np.meshgrid(range(5), range(5), [0]), axis=-1).reshape(-1, 3)
    found = changed("cutout", np.ones((25, 4, 5, 1)), (centres + 0.5) / 5)
    expected = np.ones((25, 4, 5, 1))
    for image, (row, column, _) in zip(expected, centres, strict=True):
        image[max(row - 1, 0) : row + 1, max(column - 1, 0) : column + 2] = 0
    np.testing.assert_array_equal(found, expected)
    area = (1 + 2 + 2 + 2 + 1) / 5 / 4 * (2 + 3 + 3 + 3 + 2) / 5 / 5
    np.testing.assert_allclose((found == 0).mean(), area, rtol=1e-6)


def test_rotation_is_by_quarter_turns():
    square = PICTURES[:4, :, :8]
    numbers = np.array([[0.1, 0, 0], [0.3, 0, 0], [0.6, 0, 0], [0.9, 0, 0]])
    found = changed("rotation", square, numbers)
    for image, turned, n in zip(square, found, range(4), strict=True):
        np.testing.assert_array_equal(turned, np.rot90(image, n))


# --- probability ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_p_is_changed_and_the_others_not_by_a_bit(kind):
    images = np.repeat(PICTURES[:1, :, :8], 4000, axis=0)
    numbers = uniform(4000, 1, 4)
    for p in (0.0, 0.3, 1.0):
        found = ops.convert_to_numpy(augment(images, p, (kind,), numbers))
        differs = (found != images).any(axis=(1, 2, 3))
        assert not differs[numbers[:, 0, 0] >= p].any()
        # By chance a chosen picture may stay as it is: not turned, or moved by nothing.
        unmoved = {"translation": 1 / 9, "rotation": 1 / 4}.get(kind, 0)
        assert abs(differs.mean() - p * (1 - unmoved)) < 0.03


def test_each_kind_chooses_for_itself():
    images = np.repeat(PICTURES[:1], 4000, axis=0)
    kinds = ("color", "cutout")
    found = ops.convert_to_numpy(augment(images, 0.5, kinds, uniform(4000, 2, 4)))
    cut = (found == 0).any(axis=(1, 2, 3))
    kept = (found == images).any(axis=(1, 2, 3)) & ~(found == images).all(axis=(1, 2, 3))
    untouched = (found == images).all(axis=(1, 2, 3))
    for share in (cut & ~kept, cut & kept, untouched, ~cut & ~untouched):
        assert abs(share.mean() - 0.25) < 0.03


def test_the_gradient_is_that_of_finite_differences():
    images, kinds = PICTURES[:6, :, :8], tuple(KINDS)
    numbers, weights = uniform(6, 4, 4), RNG.normal(size=(6, 8, 8, 3)).astype("float32")

    def total(x):
        return ops.sum(weights * augment(x, 0.8, kinds, numbers))

    with tf.GradientTape() as tape:
        x = tf.constant(images)
        tape.watch(x)
        value = total(x)
    gradient = tape.gradient(value, x).numpy()
    for direction in RNG.normal(size=(5, *images.shape)).astype("float32"):
        # It is linear apart from a constant: the step may be large.
        difference = (total(images + direction) - total(images - direction)) / 2
        np.testing.assert_allclose(np.sum(gradient * direction), difference, rtol=1e-3)


def test_pictures_may_have_any_number_and_half_the_bits():
    function = tf.function(
        lambda x, numbers: augment(x, 0.8, tuple(KINDS), numbers),
        input_signature=[tf.TensorSpec((None, 8, 8, 3), "float16"), tf.TensorSpec((None, 4, 4))],
        jit_compile=True,
    )
    images, numbers = PICTURES[:6, :, :8].astype("float16"), uniform(6, 4, 4)
    found = function(images, numbers)
    assert found.dtype == "float32"
    expected = augment(images.astype("float32"), 0.8, tuple(KINDS), numbers)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- the model ---


def corners(n, size=8):
    """Pictures that are bright in the upper left corner."""
    images = np.full((n, size, size, 1), -1.0, "float32")
    images[:, : size // 2, : size // 2, 0] = RNG.uniform(0, 1, (n, 1, 1))
    return images


def small_gan(cls=gan.MLPGAN, **kwargs):
    kwargs = {"generator_widths": (32,), "discriminator_widths": (32,), "dropout": 0.0, **kwargs}
    model = cls((8, 8, 1), latent_dim=8, ema_momentum=0.9, **kwargs)
    model.compile(*(keras.optimizers.Adam(2e-3, beta_1=0.5) for _ in range(2)))
    return model


def spied(model):
    """A list of all that the discriminator of the model sees from now on."""
    seen, discriminator = [], model.discriminator

    class Spy(keras.Model):
        def call(self, x, training=False):
            seen.append(ops.convert_to_numpy(x))
            return discriminator(x, training=training)

    model.discriminator = Spy()
    model.compile(run_eagerly=True)
    return seen


class Black(gan.MLPGAN):
    def augmented(self, images):
        return 0.0 * images - 1.0


@pytest.mark.parametrize("gradient_penalty", [0, 1])
def test_all_that_the_discriminator_sees_in_training_is_augmented(gradient_penalty):
    model = small_gan(Black, gradient_penalty=gradient_penalty, discriminator_steps=2)
    seen = spied(model)
    before = model.generate(3, seed=0)
    model.train_on_batch(corners(8))
    assert len(seen) == 2 * (2 + gradient_penalty) and all((x == -1).all() for x in seen)
    del seen[:]
    images = corners(8)
    model.test_on_batch(images)
    assert len(seen) == 2 and (seen[0] == images).all() and (seen[1] != -1).any()
    assert (before != -1).any()


def test_without_it_nothing_is_drawn_and_nothing_added():
    model = small_gan()
    images, state = corners(8), np.array(model.seed_generator.state)
    assert model.augmented(images) is images
    np.testing.assert_array_equal(model.seed_generator.state, state)
    assert len(small_gan(augment="adaptive").variables) == len(model.variables) + 1
    assert len(small_gan(augment=0.5).variables) == len(model.variables)
    assert "augment_probability" not in model.train_on_batch(images, return_dict=True)


def test_real_and_drawn_pictures_are_changed_by_different_numbers():
    model = small_gan(augment=1.0, augment_kinds=("color",))
    first, second = (ops.convert_to_numpy(model.augmented(corners(1)[[0] * 8])) for _ in "ab")
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 16


def test_probability_follows_the_signs_of_real_logits():
    model = small_gan(augment="adaptive")
    step, p = 10 / gan.AUGMENT_IMAGES, model.augment_probability
    assert float(p) == 0 and p.dtype == "float32" and not p.trainable
    for n_positive, direction in ((10, 1), (9, 1), (7, -1), (0, -1)):  # mean sign 0.8, 0.4
        p.assign(0.5)
        model.adapt_augmentation(np.array([[2.0]] * n_positive + [[-1.0]] * (10 - n_positive)))
        np.testing.assert_allclose(p, 0.5 + direction * step, rtol=1e-6)
    p.assign(step / 2)
    model.adapt_augmentation(np.full((10, 1), -1.0))
    assert float(p) == 0


@pytest.mark.parametrize("limit", [None, 0.5, 1.0])
def test_adaptive_probability_stays_below_its_limit(limit):
    """By default 0.8, which a file of another model may have passed."""
    model = small_gan(augment="adaptive", **({"augment_limit": limit} if limit else {}))
    limit, step = limit or 0.8, 10 / gan.AUGMENT_IMAGES
    for start in (limit - step / 2, limit, 1.0):
        model.augment_probability.assign(start)
        model.adapt_augmentation(np.full((10, 1), 1.0))
        assert float(model.augment_probability) == pytest.approx(limit, rel=1e-6)
    assert type(model).from_config(model.get_config()).augment_limit == limit
    constant = small_gan(augment=1.0, augment_limit=limit)  # is what was asked for
    constant.adapt_augmentation(np.full((10, 1), 1.0))
    assert constant.augment_probability == 1.0


class Sure(gan.MLPGAN):
    """Its discriminator is, of what is real, whatever it sees."""

    def adapt_augmentation(self, real_logits):
        super().adapt_augmentation(ops.ones_like(real_logits))


def test_an_epoch_prints_the_mean_probability_and_a_file_keeps_the_last(tmp_path):
    model = small_gan(Sure, augment="adaptive")
    history = model.fit(corners(10), batch_size=4, epochs=2, verbose=0).history
    steps = np.array([[4, 8, 10], [14, 18, 20]]) / gan.AUGMENT_IMAGES
    expected = np.average(steps, axis=1, weights=[4, 4, 2])
    np.testing.assert_allclose(history["augment_probability"], expected, rtol=1e-5)
    model.save_weights(tmp_path / "sure.weights.h5")
    other = small_gan(augment="adaptive")
    other.load_weights(tmp_path / "sure.weights.h5")
    assert float(other.augment_probability) == float(model.augment_probability) > 0
    found = other.evaluate(corners(4), verbose=0, return_dict=True)["augment_probability"]
    np.testing.assert_allclose(found, steps[1, 2], rtol=1e-5)


# --- leaking ---


def test_quarter_turns_leak_when_all_pictures_are_turned():
    """Of pictures turned with probability p, 1 - p + p / 4 stand upright, p / 4 each other way.

    At p = 1 nobody can tell how the real ones stand (Karras et al. 2020, section 2.2).
    """
    upright = {}
    for p in (0.5, 1.0):
        keras.utils.set_random_seed(0)
        model = small_gan(augment=p, augment_kinds=("rotation",))
        images = corners(640)
        model.fit(images, batch_size=64, epochs=15, verbose=0)
        stands = ops.convert_to_numpy(model.augmented(np.concatenate([images] * 4)))
        upright_real = (stands[:, 1, 1, 0] > -0.9).mean()
        assert abs(upright_real - (1 - p + p / 4)) < 0.05
        drawn = model.generate(400, seed=0)
        halves = drawn.reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(-1, 4)
        upright[p] = (halves.argmax(axis=1) == 0).mean()
    assert upright[0.5] > 0.9 and upright[1.0] < 0.6
