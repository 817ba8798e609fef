"""Differentiable augmentation (Zhao et al. 2020) of images N, C, H, W by u of shape (N, 7), image by image, in PyTorch's own operations.

The sizes are those of the authors' DiffAugment_pytorch.py, whose random numbers are replaced by u:
brightness, saturation, contrast; the shift of rows and of columns; the centre of what is cut out, row and column.
"""

import torch
from torch.nn.functional import pad

# Numbers for each image.
DRAWS = 7


def augmented(images, u, policy, pixels):
    """T(x; u) of every image. `policy` is a text such as "color,translation,cutout"; `pixels` is "0..1" or "-1..1"."""
    if pixels == "0..1":
        return (augmented(2 * images - 1, u, policy, "-1..1") + 1) / 2
    names = policy.split(",")
    return torch.stack([one_image(image, draws.tolist(), names) for image, draws in zip(images, u)])


def one_image(image, u, names):
    """T of one image C, H, W with pixels in [-1, 1]."""
    if "color" in names:
        image = image + (u[0] - 0.5)
        grey = image.mean(dim=0, keepdim=True)
        image = (image - grey) * (2 * u[1]) + grey
        mean = image.mean()
        image = (image - mean) * (u[2] + 0.5) + mean
    if "translation" in names:
        image = shifted(image, 1, u[3])
        image = shifted(image, 2, u[4])
    if "cutout" in names:
        keep = torch.ones_like(image[0])
        rows, columns = (cut(side, u) for side, u in zip(keep.shape, u[5:7]))
        for row in rows:
            for column in columns:
                keep[row, column] = 0
        image = image * keep
    return image


def choose(count, u):
    """One of 0 .. count - 1."""
    return int(u * count)


def shifted(image, axis, u):
    """What lies up to an eighth of the side further on; beyond the edge 0."""
    side = image.shape[axis]
    most = int(side * 0.125 + 0.5)
    shift = choose(2 * most + 1, u) - most
    # Pairs for the last axis first.
    around = [0, 0, most, most] if axis == 1 else [most, most, 0, 0]
    return pad(image, around).narrow(axis, most + shift, side)


def cut(side, u):
    """The rows or columns that are cut out, half of them around a centre; those beyond the edge fall onto it."""
    size = int(side * 0.5 + 0.5)
    centre = choose(side + (1 - size % 2), u)
    return [min(max(centre + i - size // 2, 0), side - 1) for i in range(size)]
