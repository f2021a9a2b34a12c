"""A simulated machine for benchmarks: the power plant, programs that see its /sys, other trackers.

Everything is local: the programs run in a mount namespace in which the plant's tree is /sys, and in
a network namespace without any interface.
"""
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PYTHON = ROOT + "/tests/.venv/bin/python"
OTHERS = ("carbontracker==2.4.7", "codecarbon==3.3.2")
# What some RAPL counters count to: 262 kJ.
USUAL_RANGE_UJ = 262_143_328_850


def require_root():
    if os.geteuid() != 0:
        sys.exit("run it as root: it mounts a simulated /sys, in a namespace of its own")


def install_others():
    """carbontracker and codecarbon in tests/.venv; returns its bin directory."""
    if not os.path.exists(PYTHON):
        subprocess.run([sys.executable, "-m", "venv", ROOT + "/tests/.venv"], check=True)
    check = "import importlib.metadata as m, sys; sys.exit(any(m.version(p) != v for p, v in " \
        "(a.split('==') for a in sys.argv[1:])))"
    if subprocess.run([PYTHON, "-c", check, *OTHERS], stderr=subprocess.DEVNULL).returncode != 0:
        subprocess.run([PYTHON, "-m", "pip", "install", "-q", *OTHERS], check=True)
    return os.path.dirname(PYTHON)


def build():
    """Builds what is measured, and the plant; returns the directory of the programs."""
    for package, *only in (("ct-node",), ("ct-tests", "--bin", "ct-plant")):
        subprocess.run(["cargo", "build", "--quiet", "--release", "-p", package, *only],
                       cwd=ROOT, check=True)
    return os.environ.get("CARGO_TARGET_DIR", ROOT + "/target") + "/release"


def scratch():
    """A directory in memory where there is one: the plant writes its counters up to 1000 times a s."""
    return tempfile.mkdtemp(prefix="ct-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def constant(watts, **domain):
    return {"waveform": {"shape": "constant", "watts": watts}, **domain}


def square(period_s, low_w=50.0, high_w=250.0, **domain):
    wave = {"shape": "square", "low_w": low_w, "high_w": high_w, "period_s": period_s}
    return {"waveform": wave, **domain}


class Plant:
    """A running ct-plant with these RAPL packages, which shows their counters each update_ms."""

    def __init__(self, programs, packages, update_ms):
        self.root = scratch()
        self.meters = [f"package-{n}" + part for n, package in enumerate(packages)
                       for part in [""] + ["/dram"] * ("dram" in package)]
        spec = {"packages": packages, "energy_uj_is_public": True, "update_ms": update_ms}
        with open(self.root + "/spec.json", "w") as file:
            json.dump(spec, file)
        self.process = subprocess.Popen(
            [programs + "/ct-plant", "--until-eof", self.root + "/spec.json", self.root],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # A real counter is updated by the processor, whoever else is busy.
        os.setpriority(os.PRIO_PROCESS, self.process.pid, -15)
        self.started = float(self._answer().removeprefix("started "))

    def _answer(self):
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("error: "):
            sys.exit(f"ct-plant says {line!r}")
        return line

    def drawn_j(self, begin, end):
        """What all meters drew between two times, in seconds since 1970."""
        sums = []
        for at in (begin, end):
            self.process.stdin.write(f"truth {at:.6f}\n")
            self.process.stdin.flush()
            truth = json.loads(self._answer())["energy_j"]
            sums.append(sum(truth[meter] for meter in self.meters))
        return sums[1] - sums[0]

    def command(self, command):
        """The command on this machine: its /sys is the plant's, and it has no network."""
        script = 'mount --make-rprivate / && mount --bind "$0" /sys && exec "$@"'
        return ["unshare", "--mount", "--net", "sh", "-c", script, self.root + "/sys", *command]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self.root)


class Noded:
    """A running ct-noded on a plant's machine, spoken to as Slurm's hooks do."""

    def __init__(self, programs, plant, policy="hybrid"):
        self.dir = scratch()
        # The service user passes through it.
        os.chmod(self.dir, 0o755)
        config = self.dir + "/carbontracker.toml"
        with open(config, "w") as file:
            file.write(f'[node]\nrun_dir = "{self.dir}/run"\nstate_dir = "{self.dir}/state"\n'
                       f'[attribution]\npolicy = "{policy}"\n'
                       f'[ledger]\ndir = "{self.dir}/ledger"\ncluster = "bench"\n')
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            plant.command([programs + "/ct-noded", "--config", config, "--node", "n1"]),
            stderr=subprocess.PIPE, text=True)
        while True:
            try:
                self.ask(op="ping")
                break
            except OSError:
                if self.process.poll() is not None or time.perf_counter() > begin + 20:
                    sys.exit(f"ct-noded does not answer: {self.process.stderr.read()}")
                time.sleep(0.001)
        self.startup_s = time.perf_counter() - begin

    def ask(self, **request):
        """One request on a connection of its own, as hooks have it: a silent one is soon closed."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.dir + "/run/noded.sock")
            connection.sendall((json.dumps({"v": 1, **request}) + "\n").encode())
            reply = json.loads(connection.makefile().readline())
        if reply["reply"] == "error":
            sys.exit(f"ct-noded says {reply['message']!r}")

    def start_job(self, interval_s):
        """A job that has the whole node."""
        job = {"job_id": 1, "uid": 0, "alloc_cpus": os.cpu_count(), "n_nodes": 1,
               "option": f"update_interval:{interval_s}"}
        self.ask(op="job_start", **job)
        # A job whose slurmstepd is gone is asked for at slurmctld; this process stands in for it.
        self.ask(op="step_start", job=job, step={"name": "0", "stepd_pid": os.getpid(), "cgroup": ""})

    def end_job(self):
        """Ends it and returns its record."""
        self.ask(op="job_end", job={"job_id": 1, "uid": 0}, wait_status=0)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for path in glob.glob(self.dir + "/ledger/*/n1.jsonl"):
                with open(path) as file:
                    records = [json.loads(line) for line in file if line.endswith("\n")]
                ours = [r for r in records if r.get("kind", "job") == "job"]
                if ours:
                    return ours[0]
            time.sleep(0.1)
        sys.exit("ct-noded wrote no record within a minute")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()
        shutil.rmtree(self.dir)
