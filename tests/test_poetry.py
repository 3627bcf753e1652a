"""Chapter 05: rhymes of modern Mandarin, the form of a quatrain, and poems that keep it."""

import pytest

from aigc_keras import poetry, text

# In GB2312 its first level are the 3,755 commonest hanzi, in the order of their sounds.
LEVEL_1 = bytes(x for a in range(0xB0, 0xD8) for b in range(0xA1, 0xFF) for x in (a, b)).decode(
    "gb2312", "ignore"
)
# The last letter of a syllable in zhuyin names its rhyme; ㄓㄔㄕㄖㄗㄘㄙ stand without a vowel.
ZHUYIN = {
    letter: name
    for letters, name in [
        ("ㄚ", "麻"),
        ("ㄛㄜ", "波"),
        ("ㄝ", "皆"),
        ("ㄞ", "开"),
        ("ㄟ", "微"),
        ("ㄠ", "豪"),
        ("ㄡ", "尤"),
        ("ㄢ", "寒"),
        ("ㄣ", "文"),
        ("ㄤ", "唐"),
        ("ㄥ", "庚"),
        ("ㄧㄩㄦ", "齐"),
        ("ㄓㄔㄕㄖㄗㄘㄙ", "支"),
        ("ㄨ", "姑"),
    ]
    for letter in letters
}
POEMS = [
    "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。",
    "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。",
    "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。",
    "朝辞白帝彩云间，千里江陵一日还。\n两岸猿声啼不住，轻舟已过万重山。",
]


# The sounds m, n and hm; and units of measure such as the centilitre, which are of two syllables.
WITHOUT_RHYME = "呣嗯噷兙兡嗧桛烪瓧瓰瓱瓼甅"


@pytest.fixture(scope="module")
def model():
    """It has learned nothing: that its poems have a form is not its doing."""
    tokenizer = text.CharTokenizer.train(POEMS)
    return text.GPT(tokenizer, context_length=34, width=8, num_layers=1, num_heads=2, seed=0)


@pytest.fixture(scope="module")
def counting():
    """It has counted four poems, and knows them by heart."""
    model = text.NGram(text.CharTokenizer.train(POEMS), order=5, context_length=34)
    model.compile()
    model.fit(model.windows(POEMS * 20, 4, shuffle=False, packed=False), verbose=0)
    return model


# --- rhymes ---


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("光", "霜", True),
        ("霜", "乡", True),  # uang and iang
        ("流", "楼", True),
        ("间", "山", True),
        ("声", "红", True),  # eng and ong
        ("波", "歌", True),  # o and e
        ("鱼", "衣", True),  # ü and i
        ("知", "诗", True),
        ("月", "叶", True),  # üe and ie, both oblique
        ("诗", "衣", False),  # the i of shi is another
        ("七", "词", False),
        ("月", "歌", False),
        ("乌", "鱼", False),
        ("身", "声", False),  # n and ng
        ("光", "往", False),  # level and oblique
        ("光", "光", False),  # nothing rhymes with itself
        ("晓", "高", False),
        ("晓", "笑", True),  # the third and the fourth tone
        ("妈", "麻", True),  # the first and the second
        ("光", "，", False),
        ("，", "，", False),
    ],
)
def test_rhymes(a, b, expected):
    assert poetry.rhymes(a, b) is expected
    assert poetry.rhymes(b, a) is expected


def test_rhyme_and_tone():
    assert poetry.rhyme("光") == ("唐", True)
    assert poetry.rhyme("往") == ("唐", False)
    assert poetry.rhyme("时") == ("支", True)
    assert poetry.rhyme("二") == ("齐", False)
    assert poetry.rhyme("了") == ("波", False)  # a tone that is none counts as oblique
    for character in "，。\n、？ a1é\ufffd":
        assert poetry.rhyme(character) is None


def test_rhymes_are_those_of_zhuyin():
    """Another spelling of the same sounds gives the same rhymes and tones."""
    from pypinyin import Style, pinyin

    assert len(LEVEL_1) == 3_755
    for character in LEVEL_1:
        sound = pinyin(character, style=Style.BOPOMOFO)[0][0]
        level = sound[-1] not in "ˇˋ˙"
        assert poetry.rhyme(character) == (ZHUYIN[sound.strip("ˊˇˋ˙")[-1]], level), character


