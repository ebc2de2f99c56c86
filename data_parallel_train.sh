#!/usr/bin/env bash
# Trains in one process: on the CPU, on one GPU, or on several with DataParallel.
#   bash data_parallel_train.sh CONFIG GPUS [KEY VALUE ...] [--ar True | --overwrite | --show]
# CONFIG: a yaml file, or several joined by commas (later ones win). GPUS: cpu, 0 or 0,1.
set -eu
if [ $# -lt 2 ]; then
    echo "usage: bash data_parallel_train.sh CONFIG GPUS [KEY VALUE ...] [--ar True | --overwrite | --show]" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2
exec python "$(dirname "$0")/main/train.py" --gpus "$gpus" --cfg "$config" "$@"
