#!/usr/bin/env bash
# Regenerates every table and figure, then the results page.
#
#   bash run_all.sh [--full] [--data DIR] [--out DIR] [--only PATTERN]... [--list] [--dry-run]
#
#   --full          the reports' own settings (hours to days, a GPU helps) in place of the quick form; goes on where it was interrupted
#   --data DIR      folder with hw1_data/ (default: data/), or 'synthetic'
#   --out DIR       where results go (default: results/)
#   --only PATTERN  items whose name matches (f22a-1.5, 'f23-*') or whose command contains it (p1_tsne), and what they need before them
#   --list          print the items and end;  --dry-run: print the commands that would run and end
#
# Exit code: 0 all done, 1 an item failed (named at the end), 2 wrong use, 130 interrupted.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$root/common/venv.sh"

# items, separated by commas | what must be there first, with `full:` in the long form alone: an item, or part of a command | command
items='
f22a-1.1           |          | hw1/p1_architecture.py --report f22a
f22a-1.2,f22a-1.3  |          | hw1/p1_train.py --report f22a --model A
f22a-1.2,f22a-1.4  |          | hw1/p1_train.py --report f22a --model B
f22a-1.5           | f22a-1.3 | hw1/p1_pca.py --report f22a
f22a-1.6           | f22a-1.3 | hw1/p1_tsne.py --report f22a
f22b-1.1           |          | hw1/p1_architecture.py --report f22b
f22b-1.2,f22b-1.3  |          | hw1/p1_train.py --report f22b --model A
f22b-1.2,f22b-1.4  |          | hw1/p1_train.py --report f22b --model B
f22b-1.5           | f22b-1.3 | hw1/p1_pca.py --report f22b
f22b-1.5-tsne      | f22b-1.3 | hw1/p1_tsne.py --report f22b
f23-1.1            |          | hw1/p1_architecture.py --report f23
f23-1.2,f23-1.3    |          | hw1/p1_train.py --report f23 --model A
f23-1.2,f23-1.4    |          | hw1/p1_train.py --report f23 --model B
f23-1.5            | f23-1.3  | hw1/p1_pca.py --report f23
f23-1.6            | f23-1.3  | hw1/p1_tsne.py --report f23
hw1-p1-scratch     |          | hw1/p1_train.py --model scratch
hw1-p1-best        |          | hw1/p1_train.py --model best
f22a-2.1,f22a-2.2  |          | hw1/p2_architecture.py --report f22a
f22a-2.3           |          | hw1/p2_seg_train.py --report f22a --model A
f22a-2.3           |          | hw1/p2_seg_train.py --report f22a --model B
f22a-2.4           | p2_seg_train.py --report f22a --model B | hw1/p2_mask_viz.py --report f22a
f22b-2.1,f22b-2.2  |          | hw1/p2_architecture.py --report f22b
f22b-2.3           |          | hw1/p2_seg_train.py --report f22b --model A
f22b-2.3           |          | hw1/p2_seg_train.py --report f22b --model B
f22b-2.4           | p2_seg_train.py --report f22b --model B | hw1/p2_mask_viz.py --report f22b
f23-3.1,f23-3.2    |          | hw1/p2_architecture.py --report f23
f23-3.3            |          | hw1/p2_seg_train.py --report f23 --model A
f23-3.3            |          | hw1/p2_seg_train.py --report f23 --model B
f23-3.4            | p2_seg_train.py --report f23 --model B | hw1/p2_mask_viz.py --report f23
hw1-p2-best        |          | hw1/p2_seg_train.py --model best
hw1-p2-stages      | hw1-p2-best | hw1/p2_mask_viz.py --model best
f23-2.1            |          | hw1/p3_ssl_pretrain.py
cv22-1             |          | hw2/p1_scenes.py
cv22-2.1           |          | hw2/p2_learning_curves.py
cv22-2.1-combined  |          | hw2/p2_learning_curves.py --combined
cv22-2.2           |          | hw2/p2_summary.py
cv22-2.3           |          | hw2/p2_augmentation.py
cv22-2.4           |          | hw2/p2_cleaning.py
cv22-2.5           |          | hw2/p2_final.py
hw2-p2-best        |          | hw2/p2_final.py --model best
f23-2.2-supervised | full: hw2-p2-best | hw1/p3_ssl_pretrain.py --supervised
f23-2.2            | p3_ssl_pretrain.py | hw1/p3_ssl_finetune.py
f21-1.1            |          | hw3/p1_train.py
f21-1.2            | f21-1.1  | hw3/p1_pos_embed.py
f21-1.3            | f21-1.1  | hw3/p3_attention_map.py
f21-2.1-training   |          | hw3/p2_caption_train.py
f21-2.1            | f21-2.1-training | hw3/p2_caption_attention.py
'

