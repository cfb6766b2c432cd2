#!/usr/bin/env bash
# What a GPU says of this build, on one Markdown page: at most five minutes of device time. Every part is on disk before
# the next begins, so that a machine that is taken away leaves what was found until then.
#
#   benches/gpu.sh build [cuda|wgpu]         builds stripped programs; needs Rust, no GPU
#   benches/gpu.sh pack                      the program for a machine without Rust: compressed, at most 12 MB or an error
#   benches/gpu.sh run [cuda|wgpu] [PAGE]    measures; needs the GPU, no Rust
#   benches/gpu.sh counts [cuda|wgpu]        launches, bytes, operations and time of a step, kernels against burn's operators
#
# PROGRAMS (default: benches/gpu) is the folder of the programs, PARTS (default: a new folder) that of the parts.
set -uo pipefail
cd "$(dirname "$0")/.."
programs=${PROGRAMS:-benches/gpu}

# Builds what the remaining arguments name and keeps it, stripped, as program $1.
build_one() {
    local name=$1 made
    shift
    made=$(cargo "$@" --message-format=json-render-diagnostics | grep -o '"executable":"[^"]*"' | tail -1 | cut -d'"' -f4)
    [ -n "$made" ] && cp "$made" "$programs/$name" && strip "$programs/$name" && ls -l "$programs/$name"
}

# Only `sweep` has to travel to train; the others are for `run`: kernels one by one, whole runs, time.
build() {
    mkdir -p "$programs"
    build_one sweep build --release --features "$1" --bin sweep || exit 1
    [ "${ONLY:-}" = sweep ] && return
    build_one units test --release --features "$1" --lib --no-run || exit 1
    build_one it test --release --features "$1" --test it --no-run || exit 1
    build_one step bench --features "$1" --bench step --no-run || exit 1
    # The data of the race, which only runs on CUDA.
    [ "$1" != cuda ] || [ -d sweeps/data/race ] || cargo run --release --features "$1" --example make_race || exit 1
}

pack() {
    xz -9e -T1 -k -f "$programs/sweep" || exit 1
    local bytes
    bytes=$(stat -c %s "$programs/sweep.xz")
    echo "$programs/sweep.xz: $bytes bytes, unpacked $(stat -c %s "$programs/sweep")"
    [ "$bytes" -le 12582912 ] || { echo "error: more than 12 MB"; exit 1; }
}

# Writes what the rest of the line prints as part $1 of the page, with $2 as its heading and at most $3 seconds.
part() {
    local name=$1 heading=$2 limit=$3
    shift 3
    {
        echo "## $heading"
        echo
        timeout $((limit * patience)) bash -c '"$@"' part "$@" 2>"$parts/$name.err"
        local end=$?
        [ $end = 0 ] || { echo; echo "ended with $end: $(grep -v XDG_RUNTIME_DIR "$parts/$name.err" | head -1)"; }
        echo
    } >"$parts/$name.md"
    sync "$parts/$name.md"
    page
}

