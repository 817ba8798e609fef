#!/usr/bin/env bash
# Runs our step and PyTorch's in turn (A B C A B C ...) and prints medians and the ratios peer / ours.
#
#   benches/compare.sh --ours 'target/release/step-bench --json' [--peer best] [--rounds 5] [--python python3] [-- PEER FLAGS]
#   benches/compare.sh BINARY [...]                                the same, with our binary as first argument
#
# The peer is PyTorch: eager or compile in f32, bf16 or bf16-compile under autocast, or best, which is all four; or jax or jax-bf16.
# The last lines hold ours against the fastest of those that ran.
# Ours must print one JSON line with at least wall_ms and cpu_ms, as benches/peers/torch_step.py does; other lines are
# ignored. Flags after -- go to the peer, for instance: -- --model vgan-mnist --batch 128 --threads 2
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
ours="" rounds=5 python=python3 peer=best
peer_flags=()

usage() { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

while (($#)); do
    case $1 in
        --ours | --rounds | --python | --peer)
            (($# > 1)) || usage
            case $1 in
                --ours) ours=$2 ;;
                --rounds) rounds=$2 ;;
                --python) python=$2 ;;
                --peer) peer=$2 ;;
            esac
            shift
            ;;
        --)
            shift
            peer_flags=("$@")
            break
            ;;
        -*) usage ;;
        *)
            [[ -z $ours ]] || usage
            ours=$1
            ;;
    esac
    shift
done
[[ -n $ours && $rounds =~ ^[1-9][0-9]*$ ]] || usage

declare -A flags=(
    [eager]="torch_step.py" [compile]="torch_step.py --compile" [bf16]="torch_step.py --dtype bf16"
    [bf16-compile]="torch_step.py --dtype bf16 --compile" [jax]="jax_step.py" [jax-bf16]="jax_step.py --dtype bf16"
)
peers=(eager compile bf16 bf16-compile)
if [[ $peer != best ]]; then
    [[ -v flags[$peer] ]] || usage
    peers=("$peer")
fi

results=$(mktemp)
trap 'rm -f "$results"' EXIT
# A waiting OpenMP thread must sleep: spinning would count as the peer's CPU time and slow whatever runs beside it.
export OMP_WAIT_POLICY=passive

# Run a command, keep the JSON line it prints, and put its side, its round and the load before it in front.
measure() {
    local side=$1 round=$2 load line
    shift 2
    load=$(cut -d' ' -f1 /proc/loadavg)
    line=$("$@" | grep '^{' | tail -n 1) || { echo "compare.sh: no JSON line from: $*" >&2; exit 1; }
    printf '%s\t%s\t%s\t%s\n' "$side" "$round" "$load" "$line" >>"$results"
    printf '%-12s round %s load %s: %s\n' "$side" "$round" "$load" "$line" >&2
}

for ((round = 1; round <= rounds; round++)); do
    measure ours "$round" bash -c "$ours"
    for name in "${peers[@]}"; do
        # shellcheck disable=SC2086 # a script and its flags are words
        measure "$name" "$round" "$python" "$here"/peers/${flags[$name]} ${peer_flags[@]+"${peer_flags[@]}"}
    done
done

"$python" - "$results" <<'PYTHON'
import json
import statistics
import sys

runs, loads = {}, []
for line in open(sys.argv[1]):
    side, _, load, result = line.rstrip("\n").split("\t")
    runs.setdefault(side, []).append(json.loads(result))
    loads.append(float(load))
ours = runs.pop("ours")
for key in ("model", "batch", "threads"):
    for name, peer in runs.items():
        if ours[0].get(key) is not None and ours[0][key] != peer[0][key]:
            sys.exit(f"not the same {key}: ours {ours[0][key]}, {name} {peer[0][key]}")


def median(side, key):
    return statistics.median(run[key] for run in side)


def row(name, side):
    cells = []
    for key in ("wall_ms", "cpu_ms"):
        ratios = [theirs[key] / own[key] for own, theirs in zip(ours, side)]
        ratio = median(side, key) / median(ours, key)
        cells.append(f"{median(side, key):9.1f} {ratio:6.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"{name:22} " + "   ".join(cells))


rounds = f"median of {len(ours)} rounds"
print(f"{rounds:22} {'wall_ms':>9} peer/ours (rounds)     {'cpu_ms':>9} peer/ours (rounds)")
print(f"{'ours':22} {median(ours, 'wall_ms'):9.1f} {'':25} {median(ours, 'cpu_ms'):9.1f}")
for name, side in runs.items():
    row(name if name.startswith("jax") else f"PyTorch {name}", side)
best = min(runs, key=lambda name: median(runs[name], "wall_ms"))
row(f"the best: {best}", runs[best])
print(f"load before each run: {min(loads):.2f} to {max(loads):.2f}, median {statistics.median(loads):.2f}")
PYTHON
