"""Language models (语言模型): chapter 05.

A text is a row of tokens, and the chain rule splits its probability without loss:
p(x) = p(x_1) p(x_2 | x_1) p(x_3 | x_1, x_2) ... Every model here gives p(next token | those before)
and is trained on the cross-entropy of that, in nats a token.
"""

import collections
import functools
import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.guards import (
    check_choice,
    check_compile,
    check_number,
    check_optimizer,
    check_seed,
    extra,
)
from aigc_keras.metrics import BitsPerCharacter, Perplexity
from aigc_keras.model import Model, by_name, compile_config, restored, steady
from aigc_keras.replicas import Dropout, scaled

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


def check_texts(texts, batch_size=1):
    """A ValueError unless `texts` is a list of strings, and `batch_size` a positive integer."""
    check_number("batch_size", batch_size, low=1, integer=True)
    if not isinstance(texts, list | tuple) or len(texts) == 0:
        raise ValueError(f"texts: got {texts!r:.40}, accepted is a list of at least one string.")
    for i, text in enumerate(texts):
        check_text(f"texts[{i}]", text)


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


# --- tokenisers (分词器): text to integers and back ---


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
        index = np.searchsorted(self.points, points).clip(max=max(len(self.points) - 1, 0))
        known = self.points[index] == points if len(self.points) else np.zeros(len(points), bool)
        return np.where(known, index + 2, self.unknown).astype("int32")

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


# --- sampling (采样): from logits (B, V) to a token each ---


def bounded(number):
    """`number` > 0 in [1e-20, 1e10], where float32 can divide by it; beyond, limits are reached."""
    return min(max(number, 1e-20), 1e10)


def penalize_repetition(logits, seen, repetition_penalty):
    """Make tokens `seen` (B, V), bool, less likely: after Keskar et al. 2019, arXiv:1909.05858.

    A positive logit is divided by `repetition_penalty` >= 1 (section 4.1). A negative one is
    multiplied by it: dividing would make it likelier.
    """
    if not tf.is_tensor(repetition_penalty):
        repetition_penalty = bounded(check_number("repetition_penalty", repetition_penalty, low=1))
    lower = ops.where(logits > 0, logits / repetition_penalty, logits * repetition_penalty)
    return ops.where(seen, lower, logits)


def keep_top(logits, top_k=None, top_p=None):
    """Logits (B, V) of the distribution that is drawn from; what is cut off has -inf.

    Args:
        top_k: keep the k largest (Fan et al. 2018, arXiv:1805.04833).
        top_p: then keep the fewest largest that together have probability >= top_p (Holtzman et al.
            2020, arXiv:1904.09751); 1 keeps all. Of equal logits all are kept or none.
    """
    check_top(top_k, top_p)
    if top_k is None and top_p is None:
        return logits
    ordered = ops.sort(logits, axis=-1)  # the smallest first
    smallest, size = ordered[..., :1], ordered.shape[-1]
    if top_k is not None:
        top_k = ops.minimum(top_k, size) if tf.is_tensor(top_k) else min(top_k, size)
        smallest = ops.take(ordered, [size - top_k], axis=-1)
        ordered = ops.where(ordered < smallest, -math.inf, ordered)
    if top_p is not None:
        # Of each and all smaller ones: float32, or a sum from the largest down, would lose the
        # smallest of many tokens.
        together = ops.cumsum(ops.softmax(ops.cast(ordered, "float64")), axis=-1)
        rest = 1 - (tf.cast(top_p, "float64") if tf.is_tensor(top_p) else float(top_p))
        left = (together > rest) | (rest == 0)
        smallest = ops.min(ops.where(left, ordered, ordered[..., -1:]), axis=-1, keepdims=True)
    return ops.where(logits < smallest, -math.inf, logits)


def check_top(top_k, top_p):
    """A ValueError unless they are None, or an integer >= 1 and a number in (0, 1]."""
    # In a graph there is nothing to look at.
    if top_k is not None and not tf.is_tensor(top_k):
        check_number("top_k", top_k, low=1, integer=True)
    if top_p is None or tf.is_tensor(top_p):
        return
    if not 0 < check_number("top_p", top_p, low=0) <= 1:
        raise ValueError(f"top_p: got {top_p}, accepted is a number in (0, 1].")


def draw(logits, seed):
    """One token each, int32 (B,), from the softmax of `logits`; `seed` is two integers.

    argmax(logits + Gumbel noise) has exactly that distribution (Gumbel 1954; Maddison et al. 2014).
    """
    tiny = np.finfo("float32").tiny
    uniform = tf.random.stateless_uniform(tf.shape(logits), seed, minval=tiny, alg="philox")
    return ops.cast(ops.argmax(logits - ops.log(-ops.log(uniform)), axis=-1), "int32")


# --- the optimizer ---


def adamw(steps=None, learning_rate=2e-3, warmup_steps=100, weight_decay=0.1, clipnorm=1.0):
    """AdamW with gradient clipping, a warm-up and, over `steps` in all, a cosine decay to a tenth.

    Without `steps` the rate stays where the warm-up ends. `clipnorm`: of all gradients together.
    """
    check_number("learning_rate", learning_rate, low=0)
    check_number("warmup_steps", warmup_steps, low=0, integer=True)
    check_number("weight_decay", weight_decay, low=0)
    if clipnorm is not None:
        check_number("clipnorm", clipnorm, low=1e-6)
    if steps is not None:
        steps = check_number("steps", steps, low=warmup_steps + 1, integer=True) - warmup_steps
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        steps or 1,
        alpha=0.1 if steps else 1.0,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
    return keras.optimizers.AdamW(rate, weight_decay, beta_2=0.98, global_clipnorm=clipnorm)


# --- what all language models do alike ---


