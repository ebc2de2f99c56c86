"""Parts of the queue of runs, without training: the list, the account, processes, display and results."""
import json
import re
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import yaml

from lib.config import load_config
from lib.utils.errors import InputError
from tools.run_gallery import main, parse
from tools.runs import display, local, processes, results
from tools.runs.jobs import check_unchanged, make_jobs, state
from tools.runs.queue import FAILED, FINISHED, RUNNING, WAITING, Ended, QueueEntry, open_account, run_queue, seconds_left
from tools.runs.ray_engine import gpu_share

DIGITS, FASHION = "configs/test/digits_lt.yaml", "configs/test/fashion_lt.yaml"
WORDS = ["TRAIN.MAX_EPOCH", "4", "TRAIN.LR_SCHEDULER.LR_STEP", "[3]"]


@pytest.fixture
def jobs(tmp_path):
    """Two recipes × two seeds."""
    return make_jobs([[DIGITS], [FASHION]], [0, 1], ["OUTPUT_DIR", str(tmp_path), *WORDS])


def leave(job, epochs: int, accuracy: float = 0.5, whole: bool = True) -> None:
    """What a run of so many epochs leaves behind."""
    directory = job.run.directory
    directory.mkdir(parents=True, exist_ok=True)
    same = {"seconds": 2.0, "valid_accuracy": accuracy, "many": 0.75, "few": 0.25}
    entries = [{"epoch": epoch, **same} for epoch in range(1, epochs + 1)]
    (directory / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (directory / "config.yaml").write_text(job.cfg.to_yaml())
    session = {"hardware": "CPU, 1 threads", "processor": "P", "git": {"commit": "0123456789abcdef", "changed": False}}
    (directory / "environment.json").write_text(json.dumps([session]))
    if whole:
        (directory / "metrics.json").write_text("{}")


def test_every_run_has_a_directory_and_a_seed_of_its_own(jobs, tmp_path):
    names = ["digits_lt_seed0", "digits_lt_seed1", "fashion_lt_seed0", "fashion_lt_seed1"]
    assert [job.run.directory for job in jobs] == [tmp_path / name for name in names]
    for job in jobs:
        assert load_config(job.files, job.pairs) == job.cfg
        assert int(job.name[-1]) == job.cfg.SEED


def test_without_seeds_a_configuration_keeps_its_own():
    job, = make_jobs([[DIGITS]], [], [])
    assert job.name == f"digits_lt_seed{load_config(DIGITS).SEED}"


@pytest.mark.parametrize(("stacks", "seeds", "words", "parts"), [
    ([[DIGITS], [DIGITS]], [0], [], ["digits_lt_seed0"]), ([[DIGITS]], [1, 1], [], ["digits_lt_seed1"]),
    ([[DIGITS], [FASHION]], [0], ["NAME", "same"], ["same_seed0", DIGITS, FASHION]),
    ([[DIGITS]], [0], ["SEED", "3"], ["SEED", "--seeds"]),
    ([["a.yaml"], [DIGITS, "b.yaml"]], [0], [], ["a.yaml", "b.yaml"]),
    ([["configs/cui_cifar/two_stage/drs/cam_based_sampling/cam_generation/cifar10_im50.yaml"]], [0], [], ["does not train"]),
])
def test_a_list_that_cannot_be_run_is_refused_whole(stacks, seeds, words, parts):
    with pytest.raises(InputError) as caught:
        make_jobs(stacks, seeds, words)
    assert all(part in str(caught.value) for part in parts)


def test_two_spellings_of_a_directory_are_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, folder in (("a", "output"), ("b", "./output/../output")):
        Path(f"{name}.yaml").write_text(f"OUTPUT_DIR: {folder}\n")
    with pytest.raises(InputError, match="share the run directory"):
        make_jobs([["a.yaml"], ["b.yaml"]], [0], [])


@pytest.mark.parametrize("argv", [
    ["--configs", DIGITS, f"{DIGITS},{FASHION}", "--seeds", "0", "1", "SEED_KEY", "2"],
    ["--seeds", "0", "1", "--configs", DIGITS, f"{DIGITS},{FASHION}", "SEED_KEY", "2"],
    ["--configs", DIGITS, f"{DIGITS},{FASHION}", "--seeds", "0", "1", "--jobs", "3", "SEED_KEY", "2"],
    ["--configs", DIGITS, "--seeds", "0", "--configs", f"{DIGITS},{FASHION}", "--seeds", "1", "SEED_KEY", "2"],
])
def test_words_behind_any_option_are_pairs(argv):
    args = parse(argv)
    assert (args.stacks, args.seeds, args.pairs) == ([[DIGITS], [DIGITS, FASHION]], [0, 1], ["SEED_KEY", "2"])


@pytest.mark.parametrize(("words", "part"), [
    (["--jobs", "0"], "--jobs"), (["--seeds", "one"], "--seeds"), (["--address", "auto"], "--engine ray"),
    (["--gpus", "x"], "--gpus"), (["--engine", "ray", "--gpus", "0"], "--gpus"), (["--gpus", "0,1"], "CUDA finds no GPU"),
    (["--gpus", "0,0"], "names 0 twice"), (["--append", "{tmp}/measured.yaml"], "--title"),
    (["--append", "{tmp}/measured.yaml", "--title", "A", "--title", "B"], "once for each"),
    (["--append", DIGITS, "--title", "A"], "is not a list"),
])
def test_mistakes_end_before_anything_starts(words, part, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    argv = ["--configs", DIGITS, *(word.format(tmp=tmp_path) for word in words), "OUTPUT_DIR", str(tmp_path / "runs")]
    assert main(argv) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_missing_ray_is_one_message_with_the_command_that_installs_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)   # as if it were not installed
    assert main(["--configs", DIGITS, "--engine", "ray", "OUTPUT_DIR", str(tmp_path)]) == 2
    assert "pip install -r tools/requirements-ray.txt" in capsys.readouterr().err
    assert (Path(__file__).resolve().parents[2] / "tools/requirements-ray.txt").exists()


def test_an_address_without_a_cluster_is_one_message(tmp_path, capsys):
    argv = ["--configs", DIGITS, "--engine", "ray", "--gpus", "cpu", "--address", "127.0.0.1:9", "OUTPUT_DIR", str(tmp_path)]
    assert main(argv) == 2
    assert "no Ray at 127.0.0.1:9" in capsys.readouterr().err


def test_what_a_run_left_behind_says_how_far_it_is(jobs):
    assert state(jobs[0]) == (0, None, False)
    for epochs, whole, expected in ((2, True, (2, 0.5, False)), (4, False, (4, 0.5, False)), (4, True, (4, 0.5, True))):
        (jobs[0].run.directory / "metrics.json").unlink(missing_ok=True)
        leave(jobs[0], epochs, whole=whole)
        assert state(jobs[0]) == expected


def test_a_run_of_another_configuration_is_not_taken_for_this_one(jobs, tmp_path):
    leave(jobs[0], 4)
    check_unchanged(jobs)
    other = make_jobs([[DIGITS]], [0], ["OUTPUT_DIR", str(tmp_path), *WORDS, "TRAIN.OPTIMIZER.BASE_LR", "0.5", "SHOW_STEP", "7"])
    with pytest.raises(InputError, match=r"BASE_LR was 0\.05, is 0\.5") as caught:
        check_unchanged(other)
    assert "SHOW_STEP" not in str(caught.value)


class Pretended:
    """An engine without processes: a run takes ``duration`` looks, and some fail."""

    num_slots = 2

    def __init__(self, failing: str = "", duration: int = 2) -> None:
        self.failing, self.duration, self.running, self.log, self.stopped = failing, duration, {}, [], False

    def start(self, job):
        if self.failing == "start":
            raise InputError("no room")
        self.running[job.name] = [job, self.duration]
        self.log.append(list(self.running))
        return "here"

    def ended(self):
        for name, (job, left) in list(self.running.items()):
            self.running[name][1] -= 1
            if left == 1:
                del self.running[name]
                if name != self.failing:
                    leave(job, job.cfg.TRAIN.MAX_EPOCH)
                yield Ended(job, "exit status 1" if name == self.failing else "")

    def stop(self):
        self.stopped = True


class Silent:
    def event(self, entry, account, now):
        pass

    def update(self, account, now):
        pass


def run(jobs, engine):
    account, seconds = open_account(jobs), count()
    run_queue(account, engine, Silent(), sleep=lambda _: None, clock=lambda: float(next(seconds)))
    return account


def test_the_queue_keeps_its_slots_full_and_its_order(jobs):
    leave(jobs[1], 4)   # finished before
    engine = Pretended()
    account = run(jobs, engine)
    assert engine.log == [["digits_lt_seed0"], ["digits_lt_seed0", "fashion_lt_seed0"], ["fashion_lt_seed1"]]
    assert [entry.status for entry in account] == [FINISHED] * 4
    assert engine.stopped


def test_a_failure_stops_no_other_run(jobs):
    account = run(jobs, Pretended(failing="digits_lt_seed1"))
    assert [entry.status for entry in account] == [FINISHED, FAILED, FINISHED, FINISHED]
    assert account[1].failure == "exit status 1"
    account = run(jobs[1:2], Pretended(failing="start"))
    assert (account[0].status, account[0].failure) == (FAILED, "no room")


@pytest.mark.parametrize(("content", "reason"), [
    ("{", "Expecting"), ("[1]", "is not a list"), ("{}", "is not a list"), ("[]", "is not a list"), ("[{}]", "is not a list"),
    ("[" * 100_000, "recursion"),
    ('[{"hardware": 1, "processor": "P", "git": null}]', "is not a list"), (None, "No such file"), (b"\xff\xfe\0", "utf-8"),
    ('[{"hardware": "CPU", "processor": "P", "git": {"commit": 5}}]', "is not a list")])
def test_a_damaged_environment_is_named_and_the_table_written(jobs, tmp_path, capsys, content, reason):
    """Of one of two seeds; the numbers of both count."""
    for job in jobs[:2]:
        leave(job, 4)
    path = jobs[1].run.directory / "environment.json"
    path.unlink() if content is None else path.write_bytes(content.encode() if isinstance(content, str) else content)
    argv = ["--configs", DIGITS, "--seeds", "0", "1", "--gpus", "cpu", "OUTPUT_DIR", str(tmp_path), *WORDS]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"{re.escape(str(path))} cannot be read \(.*{reason}", shown)
    assert shown.count("shown as unknown") == 1
    row, = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert (row["hardware"], row["commit"]) == ("CPU, 1 threads, P; unknown", "0123456789; unknown")
    assert row["error"] == [50.0, 50.0]


