//! Messages cut off at every byte, sent to a ct-noded that measures a job meanwhile.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ct_core::config::YesNo;
use ct_core::protocol::{JobEnd, JobFacts, Reply, Request, StepFacts, parse_reply, to_line};
use ct_tests::site::wait_for;
use ct_tests::{JobId, Site, e2e_is_possible};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::outcome::{ended, one_record_each, record, run, submit, wait_for_file};

/// Of a job that nobody has started.
const NO_JOB: u32 = 4_000_000;
/// Peers that wait for an answer that does not come, at the same time.
const MOST_WAITING: usize = 100;

/// All that there is to ask: what would start something of a job that nobody has started, what would mark
/// or end something of the one that runs.
fn requests(job: JobId) -> Vec<Request> {
    let of = |job_id| JobFacts { job_id, uid: 1, gid: 1, ..JobFacts::default() };
    let step = StepFacts { name: "batch".to_owned(), ..StepFacts::default() };
    let job_id = job.as_u32();
    vec![
        Request::Ping {},
        Request::Yield {},
        Request::Node {},
        Request::JobStart(Box::new(of(NO_JOB))),
        Request::StepStart { job: Box::new(of(NO_JOB)), step },
        Request::Logs { job_id },
        Request::Output { job_id },
        Request::LogFiles { job_id },
        Request::StepEnd { job_id, step: "batch".to_owned() },
        Request::JobEnd(JobEnd { job: Box::new(of(job_id)), wait_status: None }),
        Request::EpochStart { job_id },
        Request::EpochEnd { job_id },
        Request::Stop { job_id },
        Request::Declare { job_id, option: "epochs:7".to_owned() },
        Request::Confirm { job_id, answer: YesNo::N },
        Request::Confirmation { job_id },
        Request::Watch { job_id },
        Request::Status { job_id },
    ]
}

/// Sends what there is of a line; with handles, where there is a byte that they can go with.
fn send(stream: &UnixStream, part: &[u8], handles: &[File]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
    if !fds.is_empty() && !part.is_empty() {
        ensure!(control.push(SendAncillaryMessage::ScmRights(&fds)), "no room for handles");
    }
    sendmsg(stream, &[IoSlice::new(part)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Sends each request cut off at each byte; how many that were.
fn send_all_cut(socket: &Path, job: JobId, handles: &[File]) -> Result<usize> {
    let (mut n_sent, mut waiting) = (0, VecDeque::new());
    for request in requests(job) {
        let takes_handles = matches!(request, Request::Logs { .. } | Request::Output { .. });
        let handles = if takes_handles { handles } else { &[] };
        let line = to_line(&request)?;
        for cut in 0..line.len() {
            let stream = UnixStream::connect(socket)?;
            send(&stream, &line.as_bytes()[..cut], handles)?;
            n_sent += 1;
            // By turns the peer is gone, will say no more, or waits for an answer that does not come.
            match cut % 3 {
                0 => {}
                1 => stream.shutdown(Shutdown::Write)?,
                _ => waiting.push_back(stream),
            }
            if waiting.len() > MOST_WAITING {
                waiting.pop_front();
            }
        }
    }
    // While the last of them still wait.
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    send(&stream, to_line(&Request::Ping {})?.as_bytes(), &[])?;
    let mut reply = Vec::new();
    BufReader::new(&stream).read_until(b'\n', &mut reply)?;
    ensure!(matches!(parse_reply(&reply).context("ping")?, Reply::Pong { .. }));
    ensure!(waiting.len() == MOST_WAITING, "{} wait", waiting.len());
    Ok(n_sent)
}

#[test]
fn cut_off_at_every_byte_start_and_end_nothing() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    let pid = site.wait_for_noded(1)?;
    let socket = site.run_dir(1).join("noded.sock");
    let body = "touch begun; while [ ! -e over ]; do sleep 0.1; done; exit 3";
    let job = submit(&site, "epochs:3", body)?;
    wait_for_file(&site, "begun")?;
    let own = tempfile::tempdir()?;
    let open =
        |n: i32| File::options().append(true).create(true).open(own.path().join(n.to_string()));
    let handles = (0..4).map(open).collect::<std::io::Result<Vec<_>>>()?;
    // What it has open of these files: handles that came with half a message are let go.
    let n_held = || -> Option<usize> {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let links = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
        Some(links.filter(|link| link.starts_with(own.path())).count())
    };
    let n_sent = send_all_cut(&socket, job, &handles)?;
    ensure!(n_sent > 1000, "{n_sent} messages");
    wait_for("the handles to be let go", || (n_held()? == 0).then_some(()))?;
    ensure!(site.noded_pid(1) == Some(pid), "another ct-noded");
    fs::write(site.cluster.home(site.cluster.user(1)).join("over"), "")?;
    ended(&site, job, 3)?;
    let record = record(&site, job)?;
    let epochs = &record["epochs"];
    ensure!(epochs["done"] == 0 && epochs["declared"] == 3, "{record:#}");
    ensure!(record["end_reason"] == "failed", "{record:#}");
    let other = run(&site)?.job;
    crate::outcome::record(&site, other)?;
    ensure!(!site.ledger_text()?.contains(&NO_JOB.to_string()), "half a message was believed");
    one_record_each(&site)
}
