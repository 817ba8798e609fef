"""One training step, in the article's order, on given weights, images, latents and noise, with everything it computes recorded.

The names of the inputs and outputs are the exchange format of `vgan-cuda trace`; README.md has the table.
"""

import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss, relu

import augment
import autoencoder
import conditional
import mode_regularizer
from model import initialise, iterate_powers, kl_divergence, nets, power_iterations, vanishing_biases

# What a trajectory keeps of each step; of the last one the weights too.
TRAJECTORY = ("loss_d", "loss_g", "balance", "convergence", "penalty", "reconstruction", "kl_real", "kl_fake", "beta")
# Units of rounding that the gradient of a bias may be off by, of the sum of the magnitudes that it adds up.
BIAS_NOISE = 8


def random_inputs(settings, image, seed, steps=None):
    """The IN tensors of one step, or of a trajectory of `steps` steps, in f32; `image` is (C, H, W)."""
    random = torch.Generator().manual_seed(seed)
    tensors, code = {"beta": torch.tensor([settings["bottleneck"]["beta"]])}, None
    if settings["objective"]["loss"] == "began":
        tensors["balance"] = torch.tensor([0.3])
    for name, net in nets(settings, image).items():
        with torch.no_grad():
            initialise(net, settings, random)
        tensors |= {f"{name}.{key}": value for key, value in weights(net).items()}
        code = getattr(net, "code", code)
    prefixes = [""] if steps is None else [f"step{k}." for k in range(steps)]
    for prefix in prefixes:
        draws = random_batch(settings, image, code, random)
        tensors |= {prefix + key: value for key, value in draws.items()}
    return tensors


def random_batch(settings, image, code, random):
    """Images, latents and bottleneck noise of one step; `code` is the shape (c, h, w) of z."""
    count = settings["train"]["batch"]
    latent = (count, settings["generator"]["latent"])
    draw_latents = torch.rand if settings["generator"]["prior"] == "uniform" else torch.randn
    images = torch.rand((count, *image), generator=random)
    draws = {"images": images if settings["data"]["range"] == "0..1" else 2 * images - 1}
    draws["latents_d"] = draw_latents(latent, generator=random)
    draws["latents_g"] = draw_latents(latent, generator=random)
    if conditional.is_conditional(settings):
        for name in ("classes_real", "classes_d", "classes_g"):
            draws[name] = torch.randint(settings["nets"]["classes"], (count,), generator=random).float()
    if settings["bottleneck"]["enabled"]:
        names = ["noise_real", "noise_fake"]
        sampled, objective = settings["bottleneck"]["generator_z"] == "sampled", settings["objective"]
        if sampled and not objective["feature_matching"]:
            names.append("noise_g")
        if sampled and objective["mode"] > 0:
            names.append("noise_reconstruction")
        draws |= {name: torch.randn((count, *code), generator=random) for name in names}
    objective = settings["objective"]
    if objective["instance_noise"] > 0:
        names = ["instance_real", "instance_fake", "instance_g"]
        if objective["mode"] > 0:
            names.append("instance_reconstruction")
        draws |= {name: torch.randn((count, *image), generator=random) for name in names}
    if objective["augment"]:
        names = ["augment_real", "augment_fake", "augment_g"]
        if objective["mode"] > 0:
            names.append("augment_reconstruction")
        draws |= {name: torch.rand((count, augment.DRAWS), generator=random) for name in names}
    if objective["penalty"] in ("wgan-gp", "dragan"):
        draws["penalty_positions"] = torch.rand(count, generator=random)
        if objective["penalty"] == "dragan":
            draws["penalty_directions"] = torch.rand((count, *image), generator=random)
        if settings["bottleneck"]["enabled"] and objective["penalty_z"] == "sampled":
            draws["noise_penalty"] = torch.randn((count, *code), generator=random)
    return draws


