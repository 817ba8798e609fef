"""Makes what is missing or wrong in tests/fixtures/, or with --check recomputes it and compares. README.md says what each file is."""

import argparse
import json
import pathlib
import sys

import torch
from torch.nn import functional

import exchange
import settings as settings_module
from step import random_inputs, run_step, run_trajectory

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
CHECK_TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
SHORT = {torch.float64: "f64", torch.float32: "f32"}

# name: (image as (channels, height, width), settings that differ from the defaults, steps or None for a single step).
# beta_step is large where beta shall move visibly; batch and widths are as small as batch normalisation lets them be.
VGAN_MNIST = {
    "generator": {"latent": 5, "hidden": [7], "channels": [6, 4]},
    "discriminator": {"channels": [4, 6], "hidden": [9]},
    "bottleneck": {"beta": 0.05, "beta_step": 0.01},
    "train": {"batch": 6},
}
PAPER = {
    "data": {"range": "-1..1"},
    "generator": {"latent": 6, "prior": "normal", "hidden": [8], "channels": [7, 5, 4], "output": "stride1"},
    "discriminator": {"channels": [4, 5, 8], "hidden": [7]},
    "bottleneck": {
        "channels": 3,
        "kl_reduction": "sum",
        "kl_mix": "mean",
        "generator_z": "mean",
        "beta": 0.1,
        "beta_step": 0.002,
    },
    "train": {"batch": 7},
}
CHANNELS = {
    "generator": {"latent": 4, "hidden": [], "channels": [5]},
    "discriminator": {"channels": [3], "norm_first": False, "hidden": []},
    "bottleneck": {"kl_reduction": "channels", "channels": 5, "beta": 0.3, "beta_step": 0.001, "target_kl": 0.5},
    "optimizer": {"discriminator_lr": 1e-3, "generator_lr": 5e-4, "beta1": 0.0, "beta2": 0.9, "epsilon": 1e-6},
    "train": {"batch": 3},
}
GAN_MNIST = {
    "generator": {"latent": 5, "hidden": [7], "channels": [6, 4]},
    "discriminator": {"channels": [4, 6], "norm_first": False, "hidden": [9]},
    "bottleneck": {"enabled": False},
    "train": {"batch": 6},
}
# Beta starts so small, and the target so high, that the update meets the floor at 0.
LOGVAR_BIAS = {
    "generator": {"latent": 3, "hidden": [5, 6], "channels": [4, 3]},
    "discriminator": {"channels": [3, 5], "hidden": [8, 6], "leak": 0.1},
    "bottleneck": {"logvar_bias": -3.0, "beta": 0.02, "beta_step": 0.01, "target_kl": 50.0},
    "train": {"batch": 8},
}
# The residual nets: 16x8 is halved once, to 8x4. Widths that grow, shrink and are capped, and RMSprop.
RESNET = {
    "data": {"range": "-1..1"},
    "nets": {"family": "resnet"},
    "generator": {
        "latent": 5,
        "prior": "normal",
        "hidden": [],
        "channels": [],
        "width": 3,
        "max_width": 5,
        "output": "stride1",
    },
    "discriminator": {"channels": [], "width": 4, "max_width": 6, "norm_first": False, "hidden": []},
    "bottleneck": {"channels": 3, "kl_reduction": "channels", "kl_mix": "mean", "beta": 0.1, "beta_step": 0.01},
    "optimizer": {"kind": "rmsprop", "discriminator_lr": 1e-4, "generator_lr": 2e-4, "decay": 0.9},
    "train": {"batch": 4},
}
PENALISED = {
    "generator": {"latent": 4, "hidden": [5], "channels": [4, 3]},
    "discriminator": {"channels": [3, 4], "norm": "none", "hidden": [6]},
    "bottleneck": {"channels": 2, "beta": 0.05, "beta_step": 0.01},
    "train": {"batch": 5},
}
# Gradient penalties, for a net without batch normalisation: the paper's VGAN-GP, at the mean, between and around.
R1 = PENALISED | {"objective": {"penalty": "r1", "penalty_weight": 20.0}}
R2 = PENALISED | {"objective": {"penalty": "r2", "penalty_z": "mean"}}
WGAN_GP = PENALISED | {"objective": {"penalty": "wgan-gp", "penalty_every": 3}}
DRAGAN = PENALISED | {"objective": {"penalty": "dragan"}, "data": {"range": "-1..1"}}
RESNET_GP = RESNET | {
    "discriminator": RESNET["discriminator"] | {"norm": "none"},
    "objective": {"penalty": "r1", "penalty_weight": 20.0},
}
# The encoder says log sigma, as the paper's official code has it: with the article's nets, and with the paper's and a penalty.
LOGSTD = VGAN_MNIST | {"bottleneck": VGAN_MNIST["bottleneck"] | {"sigma": "logstd", "logvar_bias": -0.5}}
LOGSTD_GP = RESNET_GP | {"bottleneck": RESNET["bottleneck"] | {"sigma": "logstd"}}
PLAIN_GP = PENALISED | {"objective": {"penalty": "wgan-gp"}, "bottleneck": {"enabled": False}}
# Runs `wgan-gp` and `gp` of experiments/paper-cifar10.toml are of this kind: the residual nets without the bottleneck.
# Adam's epsilon is as in NARROW below, and for the same reason.
WGAN_GP_RESNET = RESNET_GP | {
    "bottleneck": {"enabled": False},
    "objective": {"loss": "wgan", "penalty": "wgan-gp"},
    "optimizer": {"discriminator_lr": 1e-3, "generator_lr": 1e-3, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3},
}
# Still narrower nets with other losses and simple regularisers. The clip leaves most weights alone, and no gamma. Adam's
# epsilon is far above rounding noise: by these losses, and where a parameter is pulled to its own past, noise would
# otherwise be divided by its own size in more places than the biases before a batch norm (D's last bias by wgan and hinge).
NARROW = {
    "generator": {"latent": 4, "hidden": [6], "channels": [4, 3]},
    "discriminator": {"channels": [3, 4], "hidden": [6]},
    "bottleneck": {"beta": 0.05, "beta_step": 0.01},
    "optimizer": {"discriminator_lr": 1e-3, "generator_lr": 1e-3, "epsilon": 1e-3},
    "train": {"batch": 8},
}
MINIMAX = NARROW | {"bottleneck": {"enabled": False}, "objective": {"loss": "gan", "real_target": 0.9}}
SMOOTHED = NARROW | {"objective": {"loss": "ns", "real_target": 0.9}}
LSGAN = NARROW | {"objective": {"loss": "lsgan", "historical_averaging": 0.05}}
HINGE = NARROW | {"objective": {"loss": "hinge"}}
WGAN = NARROW | {"objective": {"loss": "wgan", "clip": 0.3}}
# Discriminators that are autoencoders: without bottleneck and linear layers, and with both; k moves visibly.
EBGAN = NARROW | {
    "data": {"range": "-1..1"},
    "discriminator": {"channels": [3, 4], "hidden": []},
    "bottleneck": {"enabled": False},
    "objective": {"loss": "ebgan", "margin": 1.5, "repelling": 0.3},
}
BEGAN = NARROW | {"objective": {"loss": "began", "balance_ratio": 0.7, "balance_step": 0.05}}
# And the other way round.
EBGAN_BOTTLENECK = EBGAN | {
    "bottleneck": NARROW["bottleneck"] | {"channels": 2},
    "discriminator": NARROW["discriminator"],
}
BEGAN_PLAIN = BEGAN | {
    "bottleneck": {"enabled": False},
    "discriminator": NARROW["discriminator"] | {"hidden": []},
}
# Several updates of D in a step: beta moves after each, and each is clipped, as WGAN has it.
TWO_UPDATES = NARROW | {"objective": {"discriminator_steps": 2}}
THREE_UPDATES_WGAN = NARROW | {
    "bottleneck": {"enabled": False},
    "objective": WGAN["objective"] | {"discriminator_steps": 3},
    "optimizer": NARROW["optimizer"] | {"kind": "rmsprop"},
}
# A moving average of G that lags visibly, with running statistics.
AVERAGE = NARROW | {"generator": NARROW["generator"] | {"ema": 0.9}}
# Spectral norm with the bottleneck, whose two convolutions are two weights.
SPECTRAL_NORM = {
    "generator": {"latent": 4, "hidden": [5], "channels": [4, 3]},
    "discriminator": {"channels": [3, 4], "hidden": [6], "spectral_norm": True},
    "bottleneck": {"channels": 2, "beta": 0.05, "beta_step": 0.01},
    "train": {"batch": 5},
}
# The same under WGAN-GP's penalty, which sees the weights that the loss saw.
SPECTRAL_GP = PENALISED | {
    "discriminator": PENALISED["discriminator"] | {"spectral_norm": True},
    "objective": {"penalty": "wgan-gp"},
}
# Each update of D has a power iteration, a penalty and a place in the mean of its past parameters.
TWO_UPDATES_GP = SPECTRAL_GP | {
    "objective": {"penalty": "wgan-gp", "discriminator_steps": 2, "historical_averaging": 0.05},
}
# The generator matches features: mu of the bottleneck, and the output of a residual encoder without one.
MATCHING = NARROW | {"objective": {"feature_matching": 0.7}}
MATCHING_RESNET = RESNET | {"bottleneck": {"enabled": False}, "objective": {"loss": "hinge", "feature_matching": 1.0}}
# Instance noise: under a penalty, which is taken where D looks, and falling to nothing within the trajectory.
INSTANCE_NOISE = NARROW | {"objective": {"instance_noise": 0.4, "instance_noise_steps": 6}}
INSTANCE_NOISE_GP = PENALISED | {"objective": {"penalty": "wgan-gp", "instance_noise": 0.3}}
INSTANCE_NOISE_MATCHING = NARROW | {"objective": {"instance_noise": 0.2, "feature_matching": 0.7}}
# Preset vgan-cifar10: G without linear layers from its first image on, tanh; 4 convolutions, down to 1x1. KL and its mix are the article's.
CIFAR10 = {
    "data": {"range": "-1..1"},
    "generator": {"latent": 6, "hidden": [], "channels": [6, 5, 4, 3], "output": "stride1"},
    "discriminator": {"channels": [3, 4, 5, 6], "hidden": [7]},
    "bottleneck": {"beta": 0.01, "beta_step": 0.001},
    "train": {"batch": 6},
}
# Minibatch discrimination behind batch norm and a leaky ReLU, and as one more weight under spectral norm.
MINIBATCH = NARROW | {"discriminator": NARROW["discriminator"] | {"minibatch_kernels": 4, "minibatch_dims": 3}}
MINIBATCH_SPECTRAL = SPECTRAL_NORM | {
    "discriminator": SPECTRAL_NORM["discriminator"] | {"minibatch_kernels": 3, "minibatch_dims": 2, "norm": "none"},
    "bottleneck": {"enabled": False},
    "objective": {"loss": "hinge"},
}
MATCHING_SPECTRAL = MINIBATCH | {
    "discriminator": MINIBATCH["discriminator"] | {"spectral_norm": True},
    "objective": {"feature_matching": 1.5},
}
# Mode regularisation: its encoder beside the article's nets, the residual ones, BEGAN's, whose k it leaves alone, and a
# spectrally normalised discriminator.
MODE = {"reconstruction": 0.7, "mode": 0.4}
MRGAN = NARROW | {"objective": MODE | {"instance_noise": 0.3}}
MRGAN_RESNET = RESNET | {"objective": MODE | {"loss": "hinge"}}
MRGAN_BEGAN = BEGAN | {"objective": BEGAN["objective"] | MODE}
MRGAN_SPECTRAL = NARROW | {
    "discriminator": NARROW["discriminator"] | {"spectral_norm": True},
    "objective": MODE | {"loss": "lsgan"},
}
CASES = {
    "step-vgan-mnist": ((1, 12, 8), VGAN_MNIST, None),
    "step-paper": ((3, 8, 8), PAPER, None),
    "step-channels": ((3, 6, 10), CHANNELS, None),
    "step-gan-mnist": ((1, 8, 12), GAN_MNIST, None),
    "step-logvar-bias": ((1, 8, 8), LOGVAR_BIAS, None),
    "trajectory-vgan-mnist": ((1, 12, 8), VGAN_MNIST, 10),
    "trajectory-paper": ((3, 8, 8), PAPER, 10),
    "trajectory-gan-mnist": ((1, 8, 12), GAN_MNIST, 10),
    "step-resnet": ((3, 16, 8), RESNET, None),
    "trajectory-resnet": ((3, 8, 8), RESNET, 10),
    "step-r1": ((1, 8, 12), R1, None),
    "step-r2": ((3, 8, 8), R2, None),
    "step-wgan-gp": ((1, 12, 8), WGAN_GP, None),
    "step-dragan": ((3, 8, 8), DRAGAN, None),
    "step-plain-gp": ((1, 8, 8), PLAIN_GP, None),
    "step-resnet-gp": ((3, 8, 8), RESNET_GP, None),
    "trajectory-r1": ((1, 8, 12), R1, 10),
    "trajectory-wgan-gp": ((1, 12, 8), WGAN_GP, 10),
    "trajectory-dragan": ((3, 8, 8), DRAGAN, 10),
    "step-minimax": ((1, 8, 8), MINIMAX, None),
    "step-smoothed": ((1, 8, 8), SMOOTHED, None),
    "step-lsgan": ((1, 8, 8), LSGAN, None),
    "step-hinge": ((1, 8, 8), HINGE, None),
    "step-wgan": ((1, 8, 8), WGAN, None),
    "trajectory-lsgan": ((1, 8, 8), LSGAN, 10),
    "trajectory-hinge": ((1, 8, 8), HINGE, 10),
    "trajectory-wgan": ((1, 8, 8), WGAN, 10),
    "step-ebgan": ((3, 8, 4), EBGAN, None),
    "step-began": ((1, 8, 8), BEGAN, None),
    "trajectory-began": ((1, 8, 8), BEGAN, 10),
    "step-spectral-norm": ((3, 8, 8), SPECTRAL_NORM, None),
    "step-spectral-gp": ((1, 8, 12), SPECTRAL_GP, None),
    "trajectory-spectral-norm": ((1, 8, 12), SPECTRAL_NORM, 10),
    "step-feature-matching": ((3, 8, 4), MATCHING, None),
    "step-feature-matching-resnet": ((3, 8, 8), MATCHING_RESNET, None),
    "trajectory-feature-matching": ((1, 8, 8), MATCHING, 10),
    "step-instance-noise": ((3, 8, 4), INSTANCE_NOISE, None),
    "step-instance-noise-gp": ((1, 8, 8), INSTANCE_NOISE_GP, None),
    "step-instance-noise-matching": ((1, 8, 8), INSTANCE_NOISE_MATCHING, None),
    "trajectory-instance-noise": ((1, 8, 8), INSTANCE_NOISE, 10),
    "step-vgan-cifar10": ((3, 16, 16), CIFAR10, None),
    "trajectory-vgan-cifar10": ((3, 16, 16), CIFAR10, 10),
    "trajectory-logvar-bias": ((1, 8, 8), LOGVAR_BIAS, 10),
    "trajectory-resnet-gp": ((3, 8, 8), RESNET_GP, 10),
    "trajectory-r2": ((3, 8, 8), R2, 10),
    "trajectory-minimax": ((1, 8, 8), MINIMAX, 10),
    "trajectory-smoothed": ((1, 8, 8), SMOOTHED, 10),
    "trajectory-ebgan": ((3, 8, 4), EBGAN, 10),
    "step-minibatch": ((3, 8, 4), MINIBATCH, None),
    "step-minibatch-spectral": ((1, 8, 8), MINIBATCH_SPECTRAL, None),
    "trajectory-minibatch": ((1, 8, 8), MINIBATCH, 10),
    "step-feature-matching-spectral": ((1, 8, 8), MATCHING_SPECTRAL, None),
    "step-mrgan": ((1, 8, 8), MRGAN, None),
    "step-mrgan-resnet": ((3, 8, 8), MRGAN_RESNET, None),
    "step-mrgan-began": ((1, 8, 8), MRGAN_BEGAN, None),
    "trajectory-mrgan": ((1, 8, 8), MRGAN_SPECTRAL, 10),
    "step-wgan-gp-resnet": ((3, 8, 8), WGAN_GP_RESNET, None),
    "trajectory-wgan-gp-resnet": ((3, 8, 8), WGAN_GP_RESNET, 10),
    "trajectory-spectral-gp": ((1, 8, 12), SPECTRAL_GP, 10),
    "step-ebgan-bottleneck": ((3, 8, 4), EBGAN_BOTTLENECK, None),
    "step-began-plain": ((1, 8, 8), BEGAN_PLAIN, None),
    "trajectory-two-updates": ((1, 8, 8), TWO_UPDATES, 10),
    "trajectory-three-updates-wgan": ((1, 8, 8), THREE_UPDATES_WGAN, 10),
    "trajectory-average": ((1, 8, 8), AVERAGE, 10),
    "step-two-updates-gp": ((1, 8, 8), TWO_UPDATES_GP, None),
    "step-logstd": ((1, 8, 8), LOGSTD, None),
    "step-logstd-gp": ((3, 8, 8), LOGSTD_GP, None),
}

