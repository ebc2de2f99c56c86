"""Cost against size: what the curves are made of."""
import json

import numpy as np
import pytest
import torch

from lib.report.metrics import measure
from lib.utils.seed import shared_generator
from tools.benchmark import main
from tools.measure import scaling
from tools.measure.scaling import Measurement


def test_one_curve_goes_over_images_and_one_over_classes():
    points = scaling.plan_points([10**5, 10**4], [10, 10**4], [1, 2])
    assert points["images"] == [Measurement(images, 1000, ranks) for ranks in (1, 2) for images in (10**4, 10**5)]
    assert {point.images for point in points["classes"]} == {10**5}
    assert scaling.plan_points([50], [10], [1])["images"] == [Measurement(50, 5, 1)]


@pytest.mark.parametrize("power", [0, 1, 2])
def test_growth_is_the_exponent(power):
    sizes = [10, 100, 1000]
    assert scaling.growth(sizes, [3.0 * size**power for size in sizes]) == pytest.approx(power)
    assert scaling.growth([10], [1.0]) is None
    assert scaling.growth([10, 100], [0.0, 1.0]) is None


def test_ranks_share_out_the_batches():
    parts = dict(scaling.parts(Measurement(1280, 10, 1)))
    shared = dict(scaling.parts(Measurement(1280, 10, 2)))
    assert (len(parts["batch plan"]()), len(shared["batch plan"]())) == (10, 5)
    assert parts["draw bbn sampler"]().shape == (2, 1280)
    torch.testing.assert_close(parts["draw default"](), shared["draw default"]())   # every rank makes the whole draw


def test_random_predictions_are_valid_ones():
    labels = torch.randint(20, (4000,), generator=shared_generator(0, 0))
    predictions = scaling.random_predictions(labels)
    assert ((predictions.rank == 0) == (predictions.predicted == labels)).all()
    assert measure(predictions, torch.bincount(labels, minlength=20)).top1 == pytest.approx(0.5 + 0.5 / 20, abs=0.03)


def test_a_validation_image_takes_as_much_as_its_predictions():
    predictions = scaling.random_predictions(torch.zeros(1000, dtype=torch.long))
    assert 1000 * scaling.bytes_per_image() == sum(column.numel() * column.element_size() for column in predictions)


def test_peaks_are_those_of_the_work_alone():
    """Also where an earlier work has freed as much; the peak counts, not what is left."""
    with scaling.memory_returned_at_once():
        for size, work in ((2**25, np.ones), (2**25, lambda *what: np.ones(*what).sum()), (2**20, np.ones)):
            peak = min(scaling.peak_mib(lambda size=size, work=work: work(size, np.uint8)) for _ in range(7))
            assert peak == pytest.approx(size / 2**20, abs=4)   # other threads of this process have some of their own


def test_points_table_and_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "FIXED_IMAGES", 300)
    files = tmp_path / "scaling.json", tmp_path / "scaling.png"
    outputs = ["--json", str(files[0]), "--figure", str(files[1])]
    assert main(["--scaling", "--images", "200", "400", "--classes", "4", "8", "--repeats", "1", *outputs]) == 0
    found = json.loads(files[0].read_text())
    names = [name for name, _ in scaling.parts(Measurement(200, 4, 1))]
    assert len(found["points"]) == 2 * 2 * 2 * len(names)   # axes, sizes, ranks
    assert all(row["seconds"] > 0 and row["mib"] >= 0 for row in found["points"])
    assert files[1].read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert all(shown.count(f"  {name} ") == 4 for name in names)   # two axes, two numbers of ranks
    assert f"{found['bytes_per_validation_image']} bytes" in shown
