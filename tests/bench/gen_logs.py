#!/usr/bin/env python3
"""gen_logs.py DIR PAIRS [EPOCHS_MEAN=20] [--mixed]: pairs of logs in upstream's formats.

The same arguments give the same bytes. All are of version 2.4.7; with --mixed every third is of
1.2.5 with its arrays. Writes DIR.truth.json with the exact sums a reader must come to.
"""
import json
import os
import random
import sys
from decimal import Decimal

PUE_TEXT = "Only predicted and actual consumptions are multiplied by a PUE coefficient of {} ({}, Uptime Institute Global Data Center Survey)."


def stamp(second):
    s = int(second)
    return "2024-%02d-%02d %02d:%02d:%02d" % (
        1 + s // 2592000 % 12, 1 + s // 86400 % 28, s // 3600 % 24, s // 60 % 60, s % 60)


def array(watts):
    """As numpy prints it: wrapped at 75 characters."""
    text, length = "[", 1
    for index, word in enumerate("%.8f" % w for w in watts):
        if index and length + len(word) + 1 > 75:
            text, length = text + "\n " + word, 1 + len(word)
        else:
            text, length = text + (" " if index else "") + word, length + len(word) + 1
    return text + "]"


def block(at, title, seconds, joules, pue, intensity, car):
    kwh, s = joules * pue / 3.6e6, int(seconds)
    values = ["%.12f" % v for v in (kwh, kwh * intensity, kwh * intensity / car)]
    text = ("%s - CarbonTracker: \n%s\n\tTime:\t%d:%02d:%02d\n\tEnergy:\t%s kWh\n\tCO2eq:\t%s g\n"
            "\tThis is equivalent to:\n\t%s km travelled by car")
    clock = (s // 3600, s // 60 % 60, s % 60)
    return text % (stamp(at), title, *clock, *values), values


def pair(index, rng, mean, is_mixed):
    """The two logs of one run, its file names' stem, and its measured values."""
    is_old = is_mixed and index % 3 == 0
    n_gpus = rng.choice([1, 2, 4, 8]) if is_old else 1
    n_epochs = max(1, int(rng.expovariate(1 / mean)))
    begin, pid = rng.randrange(20000000), rng.randrange(1000, 4000000)
    version, pue, car = ("1.2.5", 1.55, 107.5) if is_old else ("2.4.7", 1.58, 106.8)
    source = "Rhonda Ascierto, 2022" if is_old else "Daniel Bizo, 2023"
    intensity = rng.choice([445, 151.65, 475, 30.1, 388.2])
    names = ", ".join(["NVIDIA A100-SXM4-80GB"] * n_gpus)
    found = ("The following components were found: GPU with device(s) %s. "
             "CPU with device(s) cpu:0." % names)
    at = stamp(begin)
    log = ["%s - carbontracker version %s" % (at, version), "%s - %s" % (at, PUE_TEXT.format(pue, source)),
           "%s - %s" % (at, found), "%s - Monitoring thread started." % at]
    now, joules, first = begin, 0, None
    for epoch in range(1, n_epochs + 1):
        seconds = rng.uniform(20, 900)
        gpus, cpu = [rng.uniform(60, 400) for _ in range(n_gpus)], rng.uniform(40, 280)
        now += seconds
        joules += (sum(gpus) + cpu) * seconds
        first = first or (joules, seconds)
        gpu_text, cpu_text = (array(gpus), array([cpu])) if is_old else (repr(gpus[0]), repr(cpu))
        hours, rest = divmod(seconds, 3600)
        minutes, rest = divmod(rest, 60)
        at = stamp(now)
        log += ["%s - Epoch %d:" % (at, epoch),
                "%s - Duration: %d:%02d:%05.2f" % (at, hours, minutes, min(rest, 59.99)),
                "%s - Average power usage (W) for gpu: %s" % (at, gpu_text),
                "%s - Average power usage (W) for cpu: %s" % (at, cpu_text)]
    at = stamp(now)
    unit = "gCO2/kWh" if is_old else "gCO2eq/kWh"
    log += ["%s - Carbon intensities (%s) fetched every 900 s at detected location: Unknown: [%s]" % (at, unit, intensity),
            "%s - Average carbon intensity during training was %.2f gCO2eq/kWh. " % (at, intensity),
            "%s - Monitoring thread ended." % at]
    model = (pue, intensity, car)
    predicted, _ = block(now, "Predicted consumption for %d epoch(s):" % n_epochs, first[1] * n_epochs, first[0] * n_epochs, *model)
    actual, values = block(now, "Actual consumption for %d epoch(s):" % n_epochs, now - begin, joules, *model)
    output = ["%s - CarbonTracker: %s" % (stamp(begin), found), predicted, actual,
              "%s - CarbonTracker: Finished monitoring." % at]
    stem = "%d%s_2024-01-01T%06dZ" % (pid, "" if is_old else ".%d" % rng.randrange(1, 999999), index)
    return stem, log, output, values


def main():
    directory, n = sys.argv[1], int(sys.argv[2])
    mean = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3].isdigit() else 20
    os.makedirs(directory, exist_ok=True)
    rng = random.Random(n * 31 + mean)
    sums, n_bytes = [Decimal(0)] * 3, 0
    for index in range(n):
        stem, log, output, values = pair(index, rng, mean, "--mixed" in sys.argv)
        sums = [total + Decimal(value) for total, value in zip(sums, values)]
        for kind, lines in (("", log), ("_output", output)):
            data = ("\n".join(lines) + "\n").encode()
            n_bytes += len(data)
            with open("%s/%s_carbontracker%s.log" % (directory, stem, kind), "wb") as file:
                file.write(data)
    measured = dict(zip(("energy_kwh", "co2eq_g", "km"), map(str, sums)))
    with open(directory.rstrip("/") + ".truth.json", "w") as file:
        json.dump(dict(pairs=n, bytes=n_bytes, measured=measured), file)


if __name__ == "__main__":
    main()
