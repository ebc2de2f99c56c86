"""What becomes of every kind of picture, against samples that are written down here and arithmetic that is written out."""
import io
import struct
import warnings

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lib.dataset.decode import ImageFile, ReadOptions
from lib.dataset.rgb import DEEP, SEVERAL, TRANSPARENT, composite
from lib.utils.errors import InputError
from tests.dataset.photographs import encode, photographs
from tests.dataset.pictures import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, png, tiff

DRAW = np.random.default_rng(0)
GREY_16 = DRAW.integers(2**16, size=(5, 7))
RGB_16 = DRAW.integers(2**16, size=(5, 7, 3))
RGB_8 = DRAW.integers(256, size=(5, 7, 3))
GREY_8 = DRAW.integers(256, size=(5, 7))
ALPHA_8 = DRAW.choice([0, 1, 128, 254, 255], size=(5, 7))
COLOURS = DRAW.integers(256, size=(16, 3))         # of a palette
NUMBERS = DRAW.integers(16, size=(5, 7))           # of its colours
PLTE = {b"PLTE": COLOURS.astype(np.uint8).tobytes()}
CMYK_8 = DRAW.integers(256, size=(5, 7, 4))
LAB_8 = np.concatenate([DRAW.integers(256, size=(5, 7, 1)), DRAW.integers(-60, 61, size=(5, 7, 2)) % 256], axis=2)


