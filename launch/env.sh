# shellcheck shell=bash disable=SC2034  # they are used where this is sourced
# Every variable of the scripts in launch/, with its default. What is exported
# in your shell wins; or write your own values here. The prefix is for safety:
# nothing is deleted because some other program has set NAME.

# --- which machine: tpu.sh, supervise.sh, gke/job.sh ---------------------------

# Of the run: of its machine, and of its folder in the bucket. Required.
BYOL_NAME="${BYOL_NAME:-}"
# The Google Cloud project that pays, and the zone. Required.
BYOL_PROJECT="${BYOL_PROJECT:-}"
BYOL_ZONE="${BYOL_ZONE:-}"
# v3-8 ... v3-512 ... v3-2048, v4-8 ..., v5litepod-1 ... 256 (or v5e-1 ...),
# v5p-8 ..., v6e-1 ... 256. Required. v3, v4 and v5p count cores, v5e and v6e chips.
BYOL_ACCELERATOR="${BYOL_ACCELERATOR:-}"
# on-demand; spot: cheaper, and taken away at any time; reserved.
BYOL_CAPACITY="${BYOL_CAPACITY:-on-demand}"
# The system image of the TPU VMs; empty: the one for the generation.
BYOL_RUNTIME="${BYOL_RUNTIME:-}"
# The account the VMs use buckets with; empty: the project's default.
BYOL_SERVICE_ACCOUNT="${BYOL_SERVICE_ACCOUNT:-}"
# More words for `queued-resources create` (--network=... --internal-ips) and
# for ssh and scp (--internal-ip).
BYOL_CREATE_FLAGS="${BYOL_CREATE_FLAGS:-}"
BYOL_SSH_FLAGS="${BYOL_SSH_FLAGS:-}"

# --- the run -------------------------------------------------------------------

# gs://NAME, in the region of the machine. Required to run, unless the command
# names --workdir=gs://... itself.
BYOL_BUCKET="${BYOL_BUCKET:-}"
BYOL_WORKDIR="${BYOL_WORKDIR:-${BYOL_BUCKET:+$BYOL_BUCKET/runs/$BYOL_NAME}}"
# 1: --workdir may be a path: on a disk that all hosts mount at the same place,
# that outlives them (Filestore), and that supervise.sh sees where it runs.
BYOL_SHARED="${BYOL_SHARED:-0}"
# Compiled programs. In the bucket they outlive the machine; and of several
# processes only the first writes, so that the others need to see the place.
BYOL_CACHE="${BYOL_CACHE:-${BYOL_BUCKET:+$BYOL_BUCKET/jax_cache}}"

# --- each host: worker.sh ------------------------------------------------------

# 0: run with $BYOL_PYTHON as it is, install nothing.
BYOL_INSTALL="${BYOL_INSTALL:-1}"
# What of setup.py's extras: [tpu], [cuda], or nothing for CPUs.
BYOL_EXTRAS="${BYOL_EXTRAS-[tpu]}"
# The interpreter (3.11+; where there is only an older one, worker.sh fetches
# another) and, for BYOL_VENV, where the environment lives: .venv, on TPU VMs
# ~/byol_jax_venv. Both as they are set on the host itself.
BYOL_PYTHON="${BYOL_PYTHON:-python3}"
# Where log.txt, exit_code and what else there is to know of a run lie.
BYOL_RUN_DIR="${BYOL_RUN_DIR:-$HOME/byol_jax_run}"
# 1: a SIGTERM to worker.sh is handed on to the program. For containers, where
# the first process alone gets it; elsewhere the program gets its own, and the
# second one would end it without saving.
BYOL_FORWARD="${BYOL_FORWARD:-0}"

# --- supervise.sh, slurm/ ------------------------------------------------------

# Failures in a row without a new checkpoint, after which it gives up.
BYOL_MAX_FAILURES="${BYOL_MAX_FAILURES:-5}"
# Seconds between looks; looks without a clear answer before it restarts.
BYOL_POLL="${BYOL_POLL:-60}"
BYOL_PATIENCE="${BYOL_PATIENCE:-30}"
# 1: supervise.sh leaves the machine (and its cost) when it ends.
BYOL_KEEP="${BYOL_KEEP:-0}"

# --- local.sh: processes, each of so many virtual CPU devices ------------------

BYOL_PROCESSES="${BYOL_PROCESSES:-1}"
BYOL_DEVICES="${BYOL_DEVICES:-}"

# --- gke/job.sh ----------------------------------------------------------------

# The container image (REGION-docker.pkg.dev/PROJECT/REPOSITORY/byol_jax:1).
BYOL_IMAGE="${BYOL_IMAGE:-}"
# The cluster, for xpk; kubectl uses its current context.
BYOL_CLUSTER="${BYOL_CLUSTER:-}"
BYOL_NAMESPACE="${BYOL_NAMESPACE:-default}"
# The Kubernetes account that may use the bucket.
BYOL_K8S_ACCOUNT="${BYOL_K8S_ACCOUNT:-default}"
# Preemptions and failures of the machine before Kubernetes gives up.
BYOL_MAX_RESTARTS="${BYOL_MAX_RESTARTS:-50}"

# --- slurm/submit.sh -----------------------------------------------------------

BYOL_NODES="${BYOL_NODES:-1}"
BYOL_GPUS="${BYOL_GPUS:-8}"     # a node; one process each
BYOL_CPUS="${BYOL_CPUS:-8}"     # a GPU: they decode images
BYOL_TIME="${BYOL_TIME:-24:00:00}"
# More words for sbatch (--partition=... --account=...).
BYOL_SBATCH_FLAGS="${BYOL_SBATCH_FLAGS:-}"
