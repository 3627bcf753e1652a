"""`datasets.captioned`: what is written under an emoji, what it says, and what is held out."""

import re
import types

import numpy as np
import pytest

from aigc_keras import datasets
from aigc_keras.datasets.images import SKIN_TONE, emoji_font
from aigc_keras.datasets.wordings import LABELS, SPLITS, captioned_split, said


@pytest.fixture(scope="module")
def emojis():
    """All emoji with captions, and the rows of each split."""
    numbers, characters, captions, labels, names = said()
    texts = [emoji_font()[0][i] for i in numbers]
    rows = {split: captioned_split(split)[1] for split in SPLITS}
    labels = dict(zip(LABELS, labels.T, strict=True))
    return types.SimpleNamespace(**locals())


def test_a_split_is_pictures_captions_and_labels(emojis):
    data = datasets.captioned("emoji", "held_out", 32)
    n = len(emojis.rows["held_out"])
    assert data.images.shape == (n, 32, 32, 3) and data.images.dtype == np.float32
    assert data.images.min() == -1 and data.images.max() == 1
    assert data.captions.shape == (n, 6)
    assert tuple(data.labels) == tuple(data.names) == LABELS
    for name, labels in data.labels.items():
        assert labels.shape == (n,) and labels.dtype == np.int32
        assert labels.min() >= -1 and labels.max() < len(data.names[name])
    data.labels["gender"][:] = data.images[:] = 0  # they are the caller's own
    again = datasets.captioned("emoji", "held_out", 32)
    assert again.images.max() == 1 and again.labels["gender"].max() > 0
    counts = " + ".join(f"{len(emojis.rows[split]):,} {split}" for split in SPLITS)
    assert counts in datasets.describe("emoji") and "captioned" in datasets.describe("emoji")


def test_pictures_are_those_of_the_captions():
    data = datasets.captioned(image_size=16)
    hearts = data.labels["object"] == data.names["object"].index("heart")
    hearts &= data.captions[:, 0] == "a red heart"
    (image,) = data.images[hearts]
    red, green, blue = image[6:10, 6:10].mean((0, 1))
    assert red > 0.5 and max(green, blue) < 0
    people = data.labels["group"] == data.names["group"].index("person")
    shades = [
        data.images[people & (data.labels["skin_tone"] == tone), 4:12, 4:12].mean()
        for tone in range(5)
    ]
    assert shades == sorted(shades, reverse=True)  # from light to dark


@pytest.mark.parametrize(
    ("text", "captions", "says"),
    [
        (
            "👩🏽‍🚒",
            (
                "a woman firefighter with medium skin tone",
                "firefighter, woman, medium skin tone",
                "person: woman firefighter with medium skin tone",
                "中等肤色的女消防员",
                "女消防员，中等肤色",
                "人物：中等肤色的女消防员",
            ),
            {"skin_tone": "medium", "gender": "female", "role": "firefighter", "group": "person"},
        ),
        (
            "👨🏿‍🦱",
            (
                *("a man with curly hair and dark skin tone", "curly hair, man, dark skin tone"),
                *(None, "深肤色的卷发的男人", None, None),
            ),
            {"skin_tone": "dark", "gender": "male", "role": "adult", "hair": "curly hair"}
            | {"group": "person"},
        ),
        (
            "🧔🏻‍♀️",
            ("a woman with a beard and light skin tone", None, None, None, None, None),
            {"skin_tone": "light", "gender": "female", "role": "adult", "hair": "beard"}
            | {"group": "person"},
        ),
        (
            "🚴",
            ("a person biking", "biking, person", None, "骑自行车的人", None, None),
            {"gender": "neutral", "role": "biking", "group": "person"},
        ),
        (
            "👦🏾",
            ("a boy with medium-dark skin tone", None, None, "中深肤色的男孩", None, None),
            {"skin_tone": "medium-dark", "gender": "male", "role": "child", "group": "person"},
        ),
        (
            "🟦",
            ("a blue square", "square, blue", "symbol: blue square", "蓝色方块", None, None),
            {"object": "square", "colour": "blue", "group": "symbol"},
        ),
        (
            "🍏",
            ("a green apple", "apple, green", "food: green apple", "青苹果", None, "食物：青苹果"),
            {"object": "apple", "colour": "green", "group": "food"},
        ),
        (
            "🇫🇷",
            ("a flag of France", "France", "flag: flag of France", "法国旗", None, None),
            {"object": "France", "group": "flag"},
        ),
        (
            "👍🏼",
            ("a thumbs up with medium-light skin tone", None, None, None, None, None),
            {"skin_tone": "medium-light", "object": "thumbs up", "group": "body"},
        ),
        ("🦄", ("a unicorn", "unicorn", "animal: unicorn", "独角兽", None, None), None),
        ("🐙", ("an octopus", None, None, "章鱼", "章鱼", "动物：章鱼"), None),
        ("✂️", ("scissors", None, "object: scissors", "剪刀", None, "物品：剪刀"), None),
    ],
)
def test_what_is_said(emojis, text, captions, says):
    row = emojis.texts.index(text)
    for found, expected in zip(emojis.captions[row], captions, strict=True):
        assert expected in (None, found)
    if says:
        found = {k: emojis.names[k][x[row]] for k, x in emojis.labels.items() if x[row] >= 0}
        assert found == says


