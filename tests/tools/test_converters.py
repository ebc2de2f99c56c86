"""The converters on small data of the exact published structure: what they write is what trains."""
import csv
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.config import load_config
from lib.dataset import DATASETS
from lib.dataset.long_tail import long_tail_counts
from lib.utils.text import safe_cell, shell_line
from tools import convert_from_folder, convert_from_ImageNet, convert_from_iNat, convert_from_tfrecords
from tools.conversion.listing import NAMED

ROOT = Path(__file__).resolve().parents[2]
WNIDS = ["n01440764", "n01443537", "n01484850"]


def save_image(path: Path, size=(40, 50), color: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(color).integers(256, size=(*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def read(path: Path | str) -> dict:
    return json.loads(Path(path).read_text())


def open_sets(root, train_json: Path, valid_json: Path):
    return [DATASETS["iNaturalist"](part, str(root), (32, 32), train_json=str(train_json), valid_json=str(valid_json))
            for part in (True, False)]


# --- ImageNet-LT

@pytest.fixture
def imagenet(tmp_path) -> Path:
    """ILSVRC's folders and the lists of ImageNet-LT: classes of 6, 3 and 1 training images, two for testing, one more."""
    lists = {"train": [], "test": [], "val": []}
    for label, (wnid, count) in enumerate(zip(WNIDS, (6, 3, 1))):
        for number in range(count):
            lists["train"].append((f"train/{wnid}/{wnid}_{number}.JPEG", label))
        lists["val"].append((f"train/{wnid}/{wnid}_100.JPEG", label))
        lists["test"] += [(f"val/{wnid}/ILSVRC2012_val_0000{label}{number}.JPEG", label) for number in range(2)]
    (tmp_path / "lists").mkdir()
    for part, lines in lists.items():
        for number, (name, _) in enumerate(lines):
            save_image(tmp_path / "ILSVRC" / name, (40 + number, 50))
        (tmp_path / f"lists/ImageNet_LT_{part}.txt").write_text("".join(f"{name} {label}\n" for name, label in lines))
    return tmp_path


def convert_imagenet(folder: Path, *words: str) -> int:
    return convert_from_ImageNet.main(["--input_path", str(folder / "lists"), "--image_path", str(folder / "ILSVRC"),
                                       "--output_path", str(folder / "data/ImageNet_LT"), *words])


def test_imagenet_lists_become_json(imagenet, capsys):
    assert convert_imagenet(imagenet) == 0
    assert "to train:\n    bash data_parallel_train.sh configs/ImageNet_LT/imagenetlt_baseline.yaml " in capsys.readouterr().out
    out = imagenet / "data/ImageNet_LT"
    names = {part: f"ImageNet_LT_{part}.json" for part in ("train", "val", "val_official")}
    assert sorted(path.name for path in out.iterdir()) == sorted(names.values())
    assert [len(read(out / names[part])["annotations"]) for part in names] == [10, 6, 3]
    content = read(out / names["train"])
    assert content["annotations"][7] == {
        "image_id": 8, "fpath": str(imagenet / "ILSVRC/train/n01443537/n01443537_1.JPEG"), "im_height": 47, "im_width": 50,
        "category_id": 1}
    assert (content["num_classes"], content["class_names"]) == (3, WNIDS)
    train_set, valid_set = open_sets("", out / names["train"], out / names["val"])
    assert train_set.class_counts.tolist() == [6, 3, 1]
    assert valid_set.class_counts.tolist() == [2, 2, 2]
    assert train_set.read(7).shape == (3, 47, 50)


def test_the_list_of_validation_images_is_optional(imagenet):
    (imagenet / "lists/ImageNet_LT_val.txt").unlink()
    assert convert_imagenet(imagenet) == 0
    assert not (imagenet / "data/ImageNet_LT/ImageNet_LT_val_official.json").exists()


def test_another_set_of_the_same_form(imagenet):
    for path in (imagenet / "lists").iterdir():
        path.rename(path.with_name(path.name.replace("ImageNet", "Places")))
    assert convert_imagenet(imagenet, "--name", "Places_LT") == 0
    assert (imagenet / "data/ImageNet_LT/Places_LT_train.json").is_file()


def test_paths_below_a_root_move_with_it(imagenet):
    assert convert_imagenet(imagenet, "--root", str(imagenet)) == 0
    moved = imagenet.rename(imagenet.with_name("moved"))
    names = [f"data/ImageNet_LT/ImageNet_LT_{part}.json" for part in ("train", "val")]
    assert open_sets(moved, *names)[0].read(0).shape == (3, 40, 50)


def test_a_root_that_does_not_hold_the_images(imagenet, capsys):
    assert convert_imagenet(imagenet, "--root", str(imagenet / "lists")) == 2
    assert "--root:" in capsys.readouterr().err


def test_missing_and_broken_images_are_counted_and_named(imagenet, capsys):
    for number in range(6):
        (imagenet / f"ILSVRC/train/n01440764/n01440764_{number}.JPEG").unlink()
    (imagenet / "ILSVRC/train/n01443537/n01443537_1.JPEG").write_bytes(b"no image")
    assert convert_imagenet(imagenet) == 2
    message = capsys.readouterr().err
    assert "7 of 10 images (ImageNet_LT_train.txt) are missing or cannot be read" in message
    assert message.count("ImageNet_LT_train.txt, line ") == NAMED
    assert "and 2 more" in message
    assert not (imagenet / "data").exists()

    assert convert_imagenet(imagenet, "--skip_bad") == 0
    assert "left out: 7 of 10" in capsys.readouterr().err
    labels = [entry["category_id"] for entry in read(imagenet / "data/ImageNet_LT/ImageNet_LT_train.json")["annotations"]]
    assert labels == [1, 1, 2]   # class 0 has no image left, which is legal


def test_nothing_is_overwritten_unasked(imagenet, capsys):
    file = imagenet / "data/ImageNet_LT/ImageNet_LT_val.json"
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    assert convert_imagenet(imagenet) == 2
    assert f"{file}: already there; --overwrite" in capsys.readouterr().err
    assert file.read_text() == "precious"
    assert convert_imagenet(imagenet, "--overwrite") == 0
    assert len(read(file)["annotations"]) == 6


@pytest.mark.parametrize(("text", "message"), [
    ("train/a.JPEG\n", "line 1: must be the path of an image and its class"), ("train/a.JPEG -1", "line 1: must be"),
    ("train/a.JPEG x", "line 1: must be"), ("", "is empty")])
def test_lists_that_are_none(imagenet, text, message, capsys):
    (imagenet / "lists/ImageNet_LT_test.txt").write_text(text)
    assert convert_imagenet(imagenet) == 2
    assert message in capsys.readouterr().err


def test_a_missing_list(imagenet, capsys):
    (imagenet / "lists/ImageNet_LT_train.txt").unlink()
    assert convert_imagenet(imagenet) == 2
    assert f"--input_path: no file {imagenet}/lists/ImageNet_LT_train.txt" in capsys.readouterr().err


def test_an_interruption_leaves_nothing(imagenet, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lib.dataset.folder.verify.look", interrupt)
    assert convert_imagenet(imagenet) == 130
    assert not (imagenet / "data").exists()


# --- iNaturalist

def inat_content() -> dict:
    """Annotations are in another order than images, and ids are not numbers in order."""
    images = [{"id": 70 - number, "file_name": f"train_val2018/Plantae/{number % 3}/{number}.jpg", "height": 40, "width": 50}
              for number in range(6)]
    annotations = [{"id": number, "image_id": image["id"], "category_id": int(image["file_name"].split("/")[2])}
                   for number, image in enumerate(reversed(images))]
    return {"info": {"year": 2018}, "images": images, "annotations": annotations,
            "categories": [{"id": number, "name": name} for number, name in ((2, "owl"), (0, "oak"), (1, "ant"), (3, "eel"))]}


def convert_inat(folder: Path, content, *words: str) -> int:
    file = folder / "train2018.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return convert_from_iNat.main(["--input_json_file", str(file), "--image_path", str(folder / "images"),
                                   "--output_json_file", str(folder / "iNaturalist18_train.json"), *words])


def write_inat_images(folder: Path) -> None:
    for image in inat_content()["images"]:
        save_image(folder / "images" / image["file_name"])


def test_inat_joins_by_image_id(tmp_path):
    write_inat_images(tmp_path)
    assert convert_inat(tmp_path, inat_content()) == 0
    content = read(tmp_path / "iNaturalist18_train.json")
    assert [entry["category_id"] for entry in content["annotations"]] == [0, 1, 2, 0, 1, 2]
    assert content["annotations"][1] == {
        "image_id": 69, "fpath": str(tmp_path / "images/train_val2018/Plantae/1/1.jpg"), "im_height": 40, "im_width": 50,
        "category_id": 1}
    assert (content["num_classes"], content["class_names"]) == (4, ["oak", "ant", "owl", "eel"])


def test_inat_tells_how_to_train_once_both_files_are_there(tmp_path, capsys):
    write_inat_images(tmp_path)
    assert convert_inat(tmp_path, inat_content()) == 0
    assert "to train" not in capsys.readouterr().out
    valid = tmp_path / "iNaturalist18_val.json"
    assert convert_inat(tmp_path, inat_content(), "--output_json_file", str(valid)) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    told = load_config(words[2], words[4:]).flat()
    assert told["DATASET.TRAIN_JSON"] == str(tmp_path / "iNaturalist18_train.json")
    assert (told["DATASET.VALID_JSON"], told["NAME"]) == (str(valid), "iNaturalist18")


def changed(key: str, number: int, **values) -> dict:
    content = inat_content()
    content[key][number] = {k: v for k, v in (content[key][number] | values).items() if v is not ...}
    return content


@pytest.mark.parametrize(("content", "message"), [
    ("{", "train2018.json: not JSON"), ({"images": []}, "has no images and no annotations and no categories"),
    ([], "has no images"), (changed("annotations", 2, image_id=1), "images[3]: no annotation names the class of image 67"),
    (inat_content() | {"annotations": [*inat_content()["annotations"], {"image_id": 1, "category_id": 0}]},
     "1 annotations are of images that are not listed, such as image 1"),
    (changed("annotations", 2, image_id=69), "annotations[4]: image 69 has two classes, 0 and 1"),
    (changed("annotations", 2, category_id=...), "annotations[2]: has no category_id"),
    (changed("annotations", 2, category_id=4), "images[3]: class 4 is not in categories (0 to 3)"),
    (changed("images", 2, file_name=...), "images[2]: has no file_name"),
    (changed("images", 2, id=70), "images[2]: no annotation names the class of image 70, or two images have this id"),
    (changed("categories", 2, id=9), "the ids of categories are not 0 to 3"),
])
def test_inat_mistakes(tmp_path, content, message, capsys):
    assert convert_inat(tmp_path, content) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "iNaturalist18_train.json").exists()


def test_inat_missing_images(tmp_path, capsys):
    write_inat_images(tmp_path)
    (tmp_path / "images/train_val2018/Plantae/1/4.jpg").unlink()
    assert convert_inat(tmp_path, inat_content()) == 2
    assert "1 of 6 images" in (message := capsys.readouterr().err)
    assert "train2018.json, images[4]: no file" in message


# --- a folder of one's own

def write_folder(folder: Path, counts=(10, 10, 10)) -> Path:
    for label, (name, count) in enumerate(zip(("zebra", "ant", "cat"), counts)):
        for number in range(count):
            path = folder / name / f"sub{number % 2}/{number}.{('jpg', 'PNG')[number % 2]}"
            save_image(path, (12, 10 + number), 1000 * len(folder.name) + 100 * label + number)
    (folder / "notes.txt").write_text("not an image")
    (folder / "ant" / ".DS_Store").write_text("")
    return folder


def convert_folder(folder: Path, *words: object) -> int:
    return convert_from_folder.main(["--input_path", str(folder / "birds"), "--output_path", str(folder / "json"),
                                     *map(str, words)])


def listed(folder: Path, part: str) -> list[tuple[str, int]]:
    return [(entry["fpath"], entry["category_id"]) for entry in read(folder / f"json/birds_{part}.json")["annotations"]]


def test_folder_is_split_by_class(tmp_path, capsys):
    write_folder(tmp_path / "birds", (10, 5, 1))
    assert convert_folder(tmp_path, "--valid_share", 0.3) == 0
    said = capsys.readouterr().err.splitlines()
    assert "left out as no images (.txt): 1 ('birds/notes.txt')" in said
    assert "left out as hidden, or of the operating system: 1 ('birds/ant/.DS_Store')" in said
    assert "only one image, which is used for training: 1 of 3 classes ('cat')" in said
    train_images, valid_images = listed(tmp_path, "train"), listed(tmp_path, "valid")
    assert not set(train_images) & set(valid_images)
    assert read(tmp_path / "json/birds_valid.json")["class_names"] == ["ant", "cat", "zebra"]
    assert np.bincount([label for _, label in train_images]).tolist() == [3, 1, 7]   # a class keeps one for training
    assert np.bincount([label for _, label in valid_images], minlength=3).tolist() == [2, 0, 3]
    assert all(f"/{('ant', 'cat', 'zebra')[label]}/" in path for path, label in train_images)


def test_the_split_is_a_function_of_the_seed(tmp_path):
    write_folder(tmp_path / "birds")
    parts = []
    for seed in (0, 0, 1):
        assert convert_folder(tmp_path, "--seed", seed, "--overwrite") == 0
        parts.append(listed(tmp_path, "valid"))
    assert parts[0] == parts[1] != parts[2]


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_a_long_tail_by_the_published_rule(tmp_path, profile):
    write_folder(tmp_path / "birds")
    assert convert_folder(tmp_path, "--ratio", 0.25, "--profile", profile) == 0
    assert np.bincount([label for _, label in listed(tmp_path, "train")]).tolist() == long_tail_counts(8, 3, 0.25, profile)
    assert len(listed(tmp_path, "valid")) == 6   # stays whole


def test_a_validation_folder_of_its_own(tmp_path, capsys):
    write_folder(tmp_path / "birds")
    write_folder(tmp_path / "others", (2, 2, 2))
    assert convert_folder(tmp_path, "--valid_path", tmp_path / "others") == 0
    assert len(listed(tmp_path, "train")) == 30
    assert len(listed(tmp_path, "valid")) == 6
    (tmp_path / "others/zebra").rename(tmp_path / "others/yak")
    assert convert_folder(tmp_path, "--valid_path", tmp_path / "others", "--overwrite", "--valid_share", 0.3) == 0
    said = capsys.readouterr().err.splitlines()
    assert "no training images: 1 of 4 classes ('yak')" in said
    assert "no validation images: 1 of 4 classes ('zebra')" in said
    assert "--valid_share: not used, since there are validation images" in said
    assert read(tmp_path / "json/birds_valid.json")["class_names"] == ["ant", "cat", "yak", "zebra"]


@pytest.mark.parametrize(("words", "message"), [
    (["--valid_share", 0], "--valid_share"), (["--valid_share", 1], "--valid_share"), (["--ratio", 0], "--ratio: must be"),
    (["--ratio", 0.01], "--ratio: 0.01 leaves"), (["--valid_path", "nowhere"], "--valid_path: no folder nowhere"),
])
def test_folder_options_out_of_range(tmp_path, words, message, capsys):
    write_folder(tmp_path / "birds")
    assert convert_folder(tmp_path, *words) == 2
    assert message in capsys.readouterr().err


def test_folders_without_classes_or_images(tmp_path, capsys):
    (tmp_path / "birds").mkdir()
    assert convert_folder(tmp_path) == 2
    (tmp_path / "birds/ant").mkdir()
    assert convert_folder(tmp_path) == 2
    first, second = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error"))
    assert "has no folders in it" in first
    assert f"--input_path: no images in the class folders of {tmp_path}/birds" in second


def test_classes_of_two_one_and_no_image(tmp_path, capsys):
    write_folder(tmp_path / "birds", (2, 1, 0))
    (tmp_path / "birds/cat").mkdir()
    assert convert_folder(tmp_path) == 0
    assert read(tmp_path / "json/birds_train.json")["class_names"] == ["ant", "cat", "zebra"]
    assert [label for _, label in listed(tmp_path, "train")] == [0, 2]
    assert [label for _, label in listed(tmp_path, "valid")] == [2]
    said = capsys.readouterr().err.splitlines()
    assert "no training images: 1 of 3 classes ('cat')" in said
    assert "only one image, which is used for training: 1 of 3 classes ('ant')" in said
    assert "fewer than 5 validation images, so that their recall is not reliable: 1 of 3 classes ('zebra')" in said
    assert convert_folder(tmp_path, "--overwrite", "--ratio", 0.5) == 2
    assert "--ratio: 1 of 3 classes have no training images to begin with: 'cat'" in capsys.readouterr().err


def test_images_that_are_cut_short_are_found_before_training(tmp_path, capsys):
    write_folder(tmp_path / "birds")
    path = tmp_path / "birds/ant/sub0/0.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    assert convert_folder(tmp_path) == 2
    assert f"1 of 30 images (training) are missing or cannot be read:\n  --input_path: {path}" in capsys.readouterr().err
    assert not (tmp_path / "json").exists()
    assert convert_folder(tmp_path, "--skip_bad") == 0
    assert "left out: 1 of 30 images" in capsys.readouterr().err
    assert len(listed(tmp_path, "train") + listed(tmp_path, "valid")) == 29
    assert convert_folder(tmp_path, "--overwrite", "--headers_only") == 0   # as fast as it was, and no more thorough
    assert len(listed(tmp_path, "train") + listed(tmp_path, "valid")) == 30


def test_sizes_are_those_of_the_file_whatever_exif_says(tmp_path):
    """As in the published annotations; the data set turns them."""
    write_folder(tmp_path / "birds")
    exif = Image.Exif()
    exif[0x0112] = 6   # a quarter of a turn
    for path in (tmp_path / "birds").rglob("*.[jP]*"):
        Image.new("RGB", (30, 20), (path.stat().st_ino % 256, len(path.name), 0)).save(path, exif=exif)
    assert convert_folder(tmp_path) == 0
    files = {"train_json": str(tmp_path / "json/birds_train.json"), "valid_json": str(tmp_path / "json/birds_valid.json")}
    assert {(entry["im_height"], entry["im_width"]) for entry in read(files["train_json"])["annotations"]} == {(20, 30)}
    for upright, size in ((True, (30, 20)), (False, (20, 30))):
        images = DATASETS["iNaturalist"](True, "", (32, 32), exif=upright, **files)
        assert images.image_size == tuple(images.read(0).shape[1:]) == size


def test_folders_that_may_not_be_read(tmp_path, capsys, monkeypatch):
    write_folder(tmp_path / "birds")
    scan = os.scandir

    def refuse(folder):
        if Path(folder) == tmp_path / "birds/ant/sub0":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert convert_folder(tmp_path) == 2
    assert f"{tmp_path}/birds/ant/sub0 cannot be read (Permission denied)\n--skip_bad leaves them out" in capsys.readouterr().err
    assert convert_folder(tmp_path, "--skip_bad") == 0
    assert len(listed(tmp_path, "train") + listed(tmp_path, "valid")) == 25


def test_equal_images_are_named_and_keep_to_one_side(tmp_path, capsys):
    birds = write_folder(tmp_path / "birds", (8, 8, 8))
    for number in range(8):
        original = birds / f"ant/sub{number % 2}/{number}.{('jpg', 'PNG')[number % 2]}"
        (birds / f"ant/copy{number}.jpg").write_bytes(original.read_bytes())
    os.symlink(birds / "cat/sub0/0.jpg", birds / "zebra/linked.jpg")
    assert convert_folder(tmp_path) == 0
    said = capsys.readouterr().err
    assert "copies within their class: 8 images, 'birds/ant/copy0.jpg' = 'birds/ant/sub0/0.jpg', " in said
    assert ("in several classes, of which at most one is correct: 1 image, 'birds/cat/sub0/0.jpg' = 'birds/zebra/linked.jpg'"
            in said)
    content = [{Path(path).read_bytes() for path, _ in listed(tmp_path, part)} for part in ("train", "valid")]
    assert not content[0] & content[1]
    assert np.bincount([label for _, label in listed(tmp_path, "valid")]).tolist() == [2, 2, 2]   # ant: one pair of 8


def test_a_set_that_is_split_already(tmp_path, capsys):
    for number, part in enumerate(("train", "val", "test")):
        write_folder(tmp_path / "birds" / part, (4 - number, 2, 1))
    shutil.copy(tmp_path / "birds/train/ant/sub0/0.jpg", tmp_path / "birds/test/ant/other.jpg")
    assert convert_folder(tmp_path) == 0
    out, said = capsys.readouterr()
    assert f"{tmp_path}/birds is split already: 'train' for train, 'val' for valid, 'test' for test" in said
    assert ("in several parts, so that accuracy is also measured on training images: 1 image, 'birds/train/ant/sub0/0.jpg' = "
            "'birds/test/ant/other.jpg'") in said
    assert "birds_test.json: 6 images of 3 of 3 classes" in out
    assert [len(listed(tmp_path, part)) for part in ("train", "valid", "test")] == [7, 6, 6]
    assert all("/test/" in path for path, _ in listed(tmp_path, "test"))
    assert convert_folder(tmp_path) == 2
    assert convert_folder(tmp_path, "--layout", "classes", "--overwrite") == 0
    assert read(tmp_path / "json/birds_train.json")["class_names"] == ["test", "train", "val"]


@pytest.mark.parametrize("name", ["birds", "two words", "it's", "$HOME", "-x", "a\nb", "シジュウカラ", "=1", "010",
                                  os.fsdecode(b"caf\xe9")])
def test_the_command_to_train_is_whole_and_can_be_pasted(tmp_path, name, capfd):
    """bash hands it on as it was meant, and the configuration takes it; whatever the folders are called."""
    write_folder(tmp_path / name, (2, 2, 2))
    words = ["--input_path", str(tmp_path / name), "--output_path", str(tmp_path / name / "json"), "--root", str(tmp_path)]
    assert convert_from_folder.main([*words, "--layout", "classes"]) == 0
    assert convert_from_folder.main([*words, "--layout", "classes", "--overwrite"]) == 0
    line = capfd.readouterr().out.splitlines()[-1].strip()
    told = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout
    told = [os.fsdecode(word) for word in told.split(b"\0")[:-1]]
    script, config = (os.path.relpath(ROOT / file) for file in ("data_parallel_train.sh", "configs/own/scratch.yaml"))
    assert told[:4] == ["bash", script, config, "cpu"]
    cfg = load_config(told[2], told[4:])
    sets = [DATASETS[cfg.DATASET.DATASET](part, cfg.DATASET.ROOT, (32, 32), train_json=cfg.DATASET.TRAIN_JSON,
                                          valid_json=cfg.DATASET.VALID_JSON) for part in (True, False)]
    assert [len(images.labels) for images in sets] == [3, 3]
    assert sets[0].read(0).shape[0] == 3


@pytest.mark.parametrize("converter", [convert_from_folder, convert_from_ImageNet, convert_from_iNat, convert_from_tfrecords])
def test_help_has_an_example(converter, capsys):
    with pytest.raises(SystemExit) as done:
        converter.main(["--help"])
    assert done.value.code == 0
    assert f"python {converter.__name__.replace('.', '/')}.py --input_" in capsys.readouterr().out


# --- end to end

@pytest.mark.slow
def test_imagenet_trains_by_its_recipe_with_nothing_but_the_path(imagenet, command):
    """The published file; --root makes the data relocatable. Only what makes it quick is overridden beside the path."""
    assert convert_imagenet(imagenet, "--root", str(imagenet)) == 0
    (imagenet / "data/ImageNet_LT").rename(imagenet / "ImageNet_LT")
    done = command("bash", "data_parallel_train.sh", "configs/ImageNet_LT/imagenetlt_baseline.yaml", "cpu",
                   "DATASET.ROOT", imagenet, "OUTPUT_DIR", imagenet / "output", "TRAIN.MAX_EPOCH", 1,
                   "TRAIN.NUM_WORKERS", 1, "TEST.NUM_WORKERS", 0)
    assert done.returncode == 0, done.stdout + done.stderr
    report = read(imagenet / "output/baseline/metrics.json")
    assert report["images"] == 6
    assert len(report["recall"]) == 3


@pytest.mark.slow
def test_own_folder_trains_by_the_command_that_is_told(tmp_path, command, capfd):
    """Names of all kinds, through the listing, the annotations, the training, its figures and tables, and its validation."""
    names = sorted([os.fsdecode(b"caf\xe9"), "two words", "=1+1", "a\nb", "-x", "$x_1$", "シジュウカラ"])
    birds = tmp_path / os.fsdecode(b"b\xefrds 1")
    for label, name in enumerate(names):
        for number in range(4):
            save_image(birds / name / os.fsdecode(b"im\xe4ge %d.png" % number), color=10 * label + number)
    assert convert_from_folder.main(["--input_path", str(birds), "--output_path", str(tmp_path / "json")]) == 0
    line = capfd.readouterr().out.splitlines()[-1].strip()
    runs = tmp_path / os.fsdecode(b"r\xfcns")
    small = ["TRAIN.MAX_EPOCH", "1", "INPUT_SIZE", "[32, 32]", "TRAIN.NUM_WORKERS", "1", "TEST.NUM_WORKERS", "0"]
    done = command("bash", "-c", f"{line} {shell_line([*small, 'OUTPUT_DIR', str(runs)])}")
    assert done.returncode == 0, done.stdout + done.stderr
    run, = runs.iterdir()
    assert "�rds 1_train.json: 21 images, 7 classes" in (run / "log.txt").read_text(encoding="utf-8")
    with (run / "per_class.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [[*row.values()][1:4] for row in rows] == [[safe_cell(name), "3", "1"] for name in names]
    assert str(tmp_path / "json" / f"{birds.name}_train.json") == load_config(run / "config.yaml").DATASET.TRAIN_JSON
    validation = next(told for told in done.stdout.splitlines() if "main/valid.py" in told)
    done = command("bash", "-c", validation)
    assert done.returncode == 0, done.stdout + done.stderr
    assert r"a\nb  " in done.stdout
