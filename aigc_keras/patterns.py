"""Style images drawn by code, free of rights: brush strokes, a mosaic, an ink wash, waves.

`draw` gives the same picture for the same seed; another size shows it sharper or coarser.
"""

import numpy as np
from PIL import Image, ImageDraw

from aigc_keras.guards import check_choice, check_number, extra

_OVERSAMPLE = 3  # drawn so many times larger, then averaged: smooth edges


def draw(name, size=256, seed=0):
    """One of `NAMES` as a picture, float32 (size, size, 3) in [-1, 1].

    size: pixels, 32 to 1024. seed: a non-negative integer, another one gives another picture.

    Raises ValueError for an unknown name, a size or a seed out of range.
    """
    check_choice("name", name, NAMES)
    size = check_number("size", size, 32, below=1025, integer=True)
    check_number("seed", seed, 0, below=2**32, integer=True)
    canvas = _PAINTERS[name](np.random.default_rng(seed), size * _OVERSAMPLE)
    image = Image.fromarray(np.uint8(np.clip(canvas, 0, 1) * 255 + 0.5)).reduce(_OVERSAMPLE)
    return np.asarray(image, "float32") / 127.5 - 1


# --- shared tools: colours and heights are in [0, 1], places in units of the picture's side -----


def _colors(*codes):
    return np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes])


def _noise(rng, side, cells, octaves=1):
    """Smooth noise (side, side), about -1 to 1, with `cells` bumps along the side; `cells` may be
    a pair (rows, columns). Each octave has twice the bumps at half the height."""
    rows, columns = (cells, cells) if np.isscalar(cells) else cells
    total = np.zeros((side, side), "float32")
    for octave in range(octaves):
        grid = rng.uniform(-1, 1, (rows * 2**octave + 1, columns * 2**octave + 1))
        image = Image.fromarray(grid.astype("float32")).resize((side, side), Image.BICUBIC)
        total += np.asarray(image) * 0.5**octave
    return total


def _at(field, places):
    """Values of a field (side, side, ...) at places (..., 2), given as (x, y)."""
    side = len(field)
    x, y = np.clip((np.moveaxis(places, -1, 0) * side).astype(int), 0, side - 1)
    return field[y, x]


def _blend(colors, at):
    """Colours (..., 3) at positions 0 to 1 along a row of colours."""
    at = np.clip(at, 0, 1) * (len(colors) - 1)
    low = np.minimum(at.astype(int), len(colors) - 2)
    part = (at - low)[..., None]
    return colors[low] * (1 - part) + colors[low + 1] * part


def _light(height, strength):
    """How much brighter a relief (side, side) is than a plane when the light is at top left."""
    side = len(height)
    down, right = np.gradient(height)
    return np.clip((down + right) * strength * side / 512, -1, 1)


def _apart(rng, count, low, high, distance):
    """Places (count, 2) from `low` to `high` with more than `distance` between any two."""
    places = []
    while len(places) < count:
        place = rng.uniform(low, high, 2)
        if all(np.hypot(*(place - other)) > distance for other in places):
            places.append(place)
    return np.array(places)


# --- the four styles ---------------------------------------------------------------------------


