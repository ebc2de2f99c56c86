"""What damages input, and what judges how it is taken."""
import contextlib
import io
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from main.command import make_parser, run_command

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/test/digits_lt.yaml")
SECONDS = 60   # after which a case hangs

Target = Callable[[Path, int], Counter]


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def too_late(number: int, frame: object) -> None:
        raise AssertionError(f"still running after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def judge(folder: Path, named: str, words: list[str], command: Callable[..., object] = lambda cfg, args: None) -> str:
    """Runs a command as the scripts do; "read" or "refused", or AssertionError. See ``judge_script``."""
    return judge_script(folder, named, lambda: run_command(command, make_parser("fuzz"), words))


def judge_script(folder: Path, named: str, script: Callable[[], int]) -> str:
    """
    Args:
        folder: where nothing may change.
        named: what a refusal must name.
        script: returns its exit status.
    """
    before, out, err = contents(folder), io.StringIO(), io.StringIO()
    with in_time(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = script()
    assert contents(folder) == before, "a file was changed"
    assert "Traceback" not in out.getvalue() + err.getvalue()
    if status == 0:
        return "read"
    assert status == 2, f"status {status}: {out.getvalue()}{err.getvalue()}"
    assert err.getvalue().count("error: ") == 1, err.getvalue()
    assert named in err.getvalue(), err.getvalue()
    return "refused"


def cases(number: int, counts: Counter) -> Callable:
    """``number`` examples of a check that returns what became of each."""
    def decorate(check: Callable) -> Callable:
        @settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def run(data: st.DataObject) -> None:
            counts[check(data)] += 1

        return run

    return decorate


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file that was cut off, altered, lengthened, or is something else."""
    place = draw(st.integers(0, len(whole)))
    other = draw(st.binary(max_size=40))
    flipped = bytearray(whole)
    flipped[min(place, len(whole) - 1)] ^= 1 << draw(st.integers(0, 7))
    altered = [whole[:place] + other + whole[place + len(other):], whole[:place] + other + whole[place:], whole + other]
    return draw(st.sampled_from([*altered, bytes(flipped), whole[:place], whole[place:], other]))


words_of_yaml = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["", "1e400", "!!python/object/apply:os.system [true]", "[", "&a [*a]", "0x10", "2e-4", "..", "\x00", "NaN"]))


def nested(leaf: st.SearchStrategy, keys: st.SearchStrategy) -> st.SearchStrategy:
    return st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6)


values = nested(words_of_yaml, st.text(max_size=8))
