"""Feeds damaged and hostile input to what reads it: every case must be read, or end with status 2 and one message.

    python tests/faults/fuzz.py --cases 2000
    python tests/faults/fuzz.py --cases 500 --targets "yaml files,checkpoints"

No traceback, no hang, no file written or changed, no code of the input run.
"""
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import argparse
import json
import os
import pickle
import tempfile
from collections import Counter

import torch
from fuzz_pictures import image_files, tfrecords
from fuzzing import CONFIG, Target, cases, damaged, judge, nested, values
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from lib.config import TREE
from lib.core import build
from lib.modules import CLASSIFIERS
from lib.run import checkpoint
from lib.run.run import Run


def yaml_files(folder: Path, number: int) -> Counter:
    """A configuration with bytes altered, or with odd values at its keys."""
    path, counts = folder / "a.yaml", Counter()
    whole = b"".join(line for line in Path(CONFIG).read_bytes().splitlines(True) if not line.startswith(b"_BASE_"))

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        keys = st.sampled_from([*TREE.flat(), "_BASE_", "TRAIN", "NOT.A.KEY"])
        pairs = data.draw(st.dictionaries(keys, values, max_size=3))
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in pairs.items())
        sections = json.dumps({data.draw(keys).split(".")[0]: data.draw(values)})
        path.write_bytes(data.draw(st.one_of(damaged(whole), st.sampled_from([text.encode(), sections.encode()]))))
        return judge(folder, "", ["--cfg", str(path), "--gpus", "cpu"])   # a base, or a key of the whole, may be what is named

    run()
    return counts


def overrides(folder: Path, number: int) -> Counter:
    """KEY VALUE pairs of the command line; what a pair does to the whole is judged by the validation of the tree."""
    counts = Counter()

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        keys = st.one_of(st.sampled_from(list(TREE.flat())), st.text(max_size=10))
        word = st.one_of(st.text(max_size=12), values.map(json.dumps)).filter(lambda text: not text.startswith("-"))
        pairs = data.draw(st.lists(st.tuples(keys.filter(lambda text: not text.startswith("-")), word), min_size=1, max_size=3))
        return judge(folder, "", ["--cfg", CONFIG, "--gpus", "cpu", *(text for pair in pairs for text in pair)])

    run()
    return counts


