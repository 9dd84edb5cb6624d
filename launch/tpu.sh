#!/usr/bin/env bash
# Cloud TPU VMs, from nothing to a run and back. launch/README.md is the tour,
# launch/env.sh has the variables; DRY_RUN=1 prints the commands, quoted.
#
#   bash launch/tpu.sh create           asks for $BYOL_ACCELERATOR (queued resource)
#   bash launch/tpu.sh wait             until it is there
#   bash launch/tpu.sh push             this checkout to all hosts, and installs it
#   bash launch/tpu.sh run ARGS...      byol_jax.main ARGS on all hosts, detached
#   bash launch/tpu.sh logs [WORKER|all] [-f]     what worker 0 printed last
#   bash launch/tpu.sh status           the machine, and each host's run
#   bash launch/tpu.sh state            two words for scripts: ACTIVE READY
#   bash launch/tpu.sh stop             the run saves and leaves
#   bash launch/tpu.sh kill             the run ends, saved or not
#   bash launch/tpu.sh delete           deletes $BYOL_NAME: no cost any more
#
# Exit codes: 0; 2 a mistake to mend; 75 the cloud's, which may do the next time.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# queue VERB FLAGS...: gcloud on the queued resource
queue() {
  local verb="$1"
  shift
  call gcloud compute tpus queued-resources "$verb" "$BYOL_NAME" \
    --project="$BYOL_PROJECT" --zone="$BYOL_ZONE" "$@"
}

# hosts WORKER COMMAND: a shell command on one worker or all
hosts() {
  # shellcheck disable=SC2086  # words
  call gcloud compute tpus tpu-vm ssh "$BYOL_NAME" \
    --project="$BYOL_PROJECT" --zone="$BYOL_ZONE" --worker="$1" --quiet \
    $BYOL_SSH_FLAGS --command="$2"
}

# worker VERB ARGS...: a command line for `hosts`
worker() {
  printf 'cd byol_jax && env %s bash launch/worker.sh %s\n' "$(quoted \
    BYOL_NAME="$BYOL_NAME" BYOL_CACHE="$BYOL_CACHE" BYOL_INSTALL="$BYOL_INSTALL" \
    BYOL_EXTRAS="$BYOL_EXTRAS")" "$(quoted "$@")"
}

# Nothing of ours is there before the first push.
if_pushed() {
  # shellcheck disable=SC2016  # the host's hostname
  printf 'if [ -e byol_jax/launch/worker.sh ]; then %s; else echo "host=$(hostname) state=none code= last="; fi\n' "$1"
}

create() {
  local flags=()
  need BYOL_NAME BYOL_PROJECT BYOL_ZONE BYOL_ACCELERATOR
  check_name
  accelerator
  gcloud_tool
  case "$BYOL_CAPACITY" in
    on-demand) ;;
    spot) flags+=(--spot) ;;
    reserved) flags+=(--reserved) ;;
    *) die "BYOL_CAPACITY=$BYOL_CAPACITY: take on-demand, spot or reserved" ;;
  esac
  [ -z "$BYOL_SERVICE_ACCOUNT" ] || flags+=(--service-account="$BYOL_SERVICE_ACCOUNT")
  # shellcheck disable=SC2206  # words
  flags+=($BYOL_CREATE_FLAGS)
  queue create --node-id="$BYOL_NAME" --accelerator-type="$ACCELERATOR" \
    --runtime-version="$RUNTIME" ${flags[@]+"${flags[@]}"} || exit 75
  tell "asked for $BYOL_NAME: $ACCELERATOR ($HOSTS hosts), $BYOL_CAPACITY; it costs from ACTIVE until 'tpu.sh delete'"
}

# or_not_found WORD COMMAND...: its output, or WORD if Google knows no such thing.
or_not_found() {
  local word="$1" errors
  shift
  errors="$(mktemp)"  # apart: gcloud announces updates there
  if ! "$@" 2> "$errors"; then
    if grep -q NOT_FOUND "$errors"; then echo "$word"; else cat "$errors" >&2; word=''; fi
  fi
  rm -f "$errors"
  [ -n "$word" ]
}

# Prints the state of the queued resource, and of its node: 'ACTIVE READY'.
# 'none': there is no such resource. Fails if Google does not answer.
state() {
  local queued node
  if [ "$DRY_RUN" = 1 ]; then
    queue describe '--format=value(state.state)'
    call gcloud compute tpus tpu-vm describe "$BYOL_NAME" --project="$BYOL_PROJECT" \
      --zone="$BYOL_ZONE" '--format=value(state)'
    return
  fi
  queued="$(or_not_found none queue describe '--format=value(state.state)')" || return 75
  [ "$queued" = ACTIVE ] || { echo "$queued"; return; }
  node="$(or_not_found GONE gcloud compute tpus tpu-vm describe "$BYOL_NAME" \
    --project="$BYOL_PROJECT" --zone="$BYOL_ZONE" '--format=value(state)')" || return 75
  echo "ACTIVE $node"
}

