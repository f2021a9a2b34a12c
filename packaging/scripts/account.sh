# The service user and the directories, with systemd's tools or without.

make_account() {
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers carbontracker.conf
    elif ! getent passwd carbontracker >/dev/null; then
        useradd --system --user-group --home-dir /var/lib/carbontracker --no-create-home \
            --shell /usr/sbin/nologin --comment "carbontracker energy accounting" carbontracker
    fi
}

make_directories() {
    if command -v systemd-tmpfiles >/dev/null; then
        systemd-tmpfiles --create carbontracker.conf || true
        return 0
    fi
    for dir in "755 /run/carbontracker" "750 /var/lib/carbontracker" \
        "755 /var/spool/carbontracker" "750 /var/spool/carbontracker/ledger"; do
        path=${dir#* }
        # One that is there may be a mount, and as the site wants it.
        [ -d "$path" ] || install -d -o carbontracker -g carbontracker -m "${dir% *}" "$path"
    done
}
