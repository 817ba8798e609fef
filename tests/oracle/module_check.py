"""Holds the Python module (python/vgan_cuda) against `vgan-cuda trace` and `generate`, for every preset.

    .venv/bin/python tests/oracle/module_check.py target/release/vgan-cuda
    .venv/bin/python tests/oracle/module_check.py target/release/vgan-cuda --preset quick --set spectral_norm=true

For each preset it loads the weights of an IN file of `trace` into the module, and compares the images, codes and logits of the
discriminator's phase, in training mode. Then it trains one step, loads the run with `vgan_cuda.load`, and compares its samples with those
of `generate --latents`. It prints the largest relative difference max|a - b| / max|b| and the largest difference of pixels; the exit code is 1
above 1e-4 or 1.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import tomllib

import numpy
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
import vgan_cuda

PRESETS = ["quick", "vgan-mnist", "gan-mnist", "vgan-cifar10", "vgan-cifar10-resnet", "wide-2", "wide-4", "wide-8"]


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr}")
    return done.stdout


def trained(program, preset, changes, folder):
    """A run of one step of this preset on the embedded digits, resized and coloured where the preset wants that."""
    shape = [] if "mnist" in preset or preset == "quick" else ["--resize", 32, "--channels", 3]
    words = ["train", preset, "--data", "glyphs", "--batch", 4, "--steps", 1, "--outdir", folder, "--device", "cpu", *shape, *changes]
    run(program, *words, "--quiet")
    return next(folder.iterdir())


def settings_of(path):
    """The settings of a run's config.toml: those of the file, complete."""
    with open(path / "config.toml", "rb") as file:
        return tomllib.load(file)


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def hold_spectral_norm(net):
    """No power iteration from now on: both passes are of the same weights, as the step makes one iteration for both."""
    for module in net.modules():
        if hasattr(module, "weight_orig"):
            module.eval()


def traced(program, preset, changes, folder, settings):
    """The largest relative difference of the values of D's phase, and where."""
    source, target = folder / "in.safetensors", folder / "out.safetensors"
    # `trace` has no images to count the classes of.
    changes = [*changes, "--set", "train.batch=4", "--set", f"nets.classes={settings['nets']['classes']}"]
    run(program, "trace", "--preset", preset, *changes, "--example", source)
    run(program, "trace", "--preset", preset, *changes, "--input", source, "--output", target)
    given, expected = load_file(source), load_file(target)
    generator, discriminator = vgan_cuda.build(settings, tuple(given["images"].shape[1:]))
    vgan_cuda.load_weights(generator, given, "generator.")
    vgan_cuda.load_weights(discriminator, given, "discriminator.")
    found = {}
    with torch.no_grad():
        classes = {kind: given[f"classes_{name}"].long() for kind, name in [("real", "real"), ("fake", "d")] if f"classes_{name}" in given}
        found["fakes_d"] = generator.train()(given["latents_d"], classes.get("fake"))
        discriminator.train()
        for kind, images in [("real", given["images"]), ("fake", found["fakes_d"])]:
            logits, code = discriminator(images, given.get(f"noise_{kind}"), classes.get(kind))
            found[f"logits_{kind}"] = logits
            hold_spectral_norm(discriminator)
            found.update((f"{name}_{kind}", value) for name, value in code.items())
    differences = {name: relative(value, expected[name]) for name, value in found.items()}
    worst = max(differences, key=differences.get)
    return differences[worst], worst, len(differences)


def drawn(program, path, folder):
    """The largest difference between pixels of `generate` and of the module."""
    loaded = vgan_cuda.load(path)
    latents = loaded.latents(16, torch.Generator().manual_seed(3))
    numpy.save(folder / "z.npy", latents.numpy())
    run(program, "generate", path, "--latents", folder / "z.npy", "--output", folder / "x.npy", "--device", "cpu", "--quiet")
    with torch.no_grad():
        # The classes in turn, as `generate` takes them for the rows of a file.
        classes = torch.arange(16) % len(loaded.classes) if loaded.classes else None
        images = loaded.generator(latents, classes)
        assert loaded.discriminator(images, classes=classes)[0].isfinite().all()
    expected = numpy.load(folder / "x.npy").astype(int)
    return int(numpy.abs(loaded.pixels(images).numpy().astype(int) - expected).max()), expected.shape


def asked(description):
    """What the command line asks for: the program, the presets, and the flags that change each."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--preset", action="append", choices=PRESETS)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    changes = [word for change in arguments.changes for word in ("--set", change)]
    return arguments.program, arguments.preset or PRESETS, changes


def main():
    program, presets, changes = asked(__doc__)
    failed = False
    for preset in presets:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            path = trained(program, preset, changes, folder / "runs")
            settings = settings_of(path)
            difference, worst, count = traced(program, preset, changes, folder, settings)
            pixels, shape = drawn(program, path, folder)
        wrong = not difference <= 1e-4 or pixels > 1
        failed |= wrong
        print(f"{preset}: trace {difference:.1e} ({worst}, of {count} values); generate {shape}: {pixels} of 255{' FAILED' * wrong}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
