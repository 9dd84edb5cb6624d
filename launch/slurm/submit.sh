#!/usr/bin/env bash
# The same run on a GPU cluster under Slurm: one process a GPU. The job saves and
# queues itself again before its time is over, and after a failure of a machine.
#
#   BYOL_NAME=r50 BYOL_NODES=4 bash launch/slurm/submit.sh --workdir=/shared/runs/r50 \
#       --config=configs/imagenet_r50.py:300 [--config.key=value ...]
#
# This checkout and the workdir are on a file system that all nodes see. Ended by
# scancel: at once with `scancel JOB`, saved with `scancel --signal=TERM JOB` and
# then `scancel JOB`. DRY_RUN=1 prints the command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=launch/common.sh
source launch/common.sh
need BYOL_NAME
[ -n "$(argument config "$@")" ] || die '--config is missing: submit.sh --config=configs/NAME.py --workdir=DIR'
[ -n "$(argument workdir "$@")" ] || set -- "$@" --workdir="runs/$BYOL_NAME"
tool sbatch https://slurm.schedmd.com
if [ $((BYOL_NODES * BYOL_GPUS)) -gt 1 ] && [ -z "$(argument distributed "$@")" ]; then
  set -- "$@" --distributed=on
fi
# five minutes to save before the time is over; a job that goes on appends its log
call mkdir -p runs/slurm
# shellcheck disable=SC2086  # words
call sbatch --job-name="$BYOL_NAME" --nodes="$BYOL_NODES" --ntasks-per-node="$BYOL_GPUS" \
  --gpus-per-node="$BYOL_GPUS" --cpus-per-task="$BYOL_CPUS" --time="$BYOL_TIME" \
  --signal=B:USR1@300 --requeue --open-mode=append --output=runs/slurm/%x-%j.log \
  $BYOL_SBATCH_FLAGS launch/slurm/train.sbatch "$@"