def pixels(data: bytes, alpha: str = "drop") -> np.ndarray:
    """(H, W, 3)"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ImageFile(data, "file", ReadOptions(alpha=alpha)).pixels().permute(1, 2, 0).numpy()


def remarks(data: bytes, alpha: str = "drop") -> set[str]:
    image = ImageFile(data, "file", ReadOptions(alpha=alpha))
    image.window(0, 0, 1, 1)
    return image.remarks


def grey(samples: np.ndarray) -> np.ndarray:
    return np.stack([samples] * 3, axis=-1)


def naive(cmyk: np.ndarray) -> np.ndarray:
    """(255 − C)(255 − K) / 255, to the nearest."""
    return np.floor((255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255 + 0.5)


def pgm(samples: np.ndarray, most: int, comment: str = "") -> bytes:
    kind = "P6" if samples.ndim == 3 else "P5"
    return f"{kind}{comment}\n7 5\n{most}\n".encode() + samples.astype(">u2").tobytes()


def plain(samples: np.ndarray, most: int) -> bytes:
    words = "\n".join(f"{sample} # of {most}" for sample in samples.flatten())
    return f"{'P3' if samples.ndim == 3 else 'P2'}\n# plain # text\n7 5 {most}\n{words}\n".encode()


def saved(mode: str, samples: np.ndarray, kind: str, **options: object) -> bytes:
    return encode(Image.fromarray(samples.astype(np.uint8), mode), kind, **options)


ALIKE = {   # what has one meaning: bytes and the (H, W, 3) pixels
    "png, 1 bit": (png(GREY_8 % 2, 1, GREY), grey(GREY_8 % 2 * 255)),
    "png, 2 bits": (png(GREY_8 % 4, 2, GREY), grey(GREY_8 % 4 * 85)),
    "png, 4 bits": (png(GREY_8 % 16, 4, GREY), grey(GREY_8 % 16 * 17)),
    "png, 8 bits": (png(GREY_8, 8, GREY), grey(GREY_8)),
    "png, 16 bits": (png(GREY_16, 16, GREY), grey(GREY_16 // 256)),
    "png, colour": (png(RGB_8, 8, RGB), RGB_8),
    "png, colour, 16 bits": (png(RGB_16, 16, RGB), RGB_16 // 256),
    "png, palette, 4 bits": (png(NUMBERS, 4, PALETTE, PLTE), COLOURS[NUMBERS]),
    "png, palette, 8 bits": (png(NUMBERS, 8, PALETTE, PLTE), COLOURS[NUMBERS]),
    "tiff, black is 0": (tiff(GREY_8 % 2, 1, bits=1), grey(GREY_8 % 2 * 255)),
    "tiff, white is 0": (tiff(GREY_8 % 2, 0, bits=1), grey(255 - GREY_8 % 2 * 255)),
    "tiff, 8 bits, white is 0": (tiff(GREY_8.astype(np.uint8), 0), grey(255 - GREY_8)),
    "tiff, 12 bits": (tiff(GREY_16 % 4096, 1, bits=12), grey(GREY_16 % 4096 // 16)),
    "tiff, 16 bits": (tiff(GREY_16.astype(np.uint16), 1), grey(GREY_16 // 256)),
    "tiff, 16 bits, big-endian": (tiff(GREY_16.astype(np.uint16), 1, order=">"), grey(GREY_16 // 256)),
    "tiff, 16 bits, white is 0": (tiff(GREY_16.astype(np.uint16), 0), grey((65535 - GREY_16) // 256)),
    "tiff, 16 bits, packed": (encode(Image.fromarray(GREY_16.astype(np.uint16)), "TIFF", compression="tiff_lzw"),
                              grey(GREY_16 // 256)),
    "tiff, colour": (tiff(RGB_8.astype(np.uint8), 2), RGB_8),
    "tiff, colour, 16 bits": (tiff(RGB_16.astype(np.uint16), 2), RGB_16 // 256),
    "tiff, colour, 16 bits, big-endian": (tiff(RGB_16.astype(np.uint16), 2, order=">"), RGB_16 // 256),
    "tiff, colour, planes": (tiff(RGB_8.astype(np.uint8), 2, planar=True), RGB_8),
    "tiff, cmyk": (tiff(CMYK_8.astype(np.uint8), 5), naive(CMYK_8)),
    "pgm, 65535": (pgm(GREY_16, 65535), grey(GREY_16 // 256)),
    "pgm, 1023": (pgm(GREY_16 % 1024, 1023), grey(GREY_16 % 1024 // 4)),
    "pgm, 4095, comment": (pgm(GREY_16 % 4096, 4095, "\n# a # b\n #c"), grey(GREY_16 % 4096 // 16)),
    "ppm, 65535": (pgm(RGB_16, 65535), RGB_16 // 256),
    "ppm, 1023": (pgm(RGB_16 % 1024, 1023), RGB_16 % 1024 // 4),
    "ppm, 1023, plain": (plain(RGB_16 % 1024, 1023), RGB_16 % 1024 // 4),
    "pgm, 1000, plain": (plain(GREY_16 % 1001, 1000), grey((GREY_16 % 1001 * 65535 + 500) // 1000 // 256)),
    "pgm, 255": (b"P5 7 5 255\n" + GREY_8.astype(np.uint8).tobytes(), grey(GREY_8)),
    "ppm, 15": (b"P6 7 5 15\n" + (RGB_8 % 16).astype(np.uint8).tobytes(), RGB_8 % 16 * 17),
    "pbm": (b"P4 8 1\n\x35", grey(255 - np.array([[0, 0, 1, 1, 0, 1, 0, 1]]) * 255)),
    "gif": (saved("L", GREY_8, "GIF"), grey(GREY_8)),
    "bmp": (saved("RGB", RGB_8, "BMP"), RGB_8),
    "bmp, grey": (saved("L", GREY_8, "BMP"), grey(GREY_8)),
    "webp": (saved("RGB", RGB_8, "WEBP", lossless=True), RGB_8),
}


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("alpha", ["drop", "white"])
def test_every_kind_of_picture_has_its_pixels(name, alpha):
    data, expected = ALIKE[name]
    assert np.array_equal(pixels(data, alpha), expected)
    deep = "16 bits" in name or "12 bits" in name or any(name.startswith(("pgm", "ppm")) and str(most) in name
                                                         for most in (1000, 1023, 4095, 65535))
    assert remarks(data) == ({DEEP} if deep else set())


@pytest.mark.parametrize("name", ["png, 16 bits", "png, colour, 16 bits", "tiff, colour", "webp", "png, palette, 8 bits"])
def test_opencv_reads_the_same_pixels(name):
    """The library of the published code."""
    theirs = cv2.imdecode(np.frombuffer(ALIKE[name][0], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(pixels(ALIKE[name][0]), theirs)


# --- transparent pixels: (bytes, colours as stored, opacity)

def on(ground: int, colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return np.floor((colours * opacity[..., None] + ground * (255.0 - opacity[..., None])) / 255 + 0.5)


def key(*values: int) -> dict[bytes, bytes]:
    return {b"tRNS": struct.pack(f">{len(values)}H", *values)}


def shows(condition: np.ndarray) -> np.ndarray:
    return np.where(condition, 0, 255)


TABLE = bytes([0, 128, 255, 7])    # opacity of the first four colours
TRANSPARENT_FILES = {
    "png, grey and alpha": (png(np.dstack([GREY_8, ALPHA_8]), 8, GREY_ALPHA), grey(GREY_8), ALPHA_8),
    "png, grey and alpha, 16 bits": (png(np.dstack([GREY_16, ALPHA_8 * 257]), 16, GREY_ALPHA), grey(GREY_16 // 256), ALPHA_8),
    "png, colour and alpha": (png(np.dstack([RGB_8, ALPHA_8]), 8, RGB_ALPHA), RGB_8, ALPHA_8),
    "png, colour and alpha, 16 bits": (png(np.dstack([RGB_16, ALPHA_8 * 257]), 16, RGB_ALPHA), RGB_16 // 256, ALPHA_8),
    "png, palette with opacities": (png(NUMBERS, 8, PALETTE, PLTE | {b"tRNS": TABLE}), COLOURS[NUMBERS],
                                    np.array([*TABLE, *[255] * 12])[NUMBERS]),
    "png, palette with one": (png(NUMBERS, 4, PALETTE, PLTE | {b"tRNS": b"\xff\0"}), COLOURS[NUMBERS], shows(NUMBERS == 1)),
    "png, one grey, 1 bit": (png(NUMBERS % 2, 1, GREY, key(1)), grey(NUMBERS % 2 * 255), shows(NUMBERS % 2 == 1)),
    "png, black, 1 bit": (png(NUMBERS % 2, 1, GREY, key(0)), grey(NUMBERS % 2 * 255), shows(NUMBERS % 2 == 0)),
    "png, one grey, 2 bits": (png(NUMBERS % 4, 2, GREY, key(2)), grey(NUMBERS % 4 * 85), shows(NUMBERS % 4 == 2)),
    "png, one grey, 4 bits": (png(NUMBERS, 4, GREY, key(3)), grey(NUMBERS * 17), shows(NUMBERS == 3)),
    "png, one grey, 8 bits": (png(GREY_8, 8, GREY, key(int(GREY_8[0, 0]))), grey(GREY_8), shows(GREY_8[0, 0] == GREY_8)),
    "png, one grey, 16 bits": (png(GREY_16, 16, GREY, key(int(GREY_16[1, 2]))), grey(GREY_16 // 256),
                               shows(GREY_16[1, 2] == GREY_16)),
    "png, one colour": (png(RGB_8, 8, RGB, key(*RGB_8[3, 4].tolist())), RGB_8, shows((RGB_8[3, 4] == RGB_8).all(-1))),
    "png, one colour, 16 bits": (png(RGB_16, 16, RGB, key(*RGB_16[3, 4].tolist())), RGB_16 // 256,
                                 shows((RGB_16[3, 4] == RGB_16).all(-1))),
    "tiff, colour and alpha": (tiff(np.dstack([RGB_8, ALPHA_8]).astype(np.uint8), 2, tags={338: [2]}), RGB_8, ALPHA_8),
    "tiff, grey and alpha": (tiff(np.dstack([GREY_8, ALPHA_8]).astype(np.uint8), 1, tags={338: [2]}), grey(GREY_8), ALPHA_8),
    "tiff, palette and alpha": (
        tiff(np.dstack([NUMBERS, ALPHA_8]).astype(np.uint8), 3, tags={
            338: [2], 320: (np.pad(COLOURS, [(0, 240), (0, 0)]) * 257).T.flatten().tolist()}), COLOURS[NUMBERS], ALPHA_8),
    "webp": (saved("RGBA", np.dstack([RGB_8, ALPHA_8]), "WEBP", lossless=True, exact=True), RGB_8, ALPHA_8),
    "gif": (saved("L", GREY_8, "GIF", transparency=int(GREY_8[0, 0])), grey(GREY_8), shows(GREY_8[0, 0] == GREY_8)),
}


@pytest.mark.parametrize("name", TRANSPARENT_FILES)
def test_transparent_pixels_show_their_colour_or_the_ground(name):
    data, colours, opacity = TRANSPARENT_FILES[name]
    assert np.array_equal(pixels(data), colours)
    assert np.array_equal(pixels(data, "white"), on(255, colours, opacity))
    assert np.array_equal(pixels(data, "black"), on(0, colours, opacity))
    assert all(TRANSPARENT[alpha] in remarks(data, alpha) for alpha in TRANSPARENT)


def test_windows_of_a_transparent_picture_are_those_of_the_whole_one():
    for name in ("png, colour and alpha", "png, one grey, 16 bits", "png, palette with opacities"):
        data = TRANSPARENT_FILES[name][0]
        part = ImageFile(data, "file", ReadOptions(alpha="white")).window(1, 2, 3, 4).permute(1, 2, 0).numpy()
        assert np.array_equal(part, pixels(data, "white")[1:4, 2:6])


def test_premultiplied_colours_are_divided_again():
    """TIFF's associated alpha: colours as they would be shown on black."""
    opacity = np.full((5, 7), 128)
    shown = np.floor(RGB_8 * 128 / 255 + 0.5)
    data = tiff(np.dstack([shown, opacity]).astype(np.uint8), 2, tags={338: [1]})
    assert np.abs(pixels(data).astype(int) - RGB_8).max() <= 1
    assert np.abs(pixels(data, "black").astype(int) - shown).max() <= 1
    data = tiff(np.dstack([shown[..., 0], opacity]).astype(np.uint8), 1, tags={338: [1]})
    assert np.abs(pixels(data, "white").astype(int) - grey(shown[..., 0] + 127)).max() <= 1


