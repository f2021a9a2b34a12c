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
# Tests that pass as they cannot run here say so in this file.
CT_SKIPPED=$(mktemp)
export CT_SKIPPED
trap 'rm -f "$log" "$CT_SKIPPED"' EXIT
failed_rings=

begun=$SECONDS
ring() { # ring NAME cargo-test-arguments...: one ring, its output shown and kept for counting
  local name=$1 since=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  # The whole workspace, whatever is run of it: cargo builds the crates of others once, then.
  cargo test --no-fail-fast --workspace "$@" 2>&1 | tee -a "$log"
  [ "${PIPESTATUS[0]}" = 0 ] || failed_rings="$failed_rings $name"
  printf '== %s: %s s\n' "$name" $((SECONDS - since))
}

ring value --lib --bins
ring tree --test upstream_logs --test cli --test manual
ring tidy --test tidy --test dependencies --test fuzz
ring docs --test docs
ring abi --test abi
ring harness --test harness
ring e2e --test site
# These wait more than they compute: one more at a time than there are processors.
ring failure --test failure -- --test-threads=$(($(nproc) + 1))
ring security --test security
# The machine's root tree is also the packages'.
ring vm --test vm
ring packages --test packages
ring sql --test sql
# Some minutes of jobs and faults, where they are asked for; its figures are shown as they come.
[ "${CT_SOAK:-}" != required ] || ring soak --test soak -- --nocapture

printf '\n== bench\n'
tests/bench/srun-overhead || failed_rings="$failed_rings bench"

count() { # count WORD: sum of "N WORD" over cargo's result lines
  awk -v word="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i ~ "^" word) n += $(i - 1) } END { print n + 0 }' "$log"
}
passed=$(count passed)
failed=$(count failed)
[ "$failed" -gt 0 ] || [ -z "$failed_rings" ] || failed=1
[ ! -s "$CT_SKIPPED" ] || { printf '\nleft out here:\n'; sort "$CT_SKIPPED" | uniq -c; }
[ -z "$failed_rings" ] || printf '\nrun.sh: failed:%s\n' "$failed_rings"
printf '\nall rings: %s s\n%s passed, %s failed\n' $((SECONDS - begun)) "$passed" "$failed"
[ "$failed" = 0 ]
