"""Problem sets: what is handed out, and what answers, mistakes and mischief get for it."""

import contextlib
import csv
import fcntl
import io
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import classroom
import forked
import judge
import nbformat
import psutil
import pytest
from nbgrader.utils import determine_grade

ROOT = Path(__file__).parents[1]
EXERCISES = ROOT / "notebooks" / "exercises"
SETS = classroom.sources(EXERCISES / "source")


def run(*arguments):
    """classroom.py, without the seconds of a new process: (what it ends with, what it prints)."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    line, code = ["classroom.py", *map(str, arguments)], None
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", line)
        patch.setattr(sys, "stderr", printed)
        try:
            classroom.main()
        except SystemExit as end:
            code = end.code
    printed.seek(0)
    return code, printed.read()


def command(*arguments):
    """classroom.py, which must succeed: what it prints."""
    code, printed = run(*arguments)
    assert code is None, printed
    return printed


def read_points(output):
    """{(student, problem set): line of grades.csv}"""
    with (output / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return {(line["student"], line["problem_set"]): line for line in csv.DictReader(file)}


def of_tasks(line):
    return [float(line[key]) for key in sorted(line) if key.startswith("task_")]


def hand_in(folder, student, released, replaced):
    """Write a released notebook with other sources for some cells into a student's folder."""
    notebook = nbformat.read(released, as_version=4)
    replaced = dict(replaced)
    for cell in notebook.cells:
        cell.source = replaced.pop(classroom.grade_id(cell), cell.source)
    assert not replaced, f"no such cell: {list(replaced)}"
    (folder / student).mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / student / released.name)


# The problem sets.


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A student who hands in all problem sets, solved by the course; graded."""
    folder = tmp_path_factory.mktemp("classroom") / "class"
    (folder / "model").mkdir(parents=True)
    for name, path in SETS.items():
        nbformat.write(classroom.read_source(path), folder / "model" / f"{name}.ipynb")
    print(command("grade", folder))
    return folder.with_name("class-graded")


@pytest.mark.parametrize("name", SETS)
def test_the_solutions_get_every_point(graded, name):
    """In a cage, with a student's time and memory; other answers are in test_problem_sets.py."""
    line = read_points(graded)["model", name]
    by_hand = float(line["by_hand"])
    assert line["remark"] == ""
    assert of_tasks(line) == [4, 4, 4, 4, 4 - by_hand]
    assert 0 < by_hand < 4
    assert float(line["points"]) + by_hand == float(line["max_points"]) == 20
    path = graded / "autograded" / "model" / name / f"{name}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    assert [classroom.failure(cell) for cell in cells] == [None] * len(cells)


# A small problem set, and what can happen to it.

TINY = """\
# %% [markdown]
# # Twice

# %% solution="double"
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


# %% tests="double" points=1
assert double(2) == 4, "double(2): add"

# %% tests="double" points=3
double(3)  # More is tested when you hand in.
### BEGIN HIDDEN TESTS
assert double(3) == 6
### END HIDDEN TESTS

# %% solution="half"
### BEGIN SOLUTION
half = 0.5
### END SOLUTION

# %% tests="half" points=0
assert half == 0.5

# %% [markdown] open="words" points=2
# Adding is doubling.
"""
RIGHT = "def double(x):\n    return x + x"
# It sleeps, so that the other processor has something from it.
ENDLESS = "import time\n\n\ndef double(x):\n    while True:\n        time.sleep(0.1)"
MISCHIEF = {  # a solution cell and the points that it gets
    "raises": ("raise RuntimeError", 0),
    "misspells": ("def double(x) return", 0),
    "never ends": (ENDLESS, 0),
    "never begins": ("import time\n\nwhile True:\n    time.sleep(0.1)", 0),
    "hoards": ("hoard = bytearray(2**31)\n\n\n" + RIGHT, 0),
    "quits": ("import os\n\nos._exit(0)", 0),
    "cannot be told": (
        "while True:\n    try:\n        while True:\n            pass\n    except:\n        pass",
        0,
    ),
    "pleases": ("def double(x):\n    return 4", 1),
    "warns": ("import warnings\n\n\ndef double(x):\n    warnings.warn('x')\n    return x + x", 4),
}


