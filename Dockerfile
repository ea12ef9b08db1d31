# kdumpd as a linuxkit package: a root with what kdumpd runs and nothing else. scripts/image builds it here.

# Debian forky: the first release with a makedumpfile that knows 6.12's free pages (1.7.7), and with zstd and lzo.
FROM debian:forky-slim AS tools
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# The release decides the versions; the SBOM in the image names them. On a terminal, tzdata's configuration would ask
# where in the world this is.
# hadolint ignore=DL3008
RUN exec < /dev/null \
    && export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --no-install-recommends \
        age ca-certificates kexec-tools libudev1 makedumpfile python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY constraints.txt pyproject.toml ./
ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"])' \
        | xargs python3 -m pip install --constraint constraints.txt --target modules \
    && python3 -m pip install --constraint constraints.txt --target tools hatchling

FROM tools AS root
COPY . .
ARG SOURCE_DATE_EPOCH=0
RUN PYTHONPATH=tools python3 -m pip wheel --no-build-isolation --no-deps --wheel-dir wheels . \
    && python3 -m pip install --no-deps --target modules wheels/kdumpd-*.whl \
    && python3 scripts/image.d/rootfs.py modules /root-of-image

FROM scratch
COPY --from=root /root-of-image /
LABEL org.opencontainers.image.title="kdumpd" \
    org.opencontainers.image.description="Kernel-dump collector for EVE-OS" \
    org.opencontainers.image.licenses="Apache-2.0 AND BSD-3-Clause AND GPL-2.0-or-later AND LGPL-2.1-or-later AND PSF-2.0" \
    org.opencontainers.image.base.name="scratch"
ENV PATH=/usr/sbin:/usr/bin
ENTRYPOINT ["/usr/bin/kdumpd", "run"]