def test_no_two_pictures_have_the_same_caption(emojis):
    for column in emojis.captions.T:
        assert len(set(column)) == len(column)
        assert min(map(len, column)) > 0 and max(map(len, column)) < 80
    chinese = np.array([[bool(re.search("[一-鿿]", x)) for x in row] for row in emojis.captions])
    assert not chinese[:, :3].any() and chinese[:, 3:].mean() > 0.99


def test_labels_and_captions_say_the_same(emojis):
    for tone, name in enumerate(emojis.names["skin_tone"]):
        named = [caption.endswith(f" {name} skin tone") for caption in emojis.captions[:, 0]]
        np.testing.assert_array_equal(emojis.labels["skin_tone"] == tone, named)
    toned = [bool(SKIN_TONE.search(text)) for text in emojis.texts]
    np.testing.assert_array_equal(emojis.labels["skin_tone"] >= 0, toned)
    for gender, character in (("female", "[👩👧👵👸🤶♀]"), ("male", "[👨👦👴🤴🎅♂]")):
        alone = [len(re.findall("[👩👨🧑👧👦]", text)) < 2 for text in emojis.texts] & (
            emojis.labels["role"] >= 0
        )
        shown = np.array([bool(re.search(character, text)) for text in emojis.texts])
        is_so = emojis.labels["gender"] == emojis.names["gender"].index(gender)
        assert is_so[alone & shown].all()
    people = emojis.labels["group"] == emojis.names["group"].index("person")
    np.testing.assert_array_equal(emojis.labels["role"] >= 0, people)
    np.testing.assert_array_equal(emojis.labels["object"] >= 0, ~people)


def test_every_character_is_there_in_all_skin_tones(emojis):
    toned = emojis.labels["skin_tone"] >= 0
    counts = [
        np.unique_counts(
            [SKIN_TONE.sub("", t) for t, x in zip(emojis.texts, toned, strict=True) if x]
        )[1],
        np.bincount(emojis.labels["skin_tone"][toned]),
    ]
    assert all((count == count[0]).all() for count in counts)
    assert counts[0][0] == len(counts[1]) == 5


def test_splits_share_no_character(emojis):
    rows = np.concatenate(list(emojis.rows.values()))
    assert len(rows) == len(set(rows))
    left_out = sorted(set(range(len(emojis.texts))) - set(rows))
    assert len(left_out) < 70 and all(emojis.labels["gender"][left_out] == 2)  # see below
    train, held_out = (
        set(emojis.characters[emojis.rows[split]]) for split in ("train", "held_out")
    )
    assert held_out <= train
    for split in ("validation", "test"):
        rows = emojis.rows[split]
        assert train.isdisjoint(emojis.characters[rows])
        assert 0.07 < len(rows) / len(emojis.texts) < 0.15
    assert set(emojis.characters[emojis.rows["validation"]]).isdisjoint(
        emojis.characters[emojis.rows["test"]]
    )


