"""What torchrun's variables say, and what is said where some of them are missing."""
import socket

import pytest

from lib.device.ranks import Place, rank_or_first, read_place
from lib.device.runtime import Runtime
from lib.utils.errors import InputError
from main import train

WHOLE = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1",
         "MASTER_PORT": "29500"}


@pytest.mark.parametrize(("variables", "place"), [
    ({}, Place()), (WHOLE, Place(3, 4, 1, 2)), ({"WORLD_SIZE": "1"}, Place()), ({"WORLD_SIZE": " "}, Place()),
    ({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}, Place()),
    ({"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "no number, and nobody asks"}, Place()),
    ({**WHOLE, "RANK": " 3 "}, Place(3, 4, 1, 2))])
def test_a_place_is_read(variables, place):
    assert read_place(variables) == place


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
def test_several_processes_need_all_of_it(missing):
    for value in (None, ""):
        variables = {name: text for name, text in (WHOLE | {missing: value}).items() if text is not None}
        with pytest.raises(InputError, match=rf"^WORLD_SIZE is 4, but {missing} not set: torchrun .*unset WORLD_SIZE"):
            read_place(variables)


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
def test_a_rank_of_nothing(name):
    with pytest.raises(InputError, match=f"^{name} is 1, but WORLD_SIZE is not set: .*unset {name}"):
        read_place({name: "1"})


@pytest.mark.parametrize(("name", "value", "range_"), [
    ("WORLD_SIZE", "four", "from 1,"), ("WORLD_SIZE", "0", "from 1,"), ("WORLD_SIZE", "-2", "from 1,"),
    ("RANK", "4", "from 0 to 3"),
    ("RANK", "1.0", "from 0 to 3"), ("LOCAL_RANK", "2", "from 0 to 1"), ("LOCAL_WORLD_SIZE", "5", "from 1 to 4"),
    ("MASTER_PORT", "http", "from 1 to 65535"), ("MASTER_PORT", "70000", "from 1 to 65535"), ("RANK", "²", "from 0 to 3")])
def test_what_is_no_number_or_contradicts_the_others(name, value, range_):
    with pytest.raises(InputError) as raised:
        read_place(WHOLE | {name: value})
    assert f"{name}: must be a whole number {range_}" in str(raised.value)
    assert repr(value) in str(raised.value)


@pytest.mark.parametrize("variables", [{"WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"}, {"RANK": "1"}])
def test_a_script_ends_with_one_message(variables, tiny, tmp_path, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert train.main(["--cfg", "configs/test/digits_lt.yaml", "--gpus", "cpu", *tiny]) == 2
    error = capsys.readouterr().err
    assert error.count("error:") == 1
    assert "WORLD_SIZE" in error
    assert not (tmp_path / "run").exists()


def test_a_number_of_restarts_that_is_none(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "often")
    with pytest.raises(InputError, match="TORCHELASTIC_RESTART_COUNT: must be a whole number"):
        Runtime.start()


def test_ranks_that_cannot_meet(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in (WHOLE | {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match=rf"cannot connect at MASTER_ADDR 127.0.0.1 and MASTER_PORT {port} \(.*EADDRINUSE"):
            Runtime.start()


def test_messages_have_a_rank_whatever_the_variables_are(monkeypatch):
    for text, rank in (("2", 2), ("x", 0), ("", 0)):
        monkeypatch.setenv("RANK", text)
        assert rank_or_first() == rank
