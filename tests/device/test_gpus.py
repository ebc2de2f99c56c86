"""Numbers of --gpus count among the GPUs that are visible, whatever form CUDA_VISIBLE_DEVICES has."""
import os

import pytest
import torch

from lib.device import gpus
from lib.device.gpus import find_gpus, select_gpus, visible_entries
from lib.utils.errors import InputError
from main import launch

VARIABLE = "CUDA_VISIBLE_DEVICES"
UUIDS = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-1b0f1a2c-0000-4106-c12f-20bd9faed9f6"
MIGS = "MIG-3d7c8a5e-1111-5a5a-9c9c-0123456789ab,MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with eight GPUs that counts as CUDA does; returns how to set the variable."""
    monkeypatch.setattr(gpus, "NARROWED", {})
    monkeypatch.setattr(torch.cuda, "device_count", counted)
    monkeypatch.setenv(VARIABLE, "")   # so that whatever is set or deleted is undone
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)

    def visible(value: str | None) -> None:
        if value is None:
            monkeypatch.delenv(VARIABLE)
        else:
            monkeypatch.setenv(VARIABLE, value)

    return visible


def counted() -> int:
    value = os.environ.get(VARIABLE)
    entries = [str(number) for number in range(8)] if value is None else [entry.strip() for entry in value.split(",")]
    there = [entry.startswith(("GPU-", "MIG-")) or (entry.isdigit() and int(entry) < 8) for entry in entries]
    return [*there, False].index(False)


@pytest.mark.parametrize(("value", "entries"), [
    ("6,7", ["6", "7"]), (" 6 , 7 ", ["6", "7"]), ("3", ["3"]), ("6,7,", ["6", "7"]), ("01,+2,3rd", ["01", "+2", "3rd"]),
    ("", []), (" ", []), ("-1", []), (",0", []), ("none", []), ("0,-1,1", ["0"]), ("0,x,1", ["0"]), ("0,,1", ["0"]),
    ("2,2", []), ("1,2,01", []), ("0,GPU-8932", ["0"]),
    (UUIDS, UUIDS.split(",")), (UUIDS.replace(",", " , "), UUIDS.split(",")), ("GPU-89,GPU-1b,", ["GPU-89", "GPU-1b"]),
    ("GPU-89,1", ["GPU-89"]), ("GPU-89,GPU-89", []), (MIGS, MIGS.split(",")), ("MIG-3d,GPU-89", ["MIG-3d"]),
])
def test_entries_are_those_that_cuda_takes(value, entries):
    assert visible_entries(value) == entries


@pytest.mark.parametrize(("value", "wanted", "chosen"), [
    (None, "0", "0"), (None, "5,2", "5,2"), ("6,7", "0", "6"), ("6,7", "1", "7"), ("6,7", "1,0", "7,6"), (" 6, 7,", "1", "7"),
    (UUIDS, "0", UUIDS.split(",")[0]), ("GPU-89,GPU-1b", "1", "GPU-1b"), (MIGS, "1", MIGS.split(",")[1]), (MIGS, "0,1", MIGS),
    ("6,7,-1,5", "1", "7"), ("3", "0", "3"), ("6,7", " 0 , 1 ", "6,7"),
])
def test_numbers_choose_among_what_is_visible(machine, value, wanted, chosen):
    machine(value)
    assert find_gpus(wanted) == [word.strip() for word in wanted.split(",")]   # as other processes will be told
    assert os.environ.get(VARIABLE) == value
    assert select_gpus(wanted, 1) == len(wanted.split(","))
    assert os.environ[VARIABLE] == chosen


@pytest.mark.parametrize(("value", "wanted", "message"), [
    ("6,7", "6", "has no 6; numbers count the visible GPUs: 0 is 6, 1 is 7"),
    ("6,7", "0,2,3", "has no 2 and no 3; numbers count the visible GPUs: 0 is 6, 1 is 7"),
    ("GPU-89", "1", "has no 1; numbers count the visible GPUs: 0 is GPU-89"),
    ("0,-1,1", "1", "has no 1; numbers count the visible GPUs: 0 is 0"),
    ("", "0", "'' makes no GPU visible; unset it"), ("-1", "0", "makes no GPU visible"), ("2,2", "0", "makes no GPU visible"),
    (None, "8", "CUDA finds"), ("9", "0", "CUDA finds"),
])
@pytest.mark.parametrize("ask", [lambda wanted: select_gpus(wanted, 1), find_gpus], ids=["select", "find"])
def test_what_is_not_visible_is_named(machine, value, wanted, message, ask):
    machine(value)
    with pytest.raises(InputError) as raised:
        ask(wanted)
    assert message in str(raised.value)
    assert value is None or repr(value) in str(raised.value) or message == "CUDA finds"


