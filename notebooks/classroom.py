"""Problem sets: build the students' versions, check one, grade a class.

python notebooks/classroom.py assignments          release/ from source/
python notebooks/classroom.py check 02             what the visible tests say of one's own copy
python notebooks/classroom.py grade CLASS          points, feedback: CLASS/<student>/02_vae.ipynb

Grading writes an nbgrader course: its Formgrader shows the tasks that a person grades.
"""

import argparse
import contextlib
import csv
import glob
import html
import io
import json
import logging
import multiprocessing
import os
import re
import resource
import sqlite3
import sys
import tempfile
import time
import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import filelock
import jupytext
import nbformat
import psutil
import sqlalchemy
from build import digest, write
from judge import ROOT, Run, cage
from nbgrader.api import MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.converters import Autograde
from nbgrader.preprocessors import Execute
from submissions import collect, grade_id, hand_out, prepared
from traitlets.config import Config

# nbgrader calls the program alembic, whether or not this environment is active.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

# nbgrader's own queries; nothing that a teacher could do about.
warnings.filterwarnings("ignore", category=sqlalchemy.exc.SAWarning)

# One process has nbgrader loaded and forks a worker for each submission.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["jupytext", "nbgrader.apps"])

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
        known = release.exists() and is_entered(course, name)
        if not known or source.read_text(encoding="utf-8") != text:
            release.unlink(missing_ok=True)  # it comes last: an interrupted build does not count
            write(source, text)
            result = api.generate_assignment(name, force=True)
            if not result["success"]:
                raise RuntimeError(result["log"])


def is_entered(course, name, student=None):
    """Whether the grade book knows a problem set, or a student's submission of it."""
    with configured(course).gradebook as gradebook:
        try:
            if student:
                gradebook.find_submission(name, student)
            else:
                gradebook.find_assignment(name)
        except MissingEntry:
            return False
    return True


def set_aside_if_damaged(output):
    """Keep a damaged grade book, and the table of its points, under other names."""
    book, table = output / "gradebook.db", output / "grades.csv"
    with contextlib.closing(sqlite3.connect(book, timeout=60)) as database:
        try:
            (said,) = database.execute("pragma quick_check(1)").fetchone()
        except sqlite3.OperationalError:
            raise  # not damaged, but in use or not ours
        except sqlite3.DatabaseError as error:
            said = str(error)
    if said != "ok":
        book.replace(output / "gradebook.damaged.db")
        if table.exists():
            table.replace(output / "grades.before.csv")
        print(
            f"{book} is damaged ({said}) and is now gradebook.damaged.db, the last table "
            "grades.before.csv. All is graded again; points by hand are lost."
        )


def assignments(problem_sets, release):
    """Write the students' versions into a folder."""
    with tempfile.TemporaryDirectory() as course:
        build_course(Path(course), problem_sets)
        for name in problem_sets:
            made = Path(course) / "release" / name / f"{name}.ipynb"
            write(release / name / made.name, made.read_text(encoding="utf-8"))
            print(f"{release / name / made.name}")


# A student checks herself.


def check(name, folder):
    """Run a student's notebook and print, task by task, what the tests that she can see say."""
    path, new = hand_out(folder, name)
    if new:
        print(f"Here is your copy: {path}\nSolve a task in it, save it, and check again.")
        return
    release = folder / "release" / name / f"{name}.ipynb"
    released = nbformat.read(release, as_version=4)
    try:
        notebook, changed = prepared(path, released)
    except ValueError as error:
        sys.exit(f"{path}: {error}")
    for name in changed:
        print(f"{name}: was changed, what was handed out is used.")
    run = Run(folder=str(path.parent), **execution(Limits().cell_seconds))
    try:
        run.preprocess(notebook, {"metadata": {}})
    except RuntimeError as error:  # the kernel did not even start
        sys.exit(f"{path} could not be run: {error}")
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


