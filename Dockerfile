# syntax=docker/dockerfile:1
#
#   docker build -t silversmith .
#   docker run --rm silversmith demo
#   docker run --rm -v "$PWD/silversmith.toml:/lake/silversmith.toml:ro" -e AWS_REGION=eu-west-1 silversmith
#
# As a Lambda function's image: command `lambda`, and SILVERSMITH_CONFIG=s3://… in its environment. Lambda takes neither an
# index nor attestations:
#
#   docker buildx build --platform linux/amd64 --provenance=false --sbom=false --push --tag URI .

# The compiler and the libc that the tests run with; the next stage has the same Debian.
FROM rust:1.95.0-slim-trixie AS build
ARG TARGETARCH
WORKDIR /src

# Cargo wants a file for each target that Cargo.toml names, built or not.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY tests/main.rs tests/features.rs tests/
# The demo's data is compiled in.
COPY examples/flights examples/flights
COPY src src

# A cache of its own for each architecture: `target` holds what was compiled for one of them.
RUN --mount=type=cache,id=silversmith-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=silversmith-target-${TARGETARCH},target=/src/target,sharing=locked \
    cargo build --locked --profile dist --all-features --bin silversmith \
    && install -D target/dist/silversmith /out/silversmith \
    && mkdir /out/lake

# glibc, libgcc, the certificates that TLS asks for, /tmp, and no shell. This tag moves with
# Debian's security updates: build with --pull, or pin it by digest where you need the same bytes.
FROM gcr.io/distroless/cc-debian13:nonroot

LABEL org.opencontainers.image.title="silversmith" \
      org.opencontainers.image.description="CSV objects landing in S3, turned into medallion tables in Apache Iceberg: exactly once, in near real time" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY LICENSE NOTICE /usr/share/doc/silversmith/
COPY --from=build /out/silversmith /usr/local/bin/silversmith
# Where silversmith.toml is looked for, and where `demo` writes. Lambda runs images under a user of
# its own, so everybody may enter it.
COPY --from=build --chown=65532:65532 /out/lake /lake
WORKDIR /lake

# By number: Kubernetes' runAsNonRoot does not look up names.
USER 65532:65532

# It is process 1 and answers SIGTERM itself: what is in work is finished within worker.shutdown_grace.
ENTRYPOINT ["/usr/local/bin/silversmith"]
CMD ["run"]
