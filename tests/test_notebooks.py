"""The notebooks are what their sources say, were run, and can be compared; the builder works."""

import ast
import base64
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbval.plugin import get_sanitize_patterns
from PIL import Image

import aigc_keras as ak

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IGNORE = "nbval-ignore-output"
FIGURE = re.compile(
    r"(?:\w+\.)*(?:plt\.(?:show|plot|imshow|subplots|figure|scatter|hist|bar)"
    r"|plots\.(?:grid|strip|curves|points|bars|figure))"
)
# Somebody's folders, or this checkout.
FOLDERS = ("/home/", "/root/", "/Users/", "/tmp/", "/private/", "C:\\Users\\", f"{ROOT}{os.sep}")
PATH = re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, FOLDERS))})\S*")


# What a chapter must fulfil. Each check yields what is wrong.


def unpaired(folder):
    """Sources without a notebook and notebooks without a source."""
    made = {path.stem for path in folder.glob("*.ipynb")}
    written = {path.stem for path in (folder / "source").glob("*.py")}
    yield from (f"{name}: no notebook" for name in sorted(written - made))
    yield from (f"{name}: no source" for name in sorted(made - written))


def unlike_source(path, cells):
    """Cells that differ from the source in type, text or tags."""
    source = jupytext.read(path.parent / "source" / f"{path.stem}.py", fmt="py:percent").cells
    if len(source) != len(cells):
        yield f"{len(cells)} cells, but the source has {len(source)}"
    for i, (cell, wanted) in enumerate(zip(cells, source, strict=False)):
        for what in ("cell_type", "source"):
            if cell[what] != wanted[what]:
                yield f"cell {i}: {what} differs from the source"
        if cell.metadata.get("tags", []) != wanted.metadata.get("tags", []):
            yield f"cell {i}: tags differ from the source"


def unrun(cells):
    """Cells that were not run in order, or not with success."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "not run once from top to bottom"
    if not any(cell.outputs for cell in code):
        yield "no output"
    for i, output in outputs(cells):
        if output.output_type == "error":
            yield f"cell {i}: {output.ename}"
        if output.get("name") == "stderr":
            yield f"cell {i}: output on stderr"
        for found in PATH.findall(text(output)):
            yield f"cell {i}: path {found}"


def undrawn(cells):
    """Cells that make a figure which nobody sees."""
    for i, cell in enumerate(cells):
        if cell.cell_type == "code" and any(map(FIGURE.fullmatch, called(cell.source))):
            mimes = {mime for output in cell.outputs for mime in output.get("data", {})}
            if not any(mime.startswith("image/") for mime in mimes):
                yield f"cell {i}: no image"


def undescribed(cells):
    """Pictures that say nothing to those who do not see them, and sliders that show as code."""
    for i, output in outputs(cells):
        for mime, data in output.get("data", {}).items():
            if mime.startswith("image/") and len(output.metadata.get(mime, {}).get("alt", "")) < 10:
                yield f"cell {i}: no alternative text"
            if mime == "text/plain" and data.startswith("interactive("):
                yield f"cell {i}: a widget's code instead of a sentence"


def uncompared(cells):
    """nbval must have something to compare, and the only way around it is the one tag."""
    marked = [i for i, cell in enumerate(cells) if IGNORE in cell.metadata.get("tags", [])]
    if not any(i not in marked and text(output).strip() for i, output in outputs(cells)):
        yield "no text that nbval compares"
    for i, cell in enumerate(cells):
        tags = " ".join({*cell.metadata.get("tags", [])} - {IGNORE})
        if re.search(r"nbval|raises-exception", tags) or re.search(r"#\s*NBVAL_", cell.source):
            yield f"cell {i}: only the tag {IGNORE} is allowed"


def outputs(cells):
    for i, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            yield i, output


def text(output):
    """What an output says, without its pictures and their sizes."""
    data = {k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")}
    said = [
        output.get("text", ""),
        *(v if isinstance(v, str) else json.dumps(v) for v in data.values()),
    ]
    return re.sub(r"<Figure size .*>", "", "\n".join(said))


def called(source):
    """Names of what a cell calls when it runs, not of what its functions call later."""

    def names(node):
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            return
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
        for child in ast.iter_child_nodes(node):
            yield from names(child)

    return names(ast.parse(TransformerManager().transform_cell(source)))


def problems(path):
    cells = nbformat.read(path, as_version=4).cells
    found = [*unlike_source(path, cells), *unrun(cells), *undrawn(cells), *undescribed(cells)]
    found += uncompared(cells)
    if path.stat().st_size >= 3_000_000:
        found.append("3 MB or more")
    return found


def test_every_source_has_a_notebook_and_every_notebook_a_source():
    assert list(unpaired(ROOT / "notebooks")) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter(path):
    assert problems(path) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_says_the_minutes_of_its_own_build(path):
    """Not those of the build before: the front page has the same ones."""
    assert ak.profile.cost(path.stem) in path.with_suffix(".ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "STUDENTS.md"])
def test_the_pages_on_problem_sets_repeat_no_figure_of_a_chapter(page):
    """What a chapter prints changes when it is built again; so do the minutes on the front page."""
    text = (ROOT / "notebooks" / "exercises" / page).read_text(encoding="utf-8")
    plan = re.search(r"(?<=\n## 2\. Lesson plan).*?\n(.*?)(?=\n## )", text, re.DOTALL)
    measured = r"\d\.\d|\d (?:s|sec\w*|min\w*|nats|bits|%)(?!\w)|±"
    assert re.findall(measured, plan[1] if plan else text) == []


# The checks and the builder, on a chapter of their own.

TINY = """\
# %% [markdown]
# # 标题