@pytest.mark.parametrize(("wanted", "message"), [
    *((wanted, "must be 'cpu', 'auto' or numbers") for wanted in ("cpu0", "0,a", "", "-1", "0,", "²")),
    ("0,0", "'0,0' names 0 twice"), ("1,0,01", "'1,0,01' names 1 twice")])
@pytest.mark.parametrize("ask", [lambda wanted: select_gpus(wanted, 1), find_gpus], ids=["select", "find"])
def test_what_names_no_gpus(wanted, message, ask):
    with pytest.raises(InputError, match=message):
        ask(wanted)


def test_a_later_choice_counts_among_what_was_visible_in_the_beginning(machine):
    machine("6,7")
    for wanted, chosen in (("1", "7"), ("0", "6"), ("0,1", "6,7"), ("1", "7"), ("1", "7"), ("auto", "6,7"), ("cpu", "6,7")):
        select_gpus(wanted, 1)
        assert os.environ[VARIABLE] == chosen
    machine(None)
    assert select_gpus("2", 1) == 1
    assert select_gpus("3", 1) == 1
    assert os.environ[VARIABLE] == "3"
    assert select_gpus("auto", 1) == 8
    assert VARIABLE not in os.environ


def test_cuda_that_has_begun_cannot_turn_to_other_gpus(machine, monkeypatch):
    machine("6,7")
    select_gpus("1", 1)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert select_gpus("1", 1) == 1
    with pytest.raises(InputError, match="already uses the GPUs of CUDA_VISIBLE_DEVICES='7', so it cannot use 0; start another"):
        select_gpus("0", 1)
    assert os.environ[VARIABLE] == "7"


def test_each_process_needs_a_gpu_of_its_own(machine):
    machine("6,7")
    for ask in (select_gpus, find_gpus):
        for wanted, found in (("0", 1), ("auto", 2), ("1,0", 2)):
            with pytest.raises(InputError, match=f"3 processes but {found} GPU"):
                ask(wanted, 3)
    assert select_gpus("0,1", 2) == 2


def test_all_visible_ones(machine):
    for value, found in ((None, 8), ("6,7", 2), (UUIDS, 2), ("", 0)):
        machine(value)
        assert select_gpus("auto", 1) == found
        assert find_gpus("auto") == ([str(number) for number in range(found)] or ["cpu"])
        assert os.environ.get(VARIABLE) == value


@pytest.mark.parametrize(("value", "device", "message"), [
    ("6,7", False, "although CUDA_VISIBLE_DEVICES is '6,7'"), (None, True, "although there is an NVIDIA GPU"), (None, False, ""),
    ("", True, ""), ("-1", True, "")])
@pytest.mark.parametrize("ask", [lambda: select_gpus("auto", 1) or ["cpu"], lambda: find_gpus("auto")], ids=["select", "find"])
def test_a_cpu_in_place_of_a_gpu_is_told(machine, monkeypatch, caplog, tmp_path, value, device, message, ask):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(gpus, "NVIDIA", tmp_path if device else tmp_path / "nvidia0")
    machine(value)
    with caplog.at_level("WARNING", logger="lib.device.gpus"):
        assert ask() == ["cpu"]
    assert (message in caplog.text) if message else not caplog.records


@pytest.mark.parametrize(("words", "message"), [
    (["--gpus", "0,1,2"], "has no 2"), (["--gpus=0"], "2 processes but 1 GPU"), (["--gpus", "auto"], ""), ([], "")])
def test_the_launcher_tells_it_once_and_starts_no_rank(machine, monkeypatch, capsys, words, message):
    machine("6,7")
    started = []
    monkeypatch.setattr(launch.run, "run", started.append)
    for name in ("OMP_NUM_THREADS", "LAUNCH_ID"):
        monkeypatch.setenv(name, "1")   # which the launcher changes
    status = launch.main(["--nproc_per_node", "2", "--standalone", "main/train.py", "--cfg", "a.yaml", *words, "SEED", "1"])
    assert (status, len(started)) == ((2, 0) if message else (0, 1))
    error = capsys.readouterr().err
    assert message in error
    assert error.count("error:") == bool(message)


def test_amds_variable_goes_first_on_its_gpus(machine, monkeypatch):
    machine(None)
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "6,7")
    monkeypatch.setattr(torch.version, "hip", "6.2")
    select_gpus("1", 1)
    assert (os.environ["HIP_VISIBLE_DEVICES"], os.environ.get(VARIABLE)) == ("7", None)
