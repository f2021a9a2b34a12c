# ct-noded as the plugin starts it, without a unit.

# is_service_user UID: whether ct-noded runs as this user once it has started. A user's own ct-noded
# is the user's affair.
is_service_user() {
    config=/etc/carbontracker/carbontracker.toml
    set -- "$1" root carbontracker nobody \
        "$(sed -n 's/^[[:space:]]*service_user[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' $config 2>/dev/null)"
    uid=$1
    shift
    for user; do
        if [ -n "$user" ] && [ "$(id -u "$user" 2>/dev/null)" = "$uid" ]; then return 0; fi
    done
    return 1
}

# Process ids of every ct-noded of this very file system whose program is ours, also one that was
# replaced meanwhile; several, where several slurmd run on one host.
own_daemons() {
    root=$(stat -Lc %d:%i /)
    for proc in /proc/[0-9]*; do
        # In another mount namespace the path begins where its root is mounted.
        case $(readlink "$proc/exe" 2>/dev/null || true) in
        */usr/sbin/ct-noded | */usr/sbin/ct-noded[\ .]*) ;;
        *) continue ;;
        esac
        [ "$(stat -Lc %d:%i "$proc/root" 2>/dev/null)" = "$root" ] || continue
        is_service_user "$(sed -n 's/^Uid:[[:space:]]*\([0-9]*\).*/\1/p' "$proc/status" 2>/dev/null)" || continue
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
    while IFS=: read -r _ controllers cgroup; do
        procs=/sys/fs/cgroup/${controllers#name=}$cgroup/cgroup.procs
        # 0 is whoever writes, here a subshell.
        if [ -w "$procs" ]; then echo 0 >"$procs" 2>/dev/null || true; fi
    done <"$1"
}

# arguments PID: those that the plugin starts it with, one a line; fails where there are others. The
# new one begins as root, so the service user's word is not taken: not for a program, not for a
# configuration that others can write.
arguments() {
    tr '\0' '\n' <"/proc/$1/cmdline" | {
        read -r _ || exit 1
        while read -r word; do
            case $word in
            --daemon)
                echo "$word"
                continue
                ;;
            --config)
                read -r value
                # Only root writes below /etc, and no shell takes such a name for anything else.
                case $value in */../* | *[!A-Za-z0-9._/+-]*) exit 1 ;; /etc/*) ;; *) exit 1 ;; esac
                [ -n "$(find -L "$value" -maxdepth 0 -type f -user root ! -perm /022 2>/dev/null)" ] || exit 1
                ;;
            --node)
                read -r value
                case $value in *[!A-Za-z0-9._-]* | '') exit 1 ;; esac
                ;;
            *) exit 1 ;;
            esac
            echo "$word"
            echo "$value"
        done
    }
}

# is_roots PATH: whether root alone decides what is there, now and later: no link in it, and nobody
# else who could replace it or what it lies in. In a directory with the sticky bit nobody can.
is_roots() {
    at=$1
    case $at in /*) ;; *) return 1 ;; esac
    [ "$(realpath -e -- "$at" 2>/dev/null)" = "$at" ] || return 1
    [ -n "$(find "$at" -maxdepth 0 -user root ! -perm /022 2>/dev/null)" ] || return 1
    while [ "$at" != / ]; do
        at=$(dirname -- "$at")
        [ -n "$(find "$at" -maxdepth 0 -user root \( ! -perm /022 -o -perm -1000 \) 2>/dev/null)" ] ||
            return 1
    done
}

# variable PID NAME: its value in the environment of a process.
variable() { tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n "s/^$2=//p" | sed 1q; }

# say_dropped WHAT: that the new one goes without it, and why. The text is a process's own: no control
# characters go to the terminal.
say_dropped() {
    echo "carbontracker: ct-noded goes on without $1: it is not there, or others than root can write it" |
        tr -d '[:cntrl:]' >&2
    echo >&2
}

# search_path VALUE: the usual directories, and those of a PATH that are root's. A process can write
# what it likes into its environment, and the service user's word is not taken for a program's place.
search_path() {
    found=/usr/sbin:/usr/bin:/sbin:/bin
    rest=$1:
    while [ -n "$rest" ]; do
        dir=${rest%%:*} rest=${rest#*:}
        case :$found: in *":$dir:"*) continue ;; esac
        # Links of directories, such as /bin, are no reason to leave one out.
        dir=$(realpath -e -- "$dir" 2>/dev/null) || continue
        case :$found: in *":$dir:"*) continue ;; esac
        if [ -d "$dir" ] && is_roots "$dir"; then
            found=$found:$dir
        elif [ -d "$dir" ]; then
            say_dropped "$dir of its PATH"
        fi
    done
    echo "$found"
}

# slurm_conf VALUE: Slurm's configuration, where root alone writes it; else Slurm looks where it does.
slurm_conf() {
    if [ -z "$1" ]; then return 0; fi
    file=$(realpath -e -- "$1" 2>/dev/null) || file=
    if [ -f "$file" ] && is_roots "$file"; then
        echo "$file"
    else
        say_dropped "SLURM_CONF=$1"
    fi
}

# Restarts each as the plugin started it: it takes up the running jobs, and books the gap from the
# counters.
restart_daemons() {
    for pid in $(own_daemons); do
        arguments=$(arguments "$pid") || arguments=
        path=$(search_path "$(variable "$pid" PATH)")
        conf=$(slurm_conf "$(variable "$pid" SLURM_CONF)")
        groups=$(mktemp)
        # One that has gone meanwhile needs nothing.
        cat "/proc/$pid/cgroup" >"$groups" 2>/dev/null || {
            rm -f "$groups"
            continue
        }
        if [ -n "$arguments" ]; then
            (
                cd /
                # While the old one lives: systemd removes the group of a stopped slurmd once it is empty.
                enter_cgroups "$groups"
                end_daemon "$pid"
                # shellcheck disable=SC2086  # One word a line.
                IFS='
'
                exec setsid -f env -i "PATH=$path" ${conf:+"SLURM_CONF=$conf"} \
                    /usr/sbin/ct-noded $arguments </dev/null >/dev/null 2>&1
            ) || echo "carbontracker: ct-noded could not be started again; the next job's hooks will" >&2
        else
            end_daemon "$pid"
            echo "carbontracker: ct-noded has ended; the next job's hooks start the new one" >&2
        fi
        rm -f "$groups"
    done
}
