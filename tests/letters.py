"""What the tests of chapter 05 share: texts of four letters, and a model that is a table."""

import numpy as np
from keras import ops

from aigc_keras import text

END, PADDING = text.END, text.PADDING
LETTERS = text.CharTokenizer("abcd")  # END, unknown, a, b, c, d
SIZE = LETTERS.vocab_size


class Table(text.LanguageModel):
    """The logits of the next token are a row of a table: that of the last token."""

    def __init__(self, tokenizer=LETTERS, context_length=24, **kwargs):
        super().__init__(tokenizer, context_length, **kwargs)
        shape = (tokenizer.vocab_size, tokenizer.vocab_size)
        self.table = self.add_weight(shape=shape, initializer="zeros", name="table")
        self.built = True

    def call(self, inputs, training=False):
        return ops.take(self.table, ops.cast(inputs, "int32"), axis=0)

    def begin(self, window):
        return ()

    def step(self, token, position, state):
        return ops.take(self.table, token, axis=0), state


def random_table(seed=0, size=SIZE):
    return np.random.default_rng(seed).normal(0, 1.5, (size, size)).astype("float32")


def evaluate(model, texts, batch_size=4, packed=False):
    data = model.windows(texts, batch_size, shuffle=False, packed=packed)
    return model.evaluate(data, verbose=0, return_dict=True)


def rows_of(batches):
    """All rows but those that only fill up the last batch."""
    rows = np.concatenate(list(batches))
    return rows[(rows != PADDING).any(axis=1)]


def random_letters(n_texts, length, seed=0, letters="abcd"):
    """Texts of `length` letters or fewer in which some follow others more often."""
    rng, texts = np.random.default_rng(seed), []
    for _ in range(n_texts):
        state, letter = "", 0
        for _ in range(rng.integers(1, length + 1)):
            letter = (letter + rng.choice(len(letters), p=[0.1, 0.6, 0.2, 0.1])) % len(letters)
            state += letters[letter]
        texts.append(state)
    return texts


def scrambled(model, seed=0, std=0.4):
    """With large random weights: nothing is near zero, and no two logits are nearly alike."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(rng.normal(weight.name == "gamma", std, weight.shape))
    return model
