#!/bin/bash
# Runs every test, ring by ring, from the fastest to those on a real cluster, and counts them.
# Needs Debian 12 or newer, Rust and root (Slurm's daemons are started for several users); installs
# the Debian packages that are missing.
set -uo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  tests/install-deps.sh || true
  echo "run.sh: Slurm's daemons are started for several users: run it as root" >&2
  exit 2
fi
tests/install-deps.sh || exit 2
export CT_E2E=required CT_ACCOUNTING=required
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed_rings=

ring() { # ring NAME cargo-test-arguments...: one ring, its output shown and kept for counting
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  cargo test --no-fail-fast "$@" 2>&1 | tee -a "$log"
  [ "${PIPESTATUS[0]}" = 0 ] || failed_rings="$failed_rings $name"
}

ring value --workspace --lib --bins
ring manual --package ct-manual
ring tree --package ct-core --package ct-report --all-features --test '*'
ring tidy --package ct-tests --test tidy
ring dependencies --package ct-tests --test dependencies
ring fuzz-seeds --package ct-tests --test fuzz
ring docs --package ct-tests --test docs
ring abi --package ct-tests --test abi
ring harness --package ct-tests --test harness
ring e2e --package ct-tests --test site
ring failure --package ct-tests --test failure
ring security --package ct-tests --test security
ring vm --package ct-tests --test vm
ring sql --package ct-tests --test sql

printf '\n== bench\n'
tests/bench/srun-overhead || failed_rings="$failed_rings bench"

count() { # count WORD: sum of "N WORD" over cargo's result lines
  awk -v word="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i ~ "^" word) n += $(i - 1) } END { print n + 0 }' "$log"
}
passed=$(count passed)
failed=$(count failed)
[ "$failed" -gt 0 ] || [ -z "$failed_rings" ] || failed=1
[ -z "$failed_rings" ] || printf '\nrun.sh: failed:%s\n' "$failed_rings"
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
