# Sourced by run_all.sh and tests/run.sh after they set `root`: makes $root/.venv, installs the requirement files given as arguments
# where their pins have changed since, and sets `python`. One line on stderr and exit code 2 if it cannot.

fail() {
  echo "error: $1" >&2
  exit 2
}

make_venv() {
  local file stamp log="$root/.venv/pip.log"
  python="$root/.venv/bin/python"
  if [ ! -x "$python" ]; then
    command -v python3 >/dev/null || fail "python3 is not on the PATH; install Python 3.11 or newer"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$(python3 --version) is too old; install Python 3.11 or newer"
    python3 -c 'import venv, ensurepip' 2>/dev/null || fail "python3 has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)"
    echo "setting up $root/.venv"
    python3 -m venv "$root/.venv" || fail "cannot make $root/.venv; see the lines above"
  fi
  for file in "$@"; do
    stamp="$root/.venv/$(printf '%s' "${file#"$root"/}" | tr / -).installed"
    cmp -s "$file" "$stamp" && continue
    echo "installing ${file#"$root"/} (a few minutes the first time)"
    "$python" -m pip install --disable-pip-version-check --retries 2 -r "$file" >"$log" 2>&1 ||
      fail "pip could not install ${file#"$root"/}: $(grep -m 1 -E '^ERROR|error:' "$log" || tail -n 1 "$log") (no network? whole log: $log)"
    cp "$file" "$stamp"
  done
}
