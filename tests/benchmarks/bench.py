"""How fast do the models train and generate on this machine, and what limits them? `make bench`.

All rows are measured in turn, round after round, so that a slow minute of the machine hits all of
them alike; a ratio is the median of the ratios within the rounds. Prints tables, and writes them to
`README.md` beside this file and the numbers to `data/benchmarks.json`.

With `--curves` it measures instead what a step costs as batch, resolution, parameters and context
grow. With `--race SECONDS` it runs the races of `races.py`: how good do the models get in the same
training time? Each has its own part of `data/benchmarks.json`. With `--little-data SECONDS` it
measures what few pictures are worth (`little_data.py`), with `--translation SECONDS` who learns to
translate first (`translation.py`), with `--adapting STEPS` what adapting a language model costs and
gives (`adapting.py`): each has a file of its own.

The rows of PyTorch need torch, and some of them transformers or peft, which the course does not
install: set the environment variable TORCH_PYTHON to a Python interpreter that has them, for
example to `torch/bin/python` after `python3 -m venv torch` and
`torch/bin/pip install torch numpy transformers peft`.
"""

import argparse
import functools
import gc
import importlib.util
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import adapting
import cases
import curves
import flops
import keras
import keras_models
import little_data
import measured
import numpy as np
import profiling
import tensorflow as tf
import translation
from cases import CASES, SEED
from races import RACES

from aigc_keras.files import replaced

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parents[1] / "data" / "benchmarks.json"
PAGE = HERE / "README.md"
MARKS = "<!-- written by make bench -->\n", "<!-- up to here -->"
SKIP = 1  # steps before each measurement, after other programs had the processor
SLOW = 20.0  # seconds: a row that has taken so long is measured in ENOUGH rounds only
ENOUGH = 3
MATRIX = 2048  # rows and columns of the product that gives the roof
PRECISIONS = ("float32", "bfloat16")


@dataclass
class Row:
    """One setting of one job, and its rates in units a second."""

    job: str
    setting: str
    measure: object = None  # function from seconds to a rate
    skipped: str = ""
    rates: list = field(default_factory=list)
    compiling: float = 0.0  # seconds of the first steps
    seconds: float = 0.0  # that measuring has taken

    @property
    def median(self):
        return statistics.median(self.rates)

    def numbers(self):
        if self.skipped:
            return {"job": self.job, "setting": self.setting, "skipped": self.skipped}
        first = {"job": self.job, "setting": self.setting, "compiling_seconds": self.compiling}
        return {**first, **spread(self.rates)}


def spread(rates):
    return {
        "median": statistics.median(rates),
        "min": min(rates),
        "max": max(rates),
        "repeats": rates,
    }


def ratio(rates, others):
    """The median of the ratios of two lists of rates, round by round."""
    return statistics.median(a / b for a, b in zip(rates, others, strict=False))


# --- training ---


@dataclass
class Training:
    """A line of the table of training: a case, a row for each column, and what is known of it."""

    case: object
    rows: dict  # column to Row; two columns may share one
    flops: dict  # dtype to FLOPs of a step of ours
    default: bool  # jit_compile of ours
    limits: object  # function that profiles it: a sentence
    memory: dict = field(default_factory=dict)  # column to bytes
    roof: list = field(default_factory=list)  # rates
    limit: str = ""

    def ratio(self, column):
        row = self.rows[column]
        return None if row.skipped else ratio(self.rows["ours"].rates, row.rates)

    def numbers(self):
        columns = {column: row.numbers() for column, row in self.rows.items()}
        ratios = {column: self.ratio(column) for column in self.rows if column != "ours"}
        return {
            "model": self.case.name,
            "batch_size": self.case.batch_size,
            "unit": f"{self.case.unit}/s",
            "columns": columns,
            "roof": spread(self.roof),
            "ours_over": {**ratios, "roof": ratio(self.rows["ours"].rates, self.roof)},
            "flops_a_step": self.flops,
            "peak_memory_bytes": self.memory,
            "limit": self.limit,
        }