def weights(net):
    """The weights and running statistics of a net, copied; without PyTorch's counter of batches."""
    state = net.state_dict()
    return {key: value.detach().clone() for key, value in state.items() if not key.endswith("num_batches_tracked")}


class Trainer:
    """The nets, their optimisers and beta, started from IN tensors; their dtype is the dtype of all arithmetic, but for what
    PyTorch's autocast computes in bf16 where that is asked for.
    """

    def __init__(self, settings, tensors, autocast=False):
        self.settings = settings
        images = next(value for key, value in tensors.items() if key.rpartition(".")[2] == "images")
        self.image = tuple(images.shape[1:])
        self.beta, self.balance = float(tensors["beta"]), float(tensors.get("balance", 0.0))
        optimizer = settings["optimizer"]
        self.nets, self.optimizers = nets(settings, self.image), {}
        # The parameters that each net began its updates with, for their mean.
        self.visited = {name: [] for name in self.nets}
        # What each gradient of a bias is a sum of: the largest sum of magnitudes over its channels, of any step.
        self.summed, self.largest_sums, self.watching = {}, {}, True
        self.steps = 0
        # The moving average of the generator's weights and statistics, where there is one: at first what they are given as.
        self.average = {}
        for name, net in self.nets.items():
            net.to(images.dtype).train()
            given = {key.removeprefix(name + "."): v for key, v in tensors.items() if key.startswith(name + ".")}
            missing = net.load_state_dict(given, strict=False)
            wrong = [key for key in missing.missing_keys if not key.endswith("num_batches_tracked")]
            if wrong or missing.unexpected_keys:
                raise SystemExit(f"{name}: missing {wrong}, unexpected {missing.unexpected_keys}")
            self.watch_biases(name, net)
            if autocast:
                compute_in_bf16(net)
            self.optimizers[name] = self.optimizer(net.parameters(), learning_rate(optimizer, name))
        if settings["generator"]["ema"] > 0 or settings["generator"]["ema_half_life"] > 0:
            self.average = weights(self.nets["generator"])

    def optimizer(self, parameters, lr):
        """The optimiser that the settings name."""
        optimizer = self.settings["optimizer"]
        if optimizer["kind"] == "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, alpha=optimizer["decay"], eps=optimizer["epsilon"])
        betas = (optimizer["beta1"], optimizer["beta2"])
        return torch.optim.Adam(parameters, lr=lr, betas=betas, eps=optimizer["epsilon"])

    def watch_biases(self, name, net):
        """Adds up the magnitudes that each bias's gradient sums, in every backward pass."""

        def watch(bias):
            def add(dy):
                sums = dy.abs().sum(dim=[axis for axis in range(dy.dim()) if axis != 1])
                self.summed[bias] = self.summed.get(bias, 0.0) + sums

            def hook(_module, _inputs, output):
                if self.watching and output.requires_grad:
                    output.register_hook(add)

            return hook

        for key, module in net.named_modules():
            if getattr(module, "bias", None) is not None:
                module.register_forward_hook(watch(f"{name}.{key}.bias"))

    def record_sums(self, *names):
        """Keeps what the biases of these nets summed in the backward pass just done, and begins anew."""
        for bias, sums in self.summed.items():
            if bias.partition(".")[0] in names:
                self.largest_sums[bias] = max(self.largest_sums.get(bias, 0.0), sums.max().item())
        self.summed = {}

    def step(self, batch):
        """One step on `batch` (images, latents, noise). Returns the OUT tensors without the updated weights.

        Several updates of the discriminator are made on the same tensors, and the last one's values returned.
        """
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.settings["optimizer"], name) * self.part_of_rate()
        for _ in range(self.settings["objective"]["discriminator_steps"]):
            out = self.discriminator_phase(batch)
        out |= self.generator_phase(batch)
        self.update_average()
        self.steps += 1
        return out

    def part_of_rate(self):
        """What the learning rates are multiplied with at this step: warm-up, then decay."""
        d, step = self.settings["optimizer"], self.steps
        warm = min(1.0, (step + 1) / d["warmup"]) if d["warmup"] else 1.0
        if d["schedule"] == "constant":
            return warm
        part = min(max((step - d["schedule_start"]) / d["schedule_steps"], 0.0), 1.0)
        left = 1 - part if d["schedule"] == "linear" else (1 + math.cos(math.pi * part)) / 2
        return warm * (d["schedule_floor"] + (1 - d["schedule_floor"]) * left)

    def update_average(self):
        """Moves the average by the share 1 - ema towards the generator's weights and running statistics."""
        settings, now = self.settings["generator"], weights(self.nets["generator"])
        ema = settings["ema"]
        if settings["ema_half_life"] > 0:
            batch, half_life = self.settings["train"]["batch"], settings["ema_half_life"]
            if settings["ema_rampup"] > 0:
                half_life = min(half_life, self.steps * batch * settings["ema_rampup"])
            ema = 0.5 ** (batch / max(half_life, 1e-8))
        self.average = {key: ema * value + (1 - ema) * now[key] for key, value in self.average.items()}

    def discriminator_phase(self, batch):
        """Discriminator on reals, then on fakes, as two batches with statistics of their own; then beta."""
        net, optimizer = self.nets["discriminator"], self.optimizers["discriminator"]
        bottleneck = self.settings["bottleneck"]
        of_real, of_fake = classes_of(batch, "real"), classes_of(batch, "d")
        fakes = self.nets["generator"](batch["latents_d"], of_fake).detach()
        shown_real, shown_fake = self.shown(batch, "real", batch["images"]), self.shown(batch, "fake", fakes)
        logits_real, real = net(shown_real, batch.get("noise_real"), of_real)
        # Real and fake images are one pass of the engine's, for which spectral norm makes one power iteration; a penalty
        # sees the same weights.
        power_iterations(net, False)
        logits_fake, fake = net(shown_fake, batch.get("noise_fake"), of_fake)
        loss = discriminator_loss(self.settings["objective"], logits_real, logits_fake, self.balance)
        self.energy = logits_real.detach().mean()
        out = {"fakes_d": fakes, "logits_real": logits_real, "logits_fake": logits_fake}
        if bottleneck["enabled"]:
            kl_real, kl_fake = (kl_divergence(c["mu"], c["logvar"], bottleneck) for c in (real, fake))
            if bottleneck["kl_mix"] == "sum":
                constraint = (kl_real - bottleneck["target_kl"]) + (kl_fake - bottleneck["target_kl"])
            else:
                constraint = 0.5 * (kl_real + kl_fake) - bottleneck["target_kl"]
            loss = loss + self.beta * constraint
            out |= {"kl_real": kl_real, "kl_fake": kl_fake}
            out |= {f"{key}_real": value for key, value in real.items()}
            out |= {f"{key}_fake": value for key, value in fake.items()}
        if self.settings["objective"]["penalty"] != "none":
            out["penalty"] = self.penalty(batch, shown_real, shown_fake)
            loss = loss + out["penalty"]
        power_iterations(net, True)
        loss = loss + self.historical_averaging("discriminator")
        out["loss_d"] = loss
        optimizer.zero_grad()
        loss.backward()
        self.record_sums("discriminator")
        out |= gradients("discriminator", net)
        optimizer.step()
        if self.settings["objective"]["clip"] > 0:
            clip = self.settings["objective"]["clip"]
            for parameter in net.parameters():
                parameter.data.clamp_(-clip, clip)
        if bottleneck["enabled"]:
            self.beta = max(0.0, self.beta + bottleneck["beta_step"] * constraint.item())
            out["beta"] = torch.tensor(self.beta, dtype=loss.dtype)
        return recorded(out)

    def shown(self, batch, which, images):
        """What the discriminator sees of images: augmented, then with instance noise, whose deviation falls linearly in the steps
        set.
        """
        objective = self.settings["objective"]
        if objective["augment"]:
            images = augment.augmented(images, batch[f"augment_{which}"], objective["augment"], self.settings["data"]["range"])
        if objective["instance_noise"] == 0:
            return images
        length = objective["instance_noise_steps"]
        share = max(0.0, 1.0 - self.steps / length) if length else 1.0
        return images + objective["instance_noise"] * share * batch[f"instance_{which}"]

    def penalty(self, batch, real, fakes):
        """The gradient penalty of the step on images as the discriminator sees them, by PyTorch's own second derivatives; 0
        in a step that has none.
        """
        objective = self.settings["objective"]
        if self.steps % objective["penalty_every"]:
            return real.new_zeros(())
        kind, noise = objective["penalty"], batch.get("noise_penalty")
        positions = batch["penalty_positions"].view(-1, 1, 1, 1) if "penalty_positions" in batch else None
        if kind == "r1":
            points, noise = real, batch.get("noise_real")
        elif kind == "r2":
            points, noise = fakes, batch.get("noise_fake")
        elif kind == "wgan-gp":
            points = real + positions * (fakes - real)
        else:
            points = real + positions * 0.5 * real.std(unbiased=False) * batch["penalty_directions"]
        points = points.detach().requires_grad_()
        # Between and around real images, points are of the class of the real one.
        classes = classes_of(batch, "d" if kind == "r2" else "real")
        self.watching = False
        logits, _ = self.nets["discriminator"](points, noise if objective["penalty_z"] == "sampled" else None, classes)
        self.watching = True
        (gradient,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
        squares = gradient.flatten(1).pow(2).sum(dim=1)
        cost = 0.5 * squares if kind in ("r1", "r2") else (squares.sqrt() - 1) ** 2
        return objective["penalty_weight"] * objective["penalty_every"] * cost.mean()

    def generator_phase(self, batch):
        """Generator on fresh latents through the discriminator just updated, whose weights take no gradient."""
        net, optimizer, critic = self.nets["generator"], self.optimizers["generator"], self.nets["discriminator"]
        critic.requires_grad_(False)
        fakes = net(batch["latents_g"], classes_of(batch, "g"))
        objective, out = self.settings["objective"], {"fakes_g": fakes}
        if objective["feature_matching"]:
            real = self.shown(batch, "real", batch["images"])
            loss, code = matching_loss(objective, critic, real, self.shown(batch, "g", fakes))
        else:
            logits, code = critic(self.shown(batch, "g", fakes), batch.get("noise_g"), classes_of(batch, "g"))
            loss, out["logits_g"] = generator_loss(objective, logits, critic), logits
        loss = loss + self.historical_averaging("generator")
        if "encoder" in self.nets:
            added, out["reconstruction"], out["reconstructions"] = self.mode_regularization(batch)
            loss = loss + added
            self.optimizers["encoder"].zero_grad()
        optimizer.zero_grad()
        loss.backward()
        critic.requires_grad_(True)
        out["loss_g"] = loss
        if objective["loss"] == "began":
            self.balance, out["convergence"] = autoencoder.balanced(
                objective, self.balance, self.energy, logits.detach().mean()
            )
            out["balance"] = torch.tensor(self.balance, dtype=loss.dtype)
        out |= {f"{key}_g": value for key, value in code.items()}
        self.record_sums("generator", "encoder")
        out |= gradients("generator", net)
        optimizer.step()
        if "encoder" in self.nets:
            out |= gradients("encoder", self.nets["encoder"])
            self.optimizers["encoder"].step()
        return recorded(out)

    def mode_regularization(self, batch):
        """The terms of mode regularisation, the mean error, and the reconstructions of the step's real images."""
        objective, critic = self.settings["objective"], self.nets["discriminator"]

        classes = classes_of(batch, "real")

        def cost(images):
            # The engine judges them with the weights that it judged the generator's images with.
            power_iterations(critic, False)
            shown, noise = self.shown(batch, "reconstruction", images), batch.get("noise_reconstruction")
            logits, _ = critic(shown, noise, classes)
            power_iterations(critic, True)
            return generator_loss(objective | {"repelling": 0.0}, logits, critic)

        encoder, generator = self.nets["encoder"], self.nets["generator"]
        return mode_regularizer.terms(objective, batch["images"], classes, encoder, generator, cost)

    def historical_averaging(self, name):
        """lambda |theta - mean theta|^2, the mean over the parameters before each update of this net, this one's too."""
        weight = self.settings["objective"]["historical_averaging"]
        if weight == 0:
            return 0.0
        parameters = list(self.nets[name].parameters())
        self.visited[name].append([parameter.detach().clone() for parameter in parameters])
        means = [torch.stack(values).mean(dim=0) for values in zip(*self.visited[name])]
        return weight * sum(((parameter - mean) ** 2).sum() for parameter, mean in zip(parameters, means))

    def updated(self):
        """The weights and running statistics as they stand, under their names in the exchange format."""
        values = {name: weights(net) for name, net in self.nets.items()} | {"average": self.average}
        return {f"{name}.{key}": value for name, tensors in values.items() for key, value in tensors.items()}


def classes_of(batch, which):
    """The numbers of classes that come as the file's numbers do; None where there are none."""
    classes = batch.get(f"classes_{which}")
    return None if classes is None else classes.long()


def compute_in_bf16(net):
    """Makes a net compute as PyTorch's autocast does, with f32 weights; what it returns is widened, so that losses are f32."""

    def widened(made):
        if isinstance(made, dict):
            return {key: value.float() for key, value in made.items()}
        return tuple(map(widened, made)) if isinstance(made, tuple) else made.float()

    def cast(compute):
        def computed(*inputs):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return widened(compute(*inputs))

        return computed

    for method in ("forward", "encode"):
        if hasattr(net, method):
            setattr(net, method, cast(getattr(net, method)))


def learning_rate(optimizer, name):
    """That of a net; an encoder learns as fast as the generator."""
    return optimizer["discriminator_lr" if name == "discriminator" else "generator_lr"]


def bce(logits, target):
    """Mean binary cross-entropy of the sigmoid of `logits` against a constant target."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def discriminator_loss(objective, real, fake, balance):
    """What real and fake images cost the discriminator, by its outputs for them; `balance` is BEGAN's k."""
    match objective["loss"]:
        case "ebgan" | "began":
            return autoencoder.discriminator_loss(objective, balance, real, fake)
        case "gan" | "ns":
            return bce(real, objective["real_target"]) + bce(fake, 0.0)
        case "lsgan":
            return 0.5 * mse_loss(real, torch.ones_like(real)) + 0.5 * mse_loss(fake, torch.zeros_like(fake))
        case "hinge":
            return relu(1 - real).mean() + relu(1 + fake).mean()
        case "wgan":
            return fake.mean() - real.mean()


def generator_loss(objective, fake, critic):
    """What the generator pays for its images, by the discriminator's outputs for them."""
    match objective["loss"]:
        case "ebgan" | "began":
            return autoencoder.generator_loss(objective, critic.codes, fake)
        case "gan":
            return torch.log1p(-torch.sigmoid(fake)).mean()
        case "ns":
            return bce(fake, 1.0)
        case "lsgan":
            return 0.5 * mse_loss(fake, torch.ones_like(fake))
        case "hinge" | "wgan":
            return -fake.mean()


def matching_loss(objective, critic, images, fakes):
    """Feature matching: what the generator pays for its images, by their mean features and those of real images, which are
    encoded first; and the code of its images.
    """
    # The engine makes its power iteration before both passes, and on the head's weights too, which neither reaches.
    iterate_powers(critic)
    power_iterations(critic, False)
    with torch.no_grad():
        real, _ = critic.encode(images)
    fake, code = critic.encode(fakes)
    power_iterations(critic, True)
    return objective["feature_matching"] * (real.mean(dim=0) - fake.mean(dim=0)).pow(2).sum(), code


def gradients(name, net):
    return {f"grad.{name}.{key}": parameter.grad for key, parameter in net.named_parameters()}


def recorded(tensors):
    """Copies that later steps do not overwrite; a scalar becomes a vector of one."""
    return {key: value.detach().clone().reshape(value.shape or (1,)) for key, value in tensors.items()}


def run_step(settings, tensors, eps=None, autocast=False):
    """All OUT tensors of one step, and the absolute tolerances that some of them need (see `loose_tolerances`)."""
    trainer = Trainer(settings, tensors, autocast)
    out = trainer.step(tensors)
    loose = loose_tolerances(trainer, [out], eps)
    return out | trainer.updated(), loose


def run_trajectory(settings, tensors, steps, eps=None):
    """`step<k>.<name>` of the losses, KL and beta after each step and of every weight after the last, and the absolute tolerances."""
    trainer, out, loose, all_steps = Trainer(settings, tensors), {}, {}, []
    for k in range(steps):
        prefix = f"step{k}."
        batch = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        all_steps.append(trainer.step(batch))
        kept = {key: all_steps[-1][key] for key in TRAJECTORY if key in all_steps[-1]}
        if k == steps - 1:
            kept |= trainer.updated()
        out |= {prefix + key: value for key, value in kept.items()}
        tolerances = loose_tolerances(trainer, all_steps, eps)
        loose |= {prefix + key: value for key, value in tolerances.items() if key in kept}
    return out, loose


def loose_tolerances(trainer, steps, eps=None):
    """{output: absolute tolerance} for the outputs whose own size is no measure of their rounding noise.

    The gradient of a bias is a sum over the whole batch that may cancel, so its noise has the scale of the magnitudes
    summed. In front of a batch norm it cancels to zero; Adam then divides noise by its own size, so the bias wanders by
    up to lr a step, and the running mean behind it follows. No other output depends on such a bias (but for
    conv_mean's, where beta is so small that the KL does not hold it). `eps` is the unit of rounding of the side to be
    judged; without it, that of this arithmetic. The losses hinge and wgan are means of outputs of either sign, which may cancel too.
    """
    loose, eps = {}, eps or torch.finfo(steps[0]["loss_d"].dtype).eps
    if trainer.settings["objective"]["loss"] in ("hinge", "wgan"):
        size = {key: value.abs().mean().item() for key, value in steps[-1].items() if key.startswith("logits_")}
        loose["loss_d"] = BIAS_NOISE * eps * (size["logits_real"] + size["logits_fake"])
        # Where features are matched there is no such output, and the loss is a sum of squares.
        if "logits_g" in size:
            loose["loss_g"] = BIAS_NOISE * eps * size["logits_g"]
    for name, net in trainer.nets.items():
        vanishing = vanishing_biases(net)
        updates = len(steps)
        if name == "discriminator":
            updates *= trainer.settings["objective"]["discriminator_steps"]
        for bias in (key for key, _ in net.named_parameters() if key.endswith(".bias")):
            noise = BIAS_NOISE * eps * trainer.largest_sums[f"{name}.{bias}"]
            loose[f"grad.{name}.{bias}"] = noise
            if bias in vanishing:
                optimizer = trainer.settings["optimizer"]
                wander = 2 * updates * learning_rate(optimizer, name) * noise / (noise + optimizer["epsilon"])
                loose[f"{name}.{bias}"] = wander
                running_mean = f"{name}.{vanishing[bias]}"
                loose[running_mean] = max(wander, loose.get(running_mean, 0.0))
    # An average wanders no further than what it is of.
    generator = {key.removeprefix("generator."): value for key, value in loose.items() if key.startswith("generator.")}
    return loose | {f"average.{key}": value for key, value in generator.items() if key in trainer.average}
