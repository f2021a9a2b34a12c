//! Whose word counts: the kernel says who asks, and nobody sees or ends another's job.

use ct_core::config::YesNo;
use ct_core::protocol::{JobEnd, JobFacts, Reply, Request, StepFacts};

use crate::attacker::{Connection, as_user, ask_as, refusal};
use crate::noded::Noded;
use crate::{OWNER, STRANGER, is_root};

fn job(job_id: u32, uid: u32) -> Box<JobFacts> {
    Box::new(JobFacts { job_id, uid, ..JobFacts::default() })
}

#[test]
fn only_root_starts_and_ends_jobs_and_steps_whatever_uid_the_message_names() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, OWNER, "on");
    let step = StepFacts { name: "batch".to_owned(), ..StepFacts::default() };
    let end = JobEnd { job: job(1, OWNER), wait_status: Some(0) };
    for uid in [OWNER, STRANGER] {
        for named in [0, OWNER, STRANGER] {
            for request in [
                Request::JobStart(job(2, named)),
                Request::StepStart { job: job(1, named), step: step.clone() },
                Request::StepStart { job: job(2, named), step: step.clone() },
                Request::StepEnd { job_id: 1, step: "batch".to_owned() },
                Request::JobEnd(JobEnd { job: job(1, named), ..end.clone() }),
                Request::Yield {},
                // What the node has, and how its meters do.
                Request::Node {},
            ] {
                let reply = ask_as(uid, &noded.socket(), &request);
                assert!(refusal(&reply).contains("may not start or end jobs"), "{request:?}");
            }
        }
    }
    // The job is as it was, and is the owner's; the forged one is not there.
    let status = |job_id| ask_as(OWNER, &noded.socket(), &Request::Status { job_id });
    assert!(matches!(status(1), Reply::Status(s) if s.tracked));
    assert!(refusal(&status(2)).contains("no job 2 of yours"));
}

#[test]
fn a_strangers_job_and_one_that_is_not_there_are_answered_in_the_same_words() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, OWNER, "epochs:3,stop_and_confirm:true");
    let requests: [fn(u32) -> Request; 12] = [
        |job_id| Request::Status { job_id },
        |job_id| Request::EpochStart { job_id },
        |job_id| Request::EpochEnd { job_id },
        |job_id| Request::Stop { job_id },
        |job_id| Request::Logs { job_id },
        |job_id| Request::Output { job_id },
        |job_id| Request::Declare { job_id, option: "epochs:9".to_owned() },
        |job_id| Request::LogFiles { job_id },
        |job_id| Request::Confirm { job_id, answer: YesNo::N },
        |job_id| Request::Confirm { job_id, answer: YesNo::Y },
        |job_id| Request::Confirmation { job_id },
        |job_id| Request::Watch { job_id },
    ];
    for request in requests {
        let words = |job_id: u32| {
            let reply = ask_as(STRANGER, &noded.socket(), &request(job_id));
            refusal(&reply).replace(&job_id.to_string(), "N")
        };
        assert_eq!(words(1), words(777), "{:?}", request(1));
    }
    let status = ask_as(OWNER, &noded.socket(), &Request::Status { job_id: 1 });
    let Reply::Status(status) = status else { panic!("{status:?}") };
    assert_eq!(
        (status.epochs_declared, status.epochs_done, status.epoch_running),
        (Some(3), 0, false)
    );
}

#[test]
fn a_connection_is_of_who_made_it_and_a_question_only_of_the_owner() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, OWNER, "epochs:9,stop_and_confirm:true");
    for request in [Request::EpochStart { job_id: 1 }, Request::EpochEnd { job_id: 1 }] {
        ask_as(OWNER, &noded.socket(), &request);
    }
    // Not even root answers in the owner's place.
    let reply = noded.tell(&Request::Confirm { job_id: 1, answer: YesNo::N });
    assert!(refusal(&reply).contains("only the owner"), "{reply:?}");
    // A connection that a stranger made and gave away stays the stranger's.
    let mut connection = as_user(STRANGER, || Connection::open(&noded.socket()));
    let reply = connection.ask(&Request::Status { job_id: 1 });
    assert!(refusal(&reply).contains("no job 1 of yours"), "{reply:?}");
    let reply = ask_as(OWNER, &noded.socket(), &Request::Confirm { job_id: 1, answer: YesNo::Y });
    assert_eq!(reply, Reply::Ok {});
}

#[test]
fn messages_that_forge_fields_are_refused_whole() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, OWNER, "on");
    as_user(STRANGER, || {
        let mut connection = Connection::open(&noded.socket());
        for line in [
            r#"{"v":1,"op":"status","job_id":1,"uid":4201}"#,
            r#"{"v":1,"op":"status","job_id":1,"peer":{"uid":0,"pid":1}}"#,
            r#"{"v":1,"op":"status","job_id":1,"op":"ping","job_id":1}"#,
            r#"{"v":1,"op":"status","job_id":4294967297}"#,
            r#"{"v":1,"op":"job_start","job_id":1,"uid":4202,"root":true}"#,
            r#"{"v":1,"v":2,"op":"ping"}"#,
            r#"{"v":1e0,"op":"ping"}"#,
            r#"[{"v":1,"op":"ping"}]"#,
            "\u{0}\u{0}\u{0}",
        ] {
            connection.send(format!("{line}\n").as_bytes()).unwrap();
            let reply = connection.reply().unwrap();
            assert!(!refusal(&reply).is_empty(), "{line}");
        }
        // Deep nesting is not followed.
        let deep = "[".repeat(30_000) + "\n";
        connection.send(deep.as_bytes()).unwrap();
        assert!(refusal(&connection.reply().unwrap()).contains("not a JSON object"));
    });
    // One line of the log for all of that, and no control character in it.
    let log = noded.log();
    assert_eq!(log.matches(&format!("uid {STRANGER} ")).count(), 1, "{log}");
    assert!(!log.chars().any(|c| c.is_control() && c != '\n'), "{log:?}");
}
