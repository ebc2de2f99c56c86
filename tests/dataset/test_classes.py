"""Sets whose files number the same classes in other orders, or do not name them."""
import logging
from pathlib import Path

import pytest
import torch

from lib.config import load_config
from lib.core import build
from lib.dataset import ArraySet, fingerprint, match_classes
from lib.utils.errors import InputError
from tests.dataset.named_sets import NAMES, words, write_set


@pytest.mark.parametrize(("names", "others", "places"), [
    (NAMES, NAMES, [0, 1, 2]), (["eel", "cat"], NAMES, [2, 0]), (["caf\u00e9"], ["cafe\u0301"], [0]),
    (["0", "1", "2"], NAMES, None), (NAMES, ["0", "1", "2"], None), (["0", "1"], ["0", "1", "2"], None),
    (["1", "0", "10"], [str(number) for number in range(11)], [1, 0, 10]), (["a", "a", "b"], ["a", "a", "b"], [0, 1, 2])])
def test_places_by_name(names, others, places):
    found = match_classes(names, others, "sets")
    assert found.places == places
    assert not found.only_here
    assert found.reordered == (places in ([2, 0], [1, 0, 10]))


def test_what_either_side_lacks_is_named():
    found = match_classes(["cat", "fox"], NAMES, "sets")
    assert (found.places, found.only_here, found.only_there) == (None, ["fox"], ["dog", "eel"])


def test_a_name_of_two_classes_cannot_be_compared():
    with pytest.raises(InputError, match="train and valid list different classes, or in another order, and 'crane' is the"):
        match_classes(["crane", "cat", "crane"], ["cat", "crane", "crane"], "train and valid")


def write_sets(folder: Path, train: list[str] | None, valid: list[str] | None) -> None:
    for name, names in (("train", train), ("valid", valid)):
        order = names or NAMES
        write_set(folder, name, names, order=order, counts=(5, 3, 2)[:len(order)])


def build_sets(tiny, folder: Path):
    return build.build_datasets(load_config([], [*tiny, *words(folder)]))


def told(caplog) -> str:
    return "\n".join(record.getMessage() for record in caplog.records)


@pytest.fixture(autouse=True)
def heard(caplog):
    logging.getLogger("lib").propagate = True
    caplog.set_level("INFO", logger="lib.dataset.classes")
    yield
    logging.getLogger("lib").propagate = False


def test_validation_follows_the_order_of_training(tmp_path, tiny, caplog):
    write_sets(tmp_path, NAMES, ["eel", "cat", "dog"])
    train_set, valid_set = build_sets(tiny, tmp_path)
    assert valid_set.class_names == train_set.class_names == NAMES
    assert valid_set.class_counts.tolist() == [3, 2, 5]
    colors = valid_set.pixels()[:, :, 0, 0].argmax(dim=1)   # the class that a picture shows
    assert torch.equal(valid_set.labels, colors)
    assert "valid.json numbers its classes in another order than" in told(caplog)


def test_a_validation_file_may_list_fewer_classes(tmp_path, tiny, caplog):
    write_sets(tmp_path, NAMES, ["eel", "cat"])
    _, valid_set = build_sets(tiny, tmp_path)
    assert (valid_set.num_classes, valid_set.class_counts.tolist()) == (3, [3, 0, 5])
    assert "lists 2 of the 3 classes" in told(caplog)
    assert "without images: 'dog'" in told(caplog)


def test_another_class_is_refused_by_name(tmp_path, tiny):
    write_sets(tmp_path, NAMES, ["cat", "dog", "fox"])
    with pytest.raises(InputError, match=r"valid\.json has other classes than .*train\.json: it has 'fox', and lacks 'eel'"):
        build_sets(tiny, tmp_path)


@pytest.mark.parametrize(("train", "valid"), [(NAMES, None), (None, NAMES)])
def test_numbers_are_compared_as_numbers_and_the_log_says_so(tmp_path, tiny, caplog, train, valid):
    write_sets(tmp_path, train, valid)
    _, valid_set = build_sets(tiny, tmp_path)
    assert valid_set.class_counts.tolist() == [5, 3, 2]
    assert "class names cannot be compared, since one of the two has numbers only" in told(caplog)


def test_nothing_is_said_of_equal_lists(tmp_path, tiny, caplog):
    write_sets(tmp_path, NAMES, NAMES)
    build_sets(tiny, tmp_path)
    assert told(caplog) == ""


@pytest.mark.parametrize("size", ["[8, 8]", "[16, 12]"])
def test_digits_are_recognised_at_any_input_size(tiny, size):
    sets = build.build_datasets(load_config([], [*tiny, "INPUT_SIZE", size]))
    first = [fingerprint(images)["content"] for images in build.build_datasets(load_config([], tiny))]
    assert [fingerprint(images)["content"] for images in sets] == first
    assert len(set(first)) == 2


def test_one_pixel_and_one_name_are_other_fingerprints():
    def images(pixel: int, name: str) -> ArraySet:
        pixels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
        pixels[3, 0, 1, 1] = pixel
        return ArraySet("set", pixels, torch.arange(4) % 2, ["a", name], [0.5] * 3, [0.5] * 3)

    whole = fingerprint(images(0, "b"))
    assert fingerprint(images(0, "b")) == whole
    for other, field in ((images(1, "b"), "content"), (images(0, "c"), "class_names")):
        assert {key for key, value in fingerprint(other).items() if value != whole[key]} == {field}
