"""Prints the means of each epoch of a run as a Markdown table.

    python3 docs/results/epochs.py runs/00000-vgan-mnist/stats.jsonl STEPS_PER_EPOCH

Each line of stats.jsonl holds means over the steps since the line before; a line that reaches over the end of an epoch
counts for the epoch that it ends in, so take a --tick that divides the steps of an epoch.
"""

import collections
import json
import sys


def main(path, steps_per_epoch):
    epochs, last = collections.defaultdict(list), 0
    with open(path) as lines:
        for line in lines:
            record = json.loads(line)
            steps, last = record["step"] - last, record["step"]
            epochs[(last - 1) // steps_per_epoch + 1].append((steps, record))
    columns = ["loss_d", "loss_g", "beta", "kl_real", "kl_fake", "d_real", "d_fake"]
    print("| epoch | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for epoch, records in epochs.items():
        steps = sum(steps for steps, _ in records)
        means = {key: sum(n * record[key] for n, record in records) / steps for key in columns}
        means["beta"] = records[-1][1]["beta"]
        print(f"| {epoch} | " + " | ".join(f"{means[key]:.4f}" for key in columns) + " |")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
