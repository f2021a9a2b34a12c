//! `reconcile`.

use std::fs;

use ct_core::record::{NodeRecord, Record};
use serde_json::Value;

use crate::ledger::{Ledger, cpu, line, record};
use crate::{Ran, assert_ran, ct_report};

fn reconcile(ledger: &Ledger, args: &[&str]) -> Ran {
    ct_report(ledger.base(), &[&["reconcile", "--ledger", "ledger"], args].concat())
}

/// Node n1 from 21:00 to 01:30 over the end of September: job 1 runs over midnight, job 2 beside
/// it, and after 00:40 nobody.
fn lines() -> Vec<NodeRecord> {
    vec![
        line("n1", "2026-09-30T21:00:00Z", "2026-09-30T22:00:00Z", &[]),
        line("n1", "2026-09-30T22:00:00Z", "2026-09-30T23:00:00Z", &[(1, 100)]),
        line("n1", "2026-09-30T23:00:00Z", "2026-10-01T00:00:00Z", &[(1, 200), (2, 50)]),
        line("n1", "2026-10-01T00:00:00Z", "2026-10-01T00:40:00Z", &[(1, 300), (2, 0)]),
        line("n1", "2026-10-01T00:40:00Z", "2026-10-01T01:00:00Z", &[]),
        line("n1", "2026-10-01T01:00:00Z", "2026-10-01T01:30:00Z", &[]),
    ]
}

fn records() -> Vec<Record> {
    vec![
        record("n1", 1, "2026-09-30T22:10:00Z", "2026-10-01T00:40:00Z", &[100, 200, 300]),
        record("n1", 2, "2026-09-30T23:00:00Z", "2026-10-01T00:20:00Z", &[50, 0]),
    ]
}

#[test]
fn a_balanced_month_is_0() {
    let ledger = Ledger::new();
    let other = line("n2", "2026-10-01T00:00:00Z", "2026-10-01T01:00:00Z", &[]);
    ledger.write(&[lines(), vec![other]].concat(), &records());
    // September: 3 + 103 + 253 µJ; October: 303 + 3 + 3 µJ.
    let table = "
 cluster  node  month    meter_uj  jobs_uj  system_uj  unallocated_uj  open_uj  pending_uj  difference_uj  gap_s
 lab      n1    2026-09       359      350          3               6        0           0              0      0
 lab      n1    2026-10       309      300          3               6        0           0              0      0
 lab      n2    2026-10         3        0          1               2        0           0              0      0
 total                        671      650          7              14        0           0              0      0
";
    assert_ran(&reconcile(&ledger, &[]), 0, &table[1..], "");
    let json = r#"[
  {
    "cluster": "lab",
    "node": "n2",
    "month": "2026-10",
    "meter_uj": 3,
    "jobs_uj": 0,
    "system_uj": 1,
    "unallocated_uj": 2,
    "open_uj": 0,
    "pending_uj": 0,
    "difference_uj": 0,
    "gap_s": 0
  }
]
"#;
    assert_ran(&reconcile(&ledger, &["--json", "-N", "n[2-9]"]), 0, json, "");
    let csv = "cluster,node,month,meter_uj,jobs_uj,system_uj,unallocated_uj,open_uj,pending_uj,\
               difference_uj,gap_s\nlab,n2,2026-10,3,0,1,2,0,0,0,0\n";
    assert_ran(&reconcile(&ledger, &["--csv", "-N", "n2"]), 0, csv, "");
    assert_ran(
        &reconcile(&ledger, &["-Pn", "-N", "n2"]),
        0,
        "lab|n2|2026-10|3|0|1|2|0|0|0|0\n",
        "",
    );
    assert_ran(&reconcile(&ledger, &["-Pn", "-M", "other"]), 1, "", "note: nothing matched\n");
    let by_cluster = "lab|671|650|7|14|0|0|0|0\n";
    assert_ran(&reconcile(&ledger, &["-Pn", "--by", "cluster"]), 0, by_cluster, "");
}

