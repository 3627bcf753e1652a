"""Write each chapter as a page for a browser, which needs no Jupyter and no network.

python notebooks/pages.py FOLDER

Formulas become MathML, which browsers draw themselves, by the copy of KaTeX that JupyterLab brings.
"""

import functools
import html
import json
import re
import string
import sys
import unicodedata
from pathlib import Path

import jupyterlab
import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

NOTEBOOKS = Path(__file__).resolve().parent
STYLE = """
main { max-width: 62rem; margin: auto; }
.jp-InputPrompt, .jp-OutputPrompt { display: none; }
.jp-OutputArea-output img { max-width: 100%; }
.jp-OutputArea-output pre { word-break: normal; overflow-wrap: anywhere; }
span.tex { font-size: 1.1em; }
div.tex { margin: 1em 0; overflow-x: auto; }
.tex mtd:nth-child(odd) { text-align: right; text-align: -webkit-right; }
.tex mtd:nth-child(even) { text-align: left; }
"""
# What JupyterLab's file holds goes into `modules`, of which there is one: KaTeX.
BEFORE = "const modules = {}; self.%s = { push: ([, found]) => Object.assign(modules, found) };"
AFTER = """
const katex = {};
const define = (target, parts) => {
  for (const name in parts) Object.defineProperty(target, name, { get: parts[name] });
};
Object.values(modules)[0](null, katex, { d: define });
for (const formula of document.querySelectorAll(".tex")) {
  const displayMode = formula.tagName === "DIV";
  const options = { displayMode, output: "mathml", throwOnError: false };
  const mathml = katex.default.renderToString(formula.textContent, options);
  formula.innerHTML = mathml
    // Browsers know no other letters than Unicode's.
    .replace(/<mi mathvariant="([a-z-]+)">([A-Z])<\\/mi>/g, (whole, kind, letter) =>
      kind in letters ? `<mi mathvariant="normal">${letters[kind][letter]}</mi>` : whole)
    // log x, but log(x): after a function's name.
    .replace(/<mo>\u2061<\\/mo>(?!<mo stretchy="false">\\()/g, '<mspace width="0.17em"/>');
}
"""


def letters(kind):
    """The capital letters of one of Unicode's mathematical alphabets."""
    found = {}
    for letter in string.ascii_uppercase:
        name = f"{kind} CAPITAL {letter}"
        try:
            found[letter] = unicodedata.lookup(f"MATHEMATICAL {name}")
        except KeyError:  # some are older than the alphabet
            found[letter] = unicodedata.lookup(name)
    return found


LETTERS = {"double-struck": letters("DOUBLE-STRUCK"), "script": letters("SCRIPT")}


class Renderer(IPythonRenderer):
    """Markdown with formulas in elements of their own, which are read where scripts do not run."""

    def inline_math(self, body):
        return f'<span class="tex">{html.escape(body)}</span>'

    def block_math(self, body):
        # Within a paragraph, which a browser would end at a division.
        return f'</p><div class="tex">{html.escape(body)}</div><p>'


class Exporter(HTMLExporter):
    """nbconvert's page, with the pictures and formulas in it."""

    @pass_context
    def markdown2html(self, context, source):
        renderer = Renderer(escape=False, embed_images=True, path=str(NOTEBOOKS))
        return MarkdownWithMath(renderer=renderer).render(source)


@functools.cache
def katex():
    """The scripts that turn the page's formulas into MathML."""
    for path in sorted((Path(jupyterlab.__file__).parent / "static").glob("*.js")):
        chunk = path.read_text(encoding="utf-8")
        if "KaTeX parse error" in chunk:
            (name,) = set(re.findall(r"self\.(\w*Chunk\w*)", chunk))
            before = f"const letters = {json.dumps(LETTERS)}; {BEFORE % name}"
            return "".join(f"<script>{part}</script>\n" for part in (before, chunk, AFTER))
    raise FileNotFoundError("JupyterLab has no KaTeX where versions 4.4 to 4.6 have it.")


def page(notebook, title):
    """A notebook as one HTML text that loads nothing."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # other chapters are pages, too
            cell.source = re.sub(r"\((\d\d_\w+)\.ipynb", r"(\1.html", cell.source)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            for mime in ("image/png", "image/jpeg", "image/gif"):
                if mime in data:
                    alt = html.escape(output.metadata.get(mime, {}).get("alt", ""))
                    picture = f'<img src="data:{mime};base64,{data.pop(mime)}" alt="{alt}">'
                    data["text/html"] = picture
    resources = {"metadata": {"name": title}}
    text, _ = Exporter().from_notebook_node(notebook, resources)
    text = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)  # nbconvert's load others
    text = text.replace("</head>", f"<style>{STYLE}</style></head>")
    return text.replace("</body>", f"{katex()}</body>")


def main():
    (folder,) = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
        (folder / f"{path.stem}.html").write_text(page(notebook, title), encoding="utf-8")
        print(folder / f"{path.stem}.html")


if __name__ == "__main__":
    main()
