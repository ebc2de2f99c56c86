"""A set enlarged by CAM-based sampling: its images, its draws, and how a foreign one is refused."""
import copy
import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib.dataset import SAMPLERS, ArraySet, EpochBatches, FileLoader, MemoryLoader, enlarge, fingerprint
from lib.dataset.json_set import JsonSet
from lib.utils.errors import InputError, MissingPathError
from lib.utils.schedule import Deferred
from lib.utils.seed import shared_generator

COUNTS, ADDED = [12, 6, 2, 0], [1, 7, 12, 0]
CPU = torch.device("cpu")
NORMALIZE = torch.Tensor.float


def original(seed: int = 0, counts=COUNTS, indices=None, size=(6, 5), name: str = "set") -> ArraySet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    pixels = torch.randint(256, (len(labels), 3, *size), dtype=torch.uint8, generator=generator)
    return ArraySet(name, pixels, labels, list("abcd"), [0.1, 0.2, 0.3], [0.4, 0.5, 0.6], indices)


@pytest.fixture
def made(tmp_path) -> Path:
    """An enlarged set on disk: image k of the added ones is filled with the number k."""
    labels = torch.arange(4).repeat_interleave(torch.tensor(ADDED)).tolist()
    (tmp_path / "images").mkdir()
    annotations = []
    for number, label in enumerate(labels):
        Image.new("RGB", (5, 6), (number,) * 3).save(tmp_path / f"images/{number}.png")
        annotations.append({"image_id": number, "fpath": f"images/{number}.png", "im_height": 6, "im_width": 5,
                            "category_id": label})
    path = tmp_path / "cam.json"
    path.write_text(json.dumps({"num_classes": 4, "source": fingerprint(original()), "annotations": annotations}))
    return path


def test_originals_come_first_then_the_added_ones_and_counts_stay(made):
    images, source = enlarge(original(), made), original()
    assert len(images.labels) == 40
    assert images.class_counts.tolist() == COUNTS
    assert torch.bincount(images.labels, minlength=4).tolist() == [13, 13, 14, 0]
    pixels = images.pixels()
    assert torch.equal(pixels[:20], source.pixels())
    assert pixels[20:].flatten(1).tolist() == [[number] * 90 for number in range(20)]
    assert all(torch.equal(images.read(number), pixels[number]) for number in range(40))
    assert torch.equal(images.mean, source.mean)
    assert images.num_bytes == 40 * 90


def test_memory_and_files_give_the_same_batches(made):
    def batches(kind, *options):
        images = enlarge(original(), made)
        plan = EpochBatches(SAMPLERS["weighted sampler"](images.labels, images.class_counts, 5), 4, seed=1)
        return list(kind(images, plan, [], NORMALIZE, CPU, *options))

    for one, two in zip(batches(MemoryLoader), batches(FileLoader, 0), strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)


def test_it_reaches_worker_processes(made):
    images = pickle.loads(pickle.dumps(enlarge(original(), made)))
    assert images.read(25).unique().tolist() == [5]


def draws(made, name: str, epochs: int = 300, **options) -> tuple[torch.Tensor, torch.Tensor]:
    images = enlarge(original(), made)
    draw = SAMPLERS[name](images.labels, images.class_counts, 10, **options)
    return torch.cat([draw(5, shared_generator(seed, 5)) for seed in range(epochs)], dim=1), images.labels


def test_the_plain_permutation_covers_the_enlarged_set(made):
    rows, _ = draws(made, "default", epochs=1)
    assert rows[0].sort().values.tolist() == list(range(40))


@pytest.mark.parametrize(("kind", "expected"), [
    ("balance", [1, 1, 1, 0]), ("square", [12 ** 0.5, 6 ** 0.5, 2 ** 0.5, 0]),
    ("progressive", [1 / 8 + 6 / 20, 1 / 8 + 3 / 20, 1 / 8 + 1 / 20, 0])])
def test_weighted_draws_keep_length_and_probabilities_of_the_original_set(made, kind, expected):
    rows, labels = draws(made, "weighted sampler", type_=kind)
    assert rows.shape[1] == 300 * 20
    frequencies = torch.bincount(labels[rows[0]], minlength=4) / rows.shape[1]
    expected = torch.tensor(expected, dtype=torch.float)
    torch.testing.assert_close(frequencies, expected / expected.sum(), atol=0.03, rtol=0)


def test_images_of_a_class_are_drawn_uniformly_among_old_and_new(made):
    rows, labels = draws(made, "weighted sampler", type_="balance")
    own = (labels == 2).nonzero()[:, 0]
    counts = torch.bincount(rows[0], minlength=40)[own].double()
    assert len(own) == 14
    assert ((counts - counts.mean()).square() / counts.mean()).sum() < 34.5   # χ² with 13 degrees of freedom, p = .001


