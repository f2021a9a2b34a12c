//! `intensity fetch` as the timer runs it, against a server on loopback.

#[path = "../../src/intensity/tests/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{assert_ran, command, ct_report};
use server::{Reply, Server, response};

/// A configuration that fetches DK1 from a server into `series.csv`.
fn configure(dir: &Path, server: &Server) {
    let config = format!(
        "[carbon]\nzone = \"DK1\"\nseries_file = {:?}\n\
         [carbon.fetch]\nprovider = \"energidataservice\"\nbase_url = \"{}\"\n",
        dir.join("series.csv").display().to_string(),
        server.url()
    );
    fs::write(dir.join("c.toml"), config).unwrap();
}

const FETCH: [&str; 4] = ["intensity", "fetch", "--config", "c.toml"];

#[test]
fn the_file_is_filled_as_the_configuration_says() {
    let server = Server::start(|request, _| {
        let time = if request.path.contains("Prog") { "2026-11-23T11" } else { "2026-11-23T10" };
        let record =
            format!(r#"{{"Minutes5UTC":"{time}:00:00","PriceArea":"DK1","CO2Emission":90.5}}"#);
        Reply::Bytes(response("200 OK", "", &format!(r#"{{"records":[{record}]}}"#)))
    });
    let dir = tempfile::tempdir().unwrap();
    let series = dir.path().join("series.csv");
    configure(dir.path(), &server);
    let note = |what: &str| format!("note: {}: {what} of zone DK1\n", series.display());
    assert_ran(&ct_report(dir.path(), &FETCH), 0, "", &note("2 values"));
    assert_eq!(
        fs::read_to_string(&series).unwrap(),
        "time,zone,g_per_kwh,source\n\
         2026-11-23T10:00:00Z,DK1,90.5,Energi Data Service actual\n\
         2026-11-23T11:00:00Z,DK1,90.5,Energi Data Service forecast\n"
    );
    assert_ran(&ct_report(dir.path(), &FETCH), 0, "", &note("nothing new"));
    assert_eq!(server.requests().len(), 4);
    assert!(server.requests()[0].headers.iter().any(|h| h.starts_with("user-agent: ct-report/")));
}

#[test]
fn without_a_provider_nobody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c.toml"), "").unwrap();
    let ran = ct_report(dir.path(), &["intensity", "fetch", "--config", "c.toml"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.starts_with("error: no provider is configured\nhint: set carbon.fetch"),
        "{ran:?}"
    );
}

/// A fetch that runs; nobody hears it.
fn start(dir: &Path) -> Child {
    command(dir, &FETCH).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_fetch_that_is_killed_at_any_time_leaves_a_whole_file_and_the_next_one_goes() {
    let record = r#"{"Minutes5UTC":"2026-11-23T10:00:00","PriceArea":"DK1","CO2Emission":90.5}"#;
    let server = Server::start(move |_, _| {
        Reply::Bytes(response("200 OK", "", &format!(r#"{{"records":[{record}]}}"#)))
    });
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), &server);
    let series = dir.path().join("series.csv");
    // Some months of five minutes, so that reading and writing take their time.
    let line = |i: i64| {
        let at = chrono::DateTime::from_timestamp(1_700_000_100 + 300 * i, 0).unwrap();
        format!("{},DK1,{},X actual\n", at.format("%Y-%m-%dT%H:%M:%SZ"), i % 900)
    };
    let old = format!("time,zone,g_per_kwh,source\n{}", (0..30_000).map(line).collect::<String>());
    let new = format!("{old}2026-11-23T10:00:00Z,DK1,90.5,Energi Data Service actual\n");
    fs::write(&series, &old).unwrap();
    let begun = Instant::now();
    assert!(start(dir.path()).wait().unwrap().success());
    let whole = begun.elapsed();
    assert!(fs::read_to_string(&series).unwrap() == new, "what a whole fetch writes");

    for part in 0..24 {
        fs::write(&series, &old).unwrap();
        let mut fetch = start(dir.path());
        thread::sleep(whole * part / 20);
        // One that is done is killed in vain.
        let _ = fetch.kill();
        fetch.wait().unwrap();
        let left = fs::read_to_string(&series).unwrap();
        assert!(left == old || left == new, "{part}: {} of {} bytes", left.len(), new.len());
    }
    // Nothing that they left holds the next one up, or stays.
    fs::write(&series, &old).unwrap();
    assert!(start(dir.path()).wait().unwrap().success());
    assert!(fs::read_to_string(&series).unwrap() == new);
    assert!(!dir.path().join(".series.csv.new").exists());
}

#[test]
fn one_that_is_killed_while_an_answer_drips_leaves_the_old_file() {
    let record = r#"{"Minutes5UTC":"2026-11-23T10:00:00","PriceArea":"DK1","CO2Emission":90.5}"#;
    let whole = response("200 OK", "", &format!(r#"{{"records":[{record}]}}"#));
    let server = Server::start(move |_, _| Reply::Slowly(whole.clone(), Duration::from_millis(20)));
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), &server);
    let series = dir.path().join("series.csv");
    let old = "time,zone,g_per_kwh,source\n2026-11-20T00:00:00Z,DK1,55,X actual\n";
    fs::write(&series, old).unwrap();
    let mut fetch = start(dir.path());
    while server.requests().is_empty() {
        thread::sleep(Duration::from_millis(5));
        assert!(fetch.try_wait().unwrap().is_none(), "it ended before it asked");
    }
    thread::sleep(Duration::from_millis(200));
    fetch.kill().unwrap();
    fetch.wait().unwrap();
    assert_eq!(fs::read_to_string(&series).unwrap(), old);
}
