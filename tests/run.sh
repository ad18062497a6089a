#!/usr/bin/env bash
# Sets itself up and runs the tests: bash tests/run.sh [pytest arguments]
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/common/venv.sh"
make_venv "$root/requirements.txt" "$root/tests/requirements.txt"
cd "$root" && exec "$python" -m pytest "$@"
