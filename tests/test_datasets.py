"""`aigc_keras.datasets`: what comes out, in which order, and what is refused."""

import re

import emoji
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras import datasets
from aigc_keras.datasets.faces import faces_split
from aigc_keras.datasets.images import SKIN_TONE, crops, emoji_font
from aigc_keras.datasets.records import RECORDS


def everything(dataset):
    parts = [part if isinstance(part, tuple) else (part,) for part in dataset.as_numpy_iterator()]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


# --- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "train", "test", "shape", "classes"),
    [
        ("fashion_mnist", 60_000, 10_000, (28, 28, 1), 10),
        ("digits", 1_500, 297, (28, 28, 1), 10),
        ("emoji", 1_723, 191, (64, 64, 3), 1_914),
        ("faces", 1_005, 104, (64, 64, 3), 4),
        ("photographs", 1_000, 100, (128, 128, 3), 9),
        ("ring", 20_000, 5_000, (2,), 8),
    ],
)
def test_counts_shapes_and_ranges(prepared_fashion, name, train, test, shape, classes):
    for split, count in (("train", train), ("test", test)):
        images, labels = datasets.arrays(name, split)
        assert images.shape == (count, *shape)
        assert images.dtype == np.float32
        assert labels.shape == (count,)
        assert labels.dtype == np.int32
        assert labels.min() >= 0
        assert labels.max() < classes
        if name == "ring":
            assert np.abs(images).max() < 1
        else:
            assert images.min() == -1
            assert images.max() == 1
    assert f"{train:,} train + {test:,} test" in datasets.describe(name)
    record = RECORDS[name]
    assert (record.count, record.shape) == ({"train": train, "test": test}, shape)
    assert classes == (record.classes if isinstance(record.classes, int) else len(record.classes))
    spec, label_spec = datasets.load(name, labels=True).element_spec
    assert spec == tf.TensorSpec((None, *shape), tf.float32)
    assert label_spec == tf.TensorSpec((None,), tf.int32)


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_is_complete_and_describes_its_data(name):
    record = RECORDS[name]
    assert (name in datasets.names()) == (record.shape is not None)
    others = {*datasets.TEXTS, *datasets.PAIRS, *datasets.INTERACTIONS}
    assert (name in datasets.names()) != (name in others)
    for text in (record.about, record.licence, record.source, record.checksum):
        assert isinstance(text, str) and text
    parts = {"ratings", "users", "films"} if name == "movielens" else {"train", "test"}
    assert set(record.count) == parts and min(record.count.values()) > 0
    if name in datasets.names():
        assert record.classes and record.smallest >= 1
        shown = datasets.describe(name)
        for text in (record.about, record.licence, record.source):
            assert text in shown


def test_fashion_mnist_is_what_upstream_published(prepared_fashion):
    images, labels = datasets.arrays("fashion_mnist")
    # mean and deviation of the training pixels as in common use, in [0, 1]: 0.2860 and 0.3530
    np.testing.assert_allclose((images / 2 + 0.5).mean(dtype="float64"), 0.2860, atol=5e-5)
    np.testing.assert_allclose((images / 2 + 0.5).std(dtype="float64"), 0.3530, atol=5e-5)
    assert np.bincount(labels).tolist() == [6_000] * 10
    trousers = images[labels == datasets.class_names("fashion_mnist").index("Trouser")].mean(0)
    bags = images[labels == datasets.class_names("fashion_mnist").index("Bag")].mean(0)
    low_left = np.s_[14:, 4:8]  # a bag is wide, trousers are not
    assert trousers[low_left].mean() < -0.9 < -0.2 < bags[low_left].mean()


def test_class_names_are_those_of_tfds(prepared_fashion):
    import tensorflow_datasets as tfds

    info = tfds.builder(
        "fashion_mnist", data_dir=prepared_fashion.parent.parent, try_gcs=False
    ).info
    assert datasets.class_names("fashion_mnist") == tuple(info.features["label"].names)
    assert datasets.class_names("digits")[7] == "7"


@pytest.mark.parametrize("size", [14, 32])
@pytest.mark.parametrize("name", ["fashion_mnist", "digits"])
def test_resized_like_tensorflow_does(prepared_fashion, name, size):
    original = 28 if name == "fashion_mnist" else 8
    images, _ = datasets.arrays(name, "test[:20]", image_size=original)
    resized, _ = datasets.arrays(name, "test[:20]", image_size=size)
    expected = tf.image.resize(images, (size, size), antialias=True)
    np.testing.assert_allclose(resized, expected, atol=0.021)  # within rounding to 8 bits


