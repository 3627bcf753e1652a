"""What students hand in: found in their folders, and read without trust.

Of a student's file nothing goes further but the text of her cells and the pictures in them.
"""

import collections
import copy
import glob
import json
import os
import re
import shutil
import stat
import urllib.parse
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

MEGABYTE = 10**6
PREFIX = "problems_"  # of a student's copy, so that its tab is not named like the chapter's
LARGEST_FILE, LARGEST_TEXT, LARGEST_PICTURES = 64 * MEGABYTE, MEGABYTE, 8 * MEGABYTE


def grade_id(cell):
    """The name of a cell that was handed out, "cell" for a student's own."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "cell")


def hand_out(exercises, name):
    """(A student's own copy of a problem set, whether it was made just now)."""
    mine = exercises / "mine" / f"{PREFIX}{name}.ipynb"
    if mine.exists():
        return mine, False
    mine.parent.mkdir(exist_ok=True)
    shutil.copyfile(exercises / "release" / name / f"{name}.ipynb", mine)
    return mine, True


def collect(submissions, problem_sets):
    """The notebooks of a class, {(student, problem set): [files]}, and what cannot be graded.

    No link is followed and no file is opened.
    """
    found, strays = collections.defaultdict(list), {}
    accepted = f"accepted is <student>/<problem set>.ipynb with one of {', '.join(problem_sets)}."

    def unreadable(error):
        strays[os.path.relpath(error.filename, submissions)] = f"{error.strerror}."

    for folder, folders, files in os.walk(submissions, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            place = path.relative_to(submissions)
            if name.startswith("."):
                continue  # a copy that Jupyter keeps
            if path.is_symlink() and path.suffix != ".ipynb":
                strays[str(place)] = "a link: accepted are files and folders of the student's own."
            elif path.suffix != ".ipynb":
                continue
            elif len(place.parts) > 1 and (name := path.stem.removeprefix(PREFIX)) in problem_sets:
                found[place.parts[0], name].append(path)
            else:
                strays[str(place)] = accepted
    for path in sorted(submissions.iterdir()):
        if path.name == ".ipynb_checkpoints" or path.is_symlink() or not path.is_dir():
            continue
        student = path.name
        mine = [key for key in found if key[0] == student]
        unusual = re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", student)
        first = student[0] in ".=+-@"  # hidden, or a formula where the table is opened
        if glob.has_magic(student) or student != student.strip() or unusual or first:
            # nbgrader would not find it, or could not write it.
            strays[student] = (
                "rename the folder: no *, ? or [, no space at its ends, "
                "none of . = + - @ at its beginning, only text."
            )
            for key in mine:
                del found[key]
        elif not mine and not any(Path(place).parts[0] == student for place in strays):
            strays[student] = "no notebook in this folder."
    return found, strays


def read(path):
    """The text of a file that may be anything.

    Raises:
        ValueError: it is not a regular file of its own, not UTF-8, or too large.
    """
    kind = stat.S_IFMT(os.lstat(path).st_mode)
    if kind != stat.S_IFREG:
        named = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}.get(kind, "a special file")
        raise ValueError(f"no notebook, but {named}")
    # Another one may have taken its place: follow nothing, wait for nothing.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(
            f"larger than {LARGEST_FILE // MEGABYTE} MB: clear the outputs and save it again"
        )
    return content.decode("utf-8-sig")


def cells_of(text):
    """The cells of a notebook as [(grade_id or None, kind, source, attached pictures)].

    Raises:
        ValueError: this is no notebook.
    """
    notebook = json.loads(text)
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError("no notebook")
    return [parts_of(cell) for cell in cells]


def parts_of(cell):
    kind, source = (cell.get("cell_type"), cell.get("source")) if isinstance(cell, dict) else (0, 0)
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if kind not in ("code", "markdown", "raw") or not isinstance(source, str):
        raise ValueError("a cell without a kind or a text")
    source = source.encode("utf-8", "replace").decode("utf-8")  # half of a character
    name = cell
    for key in ("metadata", "nbgrader", "grade_id"):
        name = name.get(key) if isinstance(name, dict) else None
    attached = cell.get("attachments") if kind == "markdown" else None
    pictures = {
        file: {mime: data for mime, data in formats.items() if is_picture(mime, data)}
        for file, formats in (attached.items() if isinstance(attached, dict) else ())
        if isinstance(formats, dict)
    }
    return name if isinstance(name, str) else None, kind, source, pictures


