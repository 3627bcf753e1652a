"""`aigc_keras.images`: what a student's file becomes, and what is refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from aigc_keras import images

RED, BLUE, WHITE = [1, -1, -1], [-1, -1, 1], [1, 1, 1]


def picture(width=48, height=32):
    """The top left quarter red, the rest blue."""
    image = Image.new("RGB", (width, height), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    return image


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), "uint8")


def levels(value):
    return np.asarray(value) / 127.5 - 1


# --- read -------------------------------------------------------------------------------------


def test_png_comes_back_exactly(tmp_path):
    pixels = noise(20, 30)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    for path in (tmp_path / "1.png", str(tmp_path / "1.png")):
        image = images.read(path)
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, levels(pixels), atol=1e-6)
    image[:] = 0  # the caller's own, and writable


@pytest.mark.parametrize("ending", ["jpg", "webp", "bmp", "tif", "gif", "ppm"])
def test_other_formats(tmp_path, ending):
    picture().save(tmp_path / f"1.{ending}")
    image = images.read(tmp_path / f"1.{ending}")
    assert image.shape == (32, 48, 3)
    np.testing.assert_allclose(image[4, 4], RED, atol=0.06)
    np.testing.assert_allclose(image[28, 44], BLUE, atol=0.06)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [None, 24])
def test_exif_orientation(tmp_path, ending, orientation, size):
    """Where the first row and the first column of the file belong (EXIF 2.32, tag 0x0112)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(tmp_path / f"1.{ending}", exif=exif, quality=95)
    image = images.read(tmp_path / f"1.{ending}", size)
    scale = 1 if size is None else 2
    short, long = 32 // scale, 48 // scale
    assert image.shape == ((short, long, 3) if orientation < 5 else (long, short, 3))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}
    corner |= {5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    step = 4 // scale
    for row in (0, -1):
        for column in (0, -1):
            y, x = (step if end == 0 else -1 - step for end in (row, column))
            expected = RED if (row, column) == corner[orientation] else BLUE
            np.testing.assert_allclose(image[y, x], expected, atol=0.12)


def exif(*tags, order="<"):
    """EXIF by hand: tags as (number, type, count, value)."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    body = b"".join(
        struct.pack(f"{order}HHI", *tag[:3]) + (tag[3] + bytes(4))[:4] for tag in sorted(tags)
    )
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(tags)) + body + bytes(4)


ODD_TAGS = {  # (number, type, count, value)
    "a text as XResolution": (0x011A, 2, 4, b"72\0\0"),
    "a fraction with a wrong place": (0x011A, 5, 1, b"\xff\xff\xff\x7f"),
    "a text with a wrong place": (0x010F, 2, 100, b"\xff\xff\xff\x7f"),
    "more than the file has": (0x010F, 2, 2**31, b"\x08\0\0\0"),
    "a fraction as Software": (0x0131, 5, 1, b"\x08\0\0\0"),
    "floats as Photometric": (0x0106, 11, 1, b"\0\0\xc0\x7f"),
    "a negative number as Exif": (0x8769, 9, 1, b"\xff" * 4),
    "a place of Exif in itself": (0x8769, 4, 1, b"\x08\0\0\0"),
    "an unknown type": (0x0110, 99, 1, b"1234"),
}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("odd", ODD_TAGS)
def test_odd_exif_tags_do_not_matter(tmp_path, ending, order, odd):
    turn = (0x0112, 3, 1, struct.pack(f"{order}H", 6))
    data = exif(turn, ODD_TAGS[odd], order=order)
    picture().save(tmp_path / f"1.{ending}", exif=data, quality=95)
    image = images.read(tmp_path / f"1.{ending}")
    assert image.shape == (48, 32, 3)
    np.testing.assert_allclose(image[[4, 4], [-4, 4]], [RED, BLUE], atol=0.12)


@pytest.mark.parametrize("compressed", [True, False])
def test_png_with_a_long_text_and_a_large_profile(tmp_path, compressed):
    """As programs that draw pictures and scanners write them; Pillow's own limit is 1 MB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "x" * 2_000_000, zip=compressed)
    info.add_itxt("workflow", "x" * 2_000_000, zip=compressed)
    picture().save(tmp_path / "1.png", pnginfo=info, icc_profile=bytes(2_000_000))
    np.testing.assert_allclose(images.read(tmp_path / "1.png")[4, 4], RED, atol=1e-6)


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_unknown_orientation_turns_nothing(tmp_path, value):
    data = exif((0x0112, 3, 1, struct.pack("<H", value)))
    picture().save(tmp_path / "1.png", exif=data)
    np.testing.assert_allclose(images.read(tmp_path / "1.png")[4, 4], RED, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "ending"), [("RGBA", "png"), ("LA", "png"), ("RGBA", "tif"), ("RGBA", "webp")]
)
def test_alpha_is_flattened_on_white(tmp_path, mode, ending):
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 16, 32))
    image.paste((0, 0, 0, 128), (0, 0, 32, 8))
    options = {"lossless": True} if ending == "webp" else {}
    image.convert(mode).save(tmp_path / f"1.{ending}", **options)
    for size in (None, 32):
        read = images.read(tmp_path / f"1.{ending}", size)
        np.testing.assert_allclose(read[16, 28], WHITE, atol=1e-6)
        np.testing.assert_allclose(read[16, 4], [-1] * 3, atol=1e-6)
        np.testing.assert_allclose(read[4, 28], levels([127] * 3), atol=0.009)


