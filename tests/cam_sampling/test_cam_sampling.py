"""What is planned, what is made of it, and that files are there whole or not at all."""
import errno
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.backbone import BACKBONES
from lib.cam_sampling import Generation, SetFiles, Sheet, Writer, file_name, make_plan, num_added
from lib.cam_sampling.geometry import Moves, bounding_boxes, paste, source_maps
from lib.data_transform.resize import resize
from lib.dataset import ArraySet, ImageSet, fingerprint
from lib.modules import CLASSIFIERS, POOLINGS
from lib.net import Network, class_activation_maps, foreground, scale_maps
from lib.utils.errors import InputError, RunFailedError

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1, 0, 2, 0, 1, 0, 4, 0, 1, 0, 1, 2])   # 6, 4, 2, 0, 1


def pixels(size) -> torch.Tensor:
    return torch.randint(256, (len(LABELS), 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Uneven(ImageSet):
    """Images of three different sizes."""

    def __init__(self, labels: torch.Tensor = LABELS) -> None:
        super().__init__("uneven", labels, list("abcde"), [0.5] * 3, [0.5] * 3)

    def read(self, index: int) -> torch.Tensor:
        noise = torch.Generator().manual_seed(index)
        return torch.randint(256, (3, 9 + 4 * (index % 3), 12), dtype=torch.uint8, generator=noise)


def even() -> ArraySet:
    return ArraySet("even", pixels((8, 8)), LABELS, list("abcde"), [0.5] * 3, [0.5] * 3)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    backbone = BACKBONES["res20_cifar"]()
    return Network(backbone, POOLINGS["GAP"](), CLASSIFIERS["FC"](64, 5)).eval()


def generation(images: ImageSet, network: Network, batch_size: int = 4, num_readers: int = 2) -> Generation:
    return Generation(images, network, lambda batch: batch.float() / 128 - 1, (16, 16), CPU, batch_size=batch_size,
                      num_readers=num_readers)


def results(images: ImageSet, network: Network, seed: int = 0, **options) -> dict[int, torch.Tensor]:
    plan = make_plan(images, 0, seed)
    made = generation(images, network, **options).run(plan)
    return {number: result for some in made for number, result in zip(some.numbers.tolist(), some.results)}


# --- how many

def test_classes_are_filled_up_to_the_largest_and_the_smallest_together():
    assert num_added(torch.tensor([5000, 300, 50]), 0).tolist() == [50, 4750, 5000]


def test_empty_classes_get_none_and_do_not_count_as_the_smallest():
    assert num_added(torch.tensor([10, 0, 4]), 0).tolist() == [4, 0, 10]


@pytest.mark.parametrize(("threshold", "expected"), [
    (0, [4, 8, 9, 12]), (1, [0, 0, 0, 0]), (5, [0, 0, 0, 5]), (7, [0, 0, 0, 7]), (8, [0, 0, 8, 8]), (9, [0, 8, 9, 9]),
    (12, [0, 8, 9, 12]), (13, [4, 8, 9, 12])])
def test_a_threshold_leaves_larger_classes_alone_and_is_the_most_that_others_get(threshold, expected):
    assert num_added(torch.tensor([12, 8, 7, 4]), threshold).tolist() == expected


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_numbers_in_general(counts, threshold):
    counts = torch.tensor(counts)
    added = num_added(counts, threshold)
    assert (added >= 0).all()
    assert (added[counts == 0] == 0).all()
    filled = counts > 0
    if threshold == 0:
        assert ((counts + added)[filled] == counts.max() + counts[filled].min()).all()
    else:
        assert added.max() <= threshold
        assert (added[filled] > 0).tolist() == (counts[filled] < threshold).tolist()


def test_sets_that_are_filled_up_do_not_heed_the_threshold():
    assert torch.bincount(make_plan(even(), 3, 0).labels, minlength=5).tolist() == [1, 3, 5, 0, 6]
    assert torch.bincount(make_plan(Uneven(), 3, 0).labels, minlength=5).tolist() == [0, 0, 3, 0, 3]


# --- which

def test_sources_are_of_the_class_and_all_of_it_are_used():
    labels = (torch.arange(1000) % 40).clamp_max(1).flip(0)
    images = ArraySet("many", torch.zeros(1000, 3, 1, 1), labels, list("ab"), [0] * 3, [1] * 3)
    assert images.class_counts.tolist() == [25, 975]
    plan = make_plan(images, 0, 5)
    assert torch.equal(images.labels[plan.sources], plan.labels)
    rare = torch.bincount(plan.sources[plan.labels == 0], minlength=1000)[images.labels == 0].double()
    assert rare.sum() == 975
    assert ((rare - 39).square() / 39).sum() < 51.2   # χ² with 24 degrees of freedom, p = .001
    assert plan.places.tolist() == [*range(975), *range(25)]


def test_a_plan_is_a_function_of_the_seed():
    one, same, other = (make_plan(even(), 0, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, same))
    assert not torch.equal(one.uniform, other.uniform)


# --- what is made

@pytest.mark.parametrize("images", [even(), Uneven()], ids=["even", "uneven"])
def test_every_image_is_what_the_definition_says(images, network):
    """One by one, from the whole image brought to INPUT_SIZE, its own class's map brought to its own size."""
    plan, found = make_plan(images, 0, 0), results(images, network)
    assert sorted(found) == list(range(len(plan.labels)))
    for number, result in found.items():
        image = images.read(int(plan.sources[number]))[None]
        view = resize(image, (16, 16)).float() / 128 - 1
        size = tuple(image.shape[2:])
        mask = foreground(scale_maps(class_activation_maps(network, view, plan.labels[number:number + 1]), size))
        moves = Moves.from_uniform(plan.uniform[number:number + 1])
        expected = paste(image, mask, source_maps(moves, bounding_boxes(mask), size))
        assert torch.equal(result, expected[0]), number


@pytest.mark.parametrize("images", [even(), Uneven()], ids=["even", "uneven"])
def test_batch_size_and_threads_change_nothing(images, network):
    expected = results(images, network)
    for batch_size, num_readers in ((1, 1), (3, 4), (100, 1)):
        found = results(images, network, batch_size=batch_size, num_readers=num_readers)
        assert all(torch.equal(found[number], expected[number]) for number in expected)


def test_each_source_passes_the_network_once(network):
    seen = []
    handle = network.backbone.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    plan = make_plan(even(), 0, 0)
    assert len(list(generation(even(), network).run(plan))) > 0
    handle.remove()
    assert sum(seen) == len(plan.sources.unique()) < len(plan.labels)


def test_a_network_that_diverged_is_named(network):
    broken = Network(network.backbone, network.module, CLASSIFIERS["FC"](64, 5)).eval()
    torch.nn.init.constant_(broken.classifier.weight, float("nan"))
    with pytest.raises(RunFailedError, match="not finite"):
        results(even(), broken)


# --- files

@pytest.fixture
def output(tmp_path) -> SetFiles:
    return SetFiles(tmp_path / "deep/images", tmp_path / "other/cam.json")


def write(output: SetFiles, count: int = 100) -> torch.Tensor:
    """Writes and commits ``count`` images of class 3, image k of the values k to k + 11."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None] + torch.arange(12, dtype=torch.uint8).view(3, 2, 2)
    with output.filling() as folder:
        with Writer(folder) as writer:
            (folder / "class_0003").mkdir()
            writer.write([file_name(3, number) for number in range(count)], images)
        output.commit({"source": fingerprint(even()), "annotations": [], "count": count})
    return images


def test_what_is_written_comes_back(output):
    images = write(output)
    for number in (0, 1, 57, 99):
        read = np.array(Image.open(output.folder / file_name(3, number)))
        assert np.array_equal(read, images[number].permute(1, 2, 0).numpy())
    assert len(list(output.folder.rglob("*.png"))) == 100
    assert json.loads(output.json_file.read_text())["count"] == 100
    assert not output.unfinished.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_nothing(output, error):
    def interrupted() -> None:
        with output.filling() as folder, Writer(folder) as writer:
            (folder / "class_0000").mkdir()
            writer.write([file_name(0, 0)], torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
            raise error

    with pytest.raises(error):
        interrupted()
    assert [path for path in output.folder.parent.rglob("*") if path.is_file()] == []
    assert not output.unfinished.exists()
    assert not output.json_file.exists()


def test_an_interrupted_replacement_leaves_the_old_set(output):
    write(output)
    with pytest.raises(KeyboardInterrupt), output.filling():
        raise KeyboardInterrupt
    assert len(list(output.folder.rglob("*.png"))) == 100
    assert json.loads(output.json_file.read_text())["count"] == 100


def test_images_without_their_annotations_are_nobodys(output, monkeypatch):
    """Killed between the two, the same command begins anew; but what never was torn is not replaced unasked."""
    def killed(path, text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lib.cam_sampling.output.write_text_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            write(output)
    assert len(list(output.folder.rglob("*.png"))) == 100
    output.check_free(overwrite=False)
    write(output)
    assert not output.has_leftovers()
    output.json_file.unlink()
    with pytest.raises(InputError, match="already exists"):
        output.check_free(overwrite=False)


def test_what_a_killed_generation_left_is_cleared_away(output):
    (output.unfinished / "class_0009").mkdir(parents=True)
    write(output)
    assert [path.name for path in output.folder.iterdir()] == ["class_0003"]


def test_a_finished_set_is_replaced_on_request_only(output):
    output.check_free(overwrite=False)
    write(output)
    with pytest.raises(InputError, match=r"images and .*cam\.json already exists; replace it with --overwrite"):
        output.check_free(overwrite=False)
    output.check_free(overwrite=True)
    write(output, count=2)
    assert len(list(output.folder.rglob("*.png"))) == 2
    assert [path.name for path in output.folder.parent.iterdir()] == ["images"]


def test_files_of_others_are_never_replaced(output):
    write(output)
    foreign = output.folder / "class_0003/holiday.png"
    foreign.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"holiday\.png is not an image of CAM-based sampling"):
        output.check_free(overwrite=True)
    foreign.unlink()
    output.json_file.write_text('{"annotations": [{"fpath": "a.jpg", "category_id": 0}], "num_classes": 1}')
    with pytest.raises(InputError, match=r"cam\.json does not say .* choose another path"):
        output.check_free(overwrite=True)


def test_paths_of_the_wrong_kind_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"CAM_DATA_SAVE_PATH: .*file is a file"):
        SetFiles(tmp_path / "file", tmp_path / "cam.json").check_free(overwrite=True)
    with pytest.raises(InputError, match=r"CAM_DATA_JSON_SAVE_PATH: .* is a folder"):
        SetFiles(tmp_path / "images", tmp_path).check_free(overwrite=True)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"CAM_DATA_SAVE_PATH: cannot write to .*file"), \
            SetFiles(tmp_path / "file/images", tmp_path / "cam.json").filling():
        pass


def test_a_failure_while_writing_is_told(output):
    with pytest.raises(InputError, match="cannot write"), output.filling() as folder, Writer(folder) as writer:
        writer.write([file_name(0, 0)], torch.zeros(1, 3, 2, 2, dtype=torch.uint8))   # its folder is not there


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, RunFailedError), (errno.EACCES, InputError)])
def test_a_full_disk_is_no_mistake_of_the_users(output, monkeypatch, number, error):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("lib.cam_sampling.output.write_pngs", fail)
    with pytest.raises(error, match=os.strerror(number)), output.filling() as folder, Writer(folder) as writer:
        writer.write([file_name(0, 0)], torch.zeros(1, 3, 2, 2, dtype=torch.uint8))


# --- contact sheet

def test_the_sheet_shows_original_map_and_result_of_every_kind(network):
    images = even()
    plan = make_plan(images, 0, 0)
    sheet = Sheet(plan)
    for made in generation(images, network).run(plan):
        sheet.collect(made)
    kinds = Moves.from_uniform(plan.uniform).kind
    expected = {(row, kind) for row, label in enumerate(sheet.classes) for kind in kinds[plan.labels == label].tolist()}
    assert set(sheet.pictures) == expected
    figure = sheet.figure(images.class_names, images.class_counts)
    assert len(figure.axes) == len(sheet.classes) * 9
    assert [axes.get_title() for axes in figure.axes[:3]] == ["original", "map", "result"]
    result = figure.axes[2].images[0].get_array()
    assert np.array_equal(result, sheet.pictures[0, 0][3].transpose(1, 2, 0))
