"""What do two processes gain, and what would 8 and 64? A few minutes on two quiet cores.

    python tests/benchmarks/scaling.py

Writes data/scaling.json and the section "Scaling" of notebooks/distribute/README.md.
"""

import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[2]
JSON, PAGE = ROOT / "data/scaling.json", ROOT / "notebooks/distribute/README.md"
MARKS = "<!-- scaling: written by tests/benchmarks/scaling.py -->", "<!-- end of scaling -->"
NAMES = "DCGAN 28 px", "VAE 28 px", "Diffusion 28 px", "Text: GPT"
SKIP = 3  # first steps, which build the graph and are not timed
WORKERS, GIGABITS = (2, 8, 64), (1, 10, 100)


# --- one process ---


def work(seconds, folder):
    """Time the steps of each model, each process with its batch and on its core."""
    rank = int(os.environ["SCALING_RANK"])
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    import aigc_keras as ak

    # isort: split
    import cases
    import keras
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(2)  # one may wait for the other process
    strategy = (
        ak.distribute.strategy() if "TF_CONFIG" in os.environ else tf.distribute.get_strategy()
    )
    n = strategy.num_replicas_in_sync

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.times = []

        def on_train_batch_end(self, batch, logs=None):
            self.times.append(time.perf_counter())
            over = self.times[-1] - self.times[min(SKIP, len(self.times) - 1)] > seconds
            self.model.stop_training = len(self.times) > SKIP + 3 and over

    rows = []
    for name in NAMES:
        case, clock = cases.case(name), Clock()
        with strategy.scope():
            model = case.build()
            model.compile(jit_compile=False)  # XLA cannot add gradients of several processes
        batch = cases.noise(model, n * case.batch_size)
        dataset = tf.data.Dataset.from_tensors(batch).repeat(10_000)
        model.fit(dataset, verbose=0, callbacks=[clock])
        row = {"name": name, "batch": case.batch_size, "step": median_gap(clock.times[SKIP:])}
        sizes = [v.shape.num_elements() for v in model.trainable_variables]
        row |= {"bytes": 4 * sum(sizes), "collectives": 0}
        if n > 1:
            graph = model.train_function.step.get_concrete_function().graph
            row["collectives"] = sum("CollectiveReduce" in x.type for x in graph.get_operations())
            row["all_reduce"] = all_reduce(strategy, [tf.zeros(size) for size in sizes])
            row["latency"] = all_reduce(strategy, [tf.zeros(1)])
        rows.append(row)
    if rank == 0:
        Path(folder, "rows.json").write_text(json.dumps(rows))


def all_reduce(strategy, tensors, repeats=30):
    """Seconds to add so many numbers over the processes, together as a step does it."""
    import tensorflow as tf

    from aigc_keras import distribute

    @tf.function
    def add(tensors):
        return distribute.on_replicas(strategy, distribute.sum_over_replicas, tensors)

    times = []
    for _ in range(repeats + SKIP):
        add(tensors)
        times.append(time.perf_counter())
    return median_gap(times[SKIP:])


def median_gap(times):
    return statistics.median(b - a for a, b in itertools.pairwise(times))


# --- all of them ---


def measure(together, seconds):
    """The rows of the first of two processes, which train one model together or each its own.

    In both cases both cores work: what differs is that they have to agree.
    """
    with closing(socket.socket()) as first, closing(socket.socket()) as second:
        ports = []
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(2):
            environment = dict(os.environ, SCALING_RANK=str(rank), PYTHONPATH=str(ROOT))
            if together:
                cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
                task = {"type": "worker", "index": rank}
                environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
            command = [sys.executable, __file__, "work", str(seconds), folder]
            processes.append(subprocess.Popen(command, env=environment))
        try:
            if any([process.wait(300) for process in processes]):
                raise RuntimeError("A process failed, see above.")
        finally:
            for process in processes:
                process.kill()
        return json.loads(Path(folder, "rows.json").read_text())


def projected(row, latency, n, gigabits):
    """(seconds of a step, efficiency) of `n` workers, each with the batch that was measured.

    The gradients go round a ring: 2 (n - 1) messages of an n-th of them each; so do the other
    collectives, whose few numbers only cost the latency of their messages.
    """
    transfer = 2 * (n - 1) / n * row["bytes"] / (gigabits * 1e9 / 8)
    seconds = row["apart"] + transfer + row["collectives"] * 2 * (n - 1) * latency
    return seconds, row["apart"] / seconds


def page(rows, latency):
    """The section of the guide, as Markdown."""
    lines = [
        "Two processes of one machine, each on a core of its own and with the same batch: the",
        "median time of a step of the first while both train by themselves (apart), of a step of",
        "both as one (together), and of adding that many bytes of gradients over loopback.",
        "Efficiency is apart / together.",
        "",
        "| model | batch of each | gradients, MB | apart, ms | together, ms | adding, ms "
        "| collectives a step | efficiency |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = " | ".join(f"{1e3 * row[x]:.1f}" for x in ("apart", "together", "all_reduce"))
        lines.append(
            f"| {row['name']} | {row['batch']} | {row['bytes'] / 1e6:.2f} | {times} | "
            f"{row['collectives']} | {row['efficiency']:.0%} |"
        )
    lines += [
        "",
        "Projected efficiency, apart / step, of n workers, each with that batch and such a core:",
        "",
        "    step = apart + 2 (n - 1) / n * bytes / bandwidth + collectives * 2 (n - 1) * latency",
        "",
        f"with a latency of {1e3 * latency:.2f} ms a message, half of what adding one number took",
        "the two processes.",
        "",
        "| model | " + " | ".join(f"n = {n}, {g} Gbit/s" for n in WORKERS for g in GIGABITS) + " |",
        "|---" * (1 + len(WORKERS) * len(GIGABITS)) + "|",
    ]
    for row in rows:
        cells = [f"{projected(row, latency, n, g)[1]:.0%}" for n in WORKERS for g in GIGABITS]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "It leaves out: that a network has another latency than loopback; that some collectives",
        "run at the same time; that the slowest worker sets the pace; that every worker reads all",
        "the data, and draws the noise of the whole batch to use its own rows.",
    ]
    return "\n".join(lines)


def main(seconds=8.0):
    """Measure, and write both files."""
    apart, together = measure(False, seconds), measure(True, seconds)
    latency = statistics.median(row.pop("latency") for row in together) / 2
    rows = []
    for one, two in zip(apart, together, strict=True):
        step = two.pop("step")
        row = {**two, "apart": one["step"], "together": step, "efficiency": one["step"] / step}
        row["projected"] = {
            f"{n} workers, {g} Gbit/s": projected(row, latency, n, g)[1]
            for n in WORKERS
            for g in GIGABITS
        }
        rows.append(row)
    JSON.write_text(json.dumps({"latency": latency, "rows": rows}, indent=1) + "\n")
    before, rest = PAGE.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    PAGE.write_text(f"{before}{MARKS[0]}\n{page(rows, latency)}\n{MARKS[1]}{after}")
    print(page(rows, latency))


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(float(sys.argv[2]), sys.argv[3])
    else:
        main(*map(float, sys.argv[1:]))
