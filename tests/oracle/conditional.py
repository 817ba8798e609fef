"""The class in conditional nets: its embedding beside features, and its part in the logit. `nets.conditional` says which.

Keys are `class_embedding.weight` in either net (not with `selection` in D), [classes, width].
"""

import torch
from torch import nn


def is_conditional(settings):
    return settings["nets"]["conditional"] != "none"


class Beside(nn.Embedding):
    """Features [N, A] -> the same and the embedding of the class, divided by its length: [N, A + width]."""

    def __init__(self, settings):
        super().__init__(settings["nets"]["classes"], settings["nets"]["class_embedding"])

    def forward(self, features, classes):
        embedded = super().forward(classes)
        return torch.cat([features, embedded / torch.norm(embedded, p=2, dim=1, keepdim=True)], dim=1)


def in_generator(settings):
    """The embedding beside z, or None; and the width of what the first linear layer is given."""
    latent = settings["generator"]["latent"]
    if not is_conditional(settings):
        return None, latent
    return Beside(settings), latent + settings["nets"]["class_embedding"]


def in_head(settings):
    """The embedding beside the code, or None; and how much wider the code is by it."""
    if settings["nets"]["conditional"] != "concatenation":
        return None, 0
    return Beside(settings), settings["nets"]["class_embedding"]


def in_logit(settings, features):
    """What D's last features meet, or None; and the number of logits of the last linear layer."""
    classes = settings["nets"]["classes"]
    match settings["nets"]["conditional"]:
        case "projection":
            return nn.Embedding(classes, features), 1
        case "selection":
            return None, classes
    return None, 1


def logit(features, made, embedding, classes):
    """[N] from what the last linear layer made of the features: `made` [N, 1], or [N, classes]."""
    if embedding is not None:
        return made.flatten() + (embedding(classes) * features).sum(dim=1)
    if classes is None or made.shape[1] == 1:
        return made.flatten()
    return made[torch.arange(len(made)), classes]
