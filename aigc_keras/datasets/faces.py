"""Faces among the emoji, split by character; in OpenMoji's drawings or in others' as well."""

import functools
import io
import re
import tarfile
import zipfile

import numpy as np
from PIL import Image

from aigc_keras.datasets import preparation
from aigc_keras.datasets.images import SKIN_TONE, draw_emoji, emoji_font
from aigc_keras.images import to_rgb

# style: (npm's package, its SHA-256, its MB, licence and author of the pictures)
NPM = {
    "google": (
        "emoji-datasource-google@16.0.0",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        74,
        "Apache-2.0. Google: Noto Emoji, https://github.com/googlefonts/noto-emoji",
    ),
    "twitter": (
        "emoji-datasource-twitter@16.0.0",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        62,
        "CC BY 4.0. Twitter, Inc and others: Twemoji, https://github.com/jdecked/twemoji",
    ),
}
STYLES = ("openmoji", *NPM)

PEOPLE = (  # drawn as head and shoulders
    "👦👧👨👩👮👰👱👲👳👴👵👶👷👸👼💁💂💆💇🕵🙅🙆🙋🙍🙎🤦🤴🤵🤶🤷"
    "🎅🥷🦸🦹🧏🧑🧒🧓🧔🧕🧖🧙🧚🧛🧝🧞🧟🫅"
)
THEIR = "♀♂🦰🦱🦲🦳⚕⚖✈🌾🍳🎓🎤🎨🏫🏭💻💼🔧🔬🚀🚒"  # gender, hair or trade, behind U+200D
FACES = {  # kind: the emoji of it, as a pattern
    "smiley": "[☹☺👿😀-😷🙁-🙄🤐-🤕🤗🤠-🤥🤧-🤯🥰-🥶🥸-🥺🧐🫠-🫥🫨-🫪]\ufe0f?(\u200d.+)?",
    "cat": "[🐱😸-🙀]",
    "animal": "[🐔🐤🐭🐮🐯🐰🐲🐴🐵🐶🐷🐸🐹🐺🐻🐼🙈🙉🙊🦁🦄🦊🫎]",
    "person": f"[{PEOPLE}]\ufe0f?{SKIN_TONE.pattern}?(\u200d[{THEIR}]\ufe0f?)?",
}


@functools.cache
def faces_split(split):
    """(numbers of the faces of a split, in a mixed order; their kind, 0 to 3), both int32.

    Every tenth character of a kind is for testing, in all skin tones and both genders: alike as
    they are, a model that has seen one of them has nearly seen the others.
    """
    texts, found = emoji_font()[0], []
    for kind, pattern in enumerate(FACES.values()):
        numbers = [i for i, text in enumerate(texts) if re.fullmatch(pattern, text)]
        names = {i: _character(texts[i]) for i in numbers}
        testing = sorted(set(names.values()))[9::10]
        found += [(i, kind) for i in numbers if (names[i] in testing) == (split == "test")]
    return tuple(np.random.default_rng(0).permutation(found).astype("int32").T)


def _character(text):
    """A face without skin tone, gender and age."""
    text = text.translate(str.maketrans("👨👩👱🧒👦👧👴👵🤴👸🤶", "🧑🧑🧑🧑🧑🧑🧓🧓🫅🫅🎅"))
    return re.sub(f"{SKIN_TONE.pattern}|\u200d[♀♂]|\ufe0f", "", text)


# --- drawing styles ---------------------------------------------------------------------------


def styled(styles):
    """How many faces there are in these drawing styles, and what loads them, as in a `Record`.

    A character has one picture in each style that has drawn it; they follow each other.

    Raises ValueError unless `styles` are different names of `STYLES`, RuntimeError if one of them
    cannot be had.
    """
    good = isinstance(styles, tuple | list) and styles and all(style in STYLES for style in styles)
    if not good or len(set(styles)) < len(styles):
        raise ValueError(
            f"styles: got {styles!r}, accepted is a tuple of different names out of "
            f"{', '.join(STYLES)}"
        )
    styles = tuple(styles)
    count = {split: len(_rows(styles, split)) for split in ("train", "test")}
    return {"count": count, "load": functools.partial(_draw, styles)}


def styles_terms():
    """Which other styles there are, for `describe`."""
    lines = [
        f"- {style}: {terms}; npm's package {package}, {size} MB"
        for style, (package, _, size, terms) in NPM.items()
    ]
    first = (
        f"In other drawing styles too, fetched when asked for, such as styles={STYLES}: "
        "3,015 train + 310 test."
    )
    return "\n".join([first, *lines])


@functools.lru_cache(maxsize=16)
def _rows(styles, split):
    """(style, number in `emoji_font`, kind) of each picture."""
    texts = emoji_font()[0]
    files = {style: _prepared(style)[1] for style in styles if style in NPM}
    return tuple(
        (style, number, kind)
        for number, kind in zip(*faces_split(split), strict=True)
        for style in styles
        if style not in files or _file_name(texts[number]) in files[style]
    )


@functools.lru_cache(maxsize=4)
def _draw(styles, split, start, stop, size):
    rows = _rows(styles, split)[start:stop]
    images = np.empty((len(rows), size, size, 3), "uint8")
    for style in styles:
        mine = [i for i, row in enumerate(rows) if row[0] == style]
        numbers = [rows[i][1] for i in mine]
        draw = functools.partial(_read, style) if style in NPM else draw_emoji
        images[mine] = draw(numbers, size)
    return images, np.array([kind for _, _, kind in rows], "int32")


def _read(style, numbers, size):
    """The style's own pictures, made for 64 pixels, on white."""
    images = np.empty((len(numbers), size, size, 3), "uint8")
    with zipfile.ZipFile(_prepared(style)[0]) as pictures:
        for i, number in enumerate(numbers):
            content = pictures.read(_file_name(emoji_font()[0][number]))
            with Image.open(io.BytesIO(content)) as image:
                image = to_rgb(image)
            images[i] = image.resize((size, size), Image.BICUBIC)
    return images


def _file_name(text):
    return "-".join(f"{ord(character):04x}" for character in text) + ".png"


@functools.cache
def _prepared(style):
    """(path of a zip file of the style's pictures, their names in it)."""
    package, *_ = NPM[style]
    folder = preparation.data_folder(f"emoji_{style}", package.partition("@")[2])
    build = functools.partial(_build, style)
    prepared = preparation.prepare(folder, build) or "already prepared"
    preparation.verify(folder)
    with zipfile.ZipFile(folder / "pictures.zip") as pictures:
        names = frozenset(pictures.namelist())
    print(f"emoji_{style}: {len(names):,} pictures, {prepared} from npm's package {package}")
    return folder / "pictures.zip", names


def _build(style, temporary):
    package, digest, size, _ = NPM[style]

    def fetch(folder):
        archive = preparation.from_npm(package, digest, folder)
        made = folder / "made"
        made.mkdir()
        inner = re.compile(rf"package/img/{style}/64/([0-9a-f-]+\.png)")
        with tarfile.open(archive) as tar, zipfile.ZipFile(made / "pictures.zip", "w") as pictures:
            for member in tar:
                if match := inner.fullmatch(member.name):
                    pictures.writestr(match[1], tar.extractfile(member).read())
        return made

    _, made = preparation.first_source(
        f"emoji_{style}",
        temporary,
        {f"npm's package {package}": fetch},
        lambda fetch, folder: fetch(folder),
        network=f"npm and a network ({size} MB)",
        instead='load("faces"), which has the style "openmoji",',
    )
    return made, "prepared"
