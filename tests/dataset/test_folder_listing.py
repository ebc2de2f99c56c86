"""What of a folder is taken for classes and images, and what is left out and named."""
import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from lib.dataset.folder import Keys, Listing, list_folder
from lib.dataset.folder.files import image_suffixes
from lib.utils.errors import InputError

KEYS = Keys("--in", "--layout", "--valid")
LATIN1 = os.fsdecode(b"caf\xe9")


def save(path: Path, form: str = "PNG", color: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.new("RGB", (3, 2), (color, 0, 0)).save(file, form)


def show(listing: Listing, folder: Path) -> dict[str, dict[str, list[str]]]:
    """Part to class to the images' paths."""
    return {part: {name: [str(path.relative_to(folder)) for path, label in pictures if label == number]
                   for number, name in enumerate(listing.class_names)} for part, pictures in listing.parts.items()}


def text(listing: Listing) -> str:
    return "\n".join(listing.remarks)


@pytest.fixture
def birds(tmp_path) -> Path:
    for name in ("ant/1.png", "ant/deep/er/2.png", "cat/1.png"):
        save(tmp_path / "birds" / name)
    return tmp_path / "birds"


def test_folders_are_classes_and_what_is_in_their_folders_belongs_to_them(birds):
    listing = list_folder(birds, KEYS)
    assert show(listing, birds) == {"train": {"ant": ["ant/1.png", "ant/deep/er/2.png"], "cat": ["cat/1.png"]}}
    assert listing.remarks == listing.unreadable == []


def test_every_suffix_of_a_format_that_is_read_in_any_case(tmp_path):
    named = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP",
             ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM",
             ".pnm": "PPM"}
    assert named.keys() <= image_suffixes()
    for suffix, form in named.items():
        save(tmp_path / f"birds/ant/x{suffix}", form)
        save(tmp_path / f"birds/ant/y{suffix.upper()}", form)
    listing = list_folder(tmp_path / "birds", KEYS)
    assert len(listing.parts["train"]) == 2 * len(named)
    assert listing.remarks == []


def test_images_without_an_images_suffix_are_told_by_their_content(birds):
    for name in ("a1b2c3", "photo.jpg_large", "windows.dib"):
        save(birds / "cat" / name, "BMP")
    listing = list_folder(birds, KEYS)
    assert show(listing, birds)["train"]["cat"] == ["cat/1.png", "cat/a1b2c3", "cat/photo.jpg_large", "cat/windows.dib"]
    expected = "3 ('birds/cat/a1b2c3', 'birds/cat/photo.jpg_large', 'birds/cat/windows.dib')"
    assert listing.remarks == [f"recognised as images by their content, not by their suffix: {expected}"]


def test_what_is_left_out_is_named_by_kind(birds):
    save(birds / "ant/._1.png")
    save(birds / "ant/.hidden/2.png")
    save(birds / "stray.png")
    save(birds / "ant/raw.dng", "TIFF")   # what Pillow would read of one is its thumbnail
    for name in ("Thumbs.db", "desktop.ini", "notes.txt", "a.csv", "b.csv", "IMG.HEIC"):
        (birds / "ant" / name).write_bytes(b"text")
    (birds / "ant/empty.jpg").touch()
    (birds / "__MACOSX/ant").mkdir(parents=True)
    os.mkfifo(birds / "ant/pipe.png")
    os.symlink("nowhere", birds / "ant/dead.png")
    os.symlink("itself.png", birds / "ant/itself.png")
    listing = list_folder(birds, KEYS)
    assert show(listing, birds)["train"]["ant"] == ["ant/1.png", "ant/deep/er/2.png"]
    assert set(listing.remarks) == {
        "left out as hidden, or of the operating system: 5 ('birds/__MACOSX', 'birds/ant/._1.png', 'birds/ant/.hidden', "
        "'birds/ant/Thumbs.db', 'birds/ant/desktop.ini')",
        "left out as images in no class folder: 1 ('birds/stray.png')",
        "left out as images in a format that is not supported; convert them to JPEG or PNG (.dng, .heic): "
        "2 ('birds/ant/IMG.HEIC', 'birds/ant/raw.dng')",
        "left out as no images (.csv, .txt): 3 ('birds/ant/a.csv', 'birds/ant/b.csv', 'birds/ant/notes.txt')",
        "left out as files of zero bytes: 1 ('birds/ant/empty.jpg')",
        "left out as neither files nor folders: 1 ('birds/ant/pipe.png')",
        "left out as links to nothing: 2 ('birds/ant/dead.png', 'birds/ant/itself.png')"}
    assert listing.unreadable == []


