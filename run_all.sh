#!/usr/bin/env bash
# Regenerates every table and figure, then the results page: sets up .venv and calls run_all.py.
#
#   bash run_all.sh [--full] [--data DIR] [--out DIR] [--only PATTERN]... [--jobs N] [--verbose] [--list] [--dry-run]
#
#   --full          the reports' own settings (hours to days, a GPU helps) in place of the quick form; goes on where it was interrupted
#   --data DIR      folder with hw1_data/ (default: data/), or 'synthetic'
#   --out DIR       where results go (default: results/); the items' own output is in its logs/
#   --only PATTERN  items whose name matches (f22a-1.5, 'f23-*') or whose command contains it (p1_tsne), and what they need before them
#   --jobs N        items at a time (default: one for each core, with --full one)
#   --verbose       show the items' own output as it comes
#   --list          print the items and end;  --dry-run: print the commands that would run and end
#
# Exit code: 0 all done, 1 an item failed (named at the end), 2 wrong use, 130 interrupted.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$root/common/venv.sh"
for option in "$@"; do
  case $option in -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;; esac
done
make_venv "$root/requirements.txt"
exec "$python" "$root/run_all.py" "$@"
