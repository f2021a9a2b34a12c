# ct-noded as the plugin starts it, without a unit.

# Process ids of every ct-noded of this very file system whose program is ours, also one that was
# replaced meanwhile; several, where several slurmd run on one host.
own_daemons() {
    root=$(stat -Lc %d:%i /)
    for proc in /proc/[0-9]*; do
        case $(readlink "$proc/exe" 2>/dev/null || true) in
        /usr/sbin/ct-noded | /usr/sbin/ct-noded[\ .]*) ;;
        *) continue ;;
        esac
        [ "$(stat -Lc %d:%i "$proc/root" 2>/dev/null)" = "$root" ] || continue
        # One that a unit started is the unit's.
        if grep -q '/ct-noded\.service$' "$proc/cgroup" 2>/dev/null; then continue; fi
        echo "${proc#/proc/}"
    done
}

# end_daemon PID: SIGTERM, and at most five seconds of patience. It writes its state; jobs go on.
end_daemon() {
    kill "$1" 2>/dev/null || return 0
    tries=25
    while [ $tries -gt 0 ] && kill -0 "$1" 2>/dev/null; do
        sleep 0.2
        tries=$((tries - 1))
    done
}

# enter_cgroups FILE: goes where a process was, by its /proc/PID/cgroup: out of the session of
# whoever installs, with which the daemon would end.
enter_cgroups() {
    while IFS=: read -r _ controllers path; do
        dir=/sys/fs/cgroup/${controllers#name=}$path/cgroup.procs
        if [ -w "$dir" ]; then echo $$ >"$dir" 2>/dev/null || true; fi
    done <"$1"
}

# Restarts each with its environment and its arguments: it takes up the running jobs, and books
# the gap from the counters.
restart_daemons() {
    for pid in $(own_daemons); do
        words=$(mktemp)
        groups=$(mktemp)
        cat "/proc/$pid/environ" "/proc/$pid/cmdline" >"$words"
        cat "/proc/$pid/cgroup" >"$groups"
        end_daemon "$pid"
        (
            cd /
            enter_cgroups "$groups"
            # VARIABLE=VALUE… PROGRAM ARGUMENT…, each ended by NUL.
            xargs -0 -a "$words" setsid -f env -i </dev/null >/dev/null 2>&1
        ) || echo "carbontracker: ct-noded could not be started again; the next job's hooks will" >&2
        rm -f "$words" "$groups"
    done
}

is_systemd_running() { [ -d /run/systemd/system ]; }
