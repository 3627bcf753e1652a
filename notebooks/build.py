"""Execute the chapters in `source/` (jupytext py:percent) and write them as notebooks with outputs.

python notebooks/build.py [--profile lesson] [--output DIR] [01 02 ...]

A rebuild with equal outputs is equal to the byte. The lesson profile also records each chapter's
time and peak memory in `data/chapters.json`, unless the notebooks go to another folder.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import jupytext
import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parent
MEASUREMENTS = NOTEBOOKS.parent / "data" / "chapters.json"
README = NOTEBOOKS.parent / "README.md"
# As JupyterLab writes it into a notebook that is opened.
KERNELSPEC = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
# What `ak.profile.announce` printed of the build before.
COST = r"on [\d?]+ cores: [\d?]+ min, [\d?]+ GiB"
WIDGET = "application/vnd.jupyter.widget-view+json"


def sources(numbers):
    """The source files of the chapters with these numbers, or of all chapters."""
    paths = sorted((NOTEBOOKS / "source").glob("[0-9][0-9]_*.py"))
    known = [path.name[:2] for path in paths]
    unknown = sorted(set(numbers) - set(known))
    if unknown:
        raise ValueError(f"chapter: got {', '.join(unknown)}, accepted are {', '.join(known)}.")
    return [path for path in paths if not numbers or path.name[:2] in numbers]


def execute(notebook, profile):
    """Run all cells in one kernel, in place; return (seconds, peak memory in GiB)."""
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    # ipykernel captures what C++ code prints unless it believes to run under pytest, as nbval does.
    environment = {**os.environ, "AIGC_PROFILE": profile, "PYTEST_CURRENT_TEST": "build.py"}
    done, peak = threading.Event(), [0]

    def sample():
        while not done.wait(0.1):
            children = psutil.Process().children(recursive=True)
            peak[0] = max(peak[0], sum(resident(process) for process in children))

    start = time.perf_counter()
    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        client.execute(env=environment)
    finally:
        done.set()
        sampler.join()
    return time.perf_counter() - start, peak[0] / 2**30


def resident(process):
    """Resident memory of a process in bytes; 0 once it has ended."""
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def normalise(notebook, chapter):
    """The notebook as text, without what differs between two equal runs."""
    for position, cell in enumerate(notebook.cells):
        cell["id"] = digest(f"{chapter} cell {position}")[:8]
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                data = output.get("data", {})
                if data:  # a text for a picture in another format is left over
                    output.metadata = {k: v for k, v in output.metadata.items() if k in data}
                if "image/png" in data:
                    data["image/png"] = smaller(data["image/png"])
                if WIDGET in data:  # what is seen where no kernel runs
                    data["text/plain"] = "Run this cell, and its sliders and fields appear here."
    ran = notebook.metadata
    notebook.metadata = {
        "kernelspec": KERNELSPEC,
        "language_info": {k: v for k, v in ran.language_info.items() if k != "version"},
    }
    models = []
    if "widgets" in ran:
        notebook.metadata["widgets"] = as_lab_writes(ran.widgets)
        models = ran.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    text = nbformat.writes(notebook)
    # Widgets have random ids, but come in the order in which the chapter made them.
    for position, model in enumerate(models):
        text = text.replace(model, digest(f"{chapter} widget {position}")[:32])
    return nbformat.writes(nbformat.reads(text, as_version=4)) + "\n"  # keys sorted again


def as_lab_writes(state):
    """JSON as JavaScript writes it, to which 1.0 is 1: a notebook that is opened stays the same."""
    return json.loads(
        json.dumps(state),
        parse_float=lambda x: int(float(x)) if float(x).is_integer() else float(x),
    )


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def merge_streams(outputs):
    """Join consecutive pieces of a stream; of a progress bar keep what a terminal shows."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output.output_type == "stream" and output.name == last.get("name"):
            last.text += output.text
        else:
            merged.append(output)
    for output in merged:
        if output.output_type == "stream":
            output.text = re.sub(r"^.*\r(?=[^\n])", "", output.text, flags=re.MULTILINE)
    return merged


def smaller(png):
    """A PNG, as base64, of the same pixels: without an unused alpha, grey where all of it is."""
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
        image = image.convert("RGB")
    if image.mode == "RGB" and len({band.tobytes() for band in image.split()}) == 1:
        image = image.convert("L")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def write(path, text):
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


def record(chapter, **measured):
    """Put a chapter's measurements into `data/chapters.json` and the README's table."""
    chapters = json.loads(MEASUREMENTS.read_text()) if MEASUREMENTS.exists() else {}
    chapters[chapter] = measured
    write(MEASUREMENTS, json.dumps(chapters, indent=2, sort_keys=True) + "\n")
    marked = r"(<!-- chapters -->\n).*?(<!-- /chapters -->)"
    text = README.read_text(encoding="utf-8")
    write(README, re.sub(marked, rf"\1{table(chapters)}\2", text, flags=re.DOTALL))


def table(chapters):
    """The measurements of `data/chapters.json` as the README shows them."""
    lines = ["| chapter | time | memory | cores |", "|---|---|---|---|"]
    for name, measured in sorted(chapters.items()):
        title = (NOTEBOOKS / "source" / f"{name}.py").read_text(encoding="utf-8").splitlines()[1]
        minutes, memory = measured["seconds"] / 60, measured["peak_memory_gib"]
        lines.append(
            f"| [{title.removeprefix('# # ')}](notebooks/{name}.ipynb) | {minutes:.1f} min "
            f"| {memory:.1f} GiB | {measured['cores']} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Execute chapters and write their notebooks.")
    parser.add_argument("chapter", nargs="*", help="two digits, as in 01; all chapters if none")
    parser.add_argument("--profile", choices=("fast", "lesson"), default="lesson")
    parser.add_argument(
        "--output", type=Path, help="folder for the notebooks: notebooks/ in lesson, else none"
    )
    arguments = parser.parse_args()
    try:
        paths = sources(arguments.chapter)
    except ValueError as error:
        parser.error(str(error))
    lesson = arguments.profile == "lesson"
    folder = arguments.output or (NOTEBOOKS if lesson else None)
    # Not every system can bind a process to some of its cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for path in paths:
        notebook = jupytext.read(path, fmt="py:percent")
        try:
            seconds, memory = execute(notebook, arguments.profile)
        except CellExecutionError as error:
            sys.exit(f"{path.name}: {error}")
        if lesson and not arguments.output:  # the times belong to the notebooks that are kept
            record(
                path.stem,
                profile=arguments.profile,
                seconds=round(seconds, 1),
                peak_memory_gib=round(memory, 2),
                cores=cores,
            )
        if folder:
            text = normalise(notebook, path.stem)
            if lesson:
                text = re.sub(
                    COST, f"on {cores} cores: {seconds / 60:.0f} min, {memory:.0f} GiB", text
                )
            write(folder / f"{path.stem}.ipynb", text)
        print(f"{path.stem}: {seconds:.1f} s, {memory:.2f} GiB, {cores} cores", flush=True)


if __name__ == "__main__":
    main()
