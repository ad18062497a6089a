#!/usr/bin/env bash
# Classifies a folder of images: bash hw1/p1_inference.sh IN_DIR OUT_CSV
here=$(dirname "$(readlink -f "$0")")  # also through a link, and under sh
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/p1_inference.py" "$@"
