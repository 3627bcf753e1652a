"""`aigc_keras.tuning`: what learns, what stays, adapters in a file, the pull to the old weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras import text, tuning
from aigc_keras.optimizers import Adam
from aigc_keras.text.reading import by_length
from aigc_keras.text.tokenizers import END, PADDING

LETTERS = text.CharTokenizer("abcd")
RNG = np.random.default_rng(0)
TEXTS = ["".join(RNG.choice(list("abcd"), 1 + i % 11)) for i in range(23)]
LABELS = np.arange(23) % 3


def scrambled(model, seed=0, std=0.2):
    """Weights as if it had learned: no sum is near zero, and no bias is."""
    rng = np.random.default_rng(seed)
    model.set_weights([w + rng.normal(0, std, w.shape) for w in model.get_weights()])
    return model


def gpt(positions="rotary", seed=0, **kwargs):
    keras.utils.set_random_seed(seed)
    return scrambled(text.GPT(LETTERS, 12, 8, 2, 2, positions=positions, **kwargs), seed)


def classifier(n=3, **kwargs):
    return tuning.Classifier(gpt(), n, seed=1, **kwargs)


def sgd(model, rate=0.1):
    """Without graphs: to build one takes longer than a few steps take."""
    model.compile(keras.optimizers.SGD(rate), run_eagerly=True, jit_compile=False)
    return model


def weights(model):
    return [w.numpy() for w in model.weights]


def step(model):
    data = model.batches(TEXTS, LABELS % 2, 23)
    model.fit(data, verbose=0)


# --- the backbone's states ---


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_states_are_what_logits_are_made_of(positions):
    model = gpt(positions)
    tokens = RNG.integers(0, 6, (3, 7))
    states = np.array(model.states(tokens))
    assert states.shape == (3, 7, 8)
    expected = states @ model.embedding.get_weights()[0].T
    np.testing.assert_allclose(model(tokens), expected, atol=1e-5)
    np.testing.assert_allclose(states.mean(-1), model.norm.beta.numpy().mean(), atol=1)


# --- freezing ---


@pytest.mark.parametrize(("until", "positions"), [(0, "learned"), (1, "learned"), (2, "rotary")])
def test_what_is_frozen_stays_and_the_rest_moves(until, positions):
    model = tuning.Classifier(gpt(positions), 2, seed=1)
    tuning.freeze(model.backbone, until)
    frozen = [model.backbone.embedding, model.backbone.position_embedding] if until else []
    frozen += model.backbone.blocks[:until] + [model.backbone.norm] * (until == 2)
    frozen = {id(w) for layer in frozen if layer is not None for w in layer.weights}
    assert {id(w) for w in model.weights if not w.trainable} == frozen
    before = weights(model)
    step(sgd(model))
    for variable, old in zip(model.weights, before, strict=True):
        same = np.array_equal(variable.numpy(), old)
        assert same == (id(variable) in frozen), variable.path


def test_frozen_is_undone_and_saved(tmp_path):
    model = classifier(2)
    tuning.freeze(model, 2)
    assert len(model.trainable_variables) == 2
    tuning.freeze(model, 1)
    step(sgd(model))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    names = [[w.shape for w in x.trainable_variables] for x in (model, loaded)]
    assert names[0] == names[1] and loaded.backbone.frozen == 1
    step(loaded), step(model)
    for first, second in zip(weights(loaded), weights(model), strict=True):
        np.testing.assert_array_equal(first, second)
    tuning.freeze(model, 0)
    assert len(model.trainable_variables) == len(model.weights)
    with pytest.raises(ValueError, match="call `compile"):  # the old optimizer knows too little
        step(model)


def test_a_backbone_that_was_trained_before(tmp_path):
    """Its own optimizer is no hindrance to the file of a model around it."""
    backbone = sgd(gpt())
    backbone.fit(backbone.windows(["abcd" * 6]), verbose=0)
    model = sgd(tuning.Classifier(backbone, 3))
    step(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.classify(TEXTS), model.classify(TEXTS))


def test_features_are_what_a_head_sees():
    model = classifier()
    weights, biases = model.head.get_weights()
    logits = model.features(TEXTS, batch_size=5) @ weights + biases
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.classify(TEXTS), expected, atol=1e-5)


# --- adapters ---


def adapted(rank=3, n=3, **kwargs):
    """A classifier whose adapters do something."""
    model = classifier(n)
    tuning.add_lora(model, rank, **kwargs)
    for i, variable in enumerate(model.trainable_variables):
        variable.assign(np.random.default_rng(i).normal(0, 0.2, variable.shape))
    return model


def test_an_adapter_has_rank_times_in_plus_out_numbers():
    model = gpt()
    plain = [np.array(model(np.arange(5)[None]))]
    tuning.add_lora(model, 3)
    widths = [(8, 24), (8, 8), (8, 32), (32, 8)] * 2
    found = [v.numpy().size for v in model.trainable_variables]
    assert found == [3 * n for pair in widths for n in pair]
    np.testing.assert_array_equal(model(np.arange(5)[None]), plain[0])  # B begins as zeros


@pytest.mark.parametrize("alpha", [None, 6.0])
def test_adapters_are_the_formula_and_merge_keeps_the_outputs(alpha):
    model = classifier()
    before = model.classify(TEXTS)  # a graph that must not be used again
    kernels = [layer.kernel.numpy() for _, layer in tuning._dense(model.backbone)]
    model = adapted(alpha=alpha)
    factor = 1 if alpha is None else 2
    expected = [
        kernel + factor * layer.lora_kernel_a.numpy() @ layer.lora_kernel_b.numpy()
        for kernel, (_, layer) in zip(kernels, tuning._dense(model.backbone), strict=True)
    ]
    outputs = model.classify(TEXTS)
    assert np.abs(outputs - before).max() > 0.01
    tuning.merge(model)
    for kernel, (_, layer) in zip(expected, tuning._dense(model.backbone), strict=True):
        np.testing.assert_allclose(layer.kernel, kernel, atol=1e-6)
    np.testing.assert_allclose(model.classify(TEXTS), outputs, atol=1e-5)
    assert len(model.trainable_variables) == len(model.weights) == len(classifier().weights)


def test_graphs_of_before_are_not_used_after():
    model = classifier()
    other = tuning.Encoder(model.backbone, 4)
    plain, encoded = model.classify(["abc"]), other.encode(["abc"])
    tuning.add_lora(model, 2)
    for _, layer in tuning._dense(model.backbone):
        layer.lora_kernel_b.assign_add(tf.ones_like(layer.lora_kernel_b))
    assert np.abs(model.classify(["abc"]) - plain).max() > 1e-3
    assert np.abs(other.encode(["abc"]) - encoded).max() > 1e-3


def test_only_adapters_and_head_learn():
    model = adapted(n=2)
    learn = {id(v) for v in model.trainable_variables}
    before = weights(model)
    step(sgd(model))
    for variable, old in zip(model.weights, before, strict=True):
        assert np.array_equal(variable.numpy(), old) == (id(variable) not in learn), variable.path


def test_an_adapter_goes_through_a_file_bit_alike(tmp_path):
    model, fresh, again = adapted(alpha=5), classifier(), classifier()
    tuning.save_adapter(model, tmp_path / "a.npz")
    tuning.load_adapter(fresh, tmp_path / "a.npz")
    for first, second in zip(weights(model), weights(fresh), strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(fresh.classify(TEXTS), model.classify(TEXTS))
    fresh.compile()  # and it can be trained on
    assert len(fresh.trainable_variables) == len(model.trainable_variables)
    tuning.save_adapter(model, tmp_path / "half.npz", dtype="float16")
    tuning.load_adapter(again, tmp_path / "half.npz")
    np.testing.assert_allclose(again.classify(TEXTS), model.classify(TEXTS), atol=5e-3)
    sizes = [(tmp_path / name).stat().st_size for name in ("half.npz", "a.npz")]
    assert sizes[0] < sizes[1] < 30_000
    assert len(list(tmp_path.iterdir())) == 2
    tuning.load_adapter(again, tmp_path / "a.npz")  # one in the other's place
    np.testing.assert_array_equal(again.classify(TEXTS), model.classify(TEXTS))


def test_an_adapter_of_another_model_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "a.npz"
    tuning.save_adapter(adapted(), path)
    for other, said in (
        (tuning.Classifier(gpt(seed=1), 3), "of a backbone with other weights"),
        (tuning.Classifier(scrambled(text.GPT(LETTERS, 12, 8, 1, 2)), 3), "has '1 qkv A' as"),
        (classifier(2), "has 'head 0' as"),
        (gpt(), "has 'head 0' as"),
        (adapted(2), "has '0 qkv A' as"),
    ):
        before = weights(other)
        with pytest.raises(ValueError, match=f"^path: .*{said}"):
            tuning.load_adapter(other, path)
        for first, second in zip(weights(other), before, strict=True):
            np.testing.assert_array_equal(first, second)
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(path.read_bytes()[:-100])
    for content in (damaged.read_bytes(), b"", b"no file", path.read_bytes()[:-100]):
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match=r"^path: .* is damaged, accepted is"):
            tuning.load_adapter(classifier(), damaged)
    np.savez(damaged, backbone=np.array([None]), alpha=1.0)  # no pickles
    with pytest.raises(ValueError, match=r"^path: .* is damaged.*allow_pickle"):
        tuning.load_adapter(classifier(), damaged)
    with pytest.raises(FileNotFoundError):
        tuning.load_adapter(classifier(), tmp_path / "none.npz")


def test_keras_files_want_a_plain_model(tmp_path):
    """Keras would merge the adapters in its files, and load them as zeros that learn no more."""
    model = sgd(adapted(n=2))
    names = tmp_path / "model.keras", tmp_path / "model.weights.h5"
    calls = [
        lambda: model.save(names[0]),
        lambda: model.save_weights(names[1]),
        lambda: model.load_weights(names[1]),
        lambda: tuning.add_lora(model),
        lambda: tuning.freeze(model, 1),
        lambda: model.fit(model.batches(["a"], [0]), callbacks=[backup]),
    ]
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    for call in calls:
        with pytest.raises(ValueError, match=r"^model: .* with adapters .*after tuning.merge"):
            call()
    assert not list(tmp_path.iterdir())
    tuning.merge(model)
    model.save(names[0])
    loaded = keras.models.load_model(names[0])
    np.testing.assert_array_equal(loaded.classify(TEXTS), model.classify(TEXTS))


# --- the jobs ---


def test_padding_changes_nothing():
    models = {"classify": classifier(), "encode": tuning.Encoder(gpt(), 4)}
    for method, model in models.items():
        read = getattr(model, method)
        alone = np.concatenate([read([each]) for each in TEXTS])
        np.testing.assert_allclose(read(TEXTS, batch_size=5), alone, atol=1e-6)
        assert np.abs(alone - alone[0]).max() > 1e-3
        tokens = np.array([[END, 2, 3, PADDING, PADDING], [END, 2, 3, 4, 5]])
        np.testing.assert_allclose(model(tokens)[0], model(tokens[:1, :3])[0], atol=1e-6)


def test_the_mean_is_of_the_known_states():
    model = classifier()
    states = np.array(model.backbone.states(np.array([[END, 2, 3]])))[0]
    found = model.mean_state(np.array([[END, 2, 3, PADDING]]))[0]
    np.testing.assert_allclose(found, states.mean(0), atol=1e-6)


def test_long_texts_are_cut():
    model = classifier()
    np.testing.assert_array_equal(model.classify(["abcd" * 9]), model.classify(["abcdabcdabc"]))
    ((tokens, labels),) = model.batches(["abcd" * 9, "a"], [2, 1])
    assert tokens.shape == (2, 12) and labels.numpy().tolist() == [1, 2]
    assert tokens[0].numpy().tolist() == [END, 2] + [PADDING] * 10


def test_batches_hold_every_row_once_and_are_dealt_anew():
    rows = [np.arange(1, 2 + i % 13) for i in range(40)]
    pairs = [row + 20 for row in rows]
    found = []
    for shuffle in (False, True):
        data = by_length([rows, pairs], 12 + 1, 4, shuffle, 0, [np.arange(40)])
        assert int(data.cardinality()) == 10
        for _ in range(2):
            order = []
            for first, second, index in data:
                for x, y, i in zip(first.numpy(), second.numpy(), index.numpy(), strict=True):
                    np.testing.assert_array_equal(x[x != PADDING], rows[i])
                    np.testing.assert_array_equal(y[y != PADDING], pairs[i])
                assert first.shape[1] in (8, 13)
                lengths = np.sum(first != PADDING, 1)
                assert lengths.max() - lengths.min() <= 2
                order += index.numpy().tolist()
            assert sorted(order) == list(range(40))
            found.append(order)
    assert found[0] == found[1] and found[2] != found[3]


def test_a_classifier_learns_what_can_be_told():
    """Whether a text has an a: from a random backbone, to the last text."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("bcd"), 2 + i % 8)) for i in range(64)]
    labels = np.arange(64) % 2
    texts = ["a" + each if label else each for each, label in zip(texts, labels, strict=True)]
    model = tuning.Classifier(gpt(), 2, dropout=0.1, seed=0)
    model.compile(Adam(0.01))
    history = model.fit(model.batches(texts, labels, 16), epochs=30, verbose=0).history
    assert history["accuracy"][0] < 0.9
    logs = model.evaluate(model.batches(texts, labels, 24), verbose=0, return_dict=True)
    assert logs["accuracy"] == 1 and logs["loss"] < 0.1
    found = model.classify(texts)
    assert found.shape == (64, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.argmax(1), labels)
    nats = -np.log(found[np.arange(64), labels])
    np.testing.assert_allclose(logs["loss"], nats.mean(), rtol=1e-4)


