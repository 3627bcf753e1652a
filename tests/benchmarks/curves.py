"""What a training step costs as batch, resolution, parameters or context grow, for `bench.py`."""

import json
import math
import subprocess
import sys
from pathlib import Path

from aigc_keras import plots

HERE = Path(__file__).resolve().parent
PICTURE = HERE.parents[1] / "notebooks" / "images" / "cost_curves.png"
SECONDS = 1.0  # of training that are timed at each point
BATCHES = (8, 16, 32, 64, 128, 256)
LENGTHS = (32, 64, 128, 256, 512)


def _batches(case):
    return case, [(n, n, {}) for n in BATCHES]


# What grows: {curve: (case, [(how large, batch size, arguments of the model)])}. None: how many
# parameters it has.
PANELS = {
    "batch size": {
        "DCGAN": _batches("DCGAN 28 px"),
        "VAE": _batches("VAE 28 px"),
        "diffusion": _batches("Diffusion 28 px"),
        "GPT": _batches("Text: GPT"),
    },
    "side of the image, px (batch 16)": {
        "diffusion": (
            "Diffusion 28 px",
            [(n, 16, {"image_shape": (n, n, 3)}) for n in (16, 24, 32, 48, 64)],
        ),
    },
    "parameters (batch 8)": {
        "GPT": (
            "Text: GPT",  # heads of 32 numbers at every width
            [(None, 8, {"width": n, "num_heads": n // 32}) for n in (64, 128, 256, 384)],
        ),
    },
    "context, tokens (batch 8)": {
        "GPT": ("Text: GPT", [(n, 8, {"context_length": n}) for n in LENGTHS]),
        "LSTM": ("Text: LSTM", [(n, 8, {"context_length": n}) for n in LENGTHS]),
    },
}
COSTS = {"seconds": "seconds a step", "mebibytes": "memory of training, MiB"}


def cost(case, batch_size, seconds, **arguments):
    """What `training.py` says of a case, trained in a process of its own."""
    question = {"case": case, "batch_size": batch_size, "arguments": arguments, "seconds": seconds}
    command = [sys.executable, HERE / "training.py", json.dumps(question)]
    lines = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    return json.loads(lines.splitlines()[-1])


def measure(quick):
    """{"panels": {what grows: {curve: points}}}; quick: the first and the last of each curve."""
    panels = {}
    for axis, curves in PANELS.items():
        panels[axis] = {}
        for label, (case, points) in curves.items():
            measured = panels[axis][label] = []
            for x, batch_size, arguments in points[:: len(points) - 1] if quick else points:
                print(f"{label}: {axis} {x or arguments}", file=sys.stderr, flush=True)
                found = cost(case, batch_size, SECONDS, **arguments)
                measured.append(
                    {
                        "x": x or found["parameters"],
                        "seconds": found["seconds"],
                        "mebibytes": found["bytes"] / 2**20,
                        "gigaflops": sum(found["flops"].values()) / 1e9,
                    }
                )
                print(measured[-1], file=sys.stderr, flush=True)
    return {"panels": panels}


def plot(panels, path=PICTURE):
    """Seconds above memory, a column for each thing that grows; both axes logarithmic."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    names = []
    figure, axes = plots.figure(len(panels), 2, size=(4.2, 3.4), sharey="row", sharex="col")
    for column, (grows, curves) in zip(axes.T, panels.items(), strict=True):
        ticks = sorted({point["x"] for points in curves.values() for point in points})
        for axis, key in zip(column, COSTS, strict=True):
            axis.set(xscale="log", yscale="log")
            ends = []
            for label, points in curves.items():
                xs, ys = ([point[name] for point in points] for name in ("x", key))
                axis.plot(xs, ys, "o-")
                ends.append((ys[-1], xs[-1], label, axis.lines[-1].get_color()))
            axis.margins(y=0.1)
            span = ticks[-1] / ticks[0]
            axis.set_xlim(ticks[0] / span**0.08, ticks[-1] * span**0.4)  # the labels stand there
            names.append((axis, ends))
            axis.set_xticks(ticks)
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.10g}"))
        column[1].set_xlabel(grows)
    for axis, ends in names:
        label_ends(axis, ends)
    for axis, words in zip(axes[:, 0], COSTS.values(), strict=True):
        axis.set_ylabel(words)
    figure.savefig(path, dpi=100)


def label_ends(axis, ends, apart=0.075):
    """Write (y, x, label, color) right of the ends of curves, at least so far apart."""
    low, high = (math.log(y) for y in axis.get_ylim())
    height = -1.0
    for y, x, label, color in sorted(ends):
        height = max((math.log(y) - low) / (high - low), height + apart)
        axis.annotate(
            label,
            (x, math.exp(low + height * (high - low))),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=12,
            color=color,
        )


def short(number):
    return f"{number / 1e6:.1f}M" if number >= 100_000 else f"{number:,.0f}"
