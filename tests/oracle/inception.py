"""Makes tests/fixtures/inception.safetensors: what torch-fidelity's Inception-v3 and PIL, PyTorch and torch-fidelity's resizing say.
Beside it statistics.npz, a file such as pytorch-fid writes, of three features.

    pip install torch-fidelity pillow
    python tests/oracle/inception.py

The net is that of torch-fidelity, with weights and images by formulas that tests/files/inception.rs has too: a fixture of 24 million weights would be
large. The tensors' names are torch-fidelity's own, so that another name is another weight.
"""

import importlib.util
import pathlib
import sys
import tempfile
import types

import numpy
import safetensors.numpy
import torch
from PIL import Image
from scipy import special
from torch.nn import functional

# Its other metrics want torchvision; these files do not.
package = types.ModuleType("torch_fidelity")
package.__path__ = importlib.util.find_spec("torch_fidelity").submodule_search_locations
sys.modules["torch_fidelity"] = package

from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
# Of the small square that is computed beside that of 299×299.
SMALL = 75


def seed_of(name):
    """FNV-1a, 32 bits."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def hashed(name, count):
    """32 bits an element: the finaliser of MurmurHash3 on a counter that begins at the name's seed."""
    h = (numpy.arange(count, dtype=numpy.uint64) * 0x9E3779B1 + seed_of(name)).astype(numpy.uint32)
    h ^= h >> 16
    h *= numpy.uint32(0x85EBCA6B)
    h ^= h >> 13
    h *= numpy.uint32(0xC2B2AE35)
    return h ^ (h >> 16)


def uniform(name, count):
    """Numbers in [-1, 1)."""
    return (hashed(name, count) >> 8).astype(numpy.float64) / 8388608 - 1


def weight(name, shape):
    """Such that activations stay of order one, and that each tensor counts: the bias of `fc` would drown the logits."""
    values = uniform(name, int(numpy.prod(shape)))
    if name == "fc.weight":
        values *= 0.1
    elif name == "fc.bias":
        values *= 100
    elif name.endswith("conv.weight"):
        values *= (6 / numpy.prod(shape[1:])) ** 0.5
    elif name.endswith("bn.weight"):
        values = 1 + 0.25 * values
    elif name.endswith("running_var"):
        values = 1 + 0.5 * values
    else:
        values *= 0.25
    return torch.from_numpy(values.astype(numpy.float32).reshape(shape))


def images(name, count, height, width, channels):
    """Noise on a gradient, u8 [N, H, W, C]."""
    noise = (hashed(name, count * height * width * channels) >> 26).reshape(count, height, width, channels)
    rows, columns = numpy.arange(height)[:, None, None], numpy.arange(width)[None, :, None]
    ramp = (rows * 5 + columns * 3 + 60 * numpy.arange(channels)[None, None, :]) % 192
    return (noise + ramp[None]).astype(numpy.uint8)


def net():
    names = {}

    # The weights are loaded as it is made; a first file of zeros is only there to learn the names.
    load, torch_load = FeatureExtractorInceptionV3.load_state_dict, torch.load
    FeatureExtractorInceptionV3.load_state_dict = lambda self, state: names.update(self.state_dict())
    torch.load = lambda *arguments, **named: {}
    try:
        FeatureExtractorInceptionV3("names", ["2048"], feature_extractor_weights_path="none")
    finally:
        FeatureExtractorInceptionV3.load_state_dict, torch.load = load, torch_load
    state = {name: weight(name, value.shape) for name, value in names.items() if value.dtype.is_floating_point}
    state |= {name: value for name, value in names.items() if not value.dtype.is_floating_point}
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(state, file.name)
        net = FeatureExtractorInceptionV3(
            "fixture", ["2048", "logits_unbiased"], feature_extractor_weights_path=file.name
        )
    net.feature_extractor_internal_dtype = torch.float64
    return net.double()


