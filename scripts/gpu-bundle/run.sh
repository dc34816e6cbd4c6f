#!/usr/bin/env bash
# Builds firesteel on a host with a GPU but without Node or network, and shows what it does there.
#
#   tar xJf firesteel-gpu.tar.xz && firesteel/run.sh [--device cuda|cpu] [--out DIR] [STAGE...]
#
# Stages, in this order; all of them unless some are named:
#   build      CMake, for the architecture of the first card
#   verify     every kernel against its reference                      verify.json
#   train      GRPO on the embedded policy                             train.jsonl
#   bench      kernels beside the peers that python3 can import        bench.json
#   sanitize   compute-sanitizer: memcheck, racecheck, synccheck       sanitize-*.log
#   profile    Nsight Compute: speed of light of the row kernels       profile.csv
#
# Results and logs go to DIR (default: results, here); stages.tsv says what passed and how long it
# took. Exit code 0 when every stage passed, 1 when one failed, 2 for wrong use. A failed stage does
# not keep the later ones from running, unless it is build.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all=(build verify train bench sanitize profile)
device=cuda
out=$here/results
stages=()
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --out) out=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    -h | --help) sed -n '2,18s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *)
      case " ${all[*]} " in
        *" $1 "*) stages+=("$1"); shift ;;
        *) echo "run.sh: expected one of ${all[*]}, received $1" >&2; exit 2 ;;
      esac ;;
  esac
done
case $device in
  cuda | cpu) ;;
  *) echo "run.sh: --device: expected cuda or cpu, received '$device'" >&2; exit 2 ;;
esac
[ -n "$out" ] || { echo "run.sh: --out: expected a folder" >&2; exit 2; }
[ ${#stages[@]} -gt 0 ] || stages=("${all[@]}")
in_order=()
for stage in "${all[@]}"; do
  case " ${stages[*]} " in *" $stage "*) in_order+=("$stage") ;; esac
done

mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
cd "$here" || exit 2
export PATH=$here/bin:$PATH:/usr/local/cuda/bin
firesteel() { node dist/cli/main.js "$@"; }

need() {
  for tool in "$@"; do
    command -v "$tool" >/dev/null && continue
    echo "expected $tool on the PATH"
    return 1
  done
}

build() {
  need node cmake g++ || return
  local options=(-DCMAKE_BUILD_TYPE=Release) capability
  command -v ninja >/dev/null && options+=(-G Ninja)
  if [ "$device" = cuda ]; then
    need nvcc nvidia-smi || return
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1) || return
    [ -n "$capability" ] || { echo "nvidia-smi names no card"; return 1; }
    options+=("-DCMAKE_CUDA_ARCHITECTURES=${capability/./}-real")
  else
    options+=(-DFIRESTEEL_CUDA=OFF)
  fi
  cmake -S . -B out "${options[@]}" && cmake --build out --parallel "$(nproc)" &&
    firesteel doctor
}

verify() { firesteel verify --device "$device" --json >"$out/verify.json"; }

train() { firesteel train --device "$device" --system grpo --json >"$out/train.jsonl"; }

bench() { firesteel bench --device "$device" --peers --json >"$out/bench.json"; }

sanitize() {
  local tool failed=0
  [ "$device" = cuda ] || { echo "compute-sanitizer looks at cards alone: nothing to do"; return 0; }
  need compute-sanitizer || return
  for tool in memcheck racecheck synccheck; do
    compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 \
      --log-file "$out/sanitize-$tool.log" \
      node dist/cli/main.js verify --device cuda --small >"$out/sanitize-$tool.txt" 2>&1 || failed=1
    tail -n 2 "$out/sanitize-$tool.log"
  done
  return $failed
}

profile() {
  [ "$device" = cuda ] || { echo "Nsight Compute looks at cards alone: nothing to do"; return 0; }
  need ncu || return
  ncu --target-processes all --clock-control none --launch-skip 20 --launch-count 40 \
    --section SpeedOfLight --section LaunchStats --section Occupancy --csv --log-file "$out/profile.csv" \
    node dist/cli/main.js bench log-prob token-loss --device cuda
}

printf 'stage\tresult\tseconds\n' >"$out/stages.tsv"
failures=0
for stage in "${in_order[@]}"; do
  echo "== $stage"
  begun=$SECONDS
  if "$stage" 2>&1 | tee "$out/$stage.log"; then result=passed; else result=failed; fi
  printf '%s\t%s\t%d\n' "$stage" "$result" $((SECONDS - begun)) >>"$out/stages.tsv"
  [ "$result" = passed ] && continue
  failures=$((failures + 1))
  [ "$stage" = build ] && break
done
cat "$out/stages.tsv"
[ "$failures" -eq 0 ]
