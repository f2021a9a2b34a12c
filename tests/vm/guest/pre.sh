#!/bin/sh
# Installs the packages of carbontracker in the VM as INSTALL.md says, before any daemon of Slurm starts, and the
# power plant in place of hardware. Runs in the directory with all files, early in the boot.
set -eu
cd "$(dirname "$0")"

# The tree was built with a policy that starts nothing.
rm -f /usr/sbin/policy-rc.d
dpkg -i ./1/*.deb
install -m 755 ct-plant /usr/sbin/
# What a site sets in the conffile: here the plant's trees.
install -m 644 carbontracker.toml /etc/carbontracker/carbontracker.toml
echo 'include /etc/slurm/plugstack.conf.d/*.conf' >/etc/slurm/plugstack.conf

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
systemctl enable -q ct-noded
systemctl start --no-block ct-plant ct-noded
