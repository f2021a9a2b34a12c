#!/bin/sh
# Builds everything, boots a two-node Slurm cluster in a throwaway directory, runs a tracked job of
# an unprivileged user, shows what came of it, and takes everything down again.
# Needs Debian 12 or newer and Rust; as root it installs the Debian packages that are missing.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  tests/install-deps.sh --demo || true
  echo "demo.sh: Slurm's daemons are started for several users: run it as root" >&2
  exit 2
fi
tests/install-deps.sh --demo
# As the tests build: for one package alone cargo would build most crates of others once more.
cargo build --quiet --workspace --bins --example node_scale
exec "${CARGO_TARGET_DIR:-target}/debug/ct-demo"