def test_every_final_has_a_rhyme():
    """Of all readings of all hanzi from U+4E00 to U+9FA5, but for m, n, ng, hm and ê."""
    from pypinyin import Style, pinyin

    hanzi = [chr(point) for point in range(0x4E00, 0x9FA6)]
    finals = [final for finals in poetry.RHYMES.values() for final in finals]
    assert len(set(finals)) == len(finals)  # none is in two classes
    found = {x for c in hanzi for x in pinyin(c, style=Style.FINALS, heteronym=True)[0]}
    assert found - set(finals) <= {"", "ê"}
    assert {c for c in hanzi if poetry.rhyme(c) is None} <= set(WITHOUT_RHYME)


# --- the form ---


@pytest.mark.parametrize("poem", POEMS)
def test_verses_of_a_poem(poem):
    verses = poetry.verses(poem)
    assert len(verses) == 4
    a, b, c, d = verses
    assert f"{a}，{b}。\n{c}，{d}。" == poem
    assert len(poetry.layout(len(a))) == len(poem)
    assert [i for i, x in enumerate(poetry.layout(len(a))) if x != "字"] == [
        i for i, x in enumerate(poem) if x in "，。\n"
    ]


@pytest.mark.parametrize("length", [5, 7])
def test_layout_and_verses_are_inverse(length):
    assert poetry.verses(poetry.layout(length)) == ("字" * length,) * 4


@pytest.mark.parametrize(
    "poem",
    [
        "",
        "春眠不觉晓",
        POEMS[0][:-1],  # no end
        POEMS[0].replace("\n", ""),
        POEMS[0] + "\n",
        POEMS[0].replace("，", "。"),
        POEMS[0].replace("。", "，"),
        POEMS[0].replace("春", ""),
        POEMS[0] + POEMS[1],
        POEMS[0][:13] + POEMS[3][17:],  # two of five and two of seven
        poetry.layout(6),
    ],
)
def test_what_is_no_quatrain_has_no_verses(poem):
    assert poetry.verses(poem) is None


# --- poems ---


def assert_quatrain(poem, length, tokenizer):
    verses = poetry.verses(poem)
    assert verses is not None and {len(verse) for verse in verses} == {length}
    assert set("".join(verses)) <= set(tokenizer.characters) - set("，。\n")
    assert poetry.rhymes(verses[1][-1], verses[3][-1])
    return verses


@pytest.mark.parametrize("length", [5, 7])
def test_quatrains_keep_the_form_and_rhyme(model, length):
    poems = [poetry.quatrain(model, line_length=length, seed=seed) for seed in range(10)]
    for poem in poems:
        assert_quatrain(poem, length, model.tokenizer)
    assert len(set(poems)) == 10


def test_by_default_a_verse_has_five_hanzi(model):
    assert poetry.quatrain(model, seed=1) == poetry.quatrain(model, line_length=5, seed=1)


def test_the_same_seed_gives_the_same_poem(model):
    poems = [poetry.quatrain(model, seed=seed) for seed in (3, 3, 4)]
    assert poems[0] == poems[1] != poems[2]


@pytest.mark.parametrize("first_line", ["白日依山尽", "朝辞白帝彩云间"])
def test_the_first_line_is_kept(model, first_line):
    poems = [poetry.quatrain(model, first_line, seed=seed) for seed in range(3)]
    for poem in poems:
        assert assert_quatrain(poem, len(first_line), model.tokenizer)[0] == first_line
    assert len(set(poems)) == 3


@pytest.mark.parametrize("length", [5, 7])
def test_an_acrostic_heads_the_verses(model, length):
    poem = poetry.quatrain(model, acrostic="春花明月", line_length=length)
    verses = assert_quatrain(poem, length, model.tokenizer)
    assert "".join(verse[0] for verse in verses) == "春花明月"


def test_one_candidate_is_enough(counting):
    for seed in range(5):
        poem = poetry.quatrain(counting, n_candidates=1, seed=seed, temperature=3.0, top_p=1.0)
        assert_quatrain(poem, 5, counting.tokenizer)


