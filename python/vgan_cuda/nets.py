"""The networks by their settings: those of a run's config.toml and of its checkpoints, as {section: {name: value}}.

Names in the state_dict are those of the files. `nn.Sequential` counts activations, so that layers have the numbers 0, 3, 6, …
"""

import torch
from torch import nn
from torch.nn.functional import leaky_relu
from torch.nn.utils import spectral_norm


def build(settings, image):
    """Generator and discriminator for images of (channels, height, width), with random weights."""
    residual = settings["nets"]["family"] == "resnet"
    generator = (ResidualGenerator if residual else Generator)(settings, image)
    discriminator = Discriminator(settings, image)
    if settings["discriminator"]["spectral_norm"]:
        for module in list(discriminator.modules()):
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d, nn.Embedding, Minibatch)):
                spectral_norm(module)
    return generator, discriminator


def last_activation(settings):
    return nn.Sigmoid() if settings["data"]["range"] == "0..1" else nn.Tanh()


def linear_layers(widths, activation, normalised):
    """Linear layers between these widths, each with normalisation, if there is any, and activation."""
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), *[nn.BatchNorm1d(outputs)] * normalised, activation]
    return layers


class ClassBeside(nn.Embedding):
    """Features [N, A] -> the same and the embedding of the class, divided by its length: [N, A + width]."""

    def __init__(self, settings):
        super().__init__(settings["nets"]["classes"], settings["nets"]["class_embedding"])

    def forward(self, features, classes):
        embedded = super().forward(classes)
        return torch.cat([features, embedded / embedded.norm(dim=1, keepdim=True)], dim=1)


def conditional(settings):
    """How the nets are told the class of an image; `none` in checkpoints that are older than the setting."""
    return settings["nets"].get("conditional", "none")


def latents_and_class(settings):
    """The embedding beside z, or None, and the width of what the first linear layer is given."""
    latent = settings["generator"]["latent"]
    if conditional(settings) == "none":
        return None, latent
    return ClassBeside(settings), latent + settings["nets"]["class_embedding"]


class Generator(nn.Module):
    """Latent [N, z] -> image [N, C, H, W]: linear layers, then transposed convolutions that double the image (DCGAN)."""

    def __init__(self, settings, image):
        super().__init__()
        channels, height, width = image
        widths, doubles = settings["generator"]["channels"], settings["generator"]["output"] == "stride2"
        factor = 2 ** (len(widths) - 1 + doubles)
        self.first = (widths[0], height // factor, width // factor)
        self.class_embedding, inputs = latents_and_class(settings)
        features = [inputs, *settings["generator"]["hidden"], volume(self.first)]
        self.fc = nn.Sequential(*linear_layers(features, nn.ReLU(), True))
        layers = []
        for inputs, outputs in zip(widths, widths[1:]):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
        last = nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1) if doubles else nn.ConvTranspose2d(widths[-1], channels, 3, 1, 1)
        self.deconv = nn.Sequential(*layers, last, last_activation(settings))

    def forward(self, latents, classes=None):
        latents = latents if self.class_embedding is None else self.class_embedding(latents, classes)
        return self.deconv(self.fc(latents).view(-1, *self.first))


class ResidualGenerator(nn.Module):
    """Latent [N, z] -> image [N, C, H, W]: residual blocks and doublings from about 4x4 (the paper's)."""

    def __init__(self, settings, image):
        super().__init__()
        channels, height, width = image
        count = halvings(height, width)
        widths = widths_of(settings["generator"], count)
        self.first = (widths[-1], height >> count, width >> count)
        self.class_embedding, inputs = latents_and_class(settings)
        self.fc = nn.Linear(inputs, volume(self.first))
        blocks = []
        for inputs, outputs in zip(widths[:0:-1], widths[-2::-1]):
            blocks += [Block(inputs, outputs, 0.2), nn.Upsample(scale_factor=2)]
        self.resnet = nn.Sequential(*blocks, Block(widths[0], widths[0], 0.2))
        self.conv_img = nn.Conv2d(widths[0], channels, 3, padding=1)
        self.last = last_activation(settings)

    def forward(self, latents, classes=None):
        latents = latents if self.class_embedding is None else self.class_embedding(latents, classes)
        x = self.resnet(self.fc(latents).view(-1, *self.first))
        return self.last(self.conv_img(leaky_relu(x, 0.2)))


