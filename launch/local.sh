#!/usr/bin/env bash
# From nothing to a trained encoder on this machine.
#
#   bash launch/local.sh                              the default job, on the
#                                                     embedded images
#   bash launch/local.sh --config=configs/folder.py --config.data.path=PHOTOS
#   bash launch/local.sh pretrain PHOTOS              the same, and other short commands
#   bash launch/local.sh --config.seed=1              any flag of byol_jax.main
#   BYOL_DEVICES=4 bash launch/local.sh ...           four virtual CPU devices
#   BYOL_PROCESSES=2 BYOL_DEVICES=4 bash launch/local.sh ...
#       a pod in small: two processes of four devices each, over jax.distributed
#
# Makes .venv at the first call (Python 3.11+ and a network to install from; with
# BYOL_INSTALL=0 it runs $BYOL_PYTHON as it is).
# Compiled programs are kept in .venv/jax_cache, so a second call starts sooner.
# On a GPU machine install the CUDA wheels once:
#   .venv/bin/pip install -e '.[cuda]'
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
# shellcheck source=launch/setup_env.sh
source launch/setup_env.sh
if [ "$BYOL_INSTALL" = 0 ]; then
  PYTHON="$BYOL_PYTHON"
elif [ "$DRY_RUN" = 1 ]; then
  PYTHON="${BYOL_VENV:-.venv}/bin/python"
else
  make_environment ""
fi

case "${1:-}" in  # a word is a short command, such as: pretrain PHOTOS
  ''|-*) [ -n "$(argument config "$@")" ] || set -- --config=configs/fashion.py "$@" ;;
esac
case "$BYOL_PROCESSES,$BYOL_DEVICES" in
  *[!0-9,]*|,*|0*|*,0*) die "BYOL_PROCESSES=$BYOL_PROCESSES BYOL_DEVICES=$BYOL_DEVICES: take numbers from 1" ;;
esac
if [ "$BYOL_PROCESSES" = 1 ] && [ -z "$BYOL_DEVICES" ]; then
  if [ "$DRY_RUN" != 1 ]; then exec "$PYTHON" -m byol_jax.main "$@"; fi
  call "$PYTHON" -m byol_jax.main "$@"
  exit
fi

# --- virtual devices -----------------------------------------------------------
set -- env JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES="${BYOL_DEVICES:-1}" "$PYTHON" -m byol_jax.main "$@"
if [ "$BYOL_PROCESSES" = 1 ]; then
  if [ "$DRY_RUN" != 1 ]; then exec "$@"; fi
  call "$@"
  exit
fi

# --- several processes ---------------------------------------------------------
[ -n "$(argument distributed "$@")" ] || set -- "$@" --distributed=on
port=12321
if [ "$DRY_RUN" != 1 ]; then
  port="$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')"
fi
pids=()
# Each in a group of its own, so that it gets a signal from here alone: from the
# terminal, too, it would be the second one, which ends it without saving.
set -m
trap 'INTERRUPTED=1; kill -TERM "${pids[@]}" 2>/dev/null || true' INT TERM USR1 USR2
for i in $(seq 0 $((BYOL_PROCESSES - 1))); do
  where=(env JAX_COORDINATOR_ADDRESS="localhost:$port" JAX_NUM_PROCESSES="$BYOL_PROCESSES" JAX_PROCESS_ID="$i")
  if [ "$DRY_RUN" = 1 ]; then
    call "${where[@]}" "$@"
  else
    "${where[@]}" "$@" < /dev/null &
    pids+=($!)
  fi
done
code=0
for pid in ${pids[@]+"${pids[@]}"}; do
  reap "$pid"
  # a user's mistake first: it is what there is to mend
  if [ "$code" = 0 ] || [ "$CODE" = 2 ]; then code="$CODE"; fi
done
exit "$code"