def handed_out(folder, source):
    """The folder, with one small problem set, handed out."""
    (folder / "source").mkdir()
    (folder / "source" / "00_tiny.py").write_text(source)
    command("--exercises", folder, "assignments")
    return folder


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return handed_out(tmp_path_factory.mktemp("course"), TINY)


def released(course):
    return course / "release" / "00_tiny" / "00_tiny.ipynb"


def grade(course, folder, pages=(), **limits):
    """What is printed; `pages` are made for these students only: each takes its time."""
    given = [f"--{name}={value}" for name, value in {"cell_seconds": 6, **limits}.items()]
    feedback = classroom.feedback

    def of_some(output, student, *others):
        return feedback(output, student, *others) if student in pages else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classroom, "feedback", of_some)
        return command("--exercises", course, "grade", folder, *given)


@pytest.fixture(scope="module")
def school(course):
    """A class, honest and others: (what grading them printed, points)."""
    folder, hand = course / "class", released(course)
    hand_in(folder, "honest", hand, {"double-solution": RIGHT})
    for student, (source, _) in MISCHIEF.items():
        hand_in(folder, student, hand, {"double-solution": source})
    wrong = "def double(x):\n    return 3 * x"
    hand_in(folder, "tampers", hand, {"double-solution": wrong, "double-tests": "pass"})
    hand_in(folder, "王小明", hand, {"double-solution": RIGHT, "words-answer": "两倍"})
    hand_in(folder, "deletes", hand, {"double-solution": wrong})
    path = folder / "deletes" / hand.name
    notebook = nbformat.read(path, as_version=4)
    cells = [c for c in notebook.cells if not classroom.grade_id(c).startswith("double-t")]
    notebook.cells = cells
    nbformat.write(notebook, path)
    notebook.cells = [c for c in cells if not classroom.grade_id(c).startswith("half-")]
    hand_in(folder, "deletes a task", hand, {})
    nbformat.write(notebook, folder / "deletes a task" / hand.name)
    hand_in(folder, "breaks", hand, {})
    path = folder / "breaks" / hand.name
    path.write_text(path.read_text()[:400])
    hand_in(folder, "another", hand, {})
    shutil.copy(EXERCISES / "release/01_gan/01_gan.ipynb", folder / "another" / hand.name)
    hand_in(folder / "twice", "first", hand, {})
    hand_in(folder / "twice", "second", hand, {})
    hand_in(folder, "renames", hand, {})
    (folder / "renames" / hand.name).rename(folder / "renames" / "homework.ipynb")
    hand_in(folder, "group [1]", hand, {})
    hand_in(folder, "space ", hand, {})
    (folder / "hands in nothing").mkdir()
    (folder / "a folder" / hand.name).mkdir(parents=True)
    pages = ("pleases", "breaks", "another", "twice", "a folder")
    return grade(course, folder, pages), read_points(course / "class-graded")


def test_right_answers_in_a_class(school):
    line = school[1]["honest", "00_tiny"]
    assert (line["points"], line["max_points"], line["by_hand"]) == ("4", "6", "0")


@pytest.mark.parametrize(("student", "points"), [(key, p) for key, (_, p) in MISCHIEF.items()])
def test_mischief_costs_points_and_nothing_else(school, student, points):
    line = school[1][student, "00_tiny"]
    assert (line["points"], line["task_1"], line["remark"]) == (f"{points}", f"{points}", "")


@pytest.mark.parametrize("student", ["tampers", "deletes", "deletes a task"])
def test_tests_that_were_changed_or_deleted_are_restored(course, school, student):
    assert school[1][student, "00_tiny"]["points"] == "0"
    path = course / "class-graded" / "autograded" / student / "00_tiny" / "00_tiny.ipynb"
    sources = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    assert any('assert double(2) == 4, "double(2): add"' in source for source in sources)
    assert any("assert double(3) == 6" in source for source in sources)


