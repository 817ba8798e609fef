"""Both nets in PyTorch, generic over the settings (see settings.py): the article's here, the paper's in resnet.py.

The state-dict keys are those of the article's notebook, because nn.Sequential counts activations too: `fc.0.weight`,
`deconv.3.weight`, `conv.0.weight`, `conv_mean.weight`, ... One difference from the notebook is deliberate: the last
sigmoid of the discriminator is part of the loss (binary cross-entropy with logits), which is the same function.
"""

import torch
from torch import nn
from torch.nn.utils import spectral_norm

import autoencoder
import conditional
import mode_regularizer
import resnet
from settings import SIGMA_RATES


def nets(settings, image):
    """The nets of the family that the settings name, an encoder of mode regularisation last, if there is one."""
    residual = settings["nets"]["family"] == "resnet"
    generator, discriminator = (resnet.Generator, resnet.Discriminator) if residual else (Generator, Discriminator)
    both = {"generator": generator(settings, image), "discriminator": discriminator(settings, image)}
    if settings["discriminator"]["spectral_norm"]:
        normalise_spectrally(both["discriminator"])
    if mode_regularizer.has_encoder(settings):
        convolutions = resnet.convolutions if residual else discriminator_convolutions
        both["encoder"] = mode_regularizer.Encoder(settings, *convolutions(settings, image))
    return both


class Generator(nn.Module):
    """Latent [N, latent] -> image [N, C, H, W]: linear layers, then transposed convolutions, all batch-normalised."""

    def __init__(self, settings, image):
        super().__init__()
        generator = settings["generator"]
        channels, height, width = image
        widths = generator["channels"]
        stride2 = generator["output"] == "stride2"
        shrink = 2 ** (len(widths) - 1 + stride2)
        if height % shrink or width % shrink:
            raise SystemExit(f"the generator doubles its images to a multiple of {shrink}, found {height}x{width}")
        self.first = (widths[0], height // shrink, width // shrink)

        self.class_embedding, inputs = conditional.in_generator(settings)
        features = [inputs, *generator["hidden"], self.first[0] * self.first[1] * self.first[2]]
        fc = []
        for inputs, outputs in zip(features, features[1:]):
            fc += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.fc = nn.Sequential(*fc)

        deconv = []
        for inputs, outputs in zip(widths, widths[1:]):
            deconv += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
        kernel, stride = (4, 2) if stride2 else (3, 1)
        deconv.append(nn.ConvTranspose2d(widths[-1], channels, kernel, stride, 1))
        deconv.append(nn.Sigmoid() if settings["data"]["range"] == "0..1" else nn.Tanh())
        self.deconv = nn.Sequential(*deconv)

    def forward(self, latents, classes=None):
        if self.class_embedding is not None:
            latents = self.class_embedding(latents, classes)
        return self.deconv(self.fc(latents).view(-1, *self.first))


def discriminator_convolutions(settings, image):
    """The convolutions of a discriminator, {name: module} in their order, and the shape (c, h, w) of what they make."""
    discriminator = settings["discriminator"]
    leak, normalised = discriminator["leak"], discriminator["norm"] == "batch"
    channels, height, width = image
    conv = []
    for index, outputs in enumerate(discriminator["channels"]):
        conv.append(nn.Conv2d(channels, outputs, 4, 2, 1))
        if normalised and (index > 0 or discriminator["norm_first"]):
            conv.append(nn.BatchNorm2d(outputs))
        conv.append(nn.LeakyReLU(leak))
        channels, height, width = outputs, height // 2, width // 2
    return {"conv": nn.Sequential(*conv)}, (channels, height, width)


class Discriminator(nn.Module):
    """Image [N, C, H, W] -> logit [N], or energy [N], through the variational bottleneck where that is enabled."""

    def __init__(self, settings, image):
        super().__init__()
        discriminator, bottleneck = settings["discriminator"], settings["bottleneck"]
        leak, normalised = discriminator["leak"], discriminator["norm"] == "batch"
        modules, last = discriminator_convolutions(settings, image)
        self.conv = modules["conv"]
        channels, height, width = last

        self.bottleneck = bottleneck["enabled"]
        self.rate = SIGMA_RATES[bottleneck["sigma"]]
        if self.bottleneck:
            inputs, channels = channels, bottleneck["channels"] or channels
            self.conv_mean = nn.Conv2d(inputs, channels, 1)
            self.conv_logvar = nn.Conv2d(inputs, channels, 1)
        self.code = (channels, height, width)
        self.exponent = autoencoder.EXPONENTS.get(settings["objective"]["loss"])
        if self.exponent:
            self.fc, self.deconv, self.first = autoencoder.decoder(settings, image, last, self.code)
            return

        self.class_embedding, wider = conditional.in_head(settings)
        self.beside = wider > 0
        features = channels * height * width + wider
        fc = []
        for outputs in discriminator["hidden"]:
            fc.append(nn.Linear(features, outputs))
            if normalised:
                fc.append(nn.BatchNorm1d(outputs))
            fc.append(nn.LeakyReLU(leak))
            features = outputs
        kernels = discriminator["minibatch_kernels"]
        self.minibatch = Minibatch(features, kernels, discriminator["minibatch_dims"]) if kernels else nn.Identity()
        embedding, logits = conditional.in_logit(settings, features + kernels)
        self.fc = nn.Sequential(*fc, nn.Linear(features + kernels, logits))
        self.projects = embedding is not None
        if self.projects:
            self.class_embedding = embedding

    def encode(self, images):
        """The features: mu, with {mu, logvar}, or the encoder's output without a bottleneck."""
        x = self.conv(images)
        if not self.bottleneck:
            return x, {}
        mu = self.conv_mean(x)
        return mu, {"mu": mu, "logvar": self.conv_logvar(x)}

    def forward(self, images, noise=None, classes=None):
        """`noise` is the bottleneck's epsilon, shaped as the code; without it z is the mean.

        Returns the logits and {mu, logvar, z}, the latter empty without a bottleneck.
        """
        x, code = self.encode(images)
        if self.bottleneck and noise is not None:
            x = x + (self.rate * code["logvar"]).exp() * noise
        if self.bottleneck:
            code["z"] = x
        self.codes = x
        if self.exponent:
            made = self.deconv(self.fc(x.flatten(1)).view(-1, *self.first))
            return autoencoder.energies(images, made, self.exponent), code
        if not self.beside:
            x = x.flatten(1)
        else:
            # Position by position, as the engine lays the code out, where the class comes behind it.
            x = self.class_embedding(x.permute(0, 2, 3, 1).flatten(1), classes)
        x = self.minibatch(self.fc[:-1](x))
        embedding = self.class_embedding if self.projects else None
        return conditional.logit(x, self.fc[-1](x), embedding, classes), code


class Minibatch(nn.Module):
    """Minibatch discrimination (Salimans et al. 2016, section 3.2): [N, A] -> [N, A + B], every pair written out."""

    def __init__(self, features, kernels, dims):
        super().__init__()
        self.shape = (kernels, dims)
        self.weight = nn.Parameter(torch.empty(kernels * dims, features))

    def forward(self, x):
        m = (x @ self.weight.T).view(-1, *self.shape)
        distances = (m.unsqueeze(0) - m.unsqueeze(1)).abs().sum(dim=3)
        return torch.cat([x, (-distances).exp().sum(dim=1)], dim=1)


def normalise_spectrally(net):
    """Divides every weight of a discriminator by its largest singular value, as its power iterations find it."""
    for module in list(net.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding, Minibatch)):
            spectral_norm(module)


