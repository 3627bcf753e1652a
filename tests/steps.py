"""What a reader must open to know what one `train_step` does: `python tests/steps.py`.

From `train_step` on, every function and method of the library that is called, and what these call;
lines without blank ones and docstrings. Not opened are refusals (`check_...`, `guards`) and what
several replicas need (`replicas`): with good data and one replica they do nothing. The words of the
base class (`unpack`, `noise`, `descend`, `track`) are the same in all models: opened once, and
counted apart.
"""

import ast
import inspect
import textwrap

import aigc_keras as ak

CLOSED = ("aigc_keras.guards", "aigc_keras.replicas")
MODELS = {
    "GAN": ak.gan.GAN,
    "VAE": ak.vae.VAE,
    "SemiSupervisedVAE": ak.semi_supervised.SemiSupervisedVAE,
    "VQVAE": ak.vq_vae.VQVAE,
    "diffusion": ak.diffusion.DiffusionModel,
    "GPT": ak.text.GPT,
    "Seq2Seq": ak.seq2seq.Seq2Seq,
    "TextImageModel": ak.contrastive.TextImageModel,
    "Classifier": ak.tuning.Classifier,
    "Encoder": ak.tuning.Encoder,
}


def method(classes, name):
    """(function, class) of the first of `classes` that has it, or None."""
    for cls in classes:
        if name in vars(cls):
            found = inspect.getattr_static(cls, name)
            found = found.fget if isinstance(found, property) else found
            return getattr(found, "__func__", found), cls
    return None


def called(function, cls, owner):
    """What the source of `function`, which `cls` has from `owner`, calls or reads."""
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Attribute):
            value = node.value
            if isinstance(value, ast.Name) and value.id == "self":
                yield method(cls.__mro__, node.attr)
            elif isinstance(value, ast.Call) and getattr(value.func, "id", None) == "super":
                yield method(cls.__mro__[cls.__mro__.index(owner) + 1 :], node.attr)
        elif isinstance(node, ast.Name):
            yield function.__globals__.get(node.id), None


def opened(cls):
    """The functions, by what they are called; those of the base class and others."""
    base, own, todo = {}, {}, [method(cls.__mro__, "train_step")]
    while todo:
        function, owner = todo.pop() or (None, None)
        module = getattr(function, "__module__", None) or ""
        if not inspect.isfunction(function) or not module.startswith("aigc_keras"):
            continue
        name = function.__qualname__
        if module in CLOSED or function.__name__.startswith("check_") or name in base | own:
            continue
        (base if module == "aigc_keras.model" else own)[name] = function
        todo += called(function, cls, owner or cls)
    return base, own


def n_lines(functions):
    """Their lines, without blank ones and docstrings."""
    total = 0
    for function in functions.values():
        source = textwrap.dedent(inspect.getsource(function))
        text = ast.get_docstring(ast.parse(source).body[0], clean=False) or ""
        for part, sign in ((source, 1), (text, -1)):
            total += sign * sum(bool(line.strip()) for line in part.splitlines())
    return total


if __name__ == "__main__":
    for name, cls in MODELS.items():
        for kind, found in zip(("base", "own"), opened(cls), strict=True):
            counts = f"{len(found):2} functions, {n_lines(found):3} lines"
            print(f"{name:17} {kind:4} {counts}: {', '.join(found)}")
