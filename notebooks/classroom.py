"""Problem sets: build the students' versions, check one, grade a class.

python notebooks/classroom.py assignments          release/ from source/
python notebooks/classroom.py check 02             what the visible tests say of mine/02_vae.ipynb
python notebooks/classroom.py grade CLASS          points, feedback: CLASS/<student>/02_vae.ipynb

Grading writes an nbgrader course: its Formgrader shows the tasks that a person grades.
"""

import argparse
import collections
import csv
import glob
import hashlib
import html
import logging
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jupytext
import nbformat
import psutil
import sqlalchemy
from build import digest, write
from nbgrader.apps import NbGraderAPI
from nbgrader.preprocessors import Execute
from traitlets.config import Config

# nbgrader calls the program alembic, whether or not this environment is active.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

# nbgrader's own queries; nothing that a teacher could do about.
warnings.filterwarnings("ignore", category=sqlalchemy.exc.SAWarning)

# One process has nbgrader loaded and forks a worker for each submission.
FORKS = multiprocessing.get_context("forkserver")

EXERCISES = Path(__file__).resolve().parent / "exercises"


# Sources: py:percent, with a cell's part in the problem set in its metadata.


def sources(folder):
    """The problem sets in a folder: name -> file."""
    return {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.py"))}


def read_source(path):
    """A problem set with solutions as a notebook that nbgrader understands."""
    notebook = jupytext.read(path, fmt="py:percent")
    for position, cell in enumerate(notebook.cells):
        cell["id"] = digest(f"{path.stem} problem {position}")[:8]
        cell.metadata = {"nbgrader": marks(cell, position)}
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    return notebook


def marks(cell, position):
    """nbgrader's metadata of a cell; its grade_id begins with the task's name.

    `solution="kl"`: the student completes it. `tests="kl" points=1`: tests, restored when graded.
    `open="essay" points=3`: graded by a person. Anything else is text or code to run, restored too.
    """
    known = {"solution": "solution", "tests": "tests", "open": "answer"}
    (kind,) = known.keys() & cell.metadata.keys() or {None}
    suffix = "hidden_tests" if "BEGIN HIDDEN TESTS" in cell.source else known.get(kind)
    made = {
        "grade": kind in ("tests", "open"),
        "grade_id": f"{cell.metadata[kind]}-{suffix}" if kind else f"cell-{position}",
        "locked": kind in ("tests", None),
        "schema_version": 3,
        "solution": kind in ("solution", "open"),
        "task": False,
    }
    return {**made, "points": int(cell.metadata["points"])} if made["grade"] else made


def tasks(notebook):
    """The names of a problem set's tasks, in order."""
    names = [grade_id(cell).split("-")[0] for cell in notebook.cells]
    return [name for name in dict.fromkeys(names) if name != "cell"]


def grade_id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id", "cell")


# An nbgrader course in a folder.


def configured(course, **traits):
    """NbGraderAPI for the course in a folder."""
    config = Config({name: Config(values) for name, values in traits.items()})
    config.CourseDirectory.root = str(course)
    # Several submissions are graded at once: wait for the database instead of giving up.
    config.CourseDirectory.db_url = f"sqlite:///{course}/gradebook.db?timeout=60"
    api = NbGraderAPI(config=config)
    api.log.setLevel(logging.ERROR)
    return api


def build_course(course, problem_sets):
    """Source, release and gradebook of the problem sets, in a folder; those unchanged stay."""
    api = configured(course)
    for name, path in problem_sets.items():
        source, release = (course / step / name / f"{name}.ipynb" for step in ("source", "release"))
        text = nbformat.writes(read_source(path)) + "\n"
        if not release.exists() or source.read_text(encoding="utf-8") != text:
            release.unlink(missing_ok=True)  # it comes last: an interrupted build does not count
            write(source, text)
            result = api.generate_assignment(name, force=True)
            if not result["success"]:
                raise RuntimeError(result["log"])


def assignments(problem_sets, release):
    """Write the students' versions into a folder."""
    with tempfile.TemporaryDirectory() as course:
        build_course(Path(course), problem_sets)
        for name in problem_sets:
            made = Path(course) / "release" / name / f"{name}.ipynb"
            write(release / name / made.name, made.read_text(encoding="utf-8"))
            print(f"{release / name / made.name}")


def opened(path, handed_out):
    """A student's notebook, with the cells that she deleted put back.

    Raises:
        ValueError: it is not a notebook, or not the one that was handed out.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        wanted, found = (
            {grade_id(cell) for cell in cells if grade_id(cell).endswith("-solution")}
            for cells in (handed_out.cells, notebook.cells)
        )
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise ValueError(f"no notebook that can be opened: {type(error).__name__}") from error
    if not found or found - wanted:
        raise ValueError("not the notebook that was handed out: other tasks, or none")
    place = 0
    for cell in handed_out.cells:
        ids = [grade_id(other) for other in notebook.cells]
        if grade_id(cell) in ids:
            place = ids.index(grade_id(cell))
        else:
            notebook.cells.insert(place, cell)
        place += 1
    return notebook


# A student checks herself.


def check(name, folder):
    """Run a student's notebook and print, task by task, what the tests that she can see say."""
    release, path = folder / "release" / name / f"{name}.ipynb", folder / "mine" / f"{name}.ipynb"
    if not path.exists():
        write(path, release.read_text(encoding="utf-8"))
        print(f"Here is your copy: {path}\nSolve a task in it, save it, and check again.")
        return
    released = nbformat.read(release, as_version=4)
    try:
        notebook = opened(path, released)
    except ValueError as error:
        sys.exit(f"{path}: {error}")
    locked = [cell for cell in released.cells if cell.metadata.nbgrader.locked]
    handed_out = {grade_id(cell): cell.source for cell in locked}
    for cell in notebook.cells:
        wanted = handed_out.get(grade_id(cell), cell.source)
        if cell.source != wanted:
            print(f"{grade_id(cell)}: was changed, what was handed out is used.")
            cell.source = wanted
    resources = {"metadata": {"path": str(path.parent)}}
    Execute(**execution(Limits().cell_seconds)).preprocess(notebook, resources)
    for number, task in enumerate(tasks(released), start=1):
        cells = [cell for cell in notebook.cells if grade_id(cell).startswith(f"{task}-")]
        wrong = next(filter(None, map(failure, cells)), None)
        tested = any(cell.cell_type == "code" for cell in cells)
        right = "passes the tests that you can see." if tested else "a person grades this."
        print(f"{number} {task}: {wrong or right}")
    print("Hidden tests give the other points; a person grades the words of the last task.")


def failure(cell):
    """What went wrong in a cell that was run, as a student should read it; None if nothing did."""
    if cell.source == "YOUR ANSWER HERE":
        return "not answered yet."
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            if output.ename == "NotImplementedError":
                return "not solved yet."
            said = f"{output.ename}: {output.evalue}".removeprefix("AssertionError: ")
            return said.replace("\n", "\n  ")
    return None


# A teacher grades a class.


class Limits(NamedTuple):
    """What a submission may use: seconds for a cell, seconds for all, GiB of memory."""

    cell_seconds: int = 60
    seconds: int = 600
    memory: float = 2.0


def collect(submissions, problem_sets):
    """The notebooks of a class, {(student, problem set): [files]}, and what cannot be graded."""
    found, strays = collections.defaultdict(list), {}
    for path in sorted(submissions.rglob("*.ipynb")):
        student, *inner = path.relative_to(submissions).parts
        if any(part.startswith(".") for part in (student, *inner)):
            continue  # a copy that Jupyter keeps
        if glob.has_magic(student) or student != student.strip():  # nbgrader would not find it
            strays[student] = "rename the folder: no *, ? or [, no space at its ends."
        elif inner and path.stem in problem_sets:
            found[student, path.stem].append(path)
        else:
            accepted = f"<student>/<problem set>.ipynb with one of {', '.join(problem_sets)}"
            strays[str(path.relative_to(submissions))] = f"accepted is {accepted}."
    for path in sorted(submissions.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and not any(path.rglob("*.ipynb")):
            strays[path.name] = "no notebook in this folder."
    return found, strays


def grade(submissions, output, problem_sets, jobs, limits):
    """Grade a class into an nbgrader course. What was graded before and is the same now, stays.

    Writes `grades.csv` and `feedback/<student>/<problem set>/<problem set>.html`; prints what could
    not be graded, and goes on.
    """
    from aigc_keras import profile  # not at the top: workers need no TensorFlow

    settings = (profile.name(), *limits)
    found, strays = collect(submissions, problem_sets)
    print(
        f"{len(found)} submissions, {jobs} at a time, profile {settings[0]}; {limits}", flush=True
    )
    build_course(output, problem_sets)
    with configured(output).gradebook as gradebook:  # two workers would enter a student at once
        for student in {student for student, _ in found}:
            gradebook.update_or_create_student(student)

    def one(key):
        try:
            remark = autograde(output, *key, found[key], limits, settings)
        except (OSError, psutil.Error) as error:
            remark = f"grading it failed: {error}"
        print(f"{' '.join(key)}: {remark or 'graded'}", flush=True)
        return remark

    with ThreadPoolExecutor(jobs) as pool:
        remarks = dict(zip(found, pool.map(one, found), strict=True))
    give_feedback(output, remarks)
    tasks_of = {name: tasks(read_source(path)) for name, path in problem_sets.items()}
    with configured(output).gradebook as gradebook:
        rows = [row(gradebook, tasks_of, *key, remarks[key]) for key in sorted(remarks)]
    columns = max(rows, key=len, default=())
    with (output / "grades.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        table.writerows(rows)
    for what, why in strays.items():
        print(f"{what}: not graded, {why}")
    waiting = sum(row["by_hand"] != 0 for row in rows)
    print(
        f"{len(rows)} submissions, {sum(map(bool, remarks.values()))} of them failed; "
        f"{waiting} wait for a person. Points: {output / 'grades.csv'}"
    )


def autograde(output, student, name, paths, limits, settings):
    """Grade one submission in a process of its own; return why it failed, or None.

    What was graded before with the same `settings`, and is the same now, stays.
    """
    if len(paths) > 1:
        return f"{len(paths)} notebooks of this name, one is accepted"
    done = output / "done" / student / name
    files = (paths[0], output / "source" / name / f"{name}.ipynb")
    state = " ".join(map(str, (*map(sha256, files), *settings)))
    if done.exists() and done.read_text() == state:
        return None
    done.unlink(missing_ok=True)
    submitted = output / "submitted" / student / name
    submitted.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(paths[0], submitted / f"{name}.ipynb")
    with tempfile.TemporaryDirectory() as sockets:
        heard, tells = FORKS.Pipe(duplex=False)
        given = (output, student, name, limits, sockets, tells)
        worker = FORKS.Process(target=autograde_here, args=given)
        worker.start()
        tells.close()
        if heard.poll(limits.seconds):
            try:
                remark = heard.recv()
            except EOFError:
                remark = "grading it failed; perhaps it wanted too much memory"
        else:
            remark = f"stopped after {limits.seconds} s"
            # A kernel is in a session of its own: it has to be found before its parent is gone.
            for process in psutil.Process(worker.pid).children(recursive=True):
                process.kill()
            worker.kill()
        worker.join()
    if not remark:
        write(done, state)
    return remark


def execution(cell_seconds):
    """nbgrader's settings to run a notebook; a busy machine may be late with a cell's output."""
    quiet = ["--IPKernelApp.log_level=40"]
    return {"timeout": cell_seconds, "iopub_timeout": cell_seconds, "extra_arguments": quiet}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def autograde_here(output, student, name, limits, sockets, tells):
    """Grade one submission in this process and its kernel; tell why it failed, or None.

    `sockets`: an empty folder.
    """
    if sys.platform == "linux":
        size = int(limits.memory * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    # Where there are many processors, threads alone would fill the memory.
    libraries = ("TF_NUM_INTRAOP", "TF_NUM_INTEROP", "OMP_NUM", "OPENBLAS_NUM")
    os.environ.update({f"{library}_THREADS": "2" for library in libraries})
    file = f"{name}/{name}.ipynb"
    submitted = output / "submitted" / student / file
    try:
        notebook = opened(submitted, nbformat.read(output / "release" / file, as_version=4))
        nbformat.write(notebook, submitted)
    except ValueError as error:
        tells.send(str(error))
        return
    api = configured(
        output,
        Execute=execution(limits.cell_seconds),
        # By default a kernel chooses free ports, and one that starts meanwhile may choose the same.
        KernelManager={"transport": "ipc", "connection_file": f"{sockets}/kernel.json"},
        # nbgrader takes a warning for a failure: forget what went to stderr.
        IgnorePattern={"enabled": True, "pattern": "^"},
    )
    result = api.autograde(name, student)
    if result["success"]:
        tells.send(None)
    elif "DeadKernelError" in result["log"]:
        tells.send("the kernel died: it ended itself or wanted too much memory")
    else:
        errors = re.findall(r"^.*(?:Error|Exception)\b.*$", result["log"], re.MULTILINE)
        tells.send(errors[-1].strip() if errors else "nbgrader could not grade it")


def row(gradebook, tasks_of, student, name, remark):
    """A line of `grades.csv`; a submission that failed has no points."""
    cells = [] if remark else gradebook.find_submission(name, student).notebooks[0].grades
    line = {
        "student": student,
        "problem_set": name,
        "points": sum(cell.score for cell in cells),
        "max_points": gradebook.find_assignment(name).max_score,
        "by_hand": sum(cell.max_score for cell in cells if cell.needs_manual_grade),
        "remark": remark or "",
    }
    for number, task in enumerate(tasks_of[name], start=1):
        line[f"task_{number}"] = sum(c.score for c in cells if c.name.startswith(f"{task}-"))
    return {key: f"{value:g}" if isinstance(value, float) else value for key, value in line.items()}


def give_feedback(output, remarks):
    """Write the feedback pages; that of a submission which failed says why."""
    api = configured(output)
    for name in {name for (_, name), remark in remarks.items() if not remark}:
        result = api.generate_feedback(name)
        if not result["success"]:
            raise RuntimeError(result["log"])
    for (student, name), remark in remarks.items():
        if remark:
            said = html.escape(f"{student}, {name}: not graded. {remark}")
            page = output / "feedback" / student / name / f"{name}.html"
            write(page, f"<!doctype html><meta charset='utf-8'><p>{said}</p>\n")


def main():
    parser = argparse.ArgumentParser(description="Problem sets: build, check, grade.")
    parser.add_argument("--exercises", type=Path, default=EXERCISES, help="folder of source/")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("assignments", help="write the students' versions into release/")
    checking = commands.add_parser("check", help="run one's own notebook against the visible tests")
    checking.add_argument("number", help="two digits, as in 02")
    grading = commands.add_parser("grade", help="grade a class")
    grading.add_argument("submissions", type=Path, help="a folder with a folder for each student")
    grading.add_argument(
        "--output", type=Path, help="folder for points and feedback; by default CLASS-graded"
    )
    grading.add_argument(
        "--jobs",
        type=int,
        help="graded at a time; else as many as processors and memory allow",
    )
    for limit, default in Limits()._asdict().items():
        grading.add_argument(f"--{limit}", type=type(default), default=default)
    given = parser.parse_args()
    problem_sets = sources(given.exercises / "source")
    if given.command == "assignments":
        assignments(problem_sets, given.exercises / "release")
    elif given.command == "check":
        names = {path.name[:2]: path.name for path in (given.exercises / "release").iterdir()}
        if given.number not in names:
            parser.error(f"number: got {given.number!r}, accepted are {', '.join(sorted(names))}.")
        check(names[given.number], given.exercises)
    else:
        submissions = given.submissions.resolve()
        output = (given.output or submissions.with_name(f"{submissions.name}-graded")).resolve()
        if not submissions.is_dir():
            parser.error(f"submissions: got {given.submissions}, accepted is a folder.")
        if output.is_relative_to(submissions) or glob.has_magic(str(output)):
            parser.error(
                f"output: got {output}, accepted is a folder outside of the submissions "
                "whose path is without *, ? and [."
            )
        limits = Limits(given.cell_seconds, given.seconds, given.memory)
        for name, value in (*limits._asdict().items(), ("jobs", given.jobs or 1)):
            if value <= 0:
                parser.error(f"{name}: got {value}, accepted are numbers above 0.")
        room = int(psutil.virtual_memory().available / 2**30 / limits.memory)
        jobs = given.jobs or max(1, min(os.cpu_count(), room))
        grade(submissions, output, problem_sets, jobs, limits)


if __name__ == "__main__":
    main()
