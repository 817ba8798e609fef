"""The models of tests/models/pytorch.toml, which tests/pytorch/fixtures.rs reads too; README.md there says how one is written."""

import copy
import pathlib
import tomllib

import settings as settings_module

FILE = pathlib.Path(__file__).resolve().parent.parent / "models" / "pytorch.toml"


def models():
    """{name: (settings, fixtures)}, the settings complete, the fixtures as the file has them."""
    found = {}
    for model in tomllib.loads(FILE.read_text(encoding="utf-8"))["model"]:
        settings = settings_module.with_defaults({})
        if "like" in model:
            settings = copy.deepcopy(found[model["like"]][0])
        for section, values in model.get("settings", {}).items():
            for key, value in values.items():
                settings_module.assign(settings, section, key, value)
        found[model["name"]] = (settings, model.get("pytorch", []))
    return found


def fixtures():
    """Yield (name, settings, (height, width, channels), seed, steps or None for a single step) of every fixture."""
    for settings, listed in models().values():
        for one in listed:
            yield one["fixture"], settings, tuple(one["image"]), one["seed"], one.get("steps")