# The page from the parts there are.
page() { cat "$parts"/*.md >"$out.new" && mv "$out.new" "$out"; }

# The kernels one by one, then whole runs on them.
tests() {
    local end=0
    results "$programs/units" fused:: || end=1
    SWEEP_TEST_DEVICE=$device results "$programs/it" engines:: golden:: || end=1
    return $end
}

results() { "$@" 2>&1 | grep -E '^test |^test result' | sed 's/^/    /'; return "${PIPESTATUS[0]}"; }

# Seconds of a sweep on a device, with its results in folder $2.
sweep_on() {
    local began ended
    began=$(date +%s.%N)
    "$programs/sweep" run "$1" --device "$3" --out "$2" >"$2.log" 2>&1 || { tail -3 "$2.log"; return 1; }
    ended=$(date +%s.%N)
    echo "| \`$(basename "$1")\` | $3 | $(echo "$began $ended" | awk '{printf "%.2f", $2 - $1}') |"
}

race() {
    echo "| sweep | device | wall, s |"
    echo "|---|---|---:|"
    sweep_on sweeps/race.toml "$parts/race" "$device"
}

# Every answer of every point: is the choice the same, and how far are the log-probabilities apart?
grid() {
    echo "| sweep | device | wall, s |"
    echo "|---|---|---:|"
    sweep_on "$1" "$parts/grid-$device" "$device" || return
    sweep_on "$1" "$parts/grid-cpu" cpu || return
    echo
    local a b
    (cd "$parts/grid-cpu" && find . -name selections.jsonl | sort) | while read -r file; do
        a=$parts/grid-cpu/$file b=$parts/grid-$device/$file
        paste -d '\t' "$a" "$b"
    done | awk -F '\t' '{
        a = $1; b = $2; sub(/.*"log_prob":/, "", a); sub(/.*"log_prob":/, "", b)
        x = a + 0; y = b + 0; d = x < y ? y - x : x - y; if (d > most) most = d
        sub(/,"trajectory".*/, "", $1); sub(/,"trajectory".*/, "", $2); n++; if ($1 != $2) other++
    } END { printf "%d answers, %d chosen differently; log-probabilities differ by at most %.2g\n", n, other, most }'
}

two_workers() {
    [ "$device" = cuda ] || { echo "no CUDA device"; return; }
    echo "| sweep | device | wall, s |"
    echo "|---|---|---:|"
    sweep_on sweeps/race.toml "$parts/race-two" cuda:0,cuda:0
}

torch() {
    [ "$device" = cuda ] || { echo "no CUDA device"; return; }
    python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null ||
        { echo "skipped: python3 here has no PyTorch that sees the card"; return; }
    python3 benches/compare/step_torch.py --device cuda
}

run() {
    device=$1
    parts=${PARTS:-$(mktemp -d)}
    mkdir -p "$parts"
    local card
    card=$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null | head -1)
    if [ "$device" = cuda ] && [ -z "$card" ]; then
        echo "no CUDA device: \`benches/gpu.sh run wgpu\` runs what can be run without"
        exit 3
    fi
    [ "$device" = wgpu ] && card="no CUDA device; $(vulkaninfo --summary 2>/dev/null | sed -n 's/.*deviceName *= //p' | head -1) through Vulkan"
    out=${2:-benches/results/gpu-$(echo "${card%%,*}" | tr -cs 'A-Za-z0-9\n' '-').md}
    printf '# %s\n\n- %s; %s\n- programs: sweep %s bytes\n\n' "$card" "$(uname -sr)" "$(date -u +%F)" "$(stat -c %s "$programs/sweep")" >"$parts/0.md"
    # Software Vulkan takes a minute for what a GPU does in a second.
    local widths=1,8,64,256 grid=sweeps/kl_grid.toml
    [ "$device" = wgpu ] && widths=${WIDTHS:-1,8} grid=${GRID:-sweeps/quick.toml} patience=10
    # The seconds are five minutes together.
    part 1-tests "Kernels, golden runs and engines on $device" 60 tests
    part 2-step "One training step" 60 "$programs/step" --device "$device" --widths "$widths"
    if [ -d sweeps/data/race ] && [ "$device" = cuda ]; then
        part 3-race "The race" 30 race
    elif [ "$device" = cuda ]; then
        part 3-race "The race" 1 echo "no data: \`cargo run --release --example make_race\`"
    else
        part 3-race "The race" 1 echo "no CUDA device"
    fi
    part 4-grid "$(basename "$grid") on $device and on the CPU" 45 grid "$grid"
    part 5-two "Two worker processes on one card" 30 two_workers
    part 6-torch "PyTorch on the same card" 75 torch
    echo "$out"
}

# For the shells that `timeout` starts.
export -f tests results sweep_on race grid two_workers torch
export programs device parts
patience=1

case ${1:-} in
build) build "${2:-cuda}" ;;
pack) pack ;;
run) run "${2:-cuda}" "${3:-}" ;;
counts) exec "$programs/step" --counts --device "${2:-cuda}" "${@:3}" ;;
*) sed -n '2,12p' "$0" && exit 2 ;;
esac
