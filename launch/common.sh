# shellcheck shell=bash
# shellcheck disable=SC2034  # they are used where this is sourced
# Sourced by the scripts here: their variables, messages, DRY_RUN, TPU types.
# Plain bash 3.2, which is what macOS has.

LAUNCH="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=launch/env.sh
source "$LAUNCH/env.sh"
DRY_RUN="${DRY_RUN:-0}"

# Exit codes as byol_jax.main has them: 2 a mistake to mend, 75 try again.
die() { echo "${0##*/}: $*" >&2; exit 2; }
say() { echo "${0##*/}: $*" >&2; }

# need NAME...: stops unless all these variables have a value.
need() {
  local name missing=''
  for name in "$@"; do
    [ -n "${!name}" ] || missing="$missing $name"
  done
  [ -z "$missing" ] || die "nothing done, not set:$missing (export them; launch/env.sh says what they are)"
}

# tool NAME WHERE: stops unless a program is installed.
tool() {
  [ "$DRY_RUN" = 1 ] || command -v "$1" >/dev/null ||
    die "$1 is not on PATH: install it ($2)"
}
gcloud_tool() { tool gcloud https://cloud.google.com/sdk/docs/install; }

# quoted WORD...: one line that any shell reads back as these words.
quoted() {
  local word line='' inner="'\\''"
  for word in "$@"; do
    case "$word" in
      ''|*[!A-Za-z0-9_./:=,@%+-]*) word="'${word//\'/$inner}'" ;;
    esac
    line="$line${line:+ }$word"
  done
  printf '%s\n' "$line"
}

# tell MESSAGE: what has been done, unless nothing has (DRY_RUN=1).
tell() { if [ "$DRY_RUN" != 1 ]; then say "$@"; fi; }

# call WORD...: runs a command, or prints it (DRY_RUN=1).
call() {
  if [ "$DRY_RUN" = 1 ]; then quoted "$@"; else "$@"; fi
}

# reap PID: waits for a child to its end; sets CODE. A signal ends bash's `wait`,
# not the child: traps say so with INTERRUPTED=1. bash remembers how a child ended,
# so asking once more does no harm.
reap() {
  INTERRUPTED=1
  while [ "$INTERRUPTED" = 1 ]; do
    INTERRUPTED=0 CODE=0
    wait "$1" || CODE=$?
  done
  # bash 5.2 says -1 when the signal and the child's end come at once
  if [ "$CODE" -lt 0 ]; then CODE=75; fi
}

# argument FLAG ARGS...: prints the last --FLAG=value or --FLAG value of them.
argument() {
  local flag="$1" value='' last=''
  shift
  for word in "$@"; do
    case "$word" in --"$flag"=*|-"$flag"=*) value="${word#*=}" ;; esac
    case "$last" in --"$flag"|-"$flag") value="$word" ;; esac
    last="$word"
  done
  printf '%s\n' "$value"
}

# check_name: Google's and Kubernetes' rule for BYOL_NAME.
check_name() {
  case "$BYOL_NAME" in
    *[!a-z0-9-]*|[!a-z]*|*-) die "BYOL_NAME=$BYOL_NAME: take small letters, digits and hyphens, a letter first" ;;
  esac
}