# The seed of each case. That of trajectory-hinge keeps every activation further from its kink than f32 rounds.
SEEDS = {
    "step-vgan-mnist": 1000,
    "step-paper": 1001,
    "step-channels": 1002,
    "step-gan-mnist": 1003,
    "step-logvar-bias": 1004,
    "trajectory-vgan-mnist": 1005,
    "trajectory-paper": 1006,
    "trajectory-gan-mnist": 1007,
    "step-resnet": 1008,
    "trajectory-resnet": 1009,
    "step-r1": 1008,
    "step-r2": 1009,
    "step-wgan-gp": 1010,
    "step-dragan": 1011,
    "step-plain-gp": 1012,
    "step-resnet-gp": 1016,
    "trajectory-r1": 1013,
    "trajectory-wgan-gp": 1014,
    "trajectory-dragan": 1015,
    "step-minimax": 1008,
    "step-smoothed": 1009,
    "step-lsgan": 1010,
    "step-hinge": 1011,
    "step-wgan": 1012,
    "trajectory-lsgan": 1013,
    "trajectory-hinge": 2014,
    "trajectory-wgan": 1015,
    "step-ebgan": 1026,
    "step-began": 1027,
    "trajectory-began": 1028,
    "step-spectral-norm": 1026,
    "step-spectral-gp": 1027,
    "trajectory-spectral-norm": 1028,
    "step-feature-matching": 1029,
    "step-feature-matching-resnet": 1030,
    "trajectory-feature-matching": 1031,
    "step-instance-noise": 1050,
    "step-instance-noise-gp": 1051,
    "step-instance-noise-matching": 1052,
    "trajectory-instance-noise": 1053,
    "step-vgan-cifar10": 1040,
    "trajectory-vgan-cifar10": 1041,
    "trajectory-logvar-bias": 1042,
    "trajectory-resnet-gp": 1043,
    "trajectory-r2": 1044,
    "trajectory-minimax": 1045,
    "trajectory-smoothed": 1046,
    "trajectory-ebgan": 1047,
    "step-minibatch": 1032,
    "step-minibatch-spectral": 1033,
    "trajectory-minibatch": 1034,
    "step-feature-matching-spectral": 1035,
    "step-mrgan": 1030,
    "step-mrgan-resnet": 1031,
    "step-mrgan-began": 1032,
    "trajectory-mrgan": 1033,
    "step-wgan-gp-resnet": 1060,
    "trajectory-wgan-gp-resnet": 1061,
    "trajectory-spectral-gp": 1062,
    "step-ebgan-bottleneck": 1063,
    "step-began-plain": 1064,
    "trajectory-two-updates": 1065,
    "trajectory-three-updates-wgan": 1066,
    "trajectory-average": 1067,
    "step-two-updates-gp": 1074,
    "step-logstd": 1080,
    "step-logstd-gp": 1081,
}

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
]