def test_loss_of_pairs_is_a_loop_over_rows():
    """With rows 0 and 2 of one question, and 1 and 3 of one answer: no wrong ones."""
    model = tuning.Encoder(gpt(), 4, temperature=0.1)
    ask = np.array([[END, 2, 3], [END, 3, 3], [END, 2, 3], [END, 5, PADDING], [END, 4, 4]])
    say = np.array([[END, 2], [END, 3], [END, 4], [END, 3], [END, PADDING]])
    losses, recall = model.row_losses(ask, say)
    q, a = np.array(model(ask)), np.array(model(say))
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1, rtol=1e-5)
    expected, found = [], []
    for i in range(5):
        others = [j for j in range(5) if j == i or {i, j} not in ({0, 2}, {1, 3})]
        ways = [[q[i] @ a[j] / 0.1 for j in others], [q[j] @ a[i] / 0.1 for j in others]]
        expected.append(np.mean([np.log(np.sum(np.exp(x))) - q[i] @ a[i] / 0.1 for x in ways]))
        best = max(q[i] @ a[j] for j in range(5) if {i, j} in ({i}, {0, 2}, {1, 3}))
        found.append(all(q[i] @ a[j] < best for j in others if j != i))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    np.testing.assert_allclose(recall, np.mean(found), rtol=1e-6)


