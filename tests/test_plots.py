"""Figures hold what they were given, in the right place."""

import re
from html import unescape

import keras
import numpy as np
import pytest

from aigc_keras import plots, profile


def test_tile_puts_every_image_in_its_place():
    images = np.linspace(-1, 1, 5)[:, None, None, None] * np.ones((1, 3, 4, 1))
    picture = plots.tile(images, columns=2)
    assert picture.shape == (9, 8, 3) and picture.dtype == np.uint8
    for i, level in enumerate((0, 64, 128, 191, 255)):
        row, column = divmod(i, 2)
        block = picture[3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
        np.testing.assert_array_equal(block, level)
    np.testing.assert_array_equal(picture[6:, 4:], 255)  # the empty place is white


@pytest.mark.parametrize("shape", [(4, 28, 28), (4, 28, 28, 2)])
def test_tile_refuses_what_is_no_image(shape):
    with pytest.raises(ValueError, match="images: got shape"):
        plots.tile(np.zeros(shape), 2)


def test_curves_plot_the_numbers():
    history = {"generator_loss": [3.0, 2.0], "kl": np.array([1.0, 0.5]), "other": [0.0, 0.0]}
    axis = plots.curves(history, ["generator_loss", "kl"]).axes[0]
    lines = [line.get_ydata() for line in axis.get_lines()]
    np.testing.assert_array_equal(lines, [[3.0, 2.0], [1.0, 0.5]])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["generator loss", "kl"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", "loss")


def test_bars_have_their_errors_and_numbers():
    figure = plots.bars([2.0, 1.0], [0.1, 0.2], ["a", "b"], ylabel="distance")
    axis = figure.axes[0]
    assert [bar.get_height() for bar in axis.patches] == [2.0, 1.0]
    assert [text.get_text() for text in axis.texts] == ["2", "1"]


def test_grid_names_its_rows():
    images = np.zeros((6, 8, 8, 1))
    figure = plots.grid(images, columns=3, row_labels=["shirt", "shoe"], title="two rows")
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["shirt", "shoe"]
    assert axis.get_title() == "two rows"


def test_lists_are_as_good_as_arrays():
    images, latents = np.zeros((6, 8, 4, 1)), np.random.default_rng(0).normal(size=(4, 2))
    for given in (list(images), images.tolist()):
        figure = plots.grid(given, columns=3, row_labels=np.array(["a", "b"]))
        np.testing.assert_array_equal(figure.axes[0].get_yticks(), [4, 12])
    labels, names = [0, 2, 2, 0], ["a", "nobody", "c"]
    for given in (latents, latents.tolist()):
        axis = plots.latent_map(given, labels, names).axes[0]
        assert [text.get_text() for text in axis.texts] == ["a", "c"]
        for points, text, k in zip(axis.collections, axis.texts, (0, 2), strict=True):
            mine = latents[np.array(labels) == k]
            np.testing.assert_allclose(points.get_offsets(), mine, rtol=1e-6)
            np.testing.assert_allclose(text.get_position(), np.median(mine, axis=0), rtol=1e-6)
    axis = plots.points(latents.tolist(), [latents.tolist()], np.array(["a"])).axes[0]
    np.testing.assert_allclose(axis.collections[1].get_offsets(), latents, rtol=1e-6)


def test_names_on_a_map_do_not_cover_each_other():
    latents = np.random.default_rng(0).normal(size=(300, 2))  # ten classes with nearly one median
    names = [f"class {k}" for k in range(10)]
    axis = plots.latent_map(latents, np.arange(300) % 10, names).axes[0]
    boxes = [text.get_window_extent() for text in axis.texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
    looks = {
        (*points.get_facecolor()[0], len(points.get_paths()[0].vertices))
        for points in axis.collections
    }
    assert len(looks) == 10


def test_bars_named_by_numbers_stand_side_by_side():
    axis = plots.bars([2.0, 1.0], [0.1, 0.2], [64, 128], ylabel="distance").axes[0]
    places = [bar.get_x() + bar.get_width() / 2 for bar in axis.patches]
    np.testing.assert_allclose(places, [text.get_position()[0] for text in axis.texts])


def test_tokens_are_boxes_of_their_width_in_lines():
    figure = plots.tokens(["In", " the", "\n", "春眠", "abc"], [0, 1, 2, 3, 4], "bits", columns=6)
    axis = figure.axes[0]
    boxes = [(round(b.get_x()), round(b.get_y()), round(b.get_width())) for b in axis.patches]
    assert boxes == [(0, 0, 2), (2, 0, 4), (0, 1, 1), (0, 2, 4), (0, 3, 3)]
    assert "".join(text.get_text() for text in axis.texts) == "In the↵春眠abc"
    darkness = [sum(box.get_facecolor()[:3]) for box in axis.patches]
    assert darkness == sorted(darkness, reverse=True) and len(set(darkness)) == 5
    assert figure.axes[1].get_ylabel() == "bits"


def test_attention_shows_who_looks_at_whom():
    weights = np.tril(np.ones((2, 3, 3))) / np.arange(1, 4)[:, None]
    figure = plots.attention(weights, ["a", "\n", "春"], ["first", "second"])
    assert [axis.get_title() for axis in figure.axes] == ["first", "second"]
    for axis, matrix in zip(figure.axes, weights, strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), matrix)
        assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "↵", "春"]


def alt(figure):
    """The text for those who do not see it, as a notebook stores it."""
    _, metadata = figure._repr_mimebundle_(include=None, exclude=None)
    assert metadata["image/png"] == metadata["image/jpeg"]
    return metadata["image/png"]["alt"]


def test_a_figure_says_what_it_shows():
    images = np.zeros((6, 8, 8, 1))
    figure = plots.grid(images, columns=3, row_labels=["shirt", "shoe"], title="Two rows")
    assert alt(figure) == "Two rows, 6 images, rows: shirt, shoe"
    assert alt(plots.strip([images, images[:1]], ["step 1", "step 2"], title="A training")) == (
        "A training. step 1, 6 images. step 2, one image"
    )
    assert alt(plots.curves({"kl_loss": [3.0, np.nan, 2.0]})) == (
        "loss over epoch, kl loss from 3 to 2"
    )
    bars = plots.bars([2.0, 1.0], [0.1, 0.2], ["a", 64], ylabel="distance", title="Bars")
    assert alt(bars) == "Bars, distance, a 2, 64 1"
    latents = np.arange(8.0).reshape(4, 2)
    assert alt(plots.points(latents, [latents[:1]], ["A ring"])) == (
        "A ring, 4 points (real), 1 points (generated)"
    )
    assert alt(plots.latent_map(latents, [0, 0, 1, 1], ["bag", "boot"])) == (
        "latent 2 over latent 1, 4 points, written in it: bag, boot"
    )
    tokens = plots.tokens(["In", " the"], [0, 1], "bits", title="A verse")
    assert alt(tokens) == (
        "A verse; pieces of it are the darker, the higher bits, most of all ' the': In the"
    )
    weights = np.ones((1, 2, 2))
    assert alt(plots.attention(weights, ["a", "b"], ["head"])) == (
        "head, down: the model is here ..., across: ... and looks at, a map of 2 x 2 values, "
        "rows: a, b, columns: a, b"
    )
    diagram = plots.diagram(BOXES, [("z", "G", "in"), ("loss", "G", "learns", 0.3)])
    assert alt(diagram) == "Boxes and arrows: noise to generator (in); loss to generator (learns)"


def test_a_figure_of_ones_own_says_what_it_shows():
    figure, axes = plots.figure(columns=2)
    one, other = axes[0]
    one.errorbar([1, 2], [1, 3], [0.1, 0.1], capsize=4, label="bound")
    one.axhline(4, label="exact")
    one.set(xlabel="samples", ylabel="nats", title=r"$\log p$")
    other.plot([1, 1, 1], [4, 3, 5], "o")
    other.hist([1, 2, 3, 3])
    assert alt(figure) == (
        "log p, nats over samples, exact at 4, bound from 1 to 3. 10 bars up to 2, dots from 3 to 5"
    )
    figure.alt = "As the author says it."
    assert alt(figure) == "As the author says it."
    figure, axes = plots.figure()
    axes[0, 0].plot([1e-9, 5, 2, 3], label="bell")
    axes[0, 0].plot([3, 2, 4, 3.5], label="wave")
    assert alt(figure) == (
        "bell from 0 up to 5, then to 3, wave from 3 down to 2 and up to 4, then to 3.5"
    )
    figure, axes = plots.figure()
    axes[0, 0].barh(["bag", "boot"], [1.0, 2.0])
    assert alt(figure) == "bag 1, boot 2"
    axes[0, 0].set_title(r"$z = \mu + \sigma\varepsilon$, $p_\theta$")
    assert alt(figure).startswith("z = mu + sigma varepsilon, p_theta, ")
    figure, axes = plots.figure()
    axes[0, 0].imshow(np.zeros((8, 8, 3)))
    axes[0, 0].set_title("night")
    assert alt(figure) == "night, a picture"
    figure = plots.grid(np.zeros((6, 8, 8, 1)), alt="Six black squares")
    assert alt(figure) == "Six black squares"


def test_hanzi_have_a_font():
    from matplotlib.font_manager import findfont

    plots.figure()
    assert "NotoSansSC" in findfont("Noto Sans SC", fallback_to_default=False)


def test_show_gives_the_very_source():
    assert "def pick(fast, lesson)" in plots.show(profile.pick).data


def test_shown_code_breaks_between_words_and_stands_alone():
    html = plots.show(profile.pick)._repr_html_()
    assert "white-space: pre-wrap" in html and "word-break: normal" in html
    assert "monospace" in html and "class=" not in html and "<style" not in html
    first, *rest = re.findall(r"<span style=\"display: block; .*?(?=<span style=\"display|$)", html)
    assert 'padding-left: 2.4em; text-indent: -2.4em"' in first  # goes on 4 letters further in
    assert 'padding-left: 4.8em; text-indent: -4.8em"' in rest[0]
    lines = [unescape(re.sub("<.*?>", "", line)) for line in (first, *rest)]
    assert "\n".join(lines).split() == plots.show(profile.pick).data.split()


def test_profile_picks_and_refuses(monkeypatch):
    for i, name in enumerate(profile.NAMES):
        monkeypatch.setenv("AIGC_PROFILE", name)
        assert profile.pick(0, 1) == i
    monkeypatch.delenv("AIGC_PROFILE")
    assert profile.name() == "lesson"
    monkeypatch.setenv("AIGC_PROFILE", "quick")
    with pytest.raises(ValueError, match="AIGC_PROFILE is 'quick'; accepted are fast"):
        profile.pick(0, 1)


BOXES = {
    "z": (0, 0, "noise", "noise"),
    "G": (1, 0, "generator", "network"),
    "loss": (2, 1, "", "loss"),
}


def test_diagram_draws_what_it_is_given():
    figure = plots.diagram(BOXES, [("z", "G", "in"), ("loss", "G", "learns", 0.3)])
    axis = figure.axes[0]
    places = {text.get_text(): text.get_position() for text in axis.texts if text.get_text()}
    assert places["noise"] == (0, 0) and places["generator"] == (1, 0)
    assert places["in"] == (0.5, 0)
    assert places["learns"][1] > 0.5  # bent to the right of an arrow that goes left: upwards
    arrows = [text.arrow_patch for text in axis.texts if getattr(text, "arrow_patch", None)]
    assert [arrow.get_linestyle() for arrow in arrows] == ["-", "--"]


def test_diagram_refuses_what_is_not_there():
    with pytest.raises(ValueError, match="boxes: got 'net' for a, accepted are data, network"):
        plots.diagram({"a": (0, 0, "", "net")}, [])
    with pytest.raises(ValueError, match="arrows: got z to D, accepted are z, G, loss"):
        plots.diagram(BOXES, [("z", "D", "")])


def test_shapes_are_those_of_the_layers():
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Conv2D(4, 3, name="here")(inputs)
    table = plots.shapes(keras.Model(inputs, outputs)).data.splitlines()
    assert table[3] == "| Conv2D | 6 x 6 x 4 | 40 |" and table[-1] == "| all | | 40 |"
    with pytest.raises(ValueError, match="network: got"):
        plots.shapes("a network")
