#!/usr/bin/env bash
# Labels the images of a csv, setting C: bash hw1/p3_inference.sh IMAGES_CSV IN_DIR OUT_CSV
here=${BASH_SOURCE[0]%/*}
[ "$here" = "${BASH_SOURCE[0]}" ] && here=.
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/p3_inference.py" "$@"