#[test]
fn months_and_hours_begin_where_the_zone_says() {
    let ledger = Ledger::new();
    ledger.write(&lines(), &records());
    // In Berlin October begins at 22:00 UTC.
    let berlin = "lab|n1|2026-09|3|0|1|2|0|0|0|0\nlab|n1|2026-10|665|650|5|10|0|0|0|0\n";
    assert_ran(&reconcile(&ledger, &["-Pn", "--timezone", "Europe/Berlin"]), 0, berlin, "");
    let args = ["-Pn", "--timezone", "Europe/Berlin", "-S", "2026-10-01", "-E"];
    let day = "lab|n1|2026-10|356|350|2|4|0|0|0|0\n";
    assert_ran(&reconcile(&ledger, &[&args[..], &["2026-10-01T02:00"]].concat()), 0, day, "");
    let hours = ["-Pn", "--by", "node,hour", "-S", "2026-09-30T23:59", "-E", "2026-10-01T00:01"];
    let stdout = "lab|n1|2026-09-30T23:00Z|253|250|1|2|0|0|0|0\n\
                  lab|n1|2026-10-01T00:00Z|306|300|2|4|0|0|0|0\n";
    let stderr = "note: books are kept by the hour: counted from 2026-09-30T23:00Z\n\
                  note: books are kept by the hour: counted up to 2026-10-01T01:00Z\n";
    assert_ran(&reconcile(&ledger, &hours), 0, stdout, stderr);
}

#[test]
fn the_night_clocks_are_put_back_has_25_hours() {
    let ledger = Ledger::new();
    let hour = |n: i64| {
        let start = crate::ledger::at("2026-10-24T22:00:00Z") + chrono::TimeDelta::hours(n);
        let end = start + chrono::TimeDelta::hours(1);
        line("n1", &start.to_rfc3339(), &end.to_rfc3339(), &[])
    };
    ledger.write(&(-1..26).map(hour).collect::<Vec<_>>(), &[]);
    let args = ["-Pn", "--by", "day", "--timezone", "Europe/Berlin"];
    let days = "lab|2026-10-24|3|0|1|2|0|0|0|0\nlab|2026-10-25|75|0|25|50|0|0|0|0\n\
                lab|2026-10-26|3|0|1|2|0|0|0|0\n";
    assert_ran(&reconcile(&ledger, &args), 0, days, "");
    let twice = reconcile(&ledger, &["-Pn", "--by", "hour", "--timezone", "Europe/Berlin"]);
    assert_eq!(twice.stdout.matches("2026-10-25T02:00+").count(), 2, "{}", twice.stdout);
}

#[test]
fn a_lost_record_is_named() {
    let ledger = Ledger::new();
    ledger.write(&lines(), &records()[1..]);
    let stdout = "lab|n1|2026-09|359|50|3|6|0|0|300|0\nlab|n1|2026-10|309|0|3|6|0|0|300|0\n";
    let stderr = "\
error: lab n1 2026-09: job 1 has no record of the 300 µJ the node charged it (2 hours from 2026-09-30T22:00Z on)
error: lab n1 2026-10: job 1 has no record of the 300 µJ the node charged it (1 hour from 2026-10-01T00:00Z on)
";
    assert_ran(&reconcile(&ledger, &["-Pn"]), 2, stdout, stderr);
    let total = reconcile(&ledger, &["-Pn", "--by", "cluster"]);
    let error = "error: lab n1: job 1 has no record of the 600 µJ the node charged it (3 hours from \
                 2026-09-30T22:00Z on)\n";
    assert_ran(&total, 2, "lab|668|50|6|12|0|0|600|0\n", error);
}