def model_files():
    """Yield (file stem, dtype, tensors, metadata) of every model fixture; both dtypes start from the same values."""
    for name, (image, changes, steps) in CASES.items():
        settings = settings_module.with_defaults(changes)
        inputs = random_inputs(settings, image, seed=SEEDS[name], steps=steps)
        text = settings_module.to_toml(settings)
        for dtype, short in SHORT.items():
            given = {key: value.to(dtype) for key, value in inputs.items()}
            out, loose = run_step(settings, given) if steps is None else run_trajectory(settings, given, steps)
            metadata = {"settings": text}
            if steps is not None:
                metadata["steps"] = str(steps)
            yield f"{name}.{short}.in", dtype, given, metadata
            yield f"{name}.{short}.out", dtype, out, metadata | {"loose": json.dumps(loose)}


def operator_file():
    """(file stem, dtype, tensors, metadata) of the operator fixture: forward values and every gradient, f64."""
    random = torch.Generator().manual_seed(7)

    def draw(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=random)

    tensors, cases = {}, []
    for index, (kind, kernel, stride, padding, inputs, outputs, count, height, width) in enumerate(OPERATORS):
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
    return "operators.f64", torch.float64, tensors, {"cases": json.dumps(cases)}


def check(stem, dtype, tensors, metadata):
    """Whether the committed file holds these tensors and this metadata, within the check's tolerance."""
    path = FOLDER / f"{stem}.safetensors"
    if not path.exists():
        print(f"{stem}: missing")
        return False
    committed, committed_metadata = exchange.load(path)
    loose = json.loads(committed_metadata.get("loose", "{}"))
    rows = exchange.compare(tensors, committed, CHECK_TOLERANCE[dtype], loose)
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

    files = [*model_files(), operator_file()]
    if arguments.only:
        files = [file for file in files if file[0].partition(".")[0] in arguments.only]
    if arguments.check:
        good = [check(*file) for file in files]
        print(f"{sum(good)} of {len(files)} files agree")
        sys.exit(not all(good))
    FOLDER.mkdir(exist_ok=True)
    # A file that agrees is left as it is, so that a new setting or another machine does not rewrite them all.
    for stem, dtype, tensors, metadata in files:
        if not check(stem, dtype, tensors, metadata):
            exchange.save(FOLDER / f"{stem}.safetensors", tensors, metadata)
    size = sum(path.stat().st_size for path in FOLDER.glob("*.safetensors"))
    print(f"{len(files)} files, {size / 1e6:.2f} MB in {FOLDER.name}/")


if __name__ == "__main__":
    main()