def training(case, torch):
    """The networks of a case, not yet compiled by TensorFlow."""
    data = case.data(case.batch_size)
    job = f"{case.name}, batch {case.batch_size}: training {case.unit}/s"

    def row(setting, network, data=data):
        def measure(seconds):
            timer = ak.callbacks.TimeLimit(seconds, skip=SKIP)
            cases.fit(network, data, timer)
            return case.units_a_step * timer.steps / timer.seconds

        return Row(job, f"{setting}, XLA {'on' if network.jit_compile else 'off'}", measure)

    def ours(setting, dtype=None, **kwargs):
        network = case.build(**({"dtype": dtype} if dtype else {}))
        network.compile(**kwargs)
        return network, row(setting, network)

    network, first = ours("ours: compile() alone")
    counted = flops.training_flops(network, cases.noise(network, case.batch_size))
    other = not network.jit_compile
    rows = {"ours": first, "ours, other XLA": ours("ours", jit_compile=other)[1]}
    xla = rows["ours, other XLA" if other else "ours"]
    if case.plain:
        pairs = data.map(keras_models.pairs)
        keras_default, keras_xla = case.plain(), case.plain(jit_compile=True)
        rows["keras"] = row("keras.layers at their defaults", keras_default, pairs)
        rows["keras, XLA"] = row("keras.layers", keras_xla, pairs)
    else:
        same = network.jit_compile == auto_jit_compile(network) and "bfloat16" not in counted
        rows["keras"] = (
            first if same else ours('float32, jit_compile="auto"', "float32", jit_compile="auto")[1]
        )
        rows["keras, XLA"] = xla
    for precision in PRECISIONS if "bfloat16" in counted else PRECISIONS[:1]:
        column = "torch" if precision == "float32" else "torch, bfloat16"
        rows[column] = torch.row(
            case.torch,
            "train_step",
            case.batch_size,
            job=job,
            precision=precision,
            units=case.units_a_step,
            library=case.library,
        )
    limits = functools.partial(profiling.spent, network, data)
    return Training(case, rows, counted, network.jit_compile, limits)


def auto_jit_compile(network):
    """What Keras makes of jit_compile="auto" for a model."""
    return network._resolve_auto_jit_compile()


def judge(line):
    """A sentence: is the model faster with XLA, from when on, and does its default agree?"""
    rows = line.rows["ours"], line.rows["ours, other XLA"]
    on, off = rows if line.default else rows[::-1]
    faster = on.median > off.median
    fast, slow = (on, off) if faster else (off, on)
    n = min(len(fast.rates), len(slow.rates))
    wins = sum(a > b for a, b in zip(fast.rates, slow.rates, strict=False))
    unit = line.case.unit
    numbers = f"{number(fast.median)} against {number(slow.median)} {unit}/s, in {wins} of {n}"
    if wins < n:
        name = line.case.name
        return f"{name}: no clear winner; jit_compile={faster} has {numbers} rounds."
    words = f"{line.case.name}: jit_compile={faster} is faster ({numbers} rounds)"
    if faster == line.default:
        return f"{words}; so it is by default."
    more = fast.compiling - slow.compiling
    if more <= 0:
        return f"{words}, and compiles no longer; the default jit_compile={line.default} is wrong."
    # That many units take as long with both.
    made_good = more / (1 / slow.median - 1 / fast.median)
    return (
        f"{words}, but compiles for {fast.compiling:.0f} s instead of {slow.compiling:.0f}: it "
        f"wins after {made_good:,.0f} {unit}, {slow.compiling + made_good / slow.median:.0f} s. "
        f"The default is jit_compile={line.default}."
    )


# --- the roof ---


def product_row(precision):
    matrix = tf.cast(tf.random.stateless_normal((MATRIX, MATRIX), (0, 0)), precision)

    def measure(seconds):
        return 2 * MATRIX**3 * calls_per_second(lambda: tf.matmul(matrix, matrix), seconds)

    job = f"matrix product of {MATRIX} x {MATRIX}, FLOP/s"
    return Row(job, precision, measure)


def roof(counted, products, units):
    """Rates that the products alone would allow, round by round."""
    rounds = zip(*(products[dtype].rates for dtype in counted), strict=True)
    return [
        units / sum(n / rate for n, rate in zip(counted.values(), rates, strict=True))
        for rates in rounds
    ]


# --- generation ---


def image_rows(name, network, torch, torch_name, n=2048):
    job = f"{name}: images/s, {n} at a time"

    def measure(seconds):
        return n * calls_per_second(lambda: network.generate(n, seed=SEED), seconds)

    yield Row(job, "generate()", measure)
    yield torch.row(torch_name, "generate", n, job=job, units=n)