def grade(submissions, output, problem_sets, jobs, limits):
    """Grade a class into an nbgrader course. What was graded before and is the same now, stays.

    Writes `grades.csv` and `feedback/<student>/<problem set>/<problem set>.html`; prints what could
    not be graded, and goes on. What one student hands in changes nothing for another.
    """
    from aigc_keras import profile  # not at the top: workers need no TensorFlow

    settings = (profile.name(), *limits, version())
    found, strays = collect(submissions, problem_sets)
    output.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(output / ".lock", blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        sys.exit(f"{output}: another `make grade` is at work in this folder; wait for its end.")
    with lock, tempfile.TemporaryDirectory() as rooms, ThreadPoolExecutor(jobs) as pool:
        print(
            f"{len(found)} submissions, {jobs} at a time, profile {settings[0]}; {limits}",
            flush=True,
        )
        hidden = [submissions, output, ROOT / ".git", ROOT / "tests"]
        hidden += {path.parent for path in problem_sets.values()}
        room = Path(rooms) / "room"
        room.mkdir()
        if not cage(room, hidden):
            print("The students' code can read and write what you can: see the page, section 4.")
        set_aside_if_damaged(output)
        build_course(output, problem_sets)
        with configured(output).gradebook as gradebook:  # two workers would enter a student at once
            for student in {student for student, _ in found}:
                gradebook.update_or_create_student(student)

        remarks = dict.fromkeys(found, "the run was interrupted before this was graded")
        pages = dict.fromkeys(found, None)

        def one(key):
            given = (output, *key, found[key], limits, settings, Path(rooms), hidden)
            remarks[key] = noted(autograde, *given)
            print(f"{' '.join(key)}: {remarks[key] or 'graded'}", flush=True)

        def page(key):
            pages[key] = noted(feedback, output, *key, remarks[key], limits)

        futures = [pool.submit(one, key) for key in found]
        try:
            for future in futures:
                future.result()
        finally:  # also when the run is interrupted
            pool.shutdown(wait=False, cancel_futures=True)
            rows = write_table(output, problem_sets, remarks, pages)
            while not all(future.done() for future in futures):
                # To nbclient Ctrl-C is the end of a kernel: a worker goes on, or begins just now.
                for worker in multiprocessing.active_children():
                    worker.kill()
                time.sleep(0.2)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(page, found))
        if any(pages.values()):
            rows = write_table(output, problem_sets, remarks, pages)
    for what, why in strays.items():
        print(f"{what}: not graded, {why}")
    waiting = sum(row["by_hand"] != 0 for row in rows)
    print(
        f"{len(rows)} submissions, {sum(map(bool, remarks.values()))} of them failed; "
        f"{waiting} wait for a person. Points: {output / 'grades.csv'}"
    )


