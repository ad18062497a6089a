#!/usr/bin/env bash
# Captions a folder of images, a figure each: bash hw3/p2_inference.sh IN_DIR OUT_DIR
here=$(dirname "$(readlink -f "$0")")  # also through a link, and under sh
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/p2_inference.py" "$@"