def sampling_rows(case, torch, n=64):
    """Untrained networks, which take as long as trained ones."""
    network = case.build()
    latent = isinstance(network, ak.diffusion.LatentDiffusion)
    if latent:
        network.adapt(ak.datasets.arrays("fashion_mnist", "train[:1000]")[0])
    for steps in (20,) if latent else (10, 20, 50):
        job = f"{case.name}: images/s in {steps} steps, {n} at a time"
        sampler = ak.diffusion.DPMSolver(steps)

        def generate(sampler=sampler):
            network.generate(n, sampler=sampler, seed=SEED)

        def call_a_step(sampler=sampler):
            """As in Keras' examples: the loop is Python's, and each step calls the network."""
            labels = keras.ops.arange(n, dtype="int32") % network.num_classes
            noise = keras.random.normal((n, *network.data_shape), seed=SEED)
            data = sampler.sample(network.denoiser([labels]), noise, network.alpha_bar)
            return network.decode(data).numpy()

        for label, function in (
            ("generate()", generate),
            ("one Keras call a step in a Python loop", call_a_step),
        ):
            if function is generate or steps == 20:

                def measure(seconds, function=function):
                    return n * calls_per_second(function, seconds)

                yield Row(job, label, measure)
        yield torch.row(case.torch, "generate", n, steps, job=job, units=n)


def drawing_rows(case, torch, n=16, steps=20):
    """Untrained networks, which take as long as trained ones."""
    network = case.build()
    texts = cases.emoji().captions[:n, 0].tolist()
    guided = {"sampler": ak.diffusion.DPMSolver(steps), "guidance_scale": 3.0}  # as PyTorch's
    job = f"{case.name}: images/s in {steps} steps, guided, {n} at a time"

    def measure(seconds):
        draw = functools.partial(network.generate, texts, seed=SEED, **guided)
        return n * calls_per_second(draw, seconds)

    yield Row(job, "generate()", measure)
    yield torch.row(case.torch, "generate", n, steps, job=job, units=n)


def writing_rows(case, torch, prompt_tokens=8, new=120):
    """Untrained networks, which take as long as trained ones; END is a token of the prompt."""
    network = case.build()
    tokens = network.tokenizer.encode(ak.datasets.text("kjv")[0])[: prompt_tokens - 1]
    prompt = network.tokenizer.decode(tokens)
    for n in (1, 16):
        job = f"{case.name}: tokens/s, {new} after {prompt_tokens}, {n} at a time"
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
        if isinstance(network, ak.text.GPT):
            # transformers' own `generate`, with its cache, of a network as large.
            yield torch.row(
                "GPT2", "generate", n, new, job=job, units=n * new, library="transformers"
            )
        else:
            yield torch.row(case.torch, "generate", n, new, job=job, units=n * new)


def endless_seed(network, prompts, new):
    """One with which all texts go on up to their last token."""
    for seed in itertools.count():
        texts, shorter = (network.generate(prompts, n, seed=seed) for n in (new, new - 1))
        if all(a != b for a, b in zip(texts, shorter, strict=True)):
            return seed


def translation_rows(case, torch, n=64, new=cases.PAIR_LENGTH):
    """Untrained networks, which take as long as trained ones."""
    network = cases.without_end(case.build())
    tokenizer, texts = network.tokenizer, ak.datasets.text("kjv")[:n]
    # Some tokens less, as pieces of a text may become others; they are filled up again.
    texts = [tokenizer.decode(tokenizer.encode(text)[: new - 4]) for text in texts]
    for n_beams in (1, 4):
        how = f"by {n_beams} beams" if n_beams > 1 else "greedily"
        job = f"{case.name}: tokens/s, {new} after reading {new}, {n} texts {how}"
        if n_beams > 1:
            label = f"beam_search(n_beams={n_beams})"
            translate = functools.partial(network.beam_search, texts, n_beams)
        else:
            label, translate = "generate()", functools.partial(network.generate, texts)

        def measure(seconds, translate=translate):
            return n * new * calls_per_second(translate, seconds)

        yield Row(job, label, measure)
        # transformers' own `generate`, with its cache, of a network as large.
        numbers = n, new, n_beams
        more = {"job": job, "units": n * new, "library": "transformers"}
        yield torch.row("Pegasus", "generate", *numbers, **more)