def test_bbn_rows_keep_the_original_length(made):
    rows, labels = draws(made, "bbn sampler", type_="reverse")
    assert rows.shape == (2, 300 * 20)
    frequencies = torch.bincount(labels[rows[1]], minlength=4)[:3] / rows.shape[1]
    expected = torch.tensor([1 / 12, 1 / 6, 1 / 2])
    torch.testing.assert_close(frequencies, expected / expected.sum(), atol=0.03, rtol=0)
    assert rows[0].max() >= 20   # the first row reaches added images too


def test_under_drs_epochs_of_the_two_stages_differ_in_length(made):
    images = enlarge(original(), made)
    plain, weighted = (SAMPLERS[name](images.labels, images.class_counts, 4) for name in ("default", "weighted sampler"))
    loader = MemoryLoader(images, EpochBatches(weighted, 4, first_stage=plain, deferred=Deferred(2)), [], NORMALIZE, CPU)
    for epoch, num_images in ((2, 40), (3, 20)):
        loader.on_epoch(epoch)
        assert (loader.num_images, len(loader)) == (num_images, num_images // 4)
        assert sum(len(batch.labels) for batch in loader) == num_images


# --- what it was made for

@pytest.mark.parametrize(("other", "field"), [
    (original(seed=1), "labels"), (original(counts=[12, 6, 1, 0]), "class_counts"), (original(size=(5, 6)), "image_size"),
    (original(indices=torch.arange(20)), "indices"), (original(name="another"), "data_set")])
def test_a_set_made_for_other_images_is_refused(made, other, field):
    with pytest.raises(InputError, match=rf"CAM_DATA_JSON_SAVE_PATH: .*cam\.json.*{field} .*GENERATE_CAM_BASED_DATASET"):
        enlarge(other, made)


@pytest.mark.parametrize(("change", "field"), [
    (lambda images: setattr(images, "class_names", list("dbca")), "class_names"),
    (lambda images: setattr(images, "digest", "of other pixels"), "content")])
def test_other_names_or_pixels_are_refused_where_the_file_tells(made, change, field):
    images, content = original(), json.loads(made.read_text())
    change(images)
    with pytest.raises(InputError, match=f"was made for another training set.*{field}"):
        enlarge(images, made)
    for key in ("class_names", "content"):   # as earlier versions wrote it
        del content["source"][key]
    made.write_text(json.dumps(content))
    assert len(enlarge(images, made).labels) == 40


def test_what_was_added_is_told_without_its_folder(made, tmp_path):
    inner = tmp_path / "moved"
    inner.mkdir()
    before = enlarge(original(), made).added()
    for name in ("images", "cam.json"):
        (tmp_path / name).rename(inner / name)
    assert enlarge(original(), inner / "cam.json").added() == before
    content = json.loads((inner / "cam.json").read_text()) | {"made_with": {"seed": 1}}
    (inner / "cam.json").write_text(json.dumps(content))
    assert enlarge(original(), inner / "cam.json").added() == before | {"made_with": {"seed": 1}}


def test_the_fingerprint_does_not_depend_on_the_folder():
    assert fingerprint(original(name="data/train.json")) == fingerprint(original(name="/elsewhere/train.json"))
    assert fingerprint(original()) == fingerprint(copy.deepcopy(original()))


def test_a_folder_that_moved_as_a_whole_is_found(made, tmp_path):
    inner = tmp_path / "moved"
    inner.mkdir()
    for name in ("images", "cam.json"):
        (tmp_path / name).rename(inner / name)
    assert enlarge(original(), inner / "cam.json").read(23).unique().tolist() == [3]


def test_a_missing_image_is_named(made):
    (made.parent / "images/7.png").unlink()
    with pytest.raises(MissingPathError, match=r"cam\.json, annotations\[7\]: no file .*images/7\.png.* 1 of 20"):
        enlarge(original(), made)


def test_a_damaged_image_is_named(made):
    path = made.parent / "images/7.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"images/7\.png cannot be read as an image"):
        enlarge(original(), made).pixels()
    Image.new("RGB", (2, 2)).save(path)
    with pytest.raises(InputError, match=r"images/7\.png has .*2, 2.*6, 5"):
        enlarge(original(), made).read(27)


@pytest.mark.parametrize(("content", "message"), [
    ("{", "is no JSON"), ("[" * 100_000, "is no JSON"), (None, "no file"), ("3", "has no list of annotations"),
    ("[]", "has no list of annotations"), ('{"annotations": [], "num_classes": 4}', "has no list of annotations"),
    ('{"annotations": [{}], "source": 3}', "has no list"), ('{"annotations": {"a": 1}, "num_classes": 4}', "has no list")])
def test_a_file_that_is_none_of_this_kind_is_named(tmp_path, content, message):
    path = tmp_path / "cam.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=rf"DATASET\.CAM_DATA_JSON_SAVE_PATH: .*{message}.*GENERATE_CAM_BASED_DATASET True"):
        enlarge(original(), path)


def test_an_annotation_with_a_hole_is_refused(made):
    content = json.loads(made.read_text())
    del content["annotations"][3]["category_id"]
    made.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"cam\.json, annotations\[3\]: has no category_id"):
        enlarge(original(), made)


