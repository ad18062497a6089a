#!/usr/bin/env bash
# Labels the images of a csv, setting C: bash hw1/p3_inference.sh IMAGES_CSV IN_DIR OUT_CSV
here=$(dirname "$(readlink -f "$0")")  # also through a link, and under sh
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/p3_inference.py" "$@"