@pytest.mark.parametrize(("line", "reason"), [
    ('{"epoch": 4}', "the last epoch has no seconds and no valid_accuracy"), ('{"epoch": "4"}', "no epoch"),
    ('{"epoch": 4, "valid_accuracy": "high"}', "no epoch"), ('{"epoch": 4, "seconds": 1.0}', "no valid_accuracy"),
    ("[4]", "no epoch"), ("{", "Expecting")])
def test_a_damaged_history_is_named_before_anything_starts(jobs, tmp_path, capsys, line, reason):
    leave(jobs[0], 4)
    with jobs[0].run.history_file.open("a") as file:
        file.write(line + "\n")
    assert main(["--configs", DIGITS, "--seeds", "0", "--gpus", "cpu", "OUTPUT_DIR", str(tmp_path), *WORDS]) == 2
    error = capsys.readouterr().err
    assert f"{jobs[0].run.history_file} is damaged (" in error
    assert reason in error


def test_a_history_that_is_damaged_in_the_meantime_is_one_failure_among_the_results(jobs, tmp_path):
    for job in jobs:
        leave(job, 4)
    jobs[1].run.history_file.write_text("{\n")
    row, _ = results.make_rows(jobs, {}, [])
    assert (row["seeds"], row["unfinished_seeds"]) == ([0], [1])


