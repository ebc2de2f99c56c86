"""torchrun, except that its exit status is that of the first process that failed, without a traceback of its own.

    python main/launch.py --nproc_per_node 2 --standalone main/train.py --cfg configs/test/digits_lt.yaml --gpus cpu
"""
import os
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main(argv: list[str]) -> int:
    args = run.parse_args(argv)
    # torchrun gives each of several processes one thread; here they share the cores out
    local = int(args.nproc_per_node) if args.nproc_per_node.isdigit() else 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // local)))
    try:
        run.run(args)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 1   # negative: ended by a signal
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
