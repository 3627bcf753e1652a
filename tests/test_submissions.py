"""What students hand in is found without following a link, and read without trust."""

import copy
import json
import os
import random

import classroom
import nbformat
import pytest
import submissions
from submissions import LARGEST_FILE, LARGEST_TEXT, collect, grade_id, prepared

HANDED_OUT = """\
# %% [markdown]
# # Twice

# %%
two = 2

# %% solution="double"
def double(x):
    ### BEGIN SOLUTION
    return two * x
    ### END SOLUTION


# %% tests="double" points=1
assert double(2) == 4

# %% [markdown] open="words" points=2
# Adding is doubling.
"""
STUB = "def double(x):\n    raise NotImplementedError()"
RIGHT = "def double(x):\n    return x + x"
DRAFT = "def double(x):\n    return 7"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
)


@pytest.fixture
def handed_out(tmp_path):
    (tmp_path / "00_tiny.py").write_text(HANDED_OUT)
    notebook = classroom.read_source(tmp_path / "00_tiny.py")
    notebook.cells[2].source, notebook.cells[4].source = STUB, "YOUR ANSWER HERE"
    return notebook


@pytest.fixture
def hand_in(tmp_path, handed_out):
    """A function: what a student's cells become, after `change(cells)` of what was handed out."""

    def prepare(change):
        notebook = json.loads(nbformat.writes(handed_out))
        changed = change(notebook["cells"])
        notebook["cells"] = notebook["cells"] if changed is None else changed
        path = tmp_path / "00_tiny.ipynb"
        path.write_text(json.dumps(notebook))
        result, _ = prepared(path, handed_out)
        nbformat.validate(result)
        return result.cells

    return prepare


def own(source, kind="code", **more):
    return {"cell_type": kind, "source": source, "metadata": {}, **more}


def test_the_text_of_her_cells_is_taken_and_nothing_else(hand_in, handed_out):
    def change(cells):
        for cell in cells:
            cell["metadata"].update(tags=["skip-execution"], deletable=5, jupyter=None)
            cell["metadata"]["nbgrader"]["points"] = 50
            cell.update(outputs=17, execution_count="x", attachments=[])
        cells[2]["source"] = ["def double(x):\n", "    return x + x"]
        cells[4]["source"] = "Two and two."
        cells.insert(3, own("x = 1", metadata={"tags": ["skip-execution"]}, outputs=[{"a": 1}]))

    cells = hand_in(change)
    assert [cell.source for cell in cells[2:4]] == [RIGHT, "x = 1"]
    assert cells[5].source == "Two and two."
    assert cells[3].metadata == {} and cells[3].outputs == []
    rest = [cell for cell in cells if grade_id(cell) != "cell"]
    assert [cell.metadata for cell in rest] == [cell.metadata for cell in handed_out.cells]


@pytest.mark.parametrize("order", ["cd", "dc", "c", "cdd", "cdcd"])
def test_what_was_moved_deleted_or_copied_is_as_it_was_handed_out(hand_in, order):
    def change(cells):
        cells[2]["source"] = RIGHT
        parts = {"c": cells[2], "d": cells[3]}
        return [*cells[:2], *(copy.deepcopy(parts[each]) for each in order), cells[4]]

    names = [grade_id(cell) for cell in hand_in(change)]
    # The second answer of "cdcd" runs where it stood, as a cell of her own.
    assert [name for name in names if name != "cell"] == [
        *("cell-0", "cell-1", "double-solution", "double-tests", "words-answer")
    ]


@pytest.mark.parametrize("answered", ["first", "last"])
def test_of_a_copied_cell_the_answered_one_counts(hand_in, answered):
    def change(cells):
        for at in (4, 2):
            answer = copy.deepcopy(cells[at])
            answer["source"] = RIGHT if at == 2 else "Words."
            cells.insert(at if answered == "first" else at + 1, answer)

    cells = hand_in(change)
    assert [cell.source for cell in cells[2:]] == [RIGHT, "assert double(2) == 4", "Words."]
    assert grade_id(cells[2]) == "double-solution"


