"""How far a step under PyTorch's autocast in bf16 is from the same step in f64: tests/fixtures/autocast.json.

For every single step of tests/models/pytorch.toml and each tensor that it computes: |autocast - exact| / |exact|, both Euclidean
norms. The engine in bf16 is held against it: it rounds at other places than autocast, so single numbers differ, but its errors
must not be larger. --check recomputes the file and compares; oneDNN sums in another order on another processor, so within a tenth.
"""

import argparse
import json
import pathlib
import sys

import torch

import models
from step import random_inputs, run_step

FILE = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "autocast.json"
# The weights after the update, which moves none by more than the learning rate whatever the gradient.
UPDATED = ("generator.", "discriminator.", "encoder.", "average.")
# Of two runs on different processors.
CHECK_TOLERANCE = 0.1


def errors(settings, image, seed):
    """{OUT tensor: relative error} of a step under autocast."""
    height, width, channels = image
    inputs = random_inputs(settings, (channels, height, width), seed=seed)
    exact, _ = run_step(settings, {key: value.double() for key, value in inputs.items()})
    rounded, _ = run_step(settings, inputs, autocast=True)
    found = {}
    for key, value in exact.items():
        size, error = value.norm().item(), (rounded[key].double() - value).norm().item()
        # Not what is nothing but rounding: the gradient of a bias in front of a batch norm, which is zero.
        if not key.startswith(UPDATED) and error < size:
            found[key] = float(f"{error / size:.3g}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="recompute and compare with the committed file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps = [(name, settings, image, seed) for name, settings, image, seed, steps in models.fixtures() if steps is None]
    found = {name: errors(settings, image, seed) for name, settings, image, seed in steps}
    if not arguments.check:
        FILE.write_text(json.dumps(found, indent=0, separators=(",", ":")) + "\n", encoding="utf-8")
        print(f"{len(found)} steps, {FILE.stat().st_size / 1e3:.0f} KB")
        return
    committed, off = json.loads(FILE.read_text(encoding="utf-8")), 0
    for name, tensors in found.items():
        for key, error in tensors.items():
            there = committed[name][key]
            if abs(error - there) > CHECK_TOLERANCE * max(error, there) + 1e-6:
                off += 1
                print(f"{name}: {key}: {error:.3g}, committed {there:.3g}")
    print(f"{off} of {sum(map(len, found.values()))} errors differ")
    sys.exit(off > 0)


if __name__ == "__main__":
    main()