# %%
import matplotlib.pyplot as plt
from IPython.display import display
from ipywidgets import interact

memory = bytearray(200_000_000)
print("one")
for i in range(3):
    print(f"\\rstep {i}", end="", flush=True)


def later():
    plt.show()


# %%
figure = plt.figure()
plt.plot([1, 2])
plt.close()
display(figure, metadata={"image/png": {"alt": "A line from one to two"}})

# %% tags=["nbval-ignore-output"]
import os

print(os.environ["AIGC_PROFILE"], "on {0} cores: {0} min, {0} GiB".format("?"))
sliders = interact(lambda x: None, x=(0, 3))
"""


def build(folder, *arguments):
    command = [sys.executable, folder / "notebooks" / "build.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder like this project's, with one chapter, built."""
    folder = tmp_path_factory.mktemp("course")
    source = folder / "notebooks" / "source" / "01_tiny.py"
    source.parent.mkdir(parents=True)
    source.write_text(TINY, encoding="utf-8")
    shutil.copy(ROOT / "notebooks" / "build.py", folder / "notebooks")
    (folder / "README.md").write_text("before\n<!-- chapters -->\n<!-- /chapters -->\nafter\n")
    result = build(folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def course(built, tmp_path):
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(built, tmp_path / "course"))


def test_a_built_chapter_is_faultless(course):
    path = course / "notebooks" / "01_tiny.ipynb"
    assert problems(path) == []
    assert list(unpaired(path.parent)) == []
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[1].outputs[0].text == "one\nstep 2"
    said = notebook.cells[3].outputs[0].text
    assert re.fullmatch(r"lesson on \d+ cores: 0 min, 0 GiB\n", said)
    assert notebook.cells[3].outputs[1].data["text/plain"].startswith("Run this cell")


@pytest.mark.parametrize("mode", ["grey", "color", "clear"])
def test_pictures_are_stored_smaller_with_the_same_pixels(mode):
    rng = np.random.default_rng(0)
    pixels = np.full((40, 40, 4), 255, "uint8")
    pixels[..., :3] = rng.integers(0, 9, (40, 40, 1 if mode == "grey" else 3))
    if mode == "clear":
        pixels[:20, :, 3] = 7
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    builder = runpy.run_path(str(ROOT / "notebooks" / "build.py"))
    stored = base64.b64decode(builder["smaller"](base64.b64encode(file.getvalue()).decode()))
    assert len(stored) < len(file.getvalue())
    image = Image.open(io.BytesIO(stored))
    assert image.mode == {"grey": "L", "color": "RGB", "clear": "RGBA"}[mode]
    np.testing.assert_array_equal(np.asarray(image.convert("RGBA")), pixels)


