#!/bin/sh
# Installs the Debian packages that the build and the tests need, where they are missing.
# As root it installs them; otherwise it prints the one command that is needed and exits 2.
#
#   tests/install-deps.sh          for the build and tests/run.sh
#   tests/install-deps.sh --demo   without a database, which only a test needs (28 MB to fetch)
#   tests/install-deps.sh --all    with a browser, Java and lintian, too, as CI has them (150 MB to fetch)
set -eu

packages="gcc libc6-dev libclang1-14 libslurm-dev slurmctld slurmd slurm-client munge python3-venv util-linux passwd valgrind debootstrap e2fsprogs binutils r-base-core openssl dpkg-dev"
[ "${1:-}" = --demo ] || packages="$packages slurmdbd mariadb-server"
[ "${1:-}" != --all ] || packages="$packages chromium-headless-shell default-jre-headless lintian"

missing=
for package in $packages; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing="$missing $package"
done

# Slurm's daemons listen on loopback only, and then look up the machine's own name.
name=$(cat /proc/sys/kernel/hostname)
resolves=yes
getent hosts "$name" >/dev/null || resolves=no

if [ "$(id -u)" != 0 ]; then
  status=0
  if [ -n "$missing" ]; then
    echo "install-deps.sh: packages are missing; as root: apt-get install -y --no-install-recommends$missing" >&2
    status=2
  fi
  if [ $resolves = no ]; then
    echo "install-deps.sh: the host name does not resolve; as root: echo '127.0.0.1 $name' >>/etc/hosts" >&2
    status=2
  fi
  exit $status
fi

if [ -n "$missing" ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq -o DPkg::Lock::Timeout=300
  # shellcheck disable=SC2086  # One word per package.
  apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends $missing >/dev/null
fi
[ $resolves = yes ] || echo "127.0.0.1 $name" >>/etc/hosts
