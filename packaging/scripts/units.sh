# What a site may have enabled.
UNITS="ct-noded.service ct-budget.timer ct-compact.timer ct-intensity-fetch.timer ct-publish.timer"

# What was enabled by hand is a link each, which would start the next package of this name.
disable_units() {
    for unit in $UNITS; do
        rm -f /etc/systemd/system/*.wants/"$unit" /etc/systemd/system/*.requires/"$unit"
    done
}

is_systemd_running() { [ -d /run/systemd/system ]; }