def painting_rows(case, torch):
    """Untrained networks, which take as long as trained ones."""
    network = case.build()
    for size in (256, 512):
        job = f"{case.name.rsplit(' ', 2)[0]}: pictures/s of {size} x {size} px"
        image, style = cases.content_and_style(size)
        others = [] if isinstance(network, ak.style.FastStyleTransfer) else [style]
        stylize = functools.partial(network.stylize, image, *others)
        yield Row(job, "stylize()", functools.partial(calls_per_second, stylize))
        for precision in PRECISIONS if others else PRECISIONS[:1]:
            yield torch.row(case.torch, "stylize", size, job=job, precision=precision)


def generation_rows(case, torch):
    if case.build in (cases.dcgan, cases.vae):
        return image_rows(case.name, case.build(), torch, case.torch)
    if case.build in (cases.diffusion, cases.latent_diffusion):
        return sampling_rows(case, torch)
    if case.build is cases.text_to_image:
        return drawing_rows(case, torch)
    if case.build in (cases.gpt, cases.lstm):
        return writing_rows(case, torch)
    if case.build is cases.seq2seq:
        return translation_rows(case, torch)
    if case.build in (cases.fast_style_transfer, cases.adain):
        return painting_rows(case, torch)
    return ()


# --- PyTorch ---


LIBRARIES = {
    "torch": "PyTorch",
    "transformers": "PyTorch, transformers' generate()",
    "peft": "PyTorch, peft",
}


class Torch:
    """`torch_models.py` in a process of its own, which answers one question at a time."""

    def __init__(self):
        here = sys.executable if importlib.util.find_spec("torch") else None
        python = os.environ.get("TORCH_PYTHON") or here
        self.command = [python, HERE / "torch_models.py"]
        self.process, self.versions = None, dict.fromkeys(LIBRARIES)
        if python:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self.versions = json.loads(self.answer())

    def answer(self):
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self.process.args} ended, see above.")
        return line

    def row(self, model, method, *numbers, job, precision="float32", units=1, library="torch"):
        """`method` of `model`, called with `numbers`; each call counts as so many `units`."""

        def measure(seconds):
            print(model, method, precision, seconds, *numbers, file=self.process.stdin, flush=True)
            return units * float(self.answer())

        label = LIBRARIES[library]
        label += ", float32" if precision == "float32" else ", bfloat16 autocast"
        if self.versions[library]:
            return Row(job, label, measure)
        return Row(job, label, skipped=f"{library} is not installed")

    def peak_memory(self, case):
        command = [*self.command, case.torch, "float32", str(case.batch_size)]
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

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


def progress(words):
    print(words, file=sys.stderr, flush=True)


def measure_all(rows, seconds, rounds):
    rows = [row for row in rows if not row.skipped]
    for row in rows:
        progress(f"compiling {row.job}: {row.setting}")
        start = time.perf_counter()
        row.measure(0)
        row.compiling = time.perf_counter() - start
    for i in range(rounds):
        progress(f"round {i + 1} of {rounds}")
        for row in rows:
            if i < ENOUGH or row.seconds < SLOW:
                gc.collect()  # not while another row is measured
                start = time.perf_counter()
                row.rates.append(row.measure(seconds))
                row.seconds += time.perf_counter() - start


def import_seconds(rounds):
    """Of `import keras`, and of `import aigc_keras` after it, in processes of their own."""
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # all modules would be compiled each time
    code = (
        "from time import perf_counter as now\nstart = now()\nimport keras\nmiddle = now()\n"
        "import aigc_keras\nprint(middle - start, now() - middle)"
    )
    seconds = {"keras": [], "aigc_keras": []}
    for i in range(rounds + 1):
        result = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            text=True,
            capture_output=True,
            env=environment,
        )
        if i:  # the first one compiles
            for name, value in zip(seconds, result.stdout.split()[-2:], strict=True):
                seconds[name].append(float(value))
    return seconds


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


def cell(row):
    if row.skipped:
        return row.skipped
    return f"{number(row.median)} ({number(min(row.rates))} to {number(max(row.rates))})"


def markdown(header, lines):
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in rows)


def training_table(lines):
    header = ["trained", "unit", "(a) ours", "(b) Keras' default", "(b2) `jit_compile=True`"]
    header += ["(c) PyTorch", "(c2) PyTorch, bfloat16", "(d) roof"]
    header += ["a/b", "a/b2", "a/c", "a/c2", "a/d", "MiB: ours", "PyTorch", "what takes the time"]
    columns = ["ours", "keras", "keras, XLA", "torch", "torch, bfloat16"]
    return markdown(header, [training_cells(line, columns) for line in lines])


