"""Problem sets: what is handed out, and what right and wrong answers get from their tests."""

import functools
import logging
import re
from pathlib import Path

import classroom
import forked
import jupytext
import nbformat
import numpy as np
import pytest
from nbgrader.utils import determine_grade

ROOT = Path(__file__).parents[1]
EXERCISES = ROOT / "notebooks" / "exercises"
ANSWERS = Path(__file__).parent / "answers"
SETS = classroom.sources(EXERCISES / "source")
WRONG = ("wrong_1", "wrong_2")
# Five of a task's own, to look at: half of a set's time, and no test asks for them. They are run
# in test_classroom.py.
RUNS = r"(?m)^runs\b"


def answers(student, name):
    """The cells of one of the three students in tests/answers: {grade_id: cell}."""
    found = {}
    for cell in jupytext.read(ANSWERS / student / f"{name}.py", fmt="py:percent").cells:
        for kind, suffix in (("solution", "solution"), ("open", "answer")):
            if kind in cell.metadata:
                found[f"{cell.metadata[kind]}-{suffix}"] = cell
    return found


# What is handed out.


@pytest.mark.parametrize("name", SETS)
def test_a_problem_set_has_five_tasks_of_four_points_with_tests_that_import_their_own(name):
    notebook = classroom.read_source(SETS[name])
    points = {}
    for cell in notebook.cells:
        marks = cell.metadata.nbgrader
        if marks.grade:
            task = marks.grade_id.split("-")[0]
            points[task] = points.get(task, 0) + marks.points
        if marks.grade and marks.locked and "expect" in cell.source:
            assert "\nfrom aigc_keras.exercises import expect" in f"\n{cell.source}"
    assert list(points.values()) == [4] * 5
    assert list(points) == classroom.tasks(notebook)
    ids = [cell.metadata.nbgrader.grade_id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


def test_a_problem_set_belongs_to_a_chapter():
    assert len(SETS) >= 5
    assert set(SETS) <= {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_what_is_handed_out_is_what_the_sources_give(tmp_path):
    classroom.assignments(SETS, tmp_path)
    for name in SETS:
        made = (tmp_path / name / f"{name}.ipynb").read_text(encoding="utf-8")
        assert made == (EXERCISES / "release" / name / f"{name}.ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SETS)
def test_solutions_and_hidden_tests_are_not_handed_out(name):
    notebook = nbformat.read(EXERCISES / "release" / name / f"{name}.ipynb", as_version=4)
    removed = r"(?ms)^ *### BEGIN (SOLUTION|HIDDEN TESTS)$.*?^ *### END \1$"
    stub = r" *# YOUR CODE HERE\n *raise NotImplementedError\(\)"
    for given, cell in zip(notebook.cells, classroom.read_source(SETS[name]).cells, strict=True):
        kept, regions = re.subn(removed, "", cell.source)
        if cell.metadata.nbgrader.solution and cell.cell_type == "markdown":
            assert given.source == "YOUR ANSWER HERE"
        else:
            assert re.sub(stub, "", given.source).split() == kept.split()
            assert bool(regions) == (cell.metadata.nbgrader.solution or "HIDDEN" in cell.source)


# What answers get.


@functools.cache
def ran(student, name):
    """A problem set with all of its tests and a student's answers, run."""
    notebook = classroom.read_source(SETS[name])
    released = nbformat.read(EXERCISES / "release" / name / f"{name}.ipynb", as_version=4)
    given = {} if student == "unsolved" else answers(student, name)
    for cell, stub in zip(notebook.cells, released.cells, strict=True):
        if cell.metadata.nbgrader.solution:
            cell.source = given.pop(classroom.grade_id(cell), stub).source
        elif not cell.metadata.nbgrader.grade:
            cell.source = re.split(RUNS, cell.source)[0]
    assert not given, f"no such cell: {list(given)}"
    return forked.run_notebook(notebook)


def graded_cells(notebook):
    """(task, cell) of the cells that give points without a person."""
    for cell in notebook.cells:
        if cell.metadata.nbgrader.grade and cell.metadata.nbgrader.locked:
            yield classroom.grade_id(cell).split("-")[0], cell


def points(notebook, count=lambda cell: determine_grade(cell, logging.getLogger())[0]):
    """The points of each task, without what a person gives."""
    found = dict.fromkeys(classroom.tasks(notebook), 0)
    for task, cell in graded_cells(notebook):
        found[task] += count(cell)
    return list(found.values())


@pytest.mark.parametrize("name", SETS)
def test_right_answers_get_every_point(name):
    notebook = ran("alternative", name)
    most = points(notebook, lambda cell: cell.metadata.nbgrader.points)
    assert points(notebook) == most
    assert most[:4] == [4] * 4 and 0 < most[4] < 4


@pytest.mark.parametrize("name", SETS)
def test_an_unsolved_notebook_gets_no_point_and_fails_in_every_test(name):
    notebook = ran("unsolved", name)
    assert points(notebook) == [0] * 5
    for _, cell in graded_cells(notebook):
        assert classroom.failure(cell), classroom.grade_id(cell)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("student", WRONG)
def test_wrong_answers_lose_what_they_should(student, name):
    given, notebook = answers(student, name), ran(student, name)
    tasks = classroom.tasks(notebook)
    deserved = [given[f"{task}-solution"].metadata["points"] for task in tasks]
    assert points(notebook) == deserved
    assert all(task < 4 for task in deserved[:4])
    assert deserved[4] == 0  # beside what a person gives


def test_half_of_the_wrong_answers_please_the_visible_tests():
    deserved = [
        cell.metadata["points"]
        for student in WRONG
        for name in SETS
        for key, cell in answers(student, name).items()
        if key.endswith("-solution")
    ]
    assert len(deserved) == 10 * len(SETS)
    assert sum(points > 0 for points in deserved) >= len(deserved) / 2


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("student", WRONG)
def test_a_visible_test_that_fails_says_what_came_and_gives_a_hint(student, name):
    for _, cell in graded_cells(ran(student, name)):
        if classroom.grade_id(cell).endswith("-tests") and classroom.failure(cell):
            assert re.search(r"(came|nothing)[^$]*\n  Hint: ", classroom.failure(cell))


def test_the_visible_tests_of_set_03_see_a_sum_over_the_whole_batch():
    def region_covariance(features, mask):
        weights = np.ravel(mask) / np.sum(mask)
        rows = np.reshape(features, (-1, np.shape(features)[-1]))
        rows = rows - weights @ rows
        return np.stack([np.einsum("p,pi,pj->ij", weights, rows, rows)] * len(mask))

    cells = classroom.read_source(SETS["03_style_transfer"]).cells
    tests = {classroom.grade_id(cell): cell.source for cell in cells}["region_covariance-tests"]
    with pytest.raises(AssertionError, match="two images"):
        exec(tests, {"np": np, "region_covariance": region_covariance})