def test_success_without_the_last_epoch_is_a_failure(jobs, monkeypatch):
    engine = Pretended()
    monkeypatch.setitem(globals(), "leave", lambda job, epochs: None)
    account = run(jobs[:1], engine)
    assert account[0].failure == "ended after 0 of 4 epochs"


def test_an_interrupted_queue_stops_its_runs(jobs):
    engine = Pretended()

    def interrupt(seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_queue(open_account(jobs), engine, Silent(), sleep=interrupt)
    assert engine.stopped


def account_of(jobs):
    """At second 10: one run finished with 1 s an epoch, one of its recipe is in its third of 4 epochs, another recipe waits."""
    leave(jobs[0], 4)
    return [QueueEntry(jobs[0], FINISHED, 4, 0, 0.5, started=0.0, last_epoch=4.0, ended=4.0, where="cpu"),
            QueueEntry(jobs[1], RUNNING, 2, 0, 0.25, started=4.0, last_epoch=10.0, where="cpu"), QueueEntry(jobs[2]),
            QueueEntry(jobs[3], FAILED, failure="why")]


def test_time_left_is_that_of_the_slot_that_ends_last(jobs):
    account = account_of(jobs)
    # running: 2 epochs × 3 s; waiting: 4 epochs × the mean of 1 and 3 s
    assert [seconds_left(account, slots, 10.0) for slots in (1, 2, 3)] == [14.0, 8.0, 8.0]
    assert seconds_left(account, 3, 11.0) == 8.0   # that of the run which waits and begins at once
    account[2].status = FAILED
    assert [seconds_left(account, 2, now) for now in (10.0, 11.0, 99.0)] == [6.0, 5.0, 0.0]
    assert seconds_left(open_account(jobs[1:]), 1, 10.0) is None


def test_the_pace_is_that_of_whole_epochs(jobs):
    """It counts from the start to the last epoch's end, and waits for the next one."""
    entry = QueueEntry(jobs[0], RUNNING, 1, 1, started=10.0)
    leave(jobs[0], 1)
    entry.refresh(15.0)
    assert entry.epoch_seconds is None
    leave(jobs[0], 3)
    for now in (16.0, 20.0):
        entry.refresh(now)
        assert entry.epoch_seconds == 3.0
    assert (entry.seconds_left(3.0, 16.0), entry.seconds_left(3.0, 18.0)) == (3.0, 1.0)


def test_the_table_shows_what_runs_and_what_failed(jobs):
    first, header, running, failed = display.table(account_of(jobs), 2, 10.0)
    assert first == "1 of 4 finished, 1 failed, 1 running, 1 waiting, ETA 0:00:08"
    assert header.split() == list(display.COLUMNS)
    assert running.split() == ["digits_lt_seed1", "cpu", "2/4", "25.00", "%", "3.0", "0:00:06"]
    assert failed == f"failed: fashion_lt_seed1 (why); {jobs[3].output}"


def test_the_live_table_is_redrawn_in_place_and_fits_the_terminal(jobs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "4")
    written = []
    live = display.Live(2, written.append)
    for _ in range(2):
        live.update(account_of(jobs), 10.0)
    assert not written[0].startswith("\x1b[3F")
    assert written[1].startswith("\x1b[3F")
    lines = written[1].replace("\x1b[3F", "").replace("\x1b[2K", "").replace("\x1b[J", "").splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) == 29