def test_the_parts_of_a_split_cell_run_in_their_order(hand_in):
    parts = ["def half(x):\n    return x / 2", "", RIGHT]

    def change(cells):
        split = [{**copy.deepcopy(cells[2]), "source": part} for part in parts]
        tests = [
            {**copy.deepcopy(cells[3]), "source": part} for part in ("assert double(2)", "== 4")
        ]
        return [*cells[:2], *split, *tests, cells[4]]

    cells = hand_in(change)
    assert [cell.source for cell in cells[2:5]] == [parts[0], RIGHT, "assert double(2) == 4"]
    assert [grade_id(cell) for cell in cells[2:5]] == ["double-solution", "cell", "double-tests"]


def test_a_copy_at_the_top_takes_nothing_along(hand_in):
    def change(cells):
        cells[2]["source"] = RIGHT
        draft = {**copy.deepcopy(cells[2]), "source": DRAFT}
        return [copy.deepcopy(cells[3]), draft, own("y = 1"), *cells]

    cells = hand_in(change)
    assert [cell.source for cell in cells[:2]] == [DRAFT, "y = 1"]
    assert cells[4].source == RIGHT


def test_pictures_stay_and_those_that_are_not_there_are_not_asked_for(hand_in):
    attached = {"a b.png": {"image/png": PIXEL}, "c": {"text/html": "<script>"}, "d": 3}
    asked = "![](attachment:a%20b.png) ![](attachment:c) <img src='attachment:gone.png'>"

    def change(cells):
        cells[4].update(source=asked, attachments=attached)

    cell = hand_in(change)[4]
    assert cell.attachments["a b.png"] == {"image/png": PIXEL}
    assert cell.source == (
        "![](attachment:a%20b.png) ![](missing-attachment:c) "
        "<img src='missing-attachment:gone.png'>"
    )


def junk(rng, depth=0):
    """Something that JSON can say."""
    simple = [None, True, -1, 10**20, 1e308, "", "\ud800", "attachment:x", "code", [], {}]
    if depth > 2 or rng.random() < 0.6:
        return rng.choice(simple)
    if rng.random() < 0.5:
        return [junk(rng, depth + 1) for _ in range(rng.randrange(3))]
    keys = ("source", "metadata", "nbgrader", "grade_id", "cell_type", "outputs", "tags", "\n")
    return {rng.choice(keys): junk(rng, depth + 1) for _ in range(rng.randrange(4))}


def damage(rng, notebook):
    """Something in the notebook becomes something else."""
    for _ in range(rng.randrange(1, 4)):
        place = notebook
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(place[key], dict | list) and rng.random() < 0.8:
                place = place[key]
                continue
            if isinstance(place, list) and rng.random() < 0.3:
                place.insert(key, copy.deepcopy(place[key]))
            else:
                place[key] = junk(rng)
            break


@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_file_holds_it_is_refused_or_becomes_what_was_handed_out(
    tmp_path, handed_out, seed
):
    rng, accepted = random.Random(seed), 0
    given = [cell.source for cell in handed_out.cells if cell.metadata.nbgrader.locked]
    for _ in range(100):
        notebook = json.loads(nbformat.writes(handed_out))
        damage(rng, notebook)
        content = json.dumps(notebook).encode()
        if rng.random() < 0.2:
            at = rng.randrange(len(content))
            content = content[:at] + bytes([rng.randrange(256)]) + content[at + rng.randrange(9) :]
        path = tmp_path / "00_tiny.ipynb"
        path.write_bytes(content)
        try:
            result, _ = prepared(path, handed_out)
        except ValueError as error:
            assert str(error).startswith(("no notebook", "not the notebook"))
            continue
        nbformat.validate(result)
        nbformat.writes(result).encode()
        kept = [cell for cell in result.cells if grade_id(cell) != "cell"]
        assert [cell.metadata for cell in kept] == [cell.metadata for cell in handed_out.cells]
        assert [cell.source for cell in kept if cell.metadata.nbgrader.locked] == given
        assert all("tags" not in cell.metadata for cell in result.cells)
        accepted += 1
    assert 20 < accepted < 100


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no notebook that can be opened: Expecting value"),
        (b"\xff\xfe{\x00}\x00", "codec can't decode"),
        (b"[" * 100_000, "too deep"),
        (b"[]", "no notebook that can be opened: no notebook"),
        (b'{"cells": {}}', "no notebook that can be opened: no notebook"),
        (b'{"cells": [7]}', "a cell without a kind or a text"),
        (b'{"cells": [{"cell_type": "code", "source": null}]}', "a cell without a kind or a text"),
        (b'{"cells": []}', "not the notebook that was handed out"),
        (
            b'{"cells": [{"cell_type": "raw", "source": "%s"}]}' % (b"a" * (LARGEST_TEXT + 1)),
            "more",
        ),
    ],
)
def test_what_is_no_notebook_is_refused_with_a_reason(tmp_path, handed_out, content, said):
    path = tmp_path / "00_tiny.ipynb"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        prepared(path, handed_out)


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe", "endless", "large"])
def test_only_a_regular_file_of_bounded_size_is_opened(tmp_path, handed_out, kind):
    path, real = tmp_path / "00_tiny.ipynb", tmp_path / "other.ipynb"
    nbformat.write(handed_out, real)
    if kind == "link":
        path.symlink_to(real)
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(LARGEST_FILE + 1)
    with pytest.raises(ValueError, match=r"but a |larger than 64 MB"):
        prepared(path, handed_out)


