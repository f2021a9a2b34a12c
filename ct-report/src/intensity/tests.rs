//! The real client against a real server that answers in each provider's documented shape.
#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

pub(crate) mod server;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use ct_core::config::{Carbon, Fetch, Provider};

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
        let now = "2026-11-23T10:20:30Z".parse().unwrap();
        let job = Job::from_config(&self.carbon, from, now);
        let fetched = job.and_then(|j| j.run(&Client::new(self.patience), &mut Outcome::default()));
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

#[test]
fn electricity_maps_gives_history_forecast_and_ranges() {
    let server = Server::start(|request, _| electricity_maps(request));
    let site = Site::new(Provider::ElectricityMaps, "DK-DK1", &server);
    assert_eq!(site.fetch(), Ok(Fetched { n_new: 4, has_changed: true }));
    assert_eq!(
        site.text(),
        "time,zone,g_per_kwh,source\n\
         2026-11-23T08:00:00Z,DK-DK1,101,Electricity Maps actual\n\
         2026-11-23T09:00:00Z,DK-DK1,102.5,Electricity Maps estimate\n\
         2026-11-23T10:00:00Z,DK-DK1,110,Electricity Maps forecast\n\
         2026-11-23T11:00:00Z,DK-DK1,120,Electricity Maps forecast\n"
    );
    // ct-noded is another user.
    assert_eq!(fs::metadata(site.file()).unwrap().permissions().mode() & 0o444, 0o444);
    let from = "2026-11-10T00:00:00Z".parse().unwrap();
    site.fetch_from(Some(from)).unwrap();
    let paths: Vec<String> = server.requests().iter().map(|r| r.path.clone()).collect();
    assert_eq!(
        paths,
        [
            "/v3/carbon-intensity/history?zone=DK-DK1",
            "/v3/carbon-intensity/forecast?zone=DK-DK1&horizonHours=24",
            // At most ten days in one request.
            "/v3/carbon-intensity/past-range?zone=DK-DK1&start=2026-11-10T00%3A00%3A00Z&end=2026-11-20T00%3A00%3A00Z",
            "/v3/carbon-intensity/past-range?zone=DK-DK1&start=2026-11-20T00%3A00%3A00Z&end=2026-11-23T10%3A00%3A00Z",
            "/v3/carbon-intensity/forecast?zone=DK-DK1&horizonHours=24",
        ]
    );
    let has_token = |r: &Request| r.headers.contains(&format!("auth-token: {TOKEN}"));
    assert!(server.requests().iter().all(has_token));
}