def idx_files(folder: Path, number: int) -> Counter:
    """IDX files of Fashion-MNIST's form, 20 images each."""
    counts, whole = Counter(), {}
    for part in ("train", "t10k"):
        whole[f"{part}-images-idx3-ubyte"] = bytes([0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(320)
        whole[f"{part}-labels-idx1-ubyte"] = bytes([0, 0, 8, 1, 0, 0, 0, 20]) + bytes(n % 10 for n in range(20))
    words = ["--cfg", CONFIG, "--gpus", "cpu", "DATASET.DATASET", "IMBALANCEFASHIONMNIST", "DATASET.ROOT", str(folder),
             "DATASET.IMBALANCECIFAR.RATIO", "0.5", "INPUT_SIZE", "[8, 8]"]

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        for name, content in whole.items():
            (folder / name).write_bytes(content)
        chosen = data.draw(st.sampled_from(sorted(whole)))
        (folder / chosen).write_bytes(data.draw(damaged(whole[chosen])))
        return judge(folder, str(folder), words, lambda cfg, args: build.build_datasets(cfg))

    run()
    return counts


def annotation_files(folder: Path, number: int) -> Counter:
    """JSON annotations with bytes altered, and with odd values in place of others."""
    counts, path = Counter(), folder / "train.json"
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    entry = {"image_id": 1, "fpath": "a.png", "im_height": 4, "im_width": 4, "category_id": 0}
    sound = {"annotations": [entry, entry | {"category_id": 1}], "num_classes": 2}
    (folder / "valid.json").write_text(json.dumps(sound))
    words = ["--cfg", CONFIG, "--gpus", "cpu", "DATASET.DATASET", "iNaturalist", "DATASET.ROOT", str(folder),
             "DATASET.TRAIN_JSON", str(path), "DATASET.VALID_JSON", str(folder / "valid.json")]

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        odd = st.one_of(values, st.sampled_from(["../a.png", "/etc/passwd", "b.png", "", 10**30, -1]))
        changed = [sound | {data.draw(st.sampled_from(sorted(sound))): data.draw(odd)},
                   sound | {"annotations": [entry | {data.draw(st.sampled_from(sorted(entry))): data.draw(odd)}]}]
        texts = st.sampled_from([json.dumps(content).encode() for content in changed])
        path.write_bytes(data.draw(st.one_of(damaged(json.dumps(sound).encode()), texts)))
        return judge(folder, "train.json", words, lambda cfg, args: build.build_datasets(cfg))

    run()
    return counts


class Payload:
    """Pickled, it is a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def cifar_batches(folder: Path, number: int) -> Counter:
    """Pickles under the names of CIFAR-10's batches, some of which would run code. Only the published ones may be unpickled."""
    counts, mark = Counter(), folder / "mark"
    batches = folder / "cifar-10-batches-py"
    batches.mkdir()
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"]
    harmless = pickle.dumps({"data": [], "labels": [], "label_names": []})
    words = ["--cfg", CONFIG, "--gpus", "cpu", "DATASET.DATASET", "IMBALANCECIFAR10", "DATASET.ROOT", str(folder)]

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        for name in names:
            (batches / name).write_bytes(data.draw(st.one_of(damaged(harmless), st.just(pickle.dumps(Payload(mark))))))
        return judge(folder, "DATASET.ROOT", words, lambda cfg, args: build.build_datasets(cfg))

    run()
    assert set(counts) == {"refused"}
    assert not mark.exists(), "code of a pickle was run"
    return counts


def small_network() -> nn.Module:
    return nn.ModuleDict({"backbone": nn.Linear(2, 2), "classifier": CLASSIFIERS["FCNorm"](2, 2)})


def small_state() -> dict:
    network = small_network()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network["classifier"](network["backbone"](torch.ones(1, 2))).sum().backward()
    optimizer.step()
    position = {"epoch": 1, "best_result": 0.5, "best_epoch": 1}
    return {"state_dict": network.state_dict(), "optimizer": optimizer.state_dict(), **position}


def go_on_with(path: Path) -> None:
    start = checkpoint.read_start("run", path, "RESUME_MODEL")
    network = small_network()
    start.load_weights(network)
    start.load_optimizer(torch.optim.SGD(network.parameters(), 0.1, momentum=0.9), network)


def checkpoints(folder: Path, number: int) -> Counter:
    """Checkpoints with bytes altered, with odd values in place of others, in both formats, and pickles that would run code."""
    counts, path, mark = Counter(), folder / "last.pth", folder / "mark"
    checkpoint.save(small_state(), [path])
    sealed = path.read_bytes()
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(torch.ones(3))
    plain = nested(leaf, st.text(max_size=5) | st.integers())

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        kind = data.draw(st.sampled_from(["bytes", "values", "code"]))
        if kind == "bytes":
            path.write_bytes(data.draw(damaged(sealed)))
        else:
            state = small_state()
            name = data.draw(st.sampled_from([*state, "batch"]))
            state[name] = Payload(mark) if kind == "code" else data.draw(plain)
            if kind == "values" and data.draw(st.booleans()):
                inner = data.draw(st.sampled_from(["state", "param_groups"]))
                state |= {"optimizer": small_state()["optimizer"] | {inner: data.draw(plain)}}
            torch.save(state, path, _use_new_zipfile_serialization=data.draw(st.booleans()))
        return judge(folder, str(path), ["--cfg", CONFIG, "--gpus", "cpu"], lambda cfg, args: go_on_with(path))

    run()
    assert not mark.exists(), "code of a pickle was run"
    return counts


def run_files(folder: Path, number: int) -> Counter:
    """history.jsonl and environment.json of a run that is to go on."""
    counts, run_folder = Counter(), folder / "run"
    run_folder.mkdir()
    whole = {"history.jsonl": b'{"epoch": 1, "rate": 0.1}\n{"epoch": 2}\n', "environment.json": b'[{"launch": null}]\n'}

    def read(cfg: object, args: object) -> None:
        run = Run(run_folder)
        run.history()
        run.sessions()

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        for name, content in whole.items():
            other = st.one_of(st.just(content), damaged(content), values.map(json.dumps).map(str.encode))
            (run_folder / name).write_bytes(data.draw(other))
        return judge(folder, str(run_folder), ["--cfg", CONFIG, "--gpus", "cpu"], read)

    run()
    return counts


TARGETS: dict[str, Target] = {
    "yaml files": yaml_files, "overrides": overrides, "IDX files": idx_files, "annotations": annotation_files,
    "CIFAR batches": cifar_batches, "checkpoints": checkpoints, "run files": run_files, "images": image_files,
    "TFRecords": tfrecords,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="in all, shared out among the targets (default 2000)")
    parser.add_argument("--targets", default=",".join(TARGETS), help=f"of {', '.join(TARGETS)} (default: all)")
    args = parser.parse_args()
    chosen = {name: target for name, target in TARGETS.items() if name in args.targets.split(",")}
    total = Counter()
    for name, target in chosen.items():
        with tempfile.TemporaryDirectory() as folder:
            counts = target(Path(folder), -(-args.cases // len(chosen)))
        total += counts
        became = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
        print(f"  {name:<15}{sum(counts.values()):>6} cases: {became}")
    print(f"{sum(total.values())} cases, none with a traceback, a hang, a change to a file, or code of the input run")


if __name__ == "__main__":
    main()
