"""Other processes for tests, forked from one that has imported the library: that costs seconds.

The one that is forked from does nothing else; so no thread of TensorFlow's runs in it yet.
"""

import contextlib
import importlib
import io
import multiprocessing
import os
import traceback
from pathlib import Path

from nbformat.v4 import new_output

TOOLS = Path(__file__).parents[1] / "aigc_keras" / "exercises.py"
FORKS, SPAWNS = (multiprocessing.get_context(kind) for kind in ("forkserver", "spawn"))
# A process has but one server: it has what the workers of notebooks/classroom.py want, too.
PRELOAD = ["aigc_keras", "tensorflow_datasets", "IPython", "jupytext", "nbgrader.apps"]
FORKS.set_forkserver_preload(PRELOAD)


def start(function, *arguments, log, environment=None, context=FORKS):
    """A process that calls `function`; what it prints goes into the file `log`."""
    FORKS.set_forkserver_preload(PRELOAD)  # whatever was imported meanwhile
    process = context.Process(target=enter, args=(function, arguments, log, environment or {}))
    process.start()
    return process


def enter(function, arguments, log, environment):
    """In the process of its own."""
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    function(*arguments)


class Answers:
    """A process that answers; called with a request it gives the answer, or fails with its error.

    module: the name of the one whose function `answer` it calls; "spawn" as `context` gives a
    process with nothing else in it.
    """

    def __init__(self, module, log, context=FORKS):
        self.log = log
        self.connection, other = FORKS.Pipe()
        self.process = start(serve, other, module, log=log, context=context)
        other.close()

    def send(self, *request):
        self.connection.send(request)

    def receive(self):
        """The answer, or None if the process ended without one."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            return None

    def __call__(self, *request):
        self.send(*request)
        answer = self.receive()
        if answer is None or isinstance(answer, str):
            raise AssertionError(answer or f"the process ended:\n{self.log.read_text()[-3000:]}")
        return answer

    def end(self):
        self.process.kill()
        self.process.join()


def serve(connection, module):
    answer = importlib.import_module(module).answer
    while True:
        try:
            request = connection.recv()
        except EOFError:
            break
        try:
            result = answer(*request)
        except Exception:
            result = traceback.format_exc()
        connection.send(result)


def run_notebook(notebook, seconds=300):
    """The notebook with the outputs of its code cells, each with the guard around it as a judge's.

    Nothing is shut in: for notebooks of this repository.
    """
    heard, tells = FORKS.Pipe(duplex=False)
    environment = {"MPLBACKEND": "agg"}
    process = start(run_here, notebook, tells, log=os.devnull, environment=environment)
    tells.close()
    try:
        if not heard.poll(seconds):
            raise TimeoutError(f"a notebook runs for more than {seconds} s.")
        notebook.cells = heard.recv()
    finally:
        process.kill()
        process.join()
    return notebook


def run_here(notebook, tells):
    import guard  # knows what it finds in the process
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    guard.begin(shell, TOOLS)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            with contextlib.redirect_stdout(io.StringIO()):
                cell.outputs = outputs(shell, guard, cell)
    tells.send(notebook.cells)


def outputs(shell, guard, cell):
    """What a cell leaves behind: an error, or the result of its last line."""
    marks = cell.metadata.nbgrader
    if marks.locked:
        guard.enter(marks.grade)
    result, made = shell.run_cell(cell.source), []
    if marks.locked:
        guard.leave([1, 2, 3, 4])
        made += [failed("Replaced", name) for name in guard.said.split("\n")[1:] if marks.grade]
    if not result.success:
        error = result.error_before_exec or result.error_in_exec
        made.append(failed(type(error).__name__, str(error)))
    elif result.result is not None:
        data = {"text/plain": repr(result.result)}
        made.append(new_output("execute_result", data, execution_count=1))
    return made


def failed(name, said):
    return new_output("error", ename=name, evalue=said, traceback=[])
