"""Figures that can be read from the last row: grids, strips, curves, points, source code.

Every function returns a Matplotlib figure, closed, so that a notebook shows it once. The first one
sets the course's style (`STYLE`) for all figures of the session. A notebook stores with the picture
what it shows, for those who do not see it: `figure.alt`, or else titles, axes, names and numbers.
"""

import functools
import importlib.resources
import inspect
import re
import textwrap

import numpy as np

from aigc_keras.guards import (
    check_functional,
    check_labels,
    check_number,
    check_numbers,
    check_sizes,
    extra,
)

# Okabe and Ito's palette: distinguishable with every common kind of colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "axes.grid": True,
    "axes.prop_cycle": f"cycler('color', {list(COLORS)})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 14,
    "figure.dpi": 100,
    "font.family": ["DejaVu Sans", "Noto Sans SC"],  # the second for what the first lacks: 汉字
    "font.size": 14,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 2,
}


def figure(columns=1, rows=1, size=(6.0, 4.0), **kwargs):
    """(figure, array of axes) in the course's style; `size` in inches of one axis."""
    with extra("plots"):
        import matplotlib.pyplot as plt

    check_sizes(columns=columns, rows=rows)
    if np.shape(size) != (2,):
        raise ValueError(f"size: got {size!r}, accepted are a width and a height in inches.")
    _register_hanzi()
    plt.rcParams.update(STYLE)
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        squeeze=False,
        layout="constrained",
        **kwargs,
    )
    plt.close(fig)
    fig._repr_mimebundle_ = functools.partial(_for_notebook, fig)
    return fig, axes


def _for_notebook(fig, **kwargs):
    """No data, for the notebook draws a figure in the format that is set, but the text for it."""
    alt = getattr(fig, "alt", None) or _describe(fig)
    return {}, {kind: {"alt": alt} for kind in ("image/png", "image/jpeg")}


@functools.cache
def _register_hanzi():
    with extra("plots"):
        from matplotlib.font_manager import fontManager

        fonts = importlib.resources.files("pylopdf_fonts_zh_cn")
    fontManager.addfont(str(fonts / "NotoSansSC-Regular.otf"))


def _check_lengths(**columns):
    """A ValueError unless the first has items, and the others as many."""
    first, *_ = columns
    for name, items in columns.items():
        good = hasattr(items, "__len__") and getattr(items, "shape", None) != ()
        if not good or isinstance(items, str | dict | set):
            raise ValueError(f"{name}: got {items!r:.80}, accepted is a list or an array.")
        if len(items) == 0 or len(items) != len(columns[first]):
            accepted = (
                "at least one" if name == first else f"as many as {first}, {len(columns[first])}"
            )
            raise ValueError(f"{name}: got {len(items)}, accepted is {accepted}.")


def _check_points(name, points):
    accepted = "accepted are finite numbers of shape (N, 2)"
    check_numbers(name, points, accepted)
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{name}: got shape {points.shape}, {accepted}.")
    return points


def _check_strings(name, items):
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"{name}: got {items!r:.80}, accepted are strings.")


def _check_positive(name, number):
    if check_number(name, number, low=0) == 0:
        raise ValueError(f"{name}: got 0, accepted is a number > 0.")