def _strokes(rng, side):
    """Oil paint in short thick strokes along a whirling stream, after Van Gogh's night skies."""
    with extra("style"):
        from scipy.ndimage import gaussian_filter
    night = _colors("0b1746", "12307f", "1f56ad", "3f8fc9", "8cc7cf", "e9e3b0", "f6c945", "e8912d")
    x, y = np.meshgrid((np.arange(side) + 0.5) / side, (np.arange(side) + 0.5) / side)
    stream = 0.10 * _noise(rng, side, 3, 2) + 0.35 * y
    glow = np.zeros((side, side))
    for i, (cx, cy) in enumerate(_apart(rng, 6, 0.06, 0.94, 0.27)):  # whirls
        reach = (0.13, 0.09)[i % 2] * rng.uniform(0.85, 1.2)
        far = np.hypot(x - cx, y - cy)
        stream += rng.choice([-1, 1]) * 1.2 * reach * np.exp(-((far / (1.3 * reach)) ** 2))
        glow += np.exp(-((far / (0.55 * reach)) ** 2)) * 1.1
        glow += 0.42 * np.exp(-(((far - 1.25 * reach) / (0.22 * reach)) ** 2))
    down, right = np.gradient(stream)
    flow = np.stack([down, -right], axis=-1)
    flow /= np.linalg.norm(flow, axis=-1, keepdims=True) + 1e-9
    tone = 0.30 + 0.20 * np.sin(26 * stream + 2 * _noise(rng, side, 4)) + 0.62 * glow

    paint = Image.fromarray(np.uint8(255 * _blend(night, tone - 0.1)))
    relief = Image.new("L", (side, side), 0)
    brush, press = ImageDraw.Draw(paint), ImageDraw.Draw(relief)
    bristles = 5
    for count, length, width in ((900, 0.13, 0.020), (2200, 0.075, 0.012), (2600, 0.045, 0.007)):
        place = rng.uniform(-0.06, 1.06, (count, 2))
        steps = 7
        paths = [place]
        for _ in range(steps):
            paths.append(paths[-1] + _at(flow, paths[-1]) * length / steps)
        paths = np.stack(paths, axis=1)
        middle = paths[:, steps // 2]
        shade = _at(tone, middle) + rng.normal(0, 0.07, count)
        color = _blend(night, shade) + rng.normal(0, 0.03, (count, 3))
        odd = rng.random(count) < 0.04  # a stroke of the complement makes the blue sing
        color[odd] = night[rng.choice([4, 5, 7], odd.sum())]
        tangent = np.gradient(paths, axis=1)
        tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-9
        normal = np.stack([-tangent[..., 1], tangent[..., 0]], axis=-1)
        width = width * rng.uniform(0.7, 1.3, count)
        tint = rng.normal(0, 0.045, (count, bristles, 1))
        hair = np.clip((color[:, None] + tint) * 255, 0, 255).astype(int)
        rise = np.clip(150 + 60 * rng.standard_normal((count, bristles)), 40, 255).astype(int)
        for i in range(count):
            thick = max(1, round(width[i] / bristles * 1.5 * side))
            for j in range(bristles):
                offset = (j / (bristles - 1) - 0.5) * width[i]
                ends = slice(j % 2, steps + 1 - (j * 3 + i) % 2)  # frayed ends
                line = ((paths[i, ends] + offset * normal[i, ends]) * side).ravel().tolist()
                brush.line(line, fill=tuple(hair[i, j].tolist()), width=thick)
                edge = 1 - 0.5 * (j == bristles // 2)
                press.line(line, fill=int(rise[i, j] * edge), width=thick)
    height = gaussian_filter(np.asarray(relief, "float32") / 255, 0.0012 * side)
    light = _light(height, 2.6)[..., None]
    color = np.asarray(paint, "float32") / 255
    bright, dark = np.maximum(light, 0), np.minimum(light, 0)
    return color + 0.42 * bright * (1.05 - color) + 0.45 * dark * color


def _mosaic(rng, side):
    """Glass and stone tiles set in rings around medallions, with grout between them."""
    with extra("style"):
        from scipy.spatial import cKDTree
    glass = _colors("0f2f6b", "1f6fa8", "3fb0ac", "f2ead3", "e0a526", "c8502d", "7c1f2d", "1c5b45")
    centers = _apart(rng, 9, -0.05, 1.05, 0.26)
    owner_of = cKDTree(centers)
    tiles, colors = [], []
    for k, center in enumerate(centers):
        step = rng.uniform(0.019, 0.026)
        order = rng.permutation(len(glass))
        order = order[order != 3][:5]
        radius, ring = 0.45 * step, 0
        while radius < 0.75:
            count = max(1, round(2 * np.pi * radius / (step * rng.uniform(0.9, 1.25))))
            angle = 2 * np.pi * (np.arange(count) + rng.uniform() + rng.normal(0, 0.07, count))
            angle /= count
            places = center + (radius + rng.normal(0, 0.05 * step, (count, 1))) * np.stack(
                [np.cos(angle), np.sin(angle)], axis=1
            )
            mine = owner_of.query(places)[1] == k
            band = order[(ring // 2) % len(order)]
            choice = np.full(count, band)
            if ring % 4 == 3:  # a ring of cream, with petals of the next colour
                petals = np.sin(angle * (5 + k % 4)) > 0.3
                choice = np.where(petals, order[(ring // 2 + 2) % len(order)], 3)
            stray = rng.random(count) < 0.05
            choice = np.where(stray, rng.integers(len(glass), size=count), choice)
            tiles.append(places[mine])
            colors.append(glass[choice][mine])
            radius += step * rng.uniform(0.9, 1.1)
            ring += 1
    tiles, colors = np.concatenate(tiles), np.concatenate(colors)
    seen = (np.abs(tiles - 0.5) < 0.56).all(1)
    tiles, colors = tiles[seen], colors[seen]
    colors = colors * rng.uniform(0.72, 1.22, (len(tiles), 1)) + rng.normal(0, 0.03, colors.shape)

    x, y = np.meshgrid((np.arange(side) + 0.5) / side, (np.arange(side) + 0.5) / side)
    pixels = np.stack([x, y], axis=-1)
    warped = pixels + 0.0012 * np.stack([_noise(rng, side, 90), _noise(rng, side, 90)], axis=-1)
    far, nearest = cKDTree(tiles).query(warped, k=2, workers=1)
    one, two = nearest[..., 0], nearest[..., 1]
    gap = np.linalg.norm(tiles[one] - tiles[two], axis=-1)
    inside = (far[..., 1] ** 2 - far[..., 0] ** 2) / (2 * gap)  # distance to the tile's edge
    tilt = rng.normal(0, 1, (len(tiles), 2))  # no tile lies quite flat
    gloss = ((pixels - tiles[one]) * tilt[one]).sum(-1) / 0.02
    color = colors[one] * (1 + 0.16 * gloss + 0.05 * _noise(rng, side, 120))[..., None]
    bevel = np.clip(inside / 0.0042, 0, 1)
    light = _light(bevel, 5)[..., None]
    color = color + np.maximum(light, 0) * 0.30 + np.minimum(light, 0) * 0.35 * color
    grout = _colors("4a443c")[0] * (1 + 0.25 * _noise(rng, side, 128))[..., None]
    cover = np.clip((inside - 0.0012) / 0.0009, 0, 1)[..., None]
    return cover * color + (1 - cover) * grout


def _ink_wash(rng, side):
    """Mountains in mist, black ink on warm paper, with dry strokes, blots and a red seal."""
    with extra("style"):
        from scipy.special import expit
    x, y = np.meshgrid((np.arange(side) + 0.5) / side, (np.arange(side) + 0.5) / side)
    ink = np.zeros((side, side), "float32")
    wet = 0.5 + 0.5 * np.clip(_noise(rng, side, 4, 6), -1, 1)
    grain = _noise(rng, side, 160)
    layers = 6
    for k in range(layers):
        near = (k + 1) / layers
        rough = 0.5 * _noise(rng, side, (1, 3))[0] + _noise(rng, side, (1, 5), 6)[0]
        peaks = np.abs(_noise(rng, side, (1, 4), 5)[0])
        ridge = 0.20 + 0.68 * k / (layers - 1) - 0.035 * rough
        ridge -= (0.10 + 0.05 * near) * (0.9 - 1.1 * peaks)
        below = y - ridge
        body = expit(below * side / 3)
        below = np.maximum(below, 0)
        fade = np.exp(-below / (0.05 + 0.09 * wet))
        # Brush hairs run down the slopes: noise, narrow across and long along the way down.
        slope = np.gradient(_noise(rng, side, (1, 9), 2)[0] + 8 * ridge) * side
        across = x + 0.010 * slope * below + 0.010 * _noise(rng, side, 12, 3)
        hairs = _noise(rng, side, (9, 70), 3)
        dry = _at(hairs, np.stack([across % 1, below * 0.9], axis=-1))
        dots = _at(_noise(rng, side, 110, 2), np.stack([across % 1, y], axis=-1))  # moss
        strokes = np.clip(2.4 * dry - 0.35, 0, 1) * np.exp(-below / (0.07 + 0.12 * wet))
        moss = np.clip(6 * dots - 3.2, 0, 1) * np.exp(-below / 0.05)
        rim = np.exp(-((below / (0.003 + 0.004 * near)) ** 2)) * (0.4 + 0.6 * wet)
        tone = near**1.4
        wash = (0.28 + 0.62 * tone) * fade * (0.5 + 0.6 * wet)
        wash += tone * (0.85 * strokes + 0.6 * moss + 0.5 * rim)
        ink = ink * (1 - body * (0.55 + 0.45 * fade)) + body * wash
    for _ in range(7):  # a drop of ink that ran: pale inside, a darker edge, feathered
        center, radius = rng.uniform(0.03, 0.97, 2), 0.012 * rng.uniform(0.6, 3.2)
        far = np.hypot(x - center[0], y - center[1]) / radius + 0.35 * _noise(rng, side, 24, 4)
        blot = 0.28 * expit(14 - 14 * far) + 0.22 * np.exp(-(((far - 0.95) / 0.1) ** 2))
        ink = ink + blot * rng.uniform(0.4, 1) * (1 - ink)
    color = np.broadcast_to(_colors("efe2c6")[0], (side, side, 3))
    color = color * (1 + 0.03 * _noise(rng, side, 5, 4) + 0.02 * grain)[..., None]
    fibres = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(fibres)
    turn = rng.uniform(0, 2 * np.pi, (700, 1)) + np.cumsum(rng.normal(0, 0.25, (700, 8)), axis=1)
    ways = np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=-1), axis=1) * 0.006
    ways += rng.uniform(0, 1, (700, 1, 2))
    for way, shade in zip(ways, rng.integers(20, 90, 700).tolist(), strict=True):
        pen.line((way * side).ravel().tolist(), fill=shade, width=max(1, side // 700))
    color = color * (1 - 0.45 * np.asarray(fibres, "float32") / 255)[..., None]
    ink = np.clip(ink * (1 + 0.13 * grain), 0, 0.97)[..., None]
    color = color * (1 - ink) + _colors("15161a")[0] * ink

    # The seal: a red square with worn edges and a few white strokes, as if carved.
    seal = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(seal)
    left, top, unit = 0.86, 0.06, 0.011
    box = np.array([left, top, left + 7 * unit, top + 7 * unit]) * side
    pen.rounded_rectangle(box.tolist(), radius=unit * side * 0.6, fill=255)
    lines = [(1, 1.4, 3, 1.4), (2, 1, 2, 6), (1, 3.5, 3, 3.5), (1, 6, 3, 6)]
    lines += [(4, 1, 6, 1), (4, 1, 4, 3), (6, 1, 6, 3), (4, 3, 6, 3)]
    lines += [(5, 3, 5, 6), (4, 4.6, 6, 4.6), (4, 6, 6, 6)]
    for line in lines:
        ends = (np.array(line).reshape(2, 2) * unit + [left, top]) * side
        pen.line(ends.ravel().tolist(), fill=0, width=max(1, round(0.5 * unit * side)))
    worn = np.clip(1.5 + 1.6 * _noise(rng, side, 40, 3), 0, 1)
    cover = (0.92 * worn * np.asarray(seal, "float32") / 255)[..., None]
    return color * (1 - cover) + _colors("b3281e")[0] * cover


def _waves(rng, side):
    """Rows of breaking waves in flat bands of indigo and cream, after Japanese woodblock prints."""
    ink, deep, middle, pale, cream = _colors("14254a", "1d4680", "3b78ad", "8db9c8", "f1e7cf")
    image = Image.fromarray(np.zeros((side, side, 3), "uint8"))
    pen = ImageDraw.Draw(image)

    def fill(color):
        return tuple(int(255 * part) for part in color)

    def polygon(places, color):
        pen.polygon((places * side).ravel().tolist(), fill=fill(color))

    def disc(place, radius, color):
        box = np.append(place - radius, place + radius) * side
        pen.ellipse(box.tolist(), fill=fill(color))

    # One wave, upwards and from left to right: its back, over the crest, the hollow, the trough.
    corners = [(-1.5, 0), (-0.5, 0.02), (-0.3, 1), (0.35, 1), (0.7, 1), (1, 0.9), (1.02, 0.5)]
    corners += [(0.88, 0.78), (0.46, 0.74), (0.4, 0.45), (0.36, 0.15), (0.8, 0), (1.6, 0.1)]
    corners += [(1.3, -0.9), (-1.0, -1.3), (-1.5, 0)]
    t = np.linspace(0, 1, 30)[:, None]
    bezier = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    curves = [bezier @ np.array(corners[i : i + 4]) for i in range(0, 15, 3)]
    wave = np.concatenate(curves)
    foam = np.concatenate([curves[0][17:], *curves[1:3], curves[3][:6]])
    heart = np.array([0.1, -0.25])
    bands = (ink, cream, deep, middle, cream, deep, pale, ink, middle, cream, deep, pale, ink)

    polygon(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]), deep)
    rows = 10
    for row in range(rows):
        near = row / (rows - 1)
        length = 0.17 + 0.19 * near
        count = int(1 / length) + 3
        offset = 0.5 * (row % 2) + rng.uniform(-0.1, 0.1)
        for k in rng.permutation(count):
            size = np.array([0.50, -0.62]) * length * rng.uniform(0.85, 1.2)
            foot = np.array([(k - 1 + offset) * length, 0.10 + 1.03 * near**1.1])
            foot = foot + rng.normal(0, 0.05, 2) * length
            for i, band in enumerate(bands):
                shrink = 1 - (i / len(bands)) ** 0.9
                polygon(foot + size * (heart + (wave - heart) * shrink), band)
            drops = rng.integers(len(foam), size=70)
            out = rng.normal((0, 0.02), 0.035, (70, 2))
            radius = length * 0.055 * rng.uniform(0.25, 1, 70) ** 1.5
            places = foot + size * (foam[drops] + out)
            for place, r in zip(places, radius, strict=True):
                disc(place, r + 0.007 * length + 0.0008, ink)
            for place, r in zip(places, radius, strict=True):
                disc(place, r, cream)
            spray = foot + size * (foam[drops[:16]] + np.abs(rng.normal(0.06, 0.1, (16, 2))))
            for place, r in zip(spray, radius, strict=False):
                disc(place, 0.45 * r + 0.001, cream)
    color = np.asarray(image, "float32") / 255
    fibre = _noise(rng, side, (110, 7), 2) + 0.6 * _noise(rng, side, 128)  # the block's wood
    worn = np.clip(_noise(rng, side, 5, 5), -1, 1)
    return color * (1 + 0.05 * fibre + 0.07 * worn)[..., None]


_PAINTERS = {"strokes": _strokes, "mosaic": _mosaic, "ink_wash": _ink_wash, "waves": _waves}
NAMES = tuple(_PAINTERS)