def test_ring_has_the_stated_modes():
    points, labels = datasets.arrays("ring")
    centers = datasets.ring_centers()
    np.testing.assert_allclose(np.linalg.norm(centers, axis=1), 0.75, rtol=1e-6)
    distance = np.linalg.norm(points[:, None] - centers[None], axis=2)
    assert (distance.argmin(1) == labels).all()  # modes are 19 standard deviations apart
    residue = points - centers[labels]
    error = datasets.RING_STD / np.sqrt(residue.size)
    assert abs(residue.mean()) < 5 * error
    assert abs(residue.std() - datasets.RING_STD) < 5 * error / np.sqrt(2)
    counts = np.bincount(labels, minlength=8)
    assert (np.abs(counts - 2_500) < 5 * np.sqrt(2_500 * 7 / 8)).all()


def test_digits_split_is_stratified_and_complete():
    from sklearn.datasets import load_digits

    (train, train_labels), (test, test_labels) = (
        datasets.arrays("digits", split, image_size=8) for split in ("train", "test")
    )
    found = np.concatenate([train, test]).reshape(1_797, 64)
    expected = load_digits().data / 8 - 1
    found, expected = (x[np.lexsort(np.round(x.T))] for x in (found * 8, expected * 8))
    np.testing.assert_allclose(found, expected, atol=0.04)
    np.testing.assert_allclose(
        np.bincount(test_labels) / 297, np.bincount(train_labels) / 1_500, atol=0.004
    )


# --- emoji ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 64, 512])
def test_emoji_are_drawn_inside_the_frame_at_any_size(size):
    images, labels = datasets.arrays("emoji", "test[:40]", image_size=size)
    assert images.shape == (40, size, size, 3)
    ink = (images < 0.9).any(-1)
    assert (ink.mean((1, 2)) > 0.02).all()
    rows, columns = np.nonzero(ink.any(0))
    assert abs(rows.mean() + 0.5 - size / 2) < 0.1 * size
    assert abs(columns.mean() + 0.5 - size / 2) < 0.1 * size
    if size >= 64:
        assert ink[:, [0, -1]].mean() < 0.01
        assert ink[:, :, [0, -1]].mean() < 0.01
    assert len(np.unique(labels)) == 40


def test_emoji_sizes_show_the_same_picture():
    large, _ = datasets.arrays("emoji", "test[:60]", image_size=128)
    small, _ = datasets.arrays("emoji", "test[:60]", image_size=64)
    halved = large.reshape(60, 64, 2, 64, 2, 3).mean((2, 4))
    own = np.abs(halved - small).mean((1, 2, 3))
    other = np.abs(halved - np.roll(small, 1, axis=0)).mean((1, 2, 3))
    assert (own < other).all()


def test_no_two_emoji_of_a_kind_and_none_left_out():
    train, test = (datasets.arrays("emoji", s, image_size=32) for s in ("train", "test"))
    assert sorted([*train[1], *test[1]]) == list(range(1_914))
    drawn = {image.tobytes() for image in (*train[0], *test[0])}
    assert len(drawn) > 0.98 * 1_914  # Norway's flag is Svalbard's, and so on


def test_sequences_are_joined_without_a_shaping_library():
    texts, _ = emoji_font()
    flag = texts.index("\U0001f1ef\U0001f1f5")  # Japan: a red disc on white
    split = "train" if flag in datasets.arrays("emoji", "train")[1] else "test"
    images, labels = datasets.arrays("emoji", split)
    image = images[labels == flag][0]
    red, green, blue = image[32, 32]
    assert red > 0.3 > -0.3 > max(green, blue)
    assert (image[32, 10:16] > 0.9).all()


@pytest.mark.parametrize("split", ["test", "test[:10%]", "train[5:9]"])
def test_captions_fit_the_pictures(split):
    texts, _ = emoji_font()
    _, labels = datasets.arrays("emoji", split)
    for language in ("en", "zh"):
        names = datasets.captions(split, language)
        assert len(names) == len(labels)
        for name, label in zip(names, labels, strict=True):
            code = emoji.demojize(texts[label], language=language)
            assert code == f":{name.replace(' ', '_')}:"
    assert any("\u4e00" <= c <= "\u9fff" for c in "".join(datasets.captions(split, "zh")))