def test_an_encoder_learns_pairs():
    questions = sorted(set(TEXTS))[:8]
    answers = [each.translate(str.maketrans("abcd", "dcba")) + "a" for each in questions]
    model = tuning.Encoder(gpt(), 8, seed=0)
    model.compile(Adam(0.01))
    model.fit(model.batches(questions, answers, 8).repeat(), steps_per_epoch=200, verbose=0)
    first, second = model.encode(questions), model.encode(answers)
    assert first.shape == (8, 8) and first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(np.argmax(first @ second.T, axis=1), np.arange(8))


# --- what is kept ---


@pytest.mark.parametrize("fisher", [False, True])
@pytest.mark.parametrize("strength", [0.0, 0.7, 1e30])
def test_the_pull_is_the_proximal_step(strength, fisher):
    """Of one step of gradient descent, whose result without the pull is known."""
    free, held = (sgd(classifier(2), 0.5) for _ in range(2))
    old = weights(held)
    fishers = [np.random.default_rng(i).uniform(0.1, 2, w.shape) for i, w in enumerate(old)]
    step(free)
    pull = tuning.PullToOld(strength, fishers if fisher else None)
    held.fit(held.batches(TEXTS, LABELS % 2, 23), callbacks=[pull], verbose=0)
    for new, found, before, f in zip(weights(free), weights(held), old, fishers, strict=True):
        s = strength * (f if fisher else 1)
        np.testing.assert_allclose(found, (new + s * before) / (1 + s), atol=1e-6)
        assert np.abs(new - before).max() > 1e-6
        if strength == 0:
            np.testing.assert_array_equal(found, new)


