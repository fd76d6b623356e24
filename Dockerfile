# The release binary on a small base. It runs without root, with its state in /var/lib/annunciator.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin annunciator

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/annunciator --create-home annunciator
COPY --from=build /src/target/release/annunciator /usr/local/bin/annunciator
COPY config /etc/annunciator/config
COPY tags /etc/annunciator/tags
USER annunciator
WORKDIR /var/lib/annunciator
VOLUME /var/lib/annunciator
ENTRYPOINT ["annunciator"]
CMD ["run", "--config", "/etc/annunciator/config", "--tags", "/etc/annunciator/tags", "--data", "/var/lib/annunciator"]