def test_captions_refuse_an_unknown_language():
    with pytest.raises(ValueError, match=r"language: got 'fr', accepted are en, zh"):
        datasets.captions(language="fr")


# --- faces ------------------------------------------------------------------------------------


def test_faces_are_counted_by_kind():
    labels = np.concatenate([datasets.arrays("faces", split)[1] for split in ("train", "test")])
    smileys, cats, animals, people = np.bincount(labels)
    assert datasets.class_names("faces") == ("smiley", "cat", "animal", "person")
    counted = f"{smileys} smileys, {cats} cats, {animals} other animals, {people} people"
    assert counted in datasets.describe("faces")


def test_faces_are_of_their_kind():
    texts = emoji_font()[0]
    numbers, kinds = map(np.concatenate, zip(*map(faces_split, ("train", "test")), strict=True))
    assert len(set(numbers)) == len(numbers)
    names = [emoji.EMOJI_DATA[texts[i]]["en"] for i in numbers]
    toned = np.array([bool(SKIN_TONE.search(texts[i])) for i in numbers])
    assert toned[kinds == 3].mean() > 0.8 and not toned[kinds != 3].any()
    assert all("cat" in name for name in np.array(names)[kinds == 1])
    assert np.mean(["face" in name for name in np.array(names)[kinds == 0]]) > 0.8
    images, labels = datasets.arrays("faces")
    red, _, blue = images[labels == 0].mean((0, 1, 2))  # smileys are yellow
    assert red > blue + 0.3


def test_no_character_is_in_both_splits_in_any_skin_tone():
    texts = emoji_font()[0]
    train, test = (
        {re.sub("[🏻-🏿♀♂🧑👨👩\u200d\ufe0f]", "", texts[i]) for i in faces_split(split)[0]}
        for split in ("train", "test")
    )
    assert train.isdisjoint(test)
    train, test = (datasets.arrays("faces", split, 32)[0] for split in ("train", "test"))
    assert {x.tobytes() for x in train}.isdisjoint(x.tobytes() for x in test)


# --- photographs ------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something asked for the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def test_photographs_are_those_of_the_packages(no_network):
    import skimage.data
    import sklearn.datasets

    names = datasets.class_names("photographs")
    assert len(names) == 9
    for name in names:
        picture = datasets.photograph(name)
        if name in ("china", "flower"):
            expected = sklearn.datasets.load_sample_image(f"{name}.jpg")
        else:
            expected = getattr(skimage.data, name)()
        assert picture.dtype == np.float32
        np.testing.assert_array_equal(np.round((picture + 1) * 127.5), expected)
    assert datasets.photograph("chelsea", size=100).shape == (67, 100, 3)  # of 300 x 451


def test_photograph_refuses_what_it_has_not(monkeypatch):
    with pytest.raises(ValueError, match=r"name: got 'lena', accepted are astronaut, chelsea"):
        datasets.photograph("lena")
    gone = {"gone": ("skimage/data/gone.png", "none")}
    monkeypatch.setattr("aigc_keras.datasets.images.PHOTOGRAPHS", gone)
    with pytest.raises(RuntimeError, match=r"package skimage lacks the file .*gone\.png"):
        datasets.photograph("gone")


def test_no_photograph_is_in_both_splits():
    train, test = (set(datasets.arrays("photographs", s, 16)[1]) for s in ("train", "test"))
    assert train.isdisjoint(test)
    assert train | test == set(range(9))


@pytest.mark.parametrize("size", [16, 200])
def test_crops_come_from_their_photograph(no_network, size):
    crops, labels = datasets.arrays("photographs", "train[:70]", size)
    assert np.bincount(labels)[np.unique(labels)].tolist() == [10] * 7
    for name in ("chelsea", "immunohistochemistry"):
        label = datasets.class_names("photographs").index(name)
        mine = crops[labels == label]
        assert len(np.unique(mine, axis=0)) == 10
        picture = datasets.photograph(name)
        np.testing.assert_allclose(mine.mean((0, 1, 2)), picture.mean((0, 1)), atol=0.15)
        assert mine.min() >= -1
        assert mine.max() <= 1