def tile(images, columns):
    """Images (N, H, W, C) in [-1, 1] as one uint8 picture (rows * H, columns * W, 3)."""
    columns = check_number("columns", columns, low=1, integer=True)
    accepted = "accepted are finite floats of shape (N, H, W, 1 or 3) with N >= 1"
    floats = check_numbers("images", images, accepted)
    if np.asarray(images).dtype.kind != "f":
        raise ValueError(f"images: got {np.asarray(images).dtype}, {accepted}.")
    images = floats
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"images: got shape {images.shape}, {accepted}.")
    n, height, width, _ = images.shape
    rows = -(-n // columns)
    picture = np.full((rows * columns, height, width, 3), 255, "uint8")
    picture[:n] = np.clip(np.round((images + 1.0) * 127.5), 0, 255)
    picture = picture.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return picture.reshape(rows * height, columns * width, 3)


def _draw(axis, images, columns):
    picture = tile(images, columns)
    count = f"{len(images)} images" if len(images) > 1 else "one image"
    axis.imshow(picture, interpolation="nearest", label=count)
    axis.grid(False)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    return picture


def grid(images, columns=8, title=None, row_labels=None, column_labels=None, inches=0.8, alt=None):
    """One grid of images (N, H, W, C) in [-1, 1]; `inches` is the width of one image.

    `alt` says what they show to those who do not see them, where title and labels do not.
    """
    check_number("columns", columns, low=1, integer=True)
    _check_positive("inches", inches)
    _check_lengths(images=images)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    for name, labels, n in (("row", row_labels, rows), ("column", column_labels, columns)):
        if labels is not None:
            _check_lengths(**{f"{name}s": range(n), f"{name}_labels": labels})
    margin = 0 if row_labels is None else 1.2
    fig, [[axis]] = figure(size=(inches * columns + margin, inches * rows + 0.3))
    picture = _draw(axis, images, columns)
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    if row_labels is not None:
        axis.set_yticks([(i + 0.5) * height for i in range(rows)], row_labels)
    if column_labels is not None:
        axis.set_xticks([(i + 0.5) * width for i in range(columns)], column_labels)
    axis.tick_params(length=0)
    if title:
        axis.set_title(title, fontsize=15)
    fig.alt = alt
    return fig


def strip(batches, labels, columns=4, title=None, inches=2.6):
    """Several grids side by side, each with its label: stages of a training, or models."""
    _check_lengths(batches=batches, labels=labels)
    _check_positive("inches", inches)
    fig, axes = figure(columns=len(batches), size=(inches, inches * 1.15))
    for axis, images, label in zip(axes[0], batches, labels, strict=True):
        _draw(axis, images, columns)
        axis.set_title(label, fontsize=13)
    if title:
        fig.suptitle(title, fontsize=15)
    return fig


def curves(history, keys=None, xlabel="epoch", ylabel="loss"):
    """Training curves from a `History`, or a dict of lists."""
    history = getattr(history, "history", history)
    known = list(history) if isinstance(history, dict) else []
    keys = known if keys is None else keys
    good = isinstance(keys, list | tuple) and all(key in known for key in keys)
    if not good or not known or not all(isinstance(key, str) for key in known):
        shown = ", ".join(map(str, known)) if isinstance(history, dict) else repr(history)
        raise ValueError(
            f"keys: got {keys!r} for a history of {shown or 'nothing'}, accepted are keys of it."
        )
    for key in keys:
        try:  # a loss may have become NaN
            good = np.asarray(history[key], "float64").ndim == 1
        except (TypeError, ValueError):
            good = False
        if not good:
            raise ValueError(
                f"history: got {history[key]!r:.80} as {key}, accepted are numbers (N,)."
            )
    fig, [[axis]] = figure(size=(6.0, 3.6))
    for key in keys:
        epochs = np.arange(1, len(history[key]) + 1)
        marker = "o" if len(epochs) < 20 else None
        axis.plot(epochs, history[key], marker=marker, label=key.replace("_", " "))
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend()
    return fig


def points(real, fakes, labels):
    """2-D points (N, 2): each of `fakes` (orange) over `real` (grey), one panel each."""
    _check_lengths(fakes=fakes, labels=labels)
    real = _check_points("real", real)
    fakes = [_check_points(f"fakes[{i}]", fake) for i, fake in enumerate(fakes)]
    fig, axes = figure(columns=len(fakes), size=(3.5, 4.1))
    for axis, fake, label in zip(axes[0], fakes, labels, strict=True):
        axis.scatter(*real.T, s=3, color="#999999", label="real")
        axis.scatter(*fake.T, s=3, color=COLORS[1], label="generated")
        axis.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", title=label)
        axis.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=2, markerscale=4)
    return fig