def test_links_are_followed_and_circles_are_not(birds, tmp_path):
    save(tmp_path / "elsewhere/owl/1.png")
    save(tmp_path / "elsewhere/more/2.png")
    os.symlink(tmp_path / "elsewhere/owl", birds / "owl")          # a class
    os.symlink(tmp_path / "elsewhere/more", birds / "cat/more")    # a folder of one
    os.symlink(birds / "ant/1.png", birds / "cat/linked.png")      # a file
    os.symlink(birds, birds / "ant/deep/up")
    os.symlink(tmp_path / "elsewhere", tmp_path / "elsewhere/owl/above")
    os.symlink(birds / "ant/deep", birds / "ant/twice")
    os.symlink("/", birds / "cat/root")
    listing = list_folder(birds, KEYS)
    assert show(listing, birds)["train"] == {
        "ant": ["ant/1.png", "ant/deep/er/2.png"], "cat": ["cat/1.png", "cat/linked.png", "cat/more/2.png"], "owl": ["owl/1.png"]}
    assert listing.remarks == ["left out as links to folders that are already listed, or that contain this link: 4 "
                               "('birds/ant/deep/up', 'birds/ant/twice', 'birds/cat/root', 'birds/owl/above')"]


def test_folders_of_links_to_one_another_come_to_an_end(tmp_path):
    """Without a memory, ten of them have ten million paths."""
    save(tmp_path / "birds/ant/1.png")
    for one in range(10):
        (tmp_path / f"birds/ant/{one}").mkdir()
        for other in range(10):
            os.symlink(tmp_path / f"birds/ant/{other}", tmp_path / f"birds/ant/{one}/{other}")
    assert len(list_folder(tmp_path / "birds", KEYS).parts["train"]) == 1


def test_what_the_system_refuses_is_named(birds, monkeypatch):
    """The tests may run as root, which is refused nothing."""
    scan = os.scandir

    def refuse(folder):
        if Path(folder) == birds / "ant/deep":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = list_folder(birds, KEYS)
    assert listing.unreadable == [f"{birds}/ant/deep cannot be read (Permission denied)"]
    assert len(listing.parts["train"]) == 2


# --- train, val and test folders

def split_set(folder: Path, names=("train", "Val", "test")) -> Path:
    for part, classes in zip(names, (("ant", "cat"), ("ant", "owl"), ("ant",))):
        for name in classes:
            save(folder / part / name / "1.png")
    return folder


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "VALID", "testing"), ("TRAIN", "validation", "Test")])
def test_a_set_that_is_split_already(tmp_path, names):
    listing = list_folder(split_set(tmp_path / "birds", names), KEYS)
    assert listing.class_names == ["ant", "cat", "owl"]   # a class may be missing anywhere
    assert {part: [path.parts[-3:-1] for path, _ in pictures] for part, pictures in listing.parts.items()} == {
        "train": [(names[0], "ant"), (names[0], "cat")], "valid": [(names[1], "ant"), (names[1], "owl")],
        "test": [(names[2], "ant")]}
    expected = f"'{names[0]}' for train, '{names[1]}' for valid, '{names[2]}' for test"
    assert listing.remarks == [f"{tmp_path}/birds is split already: {expected}"]