def version():
    """A digest of what decides about points beside the problem set: the library and the grading."""
    files = sorted([*(ROOT / "aigc_keras").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")])
    return digest("".join(path.read_text(encoding="utf-8") for path in files))


def autograde(output, student, name, paths, limits, settings, rooms, hidden):
    """Grade one submission in a process of its own; return why it failed, or None.

    What was graded before with the same `settings`, and is the same now, stays.
    """
    if len(paths) > 1:
        return f"{len(paths)} notebooks of this problem set, one is accepted"
    done = output / "done" / student / f"{name}.json"
    submitted = output / "submitted" / student / name / f"{name}.ipynb"
    try:
        released = nbformat.read(output / "release" / name / f"{name}.ipynb", as_version=4)
        notebook, _ = prepared(paths[0], released)
    except ValueError as error:
        done.unlink(missing_ok=True)
        return str(error)
    text = nbformat.writes(notebook)
    source = (output / "source" / name / f"{name}.ipynb").read_text(encoding="utf-8")
    state = " ".join(map(str, (digest(text), digest(source), *settings)))
    if read_done(done).get("state") == state and is_entered(output, name, student):
        return None
    done.unlink(missing_ok=True)
    write(submitted, text)
    room = rooms / uuid.uuid4().hex[:8]
    room.mkdir()
    given = (output, student, name, limits, room, cage(room, hidden))
    result = apart(limits, autograde_here, *given)
    if isinstance(result, str):
        return result
    write(done, json.dumps({"state": state, "note": result["note"]}))
    return None


def read_done(path):
    """What is remembered of a graded submission; nothing if that cannot be read."""
    try:
        done = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return done if isinstance(done, dict) else {}


def apart(limits, work, *given):
    """What `work(*given)` returns in a process of its own, or why there is nothing, as a text."""
    mark = uuid.uuid4().hex
    heard, tells = FORKS.Pipe(duplex=False)
    worker = FORKS.Process(target=tell, args=(tells, limits.memory, mark, work, given))
    worker.start()
    tells.close()
    if heard.poll(limits.seconds):
        try:
            result = heard.recv()
        except EOFError:
            result = "grading it failed; perhaps it wanted too much memory"
    else:
        result = f"stopped after {limits.seconds} s"
        worker.kill()
    worker.join()
    # A kernel is in a session of its own, and what it started may have left that as well.
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("AIGC_GRADED") == mark:
                process.kill()
    return result


def tell(tells, memory, mark, work, given):
    """In the process of its own."""
    if sys.platform == "linux":
        size = int(memory * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    os.environ["AIGC_GRADED"] = mark
    tells.send(noted(work, *given))


def noted(work, *given):
    """What `work(*given)` returns; if it raises, that as a text."""
    try:
        return work(*given)
    # Whatever nbgrader, nbconvert or the system throws over one student's files is a remark on
    # these: it must not take the points of all others.
    except Exception as error:
        return f"grading it failed: {type(error).__name__}: {error}"[:500]


def execution(cell_seconds):
    """nbgrader's settings to run a notebook; a busy machine may be late with a cell's output."""
    quiet = ["--IPKernelApp.log_level=40"]
    return {"timeout": cell_seconds, "iopub_timeout": cell_seconds, "extra_arguments": quiet}


def autograde_here(output, student, name, limits, room, caged):
    """Grade one submission in this process and its kernel, in an empty folder.

    Returns {"note": what a teacher should know of it, or None}; a text if it failed.
    """
    # Where there are many processors, threads alone would fill the memory.
    libraries = ("TF_NUM_INTRAOP", "TF_NUM_INTEROP", "OMP_NUM", "OPENBLAS_NUM")
    os.environ.update({f"{library}_THREADS": "2" for library in libraries})
    os.environ["IPYTHONDIR"] = str(room / "ipython")  # nothing of the teacher's own
    os.environ["TMPDIR"] = str(room)  # elsewhere nothing can be written
    steps = [
        Run if step is Execute else step for step in Autograde.autograde_preprocessors.default()
    ]
    api = configured(
        output,
        Autograde={"autograde_preprocessors": steps},
        Execute=execution(limits.cell_seconds),
        Run={"folder": str(room)},
        Kernel={"cage": caged},
        # By default a kernel chooses free ports, and one that starts meanwhile may choose the same.
        KernelManager={"transport": "ipc", "connection_file": f"{room}/kernel.json"},
        # nbgrader takes a warning for a failure: forget what went to stderr.
        IgnorePattern={"enabled": True, "pattern": "^"},
    )
    result = api.autograde(name, student)
    if result["success"]:
        run = output / "autograded" / student / name / f"{name}.ipynb"
        cells = nbformat.read(run, as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        replaced = [output.evalue for output in outputs if output.get("ename") == "Replaced"]
        return {"note": " ".join(dict.fromkeys(replaced)) or None}
    return last_error(result["log"])


def last_error(log):
    errors = re.findall(r"^.*(?:Error|Exception|InvalidNotebook)\b.*$", log, re.MULTILINE)
    return errors[-1].strip()[:500] if errors else "nbgrader failed"


def write_table(output, problem_sets, remarks, pages):
    """Write `grades.csv`; return its rows."""
    tasks_of = {name: tasks(read_source(path)) for name, path in problem_sets.items()}
    rows = []
    with configured(output).gradebook as gradebook:
        for student, name in sorted(remarks):
            note = read_done(output / "done" / student / f"{name}.json").get("note")
            remark = remarks[student, name]
            said = [remark or note, pages[student, name]]
            try:
                cells = (
                    [] if remark else gradebook.find_submission(name, student).notebooks[0].grades
                )
            except MissingEntry:
                cells, said = [], [*said, "the grade book has lost it: grade again"]
            line = {
                "student": student,
                "problem_set": name,
                "points": sum(cell.score for cell in cells),
                "max_points": gradebook.find_assignment(name).max_score,
                "by_hand": sum(cell.max_score for cell in cells if cell.needs_manual_grade),
                "remark": "; ".join(filter(None, said)),
            }
            for number, task in enumerate(tasks_of[name], start=1):
                of_task = (cell.score for cell in cells if cell.name.startswith(f"{task}-"))
                line[f"task_{number}"] = sum(of_task)
            rows.append(
                {
                    key: f"{value:g}" if isinstance(value, float) else value
                    for key, value in line.items()
                }
            )
    text = io.StringIO()
    table = csv.DictWriter(text, max(rows, key=len, default=()), restval="")
    table.writeheader()
    table.writerows(rows)
    write(output / "grades.csv", "\ufeff" + text.getvalue())  # the mark tells Excel: UTF-8
    return rows


def feedback(output, student, name, remark, limits):
    """Write a student's page; return why there is none of her notebook, or None."""
    why = None if remark else apart(limits, feedback_here, output, student, name)
    if remark or why:
        said = f"not graded. {remark}" if remark else f"graded, but this page failed. {why}"
        page = output / "feedback" / student / name / f"{name}.html"
        text = html.escape(f"{student}, {name}: {said}")
        write(page, f"<!doctype html><meta charset='utf-8'><p>{text}</p>\n")
    return f"no page: {why}" if why else None


def feedback_here(output, student, name):
    result = configured(output).generate_feedback(name, student)
    return None if result["success"] else last_error(result["log"])


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
    sys.stdout.reconfigure(errors="backslashreplace")  # folders may have any name
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
