"""One model, three jobs: trained once, adapted at little cost, kept up to date: chapter 12.

A GPT that has read much (pre-training, 预训练) is the backbone (骨干网络) of a classifier or of an
encoder. Of it learn all weights, the last blocks, or adapters beside the weights (LoRA); and what
it knew is kept by a pull towards the old weights.
"""

import hashlib
import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.contrastive import TextImageModel, recall_at, unit
from aigc_keras.files import UnreadableFileError, replaced
from aigc_keras.guards import check_choice, check_labels, check_number, check_numbers, check_seed
from aigc_keras.model import Model
from aigc_keras.optimizers import Adam
from aigc_keras.replicas import Dropout, all_rows
from aigc_keras.seq2seq.model import filled
from aigc_keras.text.gpt import GPT
from aigc_keras.text.language_model import LanguageModel
from aigc_keras.text.reading import by_length
from aigc_keras.text.tokenizers import END, PADDING, check_texts, padding_of

# --- the jobs ---


class Reader(Model):
    """What a backbone knows of a text, as one vector: what a classifier and an encoder do alike.

    Trains on pairs (tokens, labels or other tokens). A child gives `call` and `row_losses`.

    Args:
        backbone: a `text.GPT`. It is not copied: what it learns here, it knows elsewhere.
        seed: of the first weights and of dropout; by default `keras.utils.set_random_seed` decides.
    """

    draws_noise = False

    def __init__(self, backbone, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(backbone, GPT):
            raise ValueError(f"backbone: got {backbone!r:.80}, accepted is a text.GPT.")
        self.backbone, self.seed = backbone, check_seed(seed)

    def dense(self, units, name, **kwargs):
        """A layer from the mean of the states to `units` numbers."""
        start = keras.initializers.GlorotUniform(self.seed)
        layer = layers.Dense(units, kernel_initializer=start, name=name, dtype="float32", **kwargs)
        layer.build((None, self.backbone.width))
        return layer

    def default_optimizer(self):
        return Adam(5e-4)

    def call_signature(self):
        return tf.TensorSpec((None, None), "int32", name="tokens")

    def mean_state(self, tokens, training=False):
        """The mean of the backbone's states, those at PADDING left out: (B, width), float32."""
        known = ops.cast(ops.logical_not(padding_of(tokens)), "float32")[..., None]
        states = self.backbone.states(ops.maximum(tokens, END), training=training)
        return ops.sum(known * ops.cast(states, "float32"), 1) / ops.sum(known, 1)

    # the data

    def rows(self, texts, batch_size=1):
        """END and the tokens of each text, cut at the backbone's context_length: int32 (T,)."""
        check_texts(texts, batch_size)
        encode, length = self.backbone.tokenizer.encode, self.backbone.context_length
        return [np.append(END, encode(text))[:length].astype("int32") for text in texts]

    def unpack(self, data):
        """The two parts of a batch, int32."""
        return tuple(ops.cast(part, "int32") for part in self.parts_of(data))

    @property
    def accepted_data(self):
        return (
            f"accepted are tokens, integers (N, T) with T <= {self.backbone.context_length} in "
            f"[{PADDING}, {self.backbone.tokenizer.vocab_size}), the first of a row not {PADDING}; "
            f"and as many {self.second}: model.batches makes them of texts."
        )

    def check_parts(self, name, parts):
        if len(parts) != 2:
            raise ValueError(f"{name}: got {len(parts)} parts, {self.accepted_data}")

    def check_tokens(self, name, tokens):
        x, gpt = np.asarray(tokens), self.backbone
        good = x.ndim == 2 and np.issubdtype(x.dtype, np.integer) and len(x) > 0
        if not good or not 1 <= x.shape[1] <= gpt.context_length:
            raise ValueError(f"{name}: got {x.dtype} of shape {x.shape}, {self.accepted_data}")
        if x.min() < PADDING or x.max() >= gpt.tokenizer.vocab_size or x[:, 0].min() == PADDING:
            raise ValueError(
                f"{name}: got values from {x.min()} to {x.max()}, the first of a row from "
                f"{x[:, 0].min()}, {self.accepted_data}"
            )

    # training

    def train_step(self, data):
        first, second = self.unpack(data)
        with tf.GradientTape() as tape:
            losses, right = self.row_losses(first, second, training=True)
            loss = ops.mean(losses)
        self.descend(tape, loss, first)
        return self.track(first, **dict(zip(self.tracked, (loss, right), strict=True)))

    def test_step(self, data):
        first, second = self.unpack(data)
        found = self.row_losses(first, second)
        return self.track(first, **dict(zip(self.tracked, found, strict=True)))

    # using it

    def features(self, texts, batch_size=64):
        """What the backbone knows of texts, float32 (N, its width): the means of its states."""
        return self.of_texts("features", self.mean_state, texts, batch_size)

    def of_texts(self, name, function, texts, batch_size):
        """`function` of the tokens of `texts`, those of about one length together, as an array."""
        rows, graphs, key = self.rows(texts, batch_size), self.backbone._graphs, (self, name)
        if key not in graphs:
            graphs[key] = tf.function(function, input_signature=[self.call_signature()])
        order = np.argsort([len(row) for row in rows], kind="stable")
        found = []
        for i in range(0, len(rows), batch_size):
            part = [rows[k] for k in order[i : i + batch_size]]
            tokens = tf.convert_to_tensor(filled(part, self.backbone.context_length))
            found.append(graphs[key](tokens).numpy())
        return np.concatenate(found)[np.argsort(order)]


@keras.saving.register_keras_serializable("aigc_keras")
class Classifier(Reader):
    """Which of several classes a text is of: one dense layer on the mean of a backbone's states.

    As Radford et al. 2018, section 3.2, who took the last state alone.

    Args:
        backbone, seed: as for `Reader`.
        num_classes: >= 2.
        dropout: share of the mean state's numbers that are dropped in training.
    """

    tracked, second = ("loss", "accuracy"), "labels, integers (N,) of the classes"

    def __init__(self, backbone, num_classes, dropout=0.0, seed=None, **kwargs):
        super().__init__(backbone, seed, **kwargs)
        self.num_classes = check_number("num_classes", num_classes, low=2, integer=True)
        self.dropout = check_number("dropout", dropout, low=0, below=1)
        self.drop = Dropout(dropout, seed=seed, dtype="float32")
        self.head = self.dense(num_classes, "head")
        self.set_up()

    def call(self, inputs, training=False):
        """Tokens (B, T), with PADDING behind, to logits (B, num_classes), float32."""
        return self.head(self.drop(self.mean_state(inputs, training), training=training))

    def batches(self, texts, labels, batch_size=32, shuffle=True, seed=0):
        """Batches of (tokens (B, T), labels (B,)) for `fit`, int32, as a `tf.data.Dataset`.

        A text longer than the backbone's context_length, END before it included, is cut there.
        Texts of nearly one length share a batch, see `text.reading.by_length`.

        Raises:
            ValueError: there are not as many labels as texts, or one is none of `num_classes`.
        """
        rows, seed = self.rows(texts, batch_size), check_seed(seed)
        labels = check_labels([] if labels is None else labels, len(rows), self.num_classes)
        limit = self.backbone.context_length
        return by_length([rows], limit, batch_size, shuffle, seed, [labels])

    def check_batch(self, name, parts):
        self.check_parts(name, parts)
        self.check_tokens(name, parts[0])
        called = "labels" if name == "x" else f"{name}: labels"
        check_labels(parts[1], len(parts[0]), self.num_classes, called)

    def row_losses(self, tokens, labels, training=False):
        """(-log p of the labels, nats, whether each is the likeliest): (B,) both."""
        logits = self(tokens, training=training)
        nats = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return nats, ops.argmax(logits, axis=1) == labels

    def classify(self, texts, batch_size=64):
        """Probabilities of the classes, float32 (N, num_classes); long texts are cut."""
        return self.of_texts(
            "classify", lambda tokens: ops.softmax(self(tokens)), texts, batch_size
        )


@keras.saving.register_keras_serializable("aigc_keras")
class Encoder(Reader):
    """Texts as unit vectors, near each other where they belong together: a search by meaning.

    Trains on pairs, such as questions and answers: of a batch, which belongs to which? (InfoNCE,
    van den Oord et al. 2018, arXiv:1807.03748, eq. 4, both ways as in `contrastive`.)

    Args:
        backbone, seed: as for `Reader`.
        width: of the vectors.
        temperature: >= 0.01; cosines are divided by it.
    """

    tracked, second = ("loss", "recall_at_1"), "other tokens of that kind"
    contrastive_loss = TextImageModel.contrastive_loss  # of two texts instead of a picture and one

    def __init__(self, backbone, width=64, temperature=0.05, seed=None, **kwargs):
        super().__init__(backbone, seed, **kwargs)
        self.width = check_number("width", width, low=1, integer=True)
        self.temperature = check_number("temperature", temperature, low=0.01)
        self.log_scale = -math.log(self.temperature)
        self.projection = self.dense(width, "projection", use_bias=False)
        self.set_up()

    def call(self, inputs, training=False):
        """Tokens (B, T), with PADDING behind, to vectors (B, width) of length one, float32."""
        return unit(self.projection(self.mean_state(inputs, training)))

    def batches(self, questions, answers, batch_size=64, shuffle=True, seed=0):
        """Batches of (tokens (B, T), tokens (B, S)) for `fit`, int32: answers[i] is the right one.

        As of `Classifier.batches`: long texts are cut, and those of a batch are about as long.

        Raises:
            ValueError: there are not as many answers as questions.
        """
        columns, seed = [self.rows(x, batch_size) for x in (questions, answers)], check_seed(seed)
        if len(questions) != len(answers):
            raise ValueError(f"answers: got {len(answers)}, accepted are {len(questions)} texts.")
        return by_length(columns, self.backbone.context_length, batch_size, shuffle, seed)

    def check_batch(self, name, parts):
        self.check_parts(name, parts)
        for part in parts:
            self.check_tokens(name, part)
        if len(parts[0]) != len(parts[1]):
            found = f"{len(parts[0])} and {len(parts[1])} rows"
            raise ValueError(f"{name}: got {found}, {self.accepted_data}")

    def row_losses(self, questions, answers, training=False):
        """Of a batch: the losses (B,), and the share of questions that find their answer."""
        vectors = self(questions, training=training), self(answers, training=training)
        # The wrong answers are in the whole batch, whichever replicas have them.
        questions, answers, *vectors = (all_rows(x) for x in (questions, answers, *vectors))
        # Who asks or answers the same is no wrong answer.
        equal = (ops.all(x[:, None] == x, axis=-1) for x in (questions, answers))
        same = ops.logical_or(*equal)
        recall = recall_at(ops.matmul(vectors[0], ops.transpose(vectors[1])), same=same)
        return self.contrastive_loss(*vectors, same), recall

    def encode(self, texts, batch_size=64):
        """Unit vectors of texts, float32 (N, width): products of two are cosines."""
        return self.of_texts("encode", self, texts, batch_size)


# --- what learns: the last blocks, or adapters ---


def backbone_of(model):
    """The GPT that `model` is, or has; otherwise a ValueError."""
    gpt = getattr(model, "backbone", model)
    if not isinstance(gpt, GPT):
        raise ValueError(
            f"model: got {model!r:.80}, accepted is a text.GPT, or a Classifier or Encoder of one."
        )
    return gpt


def freeze(model, until):
    """`GPT.freeze` of a GPT, or of the backbone of a model: call `compile` again afterwards.

    Of 0 all learns; of `num_layers` nothing of the backbone does, and only a head is trained.

    Raises:
        ValueError: `until` is none of 0 to `num_layers`, or there are adapters.
    """
    backbone_of(model).freeze(until)
    model.uncompile()


def _dense(gpt):
    """The layers that get adapters, by name."""
    for i, block in enumerate(gpt.blocks):
        for name in ("qkv", "out"):
            yield f"{i} {name}", getattr(block.attention, name)
        for name in ("expand", "project"):
            yield f"{i} {name}", getattr(block, name)


def add_lora(model, rank=4, alpha=None):
    """Adapters (适配器): beside each kernel W of the blocks, A B of low rank; compile again.

    W + (alpha / rank) A B, where A is (in, rank) and B, (rank, out), begins as zeros: Hu et al.
    2021, arXiv:2106.09685, eq. 3, by Keras' `enable_lora`. All else of the backbone is frozen.

    Args:
        model: a GPT, or a model with one as its backbone.
        rank: >= 1 and at most the width.
        alpha: > 0; by default `rank`, a factor of one.

    Raises:
        ValueError: there are adapters, or a number is out of range.
    """
    gpt = backbone_of(model)
    rank = check_number("rank", rank, low=1, below=gpt.width + 1, integer=True)
    alpha = rank if alpha is None else check_number("alpha", alpha, low=1e-6)
    model.check_plain()
    for layer in (gpt.embedding, gpt.position_embedding, *gpt.blocks, gpt.norm):
        if layer is not None:
            layer.trainable = False
    for _, layer in _dense(gpt):
        layer.trainable = True  # or Keras would freeze what it adds
        layer.bias.trainable = False
        layer.enable_lora(rank, lora_alpha=alpha)
    _forget(model)


def merge(model):
    """Add A B to each kernel: the adapters are gone, the outputs stay. Compile again afterwards.

    What learns is then what did before `add_lora`.

    Raises:
        ValueError: there are no adapters.
    """
    gpt = backbone_of(model)
    for _, layer in _adapted(gpt):
        factor = layer.lora_alpha / layer.lora_rank  # in float32, which `layer.kernel` may not be
        layer._kernel.assign_add(factor * ops.matmul(layer.lora_kernel_a, layer.lora_kernel_b))
        for name in ("lora_kernel_a", "lora_kernel_b"):
            layer._untrack_variable(getattr(layer, name))
            setattr(layer, name, None)
        layer.lora_enabled, layer.lora_rank, layer.lora_alpha = False, None, None
        layer.trainable = False  # or Keras would not hand on to its weights what it is told next
    gpt.freeze(gpt.frozen)
    _forget(model)


def _adapted(gpt):
    """The layers with adapters, by name; a ValueError where there are none."""
    if not next(_dense(gpt))[1].lora_enabled:
        raise ValueError("model: got one without adapters, accepted is one after add_lora.")
    return list(_dense(gpt))


def _forget(model):
    """What was compiled before, to train, read or write, knows other weights."""
    backbone_of(model)._graphs.clear()  # those of other readers, too
    backbone_of(model).uncompile()
    model.uncompile()


def _others(model):
    """What learns beside the backbone: a head."""
    own = {id(v) for v in backbone_of(model).variables}
    return [v for v in model.trainable_variables if id(v) not in own]


def _fingerprint(gpt):
    """SHA-256 of the backbone's weights, adapters left out."""
    total = hashlib.sha256()
    for weight in gpt.weights:
        if "lora_kernel" not in weight.name:
            total.update(np.ascontiguousarray(weight.numpy()))
    return total.hexdigest()


def save_adapter(model, path, dtype="float32"):
    """Write the adapters of `model`, and its head, as .npz: the backbone stays where it is.

    Args:
        path: the file; it is replaced only once the new one is complete.
        dtype: "float32", or "float16": half the size, rounded to three digits.

    Raises:
        ValueError: there are no adapters.
    """
    check_choice("dtype", dtype, ("float32", "float16"))
    gpt, arrays = backbone_of(model), {}
    for name, layer in _adapted(gpt):
        alpha = layer.lora_alpha
        arrays |= {f"{name} A": layer.lora_kernel_a, f"{name} B": layer.lora_kernel_b}
    arrays |= {f"head {i}": v for i, v in enumerate(_others(model))}
    arrays = {name: v.numpy().astype(dtype) for name, v in arrays.items()}
    with replaced(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, backbone=_fingerprint(gpt), alpha=alpha, **arrays)


def load_adapter(model, path):
    """Give a model of the same backbone the adapters, and the head, of a file; compile again.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, or of another backbone, rank or head; nothing has changed.
    """
    gpt = backbone_of(model)
    accepted = f"accepted is what save_adapter wrote of a {type(model).__name__} like this one."
    try:
        with open(path, "rb") as file, np.load(file) as found:
            arrays = dict(found)
        backbone, alpha = str(arrays.pop("backbone")), float(arrays.pop("alpha"))
        arrays = {name: x.astype("float32") for name, x in arrays.items()}
        rank = arrays["0 qkv A"].shape[-1]
    except FileNotFoundError:
        raise
    except Exception as error:  # of zip files, of NumPy's, or because something is not there
        raise UnreadableFileError(f"path: {str(path)!r} is damaged, {accepted} {error}") from error
    shapes = {f"head {i}": tuple(v.shape) for i, v in enumerate(_others(model))}
    for name, layer in _dense(gpt):
        rows, columns = layer._kernel.shape
        own = layer.lora_rank if layer.lora_enabled else rank
        shapes |= {f"{name} A": (rows, own), f"{name} B": (own, columns)}
    if shapes != {name: x.shape for name, x in arrays.items()}:
        names = [k for k in {**shapes, **arrays} if shapes.get(k) != np.shape(arrays.get(k))]
        raise UnreadableFileError(
            f"path: {str(path)!r} has {names[0]!r} as {np.shape(arrays.get(names[0]))} and not as "
            f"{shapes.get(names[0])}: it is of another rank, head or backbone, {accepted}"
        )
    if backbone != _fingerprint(gpt):
        raise UnreadableFileError(
            f"path: {str(path)!r} is of a backbone with other weights, {accepted}"
        )
    if not next(_dense(gpt))[1].lora_enabled:
        add_lora(model, rank, alpha)
    for name, layer in _dense(gpt):
        layer.lora_alpha = alpha
        layer.lora_kernel_a.assign(arrays[f"{name} A"])
        layer.lora_kernel_b.assign(arrays[f"{name} B"])
    for i, variable in enumerate(_others(model)):
        variable.assign(arrays[f"head {i}"])
    _forget(model)


# --- what is kept of the old ---


def fisher(model, data, steps=200):
    """How much each trainable weight matters for `data`: arrays like `trainable_variables`.

    The diagonal of the empirical Fisher information: the mean over rows of the squared gradient of
    log p(row), as in Kirkpatrick et al. 2017, arXiv:1612.00796, eq. 3. Of a language model, a row
    is all tokens of it; of a classifier, the label given the text.

    Args:
        model: a `text.LanguageModel` or a `Classifier`.
        data: a `tf.data.Dataset` of batches, as for `fit`.
        steps: at most so many rows, one after another.
    """
    check_number("steps", steps, low=1, integer=True)
    if not isinstance(model, LanguageModel | Classifier) or not model.trainable_variables:
        raise ValueError(
            f"model: got {model!r:.80}, accepted is a language model with weights that learn, or a "
            "Classifier."
        )
    if not isinstance(data, tf.data.Dataset):
        raise ValueError(f"data: got {data!r:.80}, accepted is a tf.data.Dataset of batches.")
    variables = model.trainable_variables
    sums = [tf.Variable(tf.zeros_like(v)) for v in variables]

    @tf.function(reduce_retracing=True)
    def add(row):
        with tf.GradientTape() as tape:
            if isinstance(model, Classifier):
                loss, _ = model.row_losses(*model.unpack(row))
            else:
                loss = ops.sum(model.token_losses(model.unpack(row)))
        for total, gradient in zip(sums, tape.gradient(loss, variables), strict=True):
            if gradient is not None:
                total.assign_add(tf.square(tf.convert_to_tensor(gradient)))

    count = 0
    for row in data.unbatch().batch(1):
        if count == steps:
            break
        if np.any(tf.nest.flatten(row)[0] != PADDING):  # some rows only fill a batch up
            add(row)
            count += 1
    return [total.numpy() / max(count, 1) for total in sums]


class PullToOld(keras.callbacks.Callback):
    """After each step, pull the weights towards what they were when training began.

    w <- (w + s F w_old) / (1 + s F): a proximal step, which no strength makes unstable. It is that
    of L2-SP (Li et al. 2018, arXiv:1802.01483) where F is 1, and of elastic weight
    consolidation (EWC, 弹性权重巩固; Kirkpatrick et al. 2017, arXiv:1612.00796, eq. 3) where F says
    how much a weight mattered: it holds what mattered and lets go of the rest. A head is pulled,
    too, to its first weights.

    Args:
        strength: s >= 0; 0 changes nothing.
        fisher: F, what `fisher` gives; by default 1.
    """

    def __init__(self, strength, fisher=None):
        super().__init__()
        self.strength = check_number("strength", strength, low=0)
        if fisher is not None:
            accepted = "accepted are arrays of numbers >= 0, as tuning.fisher gives them"
            if not isinstance(fisher, list | tuple) or not len(fisher):
                raise ValueError(f"fisher: got {fisher!r:.80}, {accepted}.")
            fisher = [check_numbers(f"fisher[{i}]", x, accepted) for i, x in enumerate(fisher)]
            if min(x.min() for x in fisher) < 0:
                raise ValueError(f"fisher: got numbers below 0, {accepted}.")
        self.fisher = fisher

    def on_train_begin(self, logs=None):
        weights = self.model.trainable_variables
        fisher = [np.ones(v.shape) for v in weights] if self.fisher is None else self.fisher
        if [x.shape for x in fisher] != [tuple(v.shape) for v in weights]:
            raise ValueError(
                f"fisher: got {len(fisher)} arrays that do not have the shapes of the "
                f"{len(weights)} weights that learn, accepted is tuning.fisher of this model."
            )
        pulls = [self.strength * x.astype("float64") for x in fisher]
        shares = [tf.constant(x / (1 + x), v.dtype) for x, v in zip(pulls, weights, strict=True)]
        old = [tf.constant(v.numpy()) for v in weights]

        def pull():
            for weight, share, before in zip(weights, shares, old, strict=True):
                weight.assign_add(share * (before - weight))

        self.pull = tf.function(pull)

    def on_train_batch_end(self, batch, logs=None):
        self.pull()
