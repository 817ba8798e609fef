"""Makes tests/fixtures/metrics.json: what NumPy and SciPy compute for the metrics of src/eval/, on numbers that tests/pytorch/metrics.rs
draws by the same rule. With --check recomputes it and compares. Written from the papers and the definitions, not from the engine."""

import argparse
import json
import pathlib
import sys

import numpy as np
from scipy import linalg, ndimage, spatial

PATH = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "metrics.json"
STREAM = 18


def words(count, start):
    """`count` draws of 15 bits from a linear congruential generator (the one in the C standard)."""
    state, out = start, np.empty(count, dtype=np.int64)
    for i in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        out[i] = state >> 16
    return out


def features(count, dims, start, scale, shift):
    """Features [count, dims], sums of two uniform draws; each dimension has a scale of its own, and mixes with its neighbour."""
    drawn = words(count * dims * 2, start).reshape(count, dims, 2).sum(axis=2) / 32768.0 - 1.0
    own = drawn * (1.0 + np.arange(dims) % 3) * scale
    return np.float32(own + 0.5 * np.roll(own, 1, axis=1) + shift)


def frechet(x, y):
    """Heusel et al. 2017, Eq. 6, with SciPy's matrix root."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(a @ b)
    return ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + np.trace(a + b - 2 * root.real)


def kernel_distance(x, y):
    """The unbiased MMD² (Bińkowski et al. 2018) of two sets of one size."""
    n, d = x.shape

    def kernel(a, b):
        return (a @ b.T / d + 1) ** 3

    within = sum((kernel(z, z).sum() - np.trace(kernel(z, z))) / (n * (n - 1)) for z in (x, y))
    return within - 2 * kernel(x, y).mean()


def radii(x, k):
    return np.sort(spatial.distance.cdist(x, x), axis=1)[:, k]


def precision_recall(real, fake, k=3):
    """Kynkäänniemi et al. 2019, Eq. 1 and 2, by all distances."""
    between = spatial.distance.cdist(fake, real)
    precision = (between <= radii(real, k)).any(axis=1).mean()
    recall = (between.T <= radii(fake, k)).any(axis=1).mean()
    return precision, recall


def density_coverage(real, fake, k=5):
    """Naeem et al. 2020, Eq. 5 and 6, by all distances."""
    inside = spatial.distance.cdist(fake, real) < radii(real, k)
    return inside.sum() / (k * len(fake)), inside.any(axis=0).mean()


def philox(seed, step, sample, blocks):
    """Philox4x32-10 (Salmon et al. 2011): four words for each block, [blocks, 4]."""
    mask = np.uint64(0xFFFFFFFF)
    block = np.asarray(blocks, dtype=np.uint64)
    counter = [block, np.full_like(block, sample), np.full_like(block, step & 0xFFFFFFFF)]
    counter.append(np.full_like(block, STREAM | (step >> 32) << 8))
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)]
    for index in range(10):
        if index:
            key = [(key[0] + np.uint64(0x9E3779B9)) & mask, (key[1] + np.uint64(0xBB67AE85)) & mask]
        first, second = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        high = np.uint64(32)
        counter = [(second >> high) ^ counter[1] ^ key[0], second & mask, (first >> high) ^ counter[3] ^ key[1], first & mask]
    return np.stack(counter, axis=1)


def normals(seed, step, sample, count):
    """Normal draws by Box–Muller."""
    drawn = philox(seed, step, sample, np.arange(-(-count // 4))) >> np.uint64(8)
    u, t = (drawn[:, 0::2] + 1) / 2**24, drawn[:, 1::2] / 2**24
    radius = np.sqrt(-2 * np.log(u))
    return np.stack([radius * np.cos(2 * np.pi * t), radius * np.sin(2 * np.pi * t)], axis=2).reshape(-1)[:count]


def pyramid(images):
    """Laplacian pyramids of images [N, H, W, C] (Karras et al. 2018): a filter of 5×5 with a mirror at the border."""
    taps = np.array([1, 4, 6, 4, 1]) / 16.0

    def smooth(batch, gain):
        for axis in (1, 2):
            batch = ndimage.convolve1d(batch, taps * gain, axis=axis, mode="mirror")
        return batch

    levels, current = [], images.astype(np.float64)
    while all(side % 2 == 0 for side in current.shape[1:3]) and min(current.shape[1:3]) // 2 >= 14:
        half = smooth(current, 1.0)[:, ::2, ::2]
        wide = np.zeros_like(current)
        wide[:, ::2, ::2] = half
        levels.append(current - smooth(wide, 2.0))
        current = half
    return [*levels, current]


def patches(level, seed, number, purpose):
    """128 patches of 7×7 of each image, normalised by channel over all of them: [N · 128, 7 · 7 · C]."""
    count, height, width, channels = level.shape
    out = []
    for image in range(count):
        drawn = philox(seed, number << 32 | image, purpose, np.arange(64)).reshape(128, 2)
        for down, across in drawn:
            y, x = int(down) * (height - 6) >> 32, int(across) * (width - 6) >> 32
            out.append(level[image, y : y + 7, x : x + 7])
    out = np.stack(out)
    out = (out - out.mean(axis=(0, 1, 2))) / out.std(axis=(0, 1, 2))
    return out.reshape(len(out), -1)


def sliced_wasserstein(real, fake, seed):
    """The distance of each level, times 1000."""
    found = []
    for number, levels in enumerate(zip(pyramid(real), pyramid(fake))):
        a, b = (patches(level, seed, number, purpose) for level, purpose in zip(levels, (4, 5)))
        lines = []
        for group in range(16):
            drawn = normals(seed, number * 16 + group, 6, a.shape[1] * 32).reshape(a.shape[1], 32)
            lines.append(drawn / np.linalg.norm(drawn, axis=0))
        lines = np.concatenate(lines, axis=1)
        found.append(1000 * np.abs(np.sort(a @ lines, axis=0) - np.sort(b @ lines, axis=0)).mean())
    return found


def images(count, side, channels, start, dim):
    pixels = words(count * side * side * channels, start) % 256
    # Stripes, so that there is structure on both levels; `dim` makes one set darker.
    stripes = (np.arange(count * side * side * channels) // (channels * 5)) % 2 * 128
    return ((pixels + stripes) % 256 * dim // 100).reshape(count, side, side, channels)


def compute():
    out = {"features": [], "images": []}
    for count, dims, scale, shift in [(60, 5, 1.0, 0.0), (150, 24, 0.7, 0.1), (40, 16, 1.5, -0.3)]:
        real, fake = features(count, dims, 1, 1.0, 0.0).astype(float), features(count, dims, 2, scale, shift).astype(float)
        (precision, recall), (density, coverage) = precision_recall(real, fake), density_coverage(real, fake)
        figures = {"fcd": frechet(real, fake), "kid": kernel_distance(real, fake)}
        figures |= {"precision": precision, "recall": recall, "density": density, "coverage": coverage}
        out["features"].append({"count": count, "dims": dims, "scale": scale, "shift": shift, "figures": figures})
    for count, side, channels, dim in [(6, 28, 1, 60), (4, 32, 3, 80)]:
        real, fake = images(count, side, channels, 3, 100), images(count, side, channels, 4, dim)
        distances = sliced_wasserstein(real, fake, seed=2**33 + 5)
        level = pyramid(real)
        samples = [[float(values[1, y, x, 0]) for y, x in [(0, 0), (5, 9), (13, 13)]] for values in level]
        out["images"].append(
            {"count": count, "side": side, "channels": channels, "dim": dim, "swd": distances, "levels": samples}
        )
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="recompute and compare with the committed file")
    found = json.dumps(compute(), indent=1, default=float)
    if parser.parse_args().check:
        same = all(
            abs(a - b) <= 1e-9 * max(1.0, abs(a))
            for a, b in zip(numbers(json.loads(found)), numbers(json.loads(PATH.read_text())), strict=True)
        )
        sys.exit(not same)
    PATH.write_text(found + "\n")


def numbers(value):
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)
    else:
        yield float(value)


if __name__ == "__main__":
    main()
