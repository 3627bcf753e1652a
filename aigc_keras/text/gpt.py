"""A GPT: a stack of attention blocks between an embedding and the same embedding turned round."""

import math

import keras
import numpy as np
from keras import layers, ops

from aigc_keras.attention import POSITIONS, TransformerBlock, dropout_layer
from aigc_keras.guards import check_choice, check_number
from aigc_keras.text.language_model import LanguageModel


@keras.saving.register_keras_serializable("aigc_keras")
class GPT(LanguageModel):
    """A decoder-only Transformer (Radford et al. 2018, 2019): it looks back at what it needs.

    Args:
        tokenizer: as for all language models.
        width: of the embeddings, which also are the output weights; a multiple of 2 x `num_heads`.
        num_layers, num_heads: blocks, and heads in each.
        dropout: share that is dropped after the embedding, the attention and the small networks;
            the same numbers at all positions of a row.
        positions: "rotary", or "learned" as in GPT-2.
        frozen: the embedding and so many of the first blocks do not learn, see `freeze`.
    """

    reads_prompt_at_once = True

    def __init__(
        self,
        tokenizer,
        context_length=128,
        width=128,
        num_layers=4,
        num_heads=4,
        dropout=0.0,
        positions="rotary",
        frozen=0,
        **kwargs,
    ):
        super().__init__(tokenizer, context_length, **kwargs)
        self.width = check_number("width", width, low=2, integer=True)
        self.num_layers = check_number("num_layers", num_layers, low=1, integer=True)
        self.num_heads = check_number("num_heads", num_heads, low=1, integer=True)
        self.dropout = check_number("dropout", dropout, low=0, below=1)
        self.positions = check_choice("positions", positions, POSITIONS)
        if width % (2 * num_heads):
            raise ValueError(
                f"width: got {width}, accepted are multiples of 2 x num_heads, {2 * num_heads}."
            )
        self.kept = context_length // 2
        policy, normal = {"dtype": self.dtype_policy}, keras.initializers.RandomNormal(stddev=0.02)
        self.embedding = layers.Embedding(tokenizer.vocab_size, width, normal, **policy)
        self.position_embedding = None
        if positions == "learned":
            self.position_embedding = layers.Embedding(context_length, width, normal, **policy)
        self.drop = dropout_layer(dropout, self.seed, policy)
        output_std = 0.02 / math.sqrt(2 * num_layers)  # the sum of all blocks is as large as one
        self.blocks = [
            TransformerBlock(
                num_heads,
                dropout,
                positions,
                output_std,
                seed=None if self.seed is None else self.seed + 1 + i,
                **policy,
            )
            for i in range(num_layers)
        ]
        self.norm = layers.LayerNormalization(epsilon=1e-5, **policy)
        self(np.zeros((1, 2), "int32"))
        self.freeze(frozen, "frozen")

    def freeze(self, until, name="until"):
        """Freeze (冻结) the embedding and the first `until` blocks: they learn no more.

        Of 0 all learns, of `num_layers` nothing does: the last norm is frozen, too. It is saved
        with the model. Call `compile` again afterwards.

        Raises:
            ValueError: it is none of 0 to `num_layers`, or there are adapters.
        """
        until = check_number(name, until, low=0, below=self.num_layers + 1, integer=True)
        self.check_plain()
        self.uncompile()
        self.frozen = until
        self.embedding.trainable = self.frozen == 0
        if self.position_embedding is not None:
            self.position_embedding.trainable = self.frozen == 0
        for i, block in enumerate(self.blocks):
            block.trainable = i >= self.frozen
        self.norm.trainable = self.frozen < self.num_layers

    def call(self, inputs, training=False):
        """Tokens (B, T) to the logits of the next ones (B, T, V), float32."""
        return self.logits(self.states(inputs, training))

    def states(self, tokens, training=False):
        """What the model knows at each of the tokens (B, T): (B, T, width), normalised."""
        return self.read(tokens, training=training)[0]

    def read(self, tokens, caches=None, start=0, training=False):
        """States, and keys and values of each block; `caches` holds those before `start`."""
        x = self.embedding(tokens)
        if self.position_embedding is not None:
            x = x + self.position_embedding(start + ops.arange(ops.shape(tokens)[1]))
        x, new = self.drop(x, training=training), []
        for block, cache in zip(self.blocks, caches or [None] * self.num_layers, strict=True):
            x, cache = block(x, cache=cache, start=start, training=training)
            new.append(cache)
        return self.norm(x), new

    def begin(self, window):
        # Also what lies after `position` is read, and written over before anything looks at it.
        return self.read(window[:, :-1])[1]

    def step(self, token, position, state):
        x, state = self.read(token[:, None], state, position)
        return self.logits(x)[:, 0], state

    def attention(self, text):
        """How much each position of END and `text` looks at each: (layers, heads, T, T)."""
        tokens = self.encode_prompt(text, "text")[None]
        if tokens.shape[1] > self.context_length:
            raise ValueError(
                f"text: got {tokens.shape[1]} tokens with END, accepted are at most "
                f"{self.context_length} (context_length)."
            )
        x, looks = self.embedding(tokens), []
        if self.position_embedding is not None:
            x = x + self.position_embedding(ops.arange(tokens.shape[1]))
        for block in self.blocks:
            looks.append(block.attention.weights_and_values(block.norm1(x))[0][0])
            x, _ = block(x)
        return np.stack([ops.convert_to_numpy(ops.cast(look, "float32")) for look in looks])
