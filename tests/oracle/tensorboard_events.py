"""Reads a run's events with TensorBoard's own EventAccumulator, and compares them with the run's records and pictures.

    pip install tensorboard
    python3 tests/oracle/tensorboard_events.py target/release/vgan-cuda

It trains a tiny run with --tensorboard, goes back to an older checkpoint as a killed run does, resumes, and resumes again to a greater
length, while one accumulator follows the folder from the start as a TensorBoard that is open would. At the end that one, a new
one, and one on an export by `report --tensorboard` must show the same: each record and each picture once, with the values of
stats.jsonl in single precision and the bytes of the files.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from tensorboard.backend.event_processing import event_accumulator

TINY = """--batch 8 --set generator.channels=8,4 --set generator.hidden=16 --set generator.latent=6
    --set discriminator.channels=4,8 --set discriminator.hidden=16 --tick 3 --snap 4 --keep 0 --resize 8""".split()


def accumulator(folder):
    everything = {kind: 0 for kind in ("scalars", "images", "tensors", "compressedHistograms", "histograms", "audio")}
    return event_accumulator.EventAccumulator(str(folder), size_guidance=everything)


def scalars(found, tag):
    """(step, value) of a figure, wherever this version of TensorBoard keeps it."""
    if tag in found.Tags()["scalars"]:
        return [(event.step, event.value) for event in found.Scalars(tag)]
    return [(event.step, event.tensor_proto.float_val[0]) for event in found.Tensors(tag)]


def images(found, tag):
    if tag in found.Tags()["images"]:
        return [(event.step, event.encoded_image_string) for event in found.Images(tag)]
    # Width, height, and the picture.
    return [(event.step, event.tensor_proto.string_val[2]) for event in found.Tensors(tag)]


def check(what, found, run):
    found.Reload()
    records = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    for key in records[0]:
        if key == "step":
            continue
        expected = [(record["step"], float(np.float32(record[key]))) for record in records if record[key] is not None]
        assert scalars(found, key) == expected, f"{what}: {key}: {scalars(found, key)} instead of {expected}"
    pictures = [(0, (run / "fakes_init.png").read_bytes())]
    pictures += [(int(path.stem[5:]), path.read_bytes()) for path in sorted(run.glob("fakes[0-9]*.png"))]
    assert images(found, "samples") == pictures, f"{what}: samples of steps {[step for step, _ in images(found, 'samples')]}"
    assert images(found, "reals") == [(0, (run / "reals.png").read_bytes())], f"{what}: reals"
    text = found.Tensors("settings")
    assert len(text) == 1 and b"batch = 8" in text[0].tensor_proto.string_val[0], f"{what}: settings"
    assert found.SummaryMetadata("settings").plugin_data.plugin_name == "text", f"{what}: settings are no text"
    print(f"{what}: {len(records)} records of {len(records[0]) - 1} figures, {len(pictures)} grids: as in the run's folder")


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        call = lambda *words: subprocess.run([program, *map(str, words)], check=True, capture_output=True)
        call("train", "quick", *TINY, "--steps", 12, "--tensorboard", "--outdir", folder / "runs")
        (run,) = (folder / "runs").iterdir()
        follower = accumulator(run)
        check("after the first start", follower, run)
        for step in (8, 12):
            shutil.rmtree(run / f"checkpoints/{step:06}")
        (run / "checkpoints/latest").write_text("000004")
        # Other values, so that what comes again can be told from what was there.
        call("resume", run, "--set", "optimizer.generator_lr=1e-3")
        check("resumed from step 4, seen by the one that follows", follower, run)
        check("resumed from step 4, read anew", accumulator(run), run)
        call("resume", run, "--steps", 24)
        check("resumed to step 24, seen by the one that follows", follower, run)
        check("resumed to step 24, read anew", accumulator(run), run)
        call("report", run, "--tensorboard", folder / "board")
        check("exported", accumulator(folder / "board" / run.name), run)


main()