def small(net, x):
    """Features and logits of images that are no 299×299, [N, 3, H, W] in f64."""
    stem = [net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3, net.MaxPool_1]
    stem += [net.Conv2d_3b_1x1, net.Conv2d_4a_3x3, net.MaxPool_2]
    mixed = [getattr(net, f"Mixed_{block}") for block in "5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c".split()]
    for layer in stem + mixed + [net.AvgPool]:
        x = layer(x)
    x = x.flatten(1)
    return x, x @ net.fc.weight.T


def resized(way, pixels, side):
    """As clean-fid's modes do it, [side, side, 3] before the map to [-1, 1], and that map: from u8 [H, W, C]."""
    pixels = numpy.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    if way == "clean":
        planes = [Image.fromarray(pixels[:, :, c].astype(numpy.float32)) for c in range(3)]
        planes = [numpy.asarray(plane.resize((side, side), Image.BICUBIC)).clip(0, 255) for plane in planes]
        return (numpy.stack(planes, axis=2) - 128) / 128
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    if way == "legacy-pytorch":
        x = 2 * functional.interpolate(x / 255, (side, side), mode="bilinear", align_corners=False) - 1
    else:
        x = (interpolate_bilinear_2d_like_tensorflow1x(x, (side, side), align_corners=False) - 128) / 128
    return x[0].permute(1, 2, 0).numpy()


def inception_score(logits, splits=10):
    """Mean and standard deviation over the parts, by the definition: exp of the mean KL divergence."""
    p, log_p = special.softmax(logits, axis=1), special.log_softmax(logits, axis=1)
    bounds = [i * len(logits) // splits for i in range(splits + 1)]
    parts = [slice(first, last) for first, last in zip(bounds, bounds[1:])]
    kl = [(p[part] * (log_p[part] - numpy.log(p[part].mean(axis=0)))).sum(axis=1).mean() for part in parts]
    return numpy.array([numpy.exp(kl).mean(), numpy.exp(kl).std()])


def main():
    torch.set_grad_enabled(False)
    tensors = {}
    inception = net()
    x = images("whole", 2, 32, 32, 3)
    features, logits = inception(torch.from_numpy(x).permute(0, 3, 1, 2))
    tensors |= {"whole.features": features.numpy()[:, ::4], "whole.logits": logits.numpy()[:, ::4]}
    x = numpy.stack([resized("legacy-tensorflow", image, SMALL) for image in images("small", 3, 20, 26, 1)])
    features, logits = small(inception, torch.from_numpy(x).permute(0, 3, 1, 2).double())
    tensors |= {"small.features": features.numpy()[:, ::4], "small.logits": logits.numpy()[:, ::4]}
    for name, shape, side in [("up", (5, 7, 3), 13), ("down", (40, 23, 1), 11), ("mixed", (6, 31, 3), 9), ("one", (1, 2, 3), 5)]:
        for way in ["clean", "legacy-pytorch", "legacy-tensorflow"]:
            tensors[f"{way}.{name}"] = resized(way, images(name, 1, *shape)[0], side)
    logits = 6 * uniform("scores", 57 * 20).reshape(57, 20).astype(numpy.float32)
    tensors["scores"] = inception_score(logits.astype(numpy.float64))
    # Scores in f64, all else in f32.
    tensors = {
        name: numpy.ascontiguousarray(value, dtype=numpy.float64 if name == "scores" else numpy.float32)
        for name, value in tensors.items()
    }
    for name, value in tensors.items():
        print(f"{name:24} {str(value.shape):14} {value.min():10.4f} {value.max():10.4f} {value.std():10.4f}")
    # In Fortran's order, and with an array that is no number with a fraction.
    sigma = numpy.asfortranarray(1 / (3.0 + numpy.add.outer(numpy.arange(3), numpy.arange(3))))
    more = numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3) / 4)
    statistics = {"mu": numpy.array([0.1, 1 / 3, 1e-300]), "sigma": sigma, "count": numpy.array(7), "more": more}
    numpy.savez_compressed(FOLDER / "statistics.npz", **statistics)
    safetensors.numpy.save_file(tensors, FOLDER / "inception.safetensors")


if __name__ == "__main__":
    main()
