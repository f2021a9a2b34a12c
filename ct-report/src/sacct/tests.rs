//! sacct's output as Slurm 22.05 and 24.11 print it.

use ct_core::record::Brief;

use super::join::{Accounting, Seen};
use super::*;
use crate::aggregate::{Key, Sums};
use crate::job::tests::record;
use crate::query::Query;
use crate::query::time::Zone;

const PARSABLE: &str = "\
JobIDRaw|JobID|Cluster|User|Account|Partition|QOS|State|Start|End|AllocTRES|JobName
1|1|lab|eva|physics|cpu|normal|COMPLETED|2026-09-30T23:30:01|2026-10-01T00:30:01|billing=2,cpu=2,mem=1G,node=1|train
1.batch|1.batch|lab||physics|||COMPLETED|2026-09-30T23:30:01|2026-10-01T00:30:01|cpu=2|batch
9|8_3|lab|bob|chemistry|gpu|normal|CANCELLED by 1000|2026-10-01T10:00:00|2026-10-01T12:00:00|cpu=4,gres/gpu:h200=2,gres/gpu=2|a
10|10|lab|bob|chemistry|gpu|normal|CANCELLED|None|2026-10-01T10:00:00||never started
11|11|lab|bob|chemistry|gpu|normal|RUNNING|2026-10-02T10:00:00|Unknown|cpu=4|runs
";

const JSON_22: &str = r#"{"meta":{},"errors":[],"jobs":[{"account":"chemistry","array":{"job_id":8,"task_id":3,"task":null},
"cluster":"lab","name":"a","partition":"gpu","qos":"normal","job_id":9,"state":{"current":"CANCELLED","reason":"None"},
"time":{"elapsed":7200,"start":1790848800,"end":1790856000},"tres":{"allocated":[{"type":"cpu","name":null,"id":1,"count":4},
{"type":"gres","name":"gpu","id":1001,"count":2}]},"user":"bob","steps":[{"any":1}]}]}"#;

#[test]
fn both_forms_of_sacct_are_read_alike() {
    let all = parse_parsable(PARSABLE, Zone::Utc).unwrap();
    assert_eq!(all.len(), 4, "the step is passed over");
    let newer = JSON_22
        .replace("\"CANCELLED\"", "[\"CANCELLED\"]")
        .replace("1790848800", r#"{"set":true,"infinite":false,"number":1790848800}"#)
        .replace("\"task_id\":3", r#""task_id":{"set":true,"infinite":false,"number":3}"#);
    for json in [JSON_22, &newer] {
        assert_eq!(parse_json(json).unwrap()[0], all[1]);
    }
    assert_eq!((all[1].shown_id(), all[1].n_cpus, all[1].n_gpus), ("8_3".to_owned(), 4, 2.0));
    assert_eq!(all[1].end_reason(), EndReason::Cancelled);
    assert!(all[2].span().is_none() && all[3].is_running());
}

#[test]
fn times_are_those_of_the_zone_or_seconds_since_1970() {
    let start = |text: &str, zone: &str| {
        let text =
            PARSABLE.replace("2026-10-01T10:00:00|2026-10-01T12", &format!("{text}|2026-10-01T12"));
        parse_parsable(&text, zone.parse().unwrap()).map(|all| all[1].start.unwrap().to_rfc3339())
    };
    assert_eq!(start("2026-10-01T10:00:00", "Europe/Berlin").unwrap(), "2026-10-01T08:00:00+00:00");
    assert_eq!(start("1790848800", "Europe/Berlin").unwrap(), "2026-10-01T10:00:00+00:00");
    assert!(start("soon", "UTC").unwrap_err().starts_with("line 4: time is \"soon\""));
}

#[test]
fn what_is_no_output_of_sacct_is_refused() {
    let error = parse_parsable("JobID|User|State|Start|End\n1|eva\n", Zone::Utc).unwrap_err();
    assert!(error.starts_with("column JobIDRaw is missing; make it by sacct -a -X"), "{error}");
    let error =
        parse_parsable("JobIDRaw|User|State|Start|End\nx|eva|R||\n", Zone::Utc).unwrap_err();
    assert_eq!(error, "line 2: JobIDRaw is \"x\", expected a number");
    assert!(parse_json("{\"jobs\":7}").is_err());
}

#[test]
fn records_find_their_allocations_and_what_is_left_was_never_seen() {
    let accounting = Accounting::new(parse_parsable(PARSABLE, Zone::Utc).unwrap());
    let lost = Record { account: None, end_reason: EndReason::Lost, ..record("n1") };
    let mut known = Brief::from(&lost);
    let number = accounting.find(&known);
    accounting.fill(&mut known, number.unwrap());
    assert_eq!(
        (known.account.as_deref(), known.end_reason),
        (Some("physics"), EndReason::Completed)
    );
    let mut later = record("n1");
    (later.start, later.end) = (later.start + SLOW, later.end + SLOW);
    assert_eq!(accounting.find(&(&later).into()), None, "the id was given again");
    let elsewhere = Record { cluster: "other".into(), ..record("n1") };
    assert_eq!(accounting.find(&(&elsewhere).into()), None);

    let mut seen = Seen::default();
    seen.note(number);
    seen.note(None);
    let accounted = accounting.reckon(&[Key::User], &Query::default(), &seen);
    assert_eq!(
        (&accounted.unseen[..], accounted.n_running, seen.n_strangers),
        (&["8_3".to_owned()][..], 1, 1)
    );
    let (all, unseen) = accounted.of(&vec![Some("bob".to_owned())]);
    // 4 CPUs and 2 GPUs for two hours.
    assert_eq!(all.map(|s| (s.n_jobs(), s.core_hours(), s.gpu_hours())), Some((1, 8.0, 4.0)));
    assert_eq!(unseen.map(Sums::n_jobs), Some(1));
    let (all, unseen) = accounted.of(&vec![Some("eva".to_owned())]);
    assert_eq!((all.map(Sums::n_jobs), unseen.map(Sums::n_jobs)), (Some(1), None));
}

#[test]
fn runs_that_follow_closely_are_told_apart_and_a_job_of_no_second_counts() {
    let head = "JobIDRaw|User|Cluster|State|Start|End|AllocTRES\n";
    let run = |state: &str, start: &str, end: &str, tres: &str| {
        format!("1|eva|lab|{state}|2026-10-01T10:00:{start}|2026-10-01T10:00:{end}|{tres}\n")
    };
    let text = head.to_owned()
        + &run("REQUEUED", "00", "10", "cpu=1")
        + &run("COMPLETED", "12", "12", "cpu=1")
        + &run("CANCELLED", "20", "20", "");
    let all = parse_parsable(&text, Zone::Utc).unwrap();
    let spans: Vec<bool> = all.iter().map(|run| run.span().is_some()).collect();
    assert_eq!(spans, [true, true, false]);
    let accounting = Accounting::new(all);
    let of = |start: &str| {
        let start = format!("2026-10-01T10:00:{start}Z").parse().unwrap();
        accounting.find(&(&Record { start, end: start, ..record("n1") }).into())
    };
    assert_eq!((of("00.5"), of("11.9")), (Some(0), Some(1)));
}

const SLOW: chrono::TimeDelta = chrono::TimeDelta::days(300);
