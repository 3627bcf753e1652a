"""`aigc_keras.picture_tokens`: pictures as texts, and a language model that draws."""

import keras
import numpy as np
import pytest

from aigc_keras import text
from aigc_keras.picture_tokens import BREAK, PictureTokens
from aigc_keras.vq_vae import VQVAE

SHAPE = (4, 4, 1)
CAPTIONS = ["left", "right", "左边", "leftover"]  # of which one begins as another


def autoencoder(num_codes=4):
    """A pixel is a vector, and codes are levels of grey: no picture of these loses anything."""
    pictures = keras.Input(SHAPE)
    network = keras.Model(pictures, keras.layers.Identity()(pictures))
    model = VQVAE(SHAPE, num_codes, 1, encoder=network, decoder=keras.models.clone_model(network))
    model.codebook.assign(np.linspace(-1, 1, num_codes)[:, None])
    return model


def pictures(n=4, num_codes=4, seed=0):
    levels = np.linspace(-1, 1, num_codes, dtype="float32")
    return np.random.default_rng(seed).choice(levels, (n, *SHAPE))


@pytest.fixture(scope="module")
def tokens():
    return PictureTokens(autoencoder())


@pytest.fixture(scope="module")
def model(tokens):
    """It has learned four captions and pictures by heart."""
    keras.utils.set_random_seed(0)
    settings = {"width": 32, "num_layers": 2, "num_heads": 2, "seed": 0}
    model = text.GPT(tokens.make_tokenizer(CAPTIONS), 26, **settings)
    model.compile(text.adamw(learning_rate=1e-2, warmup_steps=10), jit_compile=False)
    rows = model.windows(tokens.to_texts(CAPTIONS, pictures()), 4, packed=False)
    model.fit(rows.repeat(150), verbose=0)
    return model


def test_a_picture_is_a_text_and_a_text_a_picture(tokens):
    texts = tokens.to_texts(CAPTIONS, pictures())
    assert [x.split(BREAK)[0] for x in texts] == CAPTIONS
    assert all(len(x) == len(y) + 1 + 16 for x, y in zip(texts, CAPTIONS, strict=True))
    np.testing.assert_allclose(tokens.to_images(texts), pictures(), atol=1e-6)
    tokenizer = tokens.make_tokenizer(CAPTIONS)
    for each in texts:
        codes = tokenizer.encode(each)
        assert len(codes) == len(each) and tokenizer.unknown not in codes
        assert tokenizer.decode(codes) == each
    # A caption may be several lines; what comes last is the picture.
    lines = tokens.to_images(["a\nb" + texts[0]])
    np.testing.assert_array_equal(lines, tokens.to_images(texts[:1]))


def test_all_codes_are_known_also_those_that_no_picture_has(tokens):
    characters = tokens.make_tokenizer(["ab"]).characters
    assert characters == "\nab" + tokens.characters and len(tokens.characters) == 4
    assert PictureTokens(autoencoder(6400)).characters[-1] == "\uf8ff"  # the last private one


def test_what_was_learned_is_drawn(tokens, model):
    found = tokens.generate(model, CAPTIONS[1:], n=2, temperature=0, batch_size=3)
    np.testing.assert_allclose(found, np.repeat(pictures()[1:], 2, axis=0), atol=1e-6)
    one = tokens.generate(model, "left", temperature=0)
    np.testing.assert_allclose(one, pictures()[:1], atol=1e-6)


def test_where_a_picture_is_due_only_codes_are_written(tokens):
    """Of a model that has learned nothing, at a high temperature; END would be as likely."""
    model = text.GPT(
        tokens.make_tokenizer(CAPTIONS), 26, width=8, num_layers=1, num_heads=1, seed=0
    )
    settings = {"n": 3, "temperature": 5.0, "top_p": 0.9}
    found = tokens.generate(model, ["left", "", "right"], seed=1, **settings)
    assert found.shape == (9, *SHAPE) and found.dtype == "float32"
    assert len(np.unique(found.reshape(9, -1), axis=0)) == 9
    again = tokens.generate(model, ["left", "", "right"], seed=1, **settings)
    np.testing.assert_array_equal(found, again)
    assert (tokens.generate(model, ["left", "", "right"], seed=2, **settings) != found).any()


def test_the_longest_caption_is_one_that_can_be_trained_on(tokens, model):
    longest = "l" * (26 - 16 - 2)
    assert len(list(model.windows(tokens.to_texts([longest], pictures(1)), 1, packed=False))) == 1
    assert tokens.generate(model, longest, seed=0).shape == (1, *SHAPE)
    with pytest.raises(ValueError, match=r"texts\[1\]: got 9 characters, accepted are at most 8"):
        tokens.generate(model, ["left", longest + "l"])
    with pytest.raises(ValueError, match="texts: the longest has 27 tokens"):
        model.windows(tokens.to_texts([longest + "l"], pictures(1)), packed=False)
