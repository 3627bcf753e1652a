"""Real data by name, ready for `fit`: `load`, `arrays`, `few`, `text`, `pairs`, ...

Images are float32 in [-1, 1], channels last; text is a list of documents. Everything comes inside
an installed package or is generated, but for Fashion-MNIST and the poems, which have several
sources.
"""

import dataclasses
import difflib
import os
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from aigc_keras.datasets.folders import folder_files, folder_images
from aigc_keras.datasets.images import RING_STD, emoji_font, emoji_split, photograph, ring_centers
from aigc_keras.datasets.preparation import expanded
from aigc_keras.datasets.records import IMAGES, INTERACTIONS, PAIRS, RECORDS, TABLES, TEXTS
from aigc_keras.datasets.texts import text_file
from aigc_keras.datasets.wordings import captioned
from aigc_keras.guards import check_choice, check_labels, check_number, extra
from aigc_keras.model import steady

# --- the public functions ---------------------------------------------------------------------


def names():
    """Names that `load` and `arrays` know; a folder of images works as well. Texts: `TEXTS`."""
    return IMAGES


def load(
    name,
    split="train",
    batch_size=128,
    image_size=None,
    shuffle=True,
    seed=0,
    labels=False,
    styles=None,
):
    """Batches of a dataset for `fit`: float32 (B, H, W, C) in [-1, 1]; "ring" gives (B, 2) points.

    name: one of `names()` or the path of a folder of images, with a sub-folder for each class, or
    one for train and one for test, in which the classes are (also Training, test_set, val2017 and
    the like; val or validation is the test where there is no other, else it is left aside: load it
    by its own path). A link to a folder is followed once. split: "train" or "test", or a slice of
    it such as "train[:2000]", "test[500:]", "train[:10%]". image_size: pixels, 1 to 512 (emoji,
    faces and photographs from 16; needed for a folder); None takes the usual one. shuffle: a new
    order each epoch; the same `seed` (and the same `tf.random.set_seed`, if one is set) repeats all
    of them. labels: also give the int32 labels. styles: of "faces" a tuple of drawing styles out of
    "openmoji" (which None means), "google" and "twitter"; npm fetches the last two (74 and 62 MB)
    when they are first asked for. The short last batch is kept. Decoded once per process, held as
    uint8.

    Raises ValueError for bad arguments, RuntimeError if there is no source, the data is damaged or
    its folder cannot be written to (TFDS_DATA_DIR, else ~/tensorflow_datasets).
    """
    check_number("batch_size", batch_size, 1, integer=True)
    check_number("seed", seed, -(2**63), below=2**63, integer=True)
    for argument, value in (("shuffle", shuffle), ("labels", labels)):
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{argument}: got {value!r}, accepted are True and False.")
    images, classes = _examples(name, split, image_size, styles)
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


def arrays(name, split="train", image_size=None, styles=None):
    """All of a split as NumPy arrays: images float32 (N, H, W, C) in [-1, 1], labels int32 (N,).

    Arguments and errors as in `load`; the order is always the same.
    """
    images, classes = _examples(name, split, image_size, styles)
    return _floats(images), classes.copy()


def few(name, per_class=10, seed=0, split="train", image_size=None, styles=None):
    """`per_class` examples of each class, drawn at random: images and labels like `arrays`.

    The classes stand in turn, so that with the same `seed` the first rows of many are those of few.
    name, split, image_size, styles: as in `load`. seed: an integer >= 0; the same one draws the
    same rows.

    Raises ValueError for bad arguments, or if a class of the split has not as many; RuntimeError
    as `load`.
    """
    check_number("seed", seed, 0, integer=True)
    images, classes = _examples(name, split, image_size, styles)
    smallest = np.unique_counts(classes).counts.min()
    check_number("per_class", per_class, 1, below=smallest + 1, integer=True)
    order = np.random.default_rng(seed).permutation(len(classes))
    rows = [order[classes[order] == each][:per_class] for each in np.unique(classes)]
    rows = np.stack(rows, axis=1).reshape(-1)
    return _floats(images[rows]), classes[rows]