def latent_map(latents, labels, names):
    """Latents (N, 2), coloured by their labels (N,), the name of each class at its median.

    A name that would cover another one moves up. From the eighth class on, colours come again with
    another marker.
    """
    latents = _check_points("latents", latents)
    _check_lengths(latents=latents, labels=labels)
    _check_lengths(names=names)
    labels = check_labels(labels, len(latents), len(names))
    fig, [[axis]] = figure(size=(8.0, 7.0))
    for k, name in enumerate(names):
        mine = latents[labels == k]
        if len(mine) == 0:
            continue
        color, marker = COLORS[k % len(COLORS)], "ox^s"[k // len(COLORS) % 4]
        axis.scatter(*mine.T, s=4 if marker == "o" else 14, alpha=0.6, color=color, marker=marker)
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": color, "pad": 2}
        axis.text(*np.median(mine, axis=0), name, ha="center", va="center", fontsize=12, bbox=box)
    axis.set(xlabel="latent 1", ylabel="latent 2", aspect="equal")
    _move_apart(fig, axis)
    return fig


def _move_apart(fig, axis):
    """Move texts up, from the lowest one on, until none covers another."""
    fig.draw_without_rendering()
    step = 0.01 * np.ptp(axis.get_ylim())
    placed = []
    for text in sorted(axis.texts, key=lambda text: text.get_position()[1]):
        while any(text.get_window_extent().padded(3).overlaps(other) for other in placed):
            text.set_y(text.get_position()[1] + step)
        placed.append(text.get_window_extent().padded(3))


def bars(values, errors, labels, ylabel, title=None):
    """One bar a label, with its error bar and its number."""
    _check_lengths(values=values, errors=errors, labels=labels)
    accepted = "accepted are finite numbers (N,), of errors >= 0"
    for name, numbers in (("values", values), ("errors", errors)):
        numbers = check_numbers(name, numbers, accepted)
        if numbers.ndim != 1 or (name == "errors" and numbers.min() < 0):
            raise ValueError(f"{name}: got {numbers!r:.80}, {accepted}.")
    labels = [str(label) for label in labels]  # numbers would be places
    fig, [[axis]] = figure(size=(1.5 * len(values) + 1.5, 4.2))
    axis.bar(labels, values, yerr=errors, capsize=6)
    for i, (value, error) in enumerate(zip(values, errors, strict=True)):
        axis.text(i, value + error, f"{value:.3g}", ha="center", va="bottom")
    axis.set_ylabel(ylabel)
    axis.grid(axis="x", visible=False)
    axis.margins(y=0.12)
    if title:
        axis.set_title(title, fontsize=15)
    return fig


def tokens(pieces, values, label=None, columns=76, title=None):
    """A text in boxes, one a piece (str), each as dark as its value; a line has `columns` letters.

    `label` says what the values are, on a scale beside them. Line breaks in a piece are shown as ↵;
    after a piece that is one, a new line begins. A hanzi is as wide as two letters.
    """
    with extra("plots"):
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LinearSegmentedColormap, Normalize
        from matplotlib.patches import Rectangle

    _check_lengths(pieces=pieces, values=values)
    _check_strings("pieces", pieces)
    if check_numbers("values", values, "accepted are finite numbers").ndim != 1:
        raise ValueError(f"values: got shape {np.shape(values)}, accepted is (N,).")
    check_number("columns", columns, low=1, integer=True)
    boxes, x, y = [], 0, 0
    for piece, value in zip(pieces, values, strict=True):
        shown = piece.replace("\n", "↵")
        width = sum(1 + (character > "\u2e7f") for character in shown)
        if x and x + width > columns:
            x, y = 0, y + 1
        boxes.append((x, y, width, shown, value))
        x, y = (0, y + 1) if piece == "\n" else (x + width, y)
    rows = boxes[-1][1] + 1
    fig, [[axis]] = figure(size=(0.135 * columns + 1.6, 0.34 * rows + (0.6 if title else 0.3)))
    shades = LinearSegmentedColormap.from_list("shades", ["#f4f4f4", COLORS[4]])
    scale = ScalarMappable(Normalize(0, max(np.max(values), 1e-9)), shades)
    axis.set(xlim=(0, columns), ylim=(rows, 0), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    for x, y, width, shown, value in boxes:
        box = Rectangle((x + 0.06, y + 0.06), width - 0.12, 0.88, color=scale.to_rgba(value), lw=0)
        axis.add_patch(box)
        for character in shown:  # one by one: two fonts have no common width
            step = 1 + (character > "\u2e7f")
            mono = {"family": ["DejaVu Sans Mono", "Noto Sans SC"], "fontsize": 13}
            axis.text(x + step / 2, y + 0.52, character, ha="center", va="center", **mono)
            x += step
    if label:
        fig.colorbar(scale, ax=axis, label=label, aspect=max(6, 4 * rows), pad=0.01)
    if title:
        axis.set_title(title, fontsize=15, loc="left")
    fig.alt = f"{title or 'A text'}; pieces of it are the darker, the higher {label or 'the value'}"
    fig.alt += f", most of all {pieces[np.argmax(values)]!r}: {''.join(pieces)}"
    return fig


def attention(weights, pieces, titles):
    """How much each piece of a text (row) looks at each (column): maps (N, T, T) side by side."""
    _check_lengths(weights=weights, titles=titles)
    _check_lengths(pieces=pieces)
    _check_strings("pieces", pieces)
    check_numbers("weights", weights, "accepted are finite numbers (N, T, T)")
    if np.shape(weights)[1:] != (len(pieces),) * 2:
        raise ValueError(
            f"weights: got shape {np.shape(weights)}, accepted is (N, T, T) for the T = "
            f"{len(pieces)} pieces."
        )
    side = 0.27 * len(pieces) + 1.2
    fig, axes = figure(columns=len(weights), size=(side, side + 0.3))
    names = [piece.replace("\n", "↵") for piece in pieces]
    for axis, matrix, title in zip(axes[0], weights, titles, strict=True):
        axis.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
        axis.grid(False)
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=11)
        axis.set_yticks(range(len(names)), names, fontsize=11)
        axis.set_title(title, fontsize=13)
    axes[0, 0].set_ylabel("the model is here ...")
    axes[0, 0].set_xlabel("... and looks at")
    return fig


def _describe(fig):
    """What a figure shows, in words: of each panel title, axes, and the names and numbers in it."""
    panels = (", ".join(filter(None, _describe_panel(axis))) for axis in fig.axes)
    return ". ".join(filter(None, (_plain(fig.get_suptitle()), *panels)))


def _describe_panel(axis):
    from matplotlib.collections import PathCollection

    title, x, y = map(_plain, (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()))
    if axis.get_label() == "<colorbar>":
        yield y and f"colours are {y}"
        return
    yield title
    if x and not axis.images:
        yield f"{y or 'values'} over {x}"
    elif y:
        yield f"down: {y}, across: {x}" if x else y
    columns, rows = _names(axis.xaxis), _names(axis.yaxis)
    for image in axis.images:
        height, width, *colors = image.get_array().shape
        values = "a picture" if colors else f"a map of {height} x {width} values"
        yield _plain(image.get_label()) or values
        yield rows and f"rows: {', '.join(rows)}"
        yield columns and f"columns: {', '.join(columns)}"
    bars = [container for container in axis.containers if hasattr(container, "patches")]
    for container in bars:
        flat = container.orientation == "horizontal"
        names = rows if flat else columns
        values = [bar.get_width() if flat else bar.get_height() for bar in container.patches]
        yield _plain(container.get_label())
        if len(names) == len(values):
            yield ", ".join(f"{a} {b:.3g}" for a, b in zip(names, values, strict=True))
        else:
            yield f"{len(values)} bars up to {max(values):.3g}"
    lines = [(line.get_label(), line) for line in axis.lines if line.get_label() != "_nolegend_"]
    with_errors = [container for container in axis.containers if container not in bars]
    lines += [(bar.get_label(), bar[0]) for bar in with_errors if bar[0] is not None]
    for name, line in lines:
        y = np.asarray(line.get_ydata(), "float64")
        y = y[np.isfinite(y)]
        if len(y):
            dots = line.get_linestyle() == "None"
            course = _course(np.sort(y) if dots else y)
            yield f"{_plain(name) or ('dots' if dots else 'a line')} {course}"
    counts = {}
    for collection in axis.collections:
        if isinstance(collection, PathCollection):
            name = _plain(collection.get_label())
            counts[name] = counts.get(name, 0) + len(collection.get_offsets())
    for name, count in counts.items():
        yield f"{count:,} points" + (f" ({name})" if name else "")
    texts = [_plain(text.get_text()) for text in axis.texts]
    if any(texts) and not bars:
        yield f"written in it: {', '.join(filter(None, texts))}"


def _course(y):
    """A curve in words: its two ends, and between them where it goes beyond both."""
    y = np.where(np.abs(y) < 1e-3 * np.ptp(y), 0.0, y)
    first, last, low, high = y[0], y[-1], y.min(), y.max()
    if low == high:
        return f"at {first:.3g}"
    margin = 0.05 * (high - low)
    beyond = [f" down to {low:.3g}"] if low < min(first, last) - margin else []
    beyond += [f" up to {high:.3g}"] if high > max(first, last) + margin else []
    return f"from {first:.3g}{' and'.join(beyond)}{', then' if beyond else ''} to {last:.3g}"


def _names(side):
    """The names at the ticks of an axis, if they are names."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    formatter = side.get_major_formatter()
    if not isinstance(formatter, FixedFormatter | FuncFormatter | StrCategoryFormatter):
        return []
    return [_plain(str(name)) for name in formatter.format_ticks(side.get_majorticklocs())]


def _plain(text):
    """A label as one says it: in one line, without TeX; nothing of one that Matplotlib made up."""
    text = re.sub(r"(?<=[a-z])\\", " ", text)  # of \sigma\varepsilon, two words
    return "" if text.startswith("_") else " ".join(re.sub(r"-\n|[\\${}]", "", text).split())


KINDS = {"data": "#ffffff", "network": "#cfe3f1", "loss": "#fbe3b5", "noise": "#e8e8e8"}


def diagram(boxes, arrows, unit=(2.2, 1.1)):
    """Boxes and arrows: what goes where in a model.

    Args:
        boxes: dict from a name to (x, y, text, kind): the place of its middle in units, y upwards;
            kind is one of `KINDS`.
        arrows: (from, to, text), names of boxes; with a fourth part, how far it bends to the right
            (0.3 of its length, say), it is dashed: who learns from what.
        unit: width and height of a unit in inches; a box is 0.8 wide and 0.6 high.
    """
    for name, (_, _, _, kind) in boxes.items():
        if kind not in KINDS:
            raise ValueError(f"boxes: got {kind!r} for {name}, accepted are {', '.join(KINDS)}.")
    for start, end, *_ in arrows:
        if not {start, end} <= set(boxes):
            raise ValueError(f"arrows: got {start} to {end}, accepted are {', '.join(boxes)}.")
    x, y = ([box[i] for box in boxes.values()] for i in (0, 1))
    limits = {"xlim": (min(x) - 0.5, max(x) + 0.5), "ylim": (min(y) - 1, max(y) + 1)}
    size = [unit[i] * float(np.ptp(v)) for i, v in enumerate(limits.values())]
    fig, [[axis]] = figure(size=size)
    axis.set(**limits)
    axis.axis("off")
    drawn = {}
    for name, (x, y, text, kind) in boxes.items():
        style = {"boxstyle": "round,pad=0.45", "facecolor": KINDS[kind], "edgecolor": "#333333"}
        drawn[name] = axis.text(x, y, text, ha="center", va="center", fontsize=14, bbox=style)
    for start, end, text, *bends in arrows:
        (bend,) = bends or (0.0,)
        style = {"arrowstyle": "-|>", "color": COLORS[1] if bend else "#333333", "lw": 1.8}
        style |= {"linestyle": "--" if bend else "-", "connectionstyle": f"arc3,rad={bend}"}
        ends = {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        (x0, y0), (x1, y1) = (boxes[name][:2] for name in (start, end))
        axis.annotate("", (x1, y1), (x0, y0), arrowprops={**style, **ends})
        # At the middle of the curve, which lies half as far out as the point that bends it.
        shift = bend / 2 * (y1 - y0) * unit[1] / unit[0], -bend / 2 * (x1 - x0) * unit[0] / unit[1]
        middle = (x0 + x1) / 2 + shift[0], (y0 + y1) / 2 + shift[1]
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        label = {"fontsize": 12, "color": style["color"], "bbox": white} if text else {}
        axis.text(*middle, text, ha="center", va="center", **label)
    said = {name: _plain(box[2]) or name for name, box in boxes.items()}
    fig.alt = "Boxes and arrows: " + "; ".join(
        f"{said[start]} to {said[end]}" + (f" ({_plain(text)})" if text else "")
        for start, end, text, *_ in arrows
    )
    return fig


def shapes(network):
    """The layers of a network as a table: what each gives, and how many weights it has."""
    from IPython.display import Markdown

    check_functional("network", network)
    lines = ["| layer | gives | weights |", "|:--|:--|--:|"]
    for layer in network.layers:
        outputs = layer.output if isinstance(layer.output, list) else [layer.output]
        gives = ", ".join(" x ".join(map(str, output.shape[1:])) or "1" for output in outputs)
        lines.append(f"| {type(layer).__name__} | {gives} | {layer.count_params():,} |")
    return Markdown("\n".join([*lines, f"| all | | {network.count_params():,} |"]))


def show(thing):
    """The source code of a function, method or class, highlighted: the very lines that run."""
    with extra("course"):
        from IPython.display import Code

    try:
        if not callable(thing):
            raise TypeError
        source = inspect.getsource(thing)
    except (TypeError, OSError):  # an object, such as a model; not written in Python; or in a shell
        raise ValueError(
            f"thing: got {thing!r:.80}, accepted is a function, a method or a class with source in "
            "a file; of an object, its type."
        ) from None
    code = Code(textwrap.dedent(source), language="python")
    code._repr_html_ = functools.partial(_highlighted, code.data)
    return code


def _highlighted(source):
    """Python as HTML that needs no style sheet. A line too long for the window goes on indented."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    formatter = HtmlFormatter(noclasses=True, nowrap=True)
    colored = highlight(source, PythonLexer(stripnl=False), formatter).splitlines()
    lines = []
    for line, html in zip(source.splitlines(), colored, strict=True):
        indent = 0.6 * (len(line) - len(line.lstrip()) + 4)  # a letter is 0.6 em wide
        style = f"display: block; padding-left: {indent:.1f}em; text-indent: -{indent:.1f}em"
        lines.append(f'<span style="{style}">{html or chr(10)}</span>')
    return (
        '<pre style="background: #f8f8f8; color: #222222; margin: 0; padding: 8px; '
        "white-space: pre-wrap; word-break: normal; font-size: 0.93em; "
        f"font-family: Menlo, Consolas, 'DejaVu Sans Mono', monospace\">{''.join(lines)}</pre>"
    )
