#!/usr/bin/env bash
# A run on Cloud TPU VMs to its end: creates the machine, runs the command, and
# after a preemption or a failure of the machine does both again, until the run
# has ended, is stopped (tpu.sh stop) or has made a mistake of its user's (exit
# code 2). Then it deletes the machine, unless BYOL_KEEP=1.
#
#   bash launch/supervise.sh --config=configs/imagenet_r50.py:300 [--config.key=value ...]
#
# It runs here, so leave it in tmux. Ended by Ctrl-C it leaves all as it is, and
# started again it goes on watching. Exit codes: 0, 2, 75 as in tpu.sh.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need BYOL_NAME BYOL_PROJECT BYOL_ZONE BYOL_ACCELERATOR
check_name
accelerator
check_run "$@"
gcloud_tool

tpu() { bash "$LAUNCH/tpu.sh" "$@"; }

if [ "$DRY_RUN" = 1 ]; then
  tpu create; tpu wait; tpu push; tpu run "$@"; tpu status; tpu delete
  exit
fi

# What the lines of `tpu.sh status` mean together. A run has ended well when all
# hosts say so: one alone may have left in order because another was preempted.
verdict() {
  awk -v hosts="$HOSTS" '
    match($0, /host=[^ ]+ state=[a-z]+ code=[0-9]*/) {
      split(substr($0, RSTART, RLENGTH), part, /[ =]/)
      n++; count[part[4]]++
      if (part[4] == "ended" && part[6] != 0) bad = 1
      if (part[6] == 2) mistake = 1 }
    END { if (mistake) print "mistake"
          else if (n != hosts) print "unclear"
          else if (count["running"] == hosts) print "running"
          else if (count["running"]) print "unclear"
          else if (bad) print "failed"
          else if (count["stopped"]) print "stopped"
          else if (count["ended"] == hosts) print "done"
          else print "idle" }'
}

# The machine's state. Google's silence is no failure of the run.
machine() {
  local silent=0
  until tpu state; do
    silent=$((silent + 1))
    [ "$silent" -lt "$BYOL_PATIENCE" ] || return 75
    sleep "$BYOL_POLL"
  done
}

# One life of the machine; sets END: done, stopped, mistake, failed, or silent if
# there is no answer from Google.
life() {
  local now answer=none unclear=0 code=0
  now="$(machine)" || { END=silent; return; }
  case "$now" in
    none|*READY|*CREATING|ACCEPTED|WAITING_FOR_RESOURCES|PROVISIONING|*STARTING|*REPAIRING) ;;
    *)
      say "$BYOL_NAME is $now: again from nothing"
      tpu delete >&2 || { END=failed; return; }
      now=none ;;
  esac
  if [ "$now" = none ]; then tpu create >&2 || code=$?; fi
  if [ "$code" = 0 ]; then tpu wait >&2 || code=$?; fi
  [ "$code" != 2 ] || { END=mistake; return; }
  [ "$code" = 0 ] || { END=failed; return; }
  # a machine of before may be at work
  if [ "$now" = 'ACTIVE READY' ]; then answer="$(tpu status | verdict)" || true; fi
  case "$answer" in
    running|unclear) ;;  # of a supervise.sh before this one
    *) if ! tpu push >&2 || ! tpu run "${ARGS[@]}" >&2; then END=failed; return; fi ;;
  esac
  while sleep "$BYOL_POLL"; do
    now="$(machine)" || { END=silent; return; }
    case "$now" in
      'ACTIVE READY') answer="$(tpu status | verdict)" || true ;;
      *REPAIRING|*STARTING) answer=unclear ;;
      *) say "$BYOL_NAME is $now"; END=failed; return ;;
    esac
    case "$answer" in
      running) unclear=0 ;;
      # some have ended: the others do within minutes (config.safety)
      unclear) unclear=$((unclear + 1)) ;;
      idle) END=failed; return ;;  # new disks
      *) END="$answer"; return ;;
    esac
    if [ "$unclear" -ge "$BYOL_PATIENCE" ]; then
      say "$unclear looks without a clear answer"
      tpu kill >&2 || true
      END=failed
      return
    fi
  done
}

ARGS=("$@")
failures="$(mktemp)"
trap 'rm -f "$failures"' EXIT
trap 'say "$BYOL_NAME goes on without me, and costs: supervise.sh again, or tpu.sh stop and tpu.sh delete"; exit 130' INT TERM
code=0
while :; do
  life
  say "$BYOL_NAME: $END"
  case "$END" in
    done|stopped) break ;;
    mistake) code=2; break ;;
    silent) code=75 BYOL_KEEP=1; break ;;
  esac
  if is_hopeless "$failures" "$WORKDIR"; then
    say "giving up (BYOL_MAX_FAILURES)"
    code=75
    break
  fi
  sleep "$BYOL_POLL"
done
# gone with the machine
if [ "$code" = 0 ]; then tpu logs >&2 || true; else tpu logs all >&2 || true; fi
if [ "$BYOL_KEEP" = 1 ]; then
  say "$BYOL_NAME stays and costs: tpu.sh delete"
else
  tpu delete || say "$BYOL_NAME may still cost: tpu.sh delete"
fi
exit "$code"