def test_an_alpha_channel_without_a_transparent_pixel_is_no_remark():
    data = png(np.dstack([RGB_8, np.full((5, 7), 255)]), 8, RGB_ALPHA)
    assert np.array_equal(pixels(data, "white"), RGB_8)
    assert remarks(data) == set()


def test_whether_a_picture_is_transparent_does_not_depend_on_the_window():
    opacity = np.full((5, 7), 255)
    opacity[4, 6] = 0
    assert remarks(png(np.dstack([RGB_8, opacity]), 8, RGB_ALPHA)) == {TRANSPARENT["drop"]}


def test_composite_is_exact_for_every_colour_and_opacity():
    colours, opacity = (side.reshape(256, 256) for side in np.meshgrid(np.arange(256), np.arange(256)))
    for ground in (0, 255):
        result = composite(grey(colours).astype(np.uint8), opacity.astype(np.uint8), ground)
        assert np.array_equal(result, on(ground, grey(colours), opacity))


# --- colour spaces

def test_a_jpeg_may_hold_red_green_and_blue_as_they_are():
    flat = np.broadcast_to(np.array([250, 3, 120], dtype=np.uint8), (16, 16, 3))
    data = saved("RGB", flat, "JPEG", quality=100, keep_rgb=True)
    assert b"Adobe" in data
    assert np.abs(pixels(data).astype(int) - flat).max() <= 1


