#!/usr/bin/env bash
# From nothing to a trained encoder on this machine.
#
#   bash launch/local.sh                              the default job, on the
#                                                     embedded images
#   bash launch/local.sh --config=configs/folder.py --config.data.path=PHOTOS
#   bash launch/local.sh --config.seed=1              any flag of byol_jax.main
#
# Makes .venv at the first call (Python 3.11+ and a network to install from).
# Compiled programs are kept in .venv/jax_cache, so a second call starts sooner.
# On a GPU machine install the CUDA wheels once:
#   .venv/bin/pip install -e '.[cuda]'
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup_env.sh
make_environment ""

case " $* " in
  *" --config="*|*" --config "*) ;;
  *) set -- --config=configs/fashion.py "$@" ;;
esac
exec "$PYTHON" -m byol_jax.main "$@"
