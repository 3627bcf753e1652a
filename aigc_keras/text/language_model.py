"""What all language models do alike: data, objective, writing; and their optimizer."""

import collections
import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.guards import check_number, check_optimizer, check_seed
from aigc_keras.metrics import BitsPerCharacter, Perplexity
from aigc_keras.model import Model, steady
from aigc_keras.optimizers import AdamW
from aigc_keras.text.sampling import Beams, Never, drawn, likeliest, usual_rule
from aigc_keras.text.tokenizers import END, PADDING, check_texts, check_tokenizer, known_tokens
from aigc_keras.text.writing import check_stop, pieces, write


def adamw(steps=None, learning_rate=2e-3, warmup_steps=100, weight_decay=0.1):
    """AdamW with a warm-up and, over `steps` in all, a cosine decay to a tenth.

    Without `steps` the rate stays where the warm-up ends. Gradients are clipped to a norm of one,
    all of them together.
    """
    check_number("learning_rate", learning_rate, low=0)
    check_number("warmup_steps", warmup_steps, low=0, integer=True)
    check_number("weight_decay", weight_decay, low=0)
    if steps is not None:
        steps = check_number("steps", steps, low=warmup_steps + 1, integer=True) - warmup_steps
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        steps or 1,
        alpha=0.1 if steps else 1.0,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
    return AdamW(rate, weight_decay, beta_2=0.98, global_clipnorm=1.0)


class TokenModel(Model):
    """What models that give the probabilities of tokens do alike; `tokenizer` is that of theirs."""

    default_learning_rate = 2e-3

    def set_up(self, seed=None):
        super().set_up(seed)
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

    def default_optimizer(self):
        return adamw(learning_rate=self.default_learning_rate)

    def track(self, tokens, loss, total, count):
        targets = ops.maximum(tokens[:, 1:], END)
        characters = ops.sum(ops.take(self.tokenizer.characters_per_token, targets))
        self.perplexity.update_state(total, count)
        self.bits_per_character.update_state(total, characters)
        return super().track(count, loss=loss)

    def graph(self, name, function):
        """`function` as one graph, compiled by XLA once for each shape."""
        if name not in self._graphs:
            self._graphs[name] = tf.function(function, jit_compile=True, reduce_retracing=True)
        return self._graphs[name]

    def logits(self, x):
        """Logits (..., V), float32: the weights of the embedding again (Press and Wolf 2017)."""
        weights = ops.transpose(ops.cast(self.embedding.embeddings, x.dtype))
        return ops.cast(ops.matmul(x, weights), "float32")

    def begin(self, window):
        """What `step` needs to go on in `window`, tokens (B, context_length + 1)."""
        raise NotImplementedError

    def step(self, token, position, state):
        """Logits (B, V) of what follows `token` (B,), which is at `position`; and a new state."""
        raise NotImplementedError

    def _seed(self, seed):
        """The seed of a text: the one that is given, or the next of the model's own."""
        if seed is None:
            seed = int(keras.random.randint((), 0, 2**31 - 1, seed=self.seed_generator))
        return check_number("seed", seed, low=0, below=2**31, integer=True)

    def _rules(self, rules):
        """`rules` behind that of the token that stands for what is not known: nobody writes it."""
        if not isinstance(rules, tuple | list) or not all(map(callable, rules)):
            raise ValueError(
                f"rules: got {rules!r:.80}, accepted are functions (logits, written) -> logits."
            )
        unknown = self.tokenizer.unknown
        return (*rules,) if unknown is None else (Never(unknown), *rules)


