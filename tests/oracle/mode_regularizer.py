"""Mode regularisation (MRGAN, Che et al. 2017): the encoder, images -> z, and its two terms of the generator's loss."""

from torch import nn
from torch.nn.functional import leaky_relu, mse_loss


def has_encoder(settings):
    objective = settings["objective"]
    return objective["reconstruction"] > 0 or objective["mode"] > 0


class Encoder(nn.Module):
    """Images [N, C, H, W] -> z [N, latent]: the convolutions of a discriminator, then one linear layer."""

    def __init__(self, settings, convolutions, last):
        super().__init__()
        self.parts = list(convolutions)
        for name, module in convolutions.items():
            self.add_module(name, module)
        # The convolutions of the residual nets end in a sum, with the activation yet to come.
        self.leak = settings["discriminator"]["leak"] if settings["nets"]["family"] == "resnet" else 1.0
        channels, height, width = last
        self.fc = nn.Linear(channels * height * width, settings["generator"]["latent"])

    def forward(self, images):
        x = images
        for part in self.parts:
            x = self.get_submodule(part)(x)
        return self.fc(leaky_relu(x, self.leak).flatten(1))


def terms(objective, images, classes, encoder, generator, cost):
    """What the generator's loss gains, the mean error alone, and the reconstructions; `cost` is that of a batch of images.
    `classes` are those of the images, or None.
    """
    reconstructions = generator(encoder(images), classes)
    error = mse_loss(reconstructions, images)
    loss = objective["reconstruction"] * error
    if objective["mode"] > 0:
        loss = loss + objective["mode"] * cost(reconstructions)
    return loss, error, reconstructions