def test_a_rebuild_is_equal_to_the_byte_and_measures_again(course):
    path, record = course / "notebooks" / "01_tiny.ipynb", course / "data" / "chapters.json"
    before = path.read_bytes()
    path.unlink()
    (course / "notebooks" / "source" / "00_other.py").write_text("# %% [markdown]\n# # 00 Other\n")
    record.write_text('{"00_other": {"seconds": 90, "peak_memory_gib": 1.5, "cores": 4}}')
    result = build(course, "01")
    assert result.returncode == 0
    assert path.read_bytes() == before
    chapters = json.loads(record.read_text())
    measured = chapters["01_tiny"]
    assert "00_other" in chapters
    assert measured["profile"] == "lesson"
    assert 1 <= measured["cores"] <= os.cpu_count()
    assert 0.2 < measured["peak_memory_gib"] < 1
    assert 0 < measured["seconds"] < 100
    assert f"{measured['seconds']} s, {measured['peak_memory_gib']:.2f} GiB" in result.stdout
    readme = (course / "README.md").read_text()
    assert "| [00 Other](notebooks/00_other.ipynb) | 1.5 min | 1.5 GiB | 4 |" in readme
    assert "(notebooks/01_tiny.ipynb) | 0." in readme
    assert readme.startswith("before\n") and readme.endswith("-->\nafter\n")


def test_an_error_leaves_the_old_notebook(course):
    folder = course / "notebooks"
    old = {path: path.read_bytes() for path in course.rglob("*.[ij]*")}
    assert len(old) == 2
    (folder / "source" / "01_tiny.py").write_text("# %%\nprint()\n\n# %%\n1 / 0\n")
    result = build(course)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr and "1 / 0" in result.stderr
    assert {path: path.read_bytes() for path in old} == old
    assert {path.name for path in folder.iterdir()} == {"source", "build.py", "01_tiny.ipynb"}


def test_a_fast_run_writes_only_where_it_is_told(course):
    source = course / "notebooks" / "source" / "01_tiny.py"
    source.write_text('# %%\nimport os\n\nprint(os.environ["AIGC_PROFILE"])\n')
    old = {path: path.read_bytes() for path in course.rglob("*") if path.is_file()}
    assert build(course, "--profile", "fast").returncode == 0
    assert {path: path.read_bytes() for path in course.rglob("*") if path.is_file()} == old
    assert build(course, "--profile", "fast", "--output", course / "out").returncode == 0
    new = course / "out" / "01_tiny.ipynb"
    assert nbformat.read(new, as_version=4).cells[0].outputs[0].text == "fast\n"
    new.unlink()
    assert {path: path.read_bytes() for path in course.rglob("*") if path.is_file()} == old


def test_a_build_elsewhere_leaves_the_times_of_this_one(course):
    """A chapter and the front page say the minutes of the notebook that is kept."""
    old = {path: path.read_bytes() for path in course.rglob("*") if path.is_file()}
    assert build(course, "--output", course / "out").returncode == 0
    (course / "out" / "01_tiny.ipynb").unlink()
    assert {path: path.read_bytes() for path in course.rglob("*") if path.is_file()} == old


def test_an_unknown_chapter_is_refused(course):
    result = build(course, "02")
    assert result.returncode == 2
    assert "chapter: got 02, accepted are 01" in result.stderr


def change_source(notebook, source):
    source.write_text(TINY.replace('"one"', '"two"'), encoding="utf-8")


def add_to_source(notebook, source):
    source.write_text(TINY + "\n# %%\n1\n", encoding="utf-8")


def change_tag(notebook, source):
    source.write_text(TINY.replace(IGNORE, "other"), encoding="utf-8")


def never_run(notebook, source):
    for cell in notebook.cells[1:]:
        cell.update(execution_count=None, outputs=[])


def run_twice(notebook, source):
    notebook.cells[2].execution_count = 9


def fail(notebook, source):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])
    notebook.cells[1].outputs.append(error)


def log(notebook, source):
    notebook.cells[1].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="W0000"))


def leak(notebook, source):
    notebook.cells[1].outputs[0].text = "saved in /home/someone/course"


def hide_figure(notebook, source):
    del notebook.cells[2].outputs[0].data["image/png"]


def say_nothing(notebook, source):
    del notebook.cells[2].outputs[0].metadata["image/png"]


def show_code(notebook, source):
    notebook.cells[3].outputs[1].data["text/plain"] = "interactive(children=())"