#[test]
fn an_altered_record_and_one_that_is_no_copy_are_named() {
    let ledger = Ledger::new();
    let mut records = records();
    records[1].energy_j = cpu(49);
    records[1].energy_by_hour[0].1 = cpu(49).cpu;
    // Another start, so not a copy.
    records.push(record("n1", 1, "2026-09-30T22:10:01Z", "2026-10-01T00:40:00Z", &[100, 0, 0]));
    ledger.write(&lines(), &records);
    let stdout = "lab|n1|2026-09|359|449|3|6|0|0|-99|0\nlab|n1|2026-10|309|300|3|6|0|0|0|0\n";
    let stderr = "\
error: lab n1 2026-09: job 1 has 200 µJ in its record, but the node charged it 100 µJ (1 hour from 2026-09-30T22:00Z on)
error: lab n1 2026-09: job 2 has 49 µJ in its record, but the node charged it 50 µJ (1 hour from 2026-09-30T23:00Z on)
";
    assert_ran(&reconcile(&ledger, &["-Pn"]), 2, stdout, stderr);
}

#[test]
fn copies_of_lines_and_of_files_count_once() {
    let ledger = Ledger::new();
    ledger.write(&lines(), &records()).write(&lines()[..2], &records());
    let balanced = reconcile(&ledger, &[]);
    let of_name = |month: &str, name: &str| ledger.dir().join(month).join(name);
    fs::copy(of_name("2026-09", "n1.jsonl"), of_name("2026-09", "n1 (copy).jsonl")).unwrap();
    fs::copy(of_name("2026-10", "n1.jsonl"), of_name("2026-09", "a.jsonl")).unwrap();
    let copied = reconcile(&ledger, &[]);
    assert_eq!(copied, balanced);
    assert_eq!((copied.code, copied.stderr.as_str()), (0, ""));
}

#[test]
fn a_running_job_is_open_until_the_node_goes_on_without_it() {
    let ledger = Ledger::new();
    let mut lines = vec![
        line("n1", "2026-10-01T10:00:00Z", "2026-10-01T11:00:00Z", &[(1, 100), (2, 7)]),
        line("n1", "2026-10-01T11:00:00Z", "2026-10-01T12:00:00Z", &[(2, 200)]),
    ];
    let job = record("n1", 1, "2026-10-01T10:00:00Z", "2026-10-01T10:30:00Z", &[100]);
    ledger.write(&lines, std::slice::from_ref(&job));
    let open = "lab|n1|2026-10|313|100|2|4|207|0|0|0\n";
    assert_ran(&reconcile(&ledger, &["-Pn"]), 0, open, "");
    // The last job ended, and ten minutes later its record is still not there.
    lines[1].end = "2026-10-01T11:40:00Z".parse().unwrap();
    lines.push(line("n1", "2026-10-01T11:40:00Z", "2026-10-01T11:50:00Z", &[]));
    let ledger = Ledger::new();
    ledger.write(&lines, std::slice::from_ref(&job));
    assert_eq!(reconcile(&ledger, &[]).code, 0);
    ledger.write(&[line("n1", "2026-10-01T11:50:00Z", "2026-10-01T12:00:00Z", &[])], &[]);
    let lost = reconcile(&ledger, &["-Pn"]);
    let error = "error: lab n1 2026-10: job 2 has no record of the 207 µJ the node charged it \
                 (2 hours from 2026-10-01T10:00Z on)\n";
    assert_ran(&lost, 2, "lab|n1|2026-10|319|100|4|8|0|0|207|0\n", error);
}

#[test]
fn a_record_waits_for_the_line_of_its_hour() {
    let ledger = Ledger::new();
    let lines = [line("n1", "2026-10-01T10:00:00Z", "2026-10-01T11:00:00Z", &[(1, 100), (2, 9)])];
    // Job 2 still runs, so the line of 11:00 is still to be written.
    let job = record("n1", 1, "2026-10-01T10:00:00Z", "2026-10-01T11:30:00Z", &[100, 40]);
    let early = record("n1", 3, "2026-10-01T08:00:00Z", "2026-10-01T09:00:00Z", &[5]);
    ledger.write(&lines, &[job, early]);
    let stdout = "lab|n1|2026-10|112|145|1|2|9|45|0|0\n";
    assert_ran(&reconcile(&ledger, &["-Pn"]), 0, stdout, "");
}