def test_the_likeliest_candidate_is_taken(counting):
    """The best of eight is on average likelier than the only one."""

    def nats(n_candidates):
        settings = {"temperature": 1.5, "top_p": 1.0, "n_candidates": n_candidates}
        poems = [poetry.quatrain(counting, seed=seed, **settings) for seed in range(4)]
        return counting.text_losses(poems)[0]

    assert nats(8).mean() < nats(1).mean() - 5


def test_the_model_decides_what_is_written(counting):
    """Given a verse that it knows, it goes on as it has learned."""
    for poem in POEMS[1:3]:
        assert poetry.quatrain(counting, poetry.verses(poem)[0], top_p=0.5) == poem


def test_rhymes_are_found_where_there_are_any():
    """Two hanzi of one rhyme are enough; one alone, or a letter, rhymes with nothing."""
    model = text.NGram(text.CharTokenizer("光霜，。\n"), 2, 34)
    verses = poetry.verses(poetry.quatrain(model))
    assert {verses[1][-1], verses[3][-1]} == {"光", "霜"}
    for characters in ("春，。\n", "a，。\n"):
        model = text.NGram(text.CharTokenizer(characters), 2, 34)
        with pytest.raises(ValueError, match="n_candidates: none of 8 has a rhyme"):
            poetry.quatrain(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first_line": "白日依山"}, r"first_line: got '白日依山' \(4 characters\), .* 5 or 7"),
        ({"first_line": ""}, r"first_line: got '' \(0 characters\)"),
        ({"first_line": "白日依山尽", "line_length": 7}, "first_line: .* as many as line_length"),
        ({"first_line": "白日依山尽", "acrostic": "春花明月"}, "acrostic: got '春花明月' and a"),
        ({"first_line": "白日依山龘"}, "characters '龘' are not among"),
        ({"acrostic": "春花秋"}, "acrostic: got '春花秋', accepted are 4 hanzi"),
        ({"acrostic": ""}, "acrostic: got ''"),
        ({"acrostic": "春花秋龘"}, "characters '秋', '龘' are not among"),
        ({"line_length": 6}, "line_length: got 6, accepted are 5 and 7"),
        ({"line_length": 0}, "line_length: got 0"),
        ({"temperature": 0}, "temperature: got 0, accepted is a number > 0"),
        ({"temperature": -1}, "temperature: got -1"),
        ({"n_candidates": 0}, "n_candidates: got 0"),
        ({"n_candidates": 2.5}, r"n_candidates: got 2\.5"),
        ({"first_line": "白日，山尽"}, "first_line: got '白日，山尽'"),
        ({"acrostic": "春，明月"}, "acrostic: got '春，明月', accepted are 4 hanzi"),
        ({"top_p": 0}, r"top_p: got 0, accepted is a number in \(0, 1\]"),
        ({"top_p": 1.5}, r"top_p: got 1\.5"),
        ({"seed": 1.5}, r"seed: got 1\.5"),
        ({"seed": -1}, "seed: got -1"),
        ({"seed": 2**31}, "seed: got 2147483648"),
    ],
)
def test_quatrain_refuses(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        poetry.quatrain(model, **arguments)


def test_quatrain_refuses_models_that_do_not_know_the_punctuation():
    with pytest.raises(ValueError, match="model"):
        poetry.quatrain(text.NGram(text.CharTokenizer("春花秋月"), 2, 34))


def test_quatrain_refuses_models():
    tokenizer = text.BPETokenizer.train(POEMS, 257)
    with pytest.raises(ValueError, match="model: has a BPETokenizer, accepted is a CharTokenizer"):
        poetry.quatrain(text.NGram(tokenizer, 2, 128))
    short = text.NGram(text.CharTokenizer.train(POEMS), 2, context_length=24)
    with pytest.raises(ValueError, match="model: its context_length is 24, accepted is 25 or more"):
        poetry.quatrain(short)
    with pytest.raises(ValueError, match="accepted is 33 or more"):
        poetry.quatrain(short, line_length=7)
