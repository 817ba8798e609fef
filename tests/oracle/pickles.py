"""Makes tests/fixtures/pickles/: small files of torch.save of every kind that `import` reads, and some that it must refuse.

    .venv/bin/python tests/oracle/pickles.py            # writes the files and values.safetensors, what PyTorch loads from them

Made with PyTorch 2.15. The values are counted, not drawn, so that a file that is made again differs only where PyTorch's format does.
"""

import argparse
import collections
import pathlib
import zipfile

import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "pickles"


def counted(*shape, start=1, dtype=torch.float32):
    count = 1
    for size in shape:
        count *= size
    return (torch.arange(count, dtype=torch.float64) / 8 + start).to(dtype).reshape(shape)


def network():
    """A state_dict with a parameter of each kind, running statistics and a counter of whole numbers."""
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Conv2d(2, 1, 2, bias=False))
    state = net.state_dict()
    for index, (name, tensor) in enumerate(state.items()):
        if tensor.is_floating_point():
            state[name] = counted(*tensor.shape, start=index)
    return state


def types():
    """Every type that holds numbers with a fraction, and those that do not."""
    real = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    whole = {"i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool}
    return {name: counted(5, start=1, dtype=dtype) for name, dtype in {**real, **whole}.items()}


def views():
    """Views of one storage: transposed, sliced, strided, a scalar, nothing; and the whole."""
    whole = counted(4, 6)
    return {
        "whole": whole,
        "transposed": whole.t(),
        "part": whole[1:3, 2:5],
        "strided": whole[::2, ::3],
        "channels_last": counted(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        "scalar": whole[2, 3],
        "empty": whole[:0],
        "tied": whole,
    }


def nested():
    """A training checkpoint as people write it: networks beside settings, an optimiser and a step."""
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(counted(2, 2))
        net.bias.copy_(counted(2))
    optimizer = torch.optim.Adam(net.parameters())
    net(counted(1, 2)).sum().backward()
    optimizer.step()
    return {
        "generator": net.state_dict(),
        "ema": collections.OrderedDict((name, value * 2) for name, value in net.state_dict().items()),
        "optimizer": optimizer.state_dict(),
        "parameter": nn.Parameter(counted(3)),
        "step": 1234567890123,
        "lr": 1e-4,
        "name": "größe",
        "size": torch.Size([2, 3]),
        "flags": [True, False, None],
        "nothing": {},
    }


def write(name, value, **options):
    torch.save(value, FOLDER / name, **options)


def repacked(name, source):
    """The same archive compressed, as other tools write it."""
    with zipfile.ZipFile(FOLDER / source) as old, zipfile.ZipFile(FOLDER / name, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))


def flat(value, prefix=""):
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, dict):
            yield from flat(item, f"{name}.")
        elif isinstance(item, torch.Tensor) and item.is_floating_point():
            yield name, item.detach()


def main():
    FOLDER.mkdir(exist_ok=True)
    good = {"network": network(), "types": types(), "views": views(), "nested": nested()}
    values = {}
    for name, value in good.items():
        write(f"{name}.pt", value)
        loaded = torch.load(FOLDER / f"{name}.pt", weights_only=True)
        values.update((f"{name}/{key}", tensor.float().contiguous().clone()) for key, tensor in flat(loaded))
    write("protocol4.pt", good["network"], pickle_protocol=4)
    repacked("deflated.pt", "network.pt")
    save_file(values, FOLDER / "values.safetensors")

    write("legacy.pt", good["network"], _use_new_zipfile_serialization=False)
    write("module.pt", nn.Linear(2, 1))
    write("namespace.pt", {"settings": argparse.Namespace(lr=1.0), "w": counted(2)})
    write("complex.pt", {"w": torch.ones(2, dtype=torch.complex64)})
    torch.jit.save(torch.jit.script(nn.Linear(2, 1)), FOLDER / "script.pt")


if __name__ == "__main__":
    main()