@pytest.mark.parametrize(
    ("student", "remark"),
    [
        ("breaks", "no notebook that can be opened"),
        ("another", "not the notebook that was handed out"),
        ("twice", "2 notebooks of this problem set"),
        ("a folder", "no notebook, but a folder"),
    ],
)
def test_a_submission_that_cannot_be_graded_is_named_with_the_reason(
    course, school, student, remark
):
    printed, points = school
    line = points[student, "00_tiny"]
    assert (line["points"], line["by_hand"]) == ("0", "0")
    assert remark in line["remark"]
    assert f"{student} 00_tiny: {line['remark']}" in printed
    page = course / "class-graded" / "feedback" / student / "00_tiny" / "00_tiny.html"
    assert remark in page.read_text(encoding="utf-8")


def test_what_cannot_be_placed_is_named(school):
    printed, points = school
    assert len(points) == len(MISCHIEF) + 9
    assert "homework.ipynb: not graded, accepted is <student>/<problem set>.ipynb" in printed
    assert "group [1]: not graded, rename the folder" in printed
    assert "space : not graded, rename the folder" in printed
    assert "hands in nothing: not graded, no notebook in this folder" in printed
    assert f"{len(points)} submissions, 4 of them failed; 1 wait for a person." in printed


def test_feedback_shows_the_points_and_the_failed_test(course, school):
    pages = course / "class-graded" / "feedback"
    page = (pages / "pleases" / "00_tiny" / "00_tiny.html").read_text(encoding="utf-8")
    assert "Score: 1.0 / 6.0" in page
    assert "AssertionError" in page


def test_a_person_adds_points_and_grading_again_keeps_them_and_what_is_unchanged(course, school):
    output = course / "class-graded"
    assert school[1]["王小明", "00_tiny"]["by_hand"] == "2"
    with classroom.configured(output).gradebook as gradebook:
        grade_of_words = gradebook.find_grade("words-answer", "00_tiny", "00_tiny", "王小明")
        grade_of_words.manual_score, grade_of_words.needs_manual_grade = 1.5, False
        gradebook.db.commit()
    hand_in(course / "class", "raises", released(course), {"double-solution": RIGHT})
    graded = {path: path.stat().st_mtime_ns for path in output.glob("autograded/*/*/*.ipynb")}
    grade(course, course / "class")
    points = read_points(output)
    assert points["王小明", "00_tiny"]["points"] == "5.5"
    assert points["王小明", "00_tiny"]["by_hand"] == "0"
    again = points["raises", "00_tiny"]
    assert (again["points"], again["remark"]) == ("4", "")
    anew = [path for path, time in graded.items() if path.stat().st_mtime_ns != time]
    assert [path.parts[-3] for path in anew] == ["raises"]