def is_picture(mime, data):
    known = mime in ("image/png", "image/jpeg", "image/gif", "image/webp")
    return known and isinstance(data, str) and re.fullmatch(r"[A-Za-z0-9+/=\s]*", data) is not None


def prepared(path, handed_out):
    """A student's work in a copy of what was handed out, and the names of locked cells she changed.

    Of each cell that is hers to complete the text is taken; her own cells stand after the one that
    they followed. What she changed, deleted, moved or copied of the rest is as it was handed out.
    Of a cell that was copied or split the first part which says something counts as the cell.

    Raises:
        ValueError: it is not a notebook, or not the one that was handed out.
    """
    try:
        cells = cells_of(read(path))
    except RecursionError:
        raise ValueError("no notebook that can be opened: too deep") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"no notebook that can be opened: {error}") from error
    if sum(len(source) for _, _, source, _ in cells) > LARGEST_TEXT:
        raise ValueError(f"no notebook that can be opened: more than {LARGEST_TEXT} characters")
    given = {grade_id(cell): cell for cell in handed_out.cells}
    solutions = {name for name, *_ in cells if name and name.endswith("-solution")}
    if not solutions or solutions - given.keys():
        raise ValueError("not the notebook that was handed out: other tasks, or none")

    names = [grade_id(cell) for cell in handed_out.cells]
    follows = dict(zip(names, [None, *names], strict=False))
    copies, last = collections.defaultdict(list), None
    for position, (name, _, source, _) in enumerate(cells):
        if name in given:
            said = source.strip() not in ("", given[name].source.strip())
            copies[name].append((position, said, last == follows[name]))
            last = name
    answers, changed = {}, []
    for name, found in copies.items():
        locked = given[name].metadata.nbgrader.locked
        if locked and all(said for _, said, _ in found):
            changed.append(name)
        candidates = found if locked else [each for each in found if each[1]] or found
        in_place = [each for each in candidates if each[2]]
        answers[name] = (in_place or candidates)[0][0]

    completed, after, place = {}, collections.defaultdict(list), None
    room = LARGEST_PICTURES
    for position, (name, kind, source, pictures) in enumerate(cells):
        room -= sum(len(data) for formats in pictures.values() for data in formats.values())
        pictures = pictures if room >= 0 else {}
        if name in given:
            handed = given[name]
            if answers[name] == position:
                place = name
                if not handed.metadata.nbgrader.locked:
                    completed[name] = source, pictures
                continue
            if handed.metadata.nbgrader.locked or source.strip() in ("", handed.source.strip()):
                continue  # a copy that says nothing new
        after[place].append(own_cell(f"own-{position}", kind, source, pictures))

    notebook = copy.deepcopy(handed_out)
    notebook.cells = after[None]
    for cell in copy.deepcopy(handed_out.cells):
        name = grade_id(cell)
        if name in completed:
            cell.source, pictures = completed[name]
            if cell.cell_type == "markdown":
                cell.source, cell.attachments = shown(cell.source, pictures), pictures
        notebook.cells += [cell, *after[name]]
    return notebook, changed


def own_cell(id, kind, source, pictures):
    if kind == "markdown":
        return new_markdown_cell(shown(source, pictures), id=id, attachments=pictures)
    return (new_code_cell if kind == "code" else new_raw_cell)(source, id=id)


def shown(text, pictures):
    """A Markdown text that asks only for pictures which are there."""

    def known(match):
        there = pictures.get(urllib.parse.unquote(match[1])) or pictures.get(match[1])
        return match[0] if there else f"missing-{match[0]}"

    return re.sub(r"""attachment:([^\s)"'>]*)""", known, text)
