"""The peer of benches/step.rs: one training step in PyTorch, same model, same optimiser, same order.

    OMP_WAIT_POLICY=passive python benches/peers/torch_step.py --model vgan-mnist --batch 128 --threads 2

It prints one JSON line. The step is as strong as eager PyTorch allows: the data resident, the generator's graph not
recorded for the discriminator's fakes, no weight gradients of the discriminator in the generator's step, fused Adam,
denormals flushed, and channels_last, which was the faster format by some percent of CPU time. Real and fake images go
through the discriminator in two calls, as in the article, because each has batch statistics of its own.

--dtype bf16 runs both nets under autocast, with weights, losses and Adam in f32; --compile compiles both nets. On a GPU, --device cuda
takes the step there, tf32 allows TF32 in convolutions and products, and --graph replays the whole step as one CUDA graph, as ours does.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import sys
import time

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "oracle"))

from model import kl_divergence, nets  # noqa: E402
from settings import PRESETS, with_defaults  # noqa: E402

MODELS = {"mnist": "vgan-mnist", "cifar10": "vgan-cifar10"} | {name: name for name in PRESETS}
RESIDENT_IMAGES = 4096


class Peer:
    """Both nets, their optimisers, beta and the resident images."""

    def __init__(self, preset, batch, adam, memory_format, compiled, dtype, device="cpu", seed=0):
        image, changes = PRESETS[preset]
        self.settings, self.batch, self.device = with_defaults(changes), batch, device
        self.beta = torch.tensor(self.settings["bottleneck"]["beta"], device=device)
        torch.manual_seed(seed)
        self.images = torch.rand(RESIDENT_IMAGES, *image)
        if self.settings["data"]["range"] == "-1..1":
            self.images = 2 * self.images - 1
        self.images = self.images.to(device).contiguous(memory_format=memory_format)
        self.generator, self.discriminator = nets(self.settings, image).values()
        self.noise = (batch, *self.discriminator.code) if self.settings["bottleneck"]["enabled"] else None
        optimizer = self.settings["optimizer"]
        self.optimizers = []
        for name, net in (("generator", self.generator), ("discriminator", self.discriminator)):
            net.to(device, memory_format=memory_format).train()
            self.optimizers.append(self.optimizer(net, optimizer[f"{name}_lr"], adam))
            if self.settings["nets"]["family"] == "resnet":
                continue  # PyTorch's own initialisation
            for key, parameter in net.named_parameters():
                if parameter.dim() > 1:
                    torch.nn.init.normal_(parameter, std=0.02)
                elif key.endswith(".bias"):
                    torch.nn.init.zeros_(parameter)
        self.autocast = torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bf16")
        self.run_generator, self.run_discriminator = self.generator, self.discriminator
        if compiled:
            mode = "max-autotune-no-cudagraphs" if device == "cuda" else "default"
            self.run_generator = torch.compile(self.generator, mode=mode)
            self.run_discriminator = torch.compile(self.discriminator, mode=mode)

    def optimizer(self, net, lr, adam):
        """The optimiser of the settings; RMSprop has no fused form."""
        optimizer = self.settings["optimizer"]
        if optimizer["kind"] == "rmsprop":
            options = {"alpha": optimizer["decay"], "eps": optimizer["epsilon"], "foreach": True} | self.capturable()
            return torch.optim.RMSprop(net.parameters(), lr=lr, **options)
        options = {"betas": (optimizer["beta1"], optimizer["beta2"]), adam: True} | self.capturable()
        return torch.optim.Adam(net.parameters(), lr=lr, **options)

    def capturable(self):
        """What an optimiser needs whose steps a CUDA graph repeats."""
        return {"capturable": True} if self.device == "cuda" else {}

    def draw(self):
        """Fresh latents and bottleneck noise."""
        sample = torch.rand if self.settings["generator"]["prior"] == "uniform" else torch.randn
        return sample(self.batch, self.settings["generator"]["latent"], device=self.device)

    def reals(self):
        """The next batch of images."""
        return self.images[torch.randint(RESIDENT_IMAGES, (self.batch,), device=self.device)]

    def generate(self):
        with self.autocast:
            images = self.run_generator(self.draw())
        return images

    def discriminate(self, images):
        """Logits and the code's mean and log-variance, in f32: losses and KL are."""
        with self.autocast:
            noise = torch.randn(self.noise, device=self.device) if self.noise else None
            logits, code = self.run_discriminator(images, noise)
        return logits.float(), {key: value.float() for key, value in code.items()} if code else code

    def step(self):
        """Discriminator on reals and on fakes, beta, generator on fresh latents. Returns both losses; reads none back."""
        generator_optimizer, discriminator_optimizer = self.optimizers
        bottleneck = self.settings["bottleneck"]
        reals = self.reals()
        with torch.no_grad():
            fakes = self.generate()
        logits_real, real = self.discriminate(reals)
        logits_fake, fake = self.discriminate(fakes)
        loss_d = bce(logits_real, 1.0) + bce(logits_fake, 0.0)
        if self.noise:
            kl = sum(kl_divergence(code["mu"], code["logvar"], bottleneck) for code in (real, fake))
            constraint = (kl - 2 * bottleneck["target_kl"]) * (0.5 if bottleneck["kl_mix"] == "mean" else 1.0)
            loss_d = loss_d + self.beta * constraint
        discriminator_optimizer.zero_grad(set_to_none=True)
        loss_d.backward()
        discriminator_optimizer.step()
        if self.noise:
            self.beta.add_(bottleneck["beta_step"] * constraint.detach()).clamp_(min=0.0)

        self.discriminator.requires_grad_(False)
        logits, _ = self.discriminate(self.generate())
        loss_g = bce(logits, 1.0)
        generator_optimizer.zero_grad(set_to_none=True)
        loss_g.backward()
        self.discriminator.requires_grad_(True)
        generator_optimizer.step()
        return loss_d.detach(), loss_g.detach()

    def replayed(self):
        """The step as one CUDA graph: a function that replays it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            losses = self.step()

        def replay():
            graph.replay()
            return losses

        return replay


def bce(logits, target):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgan-mnist", choices=MODELS)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--adam", default="fused", choices=["fused", "foreach"])
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--compile", action="store_true", help="torch.compile both nets (needs a C++ compiler)")
    parser.add_argument("--dtype", default="f32", choices=["f32", "tf32", "bf16"], help="bf16 is autocast; tf32 is a GPU's")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--graph", action="store_true", help="replay the step as one CUDA graph")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    preset = MODELS[arguments.model]
    memory_format = torch.channels_last if arguments.channels_last else torch.contiguous_format
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = arguments.dtype == "tf32"
    peer = Peer(preset, arguments.batch, arguments.adam, memory_format, arguments.compile, arguments.dtype, arguments.device)
    step = peer.replayed() if arguments.graph else peer.step
    wait = torch.cuda.synchronize if arguments.device == "cuda" else lambda: None
    # A GPU has work queued for many steps, as in training: the clock is read once for them all.
    at_once = 50 if arguments.device == "cuda" else 1
    for _ in range(arguments.warmup * at_once):
        step()
    wait()
    walls, cpu_start = [], cpu_seconds()
    for _ in range(arguments.steps):
        start = time.perf_counter()
        for _ in range(at_once):
            losses = step()
        wait()
        walls.append((time.perf_counter() - start) / at_once)
    cpu = (cpu_seconds() - cpu_start) / (arguments.steps * at_once)
    wall = statistics.median(walls)
    print(
        json.dumps(
            {
                "name": "pytorch",
                "version": torch.__version__,
                "model": preset,
                "batch": arguments.batch,
                "threads": arguments.threads,
                "steps": arguments.steps,
                "wall_ms": round(1e3 * wall, 2),
                "wall_ms_min": round(1e3 * min(walls), 2),
                "cpu_ms": round(1e3 * cpu, 2),
                "images_per_s": round(arguments.batch / wall, 1),
                "adam": arguments.adam,
                "channels_last": arguments.channels_last,
                "compiled": arguments.compile,
                "device": arguments.device,
                "graph": arguments.graph,
                "dtype": arguments.dtype,
                "loss_d": round(losses[0].item(), 4),
                "loss_g": round(losses[1].item(), 4),
                "load": round(os.getloadavg()[0], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