def test_transparent_palette_and_transparent_colour(tmp_path):
    image = Image.new("P", (32, 32), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 16, 32))
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=1)
    rgb = picture(32, 32)
    rgb.save(tmp_path / "colour.png", transparency=(0, 0, 255))
    plain, clear, colour = (
        images.read(tmp_path / f"{name}.png") for name in ("plain", "clear", "colour")
    )
    np.testing.assert_allclose(plain[16, [4, 28]], [RED, BLUE], atol=1e-6)
    np.testing.assert_allclose(clear[16, [4, 28]], [RED, WHITE], atol=1e-6)
    np.testing.assert_allclose(colour[[4, 28], [4, 28]], [RED, WHITE], atol=1e-6)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, ending):
    ramp = np.linspace(0, 65_535, 64).astype("uint16")[None].repeat(20, 0)
    Image.fromarray(ramp).save(tmp_path / f"1.{ending}")
    image = images.read(tmp_path / f"1.{ending}")
    assert image.shape == (20, 64, 3)
    expected = (ramp / 32_767.5 - 1)[..., None].repeat(3, 2)
    np.testing.assert_allclose(image, expected, atol=0.004)  # half a step of 8 bits


@pytest.mark.parametrize(("bits", "photometric"), [(16, 0), (12, 1)])
def test_the_scale_of_a_tiff(tmp_path, bits, photometric):
    """Its tags say it (TIFF 6.0: of PhotometricInterpretation 0 the level 0 is white)."""
    ramp = np.linspace(0, 2**bits - 1, 64).astype("<u2")
    row = ramp.tobytes()
    if bits == 12:
        row = int("".join(f"{level:012b}" for level in ramp), 2).to_bytes(96, "big")
    Image.frombytes("I;16", (4 * bits, 20), row * 20).save(tmp_path / "1.tif")
    data = (tmp_path / "1.tif").read_bytes()
    changes = ((256, 4, 4 * bits, 64), (258, 3, 16, bits), (262, 3, 1, photometric))
    for tag, kind, *numbers in changes:
        old, new = (struct.pack("<HHII", tag, kind, 1, number) for number in numbers)
        assert data.count(old) == 1
        data = data.replace(old, new)
    (tmp_path / "1.tif").write_bytes(data)
    expected = (ramp / (2 ** (bits - 1) - 0.5) - 1) * (1 if photometric else -1)
    read = images.read(tmp_path / "1.tif")
    np.testing.assert_allclose(read, expected[None, :, None] + np.zeros((20, 1, 3)), atol=0.004)


def test_16_bit_colour(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 65_536, (20, 24, 3)).astype(">u2")
    write_png(tmp_path / "1.png", 16, 2, 24, [row.tobytes() for row in pixels])
    np.testing.assert_allclose(images.read(tmp_path / "1.png"), pixels / 32_767.5 - 1, atol=0.009)