def test_a_test_folder_without_classes_is_left_out(tmp_path):
    save(tmp_path / "birds/train/ant/1.png")
    save(tmp_path / "birds/test/1.png")
    save(tmp_path / "birds/cover.png")
    listing = list_folder(tmp_path / "birds", KEYS)
    assert listing.parts.keys() == {"train"}
    assert "left out as images in no class folder: 2 ('birds/cover.png', 'birds/test/1.png')" in listing.remarks
    assert f"no images for test in {tmp_path}/birds/test" in listing.remarks


def test_test_images_of_no_class_are_left_out_and_validation_images_refused(tmp_path):
    """As in competitions, whose test images nobody may know the classes of."""
    for name in ("train/ant/1.png", "test/unknown/1.png"):
        save(tmp_path / "birds" / name)
    listing = list_folder(tmp_path / "birds", KEYS)
    assert (listing.class_names, [*listing.parts]) == (["ant"], ["train"])
    assert f"birds/test, whose folders are not classes of {tmp_path}/birds/train: 'unknown'" in text(listing)
    (tmp_path / "birds/test").rename(tmp_path / "birds/val")
    with pytest.raises(InputError, match=r"--in: .*train and .*val have no class in common"):
        list_folder(tmp_path / "birds", KEYS)


def test_parts_inside_of_classes_are_noticed(tmp_path):
    for name in ("ant/train/1.png", "ant/val/2.png", "cat/train/3.png"):
        save(tmp_path / "birds" / name)
    listing = list_folder(tmp_path / "birds", KEYS)
    assert len(listing.parts["train"]) == 3
    assert "its class folders hold folders called 'train', 'val', whose images are used together" in text(listing)


def test_classes_that_are_called_train_and_test(tmp_path):
    """Vehicles; and classes of these names with images in them and no folders."""
    for name in ("car/1.png", "bus/1.png", "train/steam/1.png"):
        save(tmp_path / "vehicles" / name)
    listing = list_folder(tmp_path / "vehicles", KEYS)
    assert listing.class_names == ["bus", "car", "train"]
    assert "all its folders are used as classes, including 'train'; --layout parts would" in text(listing)
    for name in ("train/1.png", "test/1.png"):
        save(tmp_path / "words" / name)
    assert list_folder(tmp_path / "words", KEYS).class_names == ["test", "train"]


def test_the_layout_can_be_forced(tmp_path):
    folder = split_set(tmp_path / "birds")
    assert list_folder(folder, KEYS, "classes").class_names == ["Val", "test", "train"]
    save(folder / "unsorted/1.png")
    with pytest.raises(InputError, match=r"--in: .* is ambiguous: 'Val', 'test', 'train' have folders in them, .* but there are "
                                         "also 'unsorted'; --layout parts ignores the latter, --layout classes"):
        list_folder(folder, KEYS)
    listing = list_folder(folder, KEYS, "parts")
    assert listing.class_names == ["ant", "cat", "owl"]
    assert "left out as folders that are not train, val or test: 1 ('birds/unsorted')" in listing.remarks


def test_links_inside_a_part_do_not_leave_it(tmp_path):
    folder = split_set(tmp_path / "birds")
    os.symlink(folder / "train", folder / "train/ant/up")
    os.symlink(folder, folder / "Val/ant/up")
    assert {part: len(found) for part, found in list_folder(folder, KEYS).parts.items()} == {"train": 2, "valid": 2, "test": 1}


@pytest.mark.parametrize(("names", "layout", "message"), [
    (("val", "valid", "train"), "auto", "several folders for valid: 'val', 'valid'; keep one"),
    (("ant", "cat", "test"), "parts", "has no folder train for the training images; it has 'ant', 'cat', 'test'")])
def test_parts_that_are_none(tmp_path, names, layout, message):
    with pytest.raises(InputError, match=message):
        list_folder(split_set(tmp_path / "birds", names), KEYS, layout)


