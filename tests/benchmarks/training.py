"""Trains one model alone: what does a step cost? `bench.py` runs it in a process of its own.

    python training.py '{"case": NAME, "batch_size": N, "arguments": {...}, "seconds": S}'

prints as JSON the seconds of a step (the median), the most memory that training took beyond what
there was before the model was built, in bytes, the model's parameters and the FLOPs of a step.
"""

import json
import statistics
import sys
import time

import memory

SKIP = 3  # first steps, which build the graph and are not timed


def cost(case, batch_size, arguments, seconds):
    import cases
    import flops
    import keras
    import tensorflow as tf

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.times = []

        def on_train_batch_end(self, batch, logs=None):
            self.times.append(time.perf_counter())
            enough = len(self.times) >= max(SKIP + 2, memory.STEPS)
            if enough and self.times[-1] - self.times[SKIP] >= seconds:
                self.model.stop_training = True

    case = cases.case(case)
    if "text" in case.name.lower():
        case.build()  # trains the tokenizer, which stays
    before = memory.resident()
    network = case.build(**arguments)
    network.compile()
    batch, clock = cases.noise(network, batch_size), Clock()
    cases.fit(network, tf.data.Dataset.from_tensors(batch), clock)
    peak = memory.peak()
    steps = [b - a for a, b in zip(clock.times[SKIP:], clock.times[SKIP + 1 :], strict=False)]
    return {
        "seconds": statistics.median(steps),
        "bytes": peak - before,
        "parameters": sum(w.shape.num_elements() for w in network.trainable_variables),
        "flops": flops.training_flops(network, batch),
    }


if __name__ == "__main__":
    print(json.dumps(cost(**json.loads(sys.argv[1]))))
