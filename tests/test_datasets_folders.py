"""`aigc_keras.datasets`: a folder of images."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigc_keras import datasets
from aigc_keras.datasets.folders import folder_files


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
    order = [str(f[0].relative_to(tmp_path)) for f in folder_files(tmp_path, "train")[0]]
    assert sorted(order) == sorted(["a/1.png", "a/2.png", "b/2.png", "b/deep/1.PNG"])
    by_name = {"a/1.png": RED, "a/2.png": GREY, "b/2.png": WHITE, "b/deep/1.PNG": GREEN}
    for name, image in zip(order, images, strict=True):
        np.testing.assert_allclose(image, np.broadcast_to(by_name[name], image.shape), atol=1e-6)
    assert "4 image files" in datasets.describe(tmp_path)
    (batch,) = datasets.load(str(tmp_path), image_size=8, shuffle=False).as_numpy_iterator()
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
        files, classes, _ = folder_files(tmp_path, split)
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
    files, classes, labels = folder_files(folder, "train")
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
        files, classes, labels = folder_files(folder, "train")
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
