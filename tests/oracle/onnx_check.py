"""Runs exported generators in onnxruntime and compares them with `vgan-cuda generate`, for every preset.

    .venv/bin/pip install onnx onnxruntime
    .venv/bin/python tests/oracle/onnx_check.py target/release/vgan-cuda
    .venv/bin/python tests/oracle/onnx_check.py target/release/vgan-cuda --preset quick --set conditional=projection

For each preset it trains one step on the embedded digits, exports the generator, checks the file with ONNX's own checker and its shape
inference, runs it on 16 latents, and compares: the pixels with `generate --latents`, and the values with the PyTorch module of
python/vgan_cuda. The exit code is 1 where pixels differ by more than 1 of 255, or values by more than 1e-5 of their interval.
"""

import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime
import torch

from module_check import asked, run, trained, vgan_cuda


def check(program, preset, changes, folder):
    path = trained(program, preset, changes, folder / "runs")
    model = folder / "generator.onnx"
    run(program, "export", path, "--output", model)
    graph = onnx.load(str(model))
    onnx.checker.check_model(graph, full_check=True)
    loaded = vgan_cuda.load(path)
    latents = loaded.latents(16, torch.Generator().manual_seed(3))
    numpy.save(folder / "z.npy", latents.numpy())
    run(program, "generate", path, "--latents", folder / "z.npy", "--output", folder / "x.npy", "--device", "cpu", "--quiet")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    # The classes in turn, as `generate` takes them for the rows of a file.
    classes = torch.arange(16) % len(loaded.classes) if loaded.classes else None
    given = {"latents": latents.numpy()} | ({} if classes is None else {"classes": classes.numpy()})
    images = session.run(["images"], given)[0]
    with torch.no_grad():
        expected = loaded.generator(latents, classes).numpy()
    assert images.shape == expected.shape == (16, *loaded.image), (images.shape, expected.shape)
    pixels = loaded.pixels(torch.from_numpy(images)).numpy().astype(int)
    difference = numpy.abs(pixels - numpy.load(folder / "x.npy").astype(int)).max()
    operators = sorted({node.op_type for node in graph.graph.node})
    return float(numpy.abs(images - expected).max()), int(difference), operators, model.stat().st_size


def main():
    program, presets, changes = asked(__doc__)
    failed = False
    for preset in presets:
        with tempfile.TemporaryDirectory() as temporary:
            values, pixels, operators, size = check(program, preset, changes, pathlib.Path(temporary))
        wrong = not values <= 1e-5 or pixels > 1
        failed |= wrong
        print(f"{preset}: values {values:.1e}, pixels {pixels} of 255; {size} bytes; {', '.join(operators)}{' FAILED' * wrong}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
