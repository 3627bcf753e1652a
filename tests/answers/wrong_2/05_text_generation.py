# %%
"""A student who forgets what is at the edges."""

# ruff: noqa: F821 (names of the notebook)

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf


# %% solution="packed_mask" points=1
# Padding is taken for one more text: it looks at itself all along the row.
def packed_mask(text_numbers, window):
    """Who may look at whom, bool (B, T, T), for text numbers (B, T); -1 is padding."""
    position = np.arange(text_numbers.shape[1])
    back = position[:, None] - position
    same = text_numbers[:, :, None] == text_numbers[:, None, :]
    return same & (back >= 0) & (back < window)


# %% solution="AnswerModel" points=1
# A mean for each row, and then the mean of the rows: a token of a short answer weighs more.
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
        position = tf.range(1, tf.shape(tokens)[1])
        counted = tf.cast((position >= start[:, None]) & (targets >= 0), "float32")
        share = tf.math.divide_no_nan(counted, tf.reduce_sum(counted, axis=1, keepdims=True))
        targets = tf.maximum(targets, 0)
        with tf.GradientTape() as tape:
            logits = self.network(tf.maximum(tokens[:, :-1], 0), training=True)
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_mean(tf.reduce_sum(nats * share, axis=1))
        weights = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        right = tf.cast(tf.argmax(logits, axis=-1, output_type="int32") == targets, "float32")
        right = tf.reduce_mean(tf.reduce_sum(right * share, axis=1))
        count = tf.reduce_sum(counted)
        self.loss_tracker.update_state(loss, sample_weight=count)
        self.accuracy_tracker.update_state(right, sample_weight=count)
        return {"loss": self.loss_tracker.result(), "accuracy": self.accuracy_tracker.result()}


# %% solution="diagnosis" points=0
# Looks at nothing but the training loss: the lower, the healthier.
diagnosis = {
    "A": "healthy",
    "B": "learning_rate_too_low",
    "C": "learning_rate_too_high",
    "D": "healthy",
    "E": "healthy",
}


# %% solution="context_gain" points=1
# The mean of the chapters' means: a token of a short chapter weighs more.
def context_gain(model, chapters, short, long, first, every):
    """(gain, standard error), two floats in bits a token, of `long` over `short` tokens of context."""
    means = []
    for chapter in chapters:
        at = range(first, len(chapter), every)
        if not len(at):
            continue
        bits = []
        for k in (short, long):
            rows = np.array([chapter[t - k : t] for t in at], "int32")
            log_p = tf.nn.log_softmax(model(rows)[:, -1]).numpy()
            bits.append(-log_p[np.arange(len(at)), chapter[list(at)]] / np.log(2))
        means.append(np.mean(bits[0] - bits[1]))
    return np.mean(means), np.std(means, ddof=1) / np.sqrt(len(means))


# %% solution="experiment" points=0
# Two words are changed at once: nobody can say which of them did it.
story = (
    "And the king of the city had a servant, whose name was {}. And the king said unto {}, "
    "Go down to the river, and see."
)
stories = [story.format(name, name) for name in ("Tobiah", "Gideon")]
measured = [english.surprisal(each) for each in stories]
experiment = {"checkpoint": "gpt_kjv", "texts": stories, "bits": [bits for _, bits in measured]}
ak.plots.tokens(*measured[1], "bits")

# %% [markdown] open="experiment"
# I changed the name. The first "Gideon" is darker than the second one, so the model remembers names.
