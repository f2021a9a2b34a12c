# What a site may have enabled.
UNITS="ct-noded.service ct-budget.timer ct-compact.timer ct-intensity-fetch.timer ct-publish.timer"

is_systemd_running() { [ -d /run/systemd/system ]; }
