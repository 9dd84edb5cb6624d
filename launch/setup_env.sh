# shellcheck shell=bash
# Sourced by the scripts here and by tests/run.sh: a virtual environment with
# this package in it, made once and again when setup.py changes.
#
#   make_environment EXTRAS     e.g. "" or "[test]"; sets PYTHON, and where
#                               compiled programs are kept
#
# BYOL_PYTHON   the interpreter to make it with     (default: python3, 3.11+)
# BYOL_VENV     where it lives                      (default: .venv)

make_environment() {
  local extras="$1" base="${BYOL_PYTHON:-python3}"
  local venv="${BYOL_VENV:-.venv}" stamp
  if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "byol_jax needs Python 3.11 or newer; $base is $("$base" --version 2>&1)." >&2
    echo "Name another one: BYOL_PYTHON=/path/to/python3.12 bash $0" >&2
    return 2
  fi
  stamp="$extras $(cat setup.py pyproject.toml | cksum) $("$base" --version)"
  case "$venv" in /*) ;; *) venv="$PWD/$venv" ;; esac
  PYTHON="$venv/bin/python"
  export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$venv/jax_cache}"
  if [ "$(cat "$venv/installed" 2>/dev/null)" = "$stamp" ]; then
    return 0
  fi
  if [ -e "$venv" ] && [ ! -e "$venv/.byol_jax" ]; then
    echo "$venv exists and was not made by this script: remove it, or name another BYOL_VENV." >&2
    return 2
  fi
  echo "Making a virtual environment in $venv (some minutes, once) ..." >&2
  rm -rf "$venv"
  "$base" -m venv "$venv"
  touch "$venv/.byol_jax"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check -e ".$extras"
  echo "$stamp" > "$venv/installed"
}