def test_crop_is_a_cut_of_the_picture():
    """At the picture's own height there is one place to left or right, and its mirror image."""
    (crop,), (label,) = datasets.arrays("photographs", "train[1:2]", 300)
    assert datasets.class_names("photographs")[label] == "chelsea"  # 300 high, 451 wide
    picture = datasets.photograph("chelsea")
    windows = [picture[:, left : left + 300] for left in range(152)]
    windows += [window[:, ::-1] for window in windows]
    errors = np.sort([np.abs(crop - window).max() for window in windows])
    assert errors[0] < 1e-6
    assert errors[1] > 0.1


def test_crop_does_not_depend_on_what_else_is_asked_for():
    whole, labels = datasets.arrays("photographs", "test", 32)
    crops.cache_clear()
    part, part_labels = datasets.arrays("photographs", "test[30:41]", 32)
    np.testing.assert_array_equal(part, whole[30:41])
    np.testing.assert_array_equal(part_labels, labels[30:41])


def test_every_photograph_has_its_terms_shown():
    text = datasets.describe("photographs")
    for name in datasets.class_names("photographs"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"- {name} (")]
        assert any(word in line for word in ("Public domain", "CC0", "CC BY 2.0", "copyright"))
    assert "- china (test): CC BY 2.0. danielbuechele" in text


# --- order ------------------------------------------------------------------------------------


def test_same_seed_same_batches_another_seed_others():
    first, again, other = (
        datasets.load("ring", batch_size=500, labels=True, seed=seed) for seed in (3, 3, 4)
    )
    epochs = [everything(first), everything(first)]
    for expected in epochs:
        for left, right in zip(expected, everything(again), strict=True):
            np.testing.assert_array_equal(left, right)
    assert not np.array_equal(epochs[0][0], epochs[1][0])  # a new order each epoch
    assert not np.array_equal(epochs[0][0], everything(other)[0])


@pytest.mark.parametrize("name", ["digits", "ring"])
def test_every_example_once_an_epoch_with_its_own_label(name):
    images, labels = datasets.arrays(name)
    dataset = datasets.load(name, batch_size=128, labels=True)
    batches = [len(part) for _, part in dataset]
    assert batches == [128] * (len(labels) // 128) + [len(labels) % 128]
    assert dataset.cardinality() == len(batches)
    shuffled, shuffled_labels = everything(dataset)
    assert not np.array_equal(shuffled_labels, labels)

    def sorted_rows(x, y):
        rows = np.concatenate([y[:, None], x.reshape(len(x), -1)], axis=1)
        return rows[np.lexsort(rows.T)]

    np.testing.assert_array_equal(
        sorted_rows(shuffled, shuffled_labels), sorted_rows(images, labels)
    )


def test_unshuffled_load_is_arrays(prepared_fashion):
    for name in datasets.names():
        images, labels = datasets.arrays(name, "test[:50]")
        got = everything(datasets.load(name, "test[:50]", shuffle=False, labels=True, batch_size=7))
        np.testing.assert_array_equal(got[0], images)
        np.testing.assert_array_equal(got[1], labels)
        (alone,) = everything(datasets.load(name, "test[:50]", shuffle=False))
        np.testing.assert_array_equal(alone, images)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[:20]", slice(20)),
        ("[280:]", slice(280, None)),
        ("[10:12]", slice(10, 12)),
        ("[-5:]", slice(-5, None)),
        ("[:-290]", slice(-290)),
        ("[:10%]", slice(30)),  # 29.7
        ("[50%:]", slice(148, None)),  # 148.5, to even as tfds does
        ("[:]", slice(None)),
    ],
)
def test_slices(text, part):
    whole = datasets.arrays("digits", "test")
    cut = datasets.arrays("digits", "test" + text)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(a[part], b)


def test_arrays_are_the_callers_own():
    for name in ("ring", "digits"):
        images, labels = datasets.arrays(name, "test[:5]")
        images[:], labels[:] = 0, 7
        assert datasets.arrays(name, "test[:5]")[0].any()
        assert not (datasets.arrays(name, "test[:5]")[1] == 7).all()


def test_keras_fits_on_it():
    import keras

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["acc"]
    )
    keras.utils.set_random_seed(0)
    history = model.fit(datasets.load("digits", labels=True), epochs=8, verbose=0, shuffle=False)
    assert history.history["acc"][-1] > 0.8


# --- few --------------------------------------------------------------------------------------


