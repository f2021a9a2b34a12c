//! The question after the prediction: waiting for its answer, giving it, and ending the job.

use std::io::{self, BufRead, IsTerminal};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use ct_core::config::YesNo;
use ct_core::protocol::{Confirm, ConfirmState, Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::{Tracker, print, say};

/// Time between two looks for an answer.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a process that is to be ended waits for that.
const LAST_WAIT: Duration = Duration::from_secs(120);

/// Prints what a mark brought, waits where the program is to wait, ends the job where it is to end.
pub(super) fn follow(tracker: &Tracker, reply: Reply) -> ExitCode {
    let Reply::Text { text, confirm, end, .. } = reply else {
        say("ct-noded answered something else; nothing is marked");
        return ExitCode::SUCCESS;
    };
    print(&text);
    if end {
        return end_job(tracker.job_id);
    }
    match confirm {
        Some(confirm) if confirm.state == ConfirmState::Waiting => wait(tracker, &confirm),
        Some(confirm) if confirm.state == ConfirmState::N => await_end(),
        _ => ExitCode::SUCCESS,
    }
}

fn wait(tracker: &Tracker, question: &Confirm) -> ExitCode {
    let mut is_asked_here = io::stdin().is_terminal();
    if !is_asked_here {
        print(&question.how);
    }
    loop {
        if is_asked_here {
            is_asked_here = read_answer(tracker);
        } else {
            thread::sleep(PAUSE);
        }
        match tracker.ask(&Request::Confirmation { job_id: tracker.job_id }) {
            Ok(Reply::Text {
                confirm: Some(Confirm { state: ConfirmState::Waiting, .. }), ..
            }) => {}
            Ok(reply) => return follow(tracker, reply),
            Err(e) => {
                say(&format!("nobody waits for an answer any more, the job goes on: {e:#}"));
                return ExitCode::SUCCESS;
            }
        }
    }
}

/// Takes a line from the terminal, if one is there; whether the terminal is still to be asked.
fn read_answer(tracker: &Tracker) -> bool {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(PAUSE.subsec_nanos()) };
    if !matches!(poll(&mut fds, Some(&timeout)), Ok(n) if n > 0) {
        return true;
    }
    let mut line = String::new();
    match stdin.lock().read_line(&mut line) {
        Ok(n) if n > 0 => {}
        _ => return false,
    }
    let answer = match line.trim().to_lowercase().as_str() {
        "y" | "yes" => YesNo::Y,
        "n" | "no" => YesNo::N,
        _ => {
            print("CarbonTracker: Input not recognized. Try again (y/n):\n");
            return true;
        }
    };
    let job_id = tracker.job_id;
    if let Err(e) = tracker.ask(&Request::Confirm { job_id, answer }) {
        say(&format!("not taken: {e:#}"));
    }
    true
}

/// Ends the job as its owner; this process is of the job and goes with it.
fn end_job(job_id: u32) -> ExitCode {
    match Command::new("scancel").arg(job_id.to_string()).status() {
        Ok(status) if status.success() => await_end(),
        Ok(status) => {
            say(&format!("scancel {job_id} failed ({status}); end the job yourself"));
            ExitCode::FAILURE
        }
        Err(e) => {
            say(&format!("cannot run scancel {job_id}: {e}; end the job yourself"));
            ExitCode::FAILURE
        }
    }
}

/// Does not let the program go on that is being ended.
fn await_end() -> ExitCode {
    thread::sleep(LAST_WAIT);
    say("the job was to end and has not");
    ExitCode::FAILURE
}

/// `ct-track confirm y|n [JOBID]`.
pub(super) fn confirm(answer: YesNo, job: Option<u32>) -> ExitCode {
    let Some(tracker) = Tracker::around() else {
        say("no tracker around; answer from within the job (srun --jobid=N --overlap ct-track \
             confirm y)");
        return ExitCode::FAILURE;
    };
    let job_id = job.unwrap_or(tracker.job_id);
    match tracker.ask(&Request::Confirm { job_id, answer }) {
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("no answer taken: {e:#}"));
            ExitCode::FAILURE
        }
    }
}
