"""Image files through the loaders: the reference's images, whatever the number of workers; what happens to bad ones."""
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data_transform import TRANSFORMS, Source
from lib.data_transform.resize import RandomResizedCrop
from lib.dataset import EvalBatches, FileLoader, MemoryLoader, make_loader
from lib.dataset.base import Decoded
from lib.dataset.reader import Reader, Taken, collate
from lib.dataset.rgb import DEEP, TRANSPARENT
from lib.device.runtime import Runtime
from lib.run.findings import FindingsLog
from lib.utils.errors import InputError, UnreadableImageError
from lib.utils.seed import spawn_seeds
from tests.dataset.file_set import FileSet
from tests.dataset.photographs import encode, photograph, photographs

CPU = torch.device("cpu")
SIZE = (32, 24)
BAD = 6   # of class 0, as are all even ones


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    paths = [folder / f"{number}.jpg" for number in range(12)]
    for number, path in enumerate(paths):
        path.write_bytes(photograph(number, (60 + 7 * number, 50 + number), subsampling=number % 3))
    paths[3].write_bytes(encode(photographs()[0].resize((64, 48)), "PNG"))   # files are known by their contents
    return paths


@pytest.fixture
def files_with_bad_one(files, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(files[BAD].read_bytes()[:-400])
    return [tmp_path / "cut.jpg" if number == BAD else path for number, path in enumerate(files)]


def crop() -> RandomResizedCrop:
    return RandomResizedCrop(SIZE)


def load(images, workers=0, skip=False, transforms=None) -> list:
    loader = FileLoader(images, EvalBatches(len(images.labels), 5), transforms or [crop()], lambda batch: batch, CPU, workers,
                        skip_unreadable=skip)
    return list(loader)


def test_a_window_is_drawn_before_decoding_and_the_result_is_that_of_the_whole_image(files):
    images = FileSet(files)
    for index in range(12):
        reader = Reader(images, [crop()])
        assert torch.equal(reader.read(index, 5).image, crop().image(images.read(index), torch.Generator().manual_seed(5)))


def test_a_transform_that_needs_the_whole_image_gets_it(files):
    images = FileSet(files)
    chain = [TRANSFORMS["shorter_resize_for_crop"](SIZE), TRANSFORMS["center_crop"](SIZE)]
    assert torch.equal(Reader(images, chain).read(2, 0).image, chain[1].image(chain[0].image(images.read(2))))


def test_only_the_window_is_decoded():
    """A source that has nothing but the window that is drawn."""
    class OnlyWindow(Source):
        size = (300, 400)

        def window(self, top, left, height, width, target=None):
            self.asked = top, left, height, width
            return torch.full((3, height, width), 7, dtype=torch.uint8)

    source = OnlyWindow()
    assert crop().source(source, torch.Generator().manual_seed(1)).unique().tolist() == [7]
    assert source.asked == crop().window(300, 400, torch.Generator().manual_seed(1))


def test_a_decoded_image_is_a_source_too(files):
    image = FileSet(files).read(0)
    assert Decoded(image).size == tuple(image.shape[1:])
    assert torch.equal(Decoded(image).window(2, 3, 10, 20), image[:, 2:12, 3:23])


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(files_with_bad_one):
    first, *others = (load(FileSet(files_with_bad_one), workers, skip=True) for workers in (0, 1, 2))
    for other in others:
        assert all(torch.equal(a.images, b.images) and torch.equal(a.indices, b.indices) for a, b in zip(first, other))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_an_unreadable_image_is_an_error_that_names_it(files_with_bad_one, workers):
    with pytest.raises(UnreadableImageError) as caught:
        load(FileSet(files_with_bad_one), workers)
    assert str(caught.value).startswith("files[6]: ")
    assert "cut.jpg cannot be read as an image" in str(caught.value)
    assert "DATASET.ON_BAD_IMAGE skip" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_next_image_of_its_class_takes_the_place_of_a_bad_one(files, files_with_bad_one):
    good, skipped = load(FileSet(files)), load(FileSet(files_with_bad_one), skip=True)
    seed = spawn_seeds(EvalBatches(12, 5).seeds(3)[1], 5)[1]   # of the second image of the second batch, which is number 6
    for batch, (expected, result) in enumerate(zip(good, skipped)):
        assert torch.equal(expected.indices, result.indices)
        assert torch.equal(expected.labels, result.labels)
        changed = (expected.images != result.images).flatten(1).any(1)
        assert result.indices[changed].tolist() == ([BAD] if batch == 1 else [])
    assert torch.equal(skipped[1].images[1], Reader(FileSet(files), [crop()]).read(8, seed).image)


def test_after_the_last_image_of_a_class_comes_its_first(files, tmp_path):
    images = FileSet([*files[:10], tmp_path / "gone.jpg", files[11]])
    image, complaint, *_ = Reader(images, [crop()], skip_unreadable=True).take(10, 3)
    assert torch.equal(image, Reader(images, [crop()]).read(0, 3).image)
    assert complaint.startswith("files[10]: no file")


def test_a_class_without_a_readable_image_is_an_error(files, tmp_path):
    images = FileSet([tmp_path / "gone.jpg" if number % 2 else path for number, path in enumerate(files)])
    with pytest.raises(UnreadableImageError) as caught:
        Reader(images, [crop()], skip_unreadable=True).take(1)
    assert re.match(r"files\[1\]: no file .*; nor can any other of the 6 images of class 'odd'", str(caught.value))
    assert "ON_BAD_IMAGE" not in str(caught.value)   # which is on
    with pytest.raises(UnreadableImageError, match="ON_BAD_IMAGE skip replaces such"):
        Reader(images, [crop()]).take(1)


def test_an_image_that_a_transform_cannot_take_is_named(files):
    reader = Reader(FileSet(files), [TRANSFORMS["random_crop"]((400, 400), padding=0)])
    with pytest.raises(InputError, match=r"^files\[2\]: .*2\.jpg: random_crop: an image of \[52, 74\] .* is smaller than"):
        reader.take(2)


@pytest.fixture
def messages(monkeypatch) -> list[str]:
    """What the log gets."""
    found = []
    for level in ("info", "warning"):
        monkeypatch.setattr(f"lib.run.findings.log.{level}", lambda text, *values: found.append(text % values))
    return found


def test_what_was_skipped_is_named_once_in_a_run(files_with_bad_one, tmp_path, monkeypatch, messages):
    monkeypatch.setattr("lib.run.findings.SHOWN_COMPLAINTS", 1)
    paths = [*files_with_bad_one[:9], tmp_path / "gone.jpg", *files_with_bad_one[10:11], tmp_path / "late.jpg"]
    paths[11].write_bytes(files_with_bad_one[11].read_bytes())
    loader = FileLoader(FileSet(paths), EvalBatches(12, 5), [crop()], lambda batch: batch, CPU, 0, skip_unreadable=True)
    findings = FindingsLog([loader], Runtime(CPU))
    for epoch in range(3):
        assert sum(len(batch.labels) for batch in loader) == 12
        findings.tell()
        findings.tell()
        if epoch == 1:
            paths[11].unlink()
    findings.sum_up()
    first, late, summary = messages
    assert first.startswith("files: 2 images could not be read and were replaced by others of their class:\n    files[6]: ")
    assert first.endswith("\n    and 1 more")
    assert late.startswith(
        "files: 1 images could not be read and were replaced by others of their class:\n    files[11]: no file")
    assert summary == "files: in total, 3 of 12 images could not be read and were replaced by others of their class"


def remarkable(folder) -> list[Path]:
    """Transparent PNGs 1 and 2, one with an alpha channel that hides nothing, one of 16 bits; all 24 × 32."""
    pictures = [photographs()[0].resize((24, 32)).convert("RGBA") for _ in range(5)]
    for number in (1, 2):
        pictures[number].putpixel((number, 3), (255, 0, 0, 10))
    pictures[4] = Image.fromarray(np.full((32, 24), 40_000, dtype=np.uint16))
    paths = [folder / f"{number}.png" for number in range(5)]
    for path, picture in zip(paths, pictures):
        picture.save(path)
    return paths


@pytest.mark.parametrize(("in_memory", "workers"), [("always", 0), ("never", 0),
                                                    pytest.param("never", 2, marks=pytest.mark.slow)])
def test_transparent_images_are_counted_once_per_run_and_set(tmp_path, messages, in_memory, workers):
    images = FileSet(remarkable(tmp_path), image_size=(32, 24))
    loader = make_loader(images, EvalBatches(5, 2), [TRANSFORMS["center_crop"]((40, 24))], lambda batch: batch, CPU,
                         in_memory=in_memory, num_workers=workers, pin_memory=False)
    findings = FindingsLog([loader], Runtime(CPU))
    for _ in range(2):
        list(loader)
        findings.tell()
    findings.sum_up()
    if in_memory == "never":
        loader.close()
    assert sorted(messages) == sorted([
        f"files: 2 of 5 images {TRANSPARENT['drop']}", f"files: 1 of 5 images {DEEP}",
        "files: 5 of 5 images are smaller than INPUT_SIZE, so center_crop pads them with black"])


def test_what_grows_after_it_was_said_is_said_again_at_the_end(tmp_path, messages):
    images = FileSet(remarkable(tmp_path), image_size=(32, 24))
    loader = FileLoader(images, EvalBatches(5, 2), [], lambda batch: batch, CPU, 0)
    findings = FindingsLog([loader], Runtime(CPU))
    next(iter(loader))   # images 0 and 1
    findings.tell()
    list(loader)
    findings.sum_up()
    assert messages == [f"files: 1 of 5 images {TRANSPARENT['drop']}", f"files: 1 of 5 images {DEEP}",
                        f"files: 2 of 5 images {TRANSPARENT['drop']}"]


def test_images_of_many_sizes_are_remarked_on_by_workers_too(files, messages):
    chain = [TRANSFORMS[name]((60, 60)) for name in ("center_crop", "random_horizontal_flip")]
    loader = FileLoader(FileSet(files), EvalBatches(12, 5), chain, lambda batch: batch, CPU, 0)
    list(loader)
    FindingsLog([loader], Runtime(CPU)).tell()
    assert messages == ["files: 10 of 12 images are smaller than INPUT_SIZE, so center_crop pads them with black"]


def test_memory_and_files_agree_on_what_takes_the_place_of_a_bad_image(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        path.write_bytes(encode(photographs()[number % 2].resize((24, 32)).rotate(number), "PNG"))
    paths[5].write_bytes(b"")
    images = FileSet(paths, image_size=SIZE)
    memory, files = (make_loader(images, EvalBatches(12, 5), [], lambda batch: batch, CPU, in_memory=where, num_workers=0,
                                 pin_memory=False, skip_unreadable=True) for where in ("always", "never"))
    assert (type(memory), type(files)) == (MemoryLoader, FileLoader)
    assert all(torch.equal(one.images, two.images) for one, two in zip(memory, files))
    assert memory.findings.unreadable == files.findings.unreadable
    assert list(memory.findings.unreadable) == [5]
    with pytest.raises(InputError, match=r"files\[5\]: .*5\.png cannot be read as an image \(the file is empty\)"):
        make_loader(images, EvalBatches(12, 5), [], lambda batch: batch, CPU, in_memory="always", num_workers=0, pin_memory=False)


def test_a_batch_with_an_error_is_that_error():
    image, error = torch.zeros(3, 2, 2), InputError("files[1]: broken")
    assert collate([Taken(image), error]) is error
    images, notes, _ = collate([Taken(image), Taken(image, "files[1]: broken"), Taken(image, remarks=frozenset({"are deep"}))])
    assert images.shape == (3, 3, 2, 2)
    assert notes == ({1: "files[1]: broken"}, {2: {"are deep"}})
