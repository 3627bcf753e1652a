"""Emoji with captions (图注) in English and Chinese, and what these say as labels: chapter 10.

The captions are made by rules from the names that Unicode gives the emoji.
"""

import functools
import re
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from aigc_keras.datasets.images import SKIN_TONE, emoji_font, emoji_images
from aigc_keras.guards import check_choice, check_number, extra
from aigc_keras.model import steady

SPLITS = ("train", "validation", "test", "held_out")
LABELS = ("skin_tone", "gender", "role", "hair", "object", "colour", "group")
TONES = {
    "light": "浅", "medium-light": "中浅", "medium": "中等", "medium-dark": "中深", "dark": "深",
}  # fmt: skip
GENDERS = {"female": ("woman", "women", "girl"), "male": ("man", "men", "boy")}
GENDERS["neutral"] = ("person", "people", "and")
SAYS_BOTH = {  # names of a gender and a role in one
    "boy": "man child", "girl": "woman child", "older person": "person old",
    "prince": "man with crown", "princess": "woman with crown",
    "merman": "man merperson", "mermaid": "woman merperson",
    "Santa Claus": "man Claus", "Mrs. Claus": "woman Claus", "Mx Claus": "person Claus",
}  # fmt: skip
HAIR = ("red hair", "curly hair", "white hair", "blond hair", "bald", "beard")
COLOURS = {
    "red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "light blue": "浅蓝色",
    "blue": "蓝色", "purple": "紫色", "brown": "棕色", "pink": "粉色", "black": "黑色",
    "grey": "灰色", "white": "白色",
}  # fmt: skip
SAME_FLAG = {
    "Heard Island & McDonald Islands": "Australia", "Clipperton Island": "France",
    "St. Martin": "France", "Ceuta & Melilla": "Spain", "Monaco": "Indonesia",
    "Svalbard & Jan Mayen": "Norway", "Chad": "Romania",
}  # fmt: skip
SHAPES = {"heart": "心形", "circle": "圆形", "square": "方块"}
GROUPS = {  # the Chinese name, and what the first character is; an object is what has none
    "person": ("人物", "⛷⛹🎅🏂-🏄🏇🏊-🏌👤👥👦-👸👼💁-💃💆💇💏💑🕴🕵🕺🙅-🙇🙋🙍🙎🚣🚴-🚶🛀"
               "🛌🤦🤰🤱🤴-🤾🥷🦸🦹🧍-🧏🧑-🧟🧌🫂-🫅"),
    "body": ("身体", "☝✊-✍👀👁👂-👐💅💪🖐🖕🖖🙌🙏🤌🤏🤘-🤟🤲🤳🦴-🦷🦻🧠🫀🫁🫦🫰-🫺"),
    "face": ("表情", "☠☹☺👹-💀💩😀-🙄🙈-🙊🤐-🤗🤠-🤥🤧-🤯🥰-🥶🥸-🥺🧐🫠-🫪"),
    "animal": ("动物", "🐀-🐿🕊🕷🕸🦀-🦮🪰-🪳🪸🪼🪿🫎🫏"),
    "plant": ("植物", "☘🌱-🌵🌷-🌼🌾-🍄🏵💐💮🥀🪴🪷🪹-🪻🪾"),
    "food": ("食物", "☕🌭-🌰🌶🌽🍅-🍻🍾🍿🎂🥂-🥄🥐-🥯🧀-🧋🫐-🫜"),
    "sky": ("天空", "☀-☄☔⚡⛄⛅⛈⛱❄⭐🌀🌂🌈🌊🌌🌑-🌡🌤-🌬💧🔥🪐"),
    "place": ("地点", "♨⛩⛪⛰⛲⛺🌁🌃-🌇🌉🌋🌍-🌏🎠-🎢🎪🏔-🏦🏨-🏭🏯🏰💈💒🕋-🕍🗺-🗿🛕🛖🛘🛙🛝"),
    "vehicle": ("交通", "⚓⛴⛵⛽✈🏍🏎🚀-🚢🚤-🚨🚲🛑🛞🛟🛢-🛥🛩-🛬🛰🛳-🛶🛸-🛼🦼🦽"),
    "flag": ("旗帜", "🇦-🇿🎌🏁🏳🏴🚩"),
    "symbol": ("符号", "#*0-9©®‼⁉™ℹ↔-↪⏏⏩-⏯⏸-⏺Ⓜ▪-◾☑☢-☯☸♀-♓♠-♦♻♾♿⚕⚛⚜⚠⚧⚪⚫⛎⛔✅✔✖✝✡✨✳✴❇"
               "❌-❗❣❤➕-➗➡➰➿⤴⤵⬅-⬇⬛⬜⭕〰〽㊗㊙🅰-🉑🌐🎦🎵🎶🏧💓-💟💠💢💤💥💫-💭💯💱💲💹"
               "📛📳-📶🔀-🔊🔕🔘-🔤🔯-🔽🕉🕎🕐-🕧🖤🗨🗯🚫🚭-🚱🚳🚷-🚼🚾🛂-🛅🛐🛗🛜🟠-🟰🤍🤎🧡🩵-🩷"),
    "object": ("物品", "\0-\U0010ffff"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Captioned:
    """Pictures, what is written under them, and what that says as labels.

    images: float32 (N, H, W, 3) in [-1, 1]. captions: an array (N, 6) of str, each a way to say it:
    columns 0 to 2 are English, 3 to 5 Chinese, and a column is the same wording for all pictures.
    labels: from "skin_tone", "gender", "role", "hair", "object", "colour" and "group" to int32
    (N,), -1 where it does not apply or is not said. names: what the labels mean, tuples of str.
    """

    images: np.ndarray
    captions: np.ndarray
    labels: dict
    names: dict

    def batches(self, batch_size=64, shuffle=True, seed=0, wordings=range(6)):
        """Batches of (images, captions), as a `tf.data.Dataset`; captions are tf.string (B,).

        wordings: columns of `captions` from which each epoch draws anew for every picture.
        shuffle: a new order each epoch; False: the order of `images`. The same `seed` repeats all.
        """
        check_number("batch_size", batch_size, 1, integer=True)
        check_number("seed", seed, 0, below=2**63, integer=True)
        if not isinstance(wordings, range | list | tuple) or not len(wordings):
            raise ValueError(
                f"wordings: got {wordings!r}, accepted are columns of captions, such as (0, 3)."
            )
        wordings = [check_number("wordings", each, 0, below=6, integer=True) for each in wordings]
        with tf.device("CPU"):
            images, captions = tf.constant(self.images), tf.constant(self.captions[:, wordings])

        def take(index, random):
            column = random % len(wordings)
            return tf.gather(images, index), tf.gather_nd(captions, tf.stack([index, column], 1))

        index = tf.data.Dataset.range(len(images))
        if shuffle:
            index = index.shuffle(len(images), seed=seed, reshuffle_each_iteration=True)
        random = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
        return steady(tf.data.Dataset.zip(index, random).batch(batch_size).map(take).prefetch(2))


def captioned(name="emoji", split="train", image_size=64):
    """Emoji with captions and labels, those that have skin tones in all five of them: `Captioned`.

    split: "train"; "validation" and "test", each a tenth of the characters, at random: in no other
    split is what they show, in whatever skin tone, gender or colour; or "held_out", a tenth of the
    combinations of skin tone, role and one of two genders, and of colour and shape (hearts,
    circles, squares): "train" has none of them, but all of their parts. image_size: pixels, 16 to
    512. The order is always the same. Left out are emoji of two skin tones, and beside what is held
    out the same without gender: many of these are drawn like men.

    Raises ValueError for bad arguments.
    """
    check_choice("name", name, ("emoji",))
    check_choice("split", split, SPLITS)
    size = check_number("image_size", image_size, 16, below=513, integer=True)
    images, rows = emoji_images(captioned_split, split, None, None, size)
    _, _, captions, labels, names = said()
    labels = {key: labels[rows, i] for i, key in enumerate(LABELS)}
    return Captioned(
        images / np.float32(127.5) - np.float32(1), captions[rows], labels, dict(names)
    )


@functools.cache
def captioned_split(split):
    """(numbers of the emoji of a split, their rows in `said()`)."""
    numbers, characters, _, labels, _ = said()
    rng = np.random.default_rng(0)
    shapes, neutral = np.isin(characters, list(SHAPES)), labels[:, 1] == 2
    people = (labels[:, :3] >= 0).all(1) & ~neutral
    # Shapes are for training, and adults: there is no hair but theirs.
    names = rng.permutation(sorted(set(characters) - {"adult", *SHAPES}))
    tenths = {name: 10 * i // len(names) for i, name in enumerate(names)}
    tenths = np.array([tenths.get(each, 9) for each in characters])
    parts = {"test": tenths == 0, "validation": tenths == 1, "train": tenths > 1}
    # Of a colour that only hearts have, nothing would be left.
    shapes &= np.bincount(labels[shapes, 5])[labels[:, 5]] == len(SHAPES)
    parts["held_out"] = np.zeros(len(numbers), bool)
    for among, columns in ((people & parts["train"], [0, 1, 2]), (shapes, [4, 5])):
        found, which = np.unique(labels[among][:, columns], axis=0, return_inverse=True)
        chosen = rng.permutation(len(found))[: round(len(found) / 10)]
        parts["held_out"][among] = np.isin(which, chosen)
    gone = {tuple(row) for row in labels[parts["held_out"]][:, [0, 2]]}
    copies = neutral & [tuple(row) in gone for row in labels[:, [0, 2]]]
    parts["train"] &= ~parts["held_out"] & ~copies
    return numbers[parts[split]], np.flatnonzero(parts[split])


@functools.cache
def said():
    """Of all emoji: numbers, characters, captions (N, 6), labels (N, 7); names of the labels."""
    with extra("data"):
        import emoji

    emoji.config.load_language("zh")
    rows = []
    for number, text in enumerate(emoji_font()[0]):
        if len(SKIN_TONE.findall(text)) < 2:
            names = (emoji.EMOJI_DATA[text][language].strip(":") for language in ("en", "zh"))
            rows.append((number, *described(text, *names)))
    numbers, characters, captions, given = zip(*rows, strict=True)
    ordered = (TONES, GENDERS, None, HAIR, None, COLOURS, GROUPS)
    labels, names = np.full((len(rows), len(LABELS)), -1, "int32"), {}
    for i, (key, values) in enumerate(zip(LABELS, ordered, strict=True)):
        names[key] = tuple(values or sorted({each[key] for each in given if key in each}))
        index = {name: j for j, name in enumerate(names[key])}
        labels[:, i] = [index.get(each.get(key), -1) for each in given]
    return np.array(numbers), np.array(characters), np.array(captions), labels, names


def described(text, name, zh):
    """What there is to say of an emoji with these names: (character, six captions, labels by name).

    The character is what pictures in all skin tones, genders and colours have in common.
    """
    group = next(x for x, (_, first) in GROUPS.items() if re.match(f"[{first}]", text))
    name = re.sub("_[a-z-]+_skin_tone", "", name).replace("_", " ")
    zh = re.sub("[^_]*肤色", "", zh).strip("_")
    character, name, listed, zh, labels = (person if group == "person" else thing)(name, zh)
    if group == "flag" and "flag" not in name:
        name, zh = f"flag of {name}", zh + "旗"
    zh = listed_zh = zh.replace("_", "")
    if tone := SKIN_TONE.search(text):
        tone = labels["skin_tone"] = list(TONES)["🏻🏼🏽🏾🏿".index(tone[0])]
        name += f" {'and' if ' with ' in name else 'with'} {tone} skin tone"
        listed, listed_zh = f"{listed}, {tone} skin tone", f"{zh}，{TONES[tone]}肤色"
        zh = f"{TONES[tone]}肤色的{zh}"
    english = (with_article(name), listed, f"{group}: {name}")
    captions = (*english, zh, listed_zh, f"{GROUPS[group][0]}：{zh}")
    return SAME_FLAG.get(character, character), captions, {**labels, "group": group}


def person(name, zh):
    """(role, name in words, name as a list, Chinese name, labels) of one or several people."""
    words = SAYS_BOTH.get(name, name).split()
    genders = [x for x, those in GENDERS.items() if set(those) & set(words)] or ["neutral"]
    hair = next((x for x in HAIR if name.endswith(x)), "")
    role = " ".join(x for x in words if x not in sum(GENDERS.values(), ()))
    role = role.removesuffix(hair).removesuffix("facing right").strip() or "adult"
    listed = re.sub("^(woman|man|person) (.+)", r"\2, \1", name)
    if hair:
        name = re.sub(f"(.+) {hair}", rf"\1 with {hair}", name)
        name = re.sub("(.+) with bald", r"bald \1", name).replace("with beard", "with a beard")
        zh = re.sub("(.+)_(.+)", r"\2的\1", zh)
    elif name.startswith("person ") and not re.search("[人者员手台]", zh):
        zh += "的人"  # the Chinese name is what is done
    gender = genders[0] if len(genders) == 1 else None  # a couple
    return role, name, listed, zh, {"role": role, "hair": hair, "gender": gender}


def thing(name, zh):
    """The same of a thing; the first is what it is without its colour."""
    colour = next((x for x in COLOURS if re.search(rf"\b{x} ", name)), None)
    what = re.sub(rf"\b{colour} ", "", name).replace("large square", "square")
    listed = f"{what}, {colour}" if colour else name
    if colour and what in SHAPES:
        name, zh = f"{colour} {what}", COLOURS[colour] + SHAPES[what]
    return what, name, listed, zh, {"object": what, "colour": colour}


def with_article(name):
    """ "an apple"; but "people wrestling", "three o’clock", "hot springs", as spelling tells."""
    head = re.split(" (?:with|in|of|on) ", name)[0]
    many = r"(?!person|woman|man).*([^siu]s|o’clock|thirty)$|(men|women|people)\b"
    vowel = re.match("(?!uni|eu|ewe|one)[aeiouAEIO]|hour", name)
    return name if re.match(many, head) else f"an {name}" if vowel else f"a {name}"
