"""Quatrains (绝句) that keep the rules, written by a language model: chapter 05.

The model proposes, the form disposes: at every place all characters that the form forbids get
probability zero, and the model chooses among the rest.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from aigc_keras.guards import check_number, extra
from aigc_keras.text import CharTokenizer, LanguageModel
from aigc_keras.text.sampling import drawn, usual_rule
from aigc_keras.text.writing import write

# The 14 rhymes of modern Mandarin (中华新韵, Chinese Poetry Association 2005), by their finals.
# Tang poets spoke otherwise: not all of their rhymes are rhymes still.
RHYMES = {
    "麻": ("a", "ia", "ua"),
    "波": ("o", "e", "uo"),
    "皆": ("ie", "ve"),
    "开": ("ai", "uai"),
    "微": ("ei", "uei"),
    "豪": ("ao", "iao"),
    "尤": ("ou", "iou"),
    "寒": ("an", "ian", "uan", "van"),
    "文": ("en", "in", "uen", "vn"),
    "唐": ("ang", "iang", "uang"),
    "庚": ("eng", "ing", "ong", "iong", "ueng"),
    "齐": ("i", "er", "v"),
    "支": ("-i",),
    "姑": ("u",),
}
MARKS = "，。\n"
_CLASSES = {final: name for name, finals in RHYMES.items() for final in finals}
_FLAT = ("zh", "ch", "sh", "r", "z", "c", "s")  # after these, pinyin writes another vowel as i


@functools.cache
def rhyme(character):
    """(rhyme, is its tone level?) of a hanzi, such as ("唐", True) of 光; None if it has none.

    Level (平) are the first and second tone, oblique (仄) the others. Of several readings the usual
    one counts.
    """
    with extra("text"):
        from pypinyin import Style, pinyin

    if not isinstance(character, str) or len(character) != 1:
        raise ValueError(f"character: got {character!r}, accepted is one hanzi.")
    styles = (Style.INITIALS, Style.FINALS_TONE3)
    initial, final = (pinyin(character, style=s, errors="ignore") for s in styles)
    if not final or not final[0][0]:
        return None
    letters = final[0][0].rstrip("12345")
    if letters == "i" and initial and initial[0][0] in _FLAT:
        letters = "-i"
    name = _CLASSES.get(letters)
    return name and (name, final[0][0][-1] in "12")


def rhymes(a, b):
    """Whether two different hanzi rhyme in modern Mandarin: tones level or oblique in both."""
    return a != b and rhyme(a) is not None and rhyme(a) == rhyme(b)


def verses(poem):
    """The four verses of a quatrain, without punctuation; anything else gives None."""
    if not isinstance(poem, str):
        raise ValueError(f"poem: got {poem!r}, accepted is a string.")
    parts = poem.replace("\n", "").replace("，", "。").split("。")
    form = "".join(c if c in MARKS else "字" for c in poem)
    good = len(parts[0]) in (5, 7) and layout(len(parts[0])) == form
    return tuple(parts[:4]) if good else None


def layout(line_length):
    """A quatrain with 字 at the place of each hanzi: two lines of two verses."""
    verse = "字" * check_number("line_length", line_length, low=1, integer=True)
    return f"{verse}，{verse}。\n{verse}，{verse}。"


class Form(NamedTuple):
    """A rule: at every place only what may stand there; what stands last rhymes.

    Fields:
        allowed: bool (T, V), a row for each place of the poem.
        rhymes: int (V,): which rhyme a token has; 0: none.
        rhyming: at which place is what the last but one token has to rhyme with.
    """

    allowed: Any
    rhymes: Any
    rhyming: int

    def __call__(self, logits, written):
        place, tokens = written.position, tf.range(logits.shape[-1])
        allowed = tf.broadcast_to(tf.gather(self.allowed, place), tf.shape(logits))
        if place == len(self.allowed) - 2:
            given = written.tokens[:, self.rhyming + 1, None]
            same = tf.gather(self.rhymes, given) == self.rhymes
            rhyming = allowed & same & (self.rhymes > 0) & (tokens != given)
            # Where nothing rhymes, anything may come: such a poem is sorted out.
            none = ~tf.reduce_any(rhyming, axis=1, keepdims=True)
            allowed = rhyming | (allowed & none)
        return tf.where(allowed, logits, -math.inf)


def quatrain(
    model,
    first_line=None,
    acrostic=None,
    line_length=None,
    temperature=0.9,
    top_p=0.95,
    n_candidates=8,
    seed=0,
):
    """A quatrain (绝句) whose second and fourth verse rhyme: "…，…。\\n…，…。".

    Args:
        model: a language model with a `CharTokenizer` that was trained on quatrains.
        first_line: its first verse, 5 or 7 hanzi.
        acrostic: 4 hanzi that the verses begin with (藏头诗).
        line_length: 5 or 7; by default that of `first_line`, otherwise 5.
        temperature, top_p: as in `generate`; temperature > 0.
        n_candidates: so many are written, and the one is taken that the model finds likeliest.
        seed: an integer repeats the poem.

    Raises:
        ValueError: an argument does not fit, or a character is not known to the model.
    """
    if not isinstance(model, LanguageModel):
        raise ValueError(f"model: got {model!r:.80}, accepted is a language model.")
    for name, value in (("first_line", first_line), ("acrostic", acrostic)):
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name}: got {value!r}, accepted is a string.")
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, CharTokenizer):
        raise ValueError(f"model: has a {type(tokenizer).__name__}, accepted is a CharTokenizer.")
    if first_line and acrostic:
        raise ValueError(f"acrostic: got {acrostic!r} and a first_line, accepted is one of them.")
    if first_line is not None:
        fits = len(first_line) in (5, 7) and line_length in (None, len(first_line))
        if not fits or set(first_line) & set(MARKS):
            raise ValueError(
                f"first_line: got {first_line!r} ({len(first_line)} characters), accepted are 5 or "
                "7 hanzi, as many as line_length."
            )
        line_length = len(first_line)
    line_length = 5 if line_length is None else line_length
    if line_length not in (5, 7) or not isinstance(line_length, int):
        raise ValueError(f"line_length: got {line_length!r}, accepted are 5 and 7.")
    if acrostic is not None and (len(acrostic) != 4 or set(acrostic) & set(MARKS)):
        raise ValueError(f"acrostic: got {acrostic!r}, accepted are 4 hanzi.")
    usual = usual_rule(temperature, top_p=top_p)
    if temperature == 0:
        raise ValueError("temperature: got 0, accepted is a number > 0.")
    n_candidates = check_number("n_candidates", n_candidates, low=1, integer=True)
    seed = check_number("seed", seed, low=0, below=2**31, integer=True)
    form = layout(line_length)
    if len(form) > model.context_length:
        raise ValueError(
            f"model: its context_length is {model.context_length}, accepted is {len(form)} or more."
        )

    for name, characters in (
        ("first_line", first_line),
        ("acrostic", acrostic),
        ("model", MARKS),
    ):
        model.encode_prompt(characters or "", name)  # refuses what is not known
    known = ["", "", *tokenizer.characters]
    hanzi = np.array([len(c) == 1 and c not in MARKS for c in known])
    sounds = [rhyme(c) if is_hanzi else None for c, is_hanzi in zip(known, hanzi, strict=True)]
    number = {sound: i for i, sound in enumerate([None, *sorted({*sounds} - {None})])}
    places = [i for i, character in enumerate(form) if character == "字"]
    given = {i: character for i, character in enumerate(form) if character != "字"}
    given |= dict(zip(places[::line_length], acrostic or "", strict=False))
    allowed = np.tile(hanzi, (len(form), 1))
    for place, character in given.items():
        allowed[place] = np.arange(tokenizer.vocab_size) == tokenizer.encode(character)
    keeps_form = Form(allowed, np.array([number[s] for s in sounds]), places[2 * line_length - 1])

    start = first_line or ""
    prompts = [model.encode_prompt(start)] * n_candidates
    new = len(form) - len(start)
    *_, (ends, written) = write(model, prompts, new, (keeps_form, usual), drawn, seed)
    texts = [start + ends[i] for i in np.argsort(-written.scores[:n_candidates])]
    texts = [text for text in texts if rhymes(verses(text)[1][-1], text[-2])]
    if not texts:
        raise ValueError(
            f"n_candidates: none of {n_candidates} has a rhyme for its second verse; try more."
        )
    return texts[0]