def partly_labelled(unlabelled, images, labels, n=32, seed=0):
    """Batches (images, labels) for a `SemiSupervisedVAE`: those of `unlabelled` with label -1, each
    behind `n` of the few images that have a label.

    unlabelled: a `tf.data.Dataset` of images alone, such as `load(...)`: once through it is an
    epoch, while the others come again and again, in a new order. images, labels: such as
    `few(...)`, float32 in [-1, 1] and integers. seed: as in `load`.

    Raises ValueError for bad arguments.
    """
    check_number("n", n, 1, integer=True)
    check_number("seed", seed, -(2**63), below=2**63, integer=True)
    spec = getattr(unlabelled, "element_spec", None)
    images = np.asarray(images)
    if not isinstance(spec, tf.TensorSpec) or spec.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"unlabelled: got {spec or unlabelled!r}, accepted is a tf.data.Dataset of batches of "
            f"images alone, of shape (B, {', '.join(map(str, images.shape[1:]))})"
        )
    labels = check_labels(labels, len(images), np.iinfo("int32").max)
    few = tf.data.Dataset.from_tensor_slices((images.astype("float32"), labels))
    few = few.shuffle(len(images), seed=seed).repeat().batch(n)

    def together(known, others):
        unknown = tf.fill([tf.shape(others)[0]], -1)
        return tf.concat([known[0], others], 0), tf.concat([known[1], unknown], 0)

    return steady(tf.data.Dataset.zip(few, unlabelled).map(together).prefetch(2))


def text(name, split="train"):
    """The documents of a split as a list of str, always in the same order.

    name: "kjv" (chapters), "tang" (quatrains), "reviews" (of clothes) or the path of a text file
    in UTF-8 or GB18030 (paragraphs between blank lines). split: as in `load`; test is every tenth
    document, and no verse, review or paragraph of it is also in train.

    Raises ValueError for bad arguments or a file that is no text, RuntimeError for "tang" and
    "reviews" as `load`.
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


def pairs(name, split="train"):
    """(sources, targets) of a split: two lists of str, always in the same order.

    name: "verses" (English to Spanish, by verse) or "reviews" (a review of a garment to its title).
    split: as in `load`. Of the verses every tenth chapter is the test, without those that train has
    in one of the languages; of the reviews every tenth, each text being there once.

    Raises ValueError for bad arguments, RuntimeError as `load`.
    """
    record = RECORDS[_known_other(name, PAIRS)]
    base, part = _parse_split(split)
    chosen = record.pairs()[0][base]
    sources, targets = zip(*chosen[part(len(chosen))], strict=True)
    return list(sources), list(targets)


def table(name, split="train"):
    """The columns of a split by name, each of N values, always in the same order.

    name: "reviews": the lists "text", "title" ("" where it has none) and "department", and
    "rating", int32 from 1 to 5. split: as in `pairs`.

    Raises ValueError for bad arguments, RuntimeError as `load`.
    """
    record = RECORDS[_known_other(name, TABLES)]
    base, part = _parse_split(split)
    columns = record.table()[0][base]
    return _own(columns, part(len(next(iter(columns.values())))))


def interactions(name):
    """(who did what, what it was done to): two dicts of columns; no split, that is your choice.

    name: "movielens": of the ratings, by user and then by time, "user", "film" (both from 0 on) and
    "rating" (1 to 5), int32 (100,000,), and "time", int64, seconds since 1970. Of the films, in the
    order of their numbers, the lists "title" and "genres" (a tuple of str each), and "year", int32,
    0 where it is unknown.

    Raises ValueError for another name, RuntimeError as `load`.
    """
    both, _ = RECORDS[_known_other(name, INTERACTIONS)].interactions()
    return tuple(_own(columns, slice(None)) for columns in both)


def _own(columns, chosen):
    """A slice of columns, as the caller's own."""
    return {
        key: values[chosen].copy() if isinstance(values, np.ndarray) else list(values[chosen])
        for key, values in columns.items()
    }


def describe(name):
    """What a dataset or text is, how many, its shape, licence and origin, as printable text."""
    is_file = isinstance(name, (str, Path)) and expanded(name).is_file()
    if name in TEXTS or (is_file and name not in IMAGES):
        name = _known_text(name)
        parts, note = _corpus(name)
        documents = " + ".join(f"{len(part):,} {split}" for split, part in parts.items())
        characters = sum(len(document) for part in parts.values() for document in part)
        first = f"{Path(name).name}: {documents} documents of text, {characters:,} characters."
        if isinstance(name, Path):
            return f"{first} {note}"
        record = RECORDS[name]
        if record.pairs:
            counts = (f"{len(part):,} {split}" for split, part in record.pairs()[0].items())
            first += f" {' + '.join(counts)} pairs of texts."
    elif name in PAIRS:
        record = RECORDS[name]
        parts, note = record.pairs()
        counts = " + ".join(f"{len(part):,} {split}" for split, part in parts.items())
        first = f"{name}: {counts} pairs of texts."
    elif name in INTERACTIONS:
        record = RECORDS[name]
        _, note = record.interactions()
        first = f"{name}: {', '.join(f'{count:,} {what}' for what, count in record.count.items())}."
    else:
        name = _known(name)
        if isinstance(name, Path):
            files, classes, _ = folder_files(name, "train")
            return f"{name.name}: {len(files):,} image files for training, classes: {classes}"
        record = RECORDS[name]
        counts = " + ".join(f"{count:,} {split}" for split, count in record.count.items())
        first, note = f"{name}: {counts} examples of shape {record.shape}.", record.note()
    lines = [f"{first} {record.about}", f"Licence: {record.licence}", f"From: {record.source}"]
    return "\n".join([*lines, note] if note else lines)


