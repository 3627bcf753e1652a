"""Chapter 10: from text to picture."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from aigc_keras import callbacks, diffusion, text, text_to_image
from aigc_keras.text.reading import token_encoder
from aigc_keras.text.tokenizers import END, PADDING

SHAPE, LATENT = (8, 8, 3), (2, 2, 3)
COLOURS = {
    "red": (1, -1, -1),
    "a blue one": (-1, -1, 1),
    "绿": (-1, 1, -1),
    "pale": (1, 1, 1),
}
TEXTS = list(COLOURS)
PICTURES = 0.8 * np.ones((4, *SHAPE), "float32") * np.array(list(COLOURS.values()))[:, None, None]
PICTURES = PICTURES.astype("float32")
TOKENIZER = text.CharTokenizer.train(TEXTS)
FEW = diffusion.DDIM(2)


def small(autoencoder=None, **kwargs):
    keras.utils.set_random_seed(0)
    if autoencoder is None:
        autoencoder = diffusion.latent_autoencoder(SHAPE, channels=3, width=4)
    sizes = {"max_length": 16, "text_width": 16, "text_layers": 1, "widths": (8, 16), "blocks": 1}
    model = text_to_image.TextToImage(autoencoder, TOKENIZER, LATENT, **(sizes | kwargs))
    model.adapt(PICTURES)
    return model


def shaken(model):
    """With weights that say something: the last layers of all parts begin with zeros."""
    rng = np.random.default_rng(0)
    weights = [w + rng.normal(0, 0.4, w.shape) for w in model.network.get_weights()]
    for network in (model.network, model.ema_network):
        network.set_weights(weights)
    return model


# --- tokens ---


def test_tokens_are_those_of_the_text_and_its_end():
    rows = small().tokens(["", "pale", "绿" * 15])
    assert rows.shape == (3, 16) and rows.dtype == np.int32
    for row, words in zip(rows, ["", "pale", "绿" * 15], strict=True):
        expected = [*TOKENIZER.encode(words), END]
        np.testing.assert_array_equal(row, expected + [PADDING] * (16 - len(expected)))


def test_batches_of_strings_become_batches_of_tokens():
    model = small()
    data = tf.data.Dataset.from_tensor_slices((PICTURES, TEXTS)).batch(3)
    images, tokens = zip(*model.batches(data), strict=True)
    np.testing.assert_array_equal(np.concatenate(images), PICTURES)
    np.testing.assert_array_equal(np.concatenate(tokens), model.tokens(TEXTS))


# --- the networks ---


def test_attention_of_a_map_is_a_loop_over_its_positions():
    layer, rng = text_to_image.MapAttention(2, output_std=0.5), np.random.default_rng(0)
    x, memory = (rng.normal(size=s).astype("float32") for s in ((2, 3, 2, 8), (2, 5, 6)))
    hidden = np.array([[False] * 5, [False] * 3 + [True] * 2])
    found = layer(x, memory, hidden=hidden)
    (query, query_bias), (both, both_bias), (out, out_bias) = (
        part.get_weights() for part in (layer.query, layer.key_value, layer.out)
    )
    for b, i, j in itertools.product(range(2), range(3), range(2)):
        q, seen = x[b, i, j] @ query + query_bias, []
        keys, values = np.split(memory[b] @ both + both_bias, 2, axis=1)
        for part in (slice(0, 4), slice(4, 8)):
            scores = np.exp(keys[:, part] @ q[part] / 2) * ~hidden[b]
            seen.append(scores @ values[:, part] / scores.sum())
        expected = np.concatenate(seen) @ out + out_bias
        np.testing.assert_allclose(found[b, i, j], expected, atol=1e-5)


@pytest.mark.parametrize("conditioning", text_to_image.CONDITIONINGS)
def test_padding_changes_nothing_and_a_letter_does(conditioning):
    """The same weights, with as much room for texts as they need, and with more."""
    short, long = (shaken(small(conditioning=conditioning, max_length=n)) for n in (13, 20))
    noisy, times = np.ones((3, *LATENT), "float32"), np.full(3, 0.3, "float32")
    texts = ["", "pale", "a blue one"]
    answers = [x.network([noisy, times, x.tokens(texts)]).numpy() for x in (short, long)]
    np.testing.assert_allclose(*answers, atol=1e-5)
    assert (
        min(np.abs(answers[0][i] - answers[0][j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.01
    )
    other = short.network([noisy, times, short.tokens(["a", "pael", "a blu eone"])]).numpy()
    assert np.abs(other - answers[0]).max(axis=(1, 2, 3)).min() > 1e-3


def test_only_small_maps_look_at_the_text():
    encoder = token_encoder(TOKENIZER, 16, 8, 1)
    condition = text_to_image.text_condition(encoder, 16)
    network = diffusion.unet((32, 32, 1), (8, 8, 8), 1, condition=condition)
    looking = [x for x in network.layers if isinstance(x, text_to_image.MapAttention)]
    sides = sorted(x.input[0].shape[1] for x in looking)
    assert sides == [8, 8, 8, 16, 16]


# --- guidance ---


@pytest.fixture(scope="module")
def model():
    return shaken(small())


def draw(model, texts, **kwargs):
    return model.generate(texts, **{"seed": 1, "sampler": FEW, **kwargs})


def test_guidance_goes_from_the_negative_prompt_to_the_text_and_beyond(model):
    wanted, away = (tf.constant(model.tokens(x)) for x in ("pale", "绿"))
    noisy = tf.constant(np.random.default_rng(0).normal(size=(1, *LATENT)).astype("float32"))

    def see(*labels, **kwargs):
        return model.denoiser(labels, **kwargs)(noisy, 0.5, 0.6, 0.8).image

    for labels, other in (((wanted, away), away), ((wanted,), tf.constant(model.tokens("")))):
        conditional, unconditional = see(wanted), see(other)
        assert np.abs(conditional - unconditional).max() > 0.01
        for scale in (0.0, 0.5, 1.0, 4.0):
            found = see(*labels, guidance_scale=scale, guided=True)
            expected = unconditional + scale * (conditional - unconditional)
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ends_of_guidance(model, eagerly):
    plain = draw(model, TEXTS[:2], guidance_scale=1)
    same = dict(atol=1e-5)
    nothing = draw(model, "", n=2, guidance_scale=1)
    assert np.abs(plain - nothing).max() > 0.01
    # The text says nothing, or counts nothing.
    np.testing.assert_allclose(draw(model, ["", ""]), nothing, **same)
    np.testing.assert_allclose(draw(model, TEXTS[:2], guidance_scale=0), nothing, **same)
    # What is wanted is what is not wanted: the prompt's own model, at any scale.
    for words in ("", "pale"):
        own = draw(model, words, guidance_scale=1)
        np.testing.assert_allclose(draw(model, words, negative_prompt=words), own, **same)
    # Without guidance nobody asks what is not wanted; at 0 nothing else counts.
    own = draw(model, "pale", guidance_scale=1)
    np.testing.assert_array_equal(draw(model, "pale", negative_prompt="绿", guidance_scale=1), own)
    np.testing.assert_array_equal(draw(model, "绿", negative_prompt="pale", guidance_scale=0), own)
    far = [draw(model, "pale", negative_prompt=x, guidance_scale=8) for x in ("", "red")]
    assert np.abs(np.subtract(*far)).max() > 0.01


def test_training_hides_its_share_of_the_texts(eagerly):
    seen = []

    class Spy(layers.Layer):
        def call(self, noisy, tokens):
            seen.append(tokens)
            return noisy

    noisy, times = keras.Input(LATENT), keras.Input(())
    tokens = keras.Input((16,), dtype="int32")
    network = keras.Model([noisy, times, tokens], Spy()(noisy, tokens))
    model = small(network=network, label_dropout=0.3, seed=0)
    given = tf.constant(np.repeat(model.tokens(TEXTS), 1000, axis=0))
    data = tf.zeros((4000, *LATENT))
    for training in (True, False):
        model.batch_loss(network, data, (given,), training)
        taken = np.asarray(seen[-1])
        hidden = (taken == model.tokens("")).all(axis=1)
        np.testing.assert_array_equal(taken[~hidden], given.numpy()[~hidden])
        assert abs(hidden.mean() - 0.3) < 0.03 if training else not hidden.any()


# --- drawing ---


def test_four_texts_are_learned():
    """Of pictures of one colour each; on the straight path."""
    keras.utils.set_random_seed(0)
    autoencoder = diffusion.latent_autoencoder(SHAPE, channels=3, width=8, beta=0.01)
    autoencoder.compile(keras.optimizers.Adam(0.005))
    autoencoder.fit(tf.data.Dataset.from_tensors(PICTURES).repeat(400), verbose=0)
    path = {"noise_schedule": "straight", "prediction": "flow"}
    model = small(autoencoder, widths=(32,), ema_momentum=0.95, seed=0, **path)
    model.compile(keras.optimizers.Adam(5e-3))
    data = tf.data.Dataset.from_tensors((np.repeat(PICTURES, 8, axis=0), np.repeat(TEXTS, 8)))
    model.fit(model.batches(data.repeat(200)), verbose=0)

    def errors(made):
        return np.abs(made[:, None] - PICTURES).mean(axis=(2, 3, 4))

    found = errors(model.generate(TEXTS * 4, seed=0))
    np.testing.assert_array_equal(found.argmin(axis=1), np.tile(np.arange(4), 4))
    assert found.min(axis=1).max() < 0.3
    start = PICTURES[[0, 0]]  # from red to blue: hardly, and all the way
    for strength, k in ((0.1, 0), (1.0, 1)):
        changed = model.generate(TEXTS[1], start=start, strength=strength, seed=0)
        np.testing.assert_array_equal(errors(changed).argmin(axis=1), [k, k])
    known = np.arange(8)[:, None, None] < 4
    drawn = model.inpaint(PICTURES[:2], known, TEXTS[2:], seed=0)
    np.testing.assert_array_equal(drawn[:, :4], PICTURES[:2, :4])
    parts = np.abs(drawn[:, None, 4:] - PICTURES[:, 4:]).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(parts.argmin(axis=1), [2, 3])


def test_n_images_of_each_text(model, eagerly):
    four = draw(model, "pale", n=4)
    np.testing.assert_allclose(draw(model, ["pale"] * 4), four, atol=1e-6)
    two = draw(model, ["pale", "绿"], n=2)
    np.testing.assert_allclose(draw(model, ["pale", "pale", "绿", "绿"]), two, atol=1e-6)
    assert draw(model, "pale").shape == (1, *SHAPE) and draw(model, TEXTS[:3]).shape == (3, *SHAPE)
    start = PICTURES[:2]
    assert draw(model, "pale", start=start, strength=0.5).shape == start.shape
    with pytest.raises(ValueError, match="texts: got 3, accepted are 1 or 2"):
        draw(model, TEXTS[:3], start=start, strength=0.5)


def test_a_negative_prompt_counts_in_all_ways_to_draw(model, eagerly):
    """Against itself a prompt has no guidance: in an image's other half, and from a start."""
    half, given = np.arange(8)[:, None, None] < 4, {"seed": 1, "sampler": FEW}

    def inpaint(**kwargs):
        return model.inpaint(PICTURES[:1], half, "pale", **given, **kwargs)

    def restart(**kwargs):
        return model.generate("pale", start=PICTURES[:1], strength=1.0, **given, **kwargs)

    for way in (inpaint, restart):
        own = way(guidance_scale=1)
        np.testing.assert_allclose(way(negative_prompt="pale"), own, atol=1e-5)
        assert np.abs(way(negative_prompt="绿") - own).max() > 0.01