def test_what_a_class_holds_is_found_without_following_links(tmp_path):
    folder, elsewhere = tmp_path / "class", tmp_path / "elsewhere"
    for student in (
        "anna",
        "bad\nname",
        "empty",
        "*",
        ".hidden",
        "=1+1",
        b"\xff".decode("utf-8", "surrogateescape"),
    ):
        (folder / student).mkdir(parents=True)
    (folder / "anna" / "deep").mkdir()
    for place in (
        *("anna/deep/00_tiny.ipynb", "anna/other.ipynb", "anna/notes.txt", "00_tiny.ipynb"),
        *("bad\nname/00_tiny.ipynb", "*/00_tiny.ipynb", "anna/.ipynb_checkpoints/00_tiny.ipynb"),
        *(".hidden/00_tiny.ipynb", "=1+1/00_tiny.ipynb", ".ipynb_checkpoints/00_tiny.ipynb"),
    ):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).touch()
    elsewhere.mkdir()
    (elsewhere / "00_tiny.ipynb").touch()
    (folder / "linked").symlink_to(elsewhere)
    (folder / "anna" / "linked").symlink_to(elsewhere)
    (folder / "ben").mkdir()
    (folder / "ben" / "00_tiny.ipynb").symlink_to(elsewhere / "00_tiny.ipynb")
    found, strays = collect(folder, {"00_tiny": None})
    assert dict(found) == {
        ("anna", "00_tiny"): [folder / "anna" / "deep" / "00_tiny.ipynb"],
        ("ben", "00_tiny"): [folder / "ben" / "00_tiny.ipynb"],  # named when it is not opened
    }
    assert strays.keys() == {
        *("linked", "anna/linked", "anna/other.ipynb", "00_tiny.ipynb", "empty"),
        *("bad\nname", "*", "\udcff", ".hidden", "=1+1"),
    }
    assert strays["linked"].startswith("a link")
    for student in ("*", ".hidden", "=1+1"):
        assert strays[student].startswith("rename the folder")
    assert strays["empty"] == "no notebook in this folder."


def test_pictures_beyond_a_limit_are_dropped(hand_in, monkeypatch):
    monkeypatch.setattr(submissions, "LARGEST_PICTURES", len(PIXEL))

    def change(cells):
        for name in "ab":
            picture = {name: {"image/png": PIXEL}}
            cells.append(own(f"![](attachment:{name})", "markdown", attachments=picture))

    sources = [cell.source for cell in hand_in(change)[-2:]]
    assert sources == ["![](attachment:a)", "![](missing-attachment:b)"]


def test_a_students_copy_keeps_its_name_and_is_made_once(tmp_path):
    release = tmp_path / "release" / "00_tiny" / "00_tiny.ipynb"
    release.parent.mkdir(parents=True)
    release.write_text("released")
    mine, new = submissions.hand_out(tmp_path, "00_tiny")
    assert new and mine.read_text() == "released"
    mine.write_text("solved")
    assert submissions.hand_out(tmp_path, "00_tiny") == (mine, False)
    assert mine.read_text() == "solved"
    names = {"copy": mine.name, "alone": release.name, "twice": f"problems_{mine.name}"}
    for student, name in names.items():
        (tmp_path / "class" / student).mkdir(parents=True)
        (tmp_path / "class" / student / name).touch()
    found, strays = collect(tmp_path / "class", {"00_tiny": None})
    assert set(found) == {("copy", "00_tiny"), ("alone", "00_tiny")}
    assert len(strays) == 1
