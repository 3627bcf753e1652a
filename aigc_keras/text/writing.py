"""Writing: the one loop from a model's logits to texts."""

import math

import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.text.sampling import Written, rows_of
from aigc_keras.text.tokenizers import END


def write(
    model,
    given,
    max_new_tokens,
    rules,
    choice,
    seed,
    *,
    rows=1,
    sources=(),
    stop=(),
    at_once=None,
    cache=True,
    compiled=False,
):
    """Yields what is new so far: (texts, `Written`).

    Args:
        given: tokens of each prompt, with END before them.
        rules, choice: as in `aigc_keras.text.sampling`.
        rows: so many are written for each prompt; it is in the first of them.
        sources: what else the model reads, arrays with a row for each prompt.
        stop: words before which a text ends.
        at_once: after so many tokens it yields; by default only in the end.
        cache: False reads everything anew for each token.
        compiled: the whole loop as one graph; False: only a step of the model is one.
    """
    rows = rows_of(rows)
    size = rows_of(len(given)) * rows
    lengths = np.array([len(tokens) for tokens in given], "int32")
    total = int(lengths.max()) + max_new_tokens
    of = np.arange(size) // rows  # which prompt a row goes on from
    lengths = np.append(lengths, lengths.min()).astype("int32")[np.minimum(of, len(given))]
    sources = [tf.constant(x[of % len(given)]) for x in sources]
    # Without its state, a model that reads one by one has to read everything again.
    context = model.context_length if cache or model.reads_prompt_at_once else total
    tokens = np.full((size, total + context + 1), END, "int32")
    seen = np.zeros((size, model.tokenizer.vocab_size), bool)
    for i, row in enumerate(given):
        tokens[i * rows, : len(row)] = row
        seen[i * rows, row[1:]] = True  # without END, which must be free to come
    finished = (np.arange(size) % rows > 0) | (of >= len(given))
    scores = np.where(finished, -math.inf, 0.0)
    # A window is what the model sees: `context` tokens from `offset` on, and the next one.
    offset, position = 0, int(lengths.min()) - 1 if model.reads_prompt_at_once else 0
    state, run = None, _loop(model, cache, compiled)
    while not finished.all() and offset + position + 1 < total:
        if position >= context:
            offset, position = offset + position - model.kept, model.kept
            state = None if model.reads_prompt_at_once else state
        window = tokens[:, offset : offset + context + 1]
        if state is None:
            begin = model.graph("begin", model.begin)
            state = begin(tf.constant(window), *sources) if cache else ()
        last = min(context, total - 1 - offset, position + (at_once or total))
        written = Written(window, position, lengths - offset, seen, finished, scores)
        tensors = tf.nest.map_structure(tf.convert_to_tensor, (written, last, (seed, offset)))
        written, state = run(*tensors, rules, choice, state, sources)
        tokens[:, offset : offset + context + 1] = written.tokens
        seen, finished, scores = written.seen, np.array(written.finished), written.scores
        position, texts = int(written.position), []
        for i, row in enumerate(tokens):
            new = row[lengths[i] : min(offset + position + 1, lengths[i] + max_new_tokens)]
            text = model.tokenizer.decode(new[: np.argmax(np.append(new, END) == END)])
            ends = [text.find(word) for word in stop if word in text]
            finished[i] |= bool(ends)
            texts.append(text[: min(ends)] if ends else text)
        yield texts, written


def _loop(model, cache, compiled):
    """The loop that writes tokens `position` + 1 to `last`."""
    step = model.step if compiled else model.graph("step", model.step)

    def loop(written, last, seed, rules, choice, state, sources):
        while written.position < last and not tf.reduce_all(written.finished):
            tokens, position, lengths, seen, finished, scores = written
            if cache:
                logits, state = step(tf.gather(tokens, position, axis=1), position, state)
            else:
                inputs = [*sources, tokens[:, :-1]]
                logits = model(inputs if sources else inputs[0])
                logits = tf.gather(logits, position, axis=1)
            log_p = tf.nn.log_softmax(logits)
            for rule in rules:
                logits = rule(logits, written)
            log_p = tf.where(logits == -math.inf, -math.inf, log_p)
            token, parents, best = choice(logits, log_p, written, [seed[0], seed[1] + position])
            given = position + 1 < lengths  # a longer prompt than the shortest goes on
            if parents is None:
                gained = tf.cast(tf.gather(log_p, token, batch_dims=1), "float64")
                best = tf.where(finished, scores, scores + gained)
            else:
                parents = tf.where(given, tf.range(tf.size(parents)), parents)
                rows = tokens, seen, finished, scores, state
                rows = tf.nest.map_structure(lambda x, of=parents: tf.gather(x, of), rows)
                tokens, seen, finished, scores, state = rows
            token = tf.where(finished, END, token)
            token = tf.where(given, tf.gather(tokens, position + 1, axis=1), token)
            scores = tf.where(given, scores, best)
            finished = finished | (~given & (token == END))
            seen = seen | tf.one_hot(token, model.tokenizer.vocab_size, True, False)
            tokens = ops.slice_update(tokens, (0, position + 1), token[:, None])
            written = Written(tokens, position + 1, lengths, seen, finished, scores)
        return written, state

    return model.graph(("loop", cache), loop) if compiled else loop


def check_stop(stop):
    """The words as a tuple or list; otherwise a ValueError."""
    words = (stop,) if isinstance(stop, str) else stop
    if not isinstance(words, tuple | list) or not all(isinstance(w, str) and w for w in words):
        raise ValueError(f"stop: got {stop!r}, accepted are strings of at least one character.")
    return words


def pieces(prompt, texts, stop):
    """`prompt`, then what each of `texts` has more than the one before: what is new so far."""
    if prompt:
        yield prompt
    shown = 0
    # The first bytes of a character are not a character yet, and what may become a stop word waits
    # until it is known.
    starts = {word[:i] for word in stop for i in range(1, len(word))}
    for text in texts:
        held = max((len(start) for start in starts if text.endswith(start)), default=0)
        if len(text) - held > shown and not text.endswith("\ufffd"):
            yield text[shown : len(text) - held]
            shown = len(text) - held
    if len(text) > shown:
        yield text[shown:]