#[test]
fn a_plan_without_forecasts_has_its_history_all_the_same() {
    let server = Server::start(|request, _| {
        if request.path.contains("forecast") {
            return Reply::Bytes(response("403 Forbidden", "", r#"{"error":"not in your plan"}"#));
        }
        electricity_maps(request)
    });
    let site = Site::new(Provider::ElectricityMaps, "DK-DK1", &server);
    assert_eq!(site.fetch(), Ok(Fetched { n_new: 2, has_changed: true }));
}

#[test]
fn uk_carbon_intensity_is_read_nationally_and_by_region() {
    let half = |from: &str, to: &str, intensity: &str| {
        format!(r#"{{"from":"{from}","to":"{to}","intensity":{{{intensity},"index":"low"}}}}"#)
    };
    let server = Server::start(move |request, _| {
        let national = [
            half("2026-11-23T09:00Z", "2026-11-23T09:30Z", r#""forecast":266,"actual":263"#),
            half("2026-11-23T10:30Z", "2026-11-23T11:00Z", r#""forecast":250,"actual":null"#),
        ];
        let regional =
            [half("2026-11-23T09:00Z", "2026-11-23T09:30Z", r#""forecast":50"#)].join(",");
        let region = format!(
            r#"{{"regionid":13,"dnoregion":"UKPN London","shortname":"London","data":[{regional}]}}"#
        );
        ok(&match &request.path {
            path if path.contains("/regionid/") => format!(r#"{{"data":{region}}}"#),
            path if path.contains("/postcode/") => format!(r#"{{"data":[{region}]}}"#),
            _ => format!(r#"{{"data":[{}]}}"#, national.join(",")),
        })
    });
    let mut site = Site::new(Provider::CarbonIntensity, "GB", &server);
    for zone in ["GB", "GB-13", "GB-RG10"] {
        site.carbon.zone = Some(zone.to_owned());
        site.fetch().unwrap();
    }
    assert_eq!(
        site.text(),
        "time,zone,g_per_kwh,source\n\
         2026-11-23T09:00:00Z,GB,263,UK Carbon Intensity actual\n\
         2026-11-23T09:00:00Z,GB-13,50,UK Carbon Intensity forecast\n\
         2026-11-23T09:00:00Z,GB-RG10,50,UK Carbon Intensity forecast\n\
         2026-11-23T10:30:00Z,GB,250,UK Carbon Intensity forecast\n"
    );
    let paths: Vec<String> = server.requests().iter().map(|r| r.path.clone()).collect();
    let span = "2026-11-22T10:00Z/2026-11-24T10:00Z";
    assert_eq!(
        paths,
        [
            format!("/intensity/{span}"),
            format!("/regional/intensity/{span}/regionid/13"),
            format!("/regional/intensity/{span}/postcode/RG10"),
        ]
    );
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

#[test]
fn energi_data_service_gives_actual_and_prognosis() {
    let server = Server::start(|request, _| ok(&danish(request)));
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    fs::write(site.file(), OLD).unwrap();
    assert_eq!(site.fetch(), Ok(Fetched { n_new: 4, has_changed: true }));
    assert_eq!(
        site.text(),
        format!(
            "{OLD}2026-11-23T10:00:00Z,DK1,103,Energi Data Service actual\n\
             2026-11-23T10:05:00Z,DK1,102,Energi Data Service actual\n\
             2026-11-23T10:10:00Z,DK1,98,Energi Data Service forecast\n"
        )
    );
    let paths: Vec<String> = server.requests().iter().map(|r| r.path.clone()).collect();
    // Danish time is an hour ahead of UTC in November.
    let filter = "filter=%7B%22PriceArea%22%3A%5B%22DK1%22%5D%7D&sort=Minutes5UTC%20asc&limit=0";
    assert_eq!(
        paths,
        [
            format!("/dataset/CO2Emis?start=2026-11-22T11%3A00&end=2026-11-23T12%3A00&{filter}"),
            format!(
                "/dataset/CO2EmisProg?start=2026-11-23T11%3A00&end=2026-11-24T11%3A00&{filter}"
            ),
        ]
    );
    // The same answers again change nothing.
    assert_eq!(site.fetch(), Ok(Fetched { n_new: 4, has_changed: false }));
}

#[test]
fn refusals_say_what_where_and_keep_the_token() {
    for (status, body, parts) in [
        (
            "401 Unauthorized",
            r#"{"error":"Invalid auth-token"}"#,
            ["carbon.fetch.token_file", "401 Invalid"],
        ),
        ("403 Forbidden", "Access denied", ["valid for carbon.zone", "403 Access denied"]),
        (
            "404 Not Found",
            r#"{"status":"error","message":"Zone 'DK-DK9' does not exist."}"#,
            ["carbon.zone", "does not exist"],
        ),
        ("301 Moved", "", ["carbon.fetch.base_url", "redirected to"]),
        ("429 Too Many Requests", "", ["run less often", "too many requests"]),
        ("500 Internal Server Error", "oops", ["try again later", "500 oops"]),
        ("200 OK", "{\"zone\":", ["changed its form", "EOF while parsing"]),
        ("200 OK", "{\"zone\":\"DK-DK1\"}", ["changed its form", "missing field `history`"]),
        ("200 OK", r#"{"zone":"DK-DK1","history":[]}"#, ["changed its form", "no value of zone"]),
        (
            "200 OK",
            r#"{"history":[{"carbonIntensity":-5,"datetime":"2026-11-23T08:00:00Z"}]}"#,
            ["-5", "g/kWh ≥ 0"],
        ),
    ] {
        let server = Server::start(move |_, _| Reply::Bytes(response(status, "", body)));
        let site = Site::new(Provider::ElectricityMaps, "DK-DK1", &server);
        fs::write(site.file(), OLD).unwrap();
        let error = site.fetch().unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{status} {body}: {error:?} lacks {part:?}");
        }
        assert!(!error.contains(TOKEN), "{error}");
        assert_eq!(site.text(), OLD);
    }
}

#[test]
fn failures_that_pass_are_waited_out() {
    let server = Server::start(|request, n| match n {
        0 => Reply::Bytes(response("503 Service Unavailable", "", "")),
        1 => Reply::Bytes(response("429 Too Many Requests", "retry-after: 1\r\n", "")),
        2 => Reply::Bytes(response("200 OK", "", &danish(request))[..150].to_vec()),
        _ => ok(&danish(request)),
    });
    let mut site = Site::new(Provider::EnergiDataService, "DK1", &server);
    site.patience.retries = 3;
    let begun = Instant::now();
    assert_eq!(site.fetch().unwrap().n_new, 4);
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After was not heeded");
    assert_eq!(server.requests().len(), 5);

    // Nobody waits for an hour.
    let server = Server::start(|_, _| {
        Reply::Bytes(response("429 Too Many Requests", "retry-after: 3600\r\n", ""))
    });
    let mut site = Site::new(Provider::EnergiDataService, "DK1", &server);
    site.patience.retries = 3;
    let error = site.fetch().unwrap_err();
    assert!(error.contains("asks to wait 3600 s"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let server = Server::start(|request, _| {
        let etag = if request.path.contains("Prog") { "\"p1\"" } else { "\"a1\"" };
        if request.headers.contains(&format!("if-none-match: {etag}")) {
            return Reply::Bytes(response("304 Not Modified", "", ""));
        }
        Reply::Bytes(response("200 OK", &format!("etag: {etag}\r\n"), &danish(request)))
    });
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    assert_eq!(site.fetch(), Ok(Fetched { n_new: 4, has_changed: true }));
    let text = site.text();
    assert_eq!(site.fetch(), Ok(Fetched::default()));
    assert_eq!(site.fetch(), Ok(Fetched::default()));
    assert_eq!(site.text(), text);
    // Without the file nothing is known.
    fs::remove_file(site.file()).unwrap();
    assert_eq!(site.fetch().unwrap().n_new, 4);
    assert_eq!(site.text(), text);
}

#[test]
fn an_answer_cut_at_any_byte_leaves_the_old_file_whole() {
    let body = danish(&Request { path: String::new(), headers: vec![] });
    let whole = response("200 OK", "", &body);
    // With its length said, and with an end that is the connection's.
    let length = format!("content-length: {}\r\n", body.len());
    let open_ended = String::from_utf8(whole.clone()).unwrap().replace(&length, "").into_bytes();
    for whole in [whole, open_ended] {
        let length = whole.len();
        let server = Server::start(move |_, n| Reply::Bytes(whole[..n].to_vec()));
        let site = Site::new(Provider::EnergiDataService, "DK1", &server);
        fs::write(site.file(), OLD).unwrap();
        for n in 0..length {
            assert_eq!(server.requests().len(), n);
            let error = site.fetch().unwrap_err();
            assert!(error.contains("cannot fetch intensities"), "cut at {n} of {length}: {error}");
            assert_eq!(site.text(), OLD, "cut at {n} of {length}");
        }
        let left: Vec<_> = fs::read_dir(site.dir.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 3, "there are the file, its lock and the token: {left:?}");
    }
}

#[test]
fn an_answer_that_drips_is_given_up() {
    let body = danish(&Request { path: String::new(), headers: vec![] });
    let server = Server::start(move |_, _| {
        Reply::Slowly(response("200 OK", "", &body), Duration::from_millis(50))
    });
    let mut site = Site::new(Provider::EnergiDataService, "DK1", &server);
    site.patience.request = Duration::from_millis(300);
    fs::write(site.file(), OLD).unwrap();
    let begun = Instant::now();
    let error = site.fetch().unwrap_err();
    assert!(error.contains("no whole answer"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(site.text(), OLD);
}

#[test]
fn a_token_that_others_can_read_or_overhear_is_not_used() {
    let server = Server::start(|request, _| electricity_maps(request));
    let mut site = Site::new(Provider::ElectricityMaps, "DK-DK1", &server);
    let token = site.dir.path().join("token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    let error = site.fetch().unwrap_err();
    assert!(error.contains("mode 640, expected 600") && error.contains("chmod 600"), "{error}");

    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&token, "two words\n").unwrap();
    assert!(site.fetch().unwrap_err().contains("holds no token"));

    fs::write(&token, TOKEN).unwrap();
    site.carbon.fetch.base_url = Some("http://example.org/".to_owned());
    assert!(site.fetch().unwrap_err().contains("would show the token"));
    assert!(server.requests().is_empty());
}

#[test]
fn what_is_not_configured_is_named() {
    let server = Server::start(|_, _| ok("{}"));
    let mut site = Site::new(Provider::EnergiDataService, "DK9", &server);
    assert!(site.fetch().unwrap_err().contains("did you mean \"DK"), "{:?}", site.fetch());
    site.carbon.fetch.provider = None;
    assert!(site.fetch().unwrap_err().contains("carbon.fetch.provider"));
    assert!(server.requests().is_empty());
}
