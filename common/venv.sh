# Sourced by run_all.sh and tests/run.sh after they set `root`: makes $root/.venv, installs the requirement files given as arguments
# where their pins have changed since, and sets `python`. One line on stderr and exit code 2 if it cannot.
#
# One run at a time sets .venv up, the others wait. While it does, $root/.venv.lock says who it is; a run that was killed has left that, and
# .venv is made again.

fail() {
  echo "error: $1" >&2
  exit 2
}

make_venv() {
  venv="$root/.venv" lock="$root/.venv.lock" python="$root/.venv/bin/python"
  is_installed "$@" && return
  { exec 9<>"$lock"; } 2>/dev/null || fail "cannot write $lock; unpack the repository where you may write"
  local locker=$python wait='import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)' # Ctrl-C without a traceback
  wait+='; from common import files; files.flock(9, "which is setting up .venv", wait=True)'
  "$python" -c '' 2>/dev/null || {
    require_python
    locker=python3
  }
  PYTHONPATH="$root" "$locker" -c "$wait" || exit $?
  is_installed "$@" || set_up "$@"
  exec 9>&-
}

is_installed() {
  local file
  [ -x "$python" ] && [ ! -s "$lock" ] || return 1
  for file in "$@"; do
    cmp -s "$file" "$(stamp_of "$file")" || return 1
  done
}

stamp_of() { printf '%s' "$venv/$(printf '%s' "${1#"$root"/}" | tr / -).installed"; }

require_python() {
  command -v python3 >/dev/null || fail "python3 is not on the PATH; install Python 3.11 or newer"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$(python3 --version) is too old; install Python 3.11 or newer"
  python3 -c 'import venv, ensurepip' 2>/dev/null || fail "python3 has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)"
}

set_up() {
  local file log="$venv/pip.log" made=
  [ ! -s "$lock" ] && "$python" -m pip --version >/dev/null 2>&1 && made=1
  [ -n "$made" ] || require_python
  echo "pid $$ on $HOSTNAME (bash $0)" >"$lock"
  if [ -z "$made" ]; then
    [ -e "$venv/bin" ] && echo "making $venv again: it is half made" || echo "setting up $venv"
    python3 -m venv --clear "$venv" || fail "cannot make $venv; see the lines above"
  fi
  for file in "$@"; do
    cmp -s "$file" "$(stamp_of "$file")" && continue
    echo "installing ${file#"$root"/} (a few minutes the first time)"
    "$python" -m pip install --disable-pip-version-check --retries 2 -r "$file" >"$log" 2>&1 || {
      grep -q 'cancelled by user' "$log" && exit 130 # Ctrl-C: packages may be half there
      : >"$lock"
      fail "pip could not install ${file#"$root"/}: $(pip_error "$log") (whole log: $log)"
    }
    cp "$file" "$(stamp_of "$file")"
  done
  : >"$lock"
}

# The line of pip's log that says why: the first error but for notes, or the broken connection that it follows from.
pip_error() {
  if grep -q 'from versions: none' "$1" && grep -q 'connection broken by' "$1"; then
    echo "no network? $(grep -m 1 'connection broken by' "$1")"
    return
  fi
  grep '^ERROR' "$1" | grep -m 1 -vE 'dependency resolver|Ignored the following|Exception:$' ||
    grep -iE '(error|exception): ' "$1" | tail -n 1 | grep . || tail -n 1 "$1"
}
