"""`aigc_keras.datasets`: what comes out, in which order, and what is refused."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from aigc_keras import datasets

IMAGES = ["fashion_mnist", "digits", "emoji"]


@pytest.fixture(scope="session")
def fashion():
    """Fashion-MNIST, prepared before (`make data`) or now, if this machine has any source."""
    try:
        builder, _ = datasets._fashion_mnist_builder()
    except RuntimeError as error:
        pytest.skip(f"no Fashion-MNIST: {error}")
    return Path(builder.data_dir)


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """An empty folder in the place of tfds' own, and nothing remembered."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(
        datasets,
        "_fashion_mnist_builder",
        datasets.functools.cache(datasets._fashion_mnist_builder.__wrapped__),
    )
    monkeypatch.setattr(
        datasets, "_fashion_mnist", datasets.functools.cache(datasets._fashion_mnist.__wrapped__)
    )
    datasets._resized.cache_clear()
    yield tmp_path
    datasets._resized.cache_clear()


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
        ("photographs", 1_000, 100, (128, 128, 3), 9),
        ("ring", 20_000, 5_000, (2,), 8),
    ],
)
def test_counts_shapes_and_ranges(fashion, name, train, test, shape, classes):
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
    spec, label_spec = datasets.load(name, labels=True).element_spec
    assert spec == tf.TensorSpec((None, *shape), tf.float32)
    assert label_spec == tf.TensorSpec((None,), tf.int32)


def test_fashion_mnist_is_what_upstream_published(fashion):
    images, labels = datasets.arrays("fashion_mnist")
    # mean and deviation of the training pixels as in common use, in [0, 1]: 0.2860 and 0.3530
    np.testing.assert_allclose((images / 2 + 0.5).mean(dtype="float64"), 0.2860, atol=5e-5)
    np.testing.assert_allclose((images / 2 + 0.5).std(dtype="float64"), 0.3530, atol=5e-5)
    assert np.bincount(labels).tolist() == [6_000] * 10
    trousers = images[labels == datasets.class_names("fashion_mnist").index("Trouser")].mean(0)
    bags = images[labels == datasets.class_names("fashion_mnist").index("Bag")].mean(0)
    low_left = np.s_[14:, 4:8]  # a bag is wide, trousers are not
    assert trousers[low_left].mean() < -0.9 < -0.2 < bags[low_left].mean()


def test_class_names_are_those_of_tfds(fashion):
    import tensorflow_datasets as tfds

    info = tfds.builder("fashion_mnist", data_dir=fashion.parent.parent, try_gcs=False).info
    assert datasets.class_names("fashion_mnist") == tuple(info.features["label"].names)
    assert datasets.class_names("digits")[7] == "7"


@pytest.mark.parametrize("size", [14, 32])
@pytest.mark.parametrize("name", ["fashion_mnist", "digits"])
def test_resized_like_tensorflow_does(fashion, name, size):
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
    texts, _ = datasets._emoji_font()
    flag = texts.index("\U0001f1ef\U0001f1f5")  # Japan: a red disc on white
    split = "train" if flag in datasets.arrays("emoji", "train")[1] else "test"
    images, labels = datasets.arrays("emoji", split)
    image = images[labels == flag][0]
    red, green, blue = image[32, 32]
    assert red > 0.3 > -0.3 > max(green, blue)
    assert (image[32, 10:16] > 0.9).all()


@pytest.mark.parametrize("split", ["test", "test[:10%]", "train[5:9]"])
def test_captions_fit_the_pictures(split):
    import emoji

    texts, _ = datasets._emoji_font()
    _, labels = datasets.arrays("emoji", split)
    for language in ("en", "zh"):
        names = datasets.captions(split, language)
        assert len(names) == len(labels)
        for name, label in zip(names, labels, strict=True):
            code = emoji.demojize(texts[label], language=language)
            assert code == f":{name.replace(' ', '_')}:"
    assert any("\u4e00" <= c <= "\u9fff" for c in "".join(datasets.captions(split, "zh")))


def test_captions_refuse_an_unknown_language():
    with pytest.raises(ValueError, match=r"language: got 'fr'.*'en', 'zh'"):
        datasets.captions(language="fr")


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
    with pytest.raises(ValueError, match=r"name: got 'lena', accepted: astronaut, chelsea"):
        datasets.photograph("lena")
    gone = {"gone": ("skimage", "data/gone.png", "none")}
    monkeypatch.setattr(datasets, "_PHOTOGRAPHS", gone)
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
    datasets._crops.cache_clear()
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


