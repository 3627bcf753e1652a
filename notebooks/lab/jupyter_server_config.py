"""JupyterLab's settings in `make lab`."""

from pathlib import Path

import nbformat
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

CHAPTERS = Path(__file__).resolve().parents[1]


class Contents(AsyncLargeFileManager):
    """Saves a chapter with the metadata that its file has.

    Lab writes this machine's Python version into every notebook that is merely opened, and git
    would then refuse to bring a new edition of the chapter.
    """

    async def save(self, model, path=""):
        file = Path(self._get_os_path(path))
        if model["type"] == "notebook" and file.parent == CHAPTERS and file.exists():
            had = nbformat.read(file, as_version=4).metadata
            keep = {key: had[key] for key in ("kernelspec", "language_info") if key in had}
            model["content"]["metadata"] |= keep
        return await super().save(model, path)


c = get_config()  # noqa: F821
c.ServerApp.contents_manager_class = Contents
c.LabServerApp.extra_labextensions_path = [str(Path(__file__).parent / "labextensions")]
# The teacher's tools: grading runs outside of the students' Lab.
NBGRADER = ("assignment_list", "course_list", "formgrader", "validate_assignment")
c.ServerApp.jpserver_extensions = {f"nbgrader.server_extensions.{name}": False for name in NBGRADER}
