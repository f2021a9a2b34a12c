//! A process of the job's own user that ends the job at its budget: `ct-track watch PID`, which the
//! plugin starts beside the first task where nobody else may end the job.
//!
//! It asks ct-noded every few seconds, and goes with the task.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use ct_core::protocol::{Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::client::{Tracker, say};

/// Time between two questions.
const PAUSE: Duration = Duration::from_secs(3);
/// The same once scancel was run: Slurm takes its time, too.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// Watches until the task of this pid has ended.
pub(super) fn watch(pid: i32) -> ExitCode {
    let task = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let (Some(Ok(task)), Some(tracker)) = (task, Tracker::around()) else {
        say("nothing to watch");
        return ExitCode::FAILURE;
    };
    let mut pause = PAUSE;
    loop {
        let mut fds = [PollFd::new(&task, PollFlags::IN)];
        let timeout = Timespec::try_from(pause).unwrap_or_default();
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => {}
            Err(rustix::io::Errno::INTR) => continue,
            _ => return ExitCode::SUCCESS,
        }
        // Without an answer there is nothing to be done now; ct-noded may come back.
        let reply = tracker.ask(&Request::Watch { job_id: tracker.job_id });
        if matches!(reply, Ok(Reply::Text { end: true, .. })) {
            end_job(tracker.job_id);
            pause = LONG_PAUSE;
        }
    }
}

/// Ends the job as its owner. Slurm then ends this process, too; where it cannot, it is asked again.
fn end_job(job_id: u32) {
    let scancel = Command::new("scancel")
        .arg(job_id.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if let Err(e) = scancel {
        say(&format!("cannot run scancel {job_id}: {e}"));
    }
}
