"""Marks epochs for the carbontracker plugin of Slurm: the calls of carbontracker, no dependencies."""
import json, os, socket, subprocess, sys, time

# What a program may say of its training; the rest is the job's --carbontracker option.
_KEYS = ("epochs", "epochs_before_pred", "monitor_epochs", "interpretable", "decimal_precision",
         "stop_and_confirm")


class CarbonTracker:
    def __init__(self, epochs, epochs_before_pred=1, monitor_epochs=-1, *_, **options):
        # What is upstream's default is left to the job's option.
        if epochs_before_pred != 1:
            options["epochs_before_pred"] = epochs_before_pred
        if monitor_epochs != -1:
            options["monitor_epochs"] = monitor_epochs
        options = {key: value for key, value in dict(options, epochs=epochs).items() if key in _KEYS}
        text = ",".join(f"{key}:{value}" for key, value in options.items())
        self._socket = os.environ.get("CARBONTRACKER_SOCKET")
        if not self._socket:
            print("carbontracker: no tracker around; nothing is measured", file=sys.stderr)
        self._ask("declare", option=text)

    def set_api_keys(self, api_dict):
        """Intensities are the site's: nothing is fetched from a job."""

    def epoch_start(self):
        self._ask("epoch_start")

    def epoch_end(self):
        reply = self._ask("epoch_end")
        how = reply.get("confirm", {}).get("how", "")
        while reply.get("confirm", {}).get("state") == "waiting":
            print(how, end="", flush=True)
            how = ""
            time.sleep(1)
            reply = self._ask("confirmation")
        if reply.get("end"):
            subprocess.run(["scancel", os.environ["CARBONTRACKER_JOB_ID"]], check=False)
        if reply.get("end") or reply.get("confirm", {}).get("state") == "n":
            sys.exit(0)

    def stop(self):
        self._ask("stop")

    def _ask(self, op, **fields):
        if not self._socket:
            return {}
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(self._socket)
                job_id = int(os.environ["CARBONTRACKER_JOB_ID"])
                s.sendall((json.dumps(dict(fields, v=1, op=op, job_id=job_id)) + "\n").encode())
                reply = json.loads(s.makefile().readline())
        except (OSError, ValueError, KeyError) as error:
            reply = {"message": str(error)}
        if "message" in reply:
            print(f"carbontracker: {op}: {reply['message']}", file=sys.stderr)
        print(reply.get("text", ""), end="", flush=True)
        return reply
