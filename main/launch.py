"""torchrun with another error handling: it prints one message, and exits with the status of the first process that failed.

    python main/launch.py --nproc_per_node 2 --standalone main/train.py --cfg configs/test/digits_lt.yaml --gpus cpu

With --max-restarts N it restarts all ranks, up to N times, when one has failed; they resume from their checkpoint.
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
import os
import signal
import socket
import uuid

from torch import distributed
from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from lib.device.gpus import find_gpus
from lib.utils.errors import DONE, FAILED, MISTAKE, SIGNALLED, InputError
from lib.utils.system import cpu_count


def main(argv: list[str]) -> int:
    args = run.parse_args(argv)
    # torchrun gives each of several processes one thread; here they share the cores out
    local = int(args.nproc_per_node) if args.nproc_per_node.isdigit() else 1
    try:
        find_gpus(gpus_of(args.training_script_args), local)   # once, and not by each of the ranks
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpu_count() // local)))
    os.environ["LAUNCH_ID"] = uuid.uuid4().hex   # by which ranks that are restarted know what they themselves began
    interface = os.environ.get("NCCL_SOCKET_IFNAME")
    if interface in [name for _, name in socket.if_nameindex()]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)   # gloo takes a name only, NCCL patterns as well
    try:
        run.run(args)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode
        name = signal.Signals(-failure.exitcode).name
        print(f"error: rank {rank} (process {failure.pid}) was ended by {name}; --ar True resumes from the last checkpoint",
              file=sys.stderr)
        return FAILED
    except SignalException as stop:
        return SIGNALLED + stop.sigval
    except distributed.DistNetworkError as error:
        print(f"error: the ranks cannot connect at {args.master_addr}, PORT {args.master_port}; if the port is in use, set "
              f"another PORT, or none on a single machine ({str(error).splitlines()[0]})", file=sys.stderr)
        return MISTAKE
    return DONE


def gpus_of(words: list[str]) -> str:
    """The GPUs in a script's words; the CPU if there are none in them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--gpus", default="cpu")
    return parser.parse_known_args(words)[0].gpus


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
