#!/bin/bash
# Jobs on pure cgroup v2 under systemd. Leaves in /host/out: ledger/, usages (CPU time by job id), and one file of
# facts a case, NAME.facts with lines KEY=VALUE; the test on the host judges them.
set -u
out=/host/out

user() { setpriv --reuid=1000 --regid=1000 --init-groups env HOME=/home/user bash -c "cd /home/user && $1"; }
fact() { echo "$2=$3" >>"$out/$1.facts"; } # fact CASE KEY VALUE
records() { cat /var/spool/carbontracker/ledger/*/vm.jsonl 2>/dev/null | grep -c '"kind":"job"'; }
wait_for_records() { # wait_for_records N: in the ledger
  for _ in $(seq 150); do [ "$(records)" -ge "$1" ] && return; sleep 0.2; done
  echo "no $1 records in the ledger after 30 s"
}

for job in "busy burn 24" "sleeper sleep 24" "restarted burn 12" "step burn 8"; do
  printf '#!/bin/bash\nburn() { local end=$((SECONDS + $1)); while [ $SECONDS -lt $end ]; do :; done; }\n%s\n' \
    "${job#* }" >"/home/user/${job%% *}.sh"
done
chmod 755 /home/user/*.sh
bash ./watch-usage.sh "$out/usages" &
watcher=$!

echo "== two jobs side by side"
user "sbatch --wait -J busy -c1 -o busy.out --carbontracker=on busy.sh" &
user "sbatch --wait -J sleeper -c1 -o sleeper.out sleeper.sh" &
wait %2 %3
cp /home/user/busy.out "$out/busy.out"
wait_for_records 2

echo "== the daemons are restarted under a job"
user "sbatch -Q -J restarted -c1 -o restarted.out restarted.sh"
sleep 4
systemctl restart ct-noded && fact restart noded $?
systemctl restart slurmd && fact restart slurmd $?
while [ -n "$(timeout 20 squeue -h -o %i)" ]; do sleep 0.3; done
wait_for_records 3

two_steps() { # two_steps CASE: an allocation of two steps
  user "timeout 120 salloc -Q -J $1 -n1 bash -c '
    for i in 1 2; do timeout 60 srun ./step.sh; sleep 1; done' >$1.out 2>$1.err"
  fact "$1" rc $?
}
echo "== salloc, prolog without Contain"
two_steps alloc
wait_for_records 4

echo "== salloc with PrologFlags=Contain"
sed -i 's/^PrologFlags=.*/PrologFlags=Contain/' /etc/slurm/slurm.conf
systemctl restart slurmctld slurmd
for _ in $(seq 60); do [ "$(timeout 5 sinfo -h -o %T)" = idle ] && break; sleep 0.5; done
two_steps contain
wait_for_records 5

kill "$watcher"
wait "$watcher"

systemd-analyze --no-pager security ct-noded >"$out/unit.txt"
fact unit exposure "$(sed -n 's/.*exposure level for ct-noded.service: \([0-9.]*\).*/\1/p' "$out/unit.txt")"
fact unit status "$(grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/$(pidof ct-noded)/status | tr '\n\t' '  ')"
fact node state "$(timeout 20 sinfo -h -o %T)"
fact node reason "$(timeout 20 sinfo -h -o %E)"
start=$(date +%s%N)
systemctl stop ct-noded
fact node stop_ms $((($(date +%s%N) - start) / 1000000))
ct-report reconcile --json >"$out/reconcile.json" 2>"$out/reconcile.err"
fact node reconcile_rc $?
systemctl stop ct-plant
cp -r /var/spool/carbontracker/ledger "$out/ledger"
cp /run/plant/truth.json "$out/"
journalctl -u ct-noded --no-pager >"$out/ct-noded.log"
exit 0
