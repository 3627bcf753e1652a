"""Tokenisers (分词器): text to integers and back."""

import math

import keras
import numpy as np
from keras import ops

from aigc_keras.guards import check_number, extra

END = 0  # stands between two texts: what a model is given first, and what it says last
PADDING = -1  # fills rows up; neither an input that counts nor a target
_UNICODE = 1_112_064  # characters that there could be


def check_text(name, text):
    """`text`, a string of characters that UTF-8 has, otherwise a ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"{name}: got {text!r:.80}, accepted is a string.")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError(f"{name}: got {text!r:.80}, accepted are no halves of surrogate pairs.")
    return text


def check_tokenizer(name, tokenizer):
    """`tokenizer`, if it is one, otherwise a ValueError."""
    if not hasattr(tokenizer, "vocab_size"):
        raise ValueError(
            f"{name}: got {tokenizer!r:.80}, accepted is a CharTokenizer or BPETokenizer."
        )
    return tokenizer


def check_texts(texts, batch_size=1):
    """A ValueError unless `texts` is a list of strings, and `batch_size` a positive integer."""
    check_number("batch_size", batch_size, low=1, integer=True)
    if not isinstance(texts, list | tuple) or len(texts) == 0:
        raise ValueError(f"texts: got {texts!r:.40}, accepted is a list of at least one string.")
    for i, text in enumerate(texts):
        check_text(f"texts[{i}]", text)


def known_tokens(name, text, tokenizer):
    """Tokens of `text`, int32 (T,), otherwise a ValueError: where a character is not known."""
    tokens = tokenizer.encode(check_text(name, text))
    if tokenizer.unknown is not None and (tokens == tokenizer.unknown).any():
        strange = sorted({c for c, t in zip(text, tokens, strict=True) if t == tokenizer.unknown})
        raise ValueError(
            f"{name}: the characters {', '.join(map(repr, strange))} are not among the "
            f"{len(tokenizer.characters)} that the tokenizer has learned."
        )
    return tokens


def padding_of(tokens):
    """Which of tokens (B, T) nobody looks at; never the first, as one must look somewhere."""
    hidden = ops.equal(tokens, PADDING)
    return ops.concatenate([ops.zeros_like(hidden[:, :1]), hidden[:, 1:]], axis=1)


def check_decodable(tokens, vocab_size):
    """Integers (T,) in [0, vocab_size) as a list, otherwise a ValueError."""
    try:
        array = np.asarray(tokens)
    except ValueError:  # rows of different length
        array = np.zeros(1)
    empty = array.shape == (0,)
    good = array.ndim == 1 and np.issubdtype(array.dtype, np.integer)
    if not empty and (not good or array.min() < 0 or array.max() >= vocab_size):
        raise ValueError(
            f"tokens: got {tokens!r:.80}, accepted are integers (T,) in [0, {vocab_size})."
        )
    return array.tolist()


@keras.saving.register_keras_serializable("aigc_keras")
class CharTokenizer:
    """A token for each character; 0 is END, 1 stands for all characters that are not known.

    Args:
        characters: the known ones, a string.
    """

    unknown = 1

    def __init__(self, characters):
        points = sorted({ord(character) for character in check_text("characters", characters)})
        self.points = np.array(points, "uint32")
        self.characters = "".join(map(chr, points))
        self.vocab_size = len(points) + 2
        self.characters_per_token = np.ones(self.vocab_size, "float32")
        self.characters_per_token[END] = 0
        # Whoever says "unknown" has not said yet which one: one of all others.
        self.extra_nats = np.zeros(self.vocab_size, "float32")
        self.extra_nats[self.unknown] = math.log(_UNICODE - len(points))

    @classmethod
    def train(cls, texts):
        """A tokeniser that knows the characters of `texts`, a list of strings."""
        check_texts(texts)
        return cls("".join(set().union(*texts)))

    def encode(self, text):
        """Tokens of a string, int32 (T,)."""
        points = np.frombuffer(check_text("text", text).encode("utf-32-le"), "<u4")
        index = np.searchsorted(self.points, points) + 2
        return np.where(np.isin(points, self.points), index, self.unknown).astype("int32")

    def decode(self, tokens):
        """The string; END is nothing, and an unknown character is U+FFFD."""
        tokens = check_decodable(tokens, self.vocab_size)
        return "".join(("", "\ufffd")[t] if t < 2 else self.characters[t - 2] for t in tokens)

    def get_config(self):
        return {"characters": self.characters}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("aigc_keras")
class BPETokenizer:
    """Byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909) of UTF-8 bytes; 0 is END.

    What often stands together becomes one token. Every text can be encoded, since all 256 bytes are
    tokens. The work is done by the library `tokenizers`.

    Args:
        model: its JSON; `train` makes one.
    """

    unknown = None

    def __init__(self, model):
        with extra("text"):
            import tokenizers

        self.model = model
        try:
            self.tokenizer = tokenizers.Tokenizer.from_str(model)
        except Exception as error:  # what the library raises is a plain Exception
            raise ValueError(
                f"model: got {model!r:.40} ({error}), accepted is the JSON of a tokenizer."
            ) from error
        tokens = [self.tokenizer.id_to_token(i) for i in range(self.tokenizer.get_vocab_size())]
        self.vocab_size = len(tokens) + 1
        # Of the bytes of a character, all but the first are continuation bytes, 0x80 to 0xBF: those
        # that come second in U+00C0 to U+00FF. So characters can be counted token by token.
        split = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        follows = {split.pre_tokenize_str(chr(0xC0 + i))[0][0][1] for i in range(64)}
        counts = [0] + [sum(byte not in follows for byte in token) for token in tokens]
        self.characters_per_token = np.array(counts, "float32")
        self.extra_nats = np.zeros(self.vocab_size, "float32")

    @classmethod
    def train(cls, texts, vocab_size=1024):
        """Learn the tokens from `texts`; `vocab_size` counts the 256 bytes and END.

        No token reaches over the end of a word. A run without spaces, or of spaces, is cut every
        192 bytes, 64 hanzi: training takes the square of the length of a word.
        """
        with extra("text"):
            from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

        vocab_size = check_number("vocab_size", vocab_size, low=257, integer=True)
        check_texts(texts)
        # Each token beyond the bytes takes one more to be joined. The library would reserve memory
        # for all that are asked for, and end the process where there is not enough.
        vocab_size = min(vocab_size, 257 + sum(len(text.encode()) for text in texts))
        tokenizer = Tokenizer(models.BPE())
        words = pre_tokenizers.ByteLevel(add_prefix_space=False)
        short = pre_tokenizers.Split(Regex(".{1,192}"), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, short])
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - 1,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer.to_str())

    def encode(self, text):
        """Tokens of a string, int32 (T,)."""
        return np.array(self.tokenizer.encode(check_text("text", text)).ids, "int32") + 1

    def decode(self, tokens):
        """The string; END is nothing, and bytes that are no character are U+FFFD."""
        tokens = check_decodable(tokens, self.vocab_size)
        return self.tokenizer.decode([t - 1 for t in tokens if t != END])

    def get_config(self):
        return {"model": self.model}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
