"""other_tracker.py carbontracker|codecarbon SECONDS: measures a sleep with another tracker.

Prints, as JSON, when the measurement began and ended (seconds since 1970) and the joules reported for
CPU and memory, without PUE. Both trackers are set up as their documentation has it.
"""
import glob
import json
import os
import re
import sys
import tempfile
import time


def carbontracker(seconds):
    from carbontracker import constants
    from carbontracker.tracker import CarbonTracker
    logs = tempfile.mkdtemp()
    tracker = CarbonTracker(epochs=1, epochs_before_pred=0, monitor_epochs=1, log_dir=logs,
                            verbose=0, components="cpu")
    # Its thread begins first.
    time.sleep(1)
    tracker.epoch_start()
    begin = time.time()
    time.sleep(seconds)
    end = time.time()
    tracker.epoch_end()
    with open(glob.glob(logs + "/*output.log")[0]) as file:
        kwh = re.search(r"Actual consumption:?[\s\S]*?Energy:\s*(\S+) kWh", file.read()).group(1)
    return begin, end, float(kwh) / constants.PUE_2023 * 3.6e6


def codecarbon(seconds):
    from codecarbon import OfflineEmissionsTracker
    tracker = OfflineEmissionsTracker(country_iso_code="DNK", measure_power_secs=1,
                                      save_to_file=False, log_level="error")
    tracker.start()
    begin = time.time()
    time.sleep(seconds)
    end = time.time()
    tracker.stop()
    # Its RAM is a constant by the size of the memory, whatever RAPL counts.
    return begin, end, tracker.final_emissions_data.cpu_energy * 3.6e6


def main():
    measure = {"carbontracker": carbontracker, "codecarbon": codecarbon}[sys.argv[1]]
    os.chdir(tempfile.mkdtemp())
    begin, end, joules = measure(float(sys.argv[2]))
    print(json.dumps({"begin": begin, "end": end, "joules": joules}), flush=True)


if __name__ == "__main__":
    main()
