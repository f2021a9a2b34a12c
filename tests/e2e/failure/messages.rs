//! Messages cut off at every byte, sent to a ct-noded that measures a job meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ct_core::protocol::{JobEnd, JobFacts, Reply, Request, StepFacts, parse_reply, to_line};
use ct_tests::{Site, e2e_is_possible};

use crate::outcome::{ended, one_record_each, record, run, submit, wait_for_file};

/// Of a job that nobody has started.
const NO_JOB: u32 = 4_000_000;

fn requests() -> Vec<Request> {
    let facts = JobFacts { job_id: NO_JOB, uid: 1, gid: 1, ..JobFacts::default() };
    let step = StepFacts { name: "batch".to_owned(), ..StepFacts::default() };
    vec![
        Request::JobStart(Box::new(facts.clone())),
        Request::StepStart { job: Box::new(facts.clone()), step },
        Request::Logs { job_id: NO_JOB },
        Request::StepEnd { job_id: NO_JOB, step: "batch".to_owned() },
        Request::JobEnd(JobEnd { job: Box::new(facts.clone()), wait_status: None }),
        Request::EpochStart { job_id: NO_JOB },
        Request::Status { job_id: NO_JOB },
        Request::Ping {},
    ]
}

#[test]
fn cut_off_at_every_byte_start_and_end_nothing() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    let pid = site.wait_for_noded(1)?;
    let socket = site.run_dir(1).join("noded.sock");
    let job = submit(&site, "on", "touch begun; while [ ! -e over ]; do sleep 0.1; done; exit 3")?;
    wait_for_file(&site, "begun")?;
    let mut n_sent = 0;
    for request in requests() {
        let line = to_line(&request)?;
        for cut in 0..line.len() {
            let mut stream = UnixStream::connect(&socket)?;
            stream.write_all(&line.as_bytes()[..cut])?;
            // By turns the peer is gone, or waits for an answer that does not come.
            if cut % 2 == 0 {
                stream.shutdown(Shutdown::Write)?;
            }
            n_sent += 1;
        }
    }
    ensure!(n_sent > 500, "{n_sent} messages");
    let stream = UnixStream::connect(&socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    (&stream).write_all(to_line(&Request::Ping {})?.as_bytes())?;
    let mut reply = Vec::new();
    BufReader::new(&stream).read_until(b'\n', &mut reply)?;
    let reply = parse_reply(&reply).context("ping")?;
    ensure!(matches!(reply, Reply::Pong { pid: seen, .. } if seen == pid), "{reply:?}");
    std::fs::write(site.cluster.home(site.cluster.user(1)).join("over"), "")?;
    ended(&site, job, 3)?;
    record(&site, job)?;
    let other = run(&site)?.job;
    record(&site, other)?;
    ensure!(!site.ledger_text()?.contains(&NO_JOB.to_string()), "half a message was believed");
    one_record_each(&site)
}
