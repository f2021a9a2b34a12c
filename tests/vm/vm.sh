#!/bin/bash
# A virtual machine with systemd, pure cgroup v2 and Slurm, without KVM and without touching this machine.
#
#   vm.sh build             builds it below $VM: qemu, and a Debian 13 root image with Slurm and munge (1 minute)
#   vm.sh run SCRIPT [DIR]  boots it, with DIR (default: SCRIPT's directory) copied to /host, runs SCRIPT there
#                           as root and powers off; what it leaves in /host/out comes to $OUT
#   vm.sh tree              prints the directory of a root tree of $SUITE with Slurm and munge, to be used without a
#                           machine (CT_CLUSTER_ROOT); the machine's own where it is built, else a smaller one is made
#   vm.sh clean             removes everything below $VM
#
# The script's output is shown live and its exit status is vm.sh's. DIR/pre.sh runs before munge,
# slurmctld and slurmd start. Needs root and network for `build`; debootstrap is installed where missing.
# Settings (environment): VM SUITE SMP MEM LIMIT(seconds) OUT EXTRA(packages) APPEND(kernel arguments)
set -euo pipefail
VM=${VM:-/var/tmp/ct-vm}; SUITE=${SUITE:-trixie}; SMP=${SMP:-2}; MEM=${MEM:-2G}; LIMIT=${LIMIT:-600}
OUT=${OUT:-$VM/out}; EXTRA=${EXTRA:-}; APPEND=${APPEND:-}
R=$VM/$SUITE.root; IMG=$VM/$SUITE.img; KRN=$VM/$SUITE.vmlinuz; RD=$VM/$SUITE.initrd
lap() { echo "vm.sh: $((SECONDS - T)) s: $1" >&2; T=$SECONDS; }