form=--quick list= dry= patterns=() options=() out="$root/results"
while [ $# -gt 0 ]; do
  case $1 in
    --full) form= ;;
    --data | --out | --only)
      [ $# -gt 1 ] || fail "$1 needs a value; see the head of run_all.sh"
      case $1 in
        --data) options+=(--data "$2") ;;
        --out) out=$2 ;;
        --only) patterns+=("${2// /-}") ;;
      esac
      shift
      ;;
    --list) list=1 ;;
    --dry-run) dry=1 ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown option $1; bash run_all.sh --help shows the options" ;;
  esac
  shift
done
options+=(--out "$out")

names=() needs=() commands=() chosen=()
while IFS='|' read -r name need command; do
  [ -n "$command" ] || continue
  read -r need <<<"$need" # trimmed
  [[ $need == full:* && -n $form ]] && need=
  names+=("${name// /}") needs+=("${need#full: }") commands+=("${command# }")
done <<<"$items"

matches() { # matches LINE-NUMBER PATTERN
  local name
  for name in ${names[$1]//,/ }; do
    # shellcheck disable=SC2053  # the pattern is a glob
    [[ $name == $2 ]] && return 0
  done
  [[ ${commands[$1]} == *"$2"* ]]
}

for i in "${!names[@]}"; do
  [ ${#patterns[@]} -eq 0 ] && chosen[i]=selected
  for pattern in ${patterns[@]+"${patterns[@]}"}; do matches "$i" "$pattern" && chosen[i]=selected; done
done
for pattern in ${patterns[@]+"${patterns[@]}"}; do
  found=
  for i in "${!names[@]}"; do matches "$i" "$pattern" && found=1; done
  [ -n "$found" ] || fail "--only $pattern matches no item; bash run_all.sh --list shows them"
done
for ((i = ${#names[@]} - 1; i >= 0; i--)); do # needs stand above what needs them, and have needs of their own
  [ -n "${chosen[i]-}" ] && [ -n "${needs[i]}" ] || continue
  for j in "${!names[@]}"; do matches "$j" "${needs[i]}" && chosen[j]=${chosen[j]-needed}; done
done

if [ -n "$list" ]; then
  for i in "${!chosen[@]}"; do printf '%-19s %s\n' "${names[i]}" "${commands[i]}"; done
  exit 0
fi
[ -n "$dry" ] || make_venv "$root/requirements.txt"

failed=()
for i in "${!chosen[@]}"; do
  read -ra words <<<"${commands[i]}"
  line=("$root/${words[0]}" "${words[@]:1}" ${form:+"$form"} "${options[@]}")
  # What only another item needs is trained once; the long form goes on where it stopped.
  [[ ${words[0]} =~ _(train|pretrain|finetune|learning_curves|augmentation|cleaning|final)\.py$ ]] && [[ -z $form || ${chosen[i]} == needed ]] && line+=(--resume)
  if [ -n "$dry" ]; then
    echo "python ${line[*]}"
    continue
  fi
  echo "== ${names[i]}: ${commands[i]}"
  began=$SECONDS
  "$python" "${line[@]}"
  code=$?
  [ $code -eq 130 ] && exit 130 # Ctrl-C
  [ $code -eq 0 ] || failed+=("${names[i]}: ${commands[i]} (exit code $code)")
  echo "   $((SECONDS - began)) s"
done
[ -z "$dry" ] || exit 0
"$python" "$root/common/page.py" --out "$out" || failed+=("the results page")

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
