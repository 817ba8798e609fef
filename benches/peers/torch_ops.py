"""The peer of `vgan-cuda bench`: each operation in PyTorch at the same sizes, which is cuDNN and cuBLAS on a GPU and oneDNN on a CPU.

    python benches/peers/torch_ops.py --ours target/release/vgan-cuda --device cuda --dtype bf16 --rounds 3

Each round runs `vgan-cuda bench --json` once, and then the same operations here. A row has the medians of both and the ratio
PyTorch / ours with the lowest and the highest of the rounds: above 1, ours is faster. The last rows are the products' and all
operations' geometric means.

PyTorch gets what it is fastest with: channels_last, cudnn.benchmark, operands that are already in the type, gradients asked for one by
one, no autograd. With tf32, TF32 is on for convolutions and for matrix products; with f32 it is off for both. Weight gradients are
overwritten there and added up here, which favours PyTorch by reading one tensor less.
"""

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import time

import torch

aten = torch.ops.aten
DTYPES = {"f32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def numbers(size):
    """`n64 28x28x1 k64 4x4 stride2 pad1` -> {"n": 64, "sides": [[28, 28, 1], [4, 4]], "k": 64, ...}"""
    found = {"sides": [[int(side) for side in word.split("x")] for word in size.split() if re.fullmatch(r"\d+(x\d+)+", word)]}
    found |= {name: int(value) for name, value in re.findall(r"\b([a-z]+)(\d+)\b", size)}
    return found


class Operations:
    """Functions of no argument, each of which computes one pass."""

    def __init__(self, device, dtype):
        self.device, self.dtype = device, DTYPES[dtype]

    def tensor(self, *shape, dtype=None):
        values = torch.randn(*shape, device=self.device).to(dtype or self.dtype)
        return values.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else values

    def linear(self, size, which):
        d = numbers(size)
        x, w, dy = self.tensor(d["n"], d["c"]), self.tensor(d["k"], d["c"]), self.tensor(d["n"], d["k"])
        b = self.tensor(d["k"])
        return {
            "forward": lambda: torch.nn.functional.linear(x, w, b),
            "backward_input": lambda: dy @ w,
            "backward_weight": lambda: (dy.t() @ x, dy.sum(0)),
        }.get(which)

    def conv2d(self, size, which, transposed=False):
        d = numbers(size)
        (h, width, c), (r, s) = d["sides"]
        stride, padding, k = [d["stride"]] * 2, [d["pad"]] * 2, d["k"]
        x = self.tensor(d["n"], c, h, width)
        w = self.tensor(*((c, k, r, s) if transposed else (k, c, r, s)))
        b = self.tensor(k)

        def forward():
            return aten.convolution(x, w, b, stride, padding, [1, 1], transposed, [0, 0], 1)

        dy = self.tensor(*forward().shape)

        def backward(mask):
            return aten.convolution_backward(dy, x, w, [k], stride, padding, [1, 1], transposed, [0, 0], 1, mask)

        return {
            "forward": forward,
            "backward_input": lambda: backward([True, False, False]),
            "backward_weight": lambda: backward([False, True, True]),
        }.get(which)

    def conv_transpose2d(self, size, which):
        return self.conv2d(size, which, transposed=True)

    def batch_norm(self, size, which):
        """One call a group of rows, each with statistics of its own, and the activation behind it."""
        d = numbers(size)
        rows, c = d["rows"] // d["groups"], d["c"]
        activate = torch.nn.functional.leaky_relu if "Leaky" in size else torch.relu
        groups = [self.tensor(rows, c) for _ in range(d["groups"])]
        gamma, beta = (self.tensor(c, dtype=torch.float32) for _ in range(2))
        mean, variance = torch.zeros(c, device=self.device), torch.ones(c, device=self.device)

        def forward():
            for x in groups:
                activate(torch.nn.functional.batch_norm(x, mean, variance, gamma, beta, True, 0.1, 1e-5))

        return {"forward": forward}.get(which)


def seconds(work, device, budget):
    """The median of seven samples of as many runs as the budget allows; on a GPU by its own clock."""

    def sample(runs):
        if device == "cpu":
            start = time.perf_counter()
            for _ in range(runs):
                work()
            return time.perf_counter() - start
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(runs):
            work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    sample(2)
    runs = max(1, int(budget / 7 / max(sample(1), 1e-7)))
    return statistics.median(sample(runs) / runs for _ in range(7))


def ours(arguments):
    """{(op, size, pass): microseconds} of one run of the program."""
    command = [arguments.ours, "bench", "--json", "--device", arguments.device, "--dtype", arguments.dtype]
    command += ["--filter", arguments.filter] if arguments.filter else []
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    return {(row["op"], row["size"], row["pass"]): row["microseconds"] for row in found if "pass" in row}


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(value) for value in values))


def print_table(rows):
    """One line an operation: rows is {(op, size, pass): [(ours, theirs), ...]}, a pair a round, in microseconds."""
    print(f"{'operation':58} {'ours µs':>10} {'PyTorch µs':>10}  PyTorch / ours (rounds)")
    ratios = {}
    for key, rounds in rows.items():
        ratio = [theirs / own for own, theirs in rounds]
        own, theirs = (statistics.median(side) for side in zip(*rounds, strict=True))
        ratios[key] = theirs / own
        print(f"{' '.join(key):58} {own:10.1f} {theirs:10.1f}  {ratios[key]:6.2f} ({min(ratio):.2f} to {max(ratio):.2f})")
    products = [ratio for (op, _, _), ratio in ratios.items() if op != "batch_norm"]
    for name, chosen in (("products", products), ("all", list(ratios.values()))):
        if chosen:
            slower = sum(ratio < 1 for ratio in chosen)
            print(f"{name}: geometric mean {geometric_mean(chosen):.2f}; ours is slower in {slower} of {len(chosen)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="the program vgan-cuda")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--dtype", default="bf16", choices=DTYPES)
    parser.add_argument("--filter", help="as for vgan-cuda bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.1, help="seconds for each pass and round")
    parser.add_argument("--threads", type=int, help="of PyTorch on a CPU")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = arguments.dtype == "tf32"
    operations, rows = Operations(arguments.device, arguments.dtype), {}
    with torch.no_grad():
        for number in range(arguments.rounds):
            for key, own in ours(arguments).items():
                op, size, which = key
                work = getattr(operations, op, lambda *_: None)(size, which)
                if work is not None:
                    rows.setdefault(key, []).append((own, 1e6 * seconds(work, arguments.device, arguments.budget)))
            print(f"round {number + 1} of {arguments.rounds} is done", file=sys.stderr)
    if not rows:
        sys.exit("nothing to compare: no operation that PyTorch has is among those that `vgan-cuda bench` ran")
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__}, {where}, {arguments.dtype}, {arguments.rounds} rounds")
    print_table(rows)


if __name__ == "__main__":
    main()
