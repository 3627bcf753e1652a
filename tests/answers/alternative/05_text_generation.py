# %%
"""A student whose answers are right, written differently from the model answers."""

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf


# %% solution="packed_mask"
def packed_mask(text_numbers, window):
    """Who may look at whom, bool (B, T, T), for text numbers (B, T); -1 is padding."""
    numbers = tf.convert_to_tensor(text_numbers)
    batch, length = numbers.shape
    band = tf.ones((batch, length, length))
    band = tf.linalg.band_part(band, min(window - 1, length - 1), 0) > 0
    # Padding gets a number of its own at each place, so that it is like nothing else.
    own = -1 - tf.range(length, dtype=numbers.dtype)
    names = tf.where(numbers < 0, own, numbers)
    return band & tf.equal(names[:, :, tf.newaxis], names[:, tf.newaxis])


# %% solution="AnswerModel"
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
        length = tf.shape(tokens)[1]
        # Only the (row, position) of what counts; position 0 never does.
        before_answer = tf.sequence_mask(tf.maximum(start, 1), length)
        places = tf.where(~before_answer & (tokens >= 0))
        chosen = tf.gather_nd(tokens, places)
        with tf.GradientTape() as tape:
            logits = self.network(tf.where(tokens < 0, 0, tokens), training=True)
            logits = tf.gather_nd(logits, places - [0, 1])
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(chosen, logits)
            loss = tf.math.divide_no_nan(tf.reduce_sum(nats), tf.cast(tf.size(nats), "float32"))
        variables = self.network.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self.loss_tracker.update_state(nats)  # a mean of tokens, so each weighs 1
        likeliest = tf.argmax(logits, axis=-1, output_type=chosen.dtype)
        self.accuracy_tracker.update_state(tf.cast(likeliest == chosen, "float32"))
        return {metric.name: metric.result() for metric in self.metrics}


# %% solution="diagnosis"
diagnosis = {
    "E": "memorises",
    "D": "targets_not_shifted",
    "C": "learning_rate_too_high",
    "B": "healthy",
    "A": "looks_ahead",
}


# %% solution="context_gain"
def context_gain(model, chapters, short, long, first, every):
    """(gain, standard error), two floats in bits a token, of `long` over `short` tokens of context."""
    gains = []
    for chapter in chapters:
        chapter = np.asarray(chapter, "int32")
        at = np.arange(first, len(chapter), every)
        if len(at) == 0:
            continue
        bits = {}
        for k in (short, long):
            rows = chapter[at[:, None] + np.arange(-k, 0)]
            p = tf.nn.softmax(model(rows)[:, -1]).numpy()
            bits[k] = -np.log2(p[range(len(at)), chapter[at]])
        gains.append(bits[short] - bits[long])
    rng, means = np.random.default_rng(0), []
    for _ in range(500):
        drawn = rng.integers(0, len(gains), len(gains))
        means.append(np.mean(np.concatenate([gains[i] for i in drawn])))
    return float(np.mean(np.concatenate(gains))), float(np.std(means))


# %% solution="experiment"
poet = ak.checkpoints.load("gpt_tang")
quatrain = "山中春雨歇，江上夜舟还。\n明月无人问，清风到旧关。"
experiment = {"checkpoint": "gpt_tang", "texts": [quatrain, quatrain.replace("月", "日")]}
experiment["bits"] = []
for version in experiment["texts"]:
    tokens = poet.encode_prompt(version)
    p = tf.nn.softmax(poet(tokens[None, :-1])[0]).numpy()
    experiment["bits"].append(
        [-np.log2(row[token]) for row, token in zip(p, tokens[1:], strict=True)]
    )
ak.plots.tokens(
    [*experiment["texts"][0], "\n", *experiment["texts"][1]],
    np.concatenate([experiment["bits"][0], [0], experiment["bits"][1]]),
    "bits",
    columns=30,
)

# %% [markdown] open="experiment"
# I changed 月 (moon) to 日 (sun) in the third verse, and expected 日 to be dark, and "nobody asks" after it darker than after the moon, which is what poets
# speak to. It is the other way round: 日 is *light*, 0.6 bits, and 月 has 1.7. After 明 the sun makes "tomorrow" (明日), the moon "bright moon" (明月).
# *Dark* is 舟 (boat), 9.4 bits: after "at night on the river" much can come. *Behind the change* 清 (clear) has 7.2 bits instead of 6.5: where the moon
# stands in one verse, a clear wind is what the poems of the training text like to put beside it, and the model can look back at 月 when it comes to the next verse.
# That is one quatrain and less than one bit, and 问 went the other way (5.5 to 5.1). I would take the mean over all quatrains with 明月, each changed in this way.
