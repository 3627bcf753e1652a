"""What a model spends its training steps on, in words, from TensorFlow's profiler."""

import collections
import re
import tempfile
from pathlib import Path

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import cases
import tensorflow as tf

# What TensorFlow's operations and XLA's instructions are called; the first that fits counts.
KINDS = {
    "products and convolutions": r"MatMul|Conv|Einsum|dot|convolution",
    "random numbers": r"Random|Philox|rng",
    "sums and normalisation": r"BatchNorm|Mean|Sum|SquaredDifference|Moments|reduce|L2Loss|Softmax",
    "copies": r"Transpose|Concat|Slice|Split|Pad|Reshape|Pack|Gather|Scatter|Tile|TensorList|Copy|"
    r"_Mkl2Tf|_MklTo|copy|transpose|slice|concatenate|gather|scatter",
    "loops and calls": r"While|If|Call|XlaRun|XlaLaunch|while|call|conditional",
}
OTHER = "number by number"  # sums, products and functions of arrays, fused or not
STEPS = 5
STEP = re.compile("^multi_step_on_iterator")


def spent(network, data):
    """(dict from kind to seconds of its operations, share of the time in which any ran).

    Operations that run side by side count both. `network` was trained before. The first step does
    not count: it waits until the data are shuffled.
    """
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            cases.fit(network, data, ak.callbacks.TimeLimit(0, skip=STEPS))
        finally:
            tf.profiler.experimental.stop()
        from tensorflow.tsl.profiler.protobuf import xplane_pb2

        space = xplane_pb2.XSpace()
        space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    plane = next(plane for plane in space.planes if plane.name == "/host:CPU")
    lines = []
    for line in plane.lines:
        found = []
        for event in sorted(line.events, key=lambda e: (e.offset_ps, -e.duration_ps)):
            begin = 1000 * line.timestamp_ns + event.offset_ps
            name = plane.event_metadata[event.metadata_id].name
            found.append((name, begin, begin + event.duration_ps))
        lines.append(found)
    steps = sorted(event[1:] for line in lines for event in line if STEP.search(event[0]))[1:]
    start, stop = steps[0][0], steps[-1][1]
    kinds, intervals = collections.Counter(), []
    for line in lines:
        open_events = []
        for name, begin, end in line:
            kind = _kind(name)
            if kind is None or STEP.search(name) or not start <= begin < stop:
                continue
            intervals.append((begin, end))
            kinds[kind] += end - begin
            while open_events and open_events[-1][0] <= begin:
                open_events.pop()
            if open_events:  # it runs inside another, which is counted without it
                kinds[open_events[-1][1]] -= end - begin
            open_events.append((end, kind))
    return {k: n / 1e12 for k, n in kinds.items()}, _length(intervals) / (stop - start)


def _kind(name):
    """None for what is no operation but the machinery that runs them.

    TensorFlow's operations are "name:type", XLA's instructions "type.number" or some fusion.
    """
    node, colon, kind = name.rpartition(":")
    is_operation = colon and node and not node.endswith(":") and not kind.startswith(" ")
    if not is_operation and (colon or not re.search(r"\w\.\d+$|fusion", kind)):
        return None
    return next((k for k, pattern in KINDS.items() if re.search(pattern, kind)), OTHER)


def _length(intervals):
    """Of the union."""
    total, last = 0, 0
    for begin, end in sorted(intervals):
        total += max(0, end - max(begin, last))
        last = max(last, end)
    return total


def in_words(kinds, busy):
    """What limits a row of the table."""
    total = sum(kinds.values())
    ordered = sorted(kinds.items(), key=lambda item: -item[1])
    shares = [f"{kind} {seconds / total:.0%}" for kind, seconds in ordered[:3]]
    words = f"{', '.join(shares)} of the work"
    if busy < 0.6:
        words += f"; operations run {busy:.0%} of the time, the rest starts them and fetches data"
    return words
