"""Two networks from text to text: a Transformer, and recurrent ones with and without attention."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.attention import TransformerBlock, dropout_layer
from aigc_keras.guards import check_choice, check_number
from aigc_keras.seq2seq.model import TextToText
from aigc_keras.text.recurrent import CELLS, Recurrent
from aigc_keras.text.tokenizers import END, padding_of


@keras.saving.register_keras_serializable("aigc_keras")
class Seq2Seq(TextToText):
    """An encoder-decoder Transformer (Vaswani et al. 2017, arXiv:1706.03762).

    As there, but with the norm before each part, rotary positions, and GELU: the blocks of `GPT`.
    The encoder sees the whole source; the decoder what it has written, and the encoder's output.

    Args:
        width: of the embeddings, which also are the output weights; a multiple of 2 x `num_heads`.
        num_layers, num_heads: blocks of the encoder, and as many of the decoder; heads in each.
        dropout: as in `GPT`.
        source_tokenizer, target_tokenizer, context_length, label_smoothing, seed: `TextToText`.
    """

    def __init__(
        self,
        source_tokenizer,
        target_tokenizer=None,
        context_length=64,
        width=128,
        num_layers=2,
        num_heads=4,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(source_tokenizer, target_tokenizer, context_length, **kwargs)
        self.width = check_number("width", width, low=2, integer=True)
        self.num_layers = check_number("num_layers", num_layers, low=1, integer=True)
        self.num_heads = check_number("num_heads", num_heads, low=1, integer=True)
        self.dropout = check_number("dropout", dropout, low=0, below=1)
        if width % (2 * num_heads):
            raise ValueError(
                f"width: got {width}, accepted are multiples of 2 x num_heads, {2 * num_heads}."
            )
        policy, normal = {"dtype": self.dtype_policy}, keras.initializers.RandomNormal(stddev=0.02)
        self.embed(width, normal)
        self.drop = dropout_layer(dropout, self.seed, policy)
        output_std = 0.02 / math.sqrt(2 * num_layers)

        def blocks(first_seed, **kind):
            return [
                TransformerBlock(
                    *(num_heads, dropout, "rotary", output_std),
                    seed=None if self.seed is None else self.seed + first_seed + i,
                    **kind,
                    **policy,
                )
                for i in range(num_layers)
            ]

        self.encoder = blocks(1, causal=False)
        self.decoder = blocks(1 + num_layers, cross=True)
        self.encoder_norm = layers.LayerNormalization(epsilon=1e-5, **policy)
        self.decoder_norm = layers.LayerNormalization(epsilon=1e-5, **policy)
        self([np.zeros((1, 2), "int32")] * 2)

    def call(self, inputs, training=False):
        """[sources (B, S), targets (B, T)] to the logits of the next target (B, T, V), float32."""
        sources, tokens = inputs
        memory, hidden = self.encode(sources, training)
        memories = [memory] * self.num_layers
        return self.decode(ops.maximum(tokens, END), memories, hidden, training=training)[0]

    def encode(self, sources, training=False):
        """What the encoder makes of sources (B, S): (B, S, width); which of it is padding."""
        hidden = padding_of(sources)
        x = self.drop(self.source_embedding(ops.maximum(sources, END)), training=training)
        for block in self.encoder:
            x, _ = block(x, hidden=hidden, training=training)
        return self.encoder_norm(x), hidden

    def decode(self, tokens, memories, hidden, caches=None, start=0, training=False):
        """Logits, and keys and values of each block; `memories` is what each looks at."""
        x, new = self.drop(self.embedding(tokens), training=training), []
        caches = caches or [None] * self.num_layers
        for block, memory, cache in zip(self.decoder, memories, caches, strict=True):
            given = {"memory": memory, "memory_hidden": hidden, "cache": cache, "start": start}
            x, cache = block(x, training=training, **given)
            new.append(cache)
        return self.logits(self.decoder_norm(x)), new

    def begin(self, window, sources):
        memory, hidden = self.encode(sources)
        memories = [block.cross.keys_and_values(memory) for block in self.decoder]
        return self.decode(window[:, :-1], memories, hidden)[1], memories, hidden

    def step(self, token, position, state):
        caches, memories, hidden = state
        logits, caches = self.decode(token[:, None], memories, hidden, caches, position)
        return logits[:, 0], (caches, memories, hidden)

    def attention(self, source, target):
        """Where the decoder looks in `source`, with END, (layers, heads, T, S), float32.

        Row 0 is what it sees before the first token of `target`, row 1 before the second, and so
        on: T is one more than the tokens.
        """
        read = self.tokens_of([source], self.source_tokenizer, "source")[0]
        written = self.tokens_of([target], self.tokenizer, "target")[0]
        memory, hidden = self.encode(ops.convert_to_tensor(read[None]))
        x, looks = self.embedding(np.append(END, written[:-1])[None]), []
        for block in self.decoder:
            seen = x + block.attention(block.norm1(x))[0]
            looks.append(block.cross.weights_and_values(block.norm3(seen), memory, hidden)[0][0])
            x, _ = block(x, memory=memory, memory_hidden=hidden)
        return np.stack([ops.convert_to_numpy(ops.cast(look, "float32")) for look in looks])


@keras.saving.register_keras_serializable("aigc_keras")
class RNNSeq2Seq(TextToText):
    """A recurrent encoder, a recurrent decoder (Sutskever et al. 2014, arXiv:1409.3215).

    All that the decoder knows of the source is one vector, the encoder's last state. With attention
    it also looks at all states, by the scores of Bahdanau et al. 2015 (arXiv:1409.0473, appendix
    A.1.2). It looks after its own step, not before (Luong et al. 2015, arXiv:1508.04025): then all
    positions are trained at once.

    Args:
        cell: "rnn", "gru" or "lstm".
        units: width of states and embeddings; the latter also are the output weights.
        with_attention: whether the decoder looks back.
        dropout: share of the states' numbers that are dropped in training.
        source_tokenizer, target_tokenizer, context_length, label_smoothing, seed: `TextToText`.
    """

    default_learning_rate = 5e-3

    def __init__(
        self,
        source_tokenizer,
        target_tokenizer=None,
        context_length=64,
        cell="lstm",
        units=128,
        with_attention=True,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(source_tokenizer, target_tokenizer, context_length, **kwargs)
        self.cell = check_choice("cell", cell, tuple(CELLS))
        self.units = check_number("units", units, low=1, integer=True)
        self.dropout = check_number("dropout", dropout, low=0, below=1)
        self.with_attention = bool(with_attention)
        policy, normal = {"dtype": self.dtype_policy}, keras.initializers.RandomNormal(stddev=0.2)
        self.embed(units, normal)
        self.drop = dropout_layer(dropout, self.seed, policy)
        self.encoder, self.decoder = (Recurrent(units, cell, **policy) for _ in range(2))
        n_states = CELLS[cell][2]
        self.bridge = layers.Dense(n_states * units, "tanh", **policy)
        if self.with_attention:
            self.query, self.key = (
                layers.Dense(units, use_bias=i, **policy) for i in (True, False)
            )
            self.score = layers.Dense(1, use_bias=False, **policy)
            self.combine = layers.Dense(units, "tanh", **policy)
        self([np.zeros((1, 2), "int32")] * 2)

    def call(self, inputs, training=False):
        """[sources (B, S), targets (B, T)] to the logits of the next target (B, T, V), float32."""
        sources, tokens = inputs
        state, seen = self.encode(sources, training)
        x = self.decoder(self.embedding(ops.maximum(tokens, END)), state)
        return self.answer(self.drop(x, training=training), seen)

    def encode(self, sources, training=False):
        """The decoder's first state; what it may look at: states (B, S, units), keys, padding."""
        hidden = padding_of(sources)
        states = self.encoder(self.source_embedding(ops.maximum(sources, END)))
        states = self.drop(states, training=training)
        last = ops.sum(ops.cast(~hidden, "int32"), axis=1) - 1
        last = ops.take_along_axis(states, last[:, None, None], axis=1)[:, 0]
        first = ops.split(self.bridge(last), CELLS[self.cell][2], axis=-1)
        return tuple(first), (states, self.key(states), hidden) if self.with_attention else ()

    def look(self, x, seen):
        """How much each of (B, T, units) looks at each state of the source: (B, T, S)."""
        states, keys, hidden = seen
        mixed = ops.tanh(self.query(x)[:, :, None] + keys[:, None])
        scores = ops.cast(self.score(mixed)[..., 0], "float32")
        weights = tf.nn.softmax(ops.where(hidden[:, None], -math.inf, scores))
        return ops.cast(weights, states.dtype)

    def answer(self, x, seen):
        if self.with_attention:
            context = ops.matmul(self.look(x, seen), seen[0])
            x = self.combine(ops.concatenate([x, context], axis=-1))
        return self.logits(x)

    def begin(self, window, sources):
        return self.encode(sources)

    def step(self, token, position, state):
        before, seen = state
        after = self.decoder.step(self.embedding(token), before)
        return self.answer(after[0][:, None], seen)[:, 0], (after, seen)

    def attention(self, source, target):
        """Where the decoder looks in `source`, with END, (T, S), float32; rows as `Seq2Seq`'s."""
        if not self.with_attention:
            raise ValueError("with_attention: got False, accepted is True: it looks nowhere.")
        read = self.tokens_of([source], self.source_tokenizer, "source")[0]
        written = self.tokens_of([target], self.tokenizer, "target")[0]
        state, seen = self.encode(ops.convert_to_tensor(read[None]))
        x = self.decoder(self.embedding(np.append(END, written[:-1])[None]), state)
        return ops.convert_to_numpy(ops.cast(self.look(x, seen)[0], "float32"))
