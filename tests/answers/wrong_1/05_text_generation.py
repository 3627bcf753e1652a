# %%
"""A student who pleases the visible tests, more or less."""

# ruff: noqa: F821 (names of the notebook)

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="packed_mask" points=1
# A window of w that sees w tokens before this one: one too many.
def packed_mask(text_numbers, window):
    """Who may look at whom, bool (B, T, T), for text numbers (B, T); -1 is padding."""
    position = np.arange(text_numbers.shape[1])
    back = position[:, None] - position
    same = text_numbers[:, :, None] == text_numbers[:, None, :]
    same &= text_numbers[:, :, None] != -1
    return (same & (back >= 0) & (back <= window)) | (back == 0)


# %% solution="AnswerModel" points=1
# The epoch's loss is the mean of the batches' losses, however many tokens each has.
class AnswerModel(keras.Model):
    """A language model that is trained on answers only."""

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.accuracy_tracker = keras.metrics.Mean(name="accuracy")
        self.built = True

    @property
    def metrics(self):
        return [self.loss_tracker, self.accuracy_tracker]  # Keras resets them at each epoch

    def train_step(self, data):
        """One update from (tokens (B, T), start (B,)): a dict with the epoch's loss and accuracy."""
        tokens, start = data
        targets = tokens[:, 1:]
        position = ops.arange(1, ops.shape(tokens)[1], dtype="int32")
        counted = (position >= start[:, None]) & (targets != -1)
        counted = ops.cast(counted, "float32")
        count = ops.maximum(ops.sum(counted), 1.0)
        targets = ops.maximum(targets, 0)
        with tf.GradientTape() as tape:
            logits = self.network(ops.maximum(tokens[:, :-1], 0), training=True)
            nats = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
            loss = ops.sum(nats * counted) / count
        weights = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        right = ops.cast(ops.argmax(logits, axis=-1), targets.dtype) == targets
        self.loss_tracker.update_state(loss)
        self.accuracy_tracker.update_state(ops.sum(ops.cast(right, "float32") * counted) / count)
        return {"loss": self.loss_tracker.result(), "accuracy": self.accuracy_tracker.result()}


# %% solution="diagnosis" points=2
# Two losses near zero: takes one for the other, without a look at what the runs write.
diagnosis = {
    "A": "targets_not_shifted",
    "B": "healthy",
    "C": "learning_rate_too_high",
    "D": "looks_ahead",
    "E": "memorises",
}


# %% solution="context_gain" points=1
# The standard error as if all tokens were independent draws.
def context_gain(model, chapters, short, long, first, every):
    """(gain, standard error), two floats in bits a token, of `long` over `short` tokens of context."""
    targets = [(c, t) for c, x in enumerate(chapters) for t in range(first, len(x), every)]
    right = np.array([chapters[c][t] for c, t in targets])
    bits = []
    for k in (short, long):
        rows = np.array([chapters[c][t - k : t] for c, t in targets], "int32")
        log_p = np.array(ops.log_softmax(model(rows)[:, -1]))
        bits.append(-log_p[np.arange(len(right)), right] / np.log(2))
    gains = bits[0] - bits[1]
    return gains.mean(), gains.std(ddof=1) / np.sqrt(len(gains))


# %% solution="experiment" points=0
# The library's losses are nats, not bits.
texts_of_mine = [
    f"And the king of the city had a servant, whose name was {name}. And the king said unto Tobiah, "
    "Go down to the river, and see."
    for name in ("Tobiah", "Gideon")
]
losses = [
    np.array(english.token_losses(english.encode_prompt(text)[None]))[0] for text in texts_of_mine
]
experiment = {"checkpoint": "gpt_kjv", "texts": texts_of_mine, "bits": losses}
ak.plots.tokens(
    [english.tokenizer.decode([t]) for t in english.tokenizer.encode(texts_of_mine[0])], losses[0]
)

# %% [markdown] open="experiment"
# The names are dark because they are names, and the small words are light. This shows that the model has understood the story.