def ignore_all(notebook, source):
    notebook.cells[1].metadata.tags = [IGNORE]


def skip(notebook, source):
    notebook.cells[1].metadata.tags = ["nbval-skip"]


def grow(notebook, source):
    notebook.cells[2].outputs[0].data["image/png"] = "A" * 3_000_000


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_source, "cell 1: source differs from the source"),
        (add_to_source, "4 cells, but the source has 5"),
        (change_tag, "cell 3: tags differ from the source"),
        (never_run, "not run once from top to bottom"),
        (never_run, "no output"),
        (run_twice, "not run once from top to bottom"),
        (fail, "cell 1: ValueError"),
        (log, "cell 1: output on stderr"),
        (leak, "cell 1: path /home/someone/course"),
        (hide_figure, "cell 2: no image"),
        (say_nothing, "cell 2: no alternative text"),
        (show_code, "cell 3: a widget's code instead of a sentence"),
        (ignore_all, "no text that nbval compares"),
        (skip, f"cell 1: only the tag {IGNORE} is allowed"),
        (grow, "3 MB or more"),
    ],
)
def test_a_fault_is_named(course, spoil, message):
    path = course / "notebooks" / "01_tiny.ipynb"
    notebook = nbformat.read(path, as_version=4)
    spoil(notebook, path.parent / "source" / "01_tiny.py")
    nbformat.write(notebook, path)
    assert message in problems(path)


def test_a_missing_half_is_named(course):
    folder = course / "notebooks"
    (folder / "source" / "02_new.py").touch()
    (folder / "03_old.ipynb").touch()
    assert list(unpaired(folder)) == ["02_new: no notebook", "03_old: no source"]


def test_nbval_passes_a_fast_run_and_catches_a_changed_output(course):
    for name in ("conftest.py", "pyproject.toml", "nbval_sanitize.cfg"):
        shutil.copy(ROOT / name, course)
    path = course / "notebooks" / "01_tiny.ipynb"
    altered = nbformat.read(path, as_version=4)
    altered.cells = altered.cells[1:2]
    altered.cells[0].outputs[0].text = "two\nstep 2"
    nbformat.write(altered, path.with_name("02_altered.ipynb"))
    # A plain `pytest --nbval notebooks`, typed anywhere: no profile set, lesson's outputs.
    clean = {
        k: v for k, v in os.environ.items() if k not in ("AIGC_PROFILE", "COVERAGE_PROCESS_CONFIG")
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "-q",
        "-p",
        "no:cacheprovider",
        "notebooks",
    ]
    result = subprocess.run(
        command, cwd=course, env=clean, capture_output=True, text=True, timeout=120
    )
    assert "FAILED notebooks/02_altered.ipynb::Cell 0" in result.stdout
    assert "1 failed, 3 passed" in result.stdout


BAR = "\x1b[1m10/10\x1b[0m \x1b[32m━━━\x1b[0m \x1b[1m{}\x1b[0m {}/step - loss: {}{}\n"


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (BAR.format("12s", "610ms", 0.5, " "), "\x08" * 9 + BAR.format("0s", "8us", 0.5, ""), True),
        (BAR.format("12s", "610ms", 0.5, ""), BAR.format("12s", "610ms", 0.6, ""), False),
        ("3/9 1:23", "3/9 0:07", True),
        ("trained for 83.2 s", "trained for 7 s", True),
        ("8 modes", "7 modes", False),
        ("28 steps", "29 steps", False),
        ("at 0x7f00a1", "at 0x7f00b2", True),
        ("/tmp/ipykernel_12/345.py:1", "/var/x/ipykernel_6/7.py:1", True),
        ("2026-01-31 12:00:01.5", "2027-02-01 00:00:00", True),
        ("<Figure size 640x480 with 1 Axes>", "<Figure size 64x48 with 2 Axes>", True),
        ("shape (2, 3)", "shape (3, 2)", False),
    ],
)
def test_sanitizer_hides_time_but_not_numbers(one, other, equal):
    patterns = get_sanitize_patterns((ROOT / "nbval_sanitize.cfg").read_text(encoding="utf-8"))
    assert len(patterns) == 9
    for pattern, replacement in patterns:
        one, other = re.sub(pattern, replacement, one), re.sub(pattern, replacement, other)
    assert (one == other) is equal
