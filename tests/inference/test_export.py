"""Exported files compute what PyTorch does, tell what a program needs, and take nothing away."""
import io
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from lib.config import load_config
from lib.core import build
from lib.inference import Predictor, exported
from lib.inference.exported import FORMATS, METADATA, batch_sizes, check, describe_model, export, opened
from lib.inference.predictor import Preparation
from lib.run import checkpoint
from main import export as command
from main import train
from tests.messy_folder import picture

ROOT = Path(__file__).parents[2]
NAMES = ["plain", "数字 ☂", "a\nb", "\"quoted\" 'twice'", "<b>&amp;", "caf\udce9", ""]
SETTINGS = {"input_size": [32, 32], "color_space": "BGR", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3],
            "test_transforms": [], "exif": True, "alpha": "white"}
IMAGES = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def predictor_of(tmp_path: Path, *words: str, scale: float = 1.0, shift: torch.Tensor | None = None) -> Predictor:
    (tmp_path / "empty.yaml").write_text("{}")
    cfg = load_config(tmp_path / "empty.yaml", ["INPUT_SIZE", "[32, 32]", *words])
    torch.manual_seed(0)
    network = build.build_network(cfg, len(NAMES)).eval()
    return Predictor(network, NAMES, Preparation(SETTINGS), scale, torch.device("cpu"), shift)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("words", [
    ["BACKBONE.TYPE", "res20_cifar", "CLASSIFIER.TYPE", "FCNorm"],
    ["BACKBONE.TYPE", "res10", "MODULE.TYPE", "Identity"],
    ["BACKBONE.TYPE", "timm", "BACKBONE.TIMM.MODEL", "test_vit"],
], ids=lambda words: words[1])
def test_every_family_computes_the_same(tmp_path, words, kind):
    predictor = predictor_of(tmp_path, *words, scale=7.0, shift=torch.linspace(-2, 2, len(NAMES)))   # of a known prior
    content = export(predictor, kind, describe_model(predictor, {}))
    run = opened(content, kind)
    assert check(run, predictor, IMAGES).passed
    for size in (1, 3, 5):
        torch.testing.assert_close(run(IMAGES[:size]), predictor.probabilities(IMAGES[:size]), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Predictor:
    return predictor_of(tmp_path_factory.mktemp("small"), "BACKBONE.TYPE", "res20_cifar")


def test_metadata_of_onnx_keeps_any_name(small):
    content = export(small, "onnx", describe_model(small, {"epoch": 3}))
    texts = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    assert {name: json.loads(text) for name, text in texts.items()} == describe_model(small, {"epoch": 3})
    about = onnxruntime.InferenceSession(content).get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == NAMES


def test_metadata_of_a_program_keeps_any_name(small):
    extra = {METADATA: ""}
    torch.export.load(io.BytesIO(export(small, "torch_export", describe_model(small, {}))), extra_files=extra)
    assert json.loads(extra[METADATA]) == describe_model(small, {})


@pytest.mark.parametrize(("error", "passed"), [(0.0, True), (5e-5, True), (2e-4, False), (float("nan"), False)])
def test_the_check_sees_one_wrong_number_in_one_batch(small, error, passed):
    def wrong(images):
        probabilities = small.probabilities(images).clone()
        probabilities[-1, 2] += error if len(images) == 2 else 0.0
        return probabilities

    assert check(wrong, small, IMAGES).passed == passed


@pytest.mark.parametrize("images", [1, 2, 3, 4, 64])
def test_every_image_is_compared_once(small, images):
    seen = []

    def run(batch):
        seen.append(len(batch))
        return small.probabilities(batch)

    assert check(run, small, IMAGES[:1].expand(images, -1, -1, -1)) == (images, 0.0, images)
    assert sum(seen) == images
    assert batch_sizes(images) == seen


@pytest.fixture(scope="module")
def run(tmp_path_factory, no_figures) -> Path:
    """A run on photographs of two classes."""
    folder = tmp_path_factory.mktemp("export")
    for name, shift in (("kite", 0), ("crow", 90)):
        (folder / "birds" / name).mkdir(parents=True)
        for number in range(8):
            picture(number + shift).save(folder / "birds" / name / f"{number}.png")
    assert train.main(["--folder", str(folder / "birds"), "--gpus", "cpu", "OUTPUT_DIR", str(folder / "output"), "INPUT_SIZE",
                       "[32, 32]", "TRAIN.MAX_EPOCH", "1", "TRAIN.NUM_WORKERS", "0", "TEST.NUM_WORKERS", "0"]) == 0
    picture(5).resize((90, 60)).save(folder / "photo.jpg", quality=95)
    return folder / "output/birds"


def test_the_command_checks_on_the_pictures_of_the_validation(run, capsys):
    assert command.main([str(run), "--format", "torch_export"]) == 0
    shown = capsys.readouterr().out
    assert "of the run's validation" in shown
    assert "passed" in shown
    assert (run / "export/last.pt2").is_file()
    assert command.main([str(run), "--format", "torch_export"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    words = ["--overwrite", "--images", str(run.parent.parent / "photo.jpg")]
    assert command.main([str(run), "--format", "torch_export", *words]) == 0
    assert "1 image (of --images), batches of 1:" in capsys.readouterr().out


def test_nothing_is_left_where_the_check_fails(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "opened", lambda content, kind: lambda images: torch.zeros(len(images), 2))
    out = tmp_path / "birds.pt2"
    assert command.main([str(run), "--format", "torch_export", "--out", str(out)]) == 1
    assert "is not written" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize(("words", "told"), [
    (["missing.pth"], "missing.pth"),
    (["RUN", "--out", "no_such_folder/a.onnx"], "no_such_folder"),
    (["RUN", "--out", "RUN/config.yaml", "--overwrite"], "belongs to a run"),
    (["RUN", "--out", "RUN/models/last.pth", "--overwrite"], "belongs to a run"),
    (["RUN", "--images", "no_such_photo.jpg", "--out", "b.onnx"], "no_such_photo.jpg"),
    (["OLD"], "--cfg"),
])
def test_mistakes_are_one_message(run, tmp_path, capsys, monkeypatch, words, told):
    state = checkpoint.load(run / "models/last.pth")
    checkpoint.save({key: value for key, value in state.items() if key != "class_names"}, [tmp_path / "old.pth"])
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    places = {"RUN": str(run), "OLD": "old.pth"}
    words = [places.get(word, word.replace("RUN/", f"{run}/")) for word in words]
    assert command.main([*words, "--format", "torch_export"]) == 2
    assert told in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_missing_package_is_named_with_how_to_install_it(run, capsys, monkeypatch):
    def import_module(name):
        raise ImportError(name)

    monkeypatch.setattr(exported.importlib, "import_module", import_module)
    assert command.main([str(run), "--format", "onnx"]) == 2
    assert "pip install onnx onnxscript onnxruntime" in capsys.readouterr().err


def test_without_pictures_it_is_said_what_was_compared(run, tmp_path, capsys):
    (tmp_path / "alone.pth").write_bytes((run / "models/last.pth").read_bytes())
    assert command.main([str(tmp_path / "alone.pth"), "--format", "torch_export", "--number", "3"]) == 0
    assert "random pixels" in capsys.readouterr().out
    assert (tmp_path / "alone.pt2").is_file()


def test_the_programs_of_the_documentation_work(run, monkeypatch, capsys):
    """Each block of Python in docs/use.md, in a folder with the files that it names."""
    monkeypatch.chdir(run.parent.parent)
    assert command.main([str(run), "--format", "onnx", "--overwrite"]) == 0
    assert command.main([str(run), "--format", "torch_export", "--out", "birds.pt2", "--overwrite"]) == 0
    blocks = dict(re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", (ROOT / "docs/use.md").read_text(), re.S))
    assert blocks.keys() == {"predictor", "onnx", "torch_export", "loss"}
    capsys.readouterr()
    expected = Predictor.load("output/birds")(["photo.jpg"])[0]
    for name, block in blocks.items():
        scope: dict = {}
        exec(compile(block, f"docs/use.md: {name}", "exec"), scope)
        shown = capsys.readouterr().out
        if name != "loss":
            assert expected.classes[0] in shown
        if "probabilities" in scope:
            assert np.allclose(float(scope["probabilities"].max()), expected.probabilities[0], atol=0.02)
        elif name == "loss":
            assert scope["loss"].isfinite()


def test_a_picture_that_has_the_input_size_needs_no_care(run, monkeypatch, tmp_path):
    """Given the same pixels, the file and the predictor agree to 1e-4."""
    predictor = Predictor.load(run)
    pixels = predictor.preparation.image(run.parent.parent / "photo.jpg")
    content = export(predictor, "onnx", describe_model(predictor, {}))
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "small.png")
    again = torch.from_numpy(np.array(Image.open(tmp_path / "small.png"))).permute(2, 0, 1)[None]
    torch.testing.assert_close(opened(content, "onnx")(again), predictor.probabilities(pixels[None]), atol=1e-4, rtol=0)