#[test]
fn a_lost_line_is_no_waiting_one() {
    let ledger = Ledger::new();
    let mut lines = lines();
    lines.remove(2);
    ledger.write(&lines, &records());
    let ran = reconcile(&ledger, &["-Pn", "-E", "2026-10-01"]);
    let stderr = "\
error: lab n1 2026-09: job 1 has 200 µJ in its record that the node never charged (1 hour from 2026-09-30T23:00Z on)
error: lab n1 2026-09: job 2 has 50 µJ in its record that the node never charged (1 hour from 2026-09-30T23:00Z on)
";
    assert_ran(&ran, 2, "lab|n1|2026-09|106|350|2|4|0|0|-250|0\n", stderr);
}

#[test]
fn a_gap_explains_a_difference_but_not_a_lost_record() {
    let mut lines = lines();
    lines[2].gap_s = 0.25;
    let mut records = records();
    records[0].energy_by_hour[1].1 = cpu(180).cpu;
    records[0].energy_j = cpu(580);
    let ledger = Ledger::new();
    ledger.write(&lines, &records);
    let september = "lab|n1|2026-09|359|330|3|6|0|0|20|1\n";
    assert_ran(&reconcile(&ledger, &["-Pn", "-E", "2026-10-01"]), 0, september, "");
    let ledger = Ledger::new();
    ledger.write(&lines, &records[..1]);
    let lost = reconcile(&ledger, &["-Pn", "-E", "2026-10-01"]);
    assert_eq!(lost.code, 2, "{lost:?}");
    assert!(lost.stderr.contains("job 2 has no record of the 50 µJ"), "{}", lost.stderr);
}

#[test]
fn with_the_policy_node_there_is_no_difference_but_jobs_are_compared() {
    let whole = |mut line: NodeRecord| {
        line.attribution = "node".to_owned();
        line.meter_j = cpu(100);
        line
    };
    let lines =
        [whole(line("n1", "2026-10-01T10:00:00Z", "2026-10-01T11:00:00Z", &[(1, 100), (2, 100)]))];
    let job = |id| record("n1", id, "2026-10-01T10:00:00Z", "2026-10-01T11:00:00Z", &[100]);
    let ledger = Ledger::new();
    ledger.write(&lines, &[job(1), job(2)]);
    let ran = reconcile(&ledger, &["--json"]);
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &rows[0]["difference_uj"]), (0, &Value::Null));
    assert_eq!(
        ran.stderr,
        "note: lab n1 2026-10: by the policy \"node\" each job is charged the whole node (200 µJ in \
         all): no difference is given\n"
    );
    let ledger = Ledger::new();
    ledger.write(&lines, &[job(1)]);
    ledger.write(&[whole(line("n1", "2026-10-01T11:00:00Z", "2026-10-01T12:00:00Z", &[]))], &[]);
    let ran = reconcile(&ledger, &["-Pn"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, "lab|n1|2026-10|200|100|2|4|0|0||0\n"));
    assert!(ran.stderr.contains("job 2 has no record of the 100 µJ"), "{}", ran.stderr);
}

