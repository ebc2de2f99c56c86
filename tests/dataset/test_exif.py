"""EXIF's orientation: all eight, in every format that has it, by both decoders, against OpenCV and a table of Pillow's turns."""
import io
import json
import random
import struct

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from lib.data_transform.resize import RandomResizedCrop
from lib.dataset import DATASETS, decode
from lib.dataset.decode import TURNED, ImageFile, ReadOptions, read_image
from lib.utils.errors import InputError
from lib.utils.exif import TURNS
from lib.utils.image_header import read_size
from tests.dataset.photographs import encode, photograph, photographs
from tests.dataset.pictures import RGB, exif, png, tiff

DECODERS = ["turbojpeg"] * (decode.find_turbojpeg() is not None) + ["pillow"]
STORED = ReadOptions(exif=False)
UPRIGHT = {   # what makes stored pixels upright, in the words of the standard's table
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}


@pytest.fixture(params=DECODERS)
def decoder(request, monkeypatch):
    if request.param == "pillow":
        monkeypatch.setattr(decode, "find_turbojpeg", lambda: None)
    return request.param


def in_jpeg(content: bytes, size: tuple[int, int] = (97, 61), **options: object) -> bytes:
    """``content`` as the EXIF segment of a JPEG of width × height, behind its JFIF segment."""
    data = photograph(0, size, **options)
    place = 4 + int.from_bytes(data[4:6], "big")
    content = b"Exif\0\0" + content
    return data[:place] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[place:]


def pixels_of_png() -> np.ndarray:
    return np.array(photographs()[1].resize((13, 9))).astype(int)


def in_tiff(orientation: int, order: str = "<", bits: int = 8) -> bytes:
    samples = pixels_of_png().astype(np.uint8) if bits == 8 else (257 * pixels_of_png()).astype(np.uint16)
    return tiff(samples, 2, order=order, tags={274: [orientation]})


WITH_EXIF = {
    "jpeg": lambda number: in_jpeg(exif(number)),
    "jpeg, big-endian": lambda number: in_jpeg(exif(number, ">"), subsampling=0),
    "jpeg, grey": lambda number: encode(photographs()[0].resize((31, 17)).convert("L"), exif=b"Exif\0\0" + exif(number)),
    "jpeg, cmyk": lambda number: encode(photographs()[0].resize((31, 17)).convert("CMYK"), exif=b"Exif\0\0" + exif(number)),
    "png": lambda number: png(pixels_of_png(), 8, RGB, before={b"eXIf": exif(number)}),
    "png, behind the pixels": lambda number: png(pixels_of_png(), 8, RGB, after={b"eXIf": exif(number, ">")}),
    "png, 16 bits": lambda number: png(pixels_of_png() * 257, 16, RGB, before={b"eXIf": exif(number)}),
    "webp": lambda number: encode(photographs()[1].resize((13, 9)), "WEBP", lossless=True, exif=exif(number)),
    "tiff": in_tiff,
    "tiff, big-endian": lambda number: in_tiff(number, ">"),
    "tiff, 16 bits": lambda number: in_tiff(number, bits=16),
    "tiff, packed": lambda number: encode(photographs()[1].resize((13, 9)), "TIFF", compression="tiff_lzw",
                                          tiffinfo={274: number}),
}


def stored(data: bytes) -> Image.Image:
    """The pixels as they lie in the file, by a file without an orientation."""
    return Image.fromarray(ImageFile(data, "file", STORED).pixels().permute(1, 2, 0).numpy())


def turned(image: Image.Image, number: int) -> torch.Tensor:
    image = image if UPRIGHT[number] is None else image.transpose(UPRIGHT[number])
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("kind", WITH_EXIF)
@pytest.mark.parametrize("number", UPRIGHT)
def test_every_orientation_is_exact(decoder, kind, number, tmp_path):
    data, plain = WITH_EXIF[kind](number), WITH_EXIF[kind](1)
    as_stored = ImageFile(plain, "file").pixels()
    assert torch.equal(ImageFile(data, "file", STORED).pixels(), as_stored)   # turning is the only difference
    upright = turned(stored(plain), number)
    source = ImageFile(data, "file")
    assert torch.equal(source.pixels(), upright)
    assert source.size == tuple(upright.shape[1:])
    draw = random.Random(number)
    for _ in range(5):
        height, width = (draw.randint(1, side) for side in source.size)
        top, left = draw.randint(0, source.size[0] - height), draw.randint(0, source.size[1] - width)
        assert torch.equal(source.window(top, left, height, width), upright[:, top:top + height, left:left + width])
    path = tmp_path / "image"
    path.write_bytes(data)
    assert read_size(path, "entry") == source.size
    assert read_size(path, "entry", exif=False) == tuple(as_stored.shape[1:])
    assert source.remarks >= ({TURNED[True]} if number > 1 else set())
    assert ImageFile(data, "file", STORED).remarks >= ({TURNED[False]} if number > 1 else set())
    assert number > 1 or not source.remarks & set(TURNED.values())


