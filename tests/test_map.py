"""MAP.md: every section of the texts has a row, and every row leads to what there is."""

import json
import re
from operator import attrgetter
from pathlib import Path

import jupytext

import aigc_keras

ROOT = Path(__file__).parents[1]
MAP = (ROOT / "notebooks" / "MAP.md").read_text(encoding="utf-8")
TEXTS = json.loads((ROOT / "data" / "texts.json").read_text(encoding="utf-8"))
ROWS = re.findall(r"^\| (\d[\d.]*) (.+?) \| (.+?) \| (.+?) \|$", MAP, re.MULTILINE)
LINKS = dict(re.findall(r"^\[(\d\d §\d+.*)\]: (\S+)$", MAP, re.MULTILINE))


def sections():
    """Where each heading of the chapters is, as a link in Lab -> its chapter and section."""
    found = {}
    for path in sorted((ROOT / "notebooks" / "source").glob("[0-9][0-9]_*.py")):
        for cell in jupytext.read(path, fmt="py:percent").cells:
            if cell.cell_type == "markdown":
                for heading in re.findall(r"^##+ (.+)$", cell.source, re.MULTILINE):
                    if number := re.match(r"\d+", heading):
                        section = f"{path.stem[:2]} §{number[0]}"
                    found[f"{path.stem}.ipynb#{heading.replace(' ', '-')}"] = section
    return found


def test_every_heading_has_its_row_in_order():
    wanted = []
    for text in TEXTS:
        wanted += [f"## {text['number']} {text['title']}", f"*{text['english']}*"]
        wanted += [f"| {number} {heading} |" for number, heading in text["headings"]]
    assert re.findall(r"^(?:## .+|\*.+\*$|\| \d.*?\|)", MAP, re.MULTILINE) == wanted
    assert len(ROWS) == sum(len(text["headings"]) for text in TEXTS)


def test_every_link_leads_to_a_section_and_is_used():
    found = sections()
    for label, target in LINKS.items():
        assert found[target] == label.partition(":")[0], label
    assert set(re.findall(r".\[(.+?)\]", MAP)) == set(LINKS)
    assert "](" not in MAP  # a link that is not checked here
    for label in re.findall(r"corrected in \[(.+?)\]", MAP):
        assert "Corrections" in LINKS[label], label


def test_every_name_is_in_the_library():
    names = set(re.findall(r"`(.+?)`", MAP))
    assert names
    for name in names:
        assert callable(attrgetter(name)(aigc_keras)), name


def test_every_row_says_where_the_section_is():
    says = re.compile(r"\[\d\d §|not yet|README|its parts")
    for (number, _, _, where), following in zip(ROWS, [*ROWS[1:], ("",)], strict=True):
        assert says.search(where), number
        assert (where == "its parts") == following[0].startswith(f"{number}."), number
