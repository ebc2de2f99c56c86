"""Which checkpoint a run goes on with, when some are damaged, foreign, or from elsewhere."""
import pytest
import torch
from torch import nn

from lib.modules import CLASSIFIERS
from lib.run import checkpoint
from lib.run.resume import OtherBatchesError, check_part, newest_start
from lib.run.run import Run
from lib.utils.errors import InputError


def small(num_classes: int = 3) -> nn.Module:
    return nn.ModuleDict({"backbone": nn.Linear(3, 2), "classifier": CLASSIFIERS["FC"](2, num_classes)})


def state(epoch: int, network: nn.Module | None = None, **more) -> dict:
    return {"state_dict": (network or small()).state_dict(), "optimizer": {}, "epoch": epoch, **more}


def fits(start: checkpoint.Start) -> None:
    start.check_weights(small())


@pytest.fixture
def run(tmp_path):
    """Seven epochs, an epoch_N.pth every three, epoch 5 the best."""
    run = Run(tmp_path)
    run.models.mkdir()
    for epoch in range(1, 8):
        run.save(state(epoch), is_best=epoch in (1, 5), every=3)
    return run


def truncated(data: bytes) -> bytes:
    return data[:len(data) // 2]


def flipped(data: bytes) -> bytes:
    """One bit of a weight, which torch.load alone does not notice."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]


def damage(run: Run, name: str, how=truncated) -> None:
    path = run.models / name
    path.write_bytes(how(path.read_bytes()))


def test_previous_is_last_of_the_epoch_before(run):
    epochs = {path.name: checkpoint.load(path)["epoch"] for path in run.models.iterdir()}
    assert epochs == {"last.pth": 7, "previous.pth": 6, "epoch_6.pth": 6, "epoch_3.pth": 3, "best_model.pth": 5}


@pytest.mark.parametrize("how", [truncated, flipped, lambda data: b"", lambda data: b"not a checkpoint"])
def test_a_damaged_one_is_named_and_the_newest_good_one_taken(run, caplog, how):
    damage(run, "last.pth", how)
    with caplog.at_level("WARNING", logger="lib.run.resume"):
        start = newest_start(run.models, fits)
    assert start.state["epoch"] == 6
    assert "last.pth" in caplog.text
    assert "resuming" in caplog.text
    assert "previous.pth" in caplog.text


@pytest.mark.parametrize(("damaged", "epoch"), [
    (["last.pth", "previous.pth"], 6), (["last.pth", "previous.pth", "epoch_6.pth"], 5),
    (["last.pth", "previous.pth", "epoch_6.pth", "best_model.pth"], 3)])
def test_it_falls_back_further(run, damaged, epoch):
    for name in damaged:
        damage(run, name)
    assert newest_start(run.models, fits).state["epoch"] == epoch


def test_one_of_another_network_is_named_too(run, caplog):
    checkpoint.save(state(9, small(5)), [run.models / "last.pth"])
    with caplog.at_level("WARNING", logger="lib.run.resume"):
        assert newest_start(run.models, fits).state["epoch"] == 6
    assert "classifier.weight (5, 2) for (3, 2)" in caplog.text


def test_none_that_is_good_is_an_error_that_names_all(run):
    names = [path.name for path in run.models.iterdir()]
    for name in names:
        damage(run, name)
    with pytest.raises(InputError, match="none of the checkpoints") as caught:
        newest_start(run.models, fits)
    assert all(name in str(caught.value) for name in names)
    assert "--overwrite" in str(caught.value)


def test_none_at_all_is_no_error(tmp_path):
    assert newest_start(tmp_path / "models", fits) is None


def part(epoch: int, batch: int = 4, plan: str = "a plan") -> dict:
    return state(epoch, batch=batch, plan=plan, seconds=1.0, totals=torch.zeros(1, 5), world_size=1)


def fits_here(start):
    fits(start)
    check_part(start, lambda epoch: "a plan", world_size=1)


def test_inside_an_epoch_counts_more_than_its_beginning_and_less_than_its_end(run):
    run.save_part(part(7))
    assert newest_start(run.models, fits_here).state["batch"] == 4
    checkpoint.save(state(8), [run.models / "last.pth"])   # killed before mid_epoch.pth was deleted
    assert newest_start(run.models, fits_here).state["epoch"] == 8


def test_the_end_of_an_epoch_ends_what_was_inside_it(run):
    run.save_part(part(7))
    run.save(state(8), is_best=False, every=3)
    assert not (run.models / "mid_epoch.pth").exists()


@pytest.mark.parametrize("other", [part(7, plan="another"), {**part(7), "totals": torch.zeros(2, 5)}, {**part(7), "totals": 3}])
def test_other_batches_or_ranks_do_not_go_on_inside_an_epoch(run, other, caplog):
    run.save_part(other)
    assert newest_start(run.models, fits_here).state.get("batch", 0) == 0
    assert "mid_epoch.pth is from the middle of epoch 8" in caplog.text


def test_other_batches_before_the_first_checkpoint_begin_anew(tmp_path):
    run = Run(tmp_path)
    run.models.mkdir()
    run.save_part(part(0, plan="another"))
    assert newest_start(run.models, fits_here) is None
    damage(run, "mid_epoch.pth")
    with pytest.raises(InputError, match="none of the checkpoints"):
        newest_start(run.models, fits_here)


def test_other_batches_are_an_error_where_the_file_was_asked_for(run):
    run.save_part(part(7, plan="another"))
    start = checkpoint.read_start("run", run.models / "mid_epoch.pth", "RESUME_MODEL")
    with pytest.raises(OtherBatchesError, match="RESUME_MODEL"):
        fits_here(start)
