"""Windows of image files against whole images, on photographs; what is damaged names itself."""
import ctypes.util
import io
import random
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data_transform.resize import RandomResizedCrop, resize
from lib.dataset import decode, turbojpeg
from lib.dataset.decode import ImageFile, open_image, read_image
from lib.utils.errors import InputError, MissingPathError
from tests.dataset.photographs import encode, photograph, photographs

SIZE = (224, 224)
DECODERS = ["turbojpeg"] * (decode.find_turbojpeg() is not None) + ["pillow"]


@pytest.fixture(params=DECODERS)
def decoder(request, monkeypatch):
    """Each of the ways that a JPEG can take here."""
    if request.param == "pillow":
        monkeypatch.setattr(decode, "find_turbojpeg", lambda: None)
    return request.param


def by_pillow(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mean_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return (first.int() - second.int()).abs().float().mean().item()


KINDS = {
    "4:2:0": {"subsampling": 2}, "4:2:2": {"subsampling": 1}, "4:4:4": {"subsampling": 0}, "coarse": {"quality": 20},
    "progressive": {"progressive": True}, "restart markers": {"restart_marker_rows": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_that_of_the_whole_image_to_the_last_bit(decoder, kind):
    draw = random.Random(kind)
    for number in range(12):
        width, height = draw.choice([(250, 187), (97, 61), (33, 17), (201, 16), (1, 50)])
        data = photograph(number, (width, height), **KINDS[kind])
        whole, source = by_pillow(data), ImageFile(data, "photograph")
        assert source.size == (height, width)
        assert torch.equal(source.pixels(), whole)
        h, w = draw.randint(1, height), draw.randint(1, width)
        top, left = draw.randint(0, height - h), draw.randint(0, width - w)
        assert torch.equal(source.window(top, left, h, w), whole[:, top:top + h, left:left + w])


def test_a_single_column_is_that_of_the_whole_image(decoder):
    """At an edge it is less than one sample of colour; beside what other images have left in memory."""
    for number, width in enumerate((2, 3, 34, 41)):
        data = photograph(number, (width, 60), subsampling=2)
        whole, source = by_pillow(data), ImageFile(data, "photograph")
        for top in range(0, 60, 4):
            for left in {0, 1, width - 1}:
                ImageFile(photograph(top, (50, 40), subsampling=2), "another").pixels()
                assert torch.equal(source.window(top, left, 60 - top, 1), whole[:, top:, left:left + 1])


def test_random_resized_crop_of_a_photograph_is_the_reference_to_the_last_bit(decoder):
    """Whole image, crop, antialiased resize; and Pillow's own crop and resize within one level."""
    transform = RandomResizedCrop(SIZE)
    for seed in range(6):
        data = photograph(seed)
        result = transform.source(ImageFile(data, "photograph"), generator(seed))
        assert torch.equal(result, transform.image(by_pillow(data), generator(seed)))
        top, left, height, width = transform.window(375, 500, generator(seed))
        box = (left, top, left + width, top + height)
        theirs = Image.open(io.BytesIO(data)).crop(box).resize(SIZE, Image.Resampling.BILINEAR)
        assert (result.int() - torch.from_numpy(np.array(theirs)).permute(2, 0, 1).int()).abs().max() <= 1


@pytest.mark.parametrize("size", [(800, 600), (2000, 1500)])
def test_scaled_decoding_stays_within_its_tolerance(size):
    """Of 255 levels, on average over an image: 3 from the same window with edges on the grid, 8 from the window itself."""
    transform, exact = (RandomResizedCrop(SIZE, scale=(0.6, 1.0), scaled_decoding=scaled) for scaled in (True, False))
    for seed in range(4):
        source = ImageFile(photograph(seed, size), "photograph")
        window = exact.window(*source.size, generator(seed))
        by = source.reduction(*window[2:], SIZE)
        assert by == (2 if size[0] == 800 else 4)
        scaled = transform.source(source, generator(seed))
        top, left, bottom, right = ((edge + by // 2) // by * by for edge in
                                    (window[0], window[1], window[0] + window[2], window[1] + window[3]))
        assert 0.1 < mean_difference(scaled, resize(source.pixels()[:, top:bottom, left:right], SIZE)) < 3
        assert mean_difference(scaled, exact.source(source, generator(seed))) < 8


def test_scaled_decoding_is_the_same_by_pillow(monkeypatch):
    transform = RandomResizedCrop(SIZE, scaled_decoding=True)
    data = [photograph(seed, (1203, 901)) for seed in range(4)]
    first = [transform.source(ImageFile(file, "photograph"), generator(seed)) for seed, file in enumerate(data)]
    monkeypatch.setattr(decode, "find_turbojpeg", lambda: None)
    second = [transform.source(ImageFile(file, "photograph"), generator(seed)) for seed, file in enumerate(data)]
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize(("window", "reduction"), [((447, 900), 1), ((448, 448), 2), ((896, 1791), 4), ((1791, 4000), 4),
                                                   ((1792, 1792), 8), ((9000, 9000), 8)])
def test_a_window_is_never_decoded_smaller_than_its_target(window, reduction):
    source = ImageFile(photograph(0, (40, 30)), "photograph")
    assert source.reduction(*window, SIZE) == reduction
    assert source.reduction(*window, None) == 1
    assert ImageFile(encode(photographs()[0], "PNG"), "png").reduction(*window, SIZE) == 1


def test_size_is_read_without_decoding(decoder):
    data = photograph(0, (4000, 3000))
    tracemalloc.start()
    assert ImageFile(data, "photograph").size == (3000, 4000)
    assert tracemalloc.get_traced_memory()[1] < 1e6   # bytes; decoded it has 36 MB
    tracemalloc.stop()


FORMATS = {
    "grey": lambda: encode(photographs()[0].convert("L"), quality=80), "cmyk": lambda: encode(photographs()[0].convert("CMYK")),
    "png": lambda: encode(photographs()[1], "PNG"), "palette": lambda: encode(photographs()[1].convert("P"), "PNG"),
    "alpha": lambda: encode(photographs()[1].convert("RGBA"), "PNG"),
    "bilevel": lambda: encode(photographs()[0].convert("1"), "PNG"), "webp": lambda: encode(photographs()[0], "WEBP"),
    "gif": lambda: encode(photographs()[0], "GIF"), "bmp": lambda: encode(photographs()[0], "BMP"),
    "trailing bytes": lambda: photograph(0) + b"\0\0\0",
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_what_pillow_makes_of_it(decoder, name, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(FORMATS[name]())
    image = read_image(path, "files[0]")
    assert image.dtype == torch.uint8
    assert torch.equal(image, by_pillow(path.read_bytes()))
    assert torch.equal(open_image(path, "files[0]").window(3, 5, 20, 30), image[:, 3:23, 5:35])


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG whose header announces another size."""
    data = bytearray(photograph(0, (16, 16)))
    place = data.index(b"\xff\xc0") + 5
    data[place:place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def corrupted() -> bytes:
    """The marker that begins the coded data is gone."""
    data = photograph(0)
    return data[:data.index(b"\xff\xda")] + data[-2:]


DAMAGED = {
    "empty": lambda: b"", "html": lambda: b"<!DOCTYPE html><html><body>404</body></html>",
    "header only": lambda: photograph(0)[:300],
    "half": lambda: photograph(0)[:20_000], "last byte": lambda: photograph(0)[:-1], "no data": corrupted,
    "half a png": lambda: encode(photographs()[0], "PNG")[:20_000], "noise": lambda: bytes(range(256)) * 9,
    "postscript": lambda: encode(photographs()[0], "EPS"), "jpeg in name only": lambda: b"\xff\xd8" + bytes(100) + b"\xff\xd9",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_names_its_file_and_entry(decoder, name, tmp_path):
    """Whatever window is wanted: the first rows of an image cut in half are there, but a run must not depend on luck."""
    path = tmp_path / "broken.jpg"
    path.write_bytes(DAMAGED[name]())
    for read in (lambda: read_image(path, "a.json, annotations[7]"),
                 lambda: open_image(path, "a.json, annotations[7]").window(0, 0, 8, 8)):
        with pytest.raises(InputError, match=r"^a\.json, annotations\[7\]: .*broken\.jpg cannot be read as an image \(.+\)$"):
            read()


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_does_no_harm_to_the_next(decoder, name):
    good = [photograph(0, (60, 50), subsampling=0), photograph(0)]
    for _ in range(3):
        with pytest.raises(InputError):
            ImageFile(DAMAGED[name](), "damaged").window(0, 0, 8, 8)
        for data in good:
            assert torch.equal(ImageFile(data, "good").pixels(), by_pillow(data))
            assert torch.equal(ImageFile(data, "good").window(3, 5, 20, 30), by_pillow(data)[:, 3:23, 5:35])


def test_a_missing_image_names_its_file_and_entry(tmp_path):
    with pytest.raises(MissingPathError, match=r"annotations\[7\]: no file .*gone\.jpg"):
        read_image(tmp_path / "gone.jpg", "annotations[7]")
    with pytest.raises(InputError, match=r"annotations\[7\]: .* cannot be read \(Is a directory\)"):
        read_image(tmp_path, "annotations[7]")


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (65_500, 65_500), (12_000, 9_000)])
def test_a_header_that_announces_too_much_is_refused_before_memory_is_taken(decoder, width, height):
    data = jpeg_of_size(width, height)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"bomb|100,000,000 are the most"):
        ImageFile(data, "bomb.jpg").pixels()
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_what_pillow_reads_with_a_warning_is_read_alike(decoder):
    """Bytes between the coded data and the next marker: damaged, and every library's reader skips them."""
    data = photograph(0)
    data = data[:-2] + b"\x12\x34\x56" + data[-2:]
    assert torch.equal(ImageFile(data, "x.jpg").pixels(), by_pillow(data))


def test_the_library_of_the_package_is_found_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(turbojpeg, "in_system", list)
    library = turbojpeg.load()
    assert [library.origin] == [origin for _, origin in turbojpeg.in_package()] if library else not turbojpeg.in_package()


@pytest.mark.parametrize("name", [ctypes.util.find_library("c"), "libturbojpeg-gone.so.0"])
def test_a_library_that_is_too_old_or_broken_is_passed_over(name, monkeypatch):
    monkeypatch.setattr(turbojpeg, "in_system", lambda: [(name, name)])
    monkeypatch.setattr(turbojpeg, "in_package", list)
    assert turbojpeg.load() is None


def test_which_decoder_runs_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(decode, "find_turbojpeg", lambda: None)
    decode.announce_decoder.cache_clear()
    with caplog.at_level("INFO", logger="lib.dataset.decode"):
        decode.announce_decoder()
        decode.announce_decoder()
    decode.announce_decoder.cache_clear()
    message, = caplog.messages
    assert message.startswith("JPEGs are decoded by Pillow ")
    assert "turbojpeg" in message


def test_threads_share_the_library():
    data = [photograph(number, (120 + number, 90)) for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda file: ImageFile(file, "photograph").pixels(), data * 3))
    assert all(torch.equal(image, by_pillow(file)) for image, file in zip(images, data * 3))