# --- published files

@pytest.fixture
def published(made, monkeypatch) -> Path:
    """A bare list, with paths from the working directory and shapes beside sizes, as the published code dumps it."""
    entries = json.loads(made.read_text())["annotations"]
    for entry in entries:
        del entry["image_id"]
        entry |= {"fpath": f"work/{entry['fpath']}", "im_shape": [6, 5, 3]}
    (made.parent / "work").mkdir()
    (made.parent / "images").rename(made.parent / "work/images")
    (made.parent / "json").mkdir()
    path = made.parent / "json/cam.json"
    path.write_text(json.dumps(entries))
    monkeypatch.chdir(made.parent)
    return path


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def test_a_published_list_is_read_with_a_warning(published, caplog):
    with caplog.at_level("INFO", logger="lib.dataset.enlarged"):
        images = enlarge(original(), published)
    assert torch.bincount(images.labels, minlength=4).tolist() == [13, 13, 14, 0]
    assert images.pixels()[20:].flatten(1).tolist() == [[number] * 90 for number in range(20)]
    text = caplog.text
    assert text.count("does not say which training set it was made for") == 1
    assert "relative to the working directory" in text


def test_so_is_the_same_list_under_annotations(published):
    edit(published, lambda entries: {"annotations": entries, "num_classes": 4})
    assert len(enlarge(original(), published).paths) == 20


@pytest.mark.parametrize("where", ["json", "", "elsewhere"])
def test_its_relative_paths_are_looked_for_and_the_folder_is_told(published, where, caplog):
    """Beside the file, in the working directory, under DATASET.ROOT."""
    target = published.parent.parent / where
    if where:
        target.mkdir(exist_ok=True)
        (published.parent.parent / "work").rename(target / "work")
    with caplog.at_level("INFO", logger="lib.dataset.enlarged"):
        assert len(enlarge(original(), published, str(published.parent.parent / "elsewhere")).paths) == 20
    assert f"relative to {target if where else 'the working directory'}" in caplog.text


def test_an_image_that_is_in_none_of_them_is_named_with_all_of_them(published):
    (published.parent.parent / "work/images/7.png").unlink()
    with pytest.raises(MissingPathError, match=r"cam\.json, annotations\[7\]: no file work/images/7\.png, and so for 1 of 20; "
                                               r"looked for in .*json, the working directory, /root"):
        enlarge(original(), published, "/root")


@pytest.mark.parametrize(("key", "value", "message"), [
    ("category_id", 4, "category_id 4 is none of the 4 classes of set"), ("category_id", 1.5, "category_id must be"),
    ("category_id", -1, "category_id must be"), ("fpath", None, "fpath must be the path"), ("im_width", None, "has no im_width"),
    ("im_height", 0, "im_height must be"), ("im_height", "6", "im_height must be")])
def test_its_annotations_are_checked_one_by_one(published, key, value, message):
    edit(published, lambda entries: entries[5].__setitem__(key, value))
    with pytest.raises(InputError, match=rf"cam\.json, annotations\[5\]: {message}"):
        enlarge(original(), published)


def test_another_number_of_classes_is_refused(published):
    edit(published, lambda entries: {"annotations": entries, "num_classes": 100})
    with pytest.raises(InputError, match=r"cam\.json has 100 classes, and set has 4"):
        enlarge(original(), published)


def test_another_size_of_an_image_is_named_when_it_is_read(published):
    edit(published, lambda entries: entries[5].__setitem__("im_width", 6))
    with pytest.raises(InputError, match=r"images/5\.png has \[6, 5\] pixels, its annotation says \[6, 6\]"):
        enlarge(original(), published).read(25)


def test_the_training_set_s_own_annotations_are_no_new_images(published):
    edit(published, lambda entries: {"annotations": entries, "num_classes": 4})
    train = JsonSet(True, "", (6, 5), train_json=str(published), valid_json="")
    with pytest.raises(InputError, match=r"names work/images/0\.png, which is an image of .* itself"):
        enlarge(train, published)
