"""What a student's kernel runs around the handed out cells: her code shall leave the tests alone.

It is a part of her process and can be outwitted: it finds what is replaced by accident or with
little effort. It knows no answers.
"""

import builtins
import importlib.util
import random
import sys
import types
from pathlib import Path

import numpy as np

said = ""  # the answers of the last canary, and what was replaced

_shell = None
_kept = {}  # module: {name: function or class}, from before the first cell
_given = {}  # the names that cells which were handed out have bound, with their values
_course = types.ModuleType("__main__")  # the namespace of the test cells
_before = {}
_replaced = []
_absent = object()
_students = None  # the student's module and names, while a test cell runs


def load(path):
    """`aigc_keras.exercises` from its file, without TensorFlow and the rest of the library."""
    spec = importlib.util.spec_from_file_location("aigc_keras.exercises", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def beginning(name, path):
    """What a kernel runs first, so that `import name` gives this module from then on."""
    source = Path(__file__).read_text(encoding="utf-8")
    return (
        "import sys, types\n"
        f"sys.modules[{name!r}] = types.ModuleType({name!r})\n"
        f"exec({source!r}, vars(sys.modules[{name!r}]))\n"
        f"sys.modules[{name!r}].begin(get_ipython(), {path!r})\n"
        "del sys, types"
    )


def begin(shell, path):
    """Remember what is to be left alone."""
    global _shell
    _shell = shell
    sys.modules["aigc_keras.exercises"] = load(path)
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("builtins", "numpy") or name == "aigc_keras.exercises":
            # IPython sets `input` for each cell.
            _kept[module] = {k: v for k, v in vars(module).items() if callable(v) and k != "input"}


def enter(tests):
    """Before a cell that was handed out.

    tests: it runs in a namespace of its own, where what was handed out has its first value and a
    student's `len` is not `len`.
    """
    global _students
    _replaced.clear()
    _put_back()
    if tests:
        own = {k: v for k, v in _shell.user_ns.items() if not hasattr(builtins, k)}
        vars(_course).update({**own, **_given})
        _students = _shell.user_module, _shell.user_ns
        _shell.user_module, _shell.user_ns = _course, vars(_course)
    _before.clear()
    _before.update(_shell.user_ns)


def leave(numbers):
    """After that cell: the student gets its names; `said` is what the canary says of numbers."""
    global _students, said
    new = {
        k: v for k, v in _shell.user_ns.items() if k[0] != "_" and _before.get(k, _absent) is not v
    }
    _given.update(new)
    if _students:
        _shell.user_module, _shell.user_ns = _students
        _shell.user_ns.update(new)
        _students = None
    said = canary(numbers, sys.modules.get("aigc_keras.exercises"))
    _put_back()
    said += "".join(f"\n{name}" for name in dict.fromkeys(_replaced))


def canary(numbers, exercises):
    """What the tools of the tests say of some numbers, right and wrong, as one text."""
    answers = []

    def ask(check, *given):
        try:
            answers.append(check(*given))
        except AssertionError as error:
            # NumPy's messages depend on how a student likes her arrays to be printed.
            answers.append(str(error) if check is not np.testing.assert_allclose else "differs")

    shuffled = random.Random(numbers[0]).sample(numbers, len(numbers))
    for got, wanted in [*zip(numbers, shuffled, strict=True), (numbers[0], numbers[0])]:
        ask(exercises.expect, "canary", got, wanted, "none")
        ask(exercises.expect, "canary", [got, 1], np.array([wanted, 1]), "none")
        ask(exercises.expect_one_of, "canary", str(got), (str(wanted),))
        ask(exercises.wrong_names, "canary", {"a": str(got)}, {"a": str(wanted)})
        ask(np.testing.assert_allclose, got, wanted)
        ask(lambda a, b: bool(np.isclose(a, b)), got, wanted)
        ask(lambda a, b: bool(np.array_equal([a], [b])), got, wanted)
        ask(
            lambda a, b: (a == b, a < b, isinstance(a, str), any([a == b]), all([a != b])),
            got,
            wanted,
        )
    answers.append((len(numbers), sum(numbers), max(numbers), sorted(numbers), abs(-numbers[0])))
    return repr(answers)


def _put_back():
    """Put back what was replaced and note its name."""
    for module, names in _kept.items():
        for name, value in names.items():
            if vars(module).get(name, _absent) is not value:
                _replaced.append(f"{module.__name__}.{name}")
                setattr(module, name, value)
    manager = _shell.input_transformer_manager
    fresh = type(manager)()
    for owner, name, value in (
        (_shell, "ast_transformers", []),
        (_shell, "input_transformers_post", []),
        *(
            (manager, kind, getattr(fresh, kind))
            for kind in ("cleanup_transforms", "line_transforms")
        ),
    ):
        if len(getattr(owner, name)) != len(value):
            _replaced.append(f"IPython's {name}")
            setattr(owner, name, value)
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "aigc_keras":
            _note_own(name, module)
            for key, value in list(vars(module).items()):
                if isinstance(value, type) and value.__module__ == name:
                    _note_own(f"{name}.{key}", value)
    _note_own("IPython", _shell)


def _note_own(name, owner):
    """Note the student's own functions in a module, a class or an object that is not hers."""
    for key, value in list(vars(owner).items()):
        if isinstance(value, types.FunctionType | type) and value.__module__ == "__main__":
            _replaced.append(f"{name}.{key}")
