"""Makes what is missing or wrong in tests/fixtures/, or with --check recomputes it and compares. README.md says what each file is."""

import argparse
import json
import pathlib
import sys

import torch
from torch.nn import functional

import augment
import exchange
import models
import settings as settings_module
from step import random_inputs, run_step, run_trajectory

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
# Of what PyTorch computes; what it draws is the same to the bit.
CHECK_TOLERANCE = 1e-12
DTYPES = {"f32": torch.float32, "f64": torch.float64}

# Operators: (kind, kernel, stride, padding, input channels, output channels, N, H, W), with odd sizes 1, 3 and 17.
OPERATORS = [
    ("conv2d", 3, 2, 1, 3, 2, 2, 17, 3),
    ("conv2d", 3, 2, 1, 1, 3, 3, 1, 1),
    ("conv2d", 4, 2, 1, 3, 4, 1, 17, 17),
    ("conv2d", 4, 2, 1, 1, 3, 1, 3, 17),
    ("conv2d", 4, 2, 1, 2, 1, 3, 3, 3),
    ("conv2d", 1, 1, 0, 3, 4, 2, 3, 1),
    ("conv2d", 1, 1, 0, 17, 3, 2, 3, 3),
    ("conv2d", 5, 1, 2, 2, 3, 2, 17, 3),
    ("conv2d", 5, 1, 2, 3, 1, 1, 1, 1),
    ("conv2d", 3, 1, 0, 3, 2, 2, 3, 3),
    ("conv2d", 3, 1, 0, 2, 3, 1, 17, 5),
    ("conv_transpose2d", 3, 2, 1, 3, 2, 2, 17, 3),
    ("conv_transpose2d", 3, 2, 1, 1, 3, 3, 1, 1),
    ("conv_transpose2d", 4, 2, 1, 3, 2, 1, 9, 17),
    ("conv_transpose2d", 4, 2, 1, 3, 1, 2, 3, 3),
    ("conv_transpose2d", 4, 2, 1, 17, 3, 2, 1, 1),
    ("conv_transpose2d", 1, 1, 0, 3, 4, 2, 3, 1),
    ("conv_transpose2d", 5, 1, 2, 2, 3, 2, 17, 3),
    ("conv_transpose2d", 3, 1, 0, 3, 2, 2, 3, 3),
    ("conv_transpose2d", 3, 1, 0, 2, 3, 1, 1, 17),
    ("batch_norm", None, None, None, 3, 3, 2, 17, 3),
    ("batch_norm", None, None, None, 1, 1, 3, 1, 1),
    ("batch_norm", None, None, None, 17, 17, 3, 1, 1),
    ("batch_norm", None, None, None, 2, 2, 1, 3, 3),
    ("batch_norm_eval", None, None, None, 3, 3, 2, 3, 17),
    # Input channels are classes.
    ("cross_entropy", None, None, None, 17, None, 3, None, None),
    ("cross_entropy", None, None, None, 2, None, 5, None, None),
    # Input channels are features, output channels classes, and the height is the width of the embedding.
    ("class_concat", None, None, None, 3, 4, 5, 3, None),
    ("class_concat", None, None, None, 1, 5, 3, 2, None),
    ("class_projection", None, None, None, 17, 3, 5, None, None),
]

# Augmentations: (policy, range of pixels, channels, N, H, W).
AUGMENTATIONS = [
    ("color,translation,cutout", "-1..1", 3, 3, 4, 6),
    ("color,translation,cutout", "0..1", 1, 3, 12, 5),
    ("color", "0..1", 3, 3, 3, 2),
    ("translation", "0..1", 1, 3, 13, 4),
    ("cutout", "-1..1", 1, 4, 5, 6),
    ("cutout", "0..1", 3, 2, 1, 1),
]


def model_files(only):
    """Yield (file stem, tensors, metadata) of the two files of every model fixture: IN in f32, OUT as PyTorch computes it in f64.

    `loose` of OUT has the tolerances of both dtypes, because an engine may compute in either (README.md).
    """
    for name, settings, (height, width, channels), seed, steps in models.fixtures():
        if only and name not in only:
            continue
        inputs = random_inputs(settings, (channels, height, width), seed=seed, steps=steps)
        exact = {key: value.double() for key, value in inputs.items()}
        metadata, loose = {"settings": settings_module.to_toml(settings)}, {}
        if steps is not None:
            metadata["steps"] = str(steps)
        for short, dtype in DTYPES.items():
            eps = torch.finfo(dtype).eps
            run = run_step(settings, exact, eps) if steps is None else run_trajectory(settings, exact, steps, eps)
            out, loose[short] = run[0], {key: float(f"{value:.4g}") for key, value in run[1].items()}
        yield f"{name}.in", inputs, metadata
        yield f"{name}.out", out, metadata | {"loose": json.dumps(loose, separators=(",", ":"))}