def test_the_bound_without_a_text_is_that_of_the_empty_one(model):
    found = (model.variational_bound(PICTURES, x, n_steps=2, seed=0) for x in (None, "", "pale"))
    none, empty, pale = found
    np.testing.assert_array_equal(none, empty)
    assert np.isfinite(pale).all() and (pale != empty).all()


def test_pictures_of_a_text_while_it_learns(model):
    grid = callbacks.SampleGrid(n=2, texts=["pale", "red"], display=False)
    grid.set_model(model)
    grid.set_params({})
    grid.on_epoch_end(0)
    np.testing.assert_array_equal(grid.batches[0], model.generate(["pale", "red"], 2, seed=0))


def test_a_given_text_encoder_is_left_as_it_is():
    encoder = token_encoder(TOKENIZER, 16, 8, 1)
    model = small(text_encoder=encoder)
    assert encoder.trainable and len(encoder.trainable_weights) > 0
    part = model.network.get_layer("text_encoder")
    assert part is not encoder and not part.trainable_weights


def test_attention_says_where_it_looks(model):
    pieces, maps = model.attention("pale", PICTURES[:3], seed=0)
    assert pieces == ["p", "a", "l", "e", ""]
    assert maps.shape == (3, 2, 2, 5) and maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
    assert maps.min() >= 0 and maps.std() > 1e-4
    np.testing.assert_array_equal(model.attention("pale", PICTURES[:3], seed=0)[1], maps)
    _, other = model.attention("pale", PICTURES[:3], time=0.05, seed=0)
    assert np.abs(other - maps).max() > 1e-4
    with pytest.raises(ValueError, match=r"conditioning: .*, accepted is 'attention'"):
        small(conditioning="modulation").attention("pale", PICTURES)