def adobe(data: bytes, transform: int) -> bytes:
    """A JPEG with another word on its colours in its Adobe segment."""
    place = data.index(b"Adobe") + 11
    return data[:place] + bytes([transform]) + data[place + 1:]


@pytest.mark.parametrize("marked", [True, False])
def test_cmyk_of_jpegs_is_inverted(marked):
    """Flat colours, so that nothing is lost. Photoshop stores 255 − v and an Adobe segment; OpenCV and Pillow ask for neither."""
    cmyk = np.broadcast_to(np.array([200, 40, 90, 60], dtype=np.uint8), (16, 16, 4))
    data = saved("CMYK", cmyk, "JPEG", quality=100, subsampling=0)
    place = data.index(b"\xff\xee")
    bare = data[:place] + data[place + 2 + int.from_bytes(data[place + 2:place + 4], "big"):]
    assert np.abs(pixels(data if marked else bare).astype(int) - naive(cmyk.astype(int))).max() <= 2


def test_ycck_is_turned_to_cmyk_first():
    """The stored components are Y Cb Cr of the ink's colours C, M, Y, and 255 − K."""
    ink, k = np.array([135.0, 225.0, 35.0]), 65
    y = ink @ [0.299, 0.587, 0.114]
    stored = np.rint([y, 128 + (ink[2] - y) * 0.564334, 128 + (ink[0] - y) * 0.713267, 255 - k])
    flat = np.broadcast_to(255 - stored.astype(np.uint8), (16, 16, 4))   # Pillow inverts when it writes
    data = adobe(saved("CMYK", flat, "JPEG", quality=100, subsampling=0), 2)
    assert np.abs(pixels(data).astype(int) - (255 - ink) * (255 - k) / 255).max() <= 2


