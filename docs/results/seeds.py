"""The mean ± standard deviation of each metric over several runs of an experiment, one for each seed, as a Markdown table.

    for seed in 1 2 3; do vgan-cuda compare runs/methods-mnist-$seed --json; done | python3 docs/results/seeds.py fcd kid precision recall
"""

import json
import statistics
import sys


def main():
    metrics = sys.argv[1:]
    runs = {}
    for line in sys.stdin:
        run = json.loads(line)
        runs.setdefault(run["name"], []).append(run["metrics"])
    first = metrics[0]
    print("| method | " + " | ".join(metrics) + " |")
    print("|---" * (len(metrics) + 1) + "|")
    for name, found in sorted(runs.items(), key=lambda run: statistics.mean(seed[first] for seed in run[1])):
        cells = []
        for metric in metrics:
            values = [seed[metric] for seed in found]
            mean, deviation = statistics.mean(values), statistics.stdev(values)
            digits = 3 if abs(mean) < 1 else 2 if abs(mean) < 10 else 1
            cells.append(f"{mean:.{digits}f} ± {deviation:.{digits}f}")
        print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