# --- an encoder that is given, and files ---


@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")  # not tf.data's
def test_a_given_encoder_is_left_as_it_is_and_saved(tmp_path, eagerly):
    encoder = token_encoder(TOKENIZER, 16, 8, 1)
    before = encoder.get_weights()
    model = small(text_encoder=encoder, seed=0)
    model.compile()
    model.fit(PICTURES, model.tokens(TEXTS), verbose=0)
    for path in (None, tmp_path / "model.keras"):
        if path:
            model.save(path)
            made = draw(model, TEXTS)
            model = keras.models.load_model(path)
            np.testing.assert_array_equal(draw(model, TEXTS), made)
            model.fit(PICTURES, model.tokens(TEXTS), verbose=0)
        for network in (model.network, model.ema_network):
            after = network.get_layer("text_encoder").get_weights()
            for a, b in zip(before, after, strict=True):
                np.testing.assert_array_equal(a, b)
    assert model.tokenizer.characters == TOKENIZER.characters


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ((8, 16), r"turns \[\(8,\)\] into \[\(8, 16\)\], accepted is \[\(16,\)\] into"),
        ((16, None), r"turns \[\(16,\)\] into \[\(16,\)\], accepted"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(encoder, message):
    length, width = encoder
    tokens = keras.Input((length,), dtype="int32")
    vectors = layers.Embedding(5, width)(tokens) if width else layers.Flatten()(tokens)
    with pytest.raises(ValueError, match=f"text_encoder: {message}"):
        small(text_encoder=keras.Model(tokens, vectors))
