//! One user floods ct-noded: root's hooks and other users' jobs are served in time all the same.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ct_core::protocol::{Reply, Request, to_line};

use crate::attacker::{Connection, as_user};
use crate::handles::{borrowed, own_logs};
use crate::noded::Noded;
use crate::{OWNER, STRANGER, is_root};

/// What a hook waits at the most; the plugin's own limit.
const HOOK: Duration = Duration::from_millis(450);

/// The median of what `ask` took.
fn median(ask: impl Fn()) -> Duration {
    let time = |_| {
        let start = Instant::now();
        ask();
        start.elapsed()
    };
    let mut all: Vec<Duration> = (0..41).map(time).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

/// What may be waited for under a flood: what a hook waits, or, on a machine that is busy with other
/// things, ten times what is waited for without one.
fn patience(noded: &Noded) -> Duration {
    HOOK.max(10 * median(|| drop(noded.tell(&Request::Ping {}))))
}

/// Floods as the stranger, on several threads, until told to end; then says how often it was done.
fn while_flooded(
    noded: &Noded,
    flood: impl Fn(&Noded) -> usize + Sync,
    body: impl FnOnce(),
) -> usize {
    let (is_over, n) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                as_user(STRANGER, || {
                    while !is_over.load(Ordering::Relaxed) {
                        n.fetch_add(flood(noded), Ordering::Relaxed);
                    }
                });
            });
        }
        thread::sleep(Duration::from_millis(500));
        body();
        is_over.store(true, Ordering::Relaxed);
    });
    n.into_inner()
}

/// Root's hooks and another user's marks, each on a connection of its own, as they are.
fn others_are_served(noded: &Noded, patience: Duration) {
    let root = median(|| {
        assert!(matches!(noded.tell(&Request::Ping {}), Reply::Pong { .. }));
    });
    noded.start_job(7, OWNER, "on");
    let owner = as_user(OWNER, || {
        median(|| {
            let reply = Connection::open(&noded.socket()).ask(&Request::EpochStart { job_id: 7 });
            assert!(matches!(reply, Reply::Text { .. }), "{reply:?}");
        })
    });
    noded.end_job(7, OWNER);
    assert!(root < patience && owner < patience, "{root:?}, {owner:?}, expected {patience:?}");
}

#[test]
fn messages_without_end_hold_up_nobody_else() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, STRANGER, "on");
    let line = to_line(&Request::Status { job_id: 1 }).unwrap().repeat(100);
    let patience = patience(&noded);
    let start = Instant::now();
    let flood = |noded: &Noded| {
        let mut connection = Connection::open(&noded.socket());
        let sent = connection.send(line.as_bytes()).is_ok();
        let answered = (0..100).take_while(|_| connection.reply().is_some()).count();
        if sent { answered } else { 0 }
    };
    let n = while_flooded(&noded, flood, || others_are_served(&noded, patience));
    // 2,000 at once, then 1,000 a second, whatever the machine could do; and no fewer than that.
    let most = 2_000.0 + 1_000.0 * start.elapsed().as_secs_f64() + 500.0;
    assert!((n as f64) < most, "{n} messages in {:?}", start.elapsed());
    assert!(n > 100, "{n}");
}

#[test]
fn connections_without_end_hold_up_nobody_else() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    let patience = patience(&noded);
    let flood = |noded: &Noded| {
        let connect = |_| std::os::unix::net::UnixStream::connect(noded.socket()).ok();
        let all: Vec<_> = (0..100).filter_map(connect).collect();
        // Held, so that those of all four threads are more than one user may have.
        thread::sleep(Duration::from_millis(100));
        all.len()
    };
    let n = while_flooded(&noded, flood, || others_are_served(&noded, patience));
    assert!(n > 4 * 64, "{n} connections");
}

