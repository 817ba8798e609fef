"""JPEG files of every kind that the decoder must read or refuse, with the pixels that libjpeg-turbo (Pillow) gives.

    jpeg_matrix.py fixture            writes tests/fixtures/jpeg_matrix.safetensors, a small part
    jpeg_matrix.py whole FILE         writes the whole matrix to FILE
    jpeg_matrix.py run                writes the whole matrix to a temporary file and runs the decoder's test on it

Needs Python 3.11 with Pillow and numpy, and cjpeg and jpegtran (libjpeg-turbo-progs). Everything is seeded.

The file holds for each NAME a tensor NAME.jpg (the bytes) and either NAME.pixels ([height, width, channels], 1 or 3) or
NAME.refused (text that the error must hold).
"""

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests/fixtures/jpeg_matrix.safetensors"

SIZES = [(1, 1), (7, 7), (8, 8), (16, 16), (17, 17), (33, 33), (1, 33), (17, 7), (8, 16), (33, 16), (16, 8), (7, 40)]
SAMPLINGS = {
    "444": "1x1,1x1,1x1", "422": "2x1,1x1,1x1", "420": "2x2,1x1,1x1", "411": "4x1,1x1,1x1", "440": "1x2,1x1,1x1",
    "410": "4x2,1x1,1x1", "141": "1x4,1x1,1x1", "422-440": "2x2,1x2,2x1", "444-420": "1x1,2x2,1x1", "222": "2x1,2x1,2x1",
}
GREYS = {"grey": None, "grey-2x2": "2x2"}
RESTARTS = {"none": [], "one": ["-restart", "1B"], "row": ["-restart", "1"], "three": ["-restart", "3B"], "seven": ["-restart", "7B"]}

# Scan scripts by the number of components.
SEQUENTIAL = {
    1: {"whole": "0;"},
    3: {"whole": "0,1,2;", "apart": "0;1;2;", "backwards": "2;1;0;", "mixed": "0;1,2;", "mixed2": "1;0,2;", "mixed3": "0,1;2;"},
    4: {"whole": "0,1,2,3;", "apart": "0;1;2;3;", "backwards": "3;2;1;0;", "mixed": "0,3;1,2;"},
}
PROGRESSIVE = {
    1: {"default": None, "bits": "0:0-0,0,3;0:1-63,0,2;0:0-0,3,2;0:1-63,2,1;0:0-0,2,1;0:1-63,1,0;0:0-0,1,0;"},
    3: {
        "default": None,
        "spectral": "0,1,2:0-0,0,0;0:1-5,0,0;2:1-63,0,0;1:1-63,0,0;0:6-63,0,0;",
        "apart": "2:0-0,0,1;0:0-0,0,0;1:0-0,0,2;0:1-63,0,1;2:1-63,0,0;1:1-63,0,3;1:1-63,3,2;0:1-63,1,0;1:0-0,2,1;2:0-0,1,0;"
                 "1:1-63,2,1;1:0-0,1,0;1:1-63,1,0;",
    },
    4: {"default": None, "spectral": "0,1,2,3:0-0,0,1;0:1-63,0,0;3:1-63,0,0;1:1-20,0,1;1:21-63,0,1;2:1-63,0,0;1:1-20,1,0;1:21-63,1,0;0,1,2,3:0-0,1,0;"},
}