# qemu 10 of Debian 13 in a directory of its own, run by that root's loader: Debian 12's 7.2 hangs now and then.
Q=$VM/qemu QR=$VM/trixie.root
get_qemu() {
  [ -x "$Q/usr/bin/qemu-system-x86_64" ] && return
  local d=$QR/tmp/debs; mkdir -p "$d/partial" "$Q"; cp /etc/resolv.conf "$QR/etc/resolv.conf"
  chroot "$QR" apt-get update -qq
  chroot "$QR" apt-get install -y -qq --download-only --no-install-recommends -o APT::Sandbox::User=root -o Dir::Cache::archives=/tmp/debs \
    -o APT::Keep-Downloaded-Packages=true qemu-system-x86 >"$VM/qemu-apt.log" 2>&1
  for i in "$d"/*.deb; do dpkg -x "$i" "$Q"; done
  rm -rf "$d" "$QR"/var/lib/apt/lists/*
}
qemu() {
  QEMU_MODULE_DIR=$Q/usr/lib/x86_64-linux-gnu/qemu exec "$QR/lib64/ld-linux-x86-64.so.2" \
    --library-path "$Q/usr/lib/x86_64-linux-gnu:$QR/usr/lib/x86_64-linux-gnu" "$Q/usr/bin/qemu-system-x86_64" -L "$Q/usr/share/qemu" -L "$Q/usr/share/seabios" "$@"
}

put() { mkdir -p "$R$(dirname "$1")"; cat >"$R$1"; }   # a file of the guest, from stdin
configure() {
  echo vm >"$R/etc/hostname"; printf '127.0.0.1 localhost\n10.9.9.9 vm\n' >"$R/etc/hosts"; echo '/dev/vda / ext4 rw,noatime 0 0' >"$R/etc/fstab"
  : >"$R/etc/machine-id"; chroot "$R" passwd -qd root
  chroot "$R" useradd -m -u 1000 -s /bin/bash user 2>/dev/null || true
  mkdir -p "$R/var/lib/slurm/slurmctld" "$R/var/lib/slurm/slurmd" "$R/var/log/slurm" "$R/host"
  chroot "$R" chown -R slurm:slurm /var/lib/slurm/slurmctld /var/log/slurm
  put /etc/slurm/slurm.conf <<'EOF'
ClusterName=vm
SlurmctldHost=vm
SlurmUser=slurm
AuthType=auth/munge
MpiDefault=none
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdDebug=verbose
SlurmdParameters=config_overrides
ReturnToService=2
PrologFlags=Alloc
MessageTimeout=30
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup,task/affinity
JobAcctGatherType=jobacct_gather/cgroup
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PlugStackConfig=/etc/slurm/plugstack.conf
NodeName=vm CPUs=2 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=1500 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=300 State=UP
EOF
  [ "$SUITE" = bookworm ] && printf 'SwitchType=switch/none\nAccountingStorageType=accounting_storage/none\n' >>"$R/etc/slurm/slurm.conf"
  printf 'CgroupPlugin=cgroup/v2\nConstrainCores=yes\nConstrainRAMSpace=yes\nConstrainDevices=yes\n' >"$R/etc/slurm/cgroup.conf"
  : >"$R/etc/slurm/plugstack.conf"
  echo force-unsafe-io | put /etc/dpkg/dpkg.cfg.d/throwaway
  put /usr/local/sbin/host-in <<'EOF'
#!/bin/sh
ip link set lo up; ip addr add 10.9.9.9/32 dev lo   # glibc's AI_ADDRCONFIG refuses to resolve with 127.0.0.1 alone
mkdir -p /host; tar -C /host -xf /dev/vdb; mkdir -p /host/out; [ -f /host/pre.sh ] || exit 0; cd /host; exec sh /host/pre.sh >/host/out/pre.log 2>&1
EOF
  put /usr/local/sbin/host-run <<'EOF'
#!/bin/bash
stty -F /dev/ttyS1 raw -echo 115200; exec >/dev/ttyS1 2>&1 </dev/null
for i in $(seq 40); do [ "$(timeout 5 sinfo -h -o %T 2>/dev/null)" = idle ] && break; sleep 0.5; done
cd /host; export HOME=/root; bash "./$(cat .script)"; echo $? >/host/out/.rc
cp /var/log/slurm/*.log /host/out/ 2>/dev/null
tar -C /host/out -cf /dev/vdc .; sync; [ -e /host/clean ] && exec systemctl --no-block poweroff
exec systemctl poweroff -ff   # a process that ignores SIGTERM holds a clean shutdown for 90 s; DIR/clean asks for one
EOF
  chmod 755 "$R/usr/local/sbin/host-in" "$R/usr/local/sbin/host-run"
  put /etc/systemd/system/host-in.service <<'EOF'
[Unit]
Description=unpack /host from the input disk
DefaultDependencies=no
After=local-fs.target
Before=munge.service slurmctld.service slurmd.service sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/host-in
[Install]
WantedBy=sysinit.target
EOF
  put /etc/systemd/system/host-run.service <<'EOF'
[Unit]
Description=run the script from the host and power off
After=munge.service slurmctld.service slurmd.service
[Service]
Type=exec
KillMode=process
ExecStart=/usr/local/sbin/host-run
[Install]
WantedBy=multi-user.target
EOF
  mkdir -p "$R/etc/systemd/system/slurmd.service.d"
  printf '[Unit]\nAfter=slurmctld.service\n' >"$R/etc/systemd/system/slurmd.service.d/order.conf"   # one node: no registration retry
  chroot "$R" systemctl enable -q host-in host-run munge slurmctld slurmd
  chroot "$R" systemctl mask -q getty@tty1 apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-timesyncd man-db.timer logrotate.timer systemd-random-seed systemd-networkd-wait-online 2>/dev/null
}

# The suite's name decides its script; a suite that is newer than debootstrap itself has that of sid.
strap() { # strap PACKAGES DIR
  local script=/usr/share/debootstrap/scripts/$SUITE
  [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
  command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap
  rm -rf "$2"
  debootstrap --variant=minbase --include="$1" "$SUITE" "$2" http://deb.debian.org/debian "$script" >"$VM/$SUITE-debootstrap.log" 2>&1
}
install_slurm() { # install_slurm DIR PACKAGES...: no daemon is started in there
  local r=$1; shift
  printf '#!/bin/sh\nexit 101\n' >"$r/usr/sbin/policy-rc.d"; chmod 755 "$r/usr/sbin/policy-rc.d"
  cp /etc/resolv.conf "$r/etc/resolv.conf"; mount -t proc proc "$r/proc"
  chroot "$r" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client libslurm-dev munge "$@" \
    >"$VM/$SUITE-apt.log" 2>&1 || { umount "$r/proc"; return 1; }
  umount "$r/proc"
}

tree() {
  local r=$VM/$SUITE.root; T=$SECONDS
  if [ ! -e "$r/.ok" ]; then
    r=$VM/$SUITE.tree
    if [ ! -e "$r/.ok" ]; then
      mkdir -p "$VM"; strap systemd-standalone-sysusers "$r"; install_slurm "$r"
      touch "$r/etc/hosts"   # bound over
      rm -rf "$r"/var/cache/apt/archives/*.deb "$r"/var/lib/apt/lists/*; touch "$r/.ok"; lap "tree of $SUITE"
    fi
  fi
  echo "$r"
}

build() {
  [ "$IMG" -nt "$0" ] && return   # built already, by this very script
  T=$SECONDS; mkdir -p "$VM"
  if [ ! -e "$R/.ok" ]; then
    strap systemd,systemd-sysv,dbus,udev,kmod,iproute2,initramfs-tools,zstd,linux-image-cloud-amd64 "$R"; lap debootstrap
    install_slurm "$R" $EXTRA; lap "slurm and munge"
    mount -t proc proc "$R/proc"
    printf 'virtio_pci\nvirtio_blk\next4\n' >>"$R/etc/initramfs-tools/modules"
    sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=lz4/' "$R/etc/initramfs-tools/initramfs.conf"
    chroot "$R" update-initramfs -u -k all >"$VM/$SUITE-initrd.log" 2>&1; umount "$R/proc"
    rm -rf "$R"/var/cache/apt/archives/*.deb "$R"/var/lib/apt/lists/*; touch "$R/.ok"; lap initrd
  fi
  get_qemu; lap "qemu in $VM/qemu"
  configure
  cp "$R"/boot/vmlinuz-* "$KRN"; cp "$R"/boot/initrd.img-* "$RD"
  rm -f "$IMG"; truncate -s 2G "$IMG"; mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 -d "$R" "$IMG"
  lap "image: $(du -m "$IMG" | cut -f1) MB, kernel $(du -k "$KRN" | cut -f1) kB, initrd $(du -k "$RD" | cut -f1) kB"
}

run() {
  local s=$1 d; s=$(realpath "$s"); d=$(realpath "${2:-$(dirname "$s")}")
  local w; w=$(mktemp -d "$VM/run.XXXXXX"); mkdir -p "$OUT"
  cp -a "$d" "$w/host"; cp "$s" "$w/host/.run.sh"; echo .run.sh >"$w/host/.script"
  tar -C "$w/host" --exclude=./out -cf "$w/in.tar" .; truncate -s %1M "$w/in.tar"; truncate -s 64M "$w/out.tar"
  ( qemu -accel tcg,thread=multi -cpu max -smp "$SMP" -m "$MEM" -M q35 -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$KRN" -initrd "$RD" -serial "file:$w/console.log" -serial stdio \
    -drive "file=$IMG,format=raw,if=virtio,snapshot=on" -drive "file=$w/in.tar,format=raw,if=virtio,readonly=on" -drive "file=$w/out.tar,format=raw,if=virtio" \
    -append "root=/dev/vda rw console=ttyS0 mitigations=off systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 net.ifnames=0 random.trust_cpu=1 panic=-1 $APPEND" </dev/null ) &
  local q=$! i=0
  while kill -0 $q 2>/dev/null; do sleep 0.2; i=$((i + 1)); [ $i -lt $((LIMIT * 5)) ] || { echo "vm.sh: $LIMIT s are over" >&2; kill $q; break; }; done
  wait $q || true
  cp "$w/console.log" "$OUT/"; tar -C "$OUT" -xf "$w/out.tar" 2>/dev/null || true
  local rc=125; [ -e "$OUT/.rc" ] && rc=$(cat "$OUT/.rc"); rm -f "$OUT/.rc"; rm -rf "$w"; return "$rc"
}

case "${1:-}" in
  build) build ;;
  tree) tree ;;
  run) [ $# -ge 2 ] || { echo "usage: vm.sh run SCRIPT [DIR]" >&2; exit 2; }; rm -rf "${OUT:?}"; run "$2" "${3:-}" ;;
  clean) rm -rf "${VM:?}" ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