class LanguageModel(TokenModel):
    """p(next token | tokens before). A child gives `call`, and `begin` and `step` for `generate`.

    Args:
        tokenizer: a `CharTokenizer` or `BPETokenizer`; it is saved with the model.
        context_length: how many tokens the model reads at a time in training.
        seed: seed of dropout and of `generate`; by default `keras.utils.set_random_seed` decides.
    """

    def __init__(self, tokenizer, context_length=128, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = check_tokenizer("tokenizer", tokenizer)
        self.context_length = check_number("context_length", context_length, low=2, integer=True)
        self.set_up(seed)

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
        rows = [np.append(self.tokenizer.encode(text), END) for text in texts]
        length, longest = self.context_length, max(map(len, rows))
        if longest > length and not packed:
            raise ValueError(
                f"texts: the longest has {longest} tokens with END, accepted is at most "
                f"context_length, {length}; or packed=True."
            )
        rows = [np.concatenate(rows)] if packed else rows
        rows = [np.pad(x, (1, -len(x) % length), constant_values=(END, PADDING)) for x in rows]
        with tf.device("CPU"):
            stream = tf.constant(np.concatenate(rows), tf.int32)
        stride = length if packed else length + 1
        count = len(stream) // stride

        def take(index, random):
            start = index * stride
            if packed and shuffle:
                start = start + random % length - length // 2
                start = tf.clip_by_value(start, 0, len(stream) - length - 1)
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
        self.descend(tape, loss, count)
        return self.track(tokens, loss, total, count)

    def test_step(self, data):
        tokens = self.unpack(data)
        return self.track(tokens, *self.next_token_loss(tokens))

    def unpack(self, data):
        """The tokens of a batch, int32 (B, T)."""
        (tokens,) = self.parts_of(data)
        return ops.cast(tokens, "int32")

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
        return np.append(END, known_tokens(name, prompt, self.tokenizer)).astype("int32")

    # writing

    reads_prompt_at_once = False  # whether `begin` takes in the tokens before `position`
    kept = 0  # how much of a full window is read again by the next

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
        rules=(),
    ):
        """`prompt` and how it goes on, until the model says END: a string.

        Args:
            prompt: a string, or a list of strings (gives a list). May be empty. Where prompt and
                text outgrow its context, a GPT goes on from the last context_length / 2 tokens.
            max_new_tokens: at most so many tokens, >= 1.
            temperature: >= 0: the logits are divided by it; 0 takes the likeliest token.
            top_k, top_p: as in `keep_top`; >= 1 and in (0, 1].
            repetition_penalty: >= 1: of tokens that are there, positive logits are divided by it
                (Keskar et al. 2019, arXiv:1909.05858, section 4.1), negative ones multiplied.
            stop: a string or several: the text ends before the first of them in what is new.
            seed: an integer repeats the text exactly.
            stream: give an iterator instead, over the pieces of the text as they are written.
            cache: False computes everything anew for each token: the same text, slowly.
            rules: your own, functions (logits (B, V), `Written`) -> logits; they act first. Where
                they leave nothing, a text ends.

        Raises:
            ValueError: an argument is out of range, or a prompt has characters that are not known.
        """
        check_number("max_new_tokens", max_new_tokens, low=1, integer=True)
        usual = usual_rule(temperature, top_k, top_p, repetition_penalty)
        own, words = self._rules(rules), check_stop(stop)
        prompts = list(prompt) if isinstance(prompt, list | tuple) else [prompt]
        if not prompts or (stream and len(prompts) > 1):
            raise ValueError(
                f"prompt: got {len(prompts)} prompts, accepted is one or more, with stream one."
            )
        seed = self._seed(seed)
        given = [self.encode_prompt(each) for each in prompts]
        choice = drawn if temperature else likeliest
        settings = {"stop": words, "cache": cache, "compiled": not rules}
        settings["at_once"] = 1 if stream else 16 if words else None
        written = write(self, given, max_new_tokens, (*own, usual), choice, seed, **settings)
        if stream:
            return pieces(prompts[0], (texts[0] for texts, _ in written), words)
        *_, (texts, _) = written
        texts = [prompt + new for prompt, new in zip(prompts, texts, strict=False)]
        return texts[0] if isinstance(prompt, str) else texts

    def beam_search(
        self, prompt="", n_beams=4, max_new_tokens=50, length_penalty=0.0, stop=(), rules=()
    ):
        """The likeliest `n_beams` texts found, as (text, log p of what is new), best first.

        Each step keeps the best `n_beams` beginnings (Lowerre 1976). A text ends with END, before a
        word of `stop`, or after `max_new_tokens`. Sums of log p prefer short texts: they are sorted
        by log p / (1 + tokens) ** `length_penalty`, which is >= 0. `rules` as in `generate`.

        Raises:
            ValueError: prompt and new tokens do not fit in the context, or a bad number.
        """
        n_beams = check_number("n_beams", n_beams, low=1, integer=True)
        check_number("max_new_tokens", max_new_tokens, low=1, integer=True)
        beams = Beams(n_beams, check_number("length_penalty", length_penalty, low=0))
        words, given = check_stop(stop), self.encode_prompt(prompt)
        if len(given) + max_new_tokens > self.context_length + 1:
            raise ValueError(
                f"max_new_tokens: got {max_new_tokens} after {len(given)} tokens of the prompt, "
                f"accepted are together at most context_length + 1, {self.context_length + 1}."
            )
        settings = {"rows": beams.rows, "stop": words, "at_once": 1 if words else None}
        found = write(self, [given], max_new_tokens, self._rules(rules), beams, 0, **settings)
        *_, (texts, written) = found
        return [(prompt + text, score) for text, score in beams.sorted(texts, written)[0]]
