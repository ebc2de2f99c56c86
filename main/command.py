"""Options that all scripts share, and the conversion of errors to one message and an exit status."""
import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from lib.config import TREE, Config, gather_words, load_config
from lib.device.failures import KINDS, explain
from lib.device.ranks import rank_or_first
from lib.utils.errors import (
    DONE,
    FAILED,
    INTERRUPTED,
    MISTAKE,
    SIGNALLED,
    UNREAD,
    InputError,
    RunFailedError,
    RunInterruptedError,
)
from lib.utils.log import output_is_lost, start_logging
from lib.utils.text import shell_line
from main.front_door import expand

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
VALUE = "\0"   # which no word of a command line has in it


def make_parser(description: str, needs_cfg: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", nargs="+", action="append", required=needs_cfg, default=[], metavar="YAML",
                        help="yaml files; later ones override earlier ones; words after the last file are KEY VALUE pairs")
    parser.add_argument("--gpus", default="auto", help="cpu, or GPU numbers such as 0 or 0,1 (default: all visible ones)")
    parser.add_argument("--show", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY VALUE", help="configuration keys to override")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[Config, argparse.Namespace]:
    args = parser.parse_intermixed_args(mark_values(argv))
    args.started = time.monotonic()
    args.cfg, words = gather_words(args.cfg)
    args.words = [word.removeprefix(VALUE) for word in (*words, *args.overrides)]
    if hasattr(args, "folder"):
        expand(args, parser)
    return load_config(args.cfg, args.words), args


def mark_values(argv: Sequence[str]) -> list[str]:
    """Marks values that begin with one dash, such as NAME -x, so that they are not parsed as options."""
    keys = TREE.flat()
    return [VALUE + word if before in keys and word.startswith("-") and not word.startswith("--") else word
            for before, word in zip(("", *argv), argv)]


def warn(lines: Sequence[str]) -> None:
    for line in lines:
        log.warning("%s", line)


def run_command(command: Callable[[Config, argparse.Namespace], None], parser: argparse.ArgumentParser,
                argv: Sequence[str]) -> int:
    """Runs a script's command on its configuration; returns its exit status."""
    known = argparse.Namespace()

    def action() -> None:
        nonlocal known
        cfg, args = parse(parser, argv)
        known = args
        if args.show:
            print(cfg.to_yaml(), end="")
        else:
            command(cfg, args)

    return exit_status(action, lambda: command_to_go_on(known))


def exit_status(action: Callable[[], None], how_to_go_on: Callable[[], str] = str) -> int:
    """Runs an action and returns the exit status: 0 done, 1 the run failed, 2 a mistake in the input, 130 Ctrl-C, 143 SIGTERM.

    Args:
        how_to_go_on: the end of the message on an interruption.
    """
    rank = rank_or_first()
    start_logging(rank)
    before = signal.signal(signal.SIGTERM, terminated)   # Ctrl-C is KeyboardInterrupt by itself
    try:
        action()
        return DONE
    except InputError as error:
        if rank == 0 or not error.agreed:
            print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except RunFailedError as error:
        log.error("error: %s", error)
        return FAILED
    except RunInterruptedError as stop:
        if rank == 0:
            log.warning("stopped by %s; %s%s", signal.Signals(stop.number).name, stop, how_to_go_on())
        return SIGNALLED + stop.number
    except KeyboardInterrupt as interrupt:
        log.warning("interrupted%s", f"; {interrupt.args[0]}" if interrupt.args else how_to_go_on())
        return INTERRUPTED
    except UnicodeEncodeError as error:
        if error.encoding == "utf-8":
            raise
        print(f"error: file names are encoded in {error.encoding} in this locale, which cannot encode {error.object!r}; set "
              "LC_ALL=C.UTF-8 or PYTHONUTF8=1", file=sys.stderr)
        return MISTAKE
    except KINDS as error:
        if isinstance(error, BrokenPipeError) and output_is_lost():
            return UNREAD
        reason = explain(error)
        if reason is None:
            raise
        log.error("error: %s", reason)
        return FAILED
    finally:
        signal.signal(signal.SIGTERM, before)
        output_is_lost()   # told here, or Python would tell it at its end


def terminated(number: int, frame: FrameType | None) -> None:
    raise RunInterruptedError(number, "no training was running")


def command_to_go_on(args: argparse.Namespace) -> str:
    """The command that resumes a training; empty for other scripts, and before the options are parsed."""
    if not hasattr(args, "ar"):
        return ""
    processes = [os.environ["LOCAL_WORLD_SIZE"]] if "LOCAL_WORLD_SIZE" in os.environ else []
    script = os.path.relpath(ROOT / ("distributed_" * bool(processes) + "data_parallel_train.sh"))
    folds = ["--folds", str(args.folds)] if args.folds else []
    words = ["bash", script, ",".join(args.cfg), *processes, args.gpus, *args.words, *folds, "--ar", "True"]
    return f". Resume with:\n    {shell_line(words)}"