def operator_file():
    """(file stem, tensors, metadata) of the operator fixture: forward values and every gradient, f64."""
    random = torch.Generator().manual_seed(7)

    def draw(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=random)

    tensors, cases = {}, []
    for index, (kind, kernel, stride, padding, inputs, outputs, count, height, width) in enumerate(OPERATORS):
        if kind == "cross_entropy":
            x, labels = 3 * draw(count, inputs), torch.randint(inputs, (count,), generator=random)
            y = functional.cross_entropy(x.requires_grad_(), labels, reduction="none")
            dy = draw(count)
            (dx,) = torch.autograd.grad(y, x, dy)
            cases.append({"op": kind})
            parts = {"x": x, "labels": labels.double(), "y": y, "dy": dy, "dx": dx}
            tensors |= {f"case{index}.{key}": value.detach() for key, value in parts.items()}
            continue
        if kind.startswith("class"):
            x, w = draw(count, inputs).requires_grad_(), draw(outputs, height or inputs).requires_grad_()
            labels = torch.randint(outputs, (count,), generator=random)
            embedded = functional.embedding(labels, w)
            if kind == "class_concat":
                y = torch.cat([x, functional.normalize(embedded, dim=1)], dim=1)
            else:
                y = (embedded * x).sum(dim=1)
            dy = draw(*y.shape)
            dx, dw = torch.autograd.grad(y, (x, w), dy)
            cases.append({"op": kind})
            parts = {"x": x, "w": w, "labels": labels.double(), "y": y, "dy": dy, "dx": dx, "dw": dw}
            tensors |= {f"case{index}.{key}": value.detach() for key, value in parts.items()}
            continue
        x, b = draw(count, inputs, height, width), draw(outputs)
        case = {"op": kind}
        extra = {}
        if kind.startswith("batch_norm"):
            # In training the running statistics start at 0 and 1 and are an output; in evaluation they are an input.
            training = kind == "batch_norm"
            w, mean, variance = draw(outputs), torch.zeros(outputs).double(), torch.ones(outputs).double()
            if not training:
                mean, variance = draw(outputs), draw(outputs).abs() + 0.5
            extra = {"running_mean": mean, "running_var": variance}
            leaves = [leaf.requires_grad_() for leaf in (x, w, b)]
            y = functional.batch_norm(x, mean, variance, w, b, training=training)
        else:
            w = draw(*((outputs, inputs) if kind == "conv2d" else (inputs, outputs)), kernel, kernel)
            leaves = [leaf.requires_grad_() for leaf in (x, w, b)]
            y = getattr(functional, kind)(x, w, b, stride, padding)
            case |= {"kernel": kernel, "stride": stride, "padding": padding}
        dy = draw(*y.shape)
        dx, dw, db = torch.autograd.grad(y, leaves, dy)
        cases.append(case)
        parts = {"x": x, "w": w, "b": b, "y": y, "dy": dy, "dx": dx, "dw": dw, "db": db} | extra
        tensors |= {f"case{index}.{key}": value.detach() for key, value in parts.items()}
    for policy, pixels, channels, count, height, width in AUGMENTATIONS:
        x, dy = draw(count, channels, height, width).requires_grad_(), draw(count, channels, height, width)
        # As f32 holds them; of the first two images they are the least and the largest that are drawn.
        u = torch.rand((count, augment.DRAWS), generator=random).double()
        u[0], u[1] = 0.0, 1.0 - 2.0**-24
        y = augment.augmented(x, u, policy, pixels)
        (dx,) = torch.autograd.grad(y, x, dy)
        parts = {"x": x, "u": u, "y": y, "dy": dy, "dx": dx}
        tensors |= {f"case{len(cases)}.{key}": value.detach() for key, value in parts.items()}
        cases.append({"op": "augment", "policy": policy, "pixels": pixels})
    return "operators", tensors, {"cases": json.dumps(cases)}


def check(stem, tensors, metadata):
    """Whether the committed file holds these tensors and this metadata, within the check's tolerance."""
    path = FOLDER / f"{stem}.safetensors"
    if not path.exists():
        print(f"{stem}: missing")
        return False
    committed, committed_metadata = exchange.load(path)
    loose = json.loads(committed_metadata.get("loose", "{}")).get("f64", {})
    rows = exchange.compare(tensors, committed, CHECK_TOLERANCE, loose)
    bad = exchange.failures(rows)
    committed_settings, settings = (
        settings_module.from_toml(given.get("settings", "")) for given in (committed_metadata, metadata)
    )
    # A file that is older than a setting does not name it: the default holds.
    if committed_settings != settings:
        bad.append(("settings", float("inf"), 0, "differ"))
    if committed.keys() != tensors.keys():
        bad.append((str(committed.keys() ^ tensors.keys()), float("inf"), 0, "only in one of them"))
    for key, error, allowed, note in bad:
        print(f"{stem}: {key}: error {error:.2e}, allowed {allowed:.1e} {note}")
    return not bad


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="recompute and compare with the committed files")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="make or check the files of these cases alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    files = [*model_files(arguments.only)]
    if not arguments.only or "operators" in arguments.only:
        files.append(operator_file())
    if arguments.check:
        good = [check(*file) for file in files]
        print(f"{sum(good)} of {len(files)} files agree")
        sys.exit(not all(good))
    FOLDER.mkdir(exist_ok=True)
    # A file that agrees is left as it is, so that a new setting or another machine does not rewrite them all.
    for stem, tensors, metadata in files:
        if not check(stem, tensors, metadata):
            exchange.save(FOLDER / f"{stem}.safetensors", tensors, metadata)
    size = sum(path.stat().st_size for path in FOLDER.glob("*.safetensors"))
    print(f"{len(files)} files, {size / 1e6:.2f} MB in {FOLDER.name}/")


if __name__ == "__main__":
    main()
