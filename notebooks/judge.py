"""Runs a student's notebook in a kernel that is shut in, with a guard around handed out cells."""

import random
import re
import secrets
import shlex
import subprocess
from pathlib import Path

import guard
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_output
from nbgrader.preprocessors import Execute
from traitlets import List, Unicode

ROOT = Path(__file__).resolve().parents[1]
TOOLS = guard.load(ROOT / "aigc_keras" / "exercises.py")
TEXT, OUTPUTS, ROOM = (
    20_000,
    500,
    20_000_000,
)  # characters a text, outputs a cell, characters in all


def cage(folder, hidden):
    """The beginning of a command that sees `hidden` folders empty; [] where that cannot be done.

    The command may write in `folder`, whose siblings it does not see, and nowhere else. Its
    processes end with it, those in the background as well. Linux only.
    """
    own, common = shlex.quote(str(folder)), shlex.quote(str(folder.parent))
    lines = [
        f"set -e; cd {own}; mount -t tmpfs none {common}; mkdir {own}",
        f"mount --no-canonicalize --bind /proc/self/cwd {own}; cd {own}",
        *map(shlex.join, read_only()),
        "mount -t tmpfs none /dev/shm",
    ]
    for path in map(Path.resolve, hidden):
        if path.is_dir():
            lines.append(f"mount -t tmpfs -o ro none {shlex.quote(str(path))}")
    # Once more, so that these mounts belong to somebody else and stay.
    lines.append('exec unshare --user --map-root-user --mount "$@"')
    new = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]
    command = [*new, "sh", "-c", "\n".join(lines), "cage"]
    try:
        works = subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        works = False
    return command if works else []


def read_only():
    """Commands that take the right to write from all file systems that hold files."""
    mounts = Path("/proc/self/mounts")
    for line in mounts.read_text().splitlines() if mounts.exists() else []:
        _, point, _, options, *_ = line.split()
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)
        if not re.match("/(proc|sys)(/|$)", point):
            # Those that are set must be named again: one may add to them, but take none away.
            kept = re.findall(r"\b(?:nosuid|nodev|noexec|noatime|nodiratime|relatime)\b", options)
            yield ["mount", "-o", ",".join(["remount", "bind", "ro", *kept]), point]


class Kernel(AsyncKernelManager):
    """A kernel in a cage."""

    cage = List(Unicode(), help="the beginning of its command").tag(config=True)

    def format_kernel_cmd(self, extra_arguments=None):
        return [*self.cage, *super().format_kernel_cmd(extra_arguments)]


class Run(Execute):
    """nbgrader's Execute for what strangers wrote: a cell can lose itself, not the notebook.

    A cell that ends the kernel, or that nothing can stop, fails, and the notebook is run again
    without it. A test cell in which the guard was deceived fails.
    """

    folder = Unicode(help="where the notebook runs").tag(config=True)

    def __init__(self, **kwargs):
        given = {"shutdown_kernel": "immediate", "store_widget_state": False}
        super().__init__(kernel_manager_class=Kernel, **given, **kwargs)

    def preprocess(self, nb, resources):
        resources["metadata"]["path"] = self.folder
        self.lost = {}
        while True:
            self.at, self.room = None, ROOM
            self.guard = f"_guard_{secrets.token_hex(4)}"
            try:
                return super().preprocess(nb, resources)
            except (CellTimeoutError, DeadKernelError) as error:
                if self.at is None:
                    raise  # the kernel did not even begin
                died = isinstance(error, DeadKernelError)
                self.lost[self.at] = (
                    "The kernel died: this cell ended it or wanted too much memory."
                    if died
                    else "This cell did not stop when it was told to, or showed too much."
                )

    def preprocess_cell(self, cell, resources, index):
        if index == 0:
            self.ask(index, guard.beginning(self.guard, TOOLS.__file__))
        self.at = index
        if index in self.lost:
            cell.outputs = [failed("CellLost", self.lost[index])]
            return cell, resources
        marks = cell.metadata.get("nbgrader", {})
        handed_out = cell.cell_type == "code" and marks.get("locked")
        tests = bool(handed_out and marks.get("grade"))
        if handed_out:
            self.ask(index, f"import {self.guard}\n{self.guard}.enter({tests})")
        cell, resources = super().preprocess_cell(cell, resources, index)
        if handed_out:
            numbers = random.sample(range(1, 100), 4)
            question = (
                f"import {self.guard}\nassert {self.guard}.leave({numbers}), {self.guard}.said"
            )
            answer, *replaced = self.ask(index, question).split("\n")
            if tests and cell.source.strip() and cell.get("execution_count") is None:
                replaced.append("what runs a cell")
            if answer != guard.canary(numbers, TOOLS):
                replaced.append("what the tests are made of")
            if tests and replaced:
                said = f"This notebook replaced {', '.join(dict.fromkeys(replaced))}."
                cell.outputs.insert(0, failed("Replaced", said))
        if cell.cell_type == "code":
            cell.outputs = self.tidy(cell.outputs)
        return cell, resources

    def process_message(self, msg, cell, cell_index):
        """What came from the kernel; of a flood, as much as `tidy` keeps: each takes its time."""
        full = len(cell.outputs) >= OUTPUTS and not self.clear_before_next_output
        if full and msg["msg_type"] == "display_data":
            return None
        return super().process_message(msg, cell, cell_index)

    def ask(self, index, code):
        """Run a line of the judge's own; return the message of the error that it ends with."""
        cell, place = new_code_cell(code), self.nb.cells[index]
        self.execute_cell(cell, index, store_history=False)
        self.nb.cells[index] = place
        return next((o.evalue for o in cell.outputs if o.output_type == "error"), "")

    def tidy(self, outputs):
        """What a page can hold of a cell's outputs.

        nbgrader gives points by the first error or result: errors come first, and of the results
        only the cell's own, the last, stays one.
        """
        errors = [o for o in outputs if o.output_type == "error"]
        results = [o for o in outputs if o.output_type == "execute_result"]
        kept = []
        for output in [*errors, *(o for o in outputs if o.output_type != "error")][:OUTPUTS]:
            if output.output_type == "error":
                traceback = [cut(line) for line in output.traceback[:100]]
                output = new_output(
                    "error", ename=cut(output.ename), evalue=cut(output.evalue), traceback=traceback
                )
            elif output.output_type == "stream":
                output = new_output("stream", name=output.name, text=cut(output.text))
            else:
                data = {k: clean(v) for k, v in output.data.items() if isinstance(v, str)}
                data |= {k: cut(v) for k, v in data.items() if k == "text/plain"}
                counts = not errors and results and output is results[-1]
                more = {"execution_count": output.execution_count} if counts else {}
                output = new_output("execute_result" if counts else "display_data", data, **more)
            size = len(str(output))
            if size > self.room and output.output_type != "error":
                output = new_output("stream", text=f"[{size} characters of output are left out]\n")
            self.room -= len(str(output))
            kept.append(output)
        return kept


def failed(name, said):
    return new_output("error", ename=name, evalue=said, traceback=[f"{name}: {said}"])


def clean(text):
    """The text, in characters that a file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def cut(text):
    text = clean(str(text))
    left_out = len(text) - TEXT
    return f"{text[:TEXT]}\n[{left_out} characters are left out]\n" if left_out > 0 else text
