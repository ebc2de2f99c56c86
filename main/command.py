"""What the scripts share: their options, and how errors end as one message and an exit status."""
import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from lib.config import Config, load_config, split_words
from lib.utils.errors import DONE, FAILED, INTERRUPTED, MISTAKE, InputError, RunFailedError, UnreadableImageError
from lib.utils.log import start_logging

log = logging.getLogger(__name__)


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", nargs="+", required=True, metavar="YAML",
                        help="one or several yaml files, later ones win; words after the last yaml are KEY VALUE pairs")
    parser.add_argument("--gpus", default="auto", help="cpu, or GPU numbers such as 0 or 0,1 (default: all visible ones)")
    parser.add_argument("--show", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY VALUE", help="configuration keys to override")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[Config, argparse.Namespace]:
    args = parser.parse_intermixed_args(argv)
    args.cfg, words = split_words(args.cfg)
    args.words = [*words, *args.overrides]
    return load_config(args.cfg, args.words), args


def run_command(command: Callable[[Config, argparse.Namespace], None], parser: argparse.ArgumentParser,
                argv: Sequence[str]) -> int:
    """Runs a script's command on its configuration; returns its exit status."""
    def action() -> None:
        cfg, args = parse(parser, argv)
        if args.show:
            print(cfg.to_yaml(), end="")
        else:
            command(cfg, args)

    return exit_status(action)


def exit_status(action: Callable[[], None]) -> int:
    """How an action ended: 0 done, 1 the run failed, 2 a mistake in the input, 130 Ctrl-C; errors as one message."""
    rank = int(os.environ.get("RANK", 0))
    start_logging(rank)
    try:
        action()
        return DONE
    except InputError as error:
        # ranks agree on mistakes before they stop, see Runtime.agree, but not in the middle of an epoch
        if rank == 0 or isinstance(error, UnreadableImageError):
            print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except RunFailedError as error:
        log.error("error: %s", error)
        return FAILED
    except KeyboardInterrupt as interrupt:
        usual = "the same command with --ar True goes on after the last epoch that was finished"
        log.warning("interrupted; %s", interrupt.args[0] if interrupt.args else usual)
        return INTERRUPTED
