"""How fast do the models train on this machine, and with which settings? Run by `make bench`.

All settings are measured in turn, again and again, so that a slow minute of the machine hits all of
them alike. With `--race SECONDS` it runs the races of `races.py` instead: how good do the models
get in the same training time? Prints tables and puts the numbers into its own part of
`data/benchmarks.json`.

The rows of PyTorch need torch, and one of them transformers, which the course does not install: set
the environment variable TORCH_PYTHON to a Python interpreter that has them, for example to
`torch/bin/python` after `python3 -m venv torch && torch/bin/pip install torch numpy transformers`.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import keras
import keras_models
import numpy as np
import tensorflow as tf
from races import RACES, fit_for, kjv_tokenizer
from style_loops import PlainLoop, content_and_style

OUTPUT = Path(__file__).resolve().parents[2] / "data" / "benchmarks.json"
SEED = 0
CONTEXT_LENGTH = 128  # of the language models, by default


@dataclass(frozen=True)
class Model:
    """A line of the table of models: how it is built and what it trains on."""

    name: str
    build: object  # function of keyword arguments
    dataset: str
    split: str  # whole batches only: XLA would compile the short last one separately
    batch_size: int
    compile: dict = field(default_factory=dict)
    labels: bool = False  # trains on (images, labels)
    torch: str = ""  # its name in `torch_models.py`, if it is there
    plain: object = None  # function that builds it of keras.layers, if there is one

    unit, units_a_step = "steps", 1  # what is counted

    def data(self):
        return ak.datasets.load(
            self.dataset, self.split, self.batch_size, seed=SEED, labels=self.labels
        )


@dataclass(frozen=True)
class TextModel(Model):
    """All batches of `windows` are whole: rows of padding fill the last one up."""

    transformers: str = ""  # name in `torch_models.py` of transformers' model that is as large

    unit = "tokens"

    @property
    def units_a_step(self):
        return self.batch_size * CONTEXT_LENGTH

    def data(self):
        texts = ak.datasets.text(self.dataset, self.split)
        return self.build().windows(texts, self.batch_size, seed=SEED)


def ring_gan(**kwargs):
    """As in chapter 01."""
    widths = (128, 128)
    return ak.gan.MLPGAN(
        (2,),
        latent_dim=8,
        generator_widths=widths,
        discriminator_widths=widths,
        dropout=0.0,
        **kwargs,
    )


def dcgan(**kwargs):
    return ak.gan.DCGAN((28, 28, 1), **kwargs)


def mlpgan(**kwargs):
    return ak.gan.MLPGAN((28, 28, 1), **kwargs)


def vae(**kwargs):
    return ak.vae.VAE((28, 28, 1), latent_dim=16, **kwargs)


def diffusion(**kwargs):
    """The network of the checkpoint, without a learned variance."""
    return ak.diffusion.DiffusionModel(
        (28, 28, 1), num_classes=10, widths=(32, 96), blocks=1, **kwargs
    )


def latent_diffusion(**kwargs):
    """Its autoencoder, untrained, is float32 in every precision."""
    autoencoder = ak.diffusion.latent_autoencoder((28, 28, 1))
    return ak.diffusion.LatentDiffusion(autoencoder, num_classes=10, blocks=1, **kwargs)


def gpt(**kwargs):
    """The network of the checkpoint "gpt_kjv", without dropout."""
    return ak.text.GPT(kjv_tokenizer(2048), width=192, num_layers=6, num_heads=6, **kwargs)


def lstm(**kwargs):
    return ak.text.RNNLanguageModel(kjv_tokenizer(1024), cell="lstm", units=384, **kwargs)


DIFFUSION_MODELS = (
    Model(
        "Diffusion 28 px",
        diffusion,
        "fashion_mnist",
        "train[:59968]",
        64,
        labels=True,
        torch="Diffusion",
    ),
    Model(
        "Latent diffusion 7 x 7 x 4",
        latent_diffusion,
        "fashion_mnist",
        "train[:59968]",
        64,
        labels=True,
        torch="LatentDiffusion",
    ),
)

TEXT_MODELS = (
    TextModel(
        "Text: GPT",
        gpt,
        "kjv",
        "train",
        32,
        torch="GPT",
        plain=functools.partial(keras_models.gpt, 2048, 192, 6, 6, CONTEXT_LENGTH),
        transformers="GPT2",
    ),
    TextModel(
        "Text: LSTM",
        lstm,
        "kjv",
        "train",
        32,
        torch="LSTM",
        plain=functools.partial(keras_models.lstm, 1024, 384, CONTEXT_LENGTH),
    ),
)

MODELS = (
    Model("DCGAN 28 px", dcgan, "fashion_mnist", "train[:59968]", 64, torch="DCGAN"),
    Model("MLPGAN 28 px", mlpgan, "fashion_mnist", "train[:59968]", 64),
    Model("MLPGAN ring", ring_gan, "ring", "train[:19968]", 256, {"steps_per_execution": 10}),
    Model("VAE 28 px", vae, "fashion_mnist", "train[:59968]", 64, torch="VAE"),
    *DIFFUSION_MODELS,
    *TEXT_MODELS,
)

SETTINGS = (  # label, arguments of the model, arguments of compile()
    ("compile() alone", {}, {}),
    ('Keras\' default, jit_compile="auto"', {}, {"jit_compile": "auto"}),
    ("jit_compile=True", {}, {"jit_compile": True}),
    ("jit_compile=False", {}, {"jit_compile": False}),
    ("mixed_bfloat16", {"dtype": "mixed_bfloat16"}, {}),
    ("mixed_bfloat16, jit_compile=False", {"dtype": "mixed_bfloat16"}, {"jit_compile": False}),
)


@dataclass
class Row:
    """One line of the result; the first row of a job is what the others are compared with."""

    job: str
    setting: str
    measure: object = None  # function from seconds to a rate
    skipped: str = ""
    rates: list = field(default_factory=list)
    jit_compile: bool | None = None  # of a float32 Keras row

    @property
    def median(self):
        return statistics.median(self.rates)

    def numbers(self):
        if self.skipped:
            return {"job": self.job, "setting": self.setting, "skipped": self.skipped}
        return {
            "job": self.job,
            "setting": self.setting,
            "median": self.median,
            "min": min(self.rates),
            "max": max(self.rates),
            "repeats": self.rates,
        }


# --- Keras ---


def training_rows(model):
    data = model.data()
    measured = set()  # precisions with values of jit_compile
    for label, model_arguments, compile_arguments in SETTINGS:
        network = model.build(**model_arguments)
        network.compile(**model.compile, **compile_arguments)
        setting = model_arguments.get("dtype"), network.jit_compile
        if setting in measured and isinstance(compile_arguments.get("jit_compile"), bool):
            continue  # what "alone" or "auto" came to already
        measured.add(setting)
        if not isinstance(compile_arguments.get("jit_compile"), bool):
            label += xla_in_words(network)
        xla = None if model_arguments else network.jit_compile
        yield training_row(model, label, network, data, xla)
    if model.plain:
        network = model.plain()
        label = "keras.layers and compile() at their defaults" + xla_in_words(network)
        yield training_row(model, label, network, data.map(keras_models.pairs))


def training_row(model, label, network, data, jit_compile=None):
    def measure(seconds):
        timer = fit_for(network, data, seconds)
        return model.units_a_step * timer.steps / timer.seconds

    job = f"{model.name}, batch {model.batch_size}: training {model.unit}/s"
    return Row(job, label, measure, jit_compile=jit_compile)


def xla_in_words(network):
    return f" (XLA {'on' if network.jit_compile else 'off'})"


def generation_row():
    model = dcgan()
    n = 2048

    def measure(seconds):
        return n * calls_per_second(lambda: model.generate(n, seed=SEED), seconds)

    return Row("DCGAN 28 px: generate(), images/s", f"n={n}, float32", measure)


def sampling_rows(model, torch):
    """The same sampler and the same untrained network, whose steps are driven in several ways."""
    job = f"{model.name}: generate() in 20 steps, images/s"
    n, sampler = 256, ak.diffusion.DPMSolver(20)
    network = model.build()
    if isinstance(network, ak.diffusion.LatentDiffusion):
        network.adapt(ak.datasets.arrays(model.dataset, "train[:1000]")[0])

    def images_per_second(function):
        return lambda seconds: n * calls_per_second(function, seconds)

    def call_a_step():
        """As in Keras' examples: the loop is Python's, and each step calls the network."""
        labels = keras.ops.arange(n, dtype="int32") % network.num_classes
        noise = keras.random.normal((n, *network.data_shape), seed=SEED)
        data = sampler.sample(network.denoiser([labels]), noise, network.alpha_bar)
        return network.decode(data).numpy()

    loop = functools.partial(network.generate, n, sampler=sampler, seed=SEED)
    yield Row(job, f"n={n}, float32", images_per_second(loop))
    yield Row(job, "one Keras call a step in a Python loop", images_per_second(call_a_step))
    yield from torch.rows(model.torch, "generate", n, job, ["float32"])


def writing_rows(model, torch, prompt_tokens=8, new=120):
    """Untrained networks, which take as long as trained ones; END is a token of the prompt."""
    network = model.build()
    tokens = network.tokenizer.encode(ak.datasets.text(model.dataset)[0])[: prompt_tokens - 1]
    prompt = network.tokenizer.decode(tokens)
    for n in (1, 16):
        job = f"{model.name}: {new} tokens after {prompt_tokens}, {n} at a time, tokens/s"
        prompts = [prompt] * n
        seed = endless_seed(network, prompts, new)
        for label, arguments in (
            ("generate()", {}),
            ("generate(cache=False)", {"cache": False}),
            ("generate(stream=True), piece by piece", {"stream": True}),
        ):
            if arguments.get("stream") and n > 1:
                continue

            def write(seed=seed, prompts=prompts, arguments=arguments):
                list(network.generate(prompts, new, seed=seed, **arguments))

            def measure(seconds, n=n, write=write):
                return n * new * calls_per_second(write, seconds)

            yield Row(job, label, measure)
        if model.transformers:
            yield from torch.rows(
                model.transformers, "generate", n, job, ["float32"], new, "transformers"
            )


def endless_seed(network, prompts, new):
    """One with which all texts go on up to their last token."""
    for seed in itertools.count():
        texts, shorter = (network.generate(prompts, n, seed=seed) for n in (new, new - 1))
        if all(a != b for a, b in zip(texts, shorter, strict=True)):
            return seed


def style_transfer_rows():
    """Gatys: the picture itself is trained."""
    job = "Style transfer (Gatys) 256 px: steps/s"
    content, style = content_and_style()

    for label, targets_once in (
        ("plain float32 loop", False),
        ("plain float32 loop, targets computed once", True),
    ):
        loop = PlainLoop(content, style, targets_once)
        yield Row(job, label, lambda seconds, step=loop.step: calls_per_second(step, seconds))

    for label, dtype in (
        ("StyleTransfer, float32", "float32"),
        (f"StyleTransfer at its defaults ({ak.style.fast_dtype()})", None),
    ):
        model = ak.style.StyleTransfer(content, style, dtype=dtype)
        model.compile()

        def measure(seconds, model=model):
            timer = ak.callbacks.TimeLimit(seconds)
            model.fit(10**9, callbacks=[timer], verbose=0)
            return timer.steps / timer.seconds

        yield Row(job, label, measure)

    def both_levels(seconds):
        start = time.perf_counter()
        ak.style.coarse_to_fine(content, style, steps=40, levels=2, verbose=0)
        return 40 / (time.perf_counter() - start)

    yield Row(job, "coarse_to_fine, 20 + 20 steps with their set-up", both_levels)


def feed_forward_rows():
    """Untrained networks, which take as long as trained ones."""
    content, style = content_and_style()
    fast, adain = ak.style.FastStyleTransfer(style), ak.style.AdaIN()
    for size in (256, 512, 1024):
        job = f"Feed-forward style transfer, {size} x {size} px: pictures/s"
        image = keras.ops.convert_to_numpy(keras.ops.image.resize(content, (size, size)))
        for label, stylize in (
            ("FastStyleTransfer", functools.partial(fast.stylize, image)),
            ("AdaIN", functools.partial(adain.stylize, image, style)),
        ):
            yield Row(job, label, functools.partial(calls_per_second, stylize))


# --- PyTorch ---


LIBRARIES = {"torch": "PyTorch", "transformers": "PyTorch, transformers' generate()"}


class Torch:
    """`torch_models.py` in a process of its own, which answers one question at a time."""

    def __init__(self):
        here = sys.executable if importlib.util.find_spec("torch") else None
        python = os.environ.get("TORCH_PYTHON") or here
        self.process, self.versions = None, dict.fromkeys(LIBRARIES)
        if python:
            self.process = subprocess.Popen(
                [python, Path(__file__).with_name("torch_models.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self.versions = json.loads(self.answer())

    def answer(self):
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self.process.args} ended, see above.")
        return line

    def rows(
        self,
        model,
        method,
        n,
        job,
        precisions=("float32", "bfloat16"),
        units=1,
        library="torch",
    ):
        """`method`, "train_step" or "generate", of `model` on `n` images or texts at a time.

        `units` are counted for each step, or for each image or text.
        """
        for precision in precisions:

            def measure(seconds, precision=precision):
                self.process.stdin.write(f"{model} {method} {precision} {n} {seconds}\n")
                self.process.stdin.flush()
                return units * float(self.answer())

            label = LIBRARIES[library]
            label += ", float32" if precision == "float32" else ", bfloat16 autocast"
            if method == "train_step":
                label += ", data in memory"
            if self.versions[library]:
                yield Row(job, label, measure)
            else:
                yield Row(job, label, skipped=f"{library} is not installed")

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


# --- measuring ---


def calls_per_second(function, seconds):
    start, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds or not calls:
        function()
        calls += 1
    return calls / elapsed


def measure_all(rows, seconds, repeats):
    rows = [row for row in rows if not row.skipped]
    for row in rows:
        print(f"compiling {row.job}: {row.setting}", file=sys.stderr, flush=True)
        row.measure(0)
    for i in range(repeats):
        print(f"round {i + 1} of {repeats}", file=sys.stderr, flush=True)
        for row in rows:
            row.rates.append(row.measure(seconds))


def judge(model, rows):
    """A sentence: is the model faster with XLA, and does its default agree?"""
    rows = [r for r in rows if r.job.startswith(f"{model.name},") and r.jit_compile is not None]
    default = rows[0].jit_compile
    on, off = (next(r for r in rows if r.jit_compile is xla) for xla in (True, False))
    faster = on.median > off.median
    fast, slow = (on, off) if faster else (off, on)
    wins = sum(a > b for a, b in zip(fast.rates, slow.rates, strict=True))
    numbers = (
        f"{number(fast.median)} against {number(slow.median)} {model.unit}/s, "
        f"in {wins} of {len(fast.rates)} rounds"
    )
    if wins < len(fast.rates):
        return f"{model.name}: no clear winner; jit_compile={faster} has {numbers}."
    agrees = "agrees" if faster == default else "does NOT agree"
    return (
        f"{model.name}: jit_compile={faster} is faster ({numbers}); the default "
        f"jit_compile={default} {agrees}."
    )


def peak_memory_gib():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # bytes or KiB


def machine():
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    name = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = set(text.split())
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "processor": name.group(1) if name else platform.processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "flags": {flag: flag in flags for flag in known} if text else "not known",
        "load_average_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


# --- output ---


def number(value):
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


def table(rows, memory):
    lines = [
        "| measured | setting | median | lowest to highest | relative to the first |",
        "|---|---|---|---|---|",
    ]
    first = {}
    for row in rows:
        if row.skipped:
            lines.append(f"| {row.job} | {row.setting} | skipped: {row.skipped} | | |")
            continue
        reference = first.setdefault(row.job, row.median)
        spread = f"{number(min(row.rates))} to {number(max(row.rates))}"
        relative = f"{row.median / reference:.2f}"
        lines.append(
            f"| {row.job} | {row.setting} | {number(row.median)} | {spread} | {relative} |"
        )
    lines.append(f"| peak memory of the Keras process, GiB | all of the above | {memory:.2f} | | |")
    return "\n".join(lines)


def race_table(results):
    """A line for each contestant; after the mean over several seeds stand all values."""
    names = list(dict.fromkeys(name for r in results for name in r["scores"]))
    lines = [f"| setting | {' | '.join(names)} | failed |", "|---" * (len(names) + 2) + "|"]
    for result in results:
        cells = [race_cell(result["scores"].get(name)) for name in names]
        failed = "; ".join(result["failed"])
        lines.append(f"| {result['setting']} | {' | '.join(cells)} | {failed} |")
    return "\n".join(lines)


def race_cell(score):
    if score is None:
        return ""
    mean, *values = (
        f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        for value in (score["mean"], *score["values"])
    )
    return f"{mean} ({', '.join(values)})" if len(values) > 1 else mean


def write(report):
    """All or nothing: an interrupted run leaves the old numbers."""
    partial = OUTPUT.with_name(OUTPUT.name + ".partial")
    partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, OUTPUT)
    print(f"\nWritten to {OUTPUT.name}.")


def measure_speed(quick, only, report):
    """The part of the report that says how fast the models train; what is left out, it keeps."""
    seconds, repeats = (0.2, 2) if quick else (1.5, 5)
    facts = machine()
    torch = Torch()
    models = [model for model in MODELS if only.lower() in model.name.lower()]
    # A job's rows stand together, so that what is compared is also measured back to back.
    rows = []
    for model in models:
        rows += training_rows(model)
        if model.torch:
            rows += torch.rows(
                model.torch,
                "train_step",
                model.batch_size,
                rows[-1].job,
                units=model.units_a_step,
            )
    for model in DIFFUSION_MODELS:
        if model in models:
            rows += sampling_rows(model, torch)
    for model in TEXT_MODELS:
        if model in models:
            rows += writing_rows(model, torch)
    if not only:
        rows += [generation_row(), *style_transfer_rows(), *feed_forward_rows()]
    measure_all(rows, seconds, repeats)
    torch.close()
    memory = peak_memory_gib()

    verdicts = [judge(model, rows) for model in models]
    print(table(rows, memory), "", *verdicts, sep="\n")
    facts |= torch.versions
    new = {"rows": [row.numbers() for row in rows], "jit_compile": verdicts}
    if not only:
        return {"machine": facts, "peak_memory_gib": memory, **new}
    jobs = {row["job"] for row in new["rows"]}
    names = tuple(f"{model.name}:" for model in models)
    return {
        "rows": [row for row in report["rows"] if row["job"] not in jobs] + new["rows"],
        "jit_compile": [x for x in report["jit_compile"] if not x.startswith(names)] + verdicts,
        f"machine, {only}": facts,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a trial run; writes no file")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only models with TEXT in their name"
    )
    parser.add_argument(
        "--race",
        type=float,
        metavar="SECONDS",
        help="instead, train models of several kinds for so long each and compare them (180)",
    )
    parser.add_argument(
        "races", nargs="*", metavar="RACE", help=f"only these of the races: {', '.join(RACES)}"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.races) - set(RACES):
        parser.error(f"RACE: got {', '.join(unknown)}, accepted are {', '.join(RACES)}.")

    if os.getloadavg()[0] > 0.5:
        print("Other programs are busy on this machine: do not trust the numbers.", file=sys.stderr)
    keras.utils.set_random_seed(SEED)
    report = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {}
    if not arguments.race:
        report |= measure_speed(arguments.quick, arguments.only, report)
        if not arguments.quick:
            write(report)
        return
    facts = machine()
    for name in arguments.races or RACES:
        results = RACES[name](arguments.race, max_seeds=1 if arguments.quick else None)
        print(f"\n{name}\n\n{race_table(results)}", flush=True)
        report.setdefault("races", {})[name] = {"machine": facts, "results": results}
        if not arguments.quick:
            write(report)  # after each race: all of them take more than an hour


if __name__ == "__main__":
    main()