def tool(*command, data):
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def image(height, width, channels, seed=0):
    """Slopes with hard edges and some noise, in strong colours: errors of order, upsampling and range all show."""
    draw = np.random.default_rng([height, width, channels, seed])
    y, x = np.mgrid[:height, :width]
    planes = []
    for channel in range(channels):
        plane = 128 + 90 * np.sin(x / (3.0 + channel) + channel) + 60 * np.cos(y / (4.0 - channel / 2) + 2 * channel)
        plane += np.where((x // 9 + y // 5 + channel) % 3 == 0, 70, -40) + draw.normal(0, 6, (height, width))
        planes.append(plane)
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def source(kind, sampling, height, width, quality):
    """A baseline file of one interleaved scan. The kind is ycc, rgb, grey, cmyk or ycck."""
    options = ["-sample", sampling] if sampling else []
    if kind in ("cmyk", "ycck"):
        out = io.BytesIO()
        Image.fromarray(image(height, width, 4), "CMYK").save(out, "JPEG", quality=quality)
        data = out.getvalue()
        # The same samples read as YCCK are another valid picture.
        return adobe(data, 2) if kind == "ycck" else data
    grey = kind == "grey"
    pixels = image(height, width, 1 if grey else 3)
    header = f"P{5 if grey else 6} {width} {height} 255\n".encode()
    options += ["-rgb"] if kind == "rgb" else []
    return tool("cjpeg", "-optimize", "-quality", str(quality), *options, data=header + pixels.tobytes())


def transcode(data, scans=None, restart=(), progressive=False, arithmetic=False):
    options = [*restart] + (["-arithmetic"] if arithmetic else ["-optimize"])
    with tempfile.NamedTemporaryFile("w") as script:
        if scans:
            script.write(scans.replace(";", ";\n"))
            script.flush()
            options += ["-scans", script.name]
        elif progressive:
            options += ["-progressive"]
        return tool("jpegtran", "-copy", "all", *options, data=data)


def segments(data):
    """(start, end, marker) of each marker segment up to and with the first scan's header."""
    at = 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        yield at, at + 2 + length, marker
        at += 2 + length
        if marker == 0xDA:
            return


def adobe(data, transform):
    for start, end, marker in segments(data):
        if marker == 0xEE:
            return data[: end - 1] + bytes([transform]) + data[end:]
    raise ValueError("no Adobe segment")


def without(data, *markers):
    out, last = data[:2], 2
    for start, end, marker in segments(data):
        out += b"" if marker in markers else data[start:end]
        last = end
    return out + data[last:]


def frame(data, change):
    """Applies `change` to a copy of the frame header's bytes, which begin with its marker."""
    for start, end, marker in segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            header = bytearray(data[start:end])
            change(header)
            return data[:start] + bytes(header) + data[end:]
    raise ValueError("no frame header")


def patch(at, value):
    return lambda header: header.__setitem__(at, value)


def every_marker(data):
    """Positions of all markers in a file that ends with EOI, those in the entropy-coded data too."""
    found, at = [], 2
    while True:
        while not (data[at] == 0xFF and data[at + 1] not in (0, 0xFF)):
            at += 1
        found.append(at)
        marker = data[at + 1]
        if marker == 0xD9:
            return found
        at += 2 if 0xD0 <= marker <= 0xD7 else 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def with_fill(data, count):
    out, last = b"", 0
    for at in every_marker(data):
        out, last = out + data[last:at] + b"\xff" * count, at
    return out + data[last:]


def segment(marker, content):
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def renamed(data, ids):
    """Gives the components other identifiers, in the frame's and in all scans' headers."""
    out, old = bytearray(data), None
    for at in every_marker(data):
        marker = data[at + 1]
        if marker in (0xC0, 0xC1, 0xC2):
            old = [data[at + 10 + 3 * i] for i in range(data[at + 9])]
            for i, new in enumerate(ids):
                out[at + 10 + 3 * i] = new
        if marker == 0xDA:
            for i in range(data[at + 4]):
                out[at + 5 + 2 * i] = ids[old.index(data[at + 5 + 2 * i])]
    return bytes(out)


def bases(whole):
    """(name, file) for colour × sampling × size × coding × scans × restart interval."""
    colours = [("ycc", name, sampling, 3) for name, sampling in SAMPLINGS.items()]
    colours += [("grey", name, sampling, 1) for name, sampling in GREYS.items()]
    colours += [("rgb", "rgb", None, 3), ("rgb", "rgb-420", "2x2,1x1,1x1", 3), ("cmyk", "cmyk", None, 4), ("ycck", "ycck", None, 4)]
    count = 0
    for (kind, name, sampling, components), (height, width) in itertools.product(colours, SIZES):
        # Low quality has 16-bit tables, which make the file extended sequential (SOF1).
        for coding, quality in (("baseline", 85), ("extended", 8), ("progressive", 85)):
            data = source(kind, sampling, height, width, quality)
            scripts = PROGRESSIVE if coding == "progressive" else SEQUENTIAL
            for (scans, script), (restart, options) in itertools.product(scripts[components].items(), RESTARTS.items()):
                count += 1
                # A fixture takes one in 113 (a prime, so that it goes through all the lists) of the smaller ones.
                if whole or (count % 113 == 0 and height * width <= 600):
                    made = transcode(data, script, options, coding == "progressive")
                    yield f"{name}/{coding}/{scans}/{restart}/{height}x{width}", made


def drawn(count, largest):
    """(name, file): sampling factors, sizes, scans and restart intervals drawn at random."""
    draw = np.random.default_rng(0)
    done = 0
    while done < count:
        factors = draw.choice([1, 1, 1, 2, 2, 3, 4], (3, 2))
        integral = (factors.max(0) % factors == 0).all()  # libjpeg doesn't upsample by other ratios
        if not integral or factors.prod(1).sum() > 10:  # the most blocks of an interleaved unit
            continue
        sampling = ",".join(f"{h}x{v}" for h, v in factors)
        height, width = (int(side) for side in draw.integers(1, largest, 2))
        data = source("ycc", sampling, height, width, int(draw.integers(5, 99)))
        restart = int(draw.choice([0, 1, 2, 3, 5, 8, 13, 100]))
        options = ["-restart", f"{restart}B"] if restart else []
        progressive = bool(draw.integers(2))
        if progressive:
            # Every component in bands and bit planes of its own, in an order drawn under the rules of progression.
            queues = []
            for component in range(3):
                low = int(draw.integers(3))
                queues.append([f"{component}:0-0,0,{low};"] + [f"{component}:0-0,{bit + 1},{bit};" for bit in reversed(range(low))])
                split, low = int(draw.integers(1, 63)), int(draw.integers(3))
                for start, end in ((1, split), (split + 1, 63)):
                    queues.append([f"{component}:{start}-{end},0,{low};"] + [f"{component}:{start}-{end},{bit + 1},{bit};" for bit in reversed(range(low))])
            script, begun = "", set()
            while queues:
                index = int(draw.integers(len(queues)))
                component = queues[index][0][0]
                if ":0-0" not in queues[index][0] and component not in begun:
                    continue  # a component's first scan is of its mean values
                begun.add(component)
                script += queues[index].pop(0)
                queues = [queue for queue in queues if queue]
        else:
            order = [str(component) for component in draw.permutation(3)]
            cut = int(draw.integers(1, 4))
            script = ",".join(sorted(order[:cut])) + ";" + "".join(f"{component};" for component in order[cut:])
        kind = "progressive" if progressive else "sequential"
        yield f"drawn/{kind}/{sampling}/{restart}/{done}", transcode(data, script, options)
        done += 1


def containers():
    """(name, file): valid files that hold more than their picture, or say what they are in another way."""
    plain = source("ycc", "2x2,1x1,1x1", 10, 19, 85)
    grey = source("grey", None, 9, 8, 85)
    rgb = source("rgb", None, 9, 10, 90)
    apart = transcode(plain, "2;0;1;", ["-restart", "3B"])
    progressive = transcode(plain, None, ["-restart", "1B"], progressive=True)
    thumbnail = source("ycc", "2x2,1x1,1x1", 8, 8, 50)
    for name, data in (("plain", plain), ("grey", grey), ("apart", apart), ("progressive", progressive)):
        yield f"{name}+mp4", data + b"\0\0\0\x18ftypmp42" + b"\0" * 50 + b"\xff\xda" + b"\0" * 50
        yield f"{name}+picture", data + thumbnail
        yield f"{name}+zeros", data + bytes(512)
        yield f"{name}+scan", data + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0abc"
        yield f"{name}+fill", data + b"\xff\xff\xff"
        yield f"{name}/fill", with_fill(data, 1)
        yield f"{name}/fill-3", with_fill(data, 3)
        yield f"{name}/preview", data[:2] + segment(0xE1, b"Exif\0\0" + thumbnail) + data[2:]
        yield f"{name}/comment", data[:2] + segment(0xFE, b"\xff\xd9\xff\xda\xff\xd8") + data[2:]
        yield f"{name}/mpf", data[:2] + segment(0xE2, b"MPF\0II*\0\x08\0\0\0\0\0") + data[2:] + thumbnail
        yield f"{name}/sof1", frame(data, patch(1, 0xC1)) if name != "progressive" else data
        yield f"{name}/no-jfif", without(data, 0xE0)
    for name, data in (("plain", plain), ("apart", apart), ("progressive", progressive)):
        yield f"{name}/ids-0", renamed(data, [0, 1, 2])
        yield f"{name}/ids-any", renamed(data, [200, 7, 99])
        yield f"{name}/ids-rgb-jfif", renamed(data, [82, 71, 66])
        yield f"{name}/ids-rgb", without(renamed(data, [82, 71, 66]), 0xE0)
        yield f"{name}/adobe-ycc", data[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01") + data[2:]
        yield f"{name}/adobe-ycc-no-jfif", without(data, 0xE0)[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01") + without(data, 0xE0)[2:]
        yield f"{name}/adobe-rgb", without(data, 0xE0)[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\0") + without(data, 0xE0)[2:]
    yield "rgb/ids-123", renamed(rgb, [1, 2, 3])
    yield "rgb/no-adobe", without(rgb, 0xEE)
    cmyk = source("cmyk", None, 9, 10, 90)
    yield "cmyk/no-adobe", without(cmyk, 0xEE)


def refused():
    """(name, file, what the error must say): what is not read, by name, and what is cut off."""
    plain = source("ycc", "2x2,1x1,1x1", 10, 19, 85)
    for name, data in (
        ("arithmetic", transcode(plain, arithmetic=True)),
        ("arithmetic-progressive", transcode(plain, progressive=True, arithmetic=True)),
    ):
        yield name, data, "arithmetic coding"
    yield "12-bit", frame(frame(plain, patch(4, 12)), patch(1, 0xC1)), "12 bits"
    yield "lossless", frame(plain, patch(1, 0xC3)), "lossless"
    yield "hierarchical", frame(plain, patch(1, 0xC5)), "hierarchical"
    yield "two-components", frame(plain, lambda header: header.__setitem__(9, 2)), "components"
    for name, data in (
        ("plain", plain),
        ("apart", transcode(plain, "2;0;1;", ["-restart", "3B"])),
        ("progressive", transcode(plain, progressive=True)),
    ):
        for where in (3, 20, len(data) // 2, len(data) - 30, len(data) - 2, len(data) - 1):
            yield f"{name}-cut-{where}", data[:where], "too early"


def expected(data):
    picture = Image.open(io.BytesIO(data))
    if picture.mode != "L":
        picture = picture.convert("RGB")
    return np.atleast_3d(np.asarray(picture))


def write(path, whole):
    tensors = {}
    for name, data in itertools.chain(bases(whole), drawn(3000, 100) if whole else drawn(24, 36), containers()):
        tensors[f"{name}.jpg"] = np.frombuffer(data, np.uint8)
        tensors[f"{name}.pixels"] = expected(data)
    for name, data, words in refused():
        tensors[f"refused/{name}.jpg"] = np.frombuffer(data, np.uint8)
        tensors[f"refused/{name}.refused"] = np.frombuffer(words.encode(), np.uint8)
    header, data, offset = {}, [], 0
    for name in sorted(tensors):
        tensor = tensors[name]
        header[name] = {"dtype": "U8", "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.size]}
        data.append(tensor.tobytes())
        offset += tensor.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))
    print(f"{path}: {sum(name.endswith('.jpg') for name in tensors)} files, {offset} bytes", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["fixture", "whole", "run"])
    parser.add_argument("file", nargs="?")
    arguments = parser.parse_args()
    if arguments.mode == "fixture":
        write(FIXTURE, whole=False)
    elif arguments.mode == "whole":
        write(arguments.file or parser.error("whole needs a FILE"), whole=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "matrix.safetensors"
            write(path, whole=True)
            command = ["cargo", "test", "--release", "--lib", "jpeg_matrix", "--", "--nocapture"]
            sys.exit(subprocess.run(command, cwd=ROOT, env=os.environ | {"VGAN_JPEG_MATRIX": str(path)}).returncode)


if __name__ == "__main__":
    main()