def training_cells(line, columns):
    def over(column):
        value = line.ratio(column) if column in line.rows else None
        return "" if value is None else f"{value:.2f}"

    rates = [cell(line.rows[column]) if column in line.rows else "" for column in columns]
    if line.rows["keras"] is line.rows["ours"]:
        rates[1] = "the same"
    rates[0] += ", XLA on" if line.default else ""
    memory = [
        f"{line.memory[c] / 2**20:,.0f}" if c in line.memory else "" for c in ("ours", "torch")
    ]
    return [
        f"{line.case.name}, batch {line.case.batch_size}",
        f"{line.case.unit}/s",
        *rates,
        number(statistics.median(line.roof)),
        *map(over, columns[1:]),
        f"{ratio(line.rows['ours'].rates, line.roof):.2f}",
        *memory,
        line.limit,
    ]


def generation_table(rows):
    first, lines = {}, []
    for row in rows:
        reference = first.setdefault(row.job, row)
        relative = "" if row.skipped else f"{ratio(reference.rates, row.rates):.2f}"
        lines.append([row.job, row.setting, cell(row), relative])
    return markdown(
        ["generated", "setting", "median (lowest to highest)", "ours is faster by"], lines
    )


def roof_table(products):
    lines = [
        [row.job.replace("FLOP/s", "GFLOP/s"), dtype, number(row.median / 1e9)]
        for dtype, row in products.items()
    ]
    return markdown(["roof", "precision", "median"], lines)


def import_words(seconds):
    if not seconds:
        return ""
    keras_alone, ours = (statistics.median(values) for values in seconds.values())
    n = len(seconds["keras"])
    return (
        f"`import keras` takes {keras_alone:.2f} s, and `import aigc_keras` after it {ours:.2f} s "
        f"more (medians of {n}; at most {max(seconds['aigc_keras']):.2f} s)."
    )


def machine_words(facts):
    flags = facts["flags"]
    known = (
        ", ".join(f for f, there in flags.items() if there) if isinstance(flags, dict) else flags
    )
    names = ("tensorflow", "keras", "torch", "transformers", "python")
    versions = ", ".join(f"{name} {facts[name]}" for name in names if facts.get(name))
    return f"{facts['cores']} cores of {facts['processor']} ({known}); {versions}."


def race_table(results):
    """A line for each contestant; after the mean over several seeds stand all values."""
    names = list(dict.fromkeys(name for r in results for name in r["scores"]))
    lines = [
        [
            r["setting"],
            *(race_cell(r["scores"].get(name)) for name in names),
            "; ".join(r["failed"]),
        ]
        for r in results
    ]
    return markdown(["setting", *names, "failed"], lines)


def race_cell(score):
    if score is None:
        return ""
    mean, *values = (
        f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        for value in (score["mean"], *score["values"])
    )
    return f"{mean} ({', '.join(values)})" if len(values) > 1 else mean


def write(report):
    with replaced(OUTPUT) as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\nWritten to {OUTPUT.name}.")


def write_page(tables):
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(MARKS[0])[0], page.split(MARKS[1])[1]
    with replaced(PAGE) as partial:
        text = f"{before}{MARKS[0]}\n{tables}\n\n{MARKS[1]}{after}"
        partial.write_text(text, encoding="utf-8")


# --- what is run ---


