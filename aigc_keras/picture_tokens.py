"""Pictures as texts that a language model writes, DALL-E's way: chapter 10.

A `VQVAE` makes integers of a picture, and each integer becomes a character that no text has. A
caption, a line break and a picture then are one text like any other: whatever learns to write such
texts draws what a caption says (Ramesh et al. 2021, arXiv:2102.12092).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from aigc_keras.guards import check_number
from aigc_keras.text import CharTokenizer, LanguageModel
from aigc_keras.text.sampling import drawn, likeliest, usual_rule
from aigc_keras.text.tokenizers import check_texts
from aigc_keras.text.writing import write
from aigc_keras.vq_vae import VQVAE

FIRST, MOST = 0xE000, 6400  # Unicode's private use area (专用区): characters without a meaning
BREAK = "\n"  # says that "a red" is all of a caption, and not the beginning of "a red heart"


class Only(NamedTuple):
    """A rule: nothing but these tokens is written, bool (V,)."""

    allowed: Any

    def __call__(self, logits, written):
        return tf.where(self.allowed, logits, -math.inf)


class PictureTokens:
    """Between pictures with captions and texts, by a trained `VQVAE` of at most 6,400 codes."""

    def __init__(self, autoencoder):
        if not isinstance(autoencoder, VQVAE) or autoencoder.num_codes > MOST:
            accepted = f"accepted is a VQVAE of at most {MOST} codes"
            raise ValueError(f"autoencoder: got {autoencoder!r:.80}, {accepted}.")
        self.autoencoder = autoencoder
        self.length = math.prod(autoencoder.code_shape)  # characters of a picture
        self.characters = "".join(chr(FIRST + code) for code in range(autoencoder.num_codes))

    def check_captions(self, texts, batch_size=1):
        check_texts(texts, batch_size)
        for i, text in enumerate(texts):
            if set(text) & set(self.characters):
                accepted = f"accepted is one without the characters of pictures, U+{FIRST:X} ..."
                raise ValueError(f"texts[{i}]: got {text!r:.40}, {accepted}")

    def make_tokenizer(self, texts):
        """A `CharTokenizer` of the characters of captions and of all pictures."""
        self.check_captions(texts)
        return CharTokenizer.train([*texts, BREAK, self.characters])

    def to_texts(self, texts, images):
        """Captions and their images (n, *image_shape) as texts, for `windows(packed=False)`.

        Each has `length` + 1 characters more than its caption.
        """
        self.check_captions(texts)
        codes = self.autoencoder.encode(images).reshape(-1, self.length)
        if len(codes) != len(texts):
            raise ValueError(f"images: got {len(codes)}, accepted are {len(texts)}.")
        pictures = ("".join(self.characters[code] for code in row) for row in codes)
        return [text + BREAK + picture for text, picture in zip(texts, pictures, strict=True)]

    def to_images(self, texts):
        """The images that texts of `to_texts` end with, float32 (n, *image_shape) in [-1, 1]."""
        check_texts(texts)
        rows = [[ord(x) - FIRST for x in text.rpartition(BREAK)[2]] for text in texts]
        for i, row in enumerate(rows):
            if len(row) != self.length or not set(row) <= set(range(self.autoencoder.num_codes)):
                accepted = f"accepted is a line break and {self.length} characters of a picture"
                raise ValueError(f"texts[{i}]: got {texts[i]!r:.80}, {accepted} in the end.")
        return self.autoencoder.decode(np.reshape(rows, (-1, *self.autoencoder.code_shape)))

    def generate(
        self, model, texts, n=1, temperature=1.0, top_k=None, top_p=None, seed=0, batch_size=32
    ):
        """`n` pictures of each caption: float32 in [-1, 1], (len(texts) * n, *image_shape).

        Args:
            model: a language model with a tokenizer of `make_tokenizer`, trained on `to_texts`.
            texts: a caption or a list of them.
            temperature, top_k, top_p: as in `LanguageModel.generate`.
            seed: an integer in [0, 2**31); the same one and the same batch_size give the same.
            batch_size: so many pictures are written at a time.

        Raises:
            ValueError: an argument is out of range, or a caption too long or of unknown characters.
        """
        known = getattr(getattr(model, "tokenizer", None), "characters", "")
        if not isinstance(model, LanguageModel) or not set(self.characters) <= set(known):
            accepted = "accepted is a language model with a tokenizer of `make_tokenizer`"
            raise ValueError(f"model: got {model!r:.80}, {accepted}.")
        n = check_number("n", n, low=1, integer=True)
        seed = check_number("seed", seed, low=0, below=2**31, integer=True)
        texts = [texts] if isinstance(texts, str) else texts
        self.check_captions(texts, batch_size)
        room = model.context_length - self.length - 2  # two: the line break and END
        for i, text in enumerate(texts):
            if len(model.encode_prompt(text, f"texts[{i}]")) > room + 1:
                raise ValueError(
                    f"texts[{i}]: got {len(text)} characters, accepted are at most {room}: "
                    f"context_length, {model.context_length}, without a picture."
                )
        tokens = np.arange(model.tokenizer.vocab_size)
        only_codes = Only(np.isin(tokens, model.tokenizer.encode(self.characters)))
        rules = only_codes, usual_rule(temperature, top_k, top_p)
        choice = drawn if temperature else likeliest
        prompts = [model.encode_prompt(text + BREAK) for text in texts for _ in range(n)]
        pictures = []
        seeds = np.random.default_rng(seed)
        for i in range(0, len(prompts), batch_size):
            part, own = prompts[i : i + batch_size], int(seeds.integers(2**31))
            *_, (new, _) = write(model, part, self.length, rules, choice, own, compiled=True)
            pictures += new[: len(part)]
        return self.to_images(pictures)
