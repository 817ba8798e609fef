#!/usr/bin/env bash
# Runs our step and PyTorch's in turn (A B A B ...) and prints the medians and the ratio peer / ours.
#
#   benches/compare.sh --ours 'target/release/step-bench --json' [--rounds 5] [--python python3] [-- PEER FLAGS]
#   benches/compare.sh BINARY [...]                                the same, with our binary as first argument
#
# Ours must print one JSON line with at least wall_ms and cpu_ms, as benches/peers/torch_step.py does; other lines are
# ignored. Flags after -- go to the peer, for instance: -- --model vgan-mnist --batch 128 --threads 2
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
ours="" rounds=5 python=python3
peer_flags=()

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }

while (($#)); do
    case $1 in
        --ours | --rounds | --python)
            (($# > 1)) || usage
            case $1 in
                --ours) ours=$2 ;;
                --rounds) rounds=$2 ;;
                --python) python=$2 ;;
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
    printf '%-5s round %s load %s: %s\n' "$side" "$round" "$load" "$line" >&2
}

for ((round = 1; round <= rounds; round++)); do
    measure ours "$round" bash -c "$ours"
    measure peer "$round" "$python" "$here/peers/torch_step.py" ${peer_flags[@]+"${peer_flags[@]}"}
done

"$python" - "$results" <<'PYTHON'
import json
import statistics
import sys

runs = {"ours": [], "peer": []}
loads = []
for line in open(sys.argv[1]):
    side, _, load, result = line.rstrip("\n").split("\t")
    runs[side].append(json.loads(result))
    loads.append(float(load))
print(f"{'median of ' + str(len(runs['ours'])) + ' rounds':22} {'ours':>10} {'peer':>10} {'peer/ours':>10}")
for key in ("wall_ms", "cpu_ms"):
    ours, peer = (statistics.median(run[key] for run in runs[side]) for side in ("ours", "peer"))
    ratios = [b[key] / a[key] for a, b in zip(runs["ours"], runs["peer"])]
    spread = f"(rounds {min(ratios):.2f} to {max(ratios):.2f})"
    print(f"{key + ' a step':22} {ours:10.1f} {peer:10.1f} {peer / ours:10.2f}  {spread}")
for key in ("model", "batch", "threads"):
    ours, peer = runs["ours"][0].get(key), runs["peer"][0][key]
    if ours is not None and ours != peer:
        print(f"not the same {key}: ours {ours}, peer {peer}")
        sys.exit(1)
print(f"load before each run: {min(loads):.2f} to {max(loads):.2f}, median {statistics.median(loads):.2f}")
PYTHON
