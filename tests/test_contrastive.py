"""Chapter 10: one space for pictures and texts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras import contrastive, text
from aigc_keras.optimizers import Adam
from aigc_keras.text.tokenizers import END, PADDING

LETTERS = text.CharTokenizer("abcdefgh")
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (16, 8, 8, 1)).astype("float32")
TEXTS = ["".join(RNG.choice(list("abcdefgh"), 3 + i % 4)) for i in range(16)]


def small(max_length=8, **kwargs):
    keras.utils.set_random_seed(0)
    sizes = {"embedding_dim": 16, "width": 4, "hidden": 16, "num_layers": 1, "num_heads": 2}
    return contrastive.TextImageModel(LETTERS, (8, 8, 1), max_length=max_length, **sizes, **kwargs)


@pytest.fixture(scope="module")
def model():
    return small()


def unit(n, dim, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, dim)).astype("float32")
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# --- the objective ---


def test_loss_is_a_loop_over_rows(model):
    """With rows 0, 2 and 5 of one text, which are no wrong answers to each other."""
    images, texts = unit(6, 4), unit(6, 4, seed=1)
    texts[[2, 5]] = texts[0]
    same = np.eye(6, dtype=bool)
    same[np.ix_([0, 2, 5], [0, 2, 5])] = True
    scale = np.exp(float(model.log_scale))
    assert scale == pytest.approx(1 / 0.07, rel=1e-6)
    for mask in (None, same):
        expected = []
        for i in range(6):
            others = [j for j in range(6) if mask is None or j == i or not mask[i, j]]
            ways = [[scale * images[i] @ texts[j] for j in others]]
            ways += [[scale * images[j] @ texts[i] for j in others]]
            own = scale * images[i] @ texts[i]
            expected.append(np.mean([np.log(np.sum(np.exp(way))) - own for way in ways]))
        found = model.contrastive_loss(images, texts, mask)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_loss_in_the_limits(model):
    """Perfect vectors lose nothing, vectors that say nothing log n."""
    perfect, alike = np.eye(8, dtype="float32"), np.tile(unit(1, 8), (8, 1))
    assert np.max(model.contrastive_loss(perfect, perfect)) < 1e-5
    np.testing.assert_allclose(model.contrastive_loss(alike, alike), np.log(8), rtol=1e-5)
    unrelated = model.contrastive_loss(unit(8, 4096), unit(8, 4096, seed=1))
    np.testing.assert_allclose(np.mean(unrelated), np.log(8), atol=0.1)


def test_who_has_the_same_text_is_not_pushed_away(model):
    """Without the other of the two, the loss and its gradient are the same."""
    texts = unit(4, 8, seed=1)
    texts[3] = texts[0]
    images, tokens = tf.constant(unit(4, 8)), np.array([0, 1, 2, 0])
    with tf.GradientTape() as tape:
        tape.watch(images)
        losses = model.contrastive_loss(images, texts, tokens[:, None] == tokens)
        first = losses[0]
    gradient = tape.gradient(first, images)
    np.testing.assert_allclose(first, model.contrastive_loss(images[:3], texts[:3])[0], rtol=1e-5)
    np.testing.assert_array_equal(gradient[3], 0)
    assert np.abs(gradient[1]).max() > 0


def test_equal_captions_are_found_by_their_tokens(model):
    tokens = model.tokens(["abc", "d", "abc", "e"])
    losses, recall = model.pair_losses(IMAGES[:4], tokens)
    images, texts = model.embed_images(IMAGES[:4]), model.embed_tokens(tokens)
    same = np.array([[i == j or (i % 2 == j % 2 == 0) for j in range(4)] for i in range(4)])
    np.testing.assert_allclose(losses, model.contrastive_loss(images, texts, same), rtol=1e-5)
    np.testing.assert_allclose(
        recall, contrastive.recall_at(np.matmul(images, texts.numpy().T), same=same)
    )


def test_recall():
    cosines = np.array([[0.9, 0.1, 0.2], [0.8, 0.7, 0.1], [0.5, 0.4, 0.3]], "float32")
    for k, expected in ((1, 1 / 3), (2, 2 / 3), (3, 1)):
        np.testing.assert_allclose(contrastive.recall_at(cosines, k), expected, rtol=1e-6)
    same = np.eye(3, dtype=bool)
    same[1, 0] = same[2, 1] = True
    np.testing.assert_allclose(contrastive.recall_at(cosines, 1, same), 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(contrastive.recall_at(cosines[:2], 2), 1)
    assert contrastive.recall_at(np.ones((4, 4))) == 0  # all in one point: nothing is found


# --- the encoders ---


def test_padding_changes_nothing(model):
    longer = small(max_length=24)
    longer.set_weights(model.get_weights())
    for texts in (["abc"], ["abc", "abcdefg", "h"]):
        np.testing.assert_allclose(
            longer.encode_texts(texts), model.encode_texts(texts)[: len(texts)], atol=1e-6
        )
    alone = np.concatenate([model.encode_texts([each]) for each in TEXTS])
    np.testing.assert_allclose(model.encode_texts(TEXTS, batch_size=5), alone, atol=1e-6)


def test_the_order_of_words_counts():
    model = small()
    model.set_weights([w + RNG.normal(0, 0.3, w.shape) for w in model.get_weights()])
    first, second = model.encode_texts(["abcd", "dcba"])
    assert np.abs(first - second).max() > 0.01


def test_tokens_end_and_are_filled_up(model):
    tokens = model.tokens(["", "abc", "abcdefg"])
    assert tokens.shape == (3, 8) and tokens.dtype == np.int32
    for row, each in zip(tokens, ["", "abc", "abcdefg"], strict=True):
        expected = [*LETTERS.encode(each), END]
        assert row.tolist() == expected + [PADDING] * (8 - len(expected))


def test_own_encoders():
    images, tokens = keras.Input((8, 8, 1)), keras.Input((8,), dtype="int32")
    outputs = keras.layers.Dense(6)(keras.layers.Flatten()(images))
    own = {"image_encoder": keras.Model(images, outputs)}
    x = keras.layers.Embedding(10, 6)(keras.ops.maximum(tokens, 0))
    own["text_encoder"] = keras.Model(tokens, x)
    found = contrastive.TextImageModel(LETTERS, (8, 8, 1), 6, 8, **own)
    assert found.similarity(IMAGES[:3], ["a", "b"]).shape == (3, 2)
    for name in own:
        others = own | {name: own["image_encoder" if name == "text_encoder" else "text_encoder"]}
        with pytest.raises(ValueError, match=f"{name}: turns"):
            contrastive.TextImageModel(LETTERS, (8, 8, 1), 6, 8, **others)


# --- training ---


def test_temperature_is_learned_and_kept_in_bounds(eagerly):
    model = small()
    model.compile(Adam(0.01))
    start = float(model.log_scale)
    model.train_on_batch(IMAGES, model.tokens(TEXTS))
    assert 0 < abs(float(model.log_scale) - start) < 0.02
    model.log_scale.assign(9.0)
    model.train_on_batch(IMAGES, model.tokens(TEXTS))
    assert float(model.log_scale) == pytest.approx(np.log(100))


def test_batches_are_tokens_of_a_dataset_of_strings(model):
    data = tf.data.Dataset.from_tensor_slices((IMAGES, TEXTS)).batch(6)
    found = [(x.numpy(), y.numpy()) for x, y in model.batches(data)]
    assert [len(x) for x, _ in found] == [6, 6, 4]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), IMAGES)
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), model.tokens(TEXTS))


def test_sixteen_pairs_are_learned():
    """Each picture finds its text among all, and each text its picture, within seconds."""
    model = small()
    model.compile(Adam(5e-3))
    tokens = model.tokens(TEXTS)
    before = model.evaluate(IMAGES, tokens, batch_size=16, verbose=0, return_dict=True)
    assert before["loss"] > 0.7 * np.log(16) and before["recall_at_1"] < 0.5
    data = tf.data.Dataset.from_tensors((IMAGES, tokens)).repeat()
    model.fit(data, steps_per_epoch=150, verbose=0)
    after = model.evaluate(IMAGES, tokens, batch_size=16, verbose=0, return_dict=True)
    assert after["loss"] < 0.1 and after["recall_at_1"] == 1
    cosines = model.similarity(IMAGES, TEXTS)
    assert cosines.shape == (16, 16) and np.abs(cosines).max() <= 1 + 1e-6
    assert contrastive.recall_at(cosines) == contrastive.recall_at(cosines.T) == 1
    found = model.classify(IMAGES[:5], TEXTS[:7])
    assert found.shape == (5, 7) and found.argmax(1).tolist() == list(range(5))
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    for vectors in (model.encode_images(IMAGES), model.encode_texts(TEXTS)):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("strange", "said"), [("", "got an empty text"), ("a火", "the characters '火' are not among")]
)
def test_a_text_that_says_nothing_or_in_another_script_is_refused(model, strange, said):
    with pytest.raises(ValueError, match=rf"texts\[1\]: {said}"):
        model.encode_texts(["a", strange])


def test_a_picture_of_zeros_does_no_harm(model):
    """The vector of length zero has no direction; its gradient is finite."""
    images = np.zeros((2, *model.image_shape), "float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.embed_images(images))
    for gradient in tape.gradient(loss, model.image_encoder.trainable_variables):
        assert np.isfinite(gradient).all()


def test_what_is_not_a_number_is_not_found():
    assert contrastive.recall_at(np.full((3, 3), np.nan, "float32")) == 0
