"""Two processes of this machine, and two devices of one, end with the weights of one."""

import contextlib
import json
import socket
import time
import warnings

import forked
import keras
import numpy as np
import pytest
import smallest
import tensorflow as tf

import aigc_keras as ak
from aigc_keras.optimizers import named_optimizers

KINDS = ("gan", "vae", "vqvae", "diffusion", "gpt", "seq2seq", "pairs", "contrastive")
# To processes and devices a step is the same: in one of these is all that replicas do together,
# add gradients, counts and means, draw each its rows, and see the rows of the others.
PROCESSES = ("gan", "vae", "vqvae", "gpt")
TOLERANCE = 1e-6  # of the largest weight; float32 adds in another order


# --- what is trained, by one process or several ---


def data(labels=False):
    """23 rows of noise, so that the last of three batches is short and two replicas differ."""
    images = np.random.default_rng(0).uniform(-1, 1, (23, 8, 8, 1)).astype("float32")
    parts = (images, (np.arange(23) % 3).astype("int32")) if labels else images
    return tf.data.Dataset.from_tensor_slices(parts)


def make(kind):
    """A compiled model with plain SGD, which hides no wrong factor, and its dataset."""
    layers = keras.layers
    sgd = lambda rate, **more: keras.optimizers.SGD(rate, momentum=0.9, **more)  # noqa: E731
    if kind == "gan":
        latents, images = keras.Input((4,)), keras.Input((8, 8, 1))
        x = layers.BatchNormalization(momentum=0.9)(layers.Dense(16)(latents))
        x = layers.Dense(64, activation="tanh")(layers.ReLU()(x))
        generator = keras.Model(latents, layers.Reshape((8, 8, 1))(x))
        x = layers.LeakyReLU(0.2)(layers.Dense(16)(layers.Flatten()(images)))
        x = ak.replicas.Dropout(0.3)(x)
        discriminator = keras.Model(images, layers.Dense(1)(x))
        steps = {"discriminator_steps": 2, "gradient_penalty": 1.0}
        model = ak.gan.GAN(generator, discriminator, 4, seed=1, augment="adaptive", **steps)
        model.augment_probability.assign(0.5)
        model.compile(sgd(0.01), sgd(0.01, clipnorm=0.1))
    elif kind == "vae":
        model = ak.vae.VAE((8, 8, 1), latent_dim=3, width=4, hidden=8, free_bits=0.1, seed=1)
        model.compile(sgd(1e-3))
    elif kind == "vqvae":  # a code that is dead after each step
        model = ak.vq_vae.VQVAE((8, 8, 1), 6, 3, width=4, ema_momentum=0.5, dead_below=0.4, seed=1)
        model.compile(sgd(0.1))
    elif kind == "diffusion":
        noisy, times, labels = keras.Input((8, 8, 1)), keras.Input(()), keras.Input((), dtype=int)
        parts = [
            layers.Flatten()(noisy),
            layers.Reshape((1,))(times),
            layers.Embedding(4, 8)(labels),
        ]
        x = layers.Dense(32, activation="relu")(layers.Concatenate()(parts))
        network = keras.Model(
            [noisy, times, labels], layers.Reshape((8, 8, 1))(layers.Dense(64)(x))
        )
        model = ak.diffusion.DiffusionModel((8, 8, 1), num_classes=3, network=network, seed=1)
        model.compile(sgd(0.05))
    elif kind == "contrastive":  # wrong answers are in the whole batch
        tokenizer, sizes = ak.text.CharTokenizer("abc"), {"num_layers": 1, "num_heads": 2}
        model = ak.contrastive.TextImageModel(tokenizer, (8, 8, 1), 8, 4, 4, 8, **sizes)
        model.compile(sgd(0.05))
        tokens = np.random.default_rng(0).integers(0, 3, (23, 4)).astype("int32")
        tokens[4:8] = tokens[:4]  # the same texts, on several replicas
        tokens = tf.data.Dataset.from_tensor_slices(tokens)
        return model, tf.data.Dataset.zip(data(), tokens).batch(8)
    elif kind == "pairs":  # four networks
        model = smallest.two_pairs(seed=1)
        model.compile(**{f"{name}_optimizer": sgd(0.01) for name in model.networks})
        points = np.random.default_rng(0).uniform(-1, 1, (23, 2)).astype("float32")
        return model, tf.data.Dataset.from_tensor_slices(points).batch(8)
    elif kind == "seq2seq":  # the replicas have other numbers of tokens
        tokenizer = ak.text.CharTokenizer("abc")
        model = ak.seq2seq.Seq2Seq(tokenizer, None, 8, 16, 1, 2, label_smoothing=0.2, seed=1)
        model.compile(sgd(0.5, global_clipnorm=0.3))
        texts = [("abc" * 3)[i % 3 :][: 1 + i % 6] for i in range(23)]
        reversed_texts = [text[::-1] for text in texts]
        return model, model.batches(texts, reversed_texts, batch_size=8, shuffle=False)
    else:  # the last batch is partly padding
        tokenizer = ak.text.CharTokenizer.train(["abc def ghi."])
        model = ak.text.GPT(tokenizer, 16, 16, 1, 2, dropout=0.2, seed=1)
        model.compile(sgd(0.5, global_clipnorm=0.3), jit_compile=tf.distribute.has_strategy())
        return model, model.windows(["abc def ghi. fed cba. " * 8], batch_size=7, shuffle=False)
    return model, data(kind == "diffusion").batch(8)


