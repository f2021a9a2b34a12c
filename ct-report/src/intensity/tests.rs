//! The real client against a real server that answers in each provider's documented shape.
#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod cache;
mod failures;
mod refusals;
pub(crate) mod server;
mod shapes;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ct_core::config::{Carbon, Fetch, Provider};
use ureq::tls::RootCerts;

use super::client::{Client, Patience};
use super::fetch::{Fetched, Job};
use crate::diagnostic::Outcome;
use server::{Reply, Request, Server, response};

const TOKEN: &str = "s3cret-t0ken";
const OLD: &str = "time,zone,g_per_kwh,source\n\
                   2026-11-20T00:00:00Z,DK1,55,Energi Data Service actual\n";

/// A site that fetches from a server of the test's.
struct Site {
    dir: tempfile::TempDir,
    carbon: Carbon,
    patience: Patience,
}

impl Site {
    fn new(provider: Provider, zone: &str, server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        fs::write(&token, format!("{TOKEN}\n")).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let fetch = Fetch {
            provider: Some(provider),
            token_file: (provider == Provider::ElectricityMaps).then_some(token),
            base_url: Some(server.url()),
            ..Fetch::default()
        };
        let series_file = Some(dir.path().join("series.csv"));
        let carbon =
            Carbon { zone: Some(zone.to_owned()), series_file, fetch, ..Carbon::default() };
        let patience = Patience {
            connect: Duration::from_secs(2),
            request: Duration::from_secs(5),
            retries: 0,
            pause: Duration::from_millis(1),
            longest_pause: Duration::from_secs(2),
        };
        Self { dir, carbon, patience }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("series.csv")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn fetch_from(&self, from: Option<DateTime<Utc>>) -> Result<Fetched, String> {
        self.fetch_at("2026-11-23T10:20:30Z", from, &mut Outcome::default())
    }

    /// Fetches at a time, from another on; the error's text has causes and hint.
    fn fetch_at(
        &self,
        now: &str,
        from: Option<DateTime<Utc>>,
        outcome: &mut Outcome,
    ) -> Result<Fetched, String> {
        let job = Job::from_config(&self.carbon, from, now.parse().unwrap());
        let fetched =
            job.and_then(|j| j.run(&Client::new(self.patience, RootCerts::WebPki), outcome));
        fetched.map_err(|error| format!("{error:#}"))
    }

    fn fetch(&self) -> Result<Fetched, String> {
        self.fetch_from(None)
    }
}

fn ok(body: &str) -> Reply {
    Reply::Bytes(response("200 OK", "", body))
}

/// The documented shape of Electricity Maps' answers, API v3.
fn electricity_maps(request: &Request) -> Reply {
    let hour = |time: &str, g: &str, estimated: bool| {
        format!(
            r#"{{"zone":"DK-DK1","carbonIntensity":{g},"datetime":"{time}","updatedAt":"2026-11-23T09:41:21.324Z","createdAt":"2026-11-20T00:00:00.000Z","emissionFactorType":"lifecycle","isEstimated":{estimated},"estimationMethod":null}}"#
        )
    };
    let hours = [
        hour("2026-11-23T08:00:00.000Z", "101", false),
        hour("2026-11-23T09:00:00.000Z", "102.5", true),
        hour("2026-11-23T10:00:00.000Z", "null", true),
    ]
    .join(",");
    ok(&match &request.path {
        path if path.contains("/history") => {
            format!(r#"{{"zone":"DK-DK1","history":[{hours}],"temporalGranularity":"hourly"}}"#)
        }
        path if path.contains("/past-range") => format!(r#"{{"zone":"DK-DK1","data":[{hours}]}}"#),
        _ => r#"{"zone":"DK-DK1","forecast":[{"carbonIntensity":110,"datetime":"2026-11-23T10:00:00.000Z"},{"carbonIntensity":120,"datetime":"2026-11-23T11:00:00.000Z"}],"updatedAt":"2026-11-23T09:41:21.324Z"}"#.to_owned(),
    })
}

/// The documented shape of Energi Data Service's answers.
fn energi_data_service(dataset: &str, records: &[(&str, &str)]) -> String {
    let record = |(time, g): &(&str, &str)| {
        format!(
            r#"{{"Minutes5UTC":"{time}","Minutes5DK":"{time}","PriceArea":"DK1","CO2Emission":{g}}}"#
        )
    };
    let records: Vec<String> = records.iter().map(record).collect();
    format!(
        r#"{{"total":{},"sort":"Minutes5UTC asc","limit":0,"dataset":"{dataset}","records":[{}]}}"#,
        records.len(),
        records.join(",")
    )
}

fn danish(request: &Request) -> String {
    if request.path.starts_with("/dataset/CO2EmisProg?") {
        let times = [("2026-11-23T10:05:00", "99.0"), ("2026-11-23T10:10:00", "98.0")];
        return energi_data_service("CO2EmisProg", &times);
    }
    let times = [("2026-11-23T10:00:00", "103.0"), ("2026-11-23T10:05:00", "102.0")];
    energi_data_service("CO2Emis", &times)
}