STRICT = """\
# %% solution="double"
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


# %% tests="double" points=4
import numpy as np
from aigc_keras.exercises import expect, expect_one_of, wrong_names

expect("double", double(np.ones(2)), [2, 2], "add")
word = double("a")
expect_one_of("a word", word, ("aa",))
wrong = wrong_names("names", {"A": word}, {"A": "aa"})
if not np.isclose(double(3.0), 6.0):
    wrong.append("B")
(4, 2, 0)[len(wrong)]
"""
SAME = "def double(x):\n    return x\n\n\n"
DIGS = """\
import pathlib

text = ""
for folder in {folders}:
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            text += path.read_text(encoding="utf-8", errors="replace")
found = "2 * x" in text


def double(x):
    return 2 * x if found else x
"""
CHEATS = {  # a solution cell, its points, and what the remark says
    "floods": (RIGHT + "\n\n\nfor i in range(20_000):\n    display(i)", 4, ""),
    "shouts": (RIGHT + "\n\n\nprint('a' * 10**8)", 4, ""),
    "expects nothing": (
        SAME + "import aigc_keras.exercises as e\n\ne.expect = e.expect_one_of = lambda *a: None\n"
        "e.wrong_names = lambda *a: []",
        0,
        "replaced aigc_keras.exercises.expect",
    ),
    "rewrites": (
        SAME + "import ast\n\n\nclass Drop(ast.NodeTransformer):\n"
        "    def visit_Expr(self, node):\n        return ast.parse('4').body[0]\n\n\n"
        "get_ipython().ast_transformers.append(Drop())",
        0,
        "replaced IPython's ast_transformers",
    ),
    "swallows": (
        SAME + "shell = get_ipython()\nrun = shell.run_cell_async\n\n\n"
        "async def run_cell_async(raw, *a, **k):\n"
        "    return await run('4' if 'expect(' in raw else raw, *a, **k)\n\n\n"
        "shell.run_cell_async = run_cell_async",
        0,
        "replaced IPython.run_cell_async",
    ),
    "shows a result": (
        "def double(x):\n    get_ipython().displayhook(4)\n    return x",
        0,
        "",
    ),
    "digs": ("", 0, ""),
    "leaves something behind": (
        "import subprocess\nimport time\n\nleft = subprocess.Popen(\n"
        "    ['sh', '-c', 'while sleep 1; do :; done', 'left_behind'], start_new_session=True,\n"
        "    env={'PATH': '/bin:/usr/bin'},\n)\n"
        "time.sleep(0.5)\nassert left.poll() is None\n\n\n" + RIGHT,
        4,
        "",
    ),
}
TRICKS = {  # the same; what the guard says of them needs no kernel
    "shadows, and likes few digits": (
        "import warnings\n\nimport numpy as np\n\nnp.set_printoptions(precision=1, suppress=True)\n"
        "np.seterr(all='raise')\nwarnings.simplefilter('error')\n\n\n"
        + RIGHT
        + "\n\n\nlen = sum = max = 3\nnp = None",
        4,
        "",
    ),
    "finds all close": (
        "class Text(str):\n    __eq__ = lambda *a: True\n    __ne__ = lambda *a: False\n"
        "    __hash__ = str.__hash__\n\n\n"
        "def double(x):\n    return Text('b') if x == 'a' else x\n\n\n"
        "import numpy as np\n\nnp.isclose = lambda a, *b: np.ones_like(a, bool)",
        0,
        "numpy.isclose",
    ),
    "sorts nothing": (
        SAME + "import builtins\n\nbuiltins.sorted = lambda x: [0]",
        0,
        "builtins.sorted",
    ),
    "shadows len": (SAME + "len = lambda x: 0", 0, ""),
    "peeps": (
        "import sys\n\n\nclass Peeps:\n    def __array__(self, dtype=None, copy=None):\n"
        "        return sys._getframe(1).f_locals['wanted']\n\n\n"
        "def double(x):\n    return Peeps()",
        0,
        "",
    ),
}


@pytest.mark.parametrize(("source", "points", "replaced"), TRICKS.values(), ids=TRICKS)
def test_what_the_tests_are_made_of_is_put_back_and_named(tmp_path, source, points, replaced):
    path = tmp_path / "00_tiny.py"
    path.write_text(STRICT)
    notebook = classroom.read_source(path)
    solution, _ = notebook.cells
    solution.source = source
    _, tests = forked.run_notebook(notebook).cells
    assert determine_grade(tests, logging.getLogger())[0] == points
    names = [output.evalue for output in tests.outputs if output.get("ename") == "Replaced"]
    assert names[:1] == ([replaced] if replaced else [])


@pytest.fixture(scope="module")
def cheats(tmp_path_factory):
    """A class of cheats, graded: (folder, printed, points)."""
    course = handed_out(tmp_path_factory.mktemp("strict"), STRICT)
    folder = course / "class"
    for student, (source, _, _) in CHEATS.items():
        folders = [str(course / part) for part in ("source", "class-graded", "class")]
        source = DIGS.format(folders=folders) if student == "digs" else source
        hand_in(folder, student, released(course), {"double-solution": source})
    # None goes on for ever; TensorFlow's import and a flood take their time on a busy machine.
    printed = grade(course, folder, ["floods", "shouts"], cell_seconds=180)
    return course, printed, read_points(course / "class-graded")