def power_iterations(net, on):
    """Whether spectral norm makes a power iteration at each call, as it does in training, or keeps its u and v."""
    for module in net.modules():
        if hasattr(module, "weight_orig"):
            module.train(on)


def iterate_powers(net):
    """Makes the power iteration of spectral norm on every weight, also of layers that no pass of the step reaches."""
    for module in net.modules():
        for normalise in module._forward_pre_hooks.values():
            normalise(module, None)


def kl_divergence(mu, logvar, bottleneck):
    """KL(N(mu, sigma^2) || N(0, 1)) of [N, C, H, W], reduced over one image as asked, then averaged over the batch."""
    reduction, logvar = bottleneck["kl_reduction"], 2 * SIGMA_RATES[bottleneck["sigma"]] * logvar
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp())
    if reduction == "mean":
        return kl.mean()
    if reduction == "sum":
        return kl.sum(dim=(1, 2, 3)).mean()
    if reduction == "channels":
        return kl.sum(dim=1).mean()
    raise SystemExit(f"unknown bottleneck.kl_reduction {reduction!r}")


def initialise(net, settings, generator):
    """Random weights that make every activation and the KL of order one, so that no check rests on tiny numbers.

    The training init (weights N(0, 0.02), biases 0) would leave the KL near zero and biases without a scale.
    """
    for name, tensor in net.state_dict().items():
        draw = torch.randn(tensor.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            continue
        if tensor.dim() > 1:
            # A transposed convolution has its inputs first; with stride 2 a quarter of 16 taps meets each output.
            fan = tensor.shape[0] * 4 if name.startswith("deconv") else tensor[0].numel()
            tensor.copy_(draw * (1.5 / fan) ** 0.5)
        elif name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        else:
            tensor.copy_(0.1 * draw)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.weight.data += 1
    if getattr(net, "bottleneck", False):
        net.conv_logvar.bias.data += settings["bottleneck"]["logvar_bias"]


def vanishing_biases(net):
    """{bias: running mean of the batch norm behind it} for the biases whose gradient is zero.

    A batch norm takes a bias out again, so in exact arithmetic the gradient of a bias right before it is zero. The
    bias of conv_mean meets the first batch norm of the head through a linear layer alone: only the KL reaches it.
    """
    found = {}
    for part, sequence in net.named_children():
        if not isinstance(sequence, nn.Sequential):
            continue
        for index, (layer, follower) in enumerate(zip(sequence, list(sequence)[1:])):
            if hasattr(layer, "bias") and isinstance(follower, (nn.BatchNorm1d, nn.BatchNorm2d)):
                if not isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                    found[f"{part}.{index}.bias"] = f"{part}.{index + 1}.running_mean"
    followed = isinstance(net.fc, nn.Sequential) and len(net.fc) > 1 and isinstance(net.fc[1], nn.BatchNorm1d)
    if getattr(net, "bottleneck", False) and followed:
        found["conv_mean.bias"] = "fc.1.running_mean"
    return found
