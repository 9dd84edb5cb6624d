#!/usr/bin/env bash
# Sets up everything from nothing and runs the linter and the tests.
#
#   bash tests/run.sh                    the linter and all tests
#   bash tests/run.sh tests/run -k lock  what pytest takes
#   bash tests/run.sh -n 0 -x --pdb      in one process instead of two
#   bash tests/run.sh --faults           the fault matrix at full length: hours
#   bash tests/run.sh --faults C1 C10    some of its rows
#
# BYOL_PYTHON names the interpreter, BYOL_VENV the environment (.venv-test).
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup_env.sh
export BYOL_VENV="${BYOL_VENV:-.venv-test}"
make_environment "[test]"

if [ "${1:-}" = --faults ]; then
  shift
  exec env JAX_PLATFORMS=cpu "$PYTHON" tests/faults/run.py "$@"
fi

"$PYTHON" -m ruff check --quiet .

# Eight CPU devices stand in for eight cores of a TPU.
export JAX_PLATFORMS=cpu
# Programs that tests start compile the same small networks again and again.
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.1
# Most of the time goes by in LLVM, for networks that take some steps: it need not
# optimize them. XLA_FLAGS=' ' tests what users run; the fault matrix does so, too.
XLA_FLAGS="${XLA_FLAGS:---xla_backend_optimization_level=0}"
export XLA_FLAGS="$XLA_FLAGS --xla_force_host_platform_device_count=8"
exec "$PYTHON" -m pytest -q -n 2 --dist loadfile --durations=40 "$@"
