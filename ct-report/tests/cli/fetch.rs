//! `intensity fetch` as the timer runs it, against a server on loopback.

#[path = "../../src/intensity/tests/server.rs"]
mod server;

use std::fs;

use crate::{assert_ran, ct_report};
use server::{Reply, Server, response};

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
    let config = format!(
        "[carbon]\nzone = \"DK1\"\nseries_file = {:?}\n\
         [carbon.fetch]\nprovider = \"energidataservice\"\nbase_url = \"{}\"\n",
        series.display().to_string(),
        server.url()
    );
    fs::write(dir.path().join("c.toml"), config).unwrap();
    let args = ["intensity", "fetch", "--config", "c.toml"];
    let note = |what: &str| format!("note: {}: {what} of zone DK1\n", series.display());
    assert_ran(&ct_report(dir.path(), &args), 0, "", &note("2 values"));
    assert_eq!(
        fs::read_to_string(&series).unwrap(),
        "time,zone,g_per_kwh,source\n\
         2026-11-23T10:00:00Z,DK1,90.5,Energi Data Service actual\n\
         2026-11-23T11:00:00Z,DK1,90.5,Energi Data Service forecast\n"
    );
    assert_ran(&ct_report(dir.path(), &args), 0, "", &note("nothing new"));
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