class Discriminator(nn.Module):
    """Image [N, C, H, W] -> logit [N], or energy [N]: encoder -> variational bottleneck, if there is one -> head or decoder.

    Returns the logits and {mu, logvar, z}; `logvar` is log sigma where `bottleneck.sigma` is `logstd`. Without `noise` z is mu.
    """

    def __init__(self, settings, image):
        super().__init__()
        discriminator, bottleneck = settings["discriminator"], settings["bottleneck"]
        self.leak, hidden = discriminator["leak"], discriminator["hidden"]
        self.residual = settings["nets"]["family"] == "resnet"
        normalised = discriminator["norm"] == "batch" and not self.residual
        last = self.residual_encoder(settings, image) if self.residual else self.encoder(settings, image)
        self.code = last
        self.bottleneck = bottleneck["enabled"]
        self.rate = {"logvar": 0.5, "logstd": 1.0}[bottleneck["sigma"]]
        if self.bottleneck:
            self.code = (bottleneck["channels"] or last[0], *last[1:])
            self.conv_mean = nn.Conv2d(last[0], self.code[0], 1)
            self.conv_logvar = nn.Conv2d(last[0], self.code[0], 1)
        self.exponent = {"ebgan": 2, "began": 1}.get(settings["objective"]["loss"])
        if self.exponent:
            self.decoder(settings, image, last)
            return
        kernels = discriminator["minibatch_kernels"]
        self.conditional = conditional(settings)
        beside = self.conditional == "concatenation"
        features = [volume(self.code) + (settings["nets"]["class_embedding"] if beside else 0), *hidden]
        logits = settings["nets"]["classes"] if self.conditional == "selection" else 1
        if beside:
            self.class_embedding = ClassBeside(settings)
        elif self.conditional == "projection":
            self.class_embedding = nn.Embedding(settings["nets"]["classes"], features[-1] + kernels)
        self.minibatch = Minibatch(features[-1], kernels, discriminator["minibatch_dims"]) if kernels else nn.Identity()
        if self.residual:
            self.fc = nn.Linear(features[0], logits)
        else:
            layers = linear_layers(features, nn.LeakyReLU(self.leak), normalised)
            self.fc = nn.Sequential(*layers, nn.Linear(features[-1] + kernels, logits))

    def encoder(self, settings, image):
        """Convolutions that halve the image; the shape of what they make."""
        discriminator, (channels, height, width) = settings["discriminator"], image
        layers = []
        for index, outputs in enumerate(discriminator["channels"]):
            layers.append(nn.Conv2d(channels, outputs, 4, 2, 1))
            if discriminator["norm"] == "batch" and (index > 0 or discriminator["norm_first"]):
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.LeakyReLU(self.leak))
            channels, height, width = outputs, height // 2, width // 2
        self.conv = nn.Sequential(*layers)
        return channels, height, width

    def residual_encoder(self, settings, image):
        channels, height, width = image
        count = halvings(height, width)
        widths = widths_of(settings["discriminator"], count)
        blocks = [Block(widths[0], widths[0], self.leak)]
        for inputs, outputs in zip(widths, widths[1:]):
            blocks += [nn.AvgPool2d(3, stride=2, padding=1), Block(inputs, outputs, self.leak)]
        self.conv_img, self.resnet = nn.Conv2d(channels, widths[0], 3, padding=1), nn.Sequential(*blocks)
        return widths[-1], height >> count, width >> count

    def decoder(self, settings, image, last):
        """The way back to an image, for the losses of energies."""
        discriminator = settings["discriminator"]
        hidden, widths = discriminator["hidden"], discriminator["channels"]
        normalised, activation = discriminator["norm"] == "batch", nn.LeakyReLU(self.leak)
        features = [volume(self.code), *hidden, volume(last)] if hidden else []
        self.fc = nn.Sequential(*linear_layers(features, activation, normalised))
        self.first = last if hidden else self.code
        channels, layers = [self.first[0], *reversed(widths[:-1])], []
        for inputs, outputs in zip(channels, channels[1:]):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), *[nn.BatchNorm2d(outputs)] * normalised, activation]
        self.deconv = nn.Sequential(*layers, nn.ConvTranspose2d(channels[-1], image[0], 4, 2, 1), last_activation(settings))

    def forward(self, images, noise=None, classes=None):
        x, code = (self.resnet(self.conv_img(images)) if self.residual else self.conv(images)), {}
        if self.bottleneck:
            code = {"mu": self.conv_mean(x), "logvar": self.conv_logvar(x)}
            x = code["mu"]
            if noise is not None:
                x = x + (self.rate * code["logvar"]).exp() * noise
            code["z"] = x
        if self.exponent:
            made = self.deconv(self.fc(x.flatten(1)).view(-1, *self.first))
            return ((made - images).abs() ** self.exponent).flatten(1).mean(dim=1), code
        if self.residual:
            x = leaky_relu(x, self.leak).flatten(1)
            return self.logit(x, self.fc(x), classes), code
        if self.conditional == "concatenation":
            # Position by position, which is how vgan-cuda lays the code out.
            x = self.class_embedding(x.permute(0, 2, 3, 1).flatten(1), classes)
        x = self.minibatch(self.fc[:-1](x.flatten(1)))
        return self.logit(x, self.fc[-1](x), classes), code

    def logit(self, features, made, classes):
        """[N] from the last features and what the last linear layer made of them."""
        if self.conditional == "selection":
            return made[torch.arange(len(made)), classes]
        if self.conditional == "projection":
            return made.flatten() + (self.class_embedding(classes) * features).sum(dim=1)
        return made.flatten()