def train(kind, strategy=None, epochs=2, shuffle=False, **more):
    """(model, history) of `epochs` of `kind`, under `strategy`."""
    keras.utils.set_random_seed(3)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model, dataset = make(kind)
    if shuffle:
        dataset = data(kind == "diffusion").shuffle(23, seed=0).batch(8)
    return model, model.fit(dataset, epochs=epochs, verbose=0, **more).history


def state(model, history):
    """All that training changed, as arrays by name."""
    optimizers = named_optimizers(model).values()
    variables = [*model.variables, *(v for optimizer in optimizers for v in optimizer.variables)]
    arrays = {f"variable {i}": np.asarray(v) for i, v in enumerate(variables)}
    return arrays | {f"history {k}": np.array(v) for k, v in history.items()}


def distance(one, other):
    """The largest difference of two `state`s, relative to the largest number of its kind."""
    assert one.keys() == other.keys()
    result = 0.0
    for kind in ("variable", "history"):
        names = [name for name in one if name.startswith(kind) and one[name].dtype.kind == "f"]
        largest = max(np.abs(one[name]).max() for name in names)
        result = max(result, *(np.abs(one[n] - other[n]).max() / largest for n in names))
    for name in one:
        if one[name].dtype.kind in "iu":  # counts and seeds
            np.testing.assert_array_equal(one[name], other[name])
    return result


def error_of(function):
    """What `function` raises, as text."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


# --- what the processes do ---


def strategy_of_all():
    tf.config.set_visible_devices([], "GPU")
    return ak.distribute.strategy()


def all_models(folder):
    """Train models, then try what is refused; rank 0 of two, or both devices of one."""
    strategy = strategy_of_all()
    rank = ak.distribute.workers(strategy)[1]
    for kind in PROCESSES:
        more = {"shuffle": True, "validation_data": data().batch(8)} if kind == "vae" else {}
        if kind == "vae":
            more["callbacks"] = [keras.callbacks.CSVLogger(folder / f"{rank}.csv")]
        model, history = train(kind, strategy, **more)
        if rank == 0:
            np.savez(folder / f"{kind}.npz", **state(model, history))
        if kind == "vae":
            model.save(folder / f"{rank}.keras")
            results = {"evaluate": model.evaluate(data().batch(8), verbose=0, return_dict=True)}
    model, _ = train("vae", strategy, epochs=0)

    class Steps(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if rank == 1 and self.steps == 2:
                self.model.stop_training = True

    steps = Steps()
    model.fit(data().batch(8), epochs=5, verbose=0, callbacks=[steps])
    bad = data().map(lambda x: tf.where(tf.reduce_max(x) > 0.999, np.nan, x))
    refused = {
        "arrays": lambda: model.fit(np.zeros((8, 8, 8, 1), "float32"), verbose=0),
        "keyword": lambda: model.fit(data().batch(8), verbose=0, steps_per_epoch=2),
        "shuffle": lambda: model.fit(data().batch(8), verbose=0, shuffle=True),
        "evaluate steps": lambda: model.evaluate(data().batch(8), verbose=0, steps=2),
        "small": lambda: model.fit(data().batch(2), verbose=0),
        "other": lambda: model.fit(data().shuffle(23, seed=rank).batch(8), verbose=0),
        "nan": lambda: model.fit(bad.batch(8), epochs=2, verbose=0),
    }
    results |= {name: error_of(function) for name, function in refused.items()}
    (folder / f"{rank}.json").write_text(json.dumps(results | {"steps": steps.steps}))


def two_devices(folder):
    """The same under MirroredStrategy, through Keras' own `fit`."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = ak.distribute.strategy(["CPU:0", "CPU:1"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in KINDS:
            np.savez(folder / f"mirrored {kind}.npz", **state(*train(kind, strategy)))

    def noise(n):
        return ak.replicas.draw_rows(keras.random.normal, (n, 3), seed=5)

    rows = strategy.experimental_local_results(strategy.run(noise, args=(4,)))
    results = {"rows": [x.numpy().tolist() for x in rows]}
    results["warnings"] = [str(x.message) for x in caught]
    with strategy.scope():
        model, dataset = make("vae")
    results["empty"] = error_of(lambda: model.fit(data().take(1).batch(8), verbose=0))
    model.compile(keras.optimizers.SGD(0.1))
    results["outside"] = error_of(lambda: model.fit(dataset, verbose=0))
    with strategy.scope():
        model.compile(metrics=[keras.metrics.Mean("frechet_distance")])
    results["metrics"] = error_of(lambda: model.fit(dataset, verbose=0))
    with strategy.scope():
        counter = ak.text.NGram(ak.text.CharTokenizer("abc"), 2, 8)
        counter.compile()
    windows = counter.windows(["abc"] * 9, batch_size=4, shuffle=False)
    results["counting"] = error_of(lambda: counter.fit(windows, verbose=0))
    # Equal shares of unequal numbers of rows: a mistake that the comparison has to see.
    ak.model.share = ak.replicas.share = lambda count: 0.5
    np.savez(folder / "mistake.npz", **state(*train("vae", strategy)))
    (folder / "mirrored.json").write_text(json.dumps(results))


