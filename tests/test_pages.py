"""`make html`: a chapter is one page, which loads nothing and says what its pictures show."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PAGES = runpy.run_path(str(ROOT / "notebooks" / "pages.py"))


@pytest.fixture(scope="module", params=CHAPTERS, ids=lambda path: path.stem)
def page(request):
    page = PAGES["page"](nbformat.read(request.param, as_version=4), "A chapter")
    return BeautifulSoup(page, "html.parser")


def output(**bundle):
    metadata = {mime: {"alt": 'Boots & "bags"'} for mime in bundle if mime.startswith("image/")}
    return nbformat.v4.new_output("display_data", data=bundle, metadata=metadata)


def test_pictures_formulas_and_widgets():
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    outputs = [
        output(**{"image/png": "AAAA", "text/plain": "<Figure>"}),
        output(**{"image/jpeg": "CCCC", "text/plain": "<Figure>"}),
        output(**{"image/gif": "BBBB", "text/plain": "<Image>"}),
        output(**widget, **{"text/plain": "Run this cell"}),
    ]
    text = "Here $a < b$ and\n\n$$\\frac{c}{d}$$\n\n![a picture](images/01_gan.png) "
    text += "[02](02_vae.ipynb#x) `$HOME`"
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("1", outputs=outputs)]
    soup = BeautifulSoup(PAGES["page"](nbformat.v4.new_notebook(cells=cells), "T"), "html.parser")
    assert soup.title.text == "T"
    assert [(image["src"].partition(";")[0], image["alt"]) for image in soup("img")] == [
        ("data:image/png", "a picture"),
        ("data:image/png", 'Boots & "bags"'),
        ("data:image/jpeg", 'Boots & "bags"'),
        ("data:image/gif", 'Boots & "bags"'),
    ]
    formulas = [(formula.name, formula.text) for formula in soup.select(".tex")]
    assert formulas == [("span", "a < b"), ("div", "\\frac{c}{d}")]
    assert soup.select_one("a[href='02_vae.html#x']")
    assert "Run this cell" in soup.text and "$HOME" in soup.text


def test_a_chapter_loads_nothing(page):
    assert not page.select("script[src], link, iframe")
    styles = "".join(style.text for style in page("style"))
    assert not re.search(r"@import|url\(['\"]?http", styles)
    assert all(image["src"].startswith("data:image/") for image in page("img"))
    assert page.select("div.tex") and page.select("span.tex")
    code = ["script", "style", "pre", "code"]
    told = [text for text in page.strings if not text.find_parent(code)]
    assert "$" not in "".join(told)


def test_the_links_of_a_chapter_lead_somewhere(page):
    places = {element["id"] for element in page.select("[id]")}
    links = [unquote(link["href"]) for link in page.select("a[href]")]
    assert {link for link in links if link[0] == "#" and link[1:] not in places} == set()
    others = {link.partition(".html")[0] for link in links if ".html" in link[:40]}
    assert others and others <= {path.stem for path in CHAPTERS}


@pytest.mark.skipif(shutil.which("node") is None, reason="only a browser runs the page's scripts")
def test_every_formula_becomes_mathml(page):
    """Chromium draws MathML; what KaTeX cannot read it would show in red."""
    formulas = [
        {"tagName": formula.name.upper(), "textContent": formula.text}
        for formula in page.select(".tex")
    ]
    code = "\n".join(
        [
            "globalThis.self = globalThis;",
            f"const formulas = {json.dumps(formulas)};",
            "globalThis.document = { querySelectorAll: () => formulas };",
            *(script.text for script in page("script")),
            "console.log(JSON.stringify(formulas.map(formula => formula.innerHTML)));",
        ]
    )
    result = subprocess.run(["node"], input=code, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    drawn = json.loads(result.stdout)
    assert len(drawn) == len(formulas)
    bad = [
        formula["textContent"]
        for formula, mathml in zip(formulas, drawn, strict=True)
        if "<math" not in mathml or "katex-error" in mathml or "mathcolor" in mathml
    ]
    assert bad == []


def test_every_chapter_becomes_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["pages.py", str(tmp_path / "html")])
    main = PAGES["main"]
    monkeypatch.setitem(main.__globals__, "page", lambda notebook, title: title)
    main()
    pages = {path.stem: path.read_text() for path in (tmp_path / "html").iterdir()}
    assert set(pages) == {path.stem for path in CHAPTERS}
    assert pages["02_vae"] == "02 Variational autoencoders"
