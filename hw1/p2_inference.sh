#!/usr/bin/env bash
# Segments a folder of satellite images: bash hw1/p2_inference.sh IN_DIR OUT_DIR [--names 2022|2023] [--tta] [--weights FILE]
here=$(dirname "$(readlink -f "$0")")  # also through a link, and under sh
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/p2_inference.py" "$@"
