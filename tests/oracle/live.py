"""Holds `vgan-cuda trace` against PyTorch on random weights, images and noise of any seed.

    python tests/oracle/live.py target/release/vgan-cuda --preset vgan-mnist --seed 3 --set train.batch=16

It makes an IN file, lets both take the same training step, compares every tensor of the OUT file and prints the worst.
PyTorch works in f64, the binary in --dtype. The exit code is 1 where a relative error (max|a - b| / max|b|) is above
what is allowed, or where a tensor is missing.

Allowed is --tolerance, and more for a tensor that is ill-conditioned on these inputs: twice the most that it changes
in PyTorch when all inputs move by 8 units of rounding. In f32 and at full width some activation always lies that close
to the kink of a ReLU, and some gradient so close to zero that Adam's first step may take either sign.
"""

import argparse
import pathlib
import shlex
import subprocess
import sys
import tempfile

import torch

import exchange
import settings as settings_module
from step import random_inputs, run_step

DTYPES = {"f32": torch.float32, "f64": torch.float64}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the vgan-cuda binary, or a quoted command that takes its place")
    parser.add_argument("--preset", default="vgan-mnist", choices=settings_module.PRESETS)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--image", help="CxHxW; default: the preset's data set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--beta", type=float, default=0.05, help="beta of the step, so that the KL's gradients count")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--tolerance", type=float, help="default: 1e-5 in f32, 1e-10 in f64")
    parser.add_argument("--jitters", type=int, default=8, help="how often PyTorch is run on moved inputs; 0: never")
    parser.add_argument("--rows", type=int, default=15, help="how many of the worst tensors to print; 0 prints all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", help="a folder to leave IN.safetensors and OUT.safetensors in")
    arguments = parser.parse_args()
    if arguments.tolerance is None:
        arguments.tolerance = {"f32": 1e-5, "f64": 1e-10}[arguments.dtype]
    return arguments


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    image, changes = settings_module.PRESETS[arguments.preset]
    settings = settings_module.with_defaults(changes)
    for text in arguments.changes:
        settings_module.assign_text(settings, text)
    if arguments.image:
        image = tuple(int(size) for size in arguments.image.split("x"))
    inputs = random_inputs(settings, image, arguments.seed)
    if settings["bottleneck"]["enabled"]:
        inputs["beta"] = torch.tensor([arguments.beta])
    inputs = {key: value.to(DTYPES[arguments.dtype]) for key, value in inputs.items()}
    expected, loose = compare(arguments, settings, inputs)

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(arguments.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = trace(arguments, settings, inputs, folder)
    sys.exit(report(arguments, expected, found, loose))


def compare(arguments, settings, inputs):
    """PyTorch's OUT tensors in f64, and {key: absolute tolerance} by rounding noise and by conditioning."""
    eps = torch.finfo(DTYPES[arguments.dtype]).eps
    exact = {key: value.double() for key, value in inputs.items()}
    expected, loose = run_step(settings, exact, eps)
    random = torch.Generator().manual_seed(arguments.seed)
    for _ in range(arguments.jitters):
        moved = {}
        for key, value in exact.items():
            uniform = 2 * torch.rand(value.shape, dtype=value.dtype, generator=random) - 1
            moved[key] = value * (1 + 8 * eps * uniform)
        for key, value in run_step(settings, moved, eps)[0].items():
            change = (value - expected[key]).abs().max().item()
            loose[key] = max(loose.get(key, 0.0), 2 * change)
    return expected, loose


def trace(arguments, settings, inputs, folder):
    """The OUT tensors of the binary; it is given the preset and the --set flags, never the settings as a whole."""
    given, taken = folder / "IN.safetensors", folder / "OUT.safetensors"
    exchange.save(given, inputs, {"settings": settings_module.to_toml(settings)})
    command = [*shlex.split(arguments.binary), "trace", "--force", "--preset", arguments.preset]
    for text in arguments.changes:
        command += ["--set", text]
    command += ["--input", str(given), "--output", str(taken)]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}: exit code {done.returncode}")
    return exchange.load(taken)[0]


def report(arguments, expected, found, loose):
    """Print the table and return the exit code."""
    rows = exchange.compare(expected, found, arguments.tolerance, loose)
    bad = exchange.failures(rows)
    shown = rows[: max(arguments.rows, len(bad))] if arguments.rows else rows
    print(f"{'tensor':45} {'error':>9} {'allowed':>9}")
    for key, error, allowed, note in shown:
        verdict = "" if error <= allowed else "  FAIL"
        print(f"{key:45} {error:9.2e} {allowed:9.2e}{verdict} {note}".rstrip())
    extra = sorted(found.keys() - expected.keys())
    if extra:
        print(f"not compared, PyTorch has no such tensor: {', '.join(extra)}")
    case = f"{arguments.preset}, {arguments.dtype}, seed {arguments.seed}"
    print(f"{case}: {len(rows) - len(bad)} of {len(rows)} tensors agree")
    return 1 if bad else 0


if __name__ == "__main__":
    main()
