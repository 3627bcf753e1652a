"""`make lab`: what students see, and chapters that stay as they are when they are opened."""

import asyncio
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jupyterlab_server.config import get_federated_extensions
from traitlets.config import Config

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
LAB = NOTEBOOKS / "lab"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def javascript(content):
    """What Lab sends back of a notebook: in JavaScript 1.0 is 1."""
    whole = json.dumps(content)
    return json.loads(whole, parse_float=lambda x: float(x) if float(x) % 1 else int(float(x)))


@pytest.fixture
def contents(tmp_path):
    """A contents manager with the course's settings for a copy of the chapters' folder."""
    (tmp_path / "lab").mkdir()
    settings = shutil.copy(LAB / "jupyter_server_config.py", tmp_path / "lab")
    config = Config()
    runpy.run_path(settings, init_globals={"get_config": lambda: config})
    return config.ServerApp.contents_manager_class(root_dir=str(tmp_path))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_that_is_opened_stays_as_it_is(contents, tmp_path, path):
    """Lab saves a notebook that was merely opened, with the Python of the machine in it."""
    copy = Path(shutil.copy(path, tmp_path))
    model = asyncio.run(contents.get(copy.name))
    model["content"] = javascript(model["content"])
    model["content"]["metadata"]["language_info"]["version"] = "3.99.0"
    model["content"]["metadata"]["kernelspec"]["display_name"] = "Another name"
    asyncio.run(contents.save(model, copy.name))
    assert copy.read_bytes() == path.read_bytes()


def test_what_was_changed_is_saved(contents, tmp_path):
    copy = Path(shutil.copy(CHAPTERS[0], tmp_path))
    model = asyncio.run(contents.get(copy.name))
    model["content"]["cells"][0]["source"] = "# Mine"
    asyncio.run(contents.save(model, copy.name))
    assert json.loads(copy.read_text())["cells"][0]["source"] == ["# Mine"]
    asyncio.run(contents.save(model, "new.ipynb"))  # has no metadata to keep
    assert (tmp_path / "new.ipynb").exists()


@pytest.mark.parametrize(("user", "options"), [(0, ["--allow-root"]), (1000, [])])
def test_start(monkeypatch, tmp_path, user, options):
    """Lab refuses to be started by root, who is the only user of many containers."""
    for name in ("lab.py", "submissions.py"):
        shutil.copy(NOTEBOOKS / name, tmp_path)
    release = Path("exercises", "release", "00_tiny", "00_tiny.ipynb")
    (tmp_path / release).parent.mkdir(parents=True)
    (tmp_path / release).write_text("released")
    called = []
    monkeypatch.setattr(os, "getuid", lambda: user, raising=False)
    monkeypatch.setattr(os, "execv", lambda program, command: called.append(command))
    monkeypatch.setattr(sys, "argv", ["lab.py", "--no-browser"])
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "")
    runpy.run_path(str(tmp_path / "lab.py"))
    first = str(tmp_path / "01_gan.ipynb")
    assert called == [[sys.executable, "-m", "jupyterlab", first, "--no-browser", *options]]
    assert os.environ["JUPYTER_CONFIG_PATH"] == str(tmp_path / "lab")
    mine = tmp_path / "exercises" / "mine" / "problems_00_tiny.ipynb"
    assert mine.read_text() == "released"
    mine.write_text("solved")
    runpy.run_path(str(tmp_path / "lab.py"))
    assert mine.read_text() == "solved"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_links_the_copy_that_lab_makes(path):
    text = path.read_text(encoding="utf-8")
    assert f"(exercises/mine/problems_{path.name})" in text
    assert (NOTEBOOKS / "exercises" / "release" / path.stem / path.name).exists()
    assert "exercises/release" not in text


def test_students_see_no_teachers_tools_and_no_news():
    hidden = json.loads((LAB / "labconfig" / "page_config.json").read_text())
    assert hidden["disabledExtensions"] == {"@jupyter/nbgrader": True}
    settings = json.loads((LAB / "labconfig" / "default_setting_overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


EXTENSION = LAB / "labextensions" / "aigc-alt"
USE_IT = """
const image = {}, model = { metadata: { "image/gif": { alt: "A film" } } };
const lab = { render: async () => {}, node: { querySelector: () => image } };
const factories = { "image/png": { defaultRank: 90, createRenderer: () => lab } };
const rendermime = {
  getFactory: type => factories[type],
  addFactory: factory => { for (const type of factory.mimeTypes) factories[type] = factory; }
};
const label = { textContent: "alpha" }, handle = {
  closest: () => ({ querySelector: () => label }),
  setAttribute: (name, value) => { handle[name] = value; }
};
globalThis.document = { querySelectorAll: () => [handle] };
globalThis.MutationObserver = class { constructor(f) { this.f = f; } observe() { this.f(); } };
const packages = { "@jupyterlab/rendermime": { "4.6": { get: async () => () => ({}) } } };
const { init, get } = window._JUPYTERLAB["aigc-alt"];
init(PACKAGES);
get("./extension").then(async module => {
  const found = module();
  for (const plugin of found) plugin.activate({}, rendermime);
  if (found.length)
    await factories["image/gif"].createRenderer({ mimeType: "image/gif" }).render(model);
  console.log(JSON.stringify([found.length, image.alt, handle["aria-label"]]));
});
"""


def test_lab_finds_the_extension(tmp_path):
    config = Config()
    settings = LAB / "jupyter_server_config.py"
    runpy.run_path(str(settings), init_globals={"get_config": lambda: config})
    (found,) = get_federated_extensions(config.LabServerApp.extra_labextensions_path).values()
    assert (EXTENSION / found["jupyterlab"]["_build"]["load"]).exists()


@pytest.mark.skipif(shutil.which("node") is None, reason="only a browser runs an extension of Lab")
@pytest.mark.parametrize(
    ("packages", "seen"), [("packages", [1, "A film", "alpha"]), ("{}", [0, None, None])]
)
def test_pictures_and_sliders_say_what_they_are(packages, seen):
    """In a JupyterLab that is built otherwise nothing happens: it must start in any case."""
    code = "globalThis.window = globalThis;" + (EXTENSION / "alt.js").read_text()
    code += USE_IT.replace("PACKAGES", packages)
    result = subprocess.run(["node"], input=code, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == seen