#[test]
fn a_user_has_64_places_and_where_all_512_are_used_hooks_are_taken_all_the_same() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    let socket = noded.socket();
    let is_taken = |connection: &mut Connection| {
        // One that is closed at once may be so before it has said anything.
        let line = to_line(&Request::Ping {}).unwrap();
        connection.send(line.as_bytes()).is_ok() && connection.reply().is_some()
    };
    let take = |uid: u32, n: usize| {
        as_user(uid, || {
            let mut all: Vec<_> = (0..n).map(|_| Connection::open(&socket)).collect();
            all.retain_mut(is_taken);
            all
        })
    };
    let mut held = Vec::new();
    for uid in 4301..4309 {
        let taken = take(uid, 66);
        assert_eq!(taken.len(), 64, "of uid {uid}");
        held.push(taken);
    }
    // Eight users with 64 each: there is no place for a ninth, but for root's hooks.
    assert!(take(STRANGER, 3).is_empty());
    noded.start_job(1, OWNER, "on");
    noded.end_job(1, OWNER);
    held.pop();
    let end = Instant::now() + Duration::from_secs(20);
    while take(STRANGER, 1).is_empty() {
        assert!(Instant::now() < end, "their places are given back");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn one_who_does_not_read_is_cut_off_at_256_kib_of_answers() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, STRANGER, "on");
    let status = to_line(&Request::Status { job_id: 1 }).unwrap();
    as_user(STRANGER, || {
        let length = Connection::open(&noded.socket()).ask_line(&status).len();
        let mut deaf = Connection::open(&noded.socket());
        // What the kernel holds beside ours is some 200 KiB.
        let n = (1 << 20) / length;
        deaf.send(status.repeat(n).as_bytes()).unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while deaf.send(b"\n").is_ok() {
            assert!(Instant::now() < end, "it is not closed with {n} answers of {length} bytes");
            thread::sleep(Duration::from_millis(50));
        }
        let mut read = 0;
        while let Some(line) = deaf.line() {
            read += line.len();
        }
        assert!((1..768 * 1024).contains(&read), "{read} bytes of {n} answers of {length}");
    });
}

#[test]
fn lines_without_end_long_ones_and_readers_that_do_not_read_hold_up_nobody_else() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, STRANGER, "on");
    let rss = || {
        let status = noded.proc("status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let (before, patience) = (rss(), patience(&noded));
    let endless = vec![b'x'; 256 * 1024];
    let status = to_line(&Request::Status { job_id: 1 }).unwrap().repeat(500);
    let flood = |noded: &Noded| {
        let connection = Connection::open(&noded.socket());
        let _ = connection.send(&endless);
        let deaf = Connection::open(&noded.socket());
        deaf.stream().set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        // Answers are never read; what is sent is refused at some point.
        for _ in 0..20 {
            if deaf.send(status.as_bytes()).is_err() {
                break;
            }
        }
        1
    };
    while_flooded(&noded, flood, || others_are_served(&noded, patience));
    let after = rss();
    // 64 connections, each with 64 KiB of lines and 256 KiB of answers at the most.
    assert!(after < before + 64 * 1024, "{before} kB before, {after} kB after");
}

#[test]
fn many_jobs_many_epochs_and_hostile_patterns_of_one_user_leave_memory_bounded() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    // Each of these compiles to twice what an expression may take, and a tenth of what the engine itself
    // allows.
    let home = noded.home_of(STRANGER);
    for job_id in 100..120 {
        let option = "epoch_by:pattern,epoch_pattern:((a{99}){99})";
        noded.start_job(job_id, STRANGER, option).expect("logs are wanted");
        as_user(STRANGER, || {
            let logs = own_logs(&home);
            let request = Request::Logs { job_id };
            let reply = Connection::open(&noded.socket()).ask_with(&request, &borrowed(&logs));
            let Reply::Text { text, .. } = reply else { panic!("{reply:?}") };
            let is_refused = text.contains("epochs are not counted") && text.contains("size limit");
            assert!(is_refused, "{text}");
        });
    }
    noded.start_job(1, STRANGER, "epochs:1000000000");
    as_user(STRANGER, || {
        let mut connection = Connection::open(&noded.socket());
        let declare = Request::Declare { job_id: 1, option: "epochs:7".repeat(4_000) };
        connection.ask(&declare);
        for _ in 0..1_500 {
            connection.ask(&Request::EpochStart { job_id: 1 });
            connection.ask(&Request::EpochEnd { job_id: 1 });
        }
        let Reply::Status(status) = connection.ask(&Request::Status { job_id: 1 }) else {
            panic!()
        };
        assert_eq!(status.epochs_done, 1_500);
    });
    let status = noded.proc("status");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    let kb: u64 = line.split_ascii_whitespace().next().unwrap().parse().unwrap();
    assert!(kb < 100 * 1024, "{kb} kB");
}
