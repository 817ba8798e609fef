# vgan-cuda for the CPU:
#
#   docker build -t vgan-cuda .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" vgan-cuda train
#
# Dockerfile.cuda builds the kernels too.

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl g++ \
    && rm -rf /var/lib/apt/lists/*
ENV RUSTUP_HOME=/opt/rustup CARGO_HOME=/opt/cargo PATH=/opt/cargo/bin:$PATH
# The version is that of rust-toolchain.toml; tests/house/readme.rs compares them.
RUN curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs \
    | sh -s -- -y --no-modify-path --profile minimal --default-toolchain 1.95.0
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin vgan-cuda

FROM debian:bookworm-slim
COPY --from=build /source/target/release/vgan-cuda /usr/local/bin/vgan-cuda
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["vgan-cuda"]
CMD ["--help"]
