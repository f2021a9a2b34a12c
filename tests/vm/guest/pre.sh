#!/bin/sh
# Installs carbontracker in the VM as INSTALL.md says, before any daemon of Slurm starts, and the
# power plant in place of hardware. Runs in the directory with all files, early in the boot.
set -eu
cd "$(dirname "$0")"

plugins=$(dirname "$(find /usr/lib -name 'auth_munge.so' | head -n 1)")
install -m 644 libcarbontracker.so "$plugins/carbontracker.so"
install -m 755 ct-track ct-report /usr/bin/
install -m 755 ct-noded ct-plant /usr/sbin/
install -D -m 644 carbontracker.toml /etc/carbontracker/carbontracker.toml
install -D -m 644 slurm-conf/plugstack.conf.d/carbontracker.conf /etc/slurm/plugstack.conf.d/carbontracker.conf
echo 'include /etc/slurm/plugstack.conf.d/*.conf' >>/etc/slurm/plugstack.conf
install -m 644 slurm-conf/sysusers.d/carbontracker.conf /usr/lib/sysusers.d/
install -m 644 slurm-conf/tmpfiles.d/carbontracker.conf /usr/lib/tmpfiles.d/
install -m 644 slurm-conf/systemd/ct-noded.service /etc/systemd/system/
systemd-sysusers
systemd-tmpfiles --create carbontracker.conf

cat >/etc/systemd/system/ct-plant.service <<'UNIT'
[Unit]
Description=power plant: a package whose power follows the CPU time of Slurm's jobs
Before=ct-noded.service

[Service]
ExecStart=/usr/sbin/ct-plant /host/spec.json /run/plant
ExecStartPost=/bin/sh -c 'until [ -e /run/plant/proc/stat ]; do sleep 0.1; done'
UNIT
install -d -m 755 /run/plant
systemctl daemon-reload
systemctl start --no-block ct-plant ct-noded
