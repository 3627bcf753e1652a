"""What models from text to text do alike: data, objective, writing."""

import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.guards import check_number, check_seed
from aigc_keras.model import steady
from aigc_keras.text.language_model import TokenModel
from aigc_keras.text.sampling import Beams, drawn, likeliest, usual_rule
from aigc_keras.text.tokenizers import END, PADDING, check_texts, check_tokenizer
from aigc_keras.text.writing import write


def filled(rows, limit, size=None):
    """Rows of tokens as one array, int32 (size, T), with PADDING behind and below them.

    T is a multiple of 8, or `limit`: few lengths need few graphs.
    """
    length = min(-(-max(map(len, rows)) // 8) * 8, limit)
    array = np.full((size or len(rows), length), PADDING, "int32")
    for row, tokens in zip(array, rows, strict=False):
        row[: len(tokens)] = tokens
    return array


def _ragged(arrays):
    """One tensor of arrays of any sizes, a flat row each."""
    flat = np.concatenate([x.ravel() for x in arrays])
    return tf.RaggedTensor.from_row_lengths(flat, [x.size for x in arrays])


class TextToText(TokenModel):
    """p(target | source). A child gives `call`, and `begin` and `step` for `generate`.

    Args:
        source_tokenizer: of what is read: a `CharTokenizer` or `BPETokenizer`.
        target_tokenizer: of what is written; by default the same, with the same embeddings.
        context_length: at most so many tokens are read, and written, END included.
        label_smoothing: in training, such a share of what is aimed at is all tokens alike (Szegedy
            et al. 2016, arXiv:1512.00567, section 7).
        seed: seed of dropout and of `generate`; by default `keras.utils.set_random_seed` decides.
    """

    reads_prompt_at_once = True  # it is but END
    kept = 0

    def __init__(
        self,
        source_tokenizer,
        target_tokenizer=None,
        context_length=64,
        label_smoothing=0.1,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.source_tokenizer = check_tokenizer("source_tokenizer", source_tokenizer)
        if target_tokenizer is not None:
            check_tokenizer("target_tokenizer", target_tokenizer)
        self.target_tokenizer = target_tokenizer
        self.context_length = check_number("context_length", context_length, low=2, integer=True)
        self.label_smoothing = check_number("label_smoothing", label_smoothing, low=0, below=1)
        self.set_up(seed)

    def embed(self, width, initializer):
        """Vectors of tokens: `embedding` of what is written, `source_embedding` of what is read."""
        policy = {"dtype": self.dtype_policy}
        size = self.tokenizer.vocab_size
        self.embedding = layers.Embedding(size, width, initializer, **policy)
        self.source_embedding = self.embedding
        if self.target_tokenizer is not None:
            size = self.source_tokenizer.vocab_size
            self.source_embedding = layers.Embedding(size, width, initializer, **policy)

    @property
    def tokenizer(self):
        """The one of what is written."""
        return self.target_tokenizer or self.source_tokenizer

    def compile(self, optimizer=None, jit_compile=False, **kwargs):
        """Choose the optimizer; by default `adamw`. XLA would compile for each length anew."""
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)

    def call_signature(self):
        return [tf.TensorSpec((None, None), "int32", name=x) for x in ("sources", "targets")]

    # the data

    def batches(self, sources, targets, batch_size=64, shuffle=True, seed=0):
        """Batches for `fit`, as a `tf.data.Dataset` of (sources (B, S), targets (B, T)), int32.

        A row of sources is a text with END after it, a row of targets one with END before and
        after; PADDING fills up. Texts of nearly one length share a batch, so that little is filled.

        Args:
            sources, targets: lists of strings: targets[i] is what sources[i] becomes.
            shuffle: the batches in a new order each epoch. False: by length.

        Raises:
            ValueError: not as many targets as sources, or a text that is too long.
        """
        check_texts(sources, batch_size)
        check_texts(targets)
        check_seed(seed)
        if len(sources) != len(targets):
            raise ValueError(f"targets: got {len(targets)} texts, accepted are {len(sources)}.")
        read = self.tokens_of(sources, self.source_tokenizer, "sources")
        written = self.tokens_of(targets, self.tokenizer, "targets")
        written = [np.append(END, row).astype("int32") for row in written]
        order = np.lexsort([[len(row) for row in rows] for rows in (read, written)])
        parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        limit = self.context_length
        with tf.device("CPU"):
            arrays = [
                _ragged([filled([rows[i] for i in part], most, batch_size) for part in parts])
                for rows, most in ((read, limit), (written, limit + 1))
            ]
        index = tf.data.Dataset.range(len(parts))
        if shuffle:
            index = index.shuffle(len(parts), seed=seed, reshuffle_each_iteration=True)

        def take(k):
            return tuple(tf.reshape(x[k], (batch_size, -1)) for x in arrays)

        return steady(index.map(take).prefetch(2))

    def tokens_of(self, texts, tokenizer, name="texts"):
        """Of each text its tokens and END, int32 (T,); an error calls the texts `name`."""
        rows = [np.append(tokenizer.encode(text), END).astype("int32") for text in texts]
        for i, row in enumerate(rows):
            if len(row) > self.context_length:
                raise ValueError(
                    f"{name}[{i}]: got {len(row)} tokens with END, accepted are at most "
                    f"{self.context_length} (context_length)."
                )
        return rows

    def unpack(self, data):
        """(sources, targets) of a batch, int32."""
        return tuple(ops.cast(part, "int32") for part in self.parts_of(data))

    @property
    def accepted_data(self):
        return (
            f"accepted are two arrays of integers, sources (N, S) with S <= {self.context_length} "
            f"and targets (N, T) with 2 <= T <= {self.context_length + 1}, tokens of their "
            f"tokenizers or {PADDING}: model.batches(sources, targets) makes them."
        )

    def check_parts(self, name, parts):
        if len(parts) != 2:
            raise ValueError(f"{name}: got {len(parts)} parts, {self.accepted_data}")

    def check_batch(self, name, parts):
        self.check_parts(name, parts)
        sizes = self.source_tokenizer.vocab_size, self.tokenizer.vocab_size
        limits = (1, self.context_length), (2, self.context_length + 1)
        for part, size, (low, high) in zip(parts, sizes, limits, strict=True):
            x = np.asarray(part)
            good = x.ndim == 2 and np.issubdtype(x.dtype, np.integer) and len(x) > 0
            if not good or not low <= x.shape[1] <= high or len(x) != len(parts[0]):
                raise ValueError(f"{name}: got {x.dtype} of shape {x.shape}, {self.accepted_data}")
            if x.min() < PADDING or x.max() >= size:
                raise ValueError(
                    f"{name}: got values from {x.min()} to {x.max()}, {self.accepted_data}"
                )

    # the objective

    def token_losses(self, sources, tokens, training=False):
        """Of each target but the first, nats (B, T - 1) twice; 0 for padding.

        -log p of the right token, and the mean of -log p over all tokens: what smoothing adds.
        """
        known, targets = tokens[:, 1:] != PADDING, ops.maximum(tokens[:, 1:], END)
        log_p = ops.log_softmax(self([sources, tokens[:, :-1]], training=training))
        nats = -ops.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
        if self.tokenizer.unknown is not None:
            nats = nats + ops.take(self.tokenizer.extra_nats, targets)
        return tuple(ops.where(known, x, 0.0) for x in (nats, -ops.mean(log_p, axis=-1)))

    def sequence_loss(self, sources, tokens, training=False):
        """(mean over the tokens, in training smoothed; sum of -log p; number of tokens), nats."""
        nats, spread = self.token_losses(sources, tokens, training)
        smoothing = self.label_smoothing if training else 0.0
        count = ops.sum(ops.cast(tokens[:, 1:] != PADDING, "float32"))
        total = ops.sum(nats)
        loss = (1 - smoothing) * total + smoothing * ops.sum(spread)
        return loss / ops.maximum(count, 1.0), total, count

    def train_step(self, data):
        sources, tokens = self.unpack(data)
        with tf.GradientTape() as tape:
            loss, total, count = self.sequence_loss(sources, tokens, training=True)
        self.descend(tape, loss, count)
        return self.track(tokens, loss, total, count)

    def test_step(self, data):
        sources, tokens = self.unpack(data)
        return self.track(tokens, *self.sequence_loss(sources, tokens))

    # writing

    def generate(
        self,
        texts,
        max_new_tokens=None,
        temperature=0.0,
        top_k=None,
        top_p=None,
        seed=None,
        cache=True,
        rules=(),
        batch_size=64,
    ):
        """What becomes of `texts`: of a string a string, of a list a list.

        Args:
            max_new_tokens: at most so many tokens, by default context_length.
            temperature: 0 takes the likeliest token each time; otherwise as `top_k`, `top_p`,
                `seed`, `cache` and `rules` in `LanguageModel.generate`.
            batch_size: so many texts at a time.

        Raises:
            ValueError: an argument is out of range, or a text is too long.
        """
        usual = usual_rule(temperature, top_k, top_p)
        settings = {"cache": cache, "compiled": not rules, "seed": self._seed(seed)}
        rules, choice = (*self._rules(rules), usual), drawn if temperature else likeliest
        return self._write(
            texts, batch_size, max_new_tokens, rules, choice, lambda texts, _: texts, **settings
        )

    def beam_search(
        self, texts, n_beams=4, max_new_tokens=None, length_penalty=1.0, rules=(), batch_size=16
    ):
        """The likeliest `n_beams` texts found, as (text, log p), best first; of a list, a list.

        As `LanguageModel.beam_search`; a `length_penalty` of 0 prefers short texts.
        """
        n_beams = check_number("n_beams", n_beams, low=1, integer=True)
        beams = Beams(n_beams, check_number("length_penalty", length_penalty, low=0))
        given = texts, batch_size, max_new_tokens, self._rules(rules), beams, beams.sorted
        return self._write(*given, rows=beams.rows, seed=0)

    def _write(self, texts, batch_size, max_new_tokens, rules, choice, result, seed, **settings):
        """`result` of what is written for each of `texts`, those of about one length together."""
        length = self.context_length if max_new_tokens is None else max_new_tokens
        length = check_number("max_new_tokens", length, low=1, integer=True)
        if length > self.context_length:
            raise ValueError(
                f"max_new_tokens: got {length}, accepted are at most {self.context_length} "
                "(context_length)."
            )
        alone = isinstance(texts, str)
        texts = [texts] if alone else texts
        check_texts(texts, batch_size)
        rows, found = self.tokens_of(texts, self.source_tokenizer), [None] * len(texts)
        order = np.argsort([len(row) for row in rows], kind="stable")
        for i in range(0, len(rows), batch_size):
            part = order[i : i + batch_size]
            prompts = [np.array([END], "int32")] * len(part)
            sources = (filled([rows[k] for k in part], self.context_length),)
            numbers = (seed + i) % 2**31
            written = write(
                self, prompts, length, rules, choice, numbers, sources=sources, **settings
            )
            *_, last = written
            for k, one in zip(part, result(*last), strict=False):
                found[k] = one
        return found[0] if alone else found
