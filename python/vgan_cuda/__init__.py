"""Generator and discriminator of a run of vgan-cuda as PyTorch modules.

    import vgan_cuda

    run = vgan_cuda.load("runs/00003-vgan-mnist-b128")      # its newest checkpoint; or the folder of a checkpoint
    images = run.generator(run.latents(16))                 # [16, C, H, W], in the interval run.settings["data"]["range"]
    pixels = run.pixels(images)                             # the same as u8 [16, H, W, C]
    logits, code = run.discriminator(images)

Modules of a run with `nets.conditional` take the class of each image too, as whole numbers [N], whose names are `run.classes`:

    images = run.generator(run.latents(16), torch.full((16,), run.classes.index("dog")))
    logits, code = run.discriminator(images, classes=torch.full((16,), 5))

Both modules come in evaluation mode: batch normalisation by running statistics, and the bottleneck at its mean. `run.discriminator(images,
noise)` takes the bottleneck's epsilon, shaped as the code.
"""

import dataclasses
import json
import pathlib

import torch
from safetensors.torch import load_file
from torch import nn

from .nets import build

__all__ = ["Run", "build", "load", "load_weights"]


@dataclasses.dataclass
class Run:
    """A checkpoint: its networks, the settings that they were trained with, and the step."""

    generator: nn.Module
    discriminator: nn.Module
    settings: dict
    image: tuple  # channels, height, width
    step: int
    classes: list  # their names by their numbers; empty where the networks are told none

    def latents(self, count, generator=None):
        """Latents [count, z] of the run's prior; `generator` is a torch.Generator. (Seeds of `vgan-cuda generate` are others.)"""
        settings = self.settings["generator"]
        draw = torch.randn if settings["prior"] == "normal" else torch.rand
        return draw(count, settings["latent"], generator=generator)

    def pixels(self, images):
        """Images [N, C, H, W] in the interval of the settings as u8 [N, H, W, C], rounded as vgan-cuda rounds."""
        if self.settings["data"]["range"] == "-1..1":
            images = 0.5 * images + 0.5
        return (images * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def load(path, average=True):
    """The networks of a run's newest checkpoint, or of the checkpoint in the folder `path`.

    The generator is its moving average, where the run keeps one and `average` is true, as in `vgan-cuda generate`.
    """
    path = checkpoint(pathlib.Path(path))
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if "settings" not in state:
        raise ValueError(f"{path}: a checkpoint of format 1, which does not name its settings; resume the run to write a newer one")
    settings = {}
    for key, value in state["settings"].items():
        section, name = key.split(".", 1)
        settings.setdefault(section, {})[name] = value
    image = tuple(state["image"][side] for side in ("channels", "height", "width"))
    generator, discriminator = build(settings, image)
    tensors = load_file(path / "model.safetensors")
    averaged = average and any(name.startswith("average.") for name in tensors)
    load_weights(generator, tensors, "average." if averaged else "generator.")
    load_weights(discriminator, tensors, "discriminator.")
    classes = state.get("classes", {}).get("names", [])
    return Run(generator.eval(), discriminator.eval(), settings, image, state["step"], classes)


def load_weights(module, tensors, prefix):
    """Loads the tensors whose names begin with `prefix`; every parameter must be there, and nothing else."""
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    missing, unexpected = module.load_state_dict(own, strict=False)
    # PyTorch counts the batches that a normalisation has seen, and uses the count for nothing here.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{prefix}*: missing {missing}, unexpected {unexpected}")


def checkpoint(path):
    """The folder of the newest checkpoint of a run, or the folder of a checkpoint itself."""
    if (path / "state.json").is_file():
        return path
    steps = [folder for folder in (path / "checkpoints").glob("[0-9]*") if (folder / "state.json").is_file()]
    if not steps:
        raise FileNotFoundError(f"{path}: expected the folder of a run or of a checkpoint, found no state.json")
    return max(steps, key=lambda folder: int(folder.name))