def test_few_are_balanced_rows_of_the_split_and_the_first_of_many():
    images, labels = datasets.few("digits", per_class=7, seed=3)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.tile(np.arange(10), 7))
    whole = {row.tobytes(): label for row, label in zip(*datasets.arrays("digits"), strict=True)}
    assert [whole[row.tobytes()] for row in images] == labels.tolist()
    assert len(np.unique(images, axis=0)) == 70
    more, _ = datasets.few("digits", per_class=20, seed=3)
    np.testing.assert_array_equal(more[:70], images)
    other, _ = datasets.few("digits", per_class=7, seed=4)
    assert not np.array_equal(other, images)


def test_few_are_the_same_in_every_process():
    points, labels = datasets.few("ring", per_class=2, seed=5)
    assert labels.tolist() == [*range(8), *range(8)]
    np.testing.assert_allclose(points[:2], [[0.790386, -0.005312], [0.504778, 0.511555]], atol=1e-6)


def test_few_of_a_slice_at_a_size_have_the_classes_that_are_there():
    images, labels = datasets.few("photographs", 2, split="train[:30]", image_size=16)
    assert images.shape == (14, 16, 16, 3)
    np.testing.assert_array_equal(np.unique(labels), [0, 1, 4, 5, 6, 7, 8])


def test_few_refuse_more_than_the_smallest_class_has():
    with pytest.raises(
        ValueError, match=r"per_class: got 10, accepted is an integer >= 1 and < 10"
    ):
        datasets.few("faces", per_class=10)


def test_every_batch_has_some_of_the_few_labels():
    known, labels = datasets.few("digits", 2, image_size=8)
    others = datasets.load("digits", "train[:50]", batch_size=20, image_size=8)
    batches = datasets.partly_labelled(others, known, labels, n=8)
    assert batches.cardinality() == 3
    truth = {row.tobytes(): label for row, label in zip(known, labels, strict=True)}
    seen, first = [], []
    for images, found in batches.as_numpy_iterator():
        assert [truth[row.tobytes()] for row in images[:8]] == found[:8].tolist()
        assert (found[8:] == -1).all()
        seen.extend(row.tobytes() for row in images[8:])
        first.extend(row.tobytes() for row in images[:8])
    assert len(first) == 24 and len(set(first[:20])) == 20  # each once, before one comes again
    assert sorted(seen) == sorted(row.tobytes() for row in everything(others)[0])


# --- bad arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            dict(name="fashion_mist"),
            r"did you mean 'fashion_mnist'.*digits, emoji, faces, photographs, ring",
        ),
        (dict(name=7), r"name: got 7, accepted"),
        (dict(name="no/such/folder", image_size=8), r"no folder 'no/such/folder'"),
        (dict(name="digits", split="valid"), r"split: got 'valid'"),
        (dict(name="digits", split="train[1]"), r"split: got"),
        (dict(name="digits", split="train[:2000]"), r"outside the 1,500"),
        (dict(name="digits", split="train[5:5]"), r"empty"),
        (dict(name="digits", batch_size=0), r"batch_size: got 0"),
        (dict(name="digits", batch_size=True), r"batch_size: got True"),
        (dict(name="digits", seed=0.5), r"seed: got 0.5"),
        (
            dict(name="digits", image_size=0),
            r"image_size: got 0, .* >= 1 and < 513",
        ),
        (dict(name="digits", image_size=513), r"image_size: got 513"),
        (dict(name="digits", image_size=28.0), r"image_size: got 28.0"),
        (dict(name="emoji", image_size=15), r"image_size: got 15, accepted is an integer >= 16"),
        (
            dict(name="photographs", image_size=15),
            r"image_size: got 15, accepted is an integer >= 16",
        ),
        (dict(name="ring", image_size=28), r"image_size: got 28"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(**arguments)


def test_names_and_descriptions():
    assert datasets.names() == (
        *("fashion_mnist", "digits", "emoji", "faces", "photographs", "ring"),
    )
    assert "MIT" in datasets.describe("fashion_mnist")
    assert "arXiv:1708.07747" in datasets.describe("fashion_mnist")
    assert "CC BY-SA 4.0" in datasets.describe("emoji")
    assert "OpenMoji" in datasets.describe("emoji")
    with pytest.raises(ValueError, match="'ring' has no class names"):
        datasets.class_names("ring")