@pytest.fixture
def caged(tmp_path):
    (tmp_path / "room").mkdir()
    if not judge.cage(tmp_path / "room", []):
        pytest.skip("this machine does not let unshare shut a kernel in")


@pytest.mark.parametrize("student", sorted(CHEATS.keys() - {"digs", "leaves something behind"}))
def test_who_deceives_the_tests_gets_no_point_and_a_remark(cheats, student):
    line = cheats[2][student, "00_tiny"]
    _, points, remark = CHEATS[student]
    assert line["points"] == str(points)
    assert remark in line["remark"] and bool(remark) == bool(line["remark"])


def test_answers_and_other_students_are_out_of_a_kernels_reach(cheats, caged):
    assert cheats[2]["digs", "00_tiny"]["points"] == "0"


def test_a_cage_lets_nothing_be_written_but_its_own_folder(tmp_path, caged):
    """Not even by root, whose notebook could else take away the files of the machine."""
    own, outside = tmp_path / "room", tmp_path / "class"
    outside.mkdir()
    (outside / "file").write_text("whole")
    places = [outside / "new", Path.home() / "new", ROOT / "new", Path(sys.prefix) / "new"]
    places += [Path("/etc/new"), Path("/var/tmp/new"), Path("/dev/new"), Path("/new")]
    tries = [
        f"touch {shlex.quote(str(own))}/mine && echo in",
        "echo > /dev/null && echo nowhere",
        *(f"touch {shlex.quote(str(place))} 2>/dev/null && echo out {place}" for place in places),
        f"rm {shlex.quote(str(outside / 'file'))} 2>/dev/null && echo gone",
        "mount -o remount,bind,rw / 2>/dev/null && echo undone",
    ]
    command = [*judge.cage(own, []), "sh", "-c", "\n".join(tries)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "in\nnowhere\n"
    assert (outside / "file").read_text() == "whole"
    assert not any(place.exists() for place in places)


def test_what_a_notebook_started_ends_with_it(cheats, caged):
    assert cheats[2]["leaves something behind", "00_tiny"]["points"] == "4"
    assert not [p for p in psutil.process_iter(["cmdline"]) if "left_behind" in str(p.info)]


def test_one_folder_changes_nothing_for_another_and_no_page_is_missing(course):
    folder, hand = course / "odd", released(course)
    hand_in(folder, "honest", hand, {"double-solution": RIGHT})
    text = hand.read_text()
    picture = json.dumps("YOUR ANSWER HERE")
    odd = {
        "picture": text.replace(picture, json.dumps("![i](attachment:i.png) " * 3)),
        "colab": text.replace(
            '"metadata": {\n  "kernelspec"',
            '"metadata": {\n  "widgets": {"application/vnd.jupyter.widget-state+json": {"a": 1}},'
            '\n  "kernelspec"',
        ),
        "kernel": text.replace('"python3"', '"no such kernel"'),
        "empty": "",
        "list": "[]",
        "entities": text.replace(picture, json.dumps("![i](&#97;ttachment:i.png)")),
    }
    for student, content in odd.items():
        (folder / student).mkdir()
        (folder / student / hand.name).write_text(content)
        assert content != text
    (folder / "latin").mkdir()
    (folder / "latin" / hand.name).write_bytes("é".encode("latin1"))
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe" / hand.name)
    (folder / "link").mkdir()
    (folder / "link" / hand.name).symlink_to(folder / "honest" / hand.name)
    (folder / "linked").symlink_to(folder / "honest")
    printed, points = grade(course, folder, os.listdir(folder)), read_points(course / "odd-graded")
    assert points["honest", "00_tiny"]["points"] == "4"
    assert points["link", "00_tiny"]["remark"].endswith("no notebook, but a link")
    assert "linked: not graded, a link" in printed
    failed = {student for (student, _), line in points.items() if line["remark"]}
    assert failed == {"empty", "list", "latin", "pipe", "link"} | (failed & {"entities"})
    for student, _ in points:
        assert (course / "odd-graded" / "feedback" / student / "00_tiny/00_tiny.html").exists()
    # What is remembered of an earlier run may be lost or forged.
    (course / "odd-graded" / "gradebook.db").unlink()
    (course / "odd-graded" / "done" / "picture" / "00_tiny.json").write_text("[1")
    for student in {path.name for path in folder.iterdir()} - {"honest", "picture", "linked"}:
        shutil.rmtree(folder / student)
    grade(course, folder)
    assert read_points(course / "odd-graded")["honest", "00_tiny"]["points"] == "4"


def test_check_and_grade_agree_about_a_copied_cell(course, tmp_path):
    folder, hand = tmp_path / "class", released(course)
    hand_in(folder, "copies", hand, {"double-solution": RIGHT})
    path = folder / "copies" / hand.name
    notebook = nbformat.read(path, as_version=4)
    stub = next(
        cell
        for cell in nbformat.read(hand, as_version=4).cells
        if classroom.grade_id(cell) == "double-solution"
    )
    notebook.cells = [cell for each in notebook.cells for cell in (each, each)] + [stub]
    path.write_text(json.dumps(notebook))
    grade(course, folder)
    assert read_points(tmp_path / "class-graded")["copies", "00_tiny"]["points"] == "4"
    mine = course / "mine" / f"problems_{hand.name}"
    mine.parent.mkdir(exist_ok=True)
    shutil.copy(path, mine)
    assert "1 double: passes the tests that you can see." in command(
        "--exercises", course, "check", "00"
    )
    mine.unlink()


def test_two_do_not_grade_into_one_folder_at_once(course):
    folder = course / "shared"
    hand_in(folder, "student", released(course), {})
    output = course / "shared-graded"
    output.mkdir()
    with (output / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, _ = run("--exercises", course, "grade", folder)
    assert "another `make grade` is at work in this folder" in code
    assert not (output / "grades.csv").exists()


def test_a_damaged_grade_book_is_set_aside_and_the_table_is_written(course):
    folder, output = course / "damaged", course / "damaged-graded"
    hand_in(folder, "student", released(course), {"double-solution": RIGHT})
    grade(course, folder)
    book, before = output / "gradebook.db", (output / "grades.csv").read_text(encoding="utf-8")
    whole = book.read_bytes()
    for content in (b"garbage" * 999, whole[:8192] + bytes(8192) + whole[16384:]):
        book.write_bytes(content)
        assert "is now gradebook.damaged.db" in grade(course, folder)
        assert (output / "gradebook.damaged.db").read_bytes() == content
        assert (output / "grades.before.csv").read_text(encoding="utf-8") == before
        assert (output / "grades.csv").read_text(encoding="utf-8") == before


def test_an_interrupted_run_writes_the_table_and_leaves_nothing_behind(course):
    folder = course / "interrupted"
    for student, source in {"first": RIGHT, "second": ENDLESS, "third": RIGHT}.items():
        hand_in(folder, student, released(course), {"double-solution": source})
    script = ROOT / "notebooks" / "classroom.py"
    line = [sys.executable, script, "--exercises", course, "grade", folder, "--jobs=1"]
    grading = subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background too
    )
    while not grading.stdout.readline().startswith("first"):
        pass
    os.killpg(grading.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    assert "KeyboardInterrupt" in grading.communicate(timeout=120)[1]
    assert grading.returncode != 0
    points = read_points(course / "interrupted-graded")
    assert {student: line["points"] for (student, _), line in points.items()} == {
        "first": "4",
        "second": "0",
        "third": "0",
    }
    assert points["first", "00_tiny"]["remark"] == ""
    assert "interrupted" in points["third", "00_tiny"]["remark"]
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(course) in str(p.info)]
    grade(course, folder, cell_seconds=3)
    points = read_points(course / "interrupted-graded")
    assert points["third", "00_tiny"]["points"] == "4"


def test_a_changed_problem_set_is_graded_again(tmp_path):
    source = handed_out(tmp_path, TINY) / "source" / "00_tiny.py"
    folder, output = tmp_path / "class", tmp_path / "class-graded"
    for student, wrong in {"right": RIGHT, "pleases": "def double(x):\n    return 4"}.items():
        hand_in(folder, student, released(tmp_path), {"double-solution": wrong})
    grade(tmp_path, folder)
    changed = TINY.replace("double(3) == 6", "double(5) == 10")
    source.write_text(changed.replace('tests="double" points=1', 'tests="double" points=2'))
    grade(tmp_path, folder)
    points = read_points(output)
    assert {student: line["points"] for (student, _), line in points.items()} == {
        "right": "5",
        "pleases": "2",
    }
    assert points["right", "00_tiny"]["max_points"] == "7"


def test_another_library_grades_again(tmp_path, monkeypatch):
    monkeypatch.setattr(classroom, "ROOT", tmp_path)
    module = tmp_path / "aigc_keras" / "datasets" / "records.py"
    module.parent.mkdir(parents=True)
    module.write_text("before")
    before = classroom.version()
    module.write_text("after")
    assert classroom.version() != before


def test_a_submission_that_takes_too_long_is_stopped(course):
    folder = course / "slow"
    hand_in(folder, "endless", released(course), {"double-solution": ENDLESS})
    printed = grade(course, folder, cell_seconds=60, seconds=8)
    assert "endless 00_tiny: stopped after 8 s" in printed
    assert read_points(course / "slow-graded")["endless", "00_tiny"]["points"] == "0"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grade", "nowhere"], "submissions: got nowhere, accepted is a folder"),
        (["grade", ".", "--output", "inside"], "accepted is a folder outside of the submissions"),
        (["grade", ".", "--jobs=-1"], "jobs: got -1, accepted are numbers above 0"),
        (["check", "99"], "number: got '99', accepted are 00"),
    ],
)
def test_wrong_arguments_are_refused(course, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, printed = run("--exercises", course, *arguments)
    assert code == 2
    assert said in printed


def test_a_student_checks_herself(course):
    check = ["--exercises", course, "check", "00"]
    mine = course / "mine" / "problems_00_tiny.ipynb"
    assert f"Here is your copy: {mine}" in command(*check)
    assert "1 double: not solved yet.\n2 half: not solved yet.\n3 words: not answered" in command(
        *check
    )
    hand_in(course / "mine", ".", mine, {"double-solution": "def double(x):\n    return x"})
    assert "1 double: double(2): add\n" in command(*check)
    changed = {"double-solution": RIGHT, "double-tests": "pass", "words-answer": "Twice."}
    hand_in(course / "mine", ".", mine, changed)
    printed = command(*check)
    assert "double-tests: was changed, what was handed out is used." in printed
    assert "1 double: passes the tests that you can see." in printed
    assert "3 words: a person grades this." in printed
    notebook = nbformat.read(mine, as_version=4)
    notebook.cells = [c for c in notebook.cells if "tests" not in classroom.grade_id(c)]
    nbformat.write(notebook, mine)
    hand_in(course / "mine", ".", mine, {"double-solution": "def double(x):\n    return 7"})
    assert "1 double: double(2): add" in command(*check)
    assert "add" not in mine.read_text(), "her file was touched"
    source = "import os\n\nos._exit(0)"
    hand_in(course / "mine", ".", mine, {"double-solution": source, "half-solution": "half = 0.5"})
    mine.write_text(mine.read_text().replace('"python3"', '"no such kernel"'))
    printed = command(*check)
    assert "1 double: CellLost: The kernel died: this cell ended it" in printed
    assert "2 half: passes the tests that you can see." in printed
    mine.write_text("{")
    assert f"{mine}: no notebook that can be opened" in run(*check)[0]


def test_a_profile_that_does_not_exist_is_refused_before_anything_is_graded(course, monkeypatch):
    folder = course / "few"
    hand_in(folder, "student", released(course), {})
    monkeypatch.setenv("AIGC_PROFILE", "fats")
    with pytest.raises(ValueError, match="AIGC_PROFILE is 'fats'; accepted are fast, lesson"):
        run("--exercises", course, "grade", folder)
    assert not (course / "few-graded").exists()