class LanguageModel(Model):
    """p(next token | tokens before). A child gives `call`, and `begin` and `step` for `generate`.

    Args:
        tokenizer: a `CharTokenizer` or `BPETokenizer`; it is saved with the model.
        context_length: how many tokens the model reads at a time in training.
        seed: seed of dropout and of `generate`; by default `keras.utils.set_random_seed` decides.
    """

    default_learning_rate = 2e-3

    def __init__(self, tokenizer, context_length=128, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not hasattr(tokenizer, "vocab_size"):
            raise ValueError(
                f"tokenizer: got {tokenizer!r:.80}, accepted is a CharTokenizer or BPETokenizer."
            )
        self.tokenizer = tokenizer
        self.context_length = check_number("context_length", context_length, low=2, integer=True)
        self.seed = check_seed(seed)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.perplexity = Perplexity(name="perplexity")
        self.bits_per_character = BitsPerCharacter(name="bits_per_character")
        self._graphs = collections.UserDict()  # an export looks into a dict

    def compile(self, optimizer=None, jit_compile=True, **kwargs):
        """Choose the optimizer; by default `adamw` without an end. XLA is faster here on a CPU."""
        optimizer = self.default_optimizer() if optimizer is None else optimizer
        optimizer = check_optimizer("optimizer", optimizer)
        inner = getattr(optimizer, "inner_optimizer", optimizer)  # of mixed_float16's loss scaling
        if isinstance(inner, keras.optimizers.AdamW):
            small = [w for w in self.trainable_variables if len(w.shape) < 2]
            inner.exclude_from_weight_decay(var_list=small)
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.trainable_variables)

    def default_optimizer(self):
        return adamw(learning_rate=self.default_learning_rate)

    def call_signature(self):
        return tf.TensorSpec((None, None), "int32", name="tokens")

    # the data

    def windows(self, texts, batch_size=32, shuffle=True, seed=0, packed=True):
        """Batches for `fit`, int32 (batch_size, context_length + 1), as a `tf.data.Dataset`.

        All but the last of a row are inputs, all but the first are targets.

        Args:
            texts: a list of strings.
            shuffle: a new order each epoch, and each row begins up to half a row earlier or later
                than the epoch before. False: every token is a target exactly once.
            packed: True: the texts one after another, with END between them, cut into rows. False:
                a row is a text, with END before and after it.

        Raises:
            ValueError: no text, or one that is too long for its row.
        """
        check_texts(texts, batch_size)
        check_seed(seed)
        rows = [np.append(self.tokenizer.encode(text), END).astype("int32") for text in texts]
        length = self.context_length
        if packed:
            stream = np.concatenate([[END], *rows]).astype("int32")
            count = -(-(len(stream) - 1) // length)
            stream = np.append(stream, np.full(length * count + 1 - len(stream), PADDING))
            last = len(stream) - length - 1
        else:
            longest = max(map(len, rows))
            if longest > length:
                raise ValueError(
                    f"texts: the longest has {longest} tokens with END, accepted is at most "
                    f"context_length, {length}; or packed=True."
                )
            count, last = len(rows), None
            rows = [[END, *row, *[PADDING] * (length - len(row))] for row in rows]
            stream = np.concatenate(rows)
        stride = length if packed else length + 1
        with tf.device("CPU"):
            stream = tf.constant(stream, tf.int32)

        def take(index, random):
            start = index * stride
            if packed and shuffle:
                start = tf.clip_by_value(start + random % length - length // 2, 0, last)
            batch = tf.gather(stream, start[:, None] + tf.range(length + 1, dtype=tf.int64))
            # Rows of padding: a batch of another size would compile everything again.
            short = batch_size - tf.shape(batch)[0]
            batch = tf.pad(batch, [[0, short], [0, 0]], constant_values=PADDING)
            return tf.ensure_shape(batch, (batch_size, length + 1))

        index = tf.data.Dataset.range(count)
        if shuffle:
            index = index.shuffle(count, seed=seed, reshuffle_each_iteration=True)
        random = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
        return steady(tf.data.Dataset.zip(index, random).batch(batch_size).map(take).prefetch(2))

    # the objective

    def token_losses(self, tokens, training=False):
        """-log p of every token but the first, given those before: (B, T - 1), nats; 0 for padding.

        An unknown character costs also what it takes to say which one it is.
        """
        targets = tokens[:, 1:]
        logits = self(ops.maximum(tokens[:, :-1], END), training=training)
        nats = keras.losses.sparse_categorical_crossentropy(
            ops.maximum(targets, END), logits, from_logits=True
        )
        if self.tokenizer.unknown is not None:
            nats = nats + ops.take(self.tokenizer.extra_nats, ops.maximum(targets, END))
        return ops.where(targets == PADDING, 0.0, nats)

    def next_token_loss(self, tokens, training=False):
        """(mean over the tokens, their sum, number of tokens), nats."""
        total = ops.sum(self.token_losses(tokens, training))
        count = ops.sum(ops.cast(tokens[:, 1:] != PADDING, "float32"))
        return total / ops.maximum(count, 1.0), total, count

    def train_step(self, data):
        tokens = self.unpack(data)
        with tf.GradientTape() as tape:
            loss, total, count = self.next_token_loss(tokens, training=True)
            scaled_loss = scaled(loss, self.optimizer, count)
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self.track(tokens, loss, total, count)

    def test_step(self, data):
        tokens = self.unpack(data)
        return self.track(tokens, *self.next_token_loss(tokens))

    def unpack(self, data):
        """The tokens of a batch, int32 (B, T)."""
        (tokens,) = self.parts_of(data)
        return ops.cast(tokens, "int32")

    def track(self, tokens, loss, total, count):
        targets = ops.maximum(tokens[:, 1:], END)
        characters = ops.sum(ops.take(self.tokenizer.characters_per_token, targets))
        self.loss_tracker.update_state(loss, sample_weight=count)
        self.perplexity.update_state(total, count)
        self.bits_per_character.update_state(total, characters)
        return {metric.name: metric.result() for metric in self.metrics}

    @property
    def accepted_data(self):
        return (
            f"accepted are integers (N, T) with 2 <= T <= {self.context_length + 1}, each in "
            f"[{PADDING}, {self.tokenizer.vocab_size}): model.windows(texts) makes them."
        )

    def check_parts(self, name, parts):
        if len(parts) != 1:
            raise ValueError(f"{name}: got a tuple, {self.accepted_data}")

    def check_batch(self, name, parts):
        self.check_parts(name, parts)
        accepted = self.accepted_data
        if not isinstance(parts[0], np.ndarray | tf.Tensor):
            raise ValueError(f"{name}: got a {type(parts[0]).__name__}, {accepted}")
        x = np.asarray(parts[0])
        good = x.ndim == 2 and np.issubdtype(x.dtype, np.integer) and len(x) > 0
        if not good or not 2 <= x.shape[1] <= self.context_length + 1:
            raise ValueError(f"{name}: got {x.dtype} of shape {x.shape}, {accepted}")
        if x.min() < PADDING or x.max() >= self.tokenizer.vocab_size:
            raise ValueError(f"{name}: got values from {x.min()} to {x.max()}, {accepted}")

    # what the model thinks of a text

    def text_losses(self, texts, batch_size=32):
        """(nats, characters) of each text, two float64 arrays (N,); END counts as nats only.

        A text longer than `context_length` is read in parts that do not see each other.
        """
        check_texts(texts, batch_size)
        rows, owners = [], []
        for i, text in enumerate(texts):
            tokens = np.concatenate([[END], self.tokenizer.encode(text), [END]])
            for start in range(0, len(tokens) - 1, self.context_length):
                part = tokens[start : start + self.context_length + 1]
                rows.append(np.append(part, [PADDING] * (self.context_length + 1 - len(part))))
                owners.append(i)
        rows = np.array(rows + [[PADDING] * (self.context_length + 1)] * (-len(rows) % batch_size))
        losses = self.graph("losses", self.token_losses)
        batches = np.split(rows.astype("int32"), len(rows) // batch_size)
        nats = np.concatenate([np.sum(losses(batch), axis=1) for batch in batches])
        nats = np.bincount(owners, nats[: len(owners)].astype("float64"), len(texts))
        return nats, np.array([len(text) for text in texts], "float64")

    def token_probabilities(self, prompt=""):
        """p(next token | prompt), float32 (vocab_size,)."""
        tokens = self.encode_prompt(prompt)[None, -self.context_length :]
        logits = self(ops.convert_to_tensor(tokens))[0, -1]
        return ops.convert_to_numpy(ops.softmax(logits))

    def surprisal(self, text):
        """(pieces, bits): the tokens of `text` as strings, and -log2 p of each: float32 (T,)."""
        tokens = self.encode_prompt(text, "text")
        if not 1 <= len(tokens) - 1 <= self.context_length:
            raise ValueError(
                f"text: got {len(tokens) - 1} tokens, accepted are 1 to {self.context_length} "
                "(context_length)."
            )
        nats = ops.convert_to_numpy(self.token_losses(ops.convert_to_tensor(tokens[None])))[0]
        return [self.tokenizer.decode([token]) for token in tokens[1:]], nats / math.log(2)

    def encode_prompt(self, prompt, name="prompt"):
        """END and the tokens of `prompt`, int32; an error calls it `name`."""
        if not isinstance(prompt, str):
            raise ValueError(f"{name}: got {prompt!r}, accepted is a string or a list of strings.")
        check_text(name, prompt)
        tokens = self.tokenizer.encode(prompt)
        if self.tokenizer.unknown is not None and (tokens == self.tokenizer.unknown).any():
            strange = sorted({c for c, t in zip(prompt, tokens, strict=True) if t == 1})
            raise ValueError(
                f"{name}: the characters {', '.join(map(repr, strange))} are not among the "
                f"{len(self.tokenizer.characters)} that the tokenizer has learned."
            )
        return np.append(END, tokens).astype("int32")

    # writing

    reads_prompt_at_once = False  # whether `begin` takes in the tokens before `position`
    kept = 0  # how much of a full window is read again by the next

    def begin(self, window):
        """What `step` needs to go on in `window`, tokens (B, context_length + 1)."""
        raise NotImplementedError

    def step(self, token, position, state):
        """Logits (B, V) of what follows `token` (B,), which is at `position`; and a new state."""
        raise NotImplementedError

    def generate(
        self,
        prompt="",
        max_new_tokens=100,
        temperature=1.0,
        top_k=None,
        top_p=None,
        repetition_penalty=1.0,
        stop=(),
        seed=None,
        stream=False,
        cache=True,
    ):
        """`prompt` and how it goes on, until the model says END: a string.

        Args:
            prompt: a string, or a list of strings (gives a list). May be empty. Where prompt and
                text outgrow its context, a GPT goes on from the last context_length / 2 tokens.
            max_new_tokens: at most so many tokens, >= 1.
            temperature: >= 0: the logits are divided by it; 0 takes the likeliest token.
            top_k, top_p: as in `keep_top`; >= 1 and in (0, 1].
            repetition_penalty: as in `penalize_repetition`; >= 1, and 1 does nothing.
            stop: a string or several: the text ends before the first of them in what is new.
            seed: an integer repeats the text exactly.
            stream: give an iterator instead, over the pieces of the text as they are written.
            cache: False computes everything anew for each token: the same text, slowly.

        Raises:
            ValueError: an argument is out of range, or a prompt has characters that are not known.
        """
        check_number("max_new_tokens", max_new_tokens, low=1, integer=True)
        check_number("temperature", temperature, low=0)
        check_number("repetition_penalty", repetition_penalty, low=1)
        check_top(top_k, top_p)
        words = (stop,) if isinstance(stop, str) else stop
        if not isinstance(words, tuple | list) or not all(isinstance(w, str) and w for w in words):
            raise ValueError(f"stop: got {stop!r}, accepted are strings of at least one character.")
        prompts = list(prompt) if isinstance(prompt, list | tuple) else [prompt]
        if not prompts or (stream and len(prompts) > 1):
            raise ValueError(
                f"prompt: got {len(prompts)} prompts, accepted is one or more, with stream one."
            )
        if seed is None:
            seed = int(keras.random.randint((), 0, 2**31 - 1, seed=self.seed_generator))
        seed = check_number("seed", seed, low=0, below=2**31, integer=True)
        encoded = [self.encode_prompt(each) for each in prompts]
        settings = (temperature, top_k, top_p, repetition_penalty)
        states = self._write(prompts, encoded, max_new_tokens, settings, words, seed, stream, cache)
        if stream:
            return self._pieces(states, words)
        texts = list(states)[-1]
        return texts[0] if isinstance(prompt, str) else texts

    def _pieces(self, states, stop):
        shown = 0
        for (text,) in states:
            # The first bytes of a character are not a character yet, and what may become a stop
            # word waits until it is known.
            starts = {word[:i] for word in stop for i in range(1, len(word))}
            held = max((len(start) for start in starts if text.endswith(start)), default=0)
            if len(text) - held > shown and not text.endswith("\ufffd"):
                yield text[shown : len(text) - held]
                shown = len(text) - held
        if len(text) > shown:
            yield text[shown:]

    def _write(self, prompts, encoded, max_new_tokens, settings, stop, seed, stream, cache):
        """Yields the texts so far: at every token to stream, now and then to look for `stop`."""
        # XLA compiles for each shape anew: rows that are finished fill up to a power of two.
        size = 2 ** (len(prompts) - 1).bit_length()
        lengths = np.array([len(tokens) for tokens in encoded], "int32")
        lengths = np.append(lengths, np.full(size - len(prompts), lengths.min()))
        total = int(lengths.max()) + max_new_tokens
        # Without its state, a model that reads one by one has to read everything again.
        context = self.context_length if cache or self.reads_prompt_at_once else total
        tokens = np.full((size, total + context + 1), END, "int32")
        seen = np.zeros((size, self.tokenizer.vocab_size), bool)
        for i, given in enumerate(encoded):
            tokens[i, : len(given)] = given
            seen[i, given[1:]] = True  # without END, which must be free to come
        # A window is what the model sees: `context` tokens from `offset` on, and the next one.
        offset, position = 0, int(lengths.min()) - 1 if self.reads_prompt_at_once else 0
        state, finished, texts = None, np.arange(size) >= len(prompts), list(prompts)
        loop = self._loop(settings, cache)
        numbers = tf.constant([bounded(x or 1) for x in settings], "float64")
        if stream:
            yield texts
        while not finished.all() and offset + position + 1 < total:
            if position >= context:
                offset, position = offset + position - self.kept, self.kept
                state = None if self.reads_prompt_at_once else state
            window = tokens[:, offset : offset + context + 1]
            if state is None:
                state = self.graph("begin", self.begin)(tf.constant(window)) if cache else ()
            last = min(context, total - 1 - offset)
            if stream or stop:
                last = min(last, position + (1 if stream else 16))
            arguments = (window, lengths - offset, seen, finished, position, last, (seed, offset))
            arguments = tf.nest.map_structure(tf.convert_to_tensor, arguments)
            window, seen, finished, position, state = loop(*arguments, numbers, state)
            tokens[:, offset : offset + context + 1] = window
            finished, position = np.array(finished), int(position)
            for i, prompt in enumerate(prompts):
                new = tokens[i, lengths[i] : lengths[i] + max_new_tokens]
                new = new[: max(offset + position + 1 - lengths[i], 0)]
                new = self.tokenizer.decode(new[: np.argmax(np.append(new, END) == END)])
                ends = [new.find(word) for word in stop if word in new]
                finished[i] |= bool(ends)
                texts[i] = prompt + (new[: min(ends)] if ends else new)
            yield texts

    def graph(self, name, function):
        """`function` as one graph, compiled by XLA once for each shape."""
        if name not in self._graphs:
            self._graphs[name] = tf.function(function, jit_compile=True, reduce_retracing=True)
        return self._graphs[name]

    def _loop(self, settings, cache):
        """The loop that writes tokens `position` + 1 to `last` into `window`.

        What is not used is not in its graph; numbers are tensors, so that others need no other.
        """
        temperature, top_k, top_p, repetition_penalty = settings
        greedy, penalized = temperature == 0, repetition_penalty != 1
        few, cut = top_k is not None, top_p not in (None, 1)

        def loop(window, lengths, seen, finished, position, last, seed, numbers, state):
            temperature, top_k, top_p, repetition_penalty = tf.unstack(numbers)
            top_k = tf.cast(tf.minimum(top_k, self.tokenizer.vocab_size), "int32")
            temperature = tf.cast(temperature, "float32")
            repetition_penalty = tf.cast(repetition_penalty, "float32")
            while position < last and not tf.reduce_all(finished):
                if cache:
                    logits, state = self.step(tf.gather(window, position, axis=1), position, state)
                else:
                    logits = tf.gather(self(window[:, :-1]), position, axis=1)
                if self.tokenizer.unknown is not None:
                    known = tf.range(self.tokenizer.vocab_size) != self.tokenizer.unknown
                    logits = tf.where(known, logits, -math.inf)
                if penalized:
                    logits = penalize_repetition(logits, seen, repetition_penalty)
                if greedy:
                    token = ops.cast(ops.argmax(logits, axis=-1), "int32")
                else:
                    logits = logits / temperature
                    logits = keep_top(logits, top_k if few else None, top_p if cut else None)
                    token = draw(logits, [seed[0], seed[1] + position])
                given = position + 1 < lengths  # a longer prompt than the shortest goes on
                token = tf.where(finished, END, token)
                token = tf.where(given, tf.gather(window, position + 1, axis=1), token)
                finished = finished | (~given & (token == END))
                seen = seen | tf.one_hot(token, self.tokenizer.vocab_size, True, False)
                window = ops.slice_update(window, (0, position + 1), token[:, None])
                position += 1
            return window, seen, finished, position, state

        return self.graph((greedy, few, cut, penalized, cache), loop)

    def beam_search(self, prompt="", n_beams=4, max_new_tokens=50):
        """The likeliest `n_beams` texts found, as (text, log p of what is new), best first.

        Each step keeps the best `n_beams` beginnings (Lowerre 1976). A text ends with END or after
        `max_new_tokens`. Sums of log p prefer short texts; divide by the length for another taste.

        Raises:
            ValueError: prompt and new tokens do not fit in the context, or a bad number.
        """
        n_beams = check_number("n_beams", n_beams, low=1, integer=True)
        check_number("max_new_tokens", max_new_tokens, low=1, integer=True)
        given = self.encode_prompt(prompt)
        if len(given) + max_new_tokens > self.context_length + 1:
            raise ValueError(
                f"max_new_tokens: got {max_new_tokens} after {len(given)} tokens of the prompt, "
                f"accepted are together at most context_length + 1, {self.context_length + 1}."
            )
        beams = np.full((n_beams, self.context_length + 1), END, "int32")
        beams[:, : len(given)] = given
        state = self.graph("begin", self.begin)(tf.constant(beams))
        scores = np.full(n_beams, -np.inf)
        scores[0] = 0.0  # all beams are alike at first: one is enough
        step, done = self.graph("step", self.step), []
        start = 0 if not self.reads_prompt_at_once else len(given) - 1
        for position in range(start, len(given) + max_new_tokens - 1):
            logits, state = step(tf.constant(beams[:, position]), tf.constant(position), state)
            if position + 1 < len(given):
                continue
            log_p = scores[:, None] + np.array(ops.log_softmax(logits), "float64")
            if self.tokenizer.unknown is not None:
                log_p[:, self.tokenizer.unknown] = -np.inf
            ends = np.flatnonzero(np.isfinite(log_p[:, END]))
            done += [(log_p[i, END], tuple(beams[i, len(given) : position + 1])) for i in ends]
            done = sorted(done, reverse=True)[:n_beams]
            log_p[:, END] = -np.inf
            best = np.argsort(-log_p, axis=None)[:n_beams]
            parents, tokens = np.divmod(best, log_p.shape[1])
            scores, beams = log_p.flat[best], beams[parents]
            beams[:, position + 1] = tokens
            state = tf.nest.map_structure(lambda x, rows=parents: tf.gather(x, rows), state)
        end = len(given) + max_new_tokens
        done += [(s, tuple(b[len(given) : end])) for s, b in zip(scores, beams, strict=True)]
        done = sorted((x for x in done if np.isfinite(x[0])), reverse=True)[:n_beams]
        return [(prompt + self.tokenizer.decode(new), float(score)) for score, new in done]

    # saving

    def get_config(self):
        return {
            **super().get_config(),
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "context_length": self.context_length,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, "tokenizer"))

    def get_compile_config(self):
        return compile_config(self)


def dropout_layer(rate, seed, policy):
    """The same numbers of a row's vectors are dropped at all its positions.

    After Gal and Ghahramani 2016, arXiv:1512.05287. It takes context_length times fewer random
    numbers, which cost a CPU nearly half of the training time.
    """
    return Dropout(rate, noise_shape=(None, 1, None), seed=seed, **policy)


# --- counting ---


@keras.saving.register_keras_serializable("aigc_keras")
class NGram(LanguageModel):
    """Counts: p(next token | the `order` - 1 before), smoothed as by Kneser and Ney.

    Interpolated, with three discounts an order: "modified Kneser-Ney" of Chen and Goodman 1999
    (Computer Speech and Language 13, 359-394), section 3.3, with the uniform distribution below the
    unigrams. `fit` counts, so it takes one epoch of `windows(texts, 1024, shuffle=False)` (large
    batches are counted faster); a further call adds more texts. At the start of a row only what is
    in the row is context. Discounts are kept in [0.1, 1], [0.1, 2] and [0.1, 3], which few counts
    can leave: what was not seen stays possible, where the authors' formula may say 0 or less.

    Raises:
        ValueError: `vocab_size` ** `order` is over 2 ** 62.
    """

    def __init__(self, tokenizer, order=5, context_length=512, **kwargs):
        super().__init__(tokenizer, context_length, **kwargs)
        self.order = check_number("order", order, low=1, integer=True)
        most = int(62 / math.log2(tokenizer.vocab_size))
        if self.order > most:
            raise ValueError(
                f"order: got {order}, accepted is 1 to {most} with {tokenizer.vocab_size} tokens."
            )
        self.counts = [(np.zeros(0, "int64"), np.zeros(0, "int64"))] * self.order
        self.tables = None  # made from the counts when they are asked for
        self.built = True

    def compile(self, optimizer=None, jit_compile=False, **kwargs):
        """Nothing to choose: counting needs no optimizer, and no graph."""
        if optimizer is not None:
            raise ValueError(f"optimizer: got {optimizer!r:.80}, accepted is None: it counts.")
        check_compile(jit_compile, **kwargs)
        if jit_compile is True:
            raise ValueError("jit_compile: got True, accepted is False: it counts.")
        kwargs["run_eagerly"] = True
        keras.Model.compile(self, optimizer=None, jit_compile=False, **kwargs)

    @functools.wraps(keras.Model.fit, assigned=())
    def fit(self, *args, **kwargs):
        given = by_name(keras.Model.fit, args, kwargs)
        if given.get("epochs", 1) != 1:
            raise ValueError(
                f"epochs: got {given['epochs']}, accepted is 1: counting again says nothing new."
            )
        n = self.distribute_strategy.num_replicas_in_sync
        if n > 1:
            raise ValueError(f"strategy: got one of {n} replicas, accepted is one: to count.")
        return super().fit(**given)

    def train_step(self, data):
        tokens = np.asarray(self.unpack(data))
        for n in range(1, self.order + 1):
            keys, valid = self._keys(tokens, n)
            keys, counts = np.unique(keys[valid], return_counts=True)
            old_keys, old_counts = self.counts[n - 1]
            keys, index = np.unique(np.append(old_keys, keys), return_inverse=True)
            counts = np.bincount(index, np.append(old_counts, counts), len(keys))
            self.counts[n - 1] = keys, counts.astype("int64")
        self.tables = None
        return {"tokens": self.counts[0][1].sum()}

    def _keys(self, tokens, n):
        """The n-grams that end in targets, their tokens the digits of an int64; which are whole."""
        tokens, size = tokens.astype("int64"), tokens.shape[1]
        starts = range(1 if n == 1 else 0, size - n + 1)
        parts = [tokens[:, i : i + len(starts)] for i in range(starts.start, starts.start + n)]
        keys = np.zeros((len(tokens), len(starts)), "int64")
        for part in parts:
            keys = keys * self.tokenizer.vocab_size + part
        return keys, np.all([part != PADDING for part in parts], axis=0)

    def _table(self, n):
        """n-grams, their values, contexts, the sums of each context's values and discounts.

        A value is a count; below the highest order it is the number of different tokens before the
        n-gram. What follows END is counted as it is: what comes before END says nothing.
        """
        size = self.tokenizer.vocab_size
        keys, values = self.counts[n - 1]
        if n < self.order:
            longer = self.counts[n][0] % size**n
            behind, different = np.unique(longer, return_counts=True)
            before = np.zeros_like(values)
            before[np.searchsorted(keys, behind)] = different
            begins = (keys // size ** (n - 1) == END) & (n > 1)
            values = np.where(begins, values, before)
            keys, values = keys[values > 0], values[values > 0]
        seen = [max(np.sum(values == i), 1) for i in range(1, 5)]
        y = seen[0] / (seen[0] + 2 * seen[1])
        discounts = [0, *(i - (i + 1) * y * seen[i] / seen[i - 1] for i in (1, 2, 3))]
        # Above 0, so that nothing that was not seen is impossible.
        discount = np.clip(discounts, 0.1, [1, 1, 2, 3])[np.minimum(values, 3)]
        contexts, first = np.unique(keys // size, return_index=True)
        sums = [np.add.reduceat(x, first) for x in (values, discount)] if len(keys) else [[], []]
        return keys, values - discount, contexts, *sums

    def probabilities(self, keys, n, below):
        """p(last digit | digits before) of n-grams, given what the (n-1)-grams say."""
        keys_known, values, contexts, totals, discounts = self.tables[n - 1]
        context, seen = _find(contexts, keys // self.tokenizer.vocab_size)
        index, found = _find(keys_known, keys)
        if not len(contexts):
            return below
        p = (np.where(found, values[index], 0) + discounts[context] * below) / totals[context]
        return np.where(seen, p, below)

    def token_losses(self, tokens, training=False):
        self._make_tables()
        tokens = np.asarray(tokens)
        p = np.full((len(tokens), tokens.shape[1] - 1), 1 / self.tokenizer.vocab_size)
        for n in range(1, min(self.order, tokens.shape[1]) + 1):
            keys, valid = self._keys(tokens, n)
            start = p.shape[1] - keys.shape[1]
            p[:, start:] = self.probabilities(np.where(valid, keys, 0), n, p[:, start:])
        targets = tokens[:, 1:]
        nats = -np.log(p) + self.tokenizer.extra_nats[np.maximum(targets, END)]
        return np.where(targets == PADDING, 0.0, nats).astype("float32")

    def call(self, inputs, training=False):
        """log p of every token at every position: (B, T) to (B, T, V)."""
        inputs = np.asarray(inputs)
        histories = [inputs[:, max(i - self.order + 2, 0) : i + 1] for i in range(inputs.shape[1])]
        return np.stack([self._log_p(history) for history in histories], axis=1)

    def _log_p(self, history):
        """(B, T), T < order, to (B, V)."""
        self._make_tables()
        size = self.tokenizer.vocab_size
        p = np.full((len(history), size), 1 / size)
        context = np.zeros((len(history), 1), "int64")
        for n in range(1, min(self.order, history.shape[1] + 1) + 1):
            if n > 1:
                context = context + history[:, 1 - n, None].astype("int64") * size ** (n - 2)
            p = self.probabilities(context * size + np.arange(size), n, p)
        return np.log(p).astype("float32")

    def _make_tables(self):
        if self.tables is None:
            self.tables = [self._table(n) for n in range(1, self.order + 1)]

    def predict(self, *args, **kwargs):
        raise ValueError(
            "model: got an NGram, whose tables are no weights; accepted are a call, model(tokens), "
            "evaluate, text_losses and generate."
        )

    predict_on_batch = predict_step = export = quantize = predict

    def graph(self, name, function):
        return function  # tables are no tensors

    def begin(self, window):
        return np.zeros((len(window), 0), "int32")

    def step(self, token, position, state):
        history = np.append(state, np.asarray(token)[:, None], axis=1)[:, 1 - self.order :]
        return tf.constant(self._log_p(history)), history

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for n, (keys, counts) in enumerate(self.counts, 1):
            store[f"{n}-grams"], store[f"{n}-gram counts"] = keys, counts

    def load_own_variables(self, store):
        counted = ("-grams", "-gram counts")
        names = [name for name in store.keys() if not name.endswith(counted)]  # noqa: SIM118
        super().load_own_variables({name: store[name] for name in names})
        self.counts = [
            (np.array(store[f"{n}-grams"]), np.array(store[f"{n}-gram counts"]))
            for n in range(1, self.order + 1)
        ]
        self.tables = None

    def load_weights(self, *args, **kwargs):
        before = self.counts, self.tables
        try:
            super().load_weights(*args, **kwargs)
        except BaseException:
            self.counts, self.tables = before
            raise

    def get_config(self):
        return {**super().get_config(), "order": self.order}


def _find(known, keys):
    """Where `keys` are among the sorted `known` (anywhere, if not), and whether they are."""
    index = np.searchsorted(known, keys).clip(max=max(len(known) - 1, 0))
    return index, known[index] == keys if len(known) else np.zeros(keys.shape, bool)


# --- recurrence ---


def rnn_cell(state, from_input, from_hidden):
    """Elman 1990: all of the past in one vector, rewritten at every token."""
    return (ops.tanh(from_input + from_hidden),)


def gru_cell(state, from_input, from_hidden):
    """Cho et al. 2014, arXiv:1406.1078, eq. 5-8: a gate says how much of the past is kept.

    As in cuDNN, the reset gate acts after the product with the weights.
    """
    (hidden,) = state
    (z, r, new), (hz, hr, hidden_new) = (ops.split(x, 3, -1) for x in (from_input, from_hidden))
    update, reset = ops.sigmoid(z + hz), ops.sigmoid(r + hr)
    return (update * hidden + (1 - update) * ops.tanh(new + reset * hidden_new),)


def lstm_cell(state, from_input, from_hidden):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    The memory is added to, not rewritten, so that gradients survive many tokens.
    """
    _, memory = state
    write, forget, new, read = ops.split(from_input + from_hidden, 4, -1)
    memory = ops.sigmoid(forget) * memory + ops.sigmoid(write) * ops.tanh(new)
    return ops.sigmoid(read) * ops.tanh(memory), memory


CELLS = {"rnn": (rnn_cell, 1, 1), "gru": (gru_cell, 3, 1), "lstm": (lstm_cell, 4, 2)}


def recur(cell, from_input, kernel, state):
    """All states of a recurrence: a tuple of (T, B, units), from inputs (T, B, gates x units).

    The gradient is written out (backpropagation through time): the one of `kernel` is then a single
    product after the loop, where automatic differentiation would add one up at every token.
    """

    @tf.custom_gradient
    def run(from_input, kernel, *state):
        def forward(carry, x):
            from_hidden = ops.matmul(carry[0][0], kernel)
            return cell(carry[0], x, from_hidden), from_hidden

        first = tuple(state), tf.zeros_like(from_input[0])
        states, from_hidden = tf.scan(forward, from_input, first)
        before = tuple(tf.concat([s[None], x[:-1]], 0) for s, x in zip(state, states, strict=True))

        def gradient(*upstream):
            def backward(carry, inputs):
                before, x, h, here = inputs
                with tf.GradientTape() as tape:
                    tape.watch((before, x, h))
                    after = cell(before, x, h)
                arriving = [a + b for a, b in zip(carry[0], here, strict=True)]
                d_before, d_x, d_h = tape.gradient(
                    after, (before, x, h), arriving, unconnected_gradients="zero"
                )
                d_hidden = d_before[0] + ops.matmul(d_h, ops.transpose(kernel))
                return (d_hidden, *d_before[1:]), d_x, d_h

            zeros = tf.nest.map_structure(tf.zeros_like, first)
            inputs = before, from_input, from_hidden, tuple(upstream)
            d_state, d_input, d_hidden = tf.scan(
                backward, inputs, (zeros[0], zeros[1], zeros[1]), reverse=True
            )
            d_kernel = tf.einsum("tbu,tbg->ug", before[0], d_hidden)
            return d_input, d_kernel, *(x[0] for x in d_state)

        return states, gradient

    return run(from_input, kernel, *state)


@keras.saving.register_keras_serializable("aigc_keras")
class Recurrent(layers.Layer):
    """(B, T, width) to the hidden states (B, T, units) of a "rnn", "gru" or "lstm".

    Weights are laid out as those of Keras' SimpleRNN, GRU (one bias) and LSTM.
    """

    def __init__(self, units, cell="lstm", **kwargs):
        super().__init__(**kwargs)
        self.units = check_number("units", units, low=1, integer=True)
        self.cell = check_choice("cell", cell, tuple(CELLS))
        self.function, self.n_gates, self.n_states = CELLS[cell]

    def build(self, shape):
        width = self.n_gates * self.units
        self.kernel = self.add_weight(shape=(shape[-1], width), name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, width), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias")
        if self.cell == "lstm":  # at first the memory is kept (Jozefowicz et al. 2015)
            self.bias.assign(np.repeat([0.0, 1.0, 0.0, 0.0], self.units))

    def initial_state(self, batch_size):
        return tuple(
            ops.zeros((batch_size, self.units), self.compute_dtype) for _ in range(self.n_states)
        )

    def call(self, x):
        from_input = ops.transpose(ops.matmul(x, self.kernel) + self.bias, (1, 0, 2))
        kernel = tf.convert_to_tensor(self.recurrent_kernel)
        states = recur(self.function, from_input, kernel, self.initial_state(ops.shape(x)[0]))
        return ops.transpose(states[0], (1, 0, 2))

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.units)

    def step(self, x, state):
        """One token, (B, width), and the state after it."""
        kernel, recurrent_kernel, bias = (
            ops.cast(w, self.compute_dtype) for w in (self.kernel, self.recurrent_kernel, self.bias)
        )
        return self.function(state, x @ kernel + bias, state[0] @ recurrent_kernel)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "cell": self.cell}


@keras.saving.register_keras_serializable("aigc_keras")
class RNNLanguageModel(LanguageModel):
    """A recurrent network (循环神经网络) reads the text and carries all it remembers in its state.

    Args:
        tokenizer: as for all language models.
        cell: "rnn", "gru" or "lstm".
        units: width of the state, and of the tokens' embeddings, which also are the output weights
            (Press and Wolf 2017, arXiv:1608.05859).
        num_layers: recurrent layers, one on the other.
        dropout: share of the hidden states' numbers that are dropped in training.
    """

    default_learning_rate = 1e-2

    def __init__(
        self,
        tokenizer,
        cell="lstm",
        units=256,
        num_layers=1,
        dropout=0.0,
        context_length=128,
        **kwargs,
    ):
        super().__init__(tokenizer, context_length, **kwargs)
        self.num_layers = check_number("num_layers", num_layers, low=1, integer=True)
        self.dropout = check_number("dropout", dropout, low=0, below=1)
        policy, units = {"dtype": self.dtype_policy}, check_number("units", units, 1, integer=True)
        # Hidden states are small: with small embeddings, logits would be near zero for long.
        normal = keras.initializers.RandomNormal(stddev=0.2)
        self.embedding = layers.Embedding(tokenizer.vocab_size, units, normal, **policy)
        self.recurrent = [Recurrent(units, cell, **policy) for _ in range(num_layers)]
        self.drop = dropout_layer(dropout, self.seed, policy)
        self(np.zeros((1, 2), "int32"))

    def call(self, inputs, training=False):
        """Tokens (B, T) to the logits of the next ones (B, T, V), float32."""
        x = self.embedding(inputs)
        for layer in self.recurrent:
            x = self.drop(layer(x), training=training)
        return self.logits(x)

    def logits(self, x):
        weights = ops.transpose(ops.cast(self.embedding.embeddings, x.dtype))
        return ops.cast(ops.matmul(x, weights), "float32")

    def begin(self, window):
        return tuple(layer.initial_state(ops.shape(window)[0]) for layer in self.recurrent)

    def step(self, token, position, state):
        x, after = self.embedding(token), []
        for layer, before in zip(self.recurrent, state, strict=True):
            after.append(layer.step(x, before))
            x = after[-1][0]
        return self.logits(x), tuple(after)

    def states(self, text):
        """What the top layer remembers after END and after each token of `text`: (T, units)."""
        x = self.embedding(self.encode_prompt(text)[None])
        for layer in self.recurrent:
            x = layer(x)
        return ops.convert_to_numpy(ops.cast(x[0], "float32"))

    def get_config(self):
        return {
            **super().get_config(),
            "cell": self.recurrent[0].cell,
            "units": self.recurrent[0].units,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
        }


# --- attention ---

POSITIONS = ("rotary", "learned")


def rotate(x, positions):
    """Rotary positions (Su et al. 2021, arXiv:2104.09864, eq. 34) of (B, heads, T, width).

    Number i and number i + half (in the paper, neighbours) are turned by an angle that grows with
    the position, so that the product of a query and a key knows positions by their distance alone.
    """
    half = x.shape[-1] // 2
    speeds = 10_000.0 ** (-np.arange(half, dtype="float32") / half)
    angles = ops.cast(positions, "float32")[:, None] * speeds
    cos, sin = ops.cast(ops.cos(angles), x.dtype), ops.cast(ops.sin(angles), x.dtype)
    a, b = x[..., :half], x[..., half:]
    return ops.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


@keras.saving.register_keras_serializable("aigc_keras")
class CausalSelfAttention(layers.Layer):
    """Every position looks at itself and at those before it (Vaswani et al. 2017, section 3.2).

    Takes (B, T, width); `start` is the position of the first of the T. `cache`, if there is one, is
    the keys and the values of all positions, two tensors (B, heads, context_length, width / heads),
    into which the new ones are written.
    """

    def __init__(self, num_heads, positions="rotary", output_std=0.02, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = check_number("num_heads", num_heads, low=1, integer=True)
        self.positions = check_choice("positions", positions, POSITIONS)
        self.output_std = output_std

    def build(self, shape):
        width, policy = shape[-1], {"dtype": self.dtype_policy}
        if width % (2 * self.num_heads):
            raise ValueError(
                f"num_heads: got {self.num_heads}, accepted is one of which twice as many divide "
                f"the width, {width}."
            )
        normal = keras.initializers.RandomNormal
        self.qkv = layers.Dense(3 * width, kernel_initializer=normal(stddev=0.02), **policy)
        self.out = layers.Dense(width, kernel_initializer=normal(stddev=self.output_std), **policy)
        self.qkv.build(shape)
        self.out.build(shape)

    def mask(self, positions, n):
        """The causal mask: which of `n` positions must not be seen from each of `positions`."""
        return ops.arange(n) > positions[:, None]

    def weights_and_values(self, x, cache=None, start=0):
        """How much each position looks at each, (B, heads, T, all); the values there; the cache."""
        batch, length, width = ops.shape(x)[0], ops.shape(x)[1], x.shape[-1]
        x = ops.reshape(self.qkv(x), (batch, length, 3, self.num_heads, width // self.num_heads))
        queries, keys, values = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3)
        positions = start + ops.arange(length)
        if self.positions == "rotary":
            queries, keys = rotate(queries, positions), rotate(keys, positions)
        if cache is not None:
            keys = ops.slice_update(cache[0], (0, 0, start, 0), keys)
            values = ops.slice_update(cache[1], (0, 0, start, 0), values)
        scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
        scores = ops.cast(scores, "float32") / math.sqrt(width // self.num_heads)
        mask = self.mask(positions, ops.shape(keys)[2])
        # Not Keras' softmax, which warns where there is but one position.
        weights = tf.nn.softmax(ops.where(mask, -math.inf, scores))
        return ops.cast(weights, values.dtype), values, (keys, values)

    def call(self, x, cache=None, start=0):
        weights, values, cache = self.weights_and_values(x, cache, start)
        mixed = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, ops.shape(x))), cache

    def get_config(self):
        config = {"num_heads": self.num_heads, "positions": self.positions}
        return {**super().get_config(), **config, "output_std": self.output_std}


@keras.saving.register_keras_serializable("aigc_keras")
class TransformerBlock(layers.Layer):
    """Attention between positions, then a small network at each, both added to what was there.

    Pre-norm: the sums themselves are never normalised (Xiong et al. 2020, arXiv:2002.04745).
    """

    def __init__(
        self, num_heads, dropout=0.0, positions="rotary", output_std=0.02, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_heads = check_number("num_heads", num_heads, low=1, integer=True)
        self.dropout = check_number("dropout", dropout, low=0, below=1)
        self.positions = check_choice("positions", positions, POSITIONS)
        self.output_std, self.seed = output_std, check_seed(seed)

    def build(self, shape):
        width, policy = shape[-1], {"dtype": self.dtype_policy}
        normal = keras.initializers.RandomNormal
        self.norm1 = layers.LayerNormalization(epsilon=1e-5, **policy)
        self.attention = CausalSelfAttention(
            self.num_heads, self.positions, self.output_std, **policy
        )
        self.norm2 = layers.LayerNormalization(epsilon=1e-5, **policy)
        self.expand = layers.Dense(4 * width, kernel_initializer=normal(stddev=0.02), **policy)
        self.project = layers.Dense(
            width, kernel_initializer=normal(stddev=self.output_std), **policy
        )
        self.drop = dropout_layer(self.dropout, self.seed, policy)
        for layer in (self.norm1, self.attention, self.norm2, self.expand):
            layer.build(shape)
        self.project.build((*shape[:-1], 4 * width))

    def call(self, x, cache=None, start=0, training=False):
        seen, cache = self.attention(self.norm1(x), cache=cache, start=start)
        x = x + self.drop(seen, training=training)
        update = self.project(ops.gelu(self.expand(self.norm2(x)), approximate=True))
        return x + self.drop(update, training=training), cache

    def get_config(self):
        config = {"num_heads": self.num_heads, "dropout": self.dropout, "seed": self.seed}
        more = {"positions": self.positions, "output_std": self.output_std}
        return {**super().get_config(), **config, **more}


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

    def call(self, inputs, training=False):
        """Tokens (B, T) to the logits of the next ones (B, T, V), float32."""
        return self.read(inputs, training=training)[0]

    def read(self, tokens, caches=None, start=0, training=False):
        """Logits, and keys and values of each block; `caches` holds those before `start`."""
        x = self.embedding(tokens)
        if self.position_embedding is not None:
            x = x + self.position_embedding(start + ops.arange(ops.shape(tokens)[1]))
        x, new = self.drop(x, training=training), []
        for block, cache in zip(self.blocks, caches or [None] * self.num_layers, strict=True):
            x, cache = block(x, cache=cache, start=start, training=training)
            new.append(cache)
        x = self.norm(x)
        weights = ops.transpose(ops.cast(self.embedding.embeddings, x.dtype))
        return ops.cast(ops.matmul(x, weights), "float32"), new

    def begin(self, window):
        # Also what lies after `position` is read, and written over before anything looks at it.
        return self.read(window[:, :-1])[1]

    def step(self, token, position, state):
        logits, state = self.read(token[:, None], state, position)
        return logits[:, 0], state

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

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "positions": self.positions,
        }
