"""Marks epochs for the carbontracker plugin of Slurm: the calls of carbontracker, no dependencies."""
import errno, json, os, socket, subprocess, sys, time


class CarbonTracker:
    """Upstream's parameters; of those that are not named in declared the job's option decides."""

    def __init__(self, epochs, epochs_before_pred=1, monitor_epochs=-1, update_interval=1,
                 interpretable=True, stop_and_confirm=False, ignore_errors=False, components="all",
                 devices_by_pid=False, log_dir=None, log_file_prefix="", verbose=1,
                 decimal_precision=12, *_, **__):
        self._socket = os.environ.get("CARBONTRACKER_SOCKET")
        if not self._socket:
            print("carbontracker: no tracker around; nothing is measured", file=sys.stderr)
        # A default of upstream's that differs from the job's is meant; the others are left to it.
        declared = {"epochs": epochs, "monitor_epochs": monitor_epochs}
        for key, value, default in (("epochs_before_pred", epochs_before_pred, 1),
                                    ("interpretable", interpretable, True),
                                    ("stop_and_confirm", stop_and_confirm, False),
                                    ("decimal_precision", decimal_precision, 12)):
            if value != default:
                declared[key] = value
        text = ",".join(f"{key}:{value}".lower() for key, value in declared.items())
        self._ask("declare", option=text)
        if log_dir is not None and self._socket:
            self._move_logs(os.path.abspath(log_dir))

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

    def _move_logs(self, log_dir):
        """The job's logs are this user's: they go on in log_dir, or are linked from another file system."""
        reply = self._send("log_files")
        try:
            if "message" in reply:
                raise OSError(reply["message"])
            os.makedirs(log_dir, exist_ok=True)
            for name in reply["names"]:
                self._move(os.path.join(reply["dir"], name), os.path.join(log_dir, name))
        except (OSError, KeyError) as error:
            print(f"carbontracker: log_dir is not used: {error}", file=sys.stderr)

    @staticmethod
    def _move(source, target):
        try:
            os.rename(source, target)
        except FileNotFoundError:
            # Another process of the job may have been here before.
            if not os.path.lexists(target):
                raise
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if not os.path.lexists(target):
                os.symlink(source, target)

    def _ask(self, op, **fields):
        reply = self._send(op, **fields)
        if "message" in reply:
            print(f"carbontracker: {op}: {reply['message']}", file=sys.stderr)
        print(reply.get("text", ""), end="", flush=True)
        return reply

    def _send(self, op, **fields):
        if not self._socket:
            return {}
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(self._socket)
                job_id = int(os.environ["CARBONTRACKER_JOB_ID"])
                s.sendall((json.dumps(dict(fields, v=1, op=op, job_id=job_id)) + "\n").encode())
                return json.loads(s.makefile().readline())
        except (OSError, ValueError, KeyError) as error:
            return {"message": str(error)}