# accelerator: checks BYOL_ACCELERATOR; sets ACCELERATOR (as Google spells it),
# GENERATION, SIZE, HOSTS (TPU VMs) and RUNTIME.
# https://cloud.google.com/tpu/docs/runtimes; sizes: .../docs/v3, v4, v5e, v5p, v6e
accelerator() {
  local sizes per_host size
  ACCELERATOR="${BYOL_ACCELERATOR/#v5e-/v5litepod-}"
  GENERATION="${ACCELERATOR%-*}" SIZE="${ACCELERATOR##*-}"
  sizes='8 16 32 64 128 256 512 1024 2048 4096' per_host=8
  case "$GENERATION" in
    v3) sizes='8 32 64 128 256 512 1024 2048' RUNTIME=tpu-ubuntu2204-base ;;
    v4) RUNTIME=tpu-ubuntu2204-base ;;
    # any number of cubes of 64 chips
    v5p) sizes="8 16 32 64 $(seq -s ' ' 128 128 12288)" RUNTIME=v2-alpha-tpuv5 ;;
    v5litepod) sizes='1 4 8 16 32 64 128 256' per_host=4 RUNTIME=v2-alpha-tpuv5-lite ;;
    v6e) sizes='1 4 8 16 32 64 128 256' per_host=4 RUNTIME=v2-alpha-tpuv6e ;;
    *) die "BYOL_ACCELERATOR=$BYOL_ACCELERATOR: there is no such type; take v3-N, v4-N, v5litepod-N, v5p-N or v6e-N" ;;
  esac
  for size in $sizes; do
    [ "$size" = "$SIZE" ] || continue
    # eight chips of v5e and v6e are one VM, more of them are VMs of four
    HOSTS=$((size <= 8 ? 1 : size / per_host))
    RUNTIME="${BYOL_RUNTIME:-$RUNTIME}"
    return
  done
  [ "$GENERATION" != v5p ] || sizes='8 16 32 64 and multiples of 128'
  die "BYOL_ACCELERATOR=$BYOL_ACCELERATOR: there is no such type; $GENERATION-N comes with N = $sizes"
}

# check_run ARGS...: a command line of byol_jax.main before it goes to machines;
# sets RUN_ARGS (with what is missing) and WORKDIR. Needs HOSTS.
check_run() {
  local config workdir
  config="$(argument config "$@")" workdir="$(argument workdir "$@")"
  [ -n "$config" ] || die "--config is missing: ${0##*/} ... --config=configs/NAME.py [--config.key=value ...]"
  case "$config" in
    configs/*) ;;
    *) die "--config=$config: the machines get configs/ of this checkout; put the file there" ;;
  esac
  [ -f "$LAUNCH/../${config%%:*}" ] || die "--config=$config: there is no such file"
  RUN_ARGS=("$@")
  if [ -z "$workdir" ]; then
    need BYOL_BUCKET
    workdir="$BYOL_WORKDIR"
    RUN_ARGS+=("--workdir=$workdir")
  fi
  case "$workdir" in
    gs://?*) ;;
    /*) [ "$BYOL_SHARED" = 1 ] ||
      die "workdir $workdir: disks go with the machine; take gs://..., or BYOL_SHARED=1 if this one does not" ;;
    *) die "workdir $workdir: set BYOL_BUCKET or --workdir to a place in a bucket (gs://...); disks go with the machine" ;;
  esac
  WORKDIR="${workdir%/}"
  # several processes that each trained by themselves would look well and be wrong
  if [ "$HOSTS" -gt 1 ] && [ -z "$(argument distributed "$@")" ]; then
    RUN_ARGS+=(--distributed=on)
  fi
}

# newest_step WORKDIR: the newest checkpoint's step, 0 if there is none.
newest_step() {
  local paths
  case "$1" in
    gs://*) paths="$(gcloud storage ls "$1/checkpoints/" 2>/dev/null || true)" ;;
    *) paths="$(ls -d "$1"/checkpoints/*/ 2>/dev/null || true)" ;;
  esac
  printf '%s\n0\n' "$paths" | sed -n 's:^\(.*/\)\{0,1\}\([0-9][0-9]*\)/\{0,1\}$:\2:p' | sort -n | tail -n 1
}

# is_hopeless FILE WORKDIR: counts a failure in FILE; true once there have been
# BYOL_MAX_FAILURES in a row without a new checkpoint.
is_hopeless() {
  local count=0 step=0 now
  # shellcheck disable=SC2162
  if [ -s "$1" ]; then read count step < "$1"; fi
  now="$(newest_step "$2")"
  if [ "$now" -gt "$step" ]; then count=0; fi
  count=$((count + 1))
  echo "$count $now" > "$1"
  say "failure $count of $BYOL_MAX_FAILURES since step $now"
  [ "$count" -ge "$BYOL_MAX_FAILURES" ]
}