#[test]
fn torn_lines_and_lines_that_do_not_balance_are_skipped() {
    let ledger = Ledger::new();
    let mut lines = lines();
    lines[5].meter_j = cpu(4);
    ledger.write(&lines, &records());
    let file = ledger.dir().join("2026-10/n1.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let next = line("n1", "2026-10-01T01:30:00Z", "2026-10-01T02:00:00Z", &[]).to_line().unwrap();
    fs::write(&file, text + &next[..40]).unwrap();
    let ran = reconcile(&ledger, &["-Pn"]);
    let stdout = "lab|n1|2026-09|359|350|3|6|0|0|0|0\nlab|n1|2026-10|306|300|2|4|0|0|0|0\n";
    let stderr = "\
ledger/2026-10/n1.jsonl:4: skipped: jobs, system and unallocated add up to 3 µJ of cpu, expected the 4 µJ of \"meter_j\"
ledger/2026-10/n1.jsonl:7: skipped: torn last line: no record: EOF while parsing a string at line 1 column 40
note: 2 part(s) could not be read and are not counted
";
    // The line from 01:00 on is the month's fourth: that of 23:00 ended in October, too.
    assert_ran(&ran, 3, stdout, stderr);
    // What is torn of a job that counts leaves a difference, and that comes first.
    let text = fs::read_to_string(&file).unwrap().replace("\"job_id\":2,", "\"job_id\":\"\",");
    fs::write(&file, text).unwrap();
    let ran = reconcile(&ledger, &["-Pn"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("job 2 has no record of the 50 µJ"), "{}", ran.stderr);
}

#[test]
fn usage_and_reconcile_agree_on_the_energy_of_jobs() {
    let ledger = Ledger::new();
    ledger.write(&lines(), &records());
    // Half an hour off UTC: midnight is within an hour of the books.
    for zone in ["UTC", "Europe/Berlin", "Asia/Kolkata"] {
        let args = ["-Pn", "--timezone", zone, "--by", "month"];
        let books = reconcile(&ledger, &args);
        let usage = ["usage", "--ledger", "ledger", "-o", "month,energy_j"];
        let usage = ct_report(ledger.base(), &[&usage[..], &args].concat());
        let month_and_uj = |output: &str, uj_at: usize| {
            let of_row = |row: &str| {
                let cells: Vec<_> = row.split('|').collect();
                let month = cells[uj_at.min(2) - 1].to_owned();
                (month, cells[uj_at].replace('.', "").parse::<u64>().unwrap())
            };
            let rows = output.lines().map(of_row);
            rows.filter(|(_, uj)| *uj > 0).collect::<Vec<_>>()
        };
        // cluster|month|meter_uj|jobs_uj|…  and  month|energy_j
        let books = month_and_uj(&books.stdout, 3);
        let usage = month_and_uj(&usage.stdout, 1);
        assert!(!books.is_empty());
        assert_eq!(usage, books, "{zone}");
    }
}

#[test]
fn the_example_in_the_documents_is_what_is_printed() {
    let of_node = |node: &str, job: u32| {
        let parts = |mut line: NodeRecord| {
            let jobs = line.jobs_j.cpu.as_u64();
            (line.system_j, line.unallocated_j) = (cpu(15_000_000_000), cpu(225_000_000_000));
            line.meter_j = cpu(jobs + 240_000_000_000);
            line
        };
        vec![
            parts(line(
                node,
                "2026-10-02T10:00:00Z",
                "2026-10-02T11:00:00Z",
                &[(42, 600_000_000_000), (job, 700_000_123_456)],
            )),
            parts(line(
                node,
                "2026-10-02T11:00:00Z",
                "2026-10-02T12:00:00Z",
                &[(42, 600_000_000_000), (job, 500_000_000_000)],
            )),
            // Nobody, and nothing drawn.
            NodeRecord {
                meter_j: cpu(0),
                system_j: cpu(0),
                unallocated_j: cpu(0),
                ..line(node, "2026-10-02T12:00:00Z", "2026-10-02T13:00:00Z", &[])
            },
        ]
    };
    let (start, end) = ("2026-10-02T10:00:00Z", "2026-10-02T12:00:00Z");
    let ledger = Ledger::new();
    ledger.write(
        &[of_node("n1", 41), of_node("n2", 43)].concat(),
        &[
            record("n1", 41, start, end, &[700_000_123_456, 500_000_000_000]),
            record("n1", 42, start, end, &[600_000_000_000, 600_000_000_000]),
            record("n2", 42, start, end, &[600_000_000_000, 600_000_000_000]),
        ],
    );
    let ran = reconcile(&ledger, &[]);
    let document = include_str!("../../../docs/LEDGER.md");
    let block = document.split_once("ct-report by its tests. -->\n```text\n").unwrap().1;
    let block = block.split_once("```").unwrap().0;
    assert_eq!((ran.code, ran.stdout + &ran.stderr), (2, block.to_owned()));
}
