#!/usr/bin/env bash
# Sets itself up and runs the tests, one process a core: bash tests/run.sh [pytest arguments]
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/common/venv.sh"
make_venv "$root/requirements.txt" "$root/tests/requirements.txt"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
cd "$root" && exec "$python" -m pytest --numprocesses auto --dist loadfile "$@"