@pytest.mark.parametrize("parts", [("skin_tone", "gender", "role"), ("colour", "object")])
def test_what_is_held_out_is_new_as_a_whole_only(emojis, parts):
    """A tenth of the combinations, of which train and validation know every part and no whole."""
    labels = np.stack([emojis.labels[part] for part in parts], axis=1)
    shapes = np.isin(emojis.characters, ["heart", "circle", "square"])
    about = shapes if "colour" in parts else (labels >= 0).all(1) & (labels[:, 1] < 2)

    def combinations(*splits):
        rows = np.concatenate([emojis.rows[split] for split in splits])
        return {tuple(row) for row in labels[rows[about[rows]]]}

    held_out, seen = combinations("held_out"), combinations("train", "validation")
    assert held_out.isdisjoint(seen) and held_out.isdisjoint(combinations("test"))
    assert 0.08 < len(held_out) / len(held_out | combinations("train")) < 0.12
    for whole in held_out:
        for i, part in enumerate(whole):
            assert any(part == other[i] for other in combinations("train"))


def test_held_out_is_nothing_else(emojis):
    rows = emojis.rows["held_out"]
    people, shapes = emojis.labels["role"][rows] >= 0, emojis.labels["colour"][rows] >= 0
    assert (people ^ shapes).all() and (emojis.labels["skin_tone"][rows[people]] >= 0).all()


def test_no_picture_of_a_split_is_in_another():
    """Nor nearly, of what is held out: OpenMoji draws many people without gender like men."""
    images = {split: datasets.captioned("emoji", split, 32).images for split in SPLITS}
    drawn = [{image.tobytes() for image in images[split]} for split in SPLITS]
    assert len(set.union(*drawn)) == sum(map(len, drawn))
    train, held_out = (images[split].reshape(-1, 32 * 32 * 3) for split in ("train", "held_out"))
    squares = [np.square(x).sum(1) for x in (train, held_out)]
    squares = squares[0][:, None] + squares[1] - 2 * train @ held_out.T
    assert squares.min() > 0.1  # a bald woman and a bald man; men and people: a hundredth of it


def test_batches_show_every_picture_once_in_one_of_its_wordings():
    data = datasets.captioned("emoji", "held_out", 16)
    images = {image.tobytes(): row for row, image in enumerate(data.images)}
    assert len(images) == len(data.images)
    epochs = []
    for shuffled in (data.batches(7), data.batches(7, seed=1), data.batches(7)):
        for _ in range(2):
            pairs = [x for batch in shuffled for x in zip(*(y.numpy() for y in batch), strict=True)]
            rows = [images[image.tobytes()] for image, _ in pairs]
            texts = [text.decode() for _, text in pairs]
            assert sorted(rows) == list(range(len(images)))
            assert all(text in data.captions[row] for row, text in zip(rows, texts, strict=True))
            epochs.append((rows, texts))
    assert epochs[:2] == epochs[4:]  # the seed repeats all
    assert len({str(rows) for rows, _ in epochs}) == 4
    sizes = [len(text) for _, text in data.batches(7)]
    assert sizes == [7] * (len(images) // 7) + [len(images) % 7]
    words = {dict(zip(rows, texts, strict=True))[0] for rows, texts in epochs}
    assert len(words) > 1
    (_, texts), *_ = data.batches(5, shuffle=False, wordings=(3,))
    assert [text.decode() for text in texts.numpy()] == data.captions[:5, 3].tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.captioned("faces"), r"name: got 'faces', accepted are emoji"),
        (lambda: datasets.captioned(split="train[:9]"), r"split: got 'train\[:9\]'"),
        (lambda: datasets.captioned(image_size=15), r"image_size: got 15, accepted .* >= 16"),
        (lambda: datasets.captioned(image_size=None), r"image_size: got None"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "arguments",
    [{"batch_size": 0}, {"seed": -1}, {"wordings": ()}, {"wordings": (6,)}, {"wordings": "a"}],
)
def test_bad_arguments_of_batches(arguments):
    data = datasets.captioned("emoji", "held_out", 16)
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name}: got .*accepted"):
        data.batches(**arguments)