def test_what_does_not_matter_is_not_held():
    model = sgd(classifier(2))
    old = weights(model)
    nothing = [np.zeros_like(w) for w in old]
    data = model.batches(TEXTS, LABELS % 2, 23)
    model.fit(data, callbacks=[tuning.PullToOld(1e9, nothing)], verbose=0)
    assert all(np.abs(w - v).max() > 1e-7 for w, v in zip(weights(model), old, strict=True))
    with pytest.raises(ValueError, match=r"^fisher: got 3 arrays"):
        model.fit(data, callbacks=[tuning.PullToOld(1.0, nothing[:3])], verbose=0)


@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")  # not tf.data's
def test_fisher_is_the_mean_of_squared_gradients(eagerly):
    """Of a language model, whose last rows are padding, and of a classifier."""
    language, model = gpt(), classifier()
    tuning.freeze(model, 1)
    windows = language.windows(["abca", "d", "bb"], 2, shuffle=False, packed=False)
    rows = [row for batch in windows for row in batch.numpy()][:3]
    pairs = model.batches(TEXTS[:5], LABELS[:5], 2, shuffle=False)
    singles = [(x[None], y[None]) for batch in pairs for x, y in zip(*batch, strict=True)]
    losses = {
        language: [lambda r=r: language.next_token_loss(tf.constant(r[None]))[1] for r in rows],
        model: [lambda x=x, y=y: -tf.nn.log_softmax(model(x))[0, y[0]] for x, y in singles],
    }
    for each, data in ((language, windows), (model, pairs)):
        variables, sums = each.trainable_variables, 0
        for loss in losses[each]:
            with tf.GradientTape() as tape:
                value = loss()
            gradients = tape.gradient(value, variables)
            sums += np.concatenate([np.square(tf.convert_to_tensor(g)).ravel() for g in gradients])
        found = tuning.fisher(each, data, steps=50)
        assert [x.shape for x in found] == [tuple(v.shape) for v in variables]
        found = np.concatenate([x.ravel() for x in found])
        expected = sums / len(losses[each])
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * expected.max())
        few = np.concatenate([x.ravel() for x in tuning.fisher(each, data.repeat(), steps=1)])
        assert np.abs(few - found).max() > 0