def write_png(path, depth, colours, width, rows, transparent=()):
    """A PNG by hand, where Pillow has not the mode to write it (PNG, sections 5 and 11)."""
    head = struct.pack(">IIBBBBB", width, len(rows), depth, colours, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))]
    if transparent:
        chunks.insert(1, (b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in [*chunks, (b"IEND", b"")]:
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(data)


@pytest.mark.parametrize("size", [None, 24])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_level_of_grey_in_every_depth(tmp_path, depth, size):
    """The left half has the transparent level, the right half the one below it."""
    bits = f"{1:0{depth}b}" * 24 + f"{0:0{depth}b}" * 24
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    write_png(tmp_path / "1.png", depth, 0, 48, [row] * 32, transparent=[1])
    image = images.read(tmp_path / "1.png", size)
    np.testing.assert_allclose(image[4, [4, -4]], [WHITE, [-1] * 3], atol=1e-6)


def test_16_bits_with_transparency(tmp_path):
    black = np.zeros((20, 24, 1), ">u2")
    clear = (np.arange(24) >= 12)[None, :, None].repeat(20, 0).astype(">u2")
    grey = [row.tobytes() for row in np.concatenate([black, 65_535 - 65_535 * clear], axis=2)]
    colour = [row.tobytes() for row in (clear * [0x1234, 0x8000, 7]).astype(">u2")]
    write_png(tmp_path / "alpha.png", 16, 4, 24, grey)
    write_png(tmp_path / "colour.png", 16, 2, 24, colour, transparent=[0x1234, 0x8000, 7])
    for name in ("alpha", "colour"):
        image = images.read(tmp_path / f"{name}.png")
        np.testing.assert_allclose(image[10, [2, 20]], [[-1] * 3, WHITE], atol=1e-6)


def test_grey_one_bit_and_cmyk(tmp_path):
    Image.new("L", (20, 20), 51).save(tmp_path / "grey.jpg")
    Image.new("1", (20, 20), 1).save(tmp_path / "bit.png")
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    for name, color in (("grey.jpg", [-0.6] * 3), ("bit.png", WHITE), ("print.jpg", RED)):
        np.testing.assert_allclose(images.read(tmp_path / name)[10, 10], color, atol=0.02)


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue", "white")]
    for ending in ("gif", "png", "webp"):
        path = tmp_path / f"1.{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        np.testing.assert_allclose(images.read(path)[10, 10], RED, atol=0.03)


@pytest.mark.parametrize(("height", "width"), [(30, 47), (47, 30), (64, 64), (40, 100)])
@pytest.mark.parametrize("size", [40, 200])
def test_size_is_the_longer_side(tmp_path, height, width, size):
    Image.fromarray(noise(height, width)).save(tmp_path / "1.png")
    image = images.read(tmp_path / "1.png", size)
    assert max(image.shape[:2]) == size
    ratio = image.shape[1] / image.shape[0]
    assert abs(ratio / (width / height) - 1) < 0.5 / min(image.shape[:2]) + 1e-9
    assert image.min() >= -1
    assert image.max() <= 1


def test_making_smaller_averages(tmp_path):
    """A chessboard of single pixels becomes grey; taking every n-th pixel would not do that."""
    board = (np.indices((512, 512)).sum(0) % 2 * 255).astype("uint8")
    Image.fromarray(board).save(tmp_path / "1.png")
    image = images.read(tmp_path / "1.png", 64)
    np.testing.assert_allclose(image, 0, atol=0.02)


@pytest.mark.parametrize(("ending", "side"), [("jpg", 10_000), ("png", 6_000)])
def test_many_megapixels_need_a_size(tmp_path, ending, side):
    path = tmp_path / f"1.{ending}"
    image = Image.new("L", (side, side), 255)
    image.paste(0, (0, 0, side // 2, side))
    image.save(path)
    del image
    with pytest.raises(ValueError, match=rf"{side} x {side} pixels.* 25 megapixels; pass a size"):
        images.read(path)
    image = images.read(path, size=64)
    assert image.shape == (64, 64, 3)
    np.testing.assert_allclose(image[32, [10, 50]], [[-1] * 3, WHITE], atol=0.02)


@pytest.mark.parametrize(("ending", "options"), [("png", {}), ("jpg", {"progressive": True})])
def test_bombs_are_refused_before_they_unpack(tmp_path, ending, options):
    """A progressive JPEG takes as much as all its pixels, at whatever fraction it is unpacked."""
    Image.new("1", (9_500, 9_500)).convert("L").save(tmp_path / f"1.{ending}", **options)
    with pytest.raises(ValueError, match=rf"1\.{ending}'.* 9500 x 9500 pixels.*is 89,478,485"):
        images.read(tmp_path / f"1.{ending}", size=64)


# --- refusals ---------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        images.read(tmp_path / "none.jpg")
    with pytest.raises(OSError, match=tmp_path.name):
        images.read(tmp_path)


def test_text_empty_and_truncated_files(tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture " * 100)
    (tmp_path / "empty.png").touch()
    for ending in ("jpg", "png", "gif", "webp", "tif", "bmp"):
        whole = tmp_path / f"whole.{ending}"
        Image.fromarray(noise(64, 64)).save(whole)
        data = whole.read_bytes()
        (tmp_path / f"half.{ending}").write_bytes(data[: len(data) // 2])
        (tmp_path / f"start.{ending}").write_bytes(data[:20])
        whole.unlink()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 14
    for path in files:
        for size in (None, 32):
            with pytest.raises(ValueError, match=rf"path: '.*{path.name}' is not an image, or a"):
                images.read(path, size)


@pytest.mark.parametrize(
    "error", [TypeError, KeyError, OverflowError, ZeroDivisionError, RuntimeError, zlib.error]
)
def test_whatever_pillow_raises_is_a_refusal(tmp_path, monkeypatch, error):
    def fail(image):
        raise error("odd")

    picture().save(tmp_path / "1.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(
        ValueError, match=rf"1\.png' is not an image, or a .*{error.__name__}: .*odd"
    ):
        images.read(tmp_path / "1.png")


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    images.write("~/1.png", levels(noise(20, 30)))
    assert (tmp_path / "1.png").is_file()
    assert images.read("~/1.png").shape == (20, 30, 3)
    with pytest.raises(FileNotFoundError, match="~nobody-of-this-name/1"):
        images.read("~nobody-of-this-name/1.png")


@pytest.mark.parametrize("sides", [(1, 1), (15, 100), (100, 15)])
def test_too_few_pixels(tmp_path, sides):
    Image.new("RGB", sides).save(tmp_path / "1.png")
    for size in (None, 256):
        with pytest.raises(ValueError, match=rf"1\.png' gives {sides[0]} x {sides[1]} pix.* 16"):
            images.read(tmp_path / "1.png", size)
    Image.new("RGB", (16, 16)).save(tmp_path / "1.png")
    assert images.read(tmp_path / "1.png").shape == (16, 16, 3)


def test_size_that_leaves_too_few_or_too_many_pixels(tmp_path):
    Image.new("RGB", (400, 20)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"size: '100' gives 100 x 5 pixels"):
        images.read(tmp_path / "1.png", 100)
    Image.new("RGB", (20, 20)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"size: '5001' gives 5001 x 5001 pixels.*25 megapixels"):
        images.read(tmp_path / "1.png", 5_001)


@pytest.mark.parametrize("size", [0, 15, -64, 64.0, True, "64", (64, 64)])
def test_bad_size(tmp_path, size):
    picture().save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"size: got .*accepted is an integer >= 16"):
        images.read(tmp_path / "1.png", size)


def test_bad_path_and_float_pixels(tmp_path):
    with pytest.raises(ValueError, match=r"path: got 3, accepted is the path"):
        images.read(3)
    Image.fromarray(np.zeros((20, 20), "float32")).save(tmp_path / "1.tif")
    with pytest.raises(ValueError, match=r"1\.tif'.*floats, whose range is unknown"):
        images.read(tmp_path / "1.tif")
    Image.fromarray(np.full((20, 20), 70_000, "int32")).save(tmp_path / "1.tif")
    with pytest.raises(ValueError, match=r"1\.tif'.*more than 16 bits"):
        images.read(tmp_path / "1.tif")


# --- write ------------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    image = levels(noise(20, 30)).astype("float32")
    images.write(tmp_path / "1.png", image)
    np.testing.assert_allclose(images.read(tmp_path / "1.png"), image, atol=1e-6)
    x, y = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40))
    smooth = np.stack([x, y, 0 * x], axis=-1)
    for name in ("1.jpg", "1.JPEG"):
        images.write(str(tmp_path / name), smooth)
        np.testing.assert_allclose(images.read(tmp_path / name), smooth, atol=0.05)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8), "float32"), r"image: got shape \(8, 8\), accepted is \(H, W, 3\)"),
        (np.zeros((1, 8, 8, 3), "float32"), r"image: got shape \(1, 8, 8, 3\)"),
        (np.zeros((8, 8, 4), "float32"), r"image: got shape \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), "float32"), r"image: got shape \(0, 8, 3\)"),
        (np.zeros((8, 8, 3), "uint8"), r"image: got uint8.*try image / 127.5 - 1"),
        (np.full((8, 8, 3), 1.5), r"image: got values from 1.5 to 1.5"),
        (np.full((8, 8, 3), np.nan), r"image: got values from nan to nan"),
    ],
)
def test_write_refuses(tmp_path, image, message):
    with pytest.raises(ValueError, match=message):
        images.write(tmp_path / "1.png", image)
    assert not list(tmp_path.iterdir())


def test_write_refuses_other_endings(tmp_path):
    with pytest.raises(ValueError, match=r"path: got '.*1\.gif', accepted endings are \.png"):
        images.write(tmp_path / "1.gif", np.zeros((8, 8, 3), "float32"))
