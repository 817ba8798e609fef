"""The settings of a run, under the names of src/config/, as nested dicts {section: {key: value}}.

Only the settings that change a training step on given inputs are here. The presets are written down a second
time on purpose: a preset that drifts in the Rust code then fails in live.py.
"""

import copy
import json
import tomllib

DEFAULTS = {
    "data": {"range": "0..1"},
    "nets": {"family": "dcgan", "conditional": "none", "class_embedding": 10, "classes": 0},
    "generator": {
        "latent": 62,
        "prior": "uniform",
        "hidden": [1024],
        "channels": [128, 64],
        "width": 0,
        "max_width": 0,
        "output": "stride2",
        "ema": 0.0,
        "ema_half_life": 0.0,
        "ema_rampup": 0.0,
    },
    "discriminator": {
        "channels": [64, 128],
        "width": 0,
        "max_width": 0,
        "norm": "batch",
        "norm_first": True,
        "hidden": [1024],
        "leak": 0.2,
        "spectral_norm": False,
        "minibatch_kernels": 0,
        "minibatch_dims": 5,
    },
    "bottleneck": {
        "enabled": True,
        "channels": 0,
        "kl_reduction": "mean",
        "kl_mix": "sum",
        "generator_z": "sampled",
        "sigma": "logvar",
        "logvar_bias": 0.0,
        "beta": 0.0,
        "beta_step": 1e-5,
        "target_kl": 0.1,
    },
    "objective": {
        "loss": "ns",
        "real_target": 1.0,
        "discriminator_steps": 1,
        "penalty": "none",
        "penalty_weight": 10.0,
        "penalty_every": 1,
        "penalty_z": "sampled",
        "clip": 0.0,
        "historical_averaging": 0.0,
        "instance_noise": 0.0,
        "instance_noise_steps": 0,
        "augment": "",
        "feature_matching": 0.0,
        "margin": 1.0,
        "repelling": 0.0,
        "balance_ratio": 0.5,
        "balance_step": 0.001,
        "reconstruction": 0.0,
        "mode": 0.0,
    },
    "optimizer": {
        "kind": "adam",
        "discriminator_lr": 2e-4,
        "generator_lr": 2e-4,
        "warmup": 0,
        "schedule": "constant",
        "schedule_start": 0,
        "schedule_steps": 0,
        "schedule_floor": 0.0,
        "beta1": 0.5,
        "beta2": 0.999,
        "decay": 0.99,
        "epsilon": 1e-8,
    },
    "train": {"batch": 128},
}

# r of sigma = e^(r s), by what `conv_logvar` makes: s = log sigma^2, or log sigma as the paper's official code has it.
SIGMA_RATES = {"logvar": 0.5, "logstd": 1.0}

# The settings that came after the first fixtures were made.
LATER = {
    "nets": ["conditional", "class_embedding", "classes"],
    "generator": ["ema", "ema_half_life", "ema_rampup"],
    "optimizer": ["warmup", "schedule", "schedule_start", "schedule_steps", "schedule_floor"],
    "discriminator": ["norm", "spectral_norm", "minibatch_kernels", "minibatch_dims"],
    "bottleneck": ["sigma"],
    "objective": [
        "discriminator_steps",
        "penalty",
        "penalty_weight",
        "penalty_every",
        "penalty_z",
        "margin",
        "repelling",
        "balance_ratio",
        "balance_step",
        "feature_matching",
        "instance_noise",
        "instance_noise_steps",
        "augment",
        "reconstruction",
        "mode",
    ],
}

# Per preset: the image (channels, height, width) and what differs from the defaults.
PRESETS = {
    "vgan-mnist": ((1, 28, 28), {}),
    "gan-mnist": ((1, 28, 28), {"bottleneck": {"enabled": False}, "discriminator": {"norm_first": False}}),
    "vgan-cifar10": (
        (3, 32, 32),
        {
            "data": {"range": "-1..1"},
            "generator": {"latent": 100, "hidden": [], "channels": [512, 256, 128, 64], "output": "stride1"},
            "discriminator": {"channels": [64, 128, 256, 512], "hidden": [1024]},
            "bottleneck": {"beta": 0.01},
        },
    ),
    "vgan-cifar10-resnet": (
        (3, 32, 32),
        {
            "data": {"range": "-1..1"},
            "nets": {"family": "resnet"},
            "generator": {
                "latent": 256,
                "prior": "normal",
                "hidden": [],
                "channels": [],
                "width": 32,
                "max_width": 256,
                "output": "stride1",
                "ema": 0.999,
            },
            "discriminator": {
                "channels": [],
                "width": 32,
                "max_width": 256,
                "norm_first": False,
                "hidden": [],
            },
            "bottleneck": {"kl_reduction": "channels", "kl_mix": "mean", "sigma": "logstd", "beta": 0.1},
            "optimizer": {"kind": "rmsprop", "discriminator_lr": 1e-4, "generator_lr": 1e-4},
            "train": {"batch": 64},
        },
    ),
}


def with_defaults(changes):
    """The defaults with `changes` ({section: {key: value}}) laid over them; an unknown name is an error."""
    settings = copy.deepcopy(DEFAULTS)
    for section, values in changes.items():
        for key, value in values.items():
            assign(settings, section, key, value)
    return settings


def assign(settings, section, key, value):
    """Set one setting; it must exist and keep its type (an int may stand for a float)."""
    if key not in settings.get(section, {}):
        raise SystemExit(f"unknown setting {section}.{key}: see tests/oracle/settings.py for those the oracle knows")
    old = settings[section][key]
    if isinstance(old, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(old):
        raise SystemExit(f"{section}.{key}: expected a {type(old).__name__}, found {value!r}")
    settings[section][key] = value


def assign_text(settings, text):
    """Apply `section.key=value`, as the command line takes it; a value that is no TOML value is a bare string."""
    name, equals, value = text.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot):
        raise SystemExit(f"--set {text}: expected section.key=value")
    try:
        value = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    assign(settings, section, key, value)


def to_toml(settings):
    """The settings as TOML text. Our values (strings, numbers, flags, lists of integers) look the same as in JSON.

    What came after the first fixtures is left out where it is at its default, so that they need not be made anew.
    """
    lines = []
    for section, values in settings.items():
        later = LATER.get(section, ())
        kept = {key: value for key, value in values.items() if key not in later or value != DEFAULTS[section][key]}
        if kept:
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in kept.items()), ""]
    return "\n".join(lines)


def from_toml(text):
    """The settings that `to_toml` wrote."""
    return with_defaults(tomllib.loads(text))