@pytest.mark.parametrize("number", UPRIGHT)
def test_opencv_turns_alike(number):
    """The reader of the published code, on what it decodes to the same pixels."""
    for data in (in_jpeg(exif(number), subsampling=0), in_tiff(number)):
        theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.array_equal(ImageFile(data, "file").pixels().permute(1, 2, 0).numpy(), theirs)


@pytest.mark.parametrize("number", UPRIGHT)
def test_a_random_crop_is_that_of_the_upright_image(decoder, number):
    data = in_jpeg(exif(number), (500, 375))
    transform, upright = RandomResizedCrop((64, 48)), turned(stored(data), number)
    for seed in range(3):
        generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
        assert torch.equal(transform.source(ImageFile(data, "file"), generators[0]), transform.image(upright, generators[1]))


@pytest.mark.parametrize("number", UPRIGHT)
def test_scaled_decoding_is_turned_too(number):
    data = in_jpeg(exif(number), (1200, 900))
    exact, scaled = (RandomResizedCrop((64, 48), scale=(0.6, 1.0), scaled_decoding=reduce) for reduce in (False, True))
    one, two = (transform.source(ImageFile(data, "file"), torch.Generator().manual_seed(number)) for transform in (exact, scaled))
    assert (one.int() - two.int()).abs().float().mean() < 8
    assert not torch.equal(one, two)


def directory_of(orientation: bytes, count: int = 1) -> bytes:
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + orientation + bytes(4)


CORRUPT = {
    "empty": b"", "noise": bytes(range(200)), "cut": exif(6)[:12], "no directory": b"II*\0\xff\xff\xff\x7f" + bytes(20),
    "more entries than there are": directory_of(struct.pack("<HHL4s", 256, 3, 1, b"\7\0\0\0"), count=65535),
    "orientation 0": exif(0), "orientation 9": exif(9), "orientation 65535": exif(65535),
    "a text": directory_of(struct.pack("<HHL4s", 274, 2, 1, b"6\0\0\0")), "a kind that is not": directory_of(struct.pack(
        "<HHL4s", 274, 99, 1, b"\6\0\0\0")), "other order": b"MM*\0" + exif(6)[4:], "itself": b"Exif\0\0" * 20,
}


@pytest.mark.parametrize("name", CORRUPT)
def test_corrupt_exif_leaves_a_good_image_upright(decoder, name, tmp_path):
    content = CORRUPT[name]
    for data, good in ((in_jpeg(content), WITH_EXIF["jpeg"](1)),
                       (png(pixels_of_png(), 8, RGB, before={b"eXIf": content}), WITH_EXIF["png"](1))):
        (tmp_path / "image").write_bytes(data)
        assert torch.equal(read_image(tmp_path / "image", "entry"), ImageFile(good, "file").pixels())
        assert read_size(tmp_path / "image", "entry") == ImageFile(good, "file").size


@pytest.mark.parametrize(("kind", "packed"), [(1, b"\6\0\0\0"), (3, b"\6\0\0\0"), (4, b"\6\0\0\0")])
def test_an_orientation_of_another_width_counts(kind, packed):
    assert ImageFile(in_jpeg(directory_of(struct.pack("<HHL4s", 274, kind, 1, packed))), "file").size == (97, 61)


def test_the_segment_is_found_behind_others_and_only_there(decoder):
    """XMP has the same marker; fill bytes may precede a marker; a thumbnail's EXIF lies inside a segment."""
    data = in_jpeg(exif(6))
    place = data.index(b"\xff\xe1")
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='3'/>"
    segment = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp
    comment = b"Exif\0\0" + exif(3)
    inside = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    assert ImageFile(data[:place] + segment + inside + b"\xff\xff" + data[place:], "file").size == (97, 61)
    bare = photograph(0, (97, 61))
    assert ImageFile(bare[:-2] + data[place:place + 50] + bare[-2:], "file").size == (61, 97)


