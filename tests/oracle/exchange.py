"""Reading, writing and comparing the safetensors files of the exchange format (README.md)."""

import json

import torch
from safetensors import safe_open

DTYPES = {torch.float64: "F64", torch.float32: "F32"}


def save(path, tensors, metadata):
    """Write `tensors` and text `metadata` so that the same values always give the same bytes.

    Our own writer, because the library's leaves the order of the metadata to chance. The format: the header's length
    as u64, the JSON header padded with spaces to a multiple of 8, then the data.
    """
    header, data = {"__metadata__": metadata}, []
    offset = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        data.append(tensor.numpy().tobytes())
        end = offset + len(data[-1])
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + b"".join(data))


def load(path):
    """The tensors and the metadata of a file, read by the safetensors library."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def compare(expected, found, tolerance, loose):
    """Rows (key, error, allowed, note), worst first, one for each expected tensor; it fails where error > allowed.

    The error is max|a - b| / max|b|, b the expected tensor. `loose` gives absolute tolerances for single keys, which
    are turned into relative ones. What is missing, misshapen or not a number has an infinite error.
    """
    rows = []
    for key, b in expected.items():
        a, b = found.get(key), b.double()
        scale = b.abs().max().item() or 1.0
        allowed = max(tolerance, loose.get(key, 0.0) / scale)
        if a is None:
            rows.append((key, float("inf"), allowed, "missing"))
        elif a.shape != b.shape:
            rows.append((key, float("inf"), allowed, f"shape {list(a.shape)}, expected {list(b.shape)}"))
        else:
            error = ((a.double() - b).abs().max() / scale).item()
            rows.append((key, error if error == error else float("inf"), allowed, ""))
    return sorted(rows, key=lambda row: row[1] / row[2], reverse=True)


def failures(rows):
    return [row for row in rows if not row[1] <= row[2]]