def slow(folder):
    """Train until the end of the world, and save all the time."""
    pause = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.05))
    resumed(folder, epochs=100_000, callbacks=[pause])


def resumed(folder, epochs=None, callbacks=()):
    """Go on from what `slow` saved, for two epochs more."""
    strategy = strategy_of_all()
    if epochs is None:
        with np.load(folder / "backup/backup.npz") as backup:
            epochs = int(backup["arr_0"][0]) + 2
    backup = keras.callbacks.BackupAndRestore(folder / "backup", save_freq=2)
    model, history = train(
        "vae", strategy, epochs=epochs, shuffle=True, callbacks=[backup, *callbacks]
    )
    if ak.distribute.is_chief(strategy):
        np.savez(folder / "resumed.npz", epochs=epochs, **state(model, history))


# --- the tests ---


def start(job, folder, n):
    """`n` processes that run `job`; TF_CONFIG if there are several."""
    ports = []
    with contextlib.ExitStack() as stack:
        for _ in range(n):
            ports.append(stack.enter_context(socket.socket()))
            ports[-1].bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{x.getsockname()[1]}" for x in ports]
    processes = []
    for i in range(n):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}}
        environment = {"TF_CONFIG": json.dumps(config)} if n > 1 else {}
        log = folder / f"{job.__name__} {i}.log"
        processes.append(forked.start(job, folder, log=log, environment=environment))
    return processes


def finish(processes, folder, job, seconds):
    """Wait for them; their logs, if one fails. None is left running."""
    for process in processes:
        process.join(seconds)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    logs = [(folder / f"{job.__name__} {i}.log").read_text() for i in range(len(processes))]
    return codes, logs