def class_names(name):
    """Names of the labels of a data set that has some, such as "digits" or a folder, as a tuple."""
    name = _known(name)
    if isinstance(name, Path):
        return folder_files(name, "train")[1]
    named = [each for each in IMAGES if isinstance(RECORDS[each].classes, tuple)]
    if name not in named:
        raise ValueError(
            f"name: {name!r} has no class names; accepted: {', '.join(named)}, a folder"
        )
    return RECORDS[name].classes


def captions(split="train", language="en"):
    """Names of the emoji of a split, in the order of `arrays("emoji", split)`, as a list of str.

    language: "en" or "zh" (Chinese).
    """
    check_choice("language", language, ("en", "zh"))
    with extra("data"):
        import emoji

    emoji.config.load_language(language)
    characters = emoji_font()[0]
    base, part = _parse_split(split)
    chosen, _ = emoji_split(base)
    chosen = chosen[part(len(chosen))]
    return [emoji.EMOJI_DATA[characters[i]][language].strip(":").replace("_", " ") for i in chosen]


# --- arguments --------------------------------------------------------------------------------


def _known(name):
    """The name itself, or a Path if it means a folder."""
    if isinstance(name, str) and name in IMAGES:
        return name
    is_text = isinstance(name, str)
    is_folder = is_text and os.path.isdir(os.path.expanduser(name))  # not of "", which is Path(".")
    if isinstance(name, Path) or is_folder or (is_text and re.search(r"[/\\]", name)):
        folder = expanded(name)
        if not folder.is_dir():
            raise ValueError(f"name: there is no folder {str(folder)!r}")
        return folder
    hint = _close(name, names())
    if isinstance(name, str) and name in RECORDS:
        kinds = {"text": TEXTS, "pairs": PAIRS, "interactions": INTERACTIONS}
        use = next(function for function, accepted in kinds.items() if name in accepted)
        what = "ratings" if use == "interactions" else "text"
        hint = f" (it is {what}: use {use}({name!r}))"
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
    if isinstance(name, (str, Path)) and os.path.lexists(path := expanded(name)):
        if not path.is_file():
            raise ValueError(f"name: {str(name)!r} is not a file; text takes one text file")
        return path
    raise ValueError(
        f"name: got {name!r}{_close(name, TEXTS)}, accepted: {', '.join(TEXTS)} or the path of a "
        "text file, and no file has this name"
    )


def _known_other(name, accepted):
    if not isinstance(name, str) or name not in accepted:
        raise ValueError(
            f"name: got {name!r}{_close(name, accepted)}, accepted: {', '.join(accepted)}"
        )
    return name


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
    return check_number("image_size", image_size, smallest, below=513, integer=True)


# --- from a name to arrays --------------------------------------------------------------------


def _examples(name, split, image_size, styles=None):
    """(uint8 images or float32 points, int32 labels): the one way to the data."""
    name = _known(name)
    base, part = _parse_split(split)
    record = None if isinstance(name, Path) else RECORDS[name]
    if styles is not None and not (record and record.styled):
        raise ValueError(f"styles: got {styles!r}; {str(name)!r} has one style, accepted: None")
    if isinstance(name, Path):
        if image_size is None:
            raise ValueError("image_size: got None; a folder of images needs one, e.g. 64")
        size = _check_size(image_size, 1)
        files, _, labels = folder_files(name, base)
        images, labels = folder_images(name, files, labels, size)
        cut = part(len(images))
        return images[cut], labels[cut]
    if len(record.shape) == 1:
        if image_size is not None:
            raise ValueError(f"image_size: got {image_size!r}; {name!r} has points, accepted: None")
    else:
        image_size = record.shape[0] if image_size is None else image_size
        image_size = _check_size(image_size, record.smallest)
    if styles is not None:
        record = dataclasses.replace(record, **record.styled(styles))
    cut = part(record.count[base])  # first, so that only what is asked for is drawn or resized
    return record.load(base, cut.start, cut.stop, image_size)


def _floats(images):
    """Images in [-1, 1], float32; points as they are."""
    scale, shift = (127.5, 1) if images.dtype == np.uint8 else (1, 0)
    return images / np.float32(scale) - np.float32(shift)


def _corpus(name):
    """({"train": documents, "test": documents}, a note for `describe`)."""
    if isinstance(name, Path):
        status = name.stat()
        return text_file(name, status.st_mtime_ns, status.st_size)
    return RECORDS[name].load()