def test_unshuffled_load_is_arrays(fashion):
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


# --- bad arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            dict(name="fashion_mist"),
            r"did you mean 'fashion_mnist'.*digits, emoji, photographs, ring",
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
        (dict(name="digits", image_size=0), r"image_size: got 0, need an integer, 1 to 512"),
        (dict(name="digits", image_size=513), r"image_size: got 513"),
        (dict(name="digits", image_size=28.0), r"image_size: got 28.0"),
        (dict(name="emoji", image_size=15), r"image_size: got 15, need an integer, 16 to 512"),
        (dict(name="photographs", image_size=15), r"image_size: got 15, need an integer, 16"),
        (dict(name="ring", image_size=28), r"image_size: got 28"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(**arguments)


def test_names_and_descriptions():
    assert datasets.names() == ("fashion_mnist", "digits", "emoji", "photographs", "ring")
    assert "MIT" in datasets.describe("fashion_mnist")
    assert "arXiv:1708.07747" in datasets.describe("fashion_mnist")
    assert "CC BY-SA 4.0" in datasets.describe("emoji")
    assert "OpenMoji" in datasets.describe("emoji")
    with pytest.raises(ValueError, match="'ring' has no class names"):
        datasets.class_names("ring")


# --- a folder of images -----------------------------------------------------------------------


def save(path, color="red", size=(12, 12), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)


RED, GREEN, BLUE, WHITE, GREY = (
    [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1], [128 / 127.5 - 1] * 3
)  # fmt: skip


def test_folder_with_classes(tmp_path):
    save(tmp_path / "b" / "deep" / "1.PNG", (0, 255, 0))
    save(tmp_path / "a" / "1.png", (255, 0, 0))
    save(tmp_path / "a" / "2.png", 128, mode="L")
    save(tmp_path / "b" / "2.png", (0, 0, 0, 0), mode="RGBA")
    save(tmp_path / ".hidden" / "3.png")
    (tmp_path / "notes.txt").write_text("not an image")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images, labels = datasets.arrays(tmp_path, image_size=8)
    assert datasets.class_names(tmp_path) == ("a", "b")
    assert labels.tolist() == [0, 0, 1, 1]
    assert images.shape == (4, 8, 8, 3)
    order = [str(f[0].relative_to(tmp_path)) for f in datasets._folder_files(tmp_path, "train")[0]]
    assert sorted(order) == sorted(["a/1.png", "a/2.png", "b/2.png", "b/deep/1.PNG"])
    by_name = {"a/1.png": RED, "a/2.png": GREY, "b/2.png": WHITE, "b/deep/1.PNG": GREEN}
    for name, image in zip(order, images, strict=True):
        np.testing.assert_allclose(image, np.broadcast_to(by_name[name], image.shape), atol=1e-6)
    assert "4 image files" in datasets.describe(tmp_path)
    (batch,) = everything(datasets.load(str(tmp_path), image_size=8, shuffle=False))
    np.testing.assert_array_equal(batch, images)


def test_folder_turns_crops_and_reads_16_bits(tmp_path):
    picture = Image.new("RGB", (40, 20), "red")  # the left half red, the right half blue
    picture.paste((0, 0, 255), (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: red on top
    picture.save(tmp_path / "1.png", exif=exif)
    picture.save(tmp_path / "2.png")
    Image.fromarray(np.full((9, 9), 128 * 256, "uint16")).save(tmp_path / "3.png")
    images, labels = datasets.arrays(tmp_path, image_size=10)
    np.testing.assert_allclose(images[0][[1, -2], 5], [RED, BLUE], atol=0.02)
    np.testing.assert_allclose(images[1][5, [1, -2]], [RED, BLUE], atol=0.02)
    np.testing.assert_allclose(images[2][4, 4], GREY, atol=1e-6)
    assert labels.tolist() == [0, 0, 0]


def test_folder_names_and_skips_what_it_cannot_read(tmp_path):
    save(tmp_path / "good.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
    Image.fromarray(noise).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "nothing.gif").touch()
    with pytest.warns(UserWarning, match=r"3 of 4 files.*cut\.png.*nothing\.gif.*text\.jpg"):
        images, _ = datasets.arrays(tmp_path, image_size=8)
    assert len(images) == 1
    (tmp_path / "cut.png").write_bytes(whole)  # a changed folder is read again
    with pytest.warns(UserWarning, match="2 of 4 files"):
        assert len(datasets.arrays(tmp_path, image_size=8)[0]) == 2


def test_folder_without_images(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path.name}.*no readable image"):
        datasets.load(tmp_path, image_size=8)
    (tmp_path / "broken.png").write_text("no")
    with (
        pytest.warns(UserWarning, match=r"1 of 1 files.*broken\.png"),
        pytest.raises(ValueError, match="no readable image"),
    ):
        datasets.load(tmp_path, image_size=8)


def test_folder_needs_a_size_and_has_no_test_split_of_its_own(tmp_path):
    save(tmp_path / "1.png")
    with pytest.raises(ValueError, match="image_size: got None"):
        datasets.load(tmp_path)
    with pytest.raises(ValueError, match=r"split: got 'test'.*no sub-folder 'test'"):
        datasets.load(tmp_path, "test", image_size=8)


def test_folder_with_train_and_test(tmp_path):
    for path in ("train/cat/1.png", "train/dog/1.png", "train/dog/2.png", "test/dog/1.png"):
        save(tmp_path / path)
    assert datasets.arrays(tmp_path, "train", image_size=8)[1].tolist() == [0, 1, 1]
    assert datasets.arrays(tmp_path, "test", image_size=8)[1].tolist() == [1]
    assert datasets.class_names(tmp_path) == ("cat", "dog")
    assert len(datasets.arrays(tmp_path, "train[1:]", image_size=8)[0]) == 2


@pytest.mark.parametrize(
    ("names", "test"),
    [
        (("Train", "TEST"), "TEST"),
        (("training", "Testing"), "Testing"),
        (("train", "val"), "val"),
        (("train", "Validation"), "Validation"),
        (("TRAIN", "valid", "test"), "test"),
        (("training_set", "test_set"), "test_set"),
        (("Training Set", "Test-Data"), "Test-Data"),
        (("train2017", "val2017"), "val2017"),
        (("trainset", "testset", "validation_images"), "testset"),
        (("seg_train", "seg_test"), "seg_test"),
        (("trainA", "testA"), "testA"),
    ],
)
def test_folder_splits_by_other_names(tmp_path, names, test):
    for name in names:
        save(tmp_path / name / "cat" / "1.png", "red" if name == names[0] else "blue")
        save(tmp_path / name / "dog" / "1.png", "red" if name == names[0] else "blue")
    for split, name, colour in (("train", names[0], RED), ("test", test, BLUE)):
        images, labels = datasets.arrays(tmp_path, split, image_size=8)
        assert labels.tolist() == [0, 1]
        np.testing.assert_allclose(images, np.broadcast_to(colour, images.shape), atol=1e-6)
        files, classes, _ = datasets._folder_files(tmp_path, split)
        assert classes == ("cat", "dog")
        assert {path.parent.parent.name for path, _, _ in files} == {name}


@pytest.mark.parametrize(
    "paths",
    [
        ("train/1.png", "cat/1.png"),
        ("Test/1.png", "cat/1.png", "dog/1.png"),
        ("train/cat/1.png", "test/cat/1.png", "1.png"),
        ("train/1.png", "test/1.png", "Testing/1.png"),
        ("train/1.png", "val/1.png", "validation/1.png"),
        ("data/train/cat/1.png", "data/test/cat/1.png"),
        ("cat/Training/1.png", "cat/valid/1.png", "dog/Training/1.png"),
        ("trainA/1.png", "trainB/1.png", "testA/1.png", "testB/1.png"),
        ("seg_train/1.png", "seg_test/1.png", "seg_pred/1.png"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_folder_with_unclear_splits_is_refused(tmp_path, paths, split):
    for path in paths:
        save(tmp_path / path)
    with pytest.raises(
        ValueError, match=r"name: the folder .* train and test cannot be told apart"
    ):
        datasets.load(tmp_path, split, image_size=8)


def test_folder_classes_that_only_begin_like_a_split(tmp_path):
    names = ["bullet_train", "test tube", "tests", "trainers", "validator", "valley"]
    for name in names:
        save(tmp_path / name / "1.png")
    assert datasets.class_names(tmp_path) == tuple(names)


@pytest.mark.parametrize(
    ("there", "absent"), [("Train", "test"), ("test", "train"), ("val", "train")]
)
def test_folder_with_one_split_has_not_the_other(tmp_path, there, absent):
    save(tmp_path / there / "cat" / "1.png")
    (tmp_path / absent).mkdir()  # without a picture
    with pytest.raises(ValueError, match=f"split: got '{absent}'.*no sub-folder '{absent}' with"):
        datasets.load(tmp_path, absent, image_size=8)
    other = "train" if absent == "test" else "test"
    assert len(datasets.arrays(tmp_path, other, image_size=8)[0]) == 1


def test_folder_follows_links(tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    save(elsewhere / "bird" / "deep" / "1.png", "blue")
    save(elsewhere / "2.png", "blue")
    save(folder / "cat" / "1.png")
    (folder / "bird").symlink_to(elsewhere / "bird")
    (folder / "cat" / "2.png").symlink_to(elsewhere / "2.png")
    (folder / "dog").mkdir()
    (folder / "dog" / "more").symlink_to("../../elsewhere/bird/deep")  # read as bird's already
    files, classes, labels = datasets._folder_files(folder, "train")
    order = [path.relative_to(folder).as_posix() for path, _, _ in files]
    assert order == ["bird/deep/1.png", "cat/1.png", "cat/2.png"]
    assert classes == ("bird", "cat")
    assert labels == (0, 1, 1)
    assert len(datasets.arrays(folder, image_size=8)[0]) == 3


def test_folder_with_circles_of_links_has_each_picture_once(tmp_path):
    folder = tmp_path / "folder"
    for path in ("a/1.png", "a/deep/2.png", "b/3.png"):
        save(folder / path)
    save(tmp_path / "outside.png")
    for link, target in {
        "a/self": ".",
        "a/up": "..",
        "a/deep/outside": "../../..",
        "a/other": "../b",
        "b/other": "../a",
        "again": "a",
        "none": "none",
    }.items():
        (folder / link).symlink_to(target)
    with pytest.warns(UserWarning, match="folder/none is a link to nothing and was left out"):
        files, classes, labels = datasets._folder_files(folder, "train")
    order = [path.relative_to(folder).as_posix() for path, _, _ in files]
    assert order == ["a/1.png", "a/deep/2.png", "b/3.png"]
    assert classes == ("a", "b")
    assert labels == (0, 0, 1)


def test_folder_splits_that_are_links(tmp_path):
    save(tmp_path / "one" / "cat" / "1.png")
    save(tmp_path / "two" / "cat" / "1.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Train").symlink_to(tmp_path / "one")
    (tmp_path / "data" / "test").symlink_to(tmp_path / "two")
    for split in ("train", "test"):
        assert len(datasets.arrays(tmp_path / "data", split, image_size=8)[0]) == 1


def test_folder_names_other_pictures_bombs_and_links_to_nothing(tmp_path, monkeypatch):
    save(tmp_path / "good.png")
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "camera.nef").write_bytes(b"II*\0")
    (tmp_path / "gone.png").symlink_to("nothing.png")
    save(tmp_path / "large.png", size=(200, 300))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    with pytest.warns(UserWarning) as caught:
        assert len(datasets.arrays(tmp_path, image_size=8)[0]) == 1
    (message,) = (str(each.message) for each in caught)
    assert "4 of 5 files" in message
    for part in ("phone.HEIC (", "camera.nef (", "gone.png (", "200 x 300 pixels, Pillow's limit"):
        assert part in message


def test_folder_skips_whatever_pillow_raises(tmp_path, monkeypatch):
    save(tmp_path / "good.jpg")
    save(tmp_path / "odd.png")

    def fail(image):
        raise ZeroDivisionError("odd")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.warns(UserWarning, match=r"1 of 2 files.*odd\.png \(odd\)"):
        assert len(datasets.arrays(tmp_path, image_size=8)[0]) == 1


def test_folder_that_cannot_be_looked_into_is_refused(tmp_path, monkeypatch):
    save(tmp_path / "cat" / "1.png")
    save(tmp_path / "dog" / "1.png")
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(ValueError, match=r"name: the folder .*cannot be read: .*Permission.*dog"):
        datasets.load(tmp_path, image_size=8)


def test_folder_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "pictures" / "1.png")
    for name in ("~/pictures", "~", Path("~/pictures")):
        assert len(datasets.arrays(name, image_size=8)[0]) == 1
        assert "1 image files" in datasets.describe(name)
    with pytest.raises(ValueError, match="there is no folder '~nobody-of-this-name/pictures'"):
        datasets.load("~nobody-of-this-name/pictures", image_size=8)


# --- Debian's files and the other sources -----------------------------------------------------


def upstream_and_debian(folder):
    """A small pair of files that differ as upstream's and Debian's do; what tfds would know."""
    infos = {}
    for name, seconds in (("train-x.gz", 1504176606), ("t10k-x.gz", 1504176627)):
        data = np.random.default_rng(0).bytes(5_000)
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = packer.compress(data) + packer.flush()
        body += zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
        head = b"\x1f\x8b\x08\x08" + seconds.to_bytes(4, "little") + b"\x00\x03"
        upstream = head + name[:-3].encode() + b"\x00" + body
        assert gzip.decompress(upstream) == data
        (folder / name).write_bytes(b"\x1f\x8b\x08\x00\xed\n\xda^\x00\x03" + body)
        infos[name] = SimpleNamespace(
            filename=name, size=len(upstream), checksum=hashlib.sha256(upstream).hexdigest()
        )
    return infos


def test_header_of_debians_files_is_restored(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", tmp_path / "debian")
    datasets.DEBIAN_FOLDER.mkdir()
    infos = upstream_and_debian(datasets.DEBIAN_FOLDER)
    datasets._from_debian(tmp_path, infos)
    datasets._check_files(tmp_path, infos)


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_damaged_source_is_refused_by_name_and_the_next_one_asked(
    tmp_path, data_dir, monkeypatch, damage
):
    import tensorflow_datasets as tfds

    debian = tmp_path / "debian"
    debian.mkdir()
    infos = upstream_and_debian(debian)
    data = bytearray((debian / "t10k-x.gz").read_bytes())
    if damage == "truncated":
        data = data[:-1]
    else:
        data[2_000] ^= 1
    (debian / "t10k-x.gz").write_bytes(data)
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", debian)
    monkeypatch.setattr(
        tfds.core.DatasetBuilder, "url_infos", property(lambda self: infos), raising=True
    )
    asked = []

    def second(manual, url_infos):
        asked.append(manual)
        raise OSError("nothing here")

    monkeypatch.setattr(datasets, "_SOURCES", {"Debian": datasets._from_debian, "next": second})
    with (
        pytest.warns(UserWarning, match=f"Debian refused: t10k-x.gz is .*{damage}"),
        pytest.raises(RuntimeError, match=rf"Debian: t10k-x\.gz is .*{damage}(.|\n)*next: nothing"),
    ):
        datasets.load("fashion_mnist")
    assert asked


def test_without_any_source_the_error_lists_the_ways(data_dir, tmp_path_factory, monkeypatch):
    tools = tmp_path_factory.mktemp("bin")
    apt = tools / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", data_dir / "none")

    def no_network(url, timeout):
        raise urllib.error.URLError(f"timed out after {timeout} s")

    monkeypatch.setattr(datasets.urllib.request, "urlopen", no_network)
    with pytest.raises(RuntimeError) as caught:
        datasets.load("fashion_mnist")
    text = str(caught.value)
    for part in (
        f"no folder fashion_mnist in {data_dir}",
        "No such file or directory",
        "E: Unable to locate package",
        "timed out after 10 s",
        "apt-get install dataset-fashion-mnist",
        "TFDS_DATA_DIR",
        'load("digits")',
    ):
        assert part in text
    assert [path.name for path in data_dir.iterdir()] == [".fashion_mnist.lock"]


def test_build_from_debian_refuse_a_damaged_one_and_repair(data_dir, monkeypatch, capfd):
    """The whole way, once: 10 to 20 s."""
    if not datasets.DEBIAN_FOLDER.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    broken = data_dir / "broken"
    shutil.copytree(datasets.DEBIAN_FOLDER, broken)
    os.truncate(broken / "train-images-idx3-ubyte.gz", 1_000_000)
    working = {"Debian": datasets._from_debian}
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "DEBIAN_FOLDER", broken)
        patch.setattr(datasets, "_SOURCES", working)
        with (
            pytest.warns(UserWarning, match=r"refused: train-images-idx3-ubyte\.gz is truncated"),
            pytest.raises(RuntimeError, match=r"train-images-idx3-ubyte\.gz is truncated"),
        ):
            datasets.arrays("fashion_mnist")
    capfd.readouterr()
    monkeypatch.setattr(datasets, "_SOURCES", working)
    images, labels = datasets.arrays("fashion_mnist", "test")
    out, _ = capfd.readouterr()
    assert out == "fashion_mnist: prepared by tensorflow-datasets from Debian, verified\n"
    # the same, read without tfds; tfds stores them in an order of its own
    raw = gzip.decompress((datasets.DEBIAN_FOLDER / "t10k-images-idx3-ubyte.gz").read_bytes())
    raw_labels = gzip.decompress(
        (datasets.DEBIAN_FOLDER / "t10k-labels-idx1-ubyte.gz").read_bytes()
    )
    expected = sorted(
        (raw[16 + 784 * i : 800 + 784 * i], label) for i, label in enumerate(raw_labels[8:])
    )
    pixels = np.round((images + 1) * 127.5).astype("uint8")
    assert (
        sorted((x.tobytes(), y) for x, y in zip(pixels, labels.tolist(), strict=True)) == expected
    )
    assert datasets._altered(data_dir / "fashion_mnist" / "3.0.1") is None
    assert not list(data_dir.glob(".fashion_mnist-*"))


def unusable(kind, folder, monkeypatch):
    """A data folder in which nothing can be prepared; root is not held by a file's mode."""
    if kind == "a file":
        folder.touch()
    elif kind == "below a file":
        folder.touch()
        return folder / "data"
    elif kind == "cannot be made":
        return Path("/proc/nope/data")
    elif kind == "a folder as lock":
        (folder / ".digits.lock").mkdir(parents=True)
    else:

        def read_only(*args, **options):
            raise OSError(30, "Read-only file system", str(folder))

        monkeypatch.setattr(
            *{
                "mkdir": (Path, "mkdir"),
                "mkdtemp": (datasets.tempfile, "mkdtemp"),
                "lock": (datasets.filelock.FileLock, "acquire"),
            }[kind],
            read_only,
        )
    return folder


@pytest.mark.parametrize(
    "kind",
    [
        *("a file", "below a file", "cannot be made", "a folder as lock"),
        *("mkdir", "mkdtemp", "lock"),
    ],
)
@pytest.mark.parametrize("variable", ["TFDS_DATA_DIR", "HOME"])
def test_unusable_data_folder_is_one_error_that_names_the_variable(
    tmp_path, monkeypatch, kind, variable
):
    root = unusable(kind, tmp_path / "tensorflow_datasets", monkeypatch)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv(variable, str(root if variable == "TFDS_DATA_DIR" else root.parent))
    folder = datasets._data_folder("digits", "1.0")
    if variable == "HOME":
        root = root.parent / "tensorflow_datasets"
    assert folder == root / "digits" / "1.0"
    with pytest.raises(
        RuntimeError, match=rf"digits: the data folder {root} cannot .*TFDS_DATA_DIR"
    ):
        datasets._prepare(folder, lambda temporary: pytest.fail("built"))


def test_a_garbage_lock_is_a_lock(data_dir):
    folder = datasets._data_folder("digits", "1.0")
    data_dir.mkdir(exist_ok=True)
    (data_dir / ".digits.lock").write_text("garbage " * 200)

    def build(temporary):
        (temporary / "made").mkdir()
        return temporary / "made", "built"

    assert datasets._prepare(folder, build) == "built"


def test_prepared_folder_needs_no_lock(fashion, data_dir, monkeypatch):
    copy_prepared(fashion, data_dir, keep_record=True)

    def read_only(*args, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(datasets.filelock.FileLock, "acquire", read_only)
    assert len(datasets.arrays("fashion_mnist", "test[:5]")[0]) == 5


def test_home_that_nobody_has(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "~nobody-of-this-name/data")
    with pytest.raises(RuntimeError, match=r"tang: there is no home folder .*TFDS_DATA_DIR"):
        datasets._data_folder("tang", "1.0.0")


# --- prepared data that went bad --------------------------------------------------------------


def copy_prepared(fashion, data_dir, keep_record):
    folder = data_dir / "fashion_mnist" / fashion.name
    shutil.copytree(fashion, folder)
    if not keep_record:
        (folder / "sha256.json").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("by_us", [True, False])
def test_truncated_record_is_refused_by_name_and_removed(fashion, data_dir, by_us):
    folder = copy_prepared(fashion, data_dir, keep_record=by_us)
    if by_us and not (folder / "sha256.json").exists():
        digests = {path.name: datasets._sha256(path) for path in folder.iterdir()}
        (folder / "sha256.json").write_text(json.dumps(digests))
    (records,) = folder.glob("*-test.tfrecord*")
    os.truncate(records, records.stat().st_size - 100)
    with pytest.raises(RuntimeError, match=rf"{records.name} is truncated.*removed; run again"):
        datasets.arrays("fashion_mnist", "test")
    assert not folder.exists()


def test_prepared_by_tfds_alone_is_accepted(fashion, data_dir, capfd):
    copy_prepared(fashion, data_dir, keep_record=False)
    assert len(datasets.arrays("fashion_mnist", "test")[0]) == 10_000
    datasets.arrays("fashion_mnist", "test[:5]")
    assert capfd.readouterr().out == "fashion_mnist: already prepared by tensorflow-datasets\n"
    assert "Source used: already prepared" in datasets.describe("fashion_mnist")


def test_damaged_description_is_refused_by_name(fashion, data_dir):
    folder = copy_prepared(fashion, data_dir, keep_record=False)
    os.truncate(folder / "dataset_info.json", 700)
    with pytest.raises(RuntimeError, match=r"dataset_info\.json is truncated"):
        datasets.load("fashion_mnist")
    assert not folder.exists()


# --- several processes, interrupted ones ------------------------------------------------------

WORKER = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("datasets", {module!r})
datasets = importlib.util.module_from_spec(spec); spec.loader.exec_module(datasets)
root, seconds = Path(sys.argv[1]), float(sys.argv[2])
def build(temporary):
    made = temporary / "data" / "1.0"
    made.mkdir(parents=True)
    (made / "first").write_text("1" * 1000)
    (root / "begun").open("a").write("x")
    time.sleep(seconds)
    (made / "second").write_text("2" * 1000)
    return made, "built"
print(datasets._prepare(root / "data" / "1.0", build))
"""


def worker(root, seconds):
    code = WORKER.format(module=datasets.__file__)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_at_once(tmp_path):
    both = [worker(tmp_path, 0.5) for _ in range(2)]
    texts = [process.communicate(timeout=30)[0].strip() for process in both]
    assert sorted(texts) == ["None", "built"]
    assert (tmp_path / "begun").read_text() == "x"  # the second one waited, and built nothing
    assert datasets._altered(tmp_path / "data" / "1.0") is None
    assert not list(tmp_path.glob(".data-*"))


def test_killed_preparation_leaves_nothing_that_is_trusted(tmp_path):
    process = worker(tmp_path, 60)
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "data").exists()
    assert len(list(tmp_path.glob(".data-*"))) == 1
    assert worker(tmp_path, 0).communicate(timeout=30)[0].strip() == "built"
    assert not list(tmp_path.glob(".data-*"))
    assert (tmp_path / "data" / "1.0" / "second").read_text() == "2" * 1000


def test_altered_names_the_file_and_refusal_lets_it_be_made_again(tmp_path):
    folder = tmp_path / "data" / "1.0"
    worker(tmp_path, 0).communicate(timeout=30)
    assert datasets._altered(folder) is None
    (folder / "second").write_text("2" * 999 + "3")
    assert datasets._altered(folder) == folder / "second"
    with pytest.raises(RuntimeError, match=r"it is wrong.*was removed; run again"):
        datasets._refuse(folder, "it is wrong")
    assert worker(tmp_path, 0).communicate(timeout=30)[0].strip() == "built"
    assert datasets._altered(folder) is None
    with pytest.raises(RuntimeError, match=r"it is wrong\. run again"):
        datasets._refuse(folder, "it is wrong")  # what another process repaired stays
    assert folder.exists()
