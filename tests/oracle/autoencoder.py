"""The discriminator's decoder, and the losses of energies (EBGAN, Zhao et al. 2017; BEGAN, Berthelot et al. 2017)."""

from torch import nn
from torch.nn.functional import normalize, relu

# The power of the difference between an image and its reconstruction.
EXPONENTS = {"ebgan": 2, "began": 1}


def decoder(settings, image, last, code):
    """The parts of a decoder, code -> image: linear layers of the `hidden` widths and back to the encoder's last image, if
    there are any; a transposed convolution for each of the encoder's convolutions, the other way around; and the shape
    (c, h, w) of the image in between.
    """
    discriminator = settings["discriminator"]
    leak, normalised = discriminator["leak"], discriminator["norm"] == "batch"
    hidden, widths = discriminator["hidden"], discriminator["channels"]

    def activated(layer, norm, outputs):
        return [layer, norm(outputs), nn.LeakyReLU(leak)] if normalised else [layer, nn.LeakyReLU(leak)]

    features = [volume(code), *hidden, volume(last)] if hidden else []
    fc = []
    for inputs, outputs in zip(features, features[1:]):
        fc += activated(nn.Linear(inputs, outputs), nn.BatchNorm1d, outputs)
    first = last if hidden else code

    channels = [first[0], *reversed(widths[:-1]), image[0]]
    deconv = []
    for inputs, outputs in zip(channels[:-2], channels[1:-1]):
        deconv += activated(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d, outputs)
    deconv.append(nn.ConvTranspose2d(channels[-2], channels[-1], 4, 2, 1))
    deconv.append(nn.Sigmoid() if settings["data"]["range"] == "0..1" else nn.Tanh())
    return nn.Sequential(*fc), nn.Sequential(*deconv), first


def volume(shape):
    channels, height, width = shape
    return channels * height * width


def energies(images, reconstructions, exponent):
    """The mean of |reconstruction - image|^exponent over each image's channels and pixels."""
    return ((reconstructions - images).abs() ** exponent).flatten(1).mean(dim=1)


def repelling(codes):
    """EBGAN's pulling-away term: the mean of the squared cosine over all pairs of different images."""
    units = normalize(codes.flatten(1), eps=0.0)
    squares, count = (units @ units.T) ** 2, len(codes)
    return (squares.sum() - squares.diagonal().sum()) / (count * (count - 1))


def discriminator_loss(objective, balance, real, fake):
    """What real and fake images cost the discriminator, by their energies; `balance` is BEGAN's k."""
    if objective["loss"] == "ebgan":
        return real.mean() + relu(objective["margin"] - fake).mean()
    return real.mean() - balance * fake.mean()


def generator_loss(objective, codes, fake):
    """What the generator pays for its images, by their energies and codes."""
    loss = fake.mean()
    return loss + objective["repelling"] * repelling(codes) if objective["repelling"] else loss


def balanced(objective, balance, real, fake):
    """BEGAN's k after its step and the measure of convergence, from mean energies of real and of the generator's images."""
    surplus = objective["balance_ratio"] * real - fake
    return min(1.0, max(0.0, balance + objective["balance_step"] * surplus.item())), real + abs(surplus)
