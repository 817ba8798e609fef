"""The peer of benches/step.rs in JAX: one training step, compiled as a whole by XLA, same model, same optimiser, same order.

    python benches/peers/jax_step.py --model vgan-mnist --batch 128 --dtype bf16

It prints one JSON line, as torch_step.py does. The article's nets only. The step is as strong as JAX allows: one jitted function with its
state donated, so that weights and moments are updated in place; data resident; the fakes of D's step without gradients; no weight
gradients of D in G's step; NHWC. With --dtype bf16 convolutions and matrix products take bf16 operands and give f32 sums; weights,
normalisation, losses and Adam are f32. No loss is read back between steps: the clock stops when the last step is done.
"""

import argparse
import json
import os
import pathlib
import resource
import sys
import time

import jax
import jax.numpy as jnp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "oracle"))

from settings import PRESETS, with_defaults  # noqa: E402

RESIDENT_IMAGES = 4096
LAYOUT = ("NHWC", "HWIO", "NHWC")


class Model:
    """Shapes of both nets and the functions of a step; no state."""

    def __init__(self, preset, batch, dtype):
        image, changes = PRESETS[preset]
        self.settings, self.batch = with_defaults(changes), batch
        if self.settings["nets"]["family"] != "dcgan":
            sys.exit(f"{preset}: this script has the article's nets, not the residual ones; torch_step.py has both")
        self.operand = jnp.bfloat16 if dtype == "bf16" else jnp.float32
        self.channels, self.height, self.width = image
        generator, discriminator = self.settings["generator"], self.settings["discriminator"]
        widths, self.stride2 = generator["channels"], generator["output"] == "stride2"
        shrink = 2 ** (len(widths) - 1 + self.stride2)
        self.first = (self.height // shrink, self.width // shrink, widths[0])
        self.generator_widths = [*widths, self.channels]
        features = self.first[0] * self.first[1] * self.first[2]
        self.generator_features = [generator["latent"], *generator["hidden"], features]
        self.discriminator_widths = [self.channels, *discriminator["channels"]]
        halved = 2 ** len(discriminator["channels"])
        last = discriminator["channels"][-1]
        self.code = (self.height // halved, self.width // halved, self.settings["bottleneck"]["channels"] or last)
        self.discriminator_features = [self.code[0] * self.code[1] * self.code[2], *discriminator["hidden"], 1]

    def parameters(self, key):
        """{"generator": {...}, "discriminator": {...}}: weights from N(0, 0.02), gains 1, biases 0."""
        keys = iter(jax.random.split(key, 64))

        def layer(*shape, norm=True):
            outputs = shape[-1]
            made = {"w": 0.02 * jax.random.normal(next(keys), shape), "b": jnp.zeros(outputs)}
            return made | ({"gamma": jnp.ones(outputs), "beta": jnp.zeros(outputs)} if norm else {})

        def chain(sizes, kernel=(), last_is_normed=True):
            pairs = list(zip(sizes, sizes[1:]))
            return [layer(*kernel, *pair, norm=last_is_normed or pair is not pairs[-1]) for pair in pairs]

        # The last layer of the generator has a kernel of its own.
        deconv = chain(self.generator_widths[:-1], (4, 4))
        side = 4 if self.stride2 else 3
        deconv.append(layer(side, side, *self.generator_widths[-2:], norm=False))
        norm = self.settings["discriminator"]["norm_first"]
        conv = chain(self.discriminator_widths, (4, 4))
        if not norm:
            conv[0] = {name: conv[0][name] for name in ("w", "b")}
        code = layer(1, 1, self.discriminator_widths[-1], 2 * self.code[2], norm=False)
        return {
            "generator": {"fc": chain(self.generator_features), "deconv": deconv},
            "discriminator": {"conv": conv, "code": code, "fc": chain(self.discriminator_features, (), False)},
        }

    def linear(self, layer, x):
        w = layer["w"].astype(self.operand)
        return jnp.matmul(x.astype(self.operand), w, preferred_element_type=jnp.float32) + layer["b"]

    def conv(self, layer, x, stride, padding):
        x, w = x.astype(self.operand), layer["w"].astype(self.operand)
        y = jax.lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2, dimension_numbers=LAYOUT)
        return y.astype(jnp.float32) + layer["b"]

    def deconv(self, layer, x, stride):
        x, w = x.astype(self.operand), layer["w"].astype(self.operand)
        margin = layer["w"].shape[0] - 2
        padding = [(margin, margin)] * 2
        y = jax.lax.conv_general_dilated(x, w, (1, 1), padding, lhs_dilation=(stride, stride), dimension_numbers=LAYOUT)
        return y.astype(jnp.float32) + layer["b"]

    def generate(self, parameters, latents):
        x = latents
        for layer in parameters["fc"]:
            x = jax.nn.relu(batch_norm(layer, self.linear(layer, x)))
        x = x.reshape(-1, *self.first)
        for layer in parameters["deconv"][:-1]:
            x = jax.nn.relu(batch_norm(layer, self.deconv(layer, x, 2)))
        x = self.deconv(parameters["deconv"][-1], x, 2 if self.stride2 else 1)
        return jax.nn.sigmoid(x) if self.settings["data"]["range"] == "0..1" else jnp.tanh(x)

    def discriminate(self, parameters, images, key):
        """Logits [N] and the mean of the KL divergence to N(0, 1)."""
        leak, x = self.settings["discriminator"]["leak"], images
        for layer in parameters["conv"]:
            x = self.conv(layer, x, 2, 1)
            x = jax.nn.leaky_relu(batch_norm(layer, x) if "gamma" in layer else x, leak)
        mu, logvar = jnp.split(self.conv(parameters["code"], x, 1, 0), 2, axis=-1)
        kl = 0.5 * (mu**2 + jnp.exp(logvar) - logvar - 1)
        kl = kl.mean() if self.settings["bottleneck"]["kl_reduction"] == "mean" else kl.reshape(len(kl), -1).sum(1).mean()
        x = (mu + jnp.exp(0.5 * logvar) * jax.random.normal(key, mu.shape)).reshape(len(mu), -1)
        for layer in parameters["fc"][:-1]:
            x = jax.nn.leaky_relu(batch_norm(layer, self.linear(layer, x)), leak)
        return self.linear(parameters["fc"][-1], x)[:, 0], kl

    def adam(self, network, parameters, gradients, moments, step):
        options = self.settings["optimizer"]
        beta1, beta2, rate = options["beta1"], options["beta2"], options[f"{network}_lr"]

        def update(w, g, m, v):
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
            root = jnp.sqrt(v) / jnp.sqrt(1 - beta2**step) + options["epsilon"]
            return w - rate / (1 - beta1**step) * m / root, m, v

        leaves, tree = jax.tree.flatten(parameters)
        rest = [jax.tree.leaves(each) for each in (gradients, *moments)]
        made = [update(*each) for each in zip(leaves, *rest)]
        new, first, second = (tree.unflatten(each) for each in zip(*made))
        return new, (first, second)

    def step(self, state, images):
        """D on reals and on fakes, beta, G on fresh latents; the new state and both losses."""
        bottleneck, (key, *keys) = self.settings["bottleneck"], jax.random.split(state["key"], 7)
        parameters, moments, number = state["parameters"], state["moments"], state["step"] + 1
        draw = jax.random.uniform if self.settings["generator"]["prior"] == "uniform" else jax.random.normal
        latents = [draw(keys[i], (self.batch, self.settings["generator"]["latent"])) for i in (0, 1)]
        reals = images[jax.random.randint(keys[2], (self.batch,), 0, RESIDENT_IMAGES)]
        fakes = self.generate(parameters["generator"], latents[0])

        def loss_of_discriminator(own):
            logits_real, kl_real = self.discriminate(own, reals, keys[3])
            logits_fake, kl_fake = self.discriminate(own, fakes, keys[4])
            constraint = kl_real + kl_fake - 2 * bottleneck["target_kl"]
            constraint *= 0.5 if bottleneck["kl_mix"] == "mean" else 1.0
            loss = jax.nn.softplus(-logits_real).mean() + jax.nn.softplus(logits_fake).mean()
            return loss + state["beta"] * constraint, constraint

        (loss_d, constraint), gradients = jax.value_and_grad(loss_of_discriminator, has_aux=True)(parameters["discriminator"])
        d, d_moments = self.adam("discriminator", parameters["discriminator"], gradients, moments["discriminator"], number)

        def loss_of_generator(own):
            return jax.nn.softplus(-self.discriminate(d, self.generate(own, latents[1]), keys[5])[0]).mean()

        loss_g, gradients = jax.value_and_grad(loss_of_generator)(parameters["generator"])
        g, g_moments = self.adam("generator", parameters["generator"], gradients, moments["generator"], number)
        made = {
            "parameters": {"generator": g, "discriminator": d},
            "moments": {"generator": g_moments, "discriminator": d_moments},
            "beta": jnp.maximum(0.0, state["beta"] + bottleneck["beta_step"] * constraint),
            "key": key,
            "step": number,
        }
        return made, (loss_d, loss_g)


def batch_norm(layer, x):
    """With the statistics of the batch, over all axes but the last."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    variance = ((x - mean) ** 2).mean(axes)
    return (x - mean) * (layer["gamma"] * jax.lax.rsqrt(variance + 1e-5)) + layer["beta"]


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgan-mnist", choices=PRESETS)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2, help="noted in the result; XLA takes the cores that it is bound to")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    arguments = parser.parse_args()
    model = Model(arguments.model, arguments.batch, arguments.dtype)
    parameters = model.parameters(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    # Two trees of their own: donated memory may not be there twice.
    moments = {name: (zeros[name], jax.tree.map(jnp.copy, zeros[name])) for name in parameters}
    beta = jnp.float32(model.settings["bottleneck"]["beta"])
    state = {"parameters": parameters, "moments": moments, "beta": beta, "key": jax.random.key(1), "step": jnp.int32(0)}
    images = jax.random.uniform(jax.random.key(2), (RESIDENT_IMAGES, model.height, model.width, model.channels))
    step = jax.jit(model.step, donate_argnums=0)
    for _ in range(arguments.warmup):
        state, losses = step(state, images)
    jax.block_until_ready(losses)
    start, cpu_start = time.perf_counter(), cpu_seconds()
    for _ in range(arguments.steps):
        state, losses = step(state, images)
    jax.block_until_ready((state, losses))
    wall = (time.perf_counter() - start) / arguments.steps
    result = {
        "name": "jax",
        "version": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "model": arguments.model,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "steps": arguments.steps,
        "wall_ms": round(1e3 * wall, 2),
        "cpu_ms": round(1e3 * (cpu_seconds() - cpu_start) / arguments.steps, 2),
        "images_per_s": round(arguments.batch / wall, 1),
        "dtype": arguments.dtype,
        "loss_d": round(float(losses[0]), 4),
        "loss_g": round(float(losses[1]), 4),
        "load": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