def measure_speed(quick, only):
    """(the parts of the report that say how fast the models are, the tables that say it)."""
    seconds, rounds = (0.2, 2) if quick else (0.8, 5)
    facts, torch = machine(), Torch()
    chosen = [case for case in CASES if only.lower() in case.name.lower()]
    products = {precision: product_row(precision) for precision in PRECISIONS}
    lines, generated = [], []
    for case in chosen:
        progress(f"building {case.name}")
        lines.append(training(case, torch))
        generated += generation_rows(case, torch)
    # A case's rows stand together, so that what is compared is also measured back to back.
    trained = [list({id(row): row for row in line.rows.values()}.values()) for line in lines]
    measure_all([*products.values(), *itertools.chain(*trained), *generated], seconds, rounds)
    torch.close()
    for line in lines:
        progress(f"profile and memory of {line.case.name}")
        line.roof = roof(line.flops, products, line.case.units_a_step)
        line.limit = profiling.in_words(*line.limits())
        if not quick:
            line.memory["ours"] = curves.cost(line.case.name, line.case.batch_size, 0)["bytes"]
            if torch.versions[line.case.library]:
                line.memory["torch"] = torch.peak_memory(line.case)
    facts |= torch.versions
    added = {} if only else import_seconds(3 if quick else 7)
    verdicts = [judge(line) for line in lines]
    tables = "\n\n".join(
        [
            machine_words(facts),
            training_table(lines),
            "\n".join(f"- {verdict}" for verdict in verdicts),
            generation_table(generated),
            roof_table(products),
            import_words(added),
        ]
    )
    report = {
        "machine": facts,
        "training": [line.numbers() for line in lines],
        "jit_compile": verdicts,
        "generation": [row.numbers() for row in generated],
        "products": [row.numbers() for row in products.values()],
        "import_seconds": added,
    }
    return report, tables


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a trial run; writes no file")
    parser.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help="only models with TEXT in their name; writes no file",
    )
    parser.add_argument(
        "--curves",
        action="store_true",
        help="instead, measure what a step costs as the model or its input grows",
    )
    parser.add_argument(
        "--race",
        type=float,
        metavar="SECONDS",
        help="instead, train models of several kinds for so long each and compare them (180)",
    )
    parser.add_argument(
        "--little-data",
        type=float,
        metavar="SECONDS",
        help="instead, train models on few and on many pictures for so long each (30)",
    )
    parser.add_argument(
        "--translation",
        type=float,
        metavar="SECONDS",
        help="instead, train networks to translate for so long each (240)",
    )
    parser.add_argument(
        "--adapting",
        type=int,
        metavar="STEPS",
        help="instead, adapt a language model to new jobs in so many steps each (150)",
    )
    parser.add_argument(
        "races", nargs="*", metavar="RACE", help=f"only these of the races: {', '.join(RACES)}"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.races) - set(RACES):
        parser.error(f"RACE: got {', '.join(unknown)}, accepted are {', '.join(RACES)}.")
    if arguments.races and not arguments.race:
        parser.error(f"RACE: got {', '.join(arguments.races)}, accepted with --race SECONDS.")
    if arguments.curves and (arguments.race or arguments.only):
        parser.error("--curves: got --race or --only, too, accepted is --quick beside it.")
    long = {"--little-data": little_data, "--translation": translation, "--adapting": adapting}
    long = {name: module for name, module in long.items() if value_of(arguments, name)}
    if long and (len(long) > 1 or arguments.curves or arguments.race or arguments.only):
        name = next(iter(long))
        parser.error(f"{name}: got another measurement, too, accepted is --quick beside it.")
    if not any(arguments.only.lower() in case.name.lower() for case in CASES):
        names = ", ".join(case.name for case in CASES)
        parser.error(f"--only: got {arguments.only!r}, accepted is a part of one of {names}.")

    if os.getloadavg()[0] > 0.5:
        progress("Other programs are busy on this machine: do not trust the numbers.")
    keras.utils.set_random_seed(SEED)
    trial = arguments.quick or arguments.only
    report = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {}
    if long:
        ((name, module),) = long.items()
        amount = value_of(arguments, name)
        given = module.jobs(amount), module.UNIT, amount, machine(), module.OUTPUT
        try:
            measured.measure(*given, trial=arguments.quick)
        except ValueError as error:
            parser.error(str(error))
    elif arguments.curves:
        report["curves"] = {"machine": machine(), **curves.measure(arguments.quick)}
        if not trial:
            curves.plot(report["curves"]["panels"])
            write(report)
    elif arguments.race:
        race(arguments.races or RACES, arguments.race, trial, report)
    else:
        new, tables = measure_speed(arguments.quick, arguments.only)
        print(tables)
        if not trial:
            write({k: report[k] for k in ("races", "curves") if k in report} | new)
            write_page(tables)


def value_of(arguments, name):
    """What was given for `--some-name`."""
    return getattr(arguments, name.strip("-").replace("-", "_"))


def race(names, seconds, trial, report):
    facts = machine()
    for name in names:
        results = RACES[name](seconds, max_seeds=1 if trial else None)
        print(f"\n{name}\n\n{race_table(results)}", flush=True)
        report.setdefault("races", {})[name] = {"machine": facts, "results": results}
        if not trial:
            write(report)  # after each race: all of them take more than an hour


if __name__ == "__main__":
    main()