class Block(nn.Module):
    """shortcut(x) + 0.1 conv_1(f(conv_0(f(x)))), f the leaky ReLU."""

    def __init__(self, inputs, outputs, leak):
        super().__init__()
        self.leak, hidden = leak, min(inputs, outputs)
        self.conv_0 = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.conv_1 = nn.Conv2d(hidden, outputs, 3, padding=1)
        self.conv_s = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x):
        hidden = self.conv_0(leaky_relu(x, self.leak))
        return self.conv_s(x) + 0.1 * self.conv_1(leaky_relu(hidden, self.leak))


class Minibatch(nn.Module):
    """Minibatch discrimination (Salimans et al. 2016): [N, A] -> [N, A + B], how near the other images of the batch are."""

    def __init__(self, features, kernels, dims):
        super().__init__()
        self.shape = (kernels, dims)
        self.weight = nn.Parameter(torch.zeros(kernels * dims, features))

    def forward(self, x):
        m = (x @ self.weight.T).view(-1, *self.shape)
        distances = (m.unsqueeze(0) - m.unsqueeze(1)).abs().sum(dim=3)
        return torch.cat([x, (-distances).exp().sum(dim=1)], dim=1)


def volume(shape):
    channels, height, width = shape
    return channels * height * width


def halvings(height, width):
    """How often a residual net halves an image: until its shorter side is about 4."""
    count, side = 0, min(height, width)
    while side >= 8:
        count, side = count + 1, side // 2
    return count


def widths_of(net, count):
    """Channels of a residual net at each resolution, the image's first."""
    return [min(net["width"] * 2**i, net["max_width"]) for i in range(count + 1)]