wait_for() {
  local now before='' silent=0
  if [ "$DRY_RUN" = 1 ]; then state; return; fi
  while :; do
    if now="$(state)"; then silent=0; else now='' silent=$((silent + 1)); fi
    [ "$now" = "$before" ] || say "$BYOL_NAME: ${now:-no answer}"
    before="$now"
    case "$now" in
      'ACTIVE READY') return ;;
      none) die "there is no queued resource $BYOL_NAME in $BYOL_ZONE: tpu.sh create" ;;
      FAILED|SUSPENDING|SUSPENDED|DELETING|*PREEMPTED|*TERMINATED|*STOPPING|*STOPPED|*GONE)
        say "$BYOL_NAME will not come ($now): tpu.sh delete, then tpu.sh create"
        exit 75 ;;
      '') [ "$silent" -lt 5 ] || { say 'five times no answer'; exit 75; } ;;
    esac
    sleep "$BYOL_POLL"
  done
}

push() {
  local archive tries=0
  archive="${TMPDIR:-/tmp}/byol_jax-$BYOL_NAME.tgz"
  refuse_second
  # one file, because copying thousands to 64 hosts takes an hour
  call tar -C "$LAUNCH/.." --exclude=__pycache__ -czf "$archive" \
    byol_jax configs launch setup.py pyproject.toml README.md
  # new VMs take a while until they let anybody in
  # shellcheck disable=SC2086  # words
  until call gcloud compute tpus tpu-vm scp "$archive" "$BYOL_NAME:byol_jax.tgz" \
      --project="$BYOL_PROJECT" --zone="$BYOL_ZONE" --worker=all --quiet $BYOL_SSH_FLAGS; do
    tries=$((tries + 1))
    [ "$tries" -lt 3 ] || { say 'copying failed three times'; exit 75; }
    sleep "$BYOL_POLL"
  done
  call rm "$archive"
  # not under the feet of a run
  hosts all "if [ -e byol_jax/launch/worker.sh ]; then bash byol_jax/launch/worker.sh idle || exit; fi && rm -rf byol_jax && mkdir byol_jax && tar -xzf byol_jax.tgz -C byol_jax" || exit 75
  [ "$BYOL_INSTALL" = 0 ] || hosts all "$(worker install)" || exit 75
}

# Stops if a run is going on, by its name.
refuse_second() {
  local answer
  [ "$DRY_RUN" != 1 ] || return 0
  answer="$(hosts all "$(if_pushed "$(worker status)")")" || { say 'no answer from all hosts'; exit 75; }
  if grep 'state=running' <<< "$answer" >&2; then
    die "refused: $BYOL_NAME is running already; 'tpu.sh stop' ends that run, or take another BYOL_NAME"
  fi
}

run() {
  local answer started
  need BYOL_ACCELERATOR
  accelerator
  check_run "$@"
  refuse_second
  if [ "$DRY_RUN" != 1 ]; then
    answer="$(hosts all "$(worker start "${RUN_ARGS[@]}")")" || true
    started="$(grep -c 'state=started' <<< "$answer" || true)"
    if [ "$started" != "$HOSTS" ]; then
      say "started on $started of $HOSTS hosts: ending it there (was this checkout pushed?)"
      hosts all "$(if_pushed "$(worker kill)")" > /dev/null || true
      exit 75
    fi
  else
    hosts all "$(worker start "${RUN_ARGS[@]}")"
  fi
  tell "started on $HOSTS hosts, workdir $WORKDIR; look: tpu.sh logs, tpu.sh status"
}

logs() {
  local which=0 flags=(-n 100)
  for word in "$@"; do
    case "$word" in
      -f) flags+=(-f) ;;
      all|[0-9]*) which="$word" ;;
      *) die "logs $word: logs [WORKER|all] [-f]" ;;
    esac
  done
  hosts "$which" "$(worker log "${flags[@]}")"
}

status() {
  if [ "$DRY_RUN" != 1 ]; then
    local now
    now="$(state)" || exit 75
    echo "$BYOL_NAME $now"
    [ "$now" = 'ACTIVE READY' ] || return 0
  else
    state
  fi
  hosts all "$(if_pushed "$(worker status)")" || exit 75
}

delete() {
  local answer
  tell "deleting the queued resource $BYOL_NAME with its TPU VMs and their disks ($BYOL_PROJECT, $BYOL_ZONE); buckets stay"
  if [ "$DRY_RUN" = 1 ]; then
    queue delete --force --quiet
  elif ! answer="$(queue delete --force --quiet 2>&1)"; then
    echo "$answer" >&2
    case "$answer" in
      *NOT_FOUND*) die "nothing deleted: there is no $BYOL_NAME in $BYOL_ZONE of $BYOL_PROJECT" ;;
    esac
    say "not deleted, and it may cost: try again"
    exit 75
  else
    say "deleted $BYOL_NAME"
  fi
}

verb="${1:-}"
[ $# = 0 ] || shift
case "$verb" in
  create) create ;;
  wait|push|run|logs|status|state|stop|kill|delete)
    need BYOL_NAME BYOL_PROJECT BYOL_ZONE
    gcloud_tool
    case "$verb" in
      wait) wait_for ;;
      stop|kill) hosts all "$(if_pushed "$(worker "$verb")")" || exit 75 ;;
      *) "$verb" "$@" ;;
    esac ;;
  *) die "unknown verb '$verb': create, wait, push, run, logs, status, state, stop, kill or delete" ;;
esac