def test_an_orientation_in_xmp_is_no_exif():
    xmp = b"<x:xmpmeta tiff:Orientation='6' tiff:Orientation=\"6\"/>"
    for kind in ("TIFF", "PNG", "WEBP"):
        options = {"tiffinfo": {700: xmp}} if kind == "TIFF" else {"xmp": xmp} if kind == "WEBP" else {}
        image = ImageFile(encode(photographs()[0].resize((13, 9)), kind, **options), "file")
        assert image.size == (9, 13)
        assert torch.equal(image.pixels(), ImageFile(encode(photographs()[0].resize((13, 9)), kind), "file").pixels())


# --- data sets

def write_photographs(folder, orientations: list[int], told: bool = True, size: tuple[int, int] = (8, 6)) -> None:
    """JPEGs of width × height as stored, in annotations that tell (height, width) of that."""
    annotations = []
    for number, orientation in enumerate(orientations):
        (folder / f"{number}.jpg").write_bytes(in_jpeg(exif(orientation), size))
        sizes = {"im_height": size[1], "im_width": size[0]} if told else {}
        annotations.append({"image_id": number, "fpath": f"{number}.jpg", "category_id": number % 2, **sizes})
    (folder / "train.json").write_text(json.dumps({"annotations": annotations, "num_classes": 2}))


def open_set(folder, **options):
    return DATASETS["iNaturalist"](True, str(folder), (4, 4), train_json="train.json", valid_json="", **options)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("orientations", "size"), [([1] * 30, (6, 8)), ([3, 2] * 15, (6, 8)), ([6] * 30, (8, 6)),
                                                    ([1] * 23 + [6] + [1] * 6, None)])
def test_images_are_of_one_size_when_they_are_upright(tmp_path, told, orientations, size):
    """The size that older converters wrote is that of the stored rows and columns."""
    write_photographs(tmp_path, orientations, told)
    images = open_set(tmp_path)
    assert images.image_size == size
    for index in (0, 23):
        assert torch.equal(images.read(index), ImageFile((tmp_path / f"{index}.jpg").read_bytes(), "file").pixels())
    assert open_set(tmp_path, exif=False).image_size == (6, 8)
    assert torch.equal(open_set(tmp_path, exif=False).pixels()[23],
                       ImageFile((tmp_path / "23.jpg").read_bytes(), "file", STORED).pixels())


def test_square_images_are_not_looked_into(tmp_path, monkeypatch):
    write_photographs(tmp_path, [6, 1], size=(8, 8))
    monkeypatch.setattr("lib.dataset.json_set.read_size", None)
    assert open_set(tmp_path).image_size == (8, 8)


def test_a_wrong_size_is_still_named_when_it_is_read(tmp_path):
    write_photographs(tmp_path, [1, 1, 1])
    (tmp_path / "1.jpg").write_bytes(photograph(0, (9, 9)))
    images = open_set(tmp_path)
    assert images.image_size == (6, 8)
    with pytest.raises(InputError, match=r"annotations\[1\]: .*1\.jpg has 9 × 9 pixels, and im_height × im_width are 6 × 8"):
        images.open(1)


@pytest.mark.parametrize("told", [True, False])
def test_bad_headers_do_not_stop_a_set_that_skips_them(tmp_path, told):
    write_photographs(tmp_path, [1, 1, 1], told)
    (tmp_path / "0.jpg").write_bytes(b"")
    (tmp_path / "2.jpg").unlink()
    assert open_set(tmp_path, on_bad_image="skip").image_size == (6, 8)
    (tmp_path / "1.jpg").unlink()
    (tmp_path / "0.jpg").unlink()
    with pytest.raises(InputError, match="and so for 3 of 3 looked for"):
        open_set(tmp_path, on_bad_image="skip")


def test_turns_keep_windows_where_they_are():
    """Pixel by pixel: what stands at (y, x) of the upright image comes from where the window of that pixel is stored."""
    image = torch.arange(12).view(3, 4)
    for turn in TURNS.values():
        upright = turn.apply(image)
        assert tuple(upright.shape) == turn.size((3, 4))
        for y in range(upright.shape[0]):
            for x in range(upright.shape[1]):
                top, left, height, width = turn.stored_window((y, x, 1, 1), (3, 4))
                assert (height, width) == (1, 1)
                assert image[top, left] == upright[y, x]


def test_the_reference_is_that_of_pillow():
    for number in UPRIGHT:
        image = Image.open(io.BytesIO(in_jpeg(exif(number))))
        assert np.array_equal(np.array(ImageOps.exif_transpose(image)).transpose(2, 0, 1), turned(image, number).numpy())