def test_lab_becomes_srgb():
    """Against the formula of CIE 1976 with D50, Bradford's matrix to sRGB and its curve."""
    lightness, a, b = LAB_8[..., 0] / 2.55, *(LAB_8[..., band].astype(np.uint8).view(np.int8) for band in (1, 2))
    f = np.stack([(lightness + 16) / 116 + a / 500, (lightness + 16) / 116, (lightness + 16) / 116 - b / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1, 0.8249]
    linear = xyz @ np.array([[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
                             [0.0719453, -0.2289914, 1.4052427]]).T
    linear = linear.clip(0, 1)
    srgb = 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    assert np.abs(pixels(tiff(LAB_8.astype(np.uint8), 8)) - srgb).max() <= 1


def test_ycbcr_without_compression():
    ycbcr = np.broadcast_to(np.array([100, 90, 200], dtype=np.uint8), (4, 4, 3))
    expected = [100 + 1.402 * 72, 100 - 0.344136 * -38 - 0.714136 * 72, 100 + 1.772 * -38]
    assert np.abs(pixels(tiff(ycbcr, 6, tags={530: [1, 1]})) - expected).max() <= 1


# --- what has no known range

REFUSED = {
    "tiff, colour, 16 bits, planes": (tiff(RGB_16.astype(np.uint16), 2, planar=True), "save it compressed"),
    "tiff, 32 bits": (tiff(GREY_16.astype(np.uint32), 1), "integers of 32 bits"),
    "tiff, 32 bits, signed": (tiff(GREY_16.astype(np.int32), 1, tags={339: [2]}), "sign"),
    "tiff, 16 bits, signed": (tiff((GREY_16 // 2).astype(np.int16), 1, tags={339: [2]}), "sign"),
    "tiff, 8 bits, signed": (tiff(GREY_8.astype(np.uint8), 1, tags={339: [2]}), "sign"),
    "tiff, float": (tiff(GREY_16.astype(np.float32), 1, tags={339: [3]}), "floating point"),
    "pfm": (b"Pf\n7 5\n-1.0\n" + GREY_16.astype("<f4").tobytes(), "floating point"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_numbers_without_a_known_range_are_refused_by_name(name):
    data, reason = REFUSED[name]
    with pytest.raises(InputError, match=rf"^folder/x\.tif cannot be read as an image \(.*{reason}.*\)$"):
        ImageFile(data, "folder/x.tif").pixels()


@pytest.mark.parametrize("data", [pgm(GREY_16, 65535)[:-1], pgm(RGB_16, 1023)[:60], plain(RGB_16, 1023)[:200],
                                  plain(GREY_16, 1023).replace(b"# of", b"of")])
def test_a_damaged_pgm_is_no_image(data):
    with pytest.raises(InputError, match="cannot be read as an image"):
        ImageFile(data, "x.pgm").pixels()


# --- several frames

@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind):
    frames = [Image.new("RGB", (24, 16), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if kind == "WEBP" else {}
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(pixels(buffer.getvalue()), np.array(frames[0]))
    assert remarks(buffer.getvalue()) == {SEVERAL}


def test_damage_behind_the_first_frame_does_no_harm():
    frames = [photographs()[number].resize((60, 40)) for number in (0, 1)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    first = encode(frames[0], "GIF")
    whole = buffer.getvalue()
    assert np.array_equal(pixels(whole[:len(first) + 40]), pixels(whole))


def test_a_16_bit_picture_is_a_tensor_as_others_are():
    image = ImageFile(png(GREY_16, 16, GREY), "x.png").window(1, 1, 2, 3)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 2, 3)