def test_events_are_lines(jobs):
    written = []
    lines = display.Lines(2, written.append)
    account = account_of(jobs)
    for entry in account:
        lines.event(entry, account, 10.0)
    assert "digits_lt_seed0: finished, error 50.00 %, 0:00:04" in written[0]
    assert "digits_lt_seed1: started on cpu with epoch 3 of 4" in written[1]
    assert "fashion_lt_seed1: failed (why)" in written[3]


@pytest.mark.parametrize(("cores", "slots", "threads"), [(16, 4, 4), (2, 4, 1), (7, 2, 3)])
def test_cores_are_shared_out(cores, slots, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert local.share_of_cores(cores, slots) == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert local.share_of_cores(cores, slots) == 5


@pytest.mark.parametrize(("gpus", "slots", "share"), [(0, 4, 0.0), (1, 4, 0.25), (2, 6, 0.3333), (8, 2, 1.0)])
def test_shares_of_gpus_never_exceed_what_is_there(gpus, slots, share):
    assert gpu_share(gpus, slots) == share
    assert share * slots <= max(gpus, 0) + 1e-9


def test_slots_take_the_gpus_in_turn():
    assert local.LocalEngine(["0", "3"], 5).free == ["0", "3", "0", "3", "0"]


def sleeper(code: str, output: Path) -> subprocess.Popen:
    code = f"import signal, time\n{code}\nprint('ready', flush=True)\ntime.sleep(60)"
    process = processes.start_process([sys.executable, "-c", code], output, 1)
    while "ready" not in output.read_text():
        time.sleep(0.01)
    return process


def test_processes_are_interrupted_first_and_killed_last(tmp_path):
    polite = sleeper("", tmp_path / "a" / "output.log")
    deaf = sleeper("[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)]", tmp_path / "b" / "output.log")
    processes.stop_processes([polite, deaf], grace=0.2)
    assert deaf.returncode == -signal.SIGKILL
    assert "KeyboardInterrupt" in (tmp_path / "a" / "output.log").read_text()


def test_a_run_that_outlives_its_queue_is_not_started_twice(tmp_path):
    output = tmp_path / "run" / "output.log"
    process = sleeper("", output)
    with pytest.raises(InputError, match="still being trained"):
        processes.check_idle([output])
    with pytest.raises(InputError, match="still being trained"):
        processes.start_process(["true"], output, 1)
    processes.stop_processes([process])
    processes.check_idle([output])


def test_how_a_run_ended_is_said_with_its_last_line(tmp_path):
    output = tmp_path / "output.log"
    output.write_text("first\nerror: what went wrong\n\n")
    assert processes.explain(0, output) == ""
    assert processes.explain(1, output) == "exit status 1: error: what went wrong"
    assert processes.explain(-9, output) == "ended by SIGKILL: error: what went wrong"


def test_results_are_means_over_the_finished_seeds(jobs):
    leave(jobs[0], 4, accuracy=0.8)
    leave(jobs[1], 4, accuracy=0.7)
    leave(jobs[2], 2)
    digits, fashion = results.make_rows(jobs, {DIGITS: "Title"}, ["cpu", "A", "b c"])
    assert (digits["error"], digits["seeds"], digits["error_mean"]) == ([20.0, 30.0], [0, 1], 25.0)
    assert digits["error_std"] == pytest.approx(50 ** 0.5)   # sample deviation of 20 and 30
    assert digits["shots"] == {"many": [75.0, 75.0], "medium": [], "few": [25.0, 25.0]}
    assert digits["seconds"] == [8.0, 8.0]
    assert digits["command"] == f"bash data_parallel_train.sh {DIGITS} cpu A 'b c'"
    assert (digits["trick"], digits["data"], digits["commit"]) == ("Title", "digits-LT-50", "0123456789")
    assert (digits["epochs"], digits["input_size"], digits["hardware"]) == (4, [16, 16], "CPU, 1 threads, P")
    assert (fashion["error"], fashion["unfinished_seeds"], fashion["error_mean"]) == ([], [0, 1], None)
    table = results.results_table([digits, fashion]).splitlines()
    assert "25.00 ± 7.07" in table[1]
    assert "0 of 2" in table[2]


def test_rows_are_appended_once_and_comments_stay(jobs, tmp_path):
    path = tmp_path / "measured.yaml"
    path.write_text("# what this is\n[]\n")
    for job in jobs[:2]:
        leave(job, 4)
    rows = results.make_rows(jobs, {}, ["cpu"])
    assert [results.append_measured(rows, path) for _ in range(2)] == [1, 0]
    assert path.read_text().startswith("# what this is\n- trick:")
    entry, = yaml.safe_load(path.read_text())
    assert list(entry) == list(results.MEASURED)
    for job in jobs[2:]:
        leave(job, 4)
    assert results.append_measured(results.make_rows(jobs, {}, ["cpu"]), path) == 1
    assert [entry["data"] for entry in yaml.safe_load(path.read_text())] == ["digits-LT-50", "Fashion-MNIST-LT-100"]


def test_entries_of_the_gallery_itself_are_found(root):
    gallery = root / "tools/gallery/tricks.yaml"
    assert results.find_title(["configs/cui_cifar/loss/bsce/cifar10_im50.yaml"], gallery) == "Balanced softmax"
    stack = ["configs/fashion_lt/baseline/fashion_im100.yaml", "configs/tricks/bsce.yaml", "configs/tricks/epochs12.yaml"]
    assert results.find_title(stack, gallery) == "Balanced softmax"


@pytest.mark.parametrize(("files", "title"), [
    (["configs/base.yaml", "configs/tricks/bsce.yaml", "configs/tricks/epochs12.yaml"], "Balanced"),
    (["configs/base.yaml", "configs/tricks/drw.yaml", "configs/tricks/bsce.yaml"], "Both"),
    (["configs/base.yaml", "configs/tricks/epochs400.yaml"], "Long"),
    (["configs/base.yaml", "configs/tricks/epochs12.yaml"], "Plain"), (["configs/cui/bsce/cifar10_im50.yaml"], "Balanced"),
    (["configs/other.yaml"], ""), (["configs/base.yaml", "configs/tricks/x.yaml"], ""),
    (["configs/base.yaml", "mine.yaml"], ""), (["configs/base.yaml", "configs/tricks/bsce.yaml", "mine.yaml"], ""),
])
def test_the_entry_of_a_configuration_is_found_by_its_files(files, title, tmp_path):
    tricks = [{"title": "Plain", "stack": [], "rows": {"a": "cui/baseline/{dataset}.yaml"}},
              {"title": "Balanced", "stack": ["bsce"], "rows": {"b": "cui/bsce/{dataset}.yaml"}},
              {"title": "Both", "stack": ["bsce", "drw"], "rows": {}}, {"title": "Long", "stack": ["epochs400"], "rows": {}},
              {"title": "Chain", "chain": "crt", "rows": {}}]
    families = [{"family": "f", "tricks": tricks[:2]}, {"family": "g", "tricks": tricks[2:]}]
    (tmp_path / "tricks.yaml").write_text(yaml.safe_dump({"one.md": families}))
    assert results.find_title(files, tmp_path / "tricks.yaml") == title


def test_waiting_runs_are_listed_without_running_them(tmp_path, capsys):
    assert main(["--configs", DIGITS, "--seeds", "0", "1", "--show", "OUTPUT_DIR", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines] == [[WAITING, "0/100"]] * 2
    assert list(tmp_path.iterdir()) == []
