#!/bin/bash
# Jobs on pure cgroup v2 under systemd. Leaves in /host/out: ledger/, usages (CPU time by job id), and one file of
# facts a case, NAME.facts with lines KEY=VALUE; the test on the host judges them.
set -u
out=/host/out

user() { setpriv --reuid=1000 --regid=1000 --init-groups env HOME=/home/user bash -c "cd /home/user && $1"; }
part() { echo "== $SECONDS s: $1"; }
fact() { echo "$2=$3" >>"$out/$1.facts"; } # fact CASE KEY VALUE
records() { cat /var/spool/carbontracker/ledger/*/vm.jsonl 2>/dev/null | grep -c '"kind":"job"'; }
wait_for_records() { # wait_for_records N: in the ledger
  for _ in $(seq 150); do [ "$(records)" -ge "$1" ] && return; sleep 0.2; done
  echo "no $1 records in the ledger after 30 s"
}

wait_for_node() { # idle
  for _ in $(seq 60); do [ "$(timeout 5 sinfo -h -o %T)" = idle ] && return; sleep 0.5; done
}

for job in "busy burn 24" "sleeper sleep 24" "step burn 8" "held hold"; do
  cat >"/home/user/${job%% *}.sh" <<JOB
#!/bin/bash
burn() { local end=\$((SECONDS + \$1)); while [ \$SECONDS -lt \$end ]; do :; done; }
hold() { burn 10; until [ -e "\$SLURM_JOB_NAME.over" ] || [ \$SECONDS -gt 300 ]; do sleep 0.5; done; } # until it is let go
${job#* }
JOB
done
chmod 755 /home/user/*.sh
bash ./watch-usage.sh "$out/usages" &
watcher=$!

part "two jobs side by side"
user "sbatch --wait -J busy -c1 -o busy.out --carbontracker=on busy.sh" &
user "sbatch --wait -J sleeper -c1 -o sleeper.out sleeper.sh" &
wait %2 %3
cp /home/user/busy.out "$out/busy.out"
wait_for_records 2

begin() { # begin CASE: a job that runs on until it is let go
  user "sbatch -Q -J $1 -c1 -o $1.out held.sh"
  until [ "$(timeout 20 squeue -h -n "$1" -o %T)" = RUNNING ]; do sleep 0.3; done
  sleep 2
}
finish() { # finish CASE
  user "touch $1.over"
  while [ -n "$(timeout 20 squeue -h -o %i)" ]; do sleep 0.3; done
}
daemon() { pidof -s ct-noded; }
daemon_is_back() { # daemon_is_back CASE PID: another than that one
  for _ in $(seq 150); do
    fresh=$(daemon)
    [ -n "$fresh" ] && [ "$fresh" != "$2" ] && [ "$fresh" = "$(cat /run/carbontracker/noded.pid)" ] && break
    sleep 0.2
  done
  fact "$1" after "$fresh"
}
upgrade() { # upgrade CASE DIR: to the packages there
  local before
  before=$(daemon)
  fact "$1" before "$before"
  dpkg -i "$2"/*.deb >"$out/$1.log" 2>&1
  fact "$1" rc $?
  part "upgraded"
  daemon_is_back "$1" "$before"
  fact "$1" version "$(dpkg-query -W -f '${Version}' carbontracker-slurm)"
  fact "$1" running "$(timeout 20 squeue -h -n "$1" -o %T)"
}

part "under a job: the unit is restarted, slurmd restarted and stopped for a while, the packages upgraded"
begin unit
systemctl restart ct-noded; fact unit noded $?
systemctl restart slurmd; fact unit slurmd $?
systemctl stop slurmd; fact unit stop $?
sleep 1
fact unit without_slurmd "$(systemctl is-active ct-noded)"
systemctl start slurmd; fact unit start $?
# As at boot, where slurmd comes first: what the plugin starts then gives way to the unit's.
systemctl stop ct-noded
systemctl restart slurmd
until [ "$(cat "/proc/$(daemon)/cgroup")" = 0::/system.slice/slurmd.service ]; do sleep 0.2; done 2>/dev/null
systemctl start ct-noded; fact unit taken $?
fact unit taken_cgroup "$(cat "/proc/$(daemon)/cgroup")"
upgrade unit ./2
fact unit active "$(systemctl is-active ct-noded)"
fact unit cgroup "$(cat "/proc/$(daemon)/cgroup")"
fact unit status "$(grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$(daemon)/status" | tr '\n\t' '  ')"
finish unit
wait_for_records 3

two_steps() { # two_steps CASE: an allocation of two steps
  user "timeout 120 salloc -Q -J $1 -n1 bash -c '
    for i in 1 2; do timeout 60 srun ./step.sh; sleep 1; done' >$1.out 2>$1.err"
  fact "$1" rc $?
}
part "salloc, prolog without Contain"
two_steps alloc
wait_for_records 4

part "salloc with PrologFlags=Contain"
sed -i 's/^PrologFlags=.*/PrologFlags=Contain/' /etc/slurm/slurm.conf
systemctl restart slurmctld slurmd
wait_for_node
two_steps contain
wait_for_records 5

part "the same without the unit: the plugin starts the daemon with slurmd, and the packages start it again there"
systemctl disable -q --now ct-noded
systemctl restart slurmd
wait_for_node
fact plugin active "$(systemctl is-active ct-noded)"
fact plugin cgroup "$(cat "/proc/$(daemon)/cgroup")"
begin plugin
first=$(daemon)
systemctl restart slurmd; fact plugin slurmd $?
systemctl stop slurmd; fact plugin stop $?
[ "$(daemon)" = "$first" ] && [ -d "/proc/$first" ]; fact plugin lives_on $?
upgrade plugin ./3
fact plugin cgroup_after "$(cat "/proc/$(daemon)/cgroup")"
systemctl start slurmd; fact plugin start $?
finish plugin
wait_for_records 6
fact plugin daemons "$(pidof ct-noded | wc -w)"

part "over"
kill "$watcher"
wait "$watcher"

systemd-analyze --no-pager security ct-noded >"$out/unit.txt"
fact unit exposure "$(sed -n 's/.*exposure level for ct-noded.service: \([0-9.]*\).*/\1/p' "$out/unit.txt")"
fact node state "$(timeout 20 sinfo -h -o %T)"
fact node reason "$(timeout 20 sinfo -h -o %E)"
start=$(date +%s%N)
kill "$(daemon)"
while pidof ct-noded >/dev/null; do sleep 0.02; done
fact node stop_ms $((($(date +%s%N) - start) / 1000000))
ct-report reconcile --json >"$out/reconcile.json" 2>"$out/reconcile.err"
fact node reconcile_rc $?
systemctl stop ct-plant
cp -r /var/spool/carbontracker/ledger "$out/ledger"
cp /run/plant/truth.json "$out/"
journalctl -u ct-noded --no-pager >"$out/ct-noded.log"
exit 0
