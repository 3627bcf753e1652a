"""Faces in several drawing styles: pictures of one character side by side, npm's packages."""

import hashlib
import io
import os
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from aigc_keras import datasets
from aigc_keras.datasets import faces
from aigc_keras.datasets.images import emoji_font
from aigc_keras.datasets.preparation import data_folder
from aigc_keras.datasets.records import RECORDS

BLUE = (0, 0, 255)


def forget():
    for cached in (faces._prepared, faces._rows, faces._draw):
        cached.cache_clear()


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """An empty data folder, and tools that a test puts there."""
    for name in ("bin", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    forget()
    yield tmp_path / "data"
    forget()


def picture(color):
    """A disc of a colour, as PNG; around it transparent black."""
    y, x = np.mgrid[:64, :64] - 31.5
    inside = (x**2 + y**2 < 30**2)[..., None]
    file = io.BytesIO()
    Image.fromarray((inside * np.array([*color, 255])).astype("uint8")).save(file, "PNG")
    return file.getvalue()


def npm_gives(data_dir, monkeypatch, style, names, color=BLUE, damage=False):
    """npm hands out a tiny package of the same build."""
    archive = data_dir.parent / "package.tgz"
    kept = [f"package/img/{style}/64/{name}" for name in names]
    others = ["package/img/apple/64/1f600.png", f"package/img/{style}/sheets/64.png"]
    with tarfile.open(archive, "w:gz") as tar:
        for name in kept + others:
            member = tarfile.TarInfo(name)
            content = picture(color if name in kept else (9, 9, 9))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    package, _, *rest = faces.NPM[style]
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(faces.NPM, style, (package, digest, *rest))
    if damage:
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 1
        archive.write_bytes(content)
    npm = data_dir.parent / "bin" / "npm"
    packed = package.replace("@", "-") + ".tgz"
    npm.write_text(f"#!/bin/sh\nexec {shutil.which('cp', path=os.defpath)} {archive} {packed}\n")
    npm.chmod(0o755)


def first(split, n):
    """Names of the files of a split's first characters, and their kinds."""
    numbers, kinds = faces.faces_split(split)
    return [faces._file_name(emoji_font()[0][i]) for i in numbers[:n]], kinds[:n]


@pytest.mark.parametrize("size", [32, 64])
def test_a_characters_pictures_follow_each_other(data_dir, monkeypatch, size):
    (names, kinds), (unseen, _) = first("train", 3), first("test", 1)
    npm_gives(data_dir, monkeypatch, "google", [names[0], names[2], *unseen])
    both = ("openmoji", "google")
    images, labels = datasets.arrays("faces", "train[:5]", size, styles=both)
    assert (images.shape, images.dtype) == ((5, size, size, 3), np.float32)
    np.testing.assert_array_equal(labels, kinds[[0, 0, 1, 2, 2]])
    own, _ = datasets.arrays("faces", "train[:3]", size)
    np.testing.assert_array_equal(images[[0, 2, 3]], own)
    for image in images[[1, 4]]:  # blue on white, though the transparent pixels are black
        np.testing.assert_allclose(image[size // 2, size // 2], [-1, -1, 1], atol=0.01)
        np.testing.assert_allclose(image[0, 0], 1, atol=0.01)
    assert len(datasets.arrays("faces", "test", 16, styles=both)[0]) == 104 + 1
    batches = datasets.load("faces", batch_size=500, image_size=16, styles=("google",), labels=True)
    (batch, kinds_of_batch), *others = batches
    assert batch.shape == (2, 16, 16, 3) and not others
    assert set(kinds_of_batch.numpy()) == set(kinds[[0, 2]])
    few, _ = datasets.few("faces", 1, split="test", image_size=16, styles=both)
    assert few.shape == (4, 16, 16, 3)
    with pytest.raises(ValueError, match="is empty or outside the 2 examples"):
        datasets.arrays("faces", "train[:3]", styles=("google",))


def test_one_style_alone_is_what_it_was(data_dir):
    """Without npm, and bit by bit."""
    for split in ("train", "test"):
        expected = datasets.arrays("faces", split, 32)
        found = datasets.arrays("faces", split, 32, styles=("openmoji",))
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(a, b)


def test_pictures_are_fetched_once(data_dir, monkeypatch, capfd):
    npm_gives(data_dir, monkeypatch, "twitter", first("train", 2)[0])
    source = "from npm's package emoji-datasource-twitter@16.0.0\n"
    for how in ("prepared", "already prepared"):
        forget()
        assert len(datasets.arrays("faces", styles=("twitter",))[0]) == 2
        assert capfd.readouterr().out == f"emoji_twitter: 2 pictures, {how} {source}"
        (data_dir.parent / "bin" / "npm").unlink(missing_ok=True)
    folder = data_dir / "emoji_twitter" / "16.0.0"
    assert {path.name for path in folder.iterdir()} == {"pictures.zip", "sha256.json"}
    os.truncate(folder / "pictures.zip", 100)
    forget()
    with pytest.raises(RuntimeError, match=r"pictures\.zip is truncated or altered"):
        datasets.arrays("faces", styles=("twitter",))


def test_an_altered_package_is_refused(data_dir, monkeypatch):
    npm_gives(data_dir, monkeypatch, "google", first("train", 2)[0], damage=True)
    with (
        pytest.warns(UserWarning, match=r"refused: emoji-datasource-google-16\.0\.0\.tgz is trunc"),
        pytest.raises(RuntimeError, match="emoji_google: no source has it"),
    ):
        datasets.arrays("faces", styles=("openmoji", "google"))


def test_without_npm_the_error_says_what_to_do(data_dir):
    with pytest.raises(RuntimeError) as caught:
        datasets.load("faces", styles=("google",))
    for part in (
        f"emoji_google: no source has it. Tried:\n- already prepared: no folder emoji_google in "
        f"{data_dir}\n- npm's package emoji-datasource-google@16.0.0: ",
        "with npm and a network (74 MB)",
        "TFDS_DATA_DIR",
        'Meanwhile load("faces"), which has the style "openmoji", works everywhere.',
    ):
        assert part in str(caught.value)


def test_other_styles_have_their_terms_shown():
    shown = datasets.describe("faces")
    for package, digest, size, terms in faces.NPM.values():
        assert f"{terms}; npm's package {package}, {size} MB" in shown
        assert digest in RECORDS["faces"].checksum
    assert "Apache-2.0" in shown and "CC BY 4.0" in shown


@pytest.mark.parametrize("style", faces.NPM)
def test_real_styles_have_drawn_nearly_all(style):
    """The real pictures, where they have been asked for before."""
    if not data_folder(f"emoji_{style}", "16.0.0").exists():
        pytest.skip(f"the pictures of {style} are not prepared on this machine")
    for split, count in (("train", 1_005), ("test", 103)):  # all but an emoji that is newer
        images, labels = datasets.arrays("faces", split, styles=(style,))
        assert len(images) == count
        assert (images.min(), images.max()) == (-1, 1)
        red, _, blue = images[labels == 0].mean((0, 1, 2))  # smileys are yellow
        assert red > blue + 0.3
    both = {"styles": ("openmoji", style), "image_size": 32}
    train, test = (datasets.arrays("faces", split, **both)[0] for split in ("train", "test"))
    assert {x.tobytes() for x in train}.isdisjoint(x.tobytes() for x in test)
    # Two drawings of a character are more alike than those of two.
    pairs = datasets.arrays("faces", "train[:400]", **both)[0].reshape(200, 2, -1)
    ours, theirs = pairs[:, 0], pairs[:, 1]
    alike = ((ours - theirs) ** 2).mean()
    assert alike < 0.9 * ((ours - np.roll(theirs, 1, axis=0)) ** 2).mean()
