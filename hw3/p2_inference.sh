#!/usr/bin/env bash
# Captions a folder of images, a figure each: bash hw3/p2_inference.sh IN_DIR OUT_DIR
here=${BASH_SOURCE[0]%/*}
[ "$here" = "${BASH_SOURCE[0]}" ] && here=.
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/p2_inference.py" "$@"
