#!/usr/bin/env bash
# What each host does. On TPU VMs tpu.sh calls it through ssh; in a container and
# under Slurm it is what starts.
#
#   worker.sh install             the environment: Python, packages
#   worker.sh start ARGS...       byol_jax.main ARGS, detached from this terminal
#   worker.sh foreground ARGS...  the same, here; its exit code is the program's
#   worker.sh status              one line: host=... state=... code=... last=...
#   worker.sh stop                SIGTERM: the run saves and leaves
#   worker.sh kill                SIGKILL to all that is left of it
#   worker.sh idle                fails if a run is going on
#   worker.sh log [tail's flags]  the log
#
# $BYOL_RUN_DIR has log.txt, exit_code once it has ended, pid, command. One run
# at a time: a host's accelerator serves one process. Exit code 75: the run was
# left or broke down before its end, and the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
# shellcheck source=launch/setup_env.sh
source launch/setup_env.sh
# Slurm starts several on a host, and their home is one
RUN_DIR="$BYOL_RUN_DIR${SLURM_PROCID:+/$SLURM_JOB_ID/$SLURM_PROCID}"
# not in the checkout, which `push` replaces
export BYOL_VENV="${BYOL_VENV:-$HOME/byol_jax_venv}"
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$BYOL_CACHE}"
[ -n "$JAX_COMPILATION_CACHE_DIR" ] || unset JAX_COMPILATION_CACHE_DIR

# The lock is held as long as this script, the program or a child of it lives.
is_running() {
  [ -e "$RUN_DIR/lock" ] && ! flock --shared --nonblock "$RUN_DIR/lock" true
}

refuse_second() {
  ! is_running || die "refused, a run is going on on $(hostname): $(cat "$RUN_DIR/command") (launch/tpu.sh stop ends it)"
}

install() {
  local python="$BYOL_PYTHON"
  # Ubuntu 22.04, of which the TPU images are, has Python 3.10, and no venv
  if ! "$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "$("$python" --version 2>&1) does not do (3.11+ with venv): fetching Python 3.12 with uv"
    PIP_BREAK_SYSTEM_PACKAGES=1 "$python" -m pip install --user --quiet uv
    "$python" -m uv python install --quiet 3.12
    python="$("$python" -m uv python find --managed-python 3.12)"
  fi
  BYOL_PYTHON="$python" make_environment "$BYOL_EXTRAS"
}

# Runs a command to its end; sets CODE.
attended() {
  if [ "$BYOL_FORWARD" = 1 ]; then
    "$@" &
    CHILD=$!
    echo "$CHILD" > "$RUN_DIR/child"
    if [ "$SIGNALLED" = 1 ]; then pass_on; fi  # it came in between
    reap "$CHILD"
  else
    # not by `wait`: a signal that goes to both, and bash 5.2 loses the exit code
    # (-1 in 24 of 60 tries). Traps wait until this is done.
    CODE=0
    # shellcheck disable=SC2016  # of the inner shell
    bash -c 'echo $$ > "$0"; exec "$@"' "$RUN_DIR/child" "$@" || CODE=$?
  fi
}

# Hands a signal on, once.
pass_on() {
  if [ "$BYOL_FORWARD" = 1 ] && [ -n "$CHILD" ] && [ "$PASSED" = 0 ]; then
    PASSED=1
    kill -TERM "$CHILD" 2>/dev/null || true
  fi
}

foreground() {
  local python="$BYOL_PYTHON" line
  mkdir -p "$RUN_DIR"
  exec 9>> "$RUN_DIR/lock"
  flock --timeout 2 9 || refuse_second  # not --nonblock: `status` looks, too
  rm -f "$RUN_DIR/exit_code" "$RUN_DIR/stopped"
  CODE=0 SIGNALLED=0 PASSED=0 CHILD=''
  trap 'INTERRUPTED=1 SIGNALLED=1; pass_on' TERM USR1 USR2
  trap 'INTERRUPTED=1 SIGNALLED=1' INT  # a terminal sends it to both
  line="$(quoted "$@")"
  echo "$line" > "$RUN_DIR/command"
  echo $$ > "$RUN_DIR/pid"
  echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) $(hostname): byol_jax.main $line"
  if [ "$BYOL_INSTALL" != 0 ]; then
    # a process of its own, in which `set -e` holds
    attended bash launch/worker.sh install
    # an index or a network that is gone comes back
    case "$CODE" in 0|2) ;; *) say 'the installation failed'; CODE=75 ;; esac
    python="$BYOL_VENV/bin/python"
  fi
  if [ "$CODE" = 0 ] && [ "$SIGNALLED" = 0 ]; then
    attended "$python" -m byol_jax.main "$@"
  fi
  # Left on a signal: in order, but not at the end. Whoever restarts runs goes by
  # the code, and only a user's `stop` is meant to last.
  if [ "$CODE" = 0 ] && [ "$SIGNALLED" = 1 ] && [ ! -e "$RUN_DIR/stopped" ]; then
    CODE=75
  fi
  echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) exit code $CODE"
  echo "$CODE" > "$RUN_DIR/exit_code.new"
  mv "$RUN_DIR/exit_code.new" "$RUN_DIR/exit_code"
  exit "$CODE"
}

start() {
  refuse_second
  mkdir -p "$RUN_DIR"
  rm -f "$RUN_DIR/pid" "$RUN_DIR/exit_code"
  # a session of its own, and nothing of ssh's: so it outlives the connection
  setsid bash launch/worker.sh foreground "$@" < /dev/null >> "$RUN_DIR/log.txt" 2>&1 &
  for _ in $(seq 100); do
    if [ -e "$RUN_DIR/pid" ]; then break; fi
    sleep 0.1
  done
  [ -e "$RUN_DIR/pid" ] || { say "did not start, see $RUN_DIR/log.txt on $(hostname)"; exit 75; }
  echo "host=$(hostname) state=started"
}

status() {
  local state=none code='' last=''
  if [ -e "$RUN_DIR/exit_code" ]; then
    state=ended code="$(cat "$RUN_DIR/exit_code")"
    [ ! -e "$RUN_DIR/stopped" ] || state=stopped
  elif is_running; then
    state=running
  elif [ -e "$RUN_DIR/pid" ]; then
    state=ended code=137  # killed, and worker.sh with it
  fi
  [ ! -e "$RUN_DIR/log.txt" ] || last="$(tail -n 1 "$RUN_DIR/log.txt" | tr -d '\r')"
  echo "host=$(hostname) state=$state code=$code last=$last"
}

stop() {
  if is_running; then
    touch "$RUN_DIR/stopped"
    # the program alone: two signals would end it without saving
    kill -TERM "$(cat "$RUN_DIR/child")"
    echo "host=$(hostname) state=asked to save and leave"
  else
    echo "host=$(hostname) state=nothing runs"
  fi
}

verb="${1:-}"
[ $# = 0 ] || shift
case "$verb" in
  install|start|foreground|status|stop) "$verb" "$@" ;;
  kill) if is_running; then kill -KILL -- "-$(cat "$RUN_DIR/pid")"; fi ;;
  idle) refuse_second ;;
  log) [ -e "$RUN_DIR/log.txt" ] || die "there is no log on $(hostname): nothing ran yet"
       exec tail "$@" "$RUN_DIR/log.txt" ;;
  *) die "unknown verb '$verb': install, start, foreground, status, stop, kill, idle or log" ;;
esac
