"""The paper's residual generator and discriminator in PyTorch, generic over the settings (see settings.py).

The state-dict keys are those of the paper's official code (gan_training/models/resnet.py of akanazawa/vgan): `fc`,
`resnet.<i>.conv_0`, `.conv_1`, `.conv_s`, `conv_img`; but `conv_mean` and `conv_logvar`, as in model.py, for its `mean_fn`
and `logstd_fn`, whether the second one makes log sigma^2 or, as in that code, log sigma (`bottleneck.sigma`); and the class
embedding is `class_embedding`, where there is one (conditional.py).
"""

from torch import nn
from torch.nn.functional import leaky_relu

import conditional
from settings import SIGMA_RATES

SMALLEST = 4
SCALE = 0.1


def halvings(height, width):
    """How often an image is halved until its shorter side is about 4."""
    count, side = 0, min(height, width)
    while side >= 2 * SMALLEST:
        count, side = count + 1, side // 2
    if height % 2**count or width % 2**count:
        raise SystemExit(f"the residual nets need sides that can be halved {count} times, found {height}x{width}")
    return count


def widths(net, count):
    """Channels at each resolution, the image's first."""
    return [min(net["width"] * 2**i, net["max_width"]) for i in range(count + 1)]


class Block(nn.Module):
    """shortcut(x) + 0.1 conv_1(f(conv_0(f(x)))), f the leaky ReLU."""

    def __init__(self, inputs, outputs, leak):
        super().__init__()
        self.leak = leak
        hidden = min(inputs, outputs)
        self.conv_0 = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.conv_1 = nn.Conv2d(hidden, outputs, 3, padding=1)
        self.conv_s = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, x):
        shortcut = x if self.conv_s is None else self.conv_s(x)
        return shortcut + SCALE * self.conv_1(leaky_relu(self.conv_0(leaky_relu(x, self.leak)), self.leak))


class Generator(nn.Module):
    """Latent [N, latent] -> image [N, C, H, W]."""

    LEAK = 0.2

    def __init__(self, settings, image):
        super().__init__()
        channels, height, width = image
        count = halvings(height, width)
        sizes = widths(settings["generator"], count)
        self.first = (sizes[-1], height >> count, width >> count)
        self.class_embedding, inputs = conditional.in_generator(settings)
        self.fc = nn.Linear(inputs, self.first[0] * self.first[1] * self.first[2])
        blocks = []
        for wide, narrow in zip(sizes[:0:-1], sizes[-2::-1]):
            blocks += [Block(wide, narrow, self.LEAK), nn.Upsample(scale_factor=2)]
        self.resnet = nn.Sequential(*blocks, Block(sizes[0], sizes[0], self.LEAK))
        self.conv_img = nn.Conv2d(sizes[0], channels, 3, padding=1)
        self.last = nn.Sigmoid() if settings["data"]["range"] == "0..1" else nn.Tanh()

    def forward(self, latents, classes=None):
        if self.class_embedding is not None:
            latents = self.class_embedding(latents, classes)
        x = self.resnet(self.fc(latents).view(-1, *self.first))
        return self.last(self.conv_img(leaky_relu(x, self.LEAK)))


def convolutions(settings, image):
    """The convolutions of a discriminator, {name: module} in their order, and the shape (c, h, w) of what they make."""
    channels, height, width = image
    count, leak = halvings(height, width), settings["discriminator"]["leak"]
    sizes = widths(settings["discriminator"], count)
    blocks = [Block(sizes[0], sizes[0], leak)]
    for inputs, outputs in zip(sizes, sizes[1:]):
        blocks += [nn.AvgPool2d(3, stride=2, padding=1), Block(inputs, outputs, leak)]
    first = nn.Conv2d(channels, sizes[0], 3, padding=1)
    return {"conv_img": first, "resnet": nn.Sequential(*blocks)}, (sizes[-1], height >> count, width >> count)


class Discriminator(nn.Module):
    """Image [N, C, H, W] -> logit [N], through the variational bottleneck where that is enabled."""

    def __init__(self, settings, image):
        super().__init__()
        bottleneck, self.leak = settings["bottleneck"], settings["discriminator"]["leak"]
        modules, (channels, height, width) = convolutions(settings, image)
        self.conv_img, self.resnet = modules["conv_img"], modules["resnet"]
        self.bottleneck = bottleneck["enabled"]
        self.rate = SIGMA_RATES[bottleneck["sigma"]]
        if self.bottleneck:
            inputs, channels = channels, bottleneck["channels"] or channels
            self.conv_mean = nn.Conv2d(inputs, channels, 1)
            self.conv_logvar = nn.Conv2d(inputs, channels, 1)
        self.code = (channels, height, width)
        self.class_embedding, logits = conditional.in_logit(settings, channels * height * width)
        self.fc = nn.Linear(channels * height * width, logits)

    def encode(self, images):
        """The features: mu, with {mu, logvar}, or the encoder's output without a bottleneck."""
        x = self.resnet(self.conv_img(images))
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
        x = leaky_relu(x, self.leak).flatten(1)
        return conditional.logit(x, self.fc(x), self.class_embedding, classes), code
