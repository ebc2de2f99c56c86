#!/usr/bin/env bash
# Trains with one process per GPU (DistributedDataParallel, through torchrun), on one machine or several.
#   bash distributed_data_parallel_train.sh CONFIG NUM_GPUS GPUS [KEY VALUE ...] [--ar True | --overwrite | --show]
# CONFIG: a yaml file, or several joined by commas. NUM_GPUS: processes on this machine. GPUS: 0,1 or cpu.
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set; NCCL_SOCKET_IFNAME names the network
# interface where NCCL does not find it. On one machine a free port is chosen unless PORT is set. MAX_RESTARTS (default 0): how
# often all ranks are started anew, from their last checkpoint, when one has failed.
set -eu
if [ $# -lt 3 ] || ! [ "$2" -gt 0 ] 2>/dev/null; then
    echo "usage: bash distributed_data_parallel_train.sh CONFIG NUM_GPUS GPUS [KEY VALUE ...] [--ar True | --overwrite | --show]" >&2
    exit 2
fi
config=$1 processes=$2 gpus=$3
shift 3
here=$(dirname "$0")
for name in NNODES NODE_RANK PORT MAX_RESTARTS; do
    case "${!name:-0}" in *[!0-9]*) echo "error: $name: must be a whole number, got '${!name}'" >&2; exit 2 ;; esac
done
if [ "${NODE_RANK:-0}" -ge "${NNODES:-1}" ]; then
    echo "error: NODE_RANK: must be from 0 to NNODES - 1, got ${NODE_RANK:-0} of ${NNODES:-1}" >&2
    exit 2
fi
if [ "${NNODES:-1}" -eq 1 ] && [ -z "${PORT:-}" ]; then
    meeting=(--standalone)
else
    meeting=(--nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}"
             --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}")
fi
exec python "$here/main/launch.py" "${meeting[@]}" --max-restarts "${MAX_RESTARTS:-0}" --nproc_per_node "$processes" \
    "$here/main/train.py" --gpus "$gpus" --cfg "$config" "$@"