def run(job, folder, n):
    codes, logs = finish(start(job, folder, n), folder, job, 300)
    assert codes == [0] * n, "\n".join(log[-3000:] for log in logs)  # None: not at its end in time


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes, and one with two devices, left behind."""
    folder = tmp_path_factory.mktemp("distribute")
    mirrored = start(two_devices, folder, 1)
    try:
        run(all_models, folder, 2)
        codes, logs = finish(mirrored, folder, two_devices, 300)
        assert codes == [0], logs[0][-3000:]
    finally:
        mirrored[0].kill()
    return folder


@pytest.fixture(scope="module")
def one():
    """What one process ends with; without graphs, which take longer to build than these steps."""
    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Even though the `tf.config")  # not tf.data's
            results = {kind: state(*train(kind)) for kind in KINDS}
            model, history = train("vae", shuffle=True, validation_data=data().batch(8))
            results["shuffled vae"] = state(model, history)
            evaluated = model.evaluate(data().batch(8), verbose=0, return_dict=True)
    finally:
        tf.config.run_functions_eagerly(False)
    return results | {"evaluate": evaluated}


def load(path):
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("kind", PROCESSES)
def test_two_processes_end_with_the_weights_of_one(kind, one, folder):
    name = "shuffled vae" if kind == "vae" else kind
    assert distance(one[name], load(folder / f"{kind}.npz")) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_two_devices_end_with_the_weights_of_one(kind, one, folder):
    assert distance(one[kind], load(folder / f"mirrored {kind}.npz")) < TOLERANCE


def test_a_mistake_in_the_shares_would_be_seen(one, folder):
    assert distance(one["vae"], load(folder / "mistake.npz")) > 10 * TOLERANCE


def test_evaluate_in_two_processes(one, folder):
    for rank in range(2):
        found = json.loads((folder / f"{rank}.json").read_text())["evaluate"]
        assert found == pytest.approx(one["evaluate"], rel=1e-5)


def test_only_the_chief_writes(folder):
    assert (folder / "0.csv").exists() and not (folder / "1.csv").exists()
    assert not (folder / "1.keras").exists()
    model = keras.models.load_model(folder / "0.keras")
    arrays = load(folder / "vae.npz")
    for i, variable in enumerate(model.variables):
        np.testing.assert_array_equal(variable, arrays[f"variable {i}"])


def test_replicas_draw_the_rows_of_one(folder):
    rows = json.loads((folder / "mirrored.json").read_text())["rows"]
    expected = np.asarray(keras.random.normal((8, 3), seed=5))
    np.testing.assert_array_equal(np.concatenate(rows), expected)
    assert not np.isin(rows[0], rows[1]).any()


def test_what_several_processes_refuse(folder):
    for rank in range(2):
        results = json.loads((folder / f"{rank}.json").read_text())
        assert results["arrays"].startswith("ValueError: x: got array")
        assert results["keyword"].startswith("ValueError: steps_per_epoch: got 2, accepted by")
        assert results["shuffle"].startswith("ValueError: shuffle: got True, accepted by several")
        assert results["evaluate steps"].startswith("ValueError: steps: got 2, accepted by several")
        assert results["small"].startswith("ValueError: x: got a batch of 1 rows, accepted are at")
        assert results["other"].startswith("ValueError: x: got other batches in other processes")
        assert results["nan"].startswith("FloatingPointError: ")


def test_all_processes_stop_when_one_wants_to(folder):
    steps = [json.loads((folder / f"{rank}.json").read_text())["steps"] for rank in range(2)]
    assert steps == [3, 3]


def test_what_two_devices_refuse(folder):
    results = json.loads((folder / "mirrored.json").read_text())
    assert any(x.startswith("jit_compile: several replicas") for x in results["warnings"])
    assert results["counting"].startswith("ValueError: strategy: got one of 2 replicas, accepted")
    assert "leaves a replica without rows" in results["empty"]
    assert results["outside"].startswith("ValueError: optimizer: got sgd_")
    assert results["metrics"].startswith("ValueError: metrics: got ['frechet_distance'], accepted")


def test_a_dead_process_ends_the_other_and_the_run_is_resumed(tmp_path):
    processes = start(slow, tmp_path, 2)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "backup/backup.npz").exists():
            assert time.monotonic() < deadline and processes[0].is_alive()
            time.sleep(0.1)
        processes[1].kill()
        processes[0].join(30)
        code = processes[0].exitcode
    finally:
        for process in processes:
            process.kill()
    log = (tmp_path / "slow 0.log").read_text()
    assert code == 1 and "RuntimeError: One of the other processes is gone." in log, log[-3000:]
    run(resumed, tmp_path, 2)
    arrays = load(tmp_path / "resumed.npz")
    model, history = train("vae", epochs=int(arrays.pop("epochs")), shuffle=True)
    history = {name: values[-2:] for name, values in history.items()}
    arrays = {k: v[-2:] if k.startswith("history") else v for k, v in arrays.items()}
    assert distance(state(model, history), arrays) < TOLERANCE
    assert not (tmp_path / "backup/backup.npz").exists()


@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
@pytest.mark.usefixtures("eagerly")
def test_a_backup_after_an_epoch_loses_none_of_its_losses(tmp_path):
    """The loop of several processes is that of one, too; each of these epochs has three batches."""

    def train(epochs, *callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=3)
        keras.utils.set_random_seed(3)
        model, dataset = make("vae")
        history = ak.distribute.fit(
            model, dataset, epochs=epochs, verbose=0, callbacks=[backup, *callbacks]
        )
        return model, history.history

    def leave(epoch, logs):
        if epoch == 1:
            raise InterruptedError

    expected = train(3)
    assert not (tmp_path / "backup/backup.npz").exists()
    with pytest.raises(InterruptedError):
        train(3, keras.callbacks.LambdaCallback(on_epoch_end=leave))
    model, history = train(3)
    assert len(history["loss"]) == 2  # of the second epoch, which was not saved, and the third
    expected[1].update({name: values[1:] for name, values in expected[1].items()})
    assert distance(state(*expected), state(model, history)) == 0


@pytest.mark.parametrize(
    "config",
    [
        "nonsense",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"ps": ["a:1"], "worker": ["a:2"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_refuses_a_wrong_tf_config(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=r"TF_CONFIG: got .*, accepted is"):
        ak.distribute.strategy()


def test_refuses_devices_beside_tf_config(monkeypatch):
    config = '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=r"devices: got .*, accepted is None"):
        ak.distribute.strategy(["CPU:0"])