def test_a_folder_of_validation_images(tmp_path, birds):
    for name in ("cat/1.png", "yak/1.png"):
        save(tmp_path / "others" / name)
    listing = list_folder(birds, KEYS, valid_folder=tmp_path / "others")
    assert listing.class_names == ["ant", "cat", "yak"]
    assert [label for _, label in listing.parts["valid"]] == [1, 2]
    (tmp_path / "others/cat").rename(tmp_path / "others/eel")
    with pytest.raises(InputError, match=r"--valid: .* no class in common: 'ant', 'cat' in the first, 'eel', 'yak' in"):
        list_folder(birds, KEYS, valid_folder=tmp_path / "others")
    split_set(tmp_path / "split")
    with pytest.raises(InputError, match=r"--valid: .* already has validation images, in Val; leave the option out"):
        list_folder(tmp_path / "split", KEYS, valid_folder=tmp_path / "others")
    (tmp_path / "bare/ant").mkdir(parents=True)
    with pytest.raises(InputError, match=r"--valid: no images in the class folders of .*bare"):
        list_folder(birds, KEYS, valid_folder=tmp_path / "bare")


# --- names

def test_any_name_that_a_file_system_allows(tmp_path):
    names = sorted(["シジュウカラ", "two words", "it's", '"x"', "a\nb", "-x", "$HOME", "#1", "=1+1", LATIN1, "é" * 127, "\\", "*",
                    "~"])
    for name in names:
        save(tmp_path / "birds" / name / f"{name[:100]}.png")
    listing = list_folder(tmp_path / "birds", KEYS)
    assert listing.class_names == names
    assert all(path.is_file() for path, _ in listing.parts["train"])


def test_names_that_look_alike_are_named(tmp_path):
    for name in (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café"), "Owl", "owl", "eel"):
        save(tmp_path / "birds" / name / "1.png")
    assert list_folder(tmp_path / "birds", KEYS).remarks == [
        r"classes whose names look alike: 'Owl', 'owl'", r"classes whose names look alike: 'cafe\u0301', 'caf\xe9'"]


def test_a_part_that_was_copied_from_a_mac_has_the_same_classes(tmp_path):
    save(tmp_path / "birds/train" / unicodedata.normalize("NFC", "café") / "1.png")
    save(tmp_path / "birds/val" / unicodedata.normalize("NFD", "café") / "1.png")
    listing = list_folder(tmp_path / "birds", KEYS)
    assert listing.class_names == [unicodedata.normalize("NFC", "café")]
    assert [label for _, label in listing.parts["valid"]] == [0]
    assert "has the same name as one of train in another Unicode form" in text(listing)


# --- no classes, no images

@pytest.mark.parametrize(("files", "message"), [
    ([], "has no folders in it; it must have one folder per class"), (["1.png", "2.png"], "has 2 images and no folders in it"),
    ([".git/1.png"], "has no folders in it"), (["ant/.1.png"], r"no images in the class folders of .*\n  left out as hidden")])
def test_folders_without_classes_or_images(tmp_path, files, message):
    (tmp_path / "birds").mkdir()
    for name in files:
        save(tmp_path / "birds" / name)
    with pytest.raises(InputError, match=message):
        list_folder(tmp_path / "birds", KEYS)


def test_an_empty_class_is_one(birds):
    (birds / "owl").mkdir()
    assert list_folder(birds, KEYS).class_names == ["ant", "cat", "owl"]


def test_a_folder_around_the_classes_is_noticed(tmp_path, birds):
    (tmp_path / "download").mkdir()
    birds.rename(tmp_path / "download/birds")
    listing = list_folder(tmp_path / "download", KEYS)
    assert listing.class_names == ["birds"]
    assert text(listing).endswith(f"to use the folders inside it as classes, name {tmp_path}/download/birds")
