"""Trains a preset in PyTorch with draws of its own: how far a run's curve may go from another's by chance alone.

    python benches/peers/torch_train.py --images data/mnist/train-images-idx3-ubyte.gz --epochs 12 --seed 0

It prints the means of each epoch: D, G, beta. The step is torch_step.py's.
"""

import argparse
import gzip
import time

import torch

from torch_step import MODELS, Peer


class Run(Peer):
    """The peer on a data set of its own, each epoch in a new order, the last short batch dropped."""

    def __init__(self, preset, batch, images, seed):
        super().__init__(preset, batch, "fused", torch.channels_last, compiled=False, seed=seed)
        self.images, self.order = images.contiguous(memory_format=torch.channels_last), []

    def reals(self):
        if not self.order:
            chosen = torch.randperm(len(self.images))
            self.order = [part for part in chosen.split(self.batch) if len(part) == self.batch]
        return self.images[self.order.pop()]


def read_idx(path):
    """The images of a gzipped IDX file as [N, 1, H, W] in [0, 1]."""
    with gzip.open(path) as file:
        header = torch.frombuffer(bytearray(file.read(16)), dtype=torch.uint8).reshape(4, 4).long()
        count, height, width = (header[1:] * torch.tensor([1 << 24, 1 << 16, 1 << 8, 1])).sum(dim=1).tolist()
        pixels = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    return pixels.reshape(count, 1, height, width).float() / 255


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(MODELS), default="vgan-mnist")
    parser.add_argument("--images", required=True, help="a gzipped IDX file")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    run = Run(MODELS[arguments.model], arguments.batch, read_idx(arguments.images), arguments.seed)
    steps = len(run.images) // arguments.batch
    for epoch in range(1, arguments.epochs + 1):
        start = time.perf_counter()
        loss_d, loss_g = (sum(losses) / steps for losses in zip(*(run.step() for _ in range(steps))))
        seconds = time.perf_counter() - start
        print(f"epoch {epoch}  D {loss_d:.4f}  G {loss_g:.4f}  beta {run.beta:.4f}  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
