//! Answers that are none, and what is said of them; the file stays as it was.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use ct_core::config::Provider;

use super::server::{Reply, Request, Server, response};
use super::{Fetched, OLD, Outcome, Site, TOKEN, danish, ok};

/// A zone of each provider.
const PROVIDERS: [(Provider, &str); 3] = [
    (Provider::ElectricityMaps, "DK-DK1"),
    (Provider::CarbonIntensity, "GB"),
    (Provider::EnergiDataService, "DK1"),
];

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
        (
            "200 OK",
            r#"{"zone":"DK-DK1","history":[]}"#,
            [
                "has this zone",
                "no value of zone \"DK-DK1\" from 2026-11-22T10:00:00Z to 2026-11-24",
            ],
        ),
        (
            "200 OK",
            r#"{"history":[{"carbonIntensity":-5,"datetime":"2026-11-23T08:00:00Z"}]}"#,
            ["-5", "g/kWh from 0 to 5000"],
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

/// Status, headers, body; and what the error has to say of every provider.
const ANSWERS: &[(&str, &str, &str, &[&str])] = &[
    ("400 Bad Request", "", r#"{"error":{"code":"400","message":"Bad dates"}}"#, &["Bad dates"]),
    ("401 Unauthorized", "", r#"{"error":"no"}"#, &["refuses us: 401 no"]),
    ("403 Forbidden", "", "<html>go away</html>", &["refuses us: 403 <html>go away"]),
    ("404 Not Found", "", "", &["404", "carbon.zone", "carbon.fetch.base_url"]),
    ("408 Request Timeout", "", "", &["the provider fails: 408", "try again later"]),
    ("422 Unprocessable Entity", "", r#"{"detail":"bad zone"}"#, &["422 bad zone", "carbon.zone"]),
    ("429 Too Many Requests", "retry-after: 60\r\n", "", &["asks to wait 60 s", "less often"]),
    ("204 No Content", "", "", &["does not accept the request: 204"]),
    ("302 Found", "location: /login\r\n", "", &["redirected to \"/login\"", "base_url"]),
    ("502 Bad Gateway", "", "<html>", &["the provider fails: 502 <html>", "as it was"]),
    ("503 Service Unavailable", "retry-after: 3600\r\n", "", &["503", "try again later"]),
    ("200 OK", "", "", &["EOF while parsing", "it begins with \"\""]),
    ("200 OK", "", "<!DOCTYPE html>\n<title>Log in</title>", &["begins with \"<!DOCTYPE html> <t"]),
    ("200 OK", "", "[]", &["documentation says", "a proxy answers"]),
    ("200 OK", "", "null", &["documentation says"]),
    ("200 OK", "", r#"{"history":7,"data":7,"records":7}"#, &["invalid type: integer"]),
    ("200 OK", "", r#"{"history":[],"data":[],"records":[]}"#, &["no value of zone", "from 2026"]),
];

#[test]
fn every_refusal_of_every_provider_says_what_where_and_how_to_mend_it() {
    for (provider, zone) in PROVIDERS {
        for (status, headers, body, parts) in ANSWERS {
            let server = Server::start(move |_, _| Reply::Bytes(response(status, headers, body)));
            let site = Site::new(provider, zone, &server);
            fs::write(site.file(), OLD).unwrap();
            let (error, url) = (site.fetch().unwrap_err(), server.url());
            for part in parts.iter().chain(&["cannot fetch intensities", url.as_str()]) {
                assert!(error.contains(part), "{zone}: {status} {body}: {error:?} lacks {part:?}");
            }
            // Who needs no token is not told to mend one.
            let is_needed = provider == Provider::ElectricityMaps;
            let is_refusal = error.contains("refuses us");
            let names_token = error.contains("token_file");
            assert_eq!(names_token, is_needed && is_refusal, "{zone}: {status}: {error}");
            assert_eq!(site.text(), OLD, "{zone}: {status}");
        }
    }
}

#[test]
fn a_value_that_cannot_be_is_named_and_none_of_the_answer_is_taken() {
    for (value, seen) in [
        ("-1", "is -1, expected g/kWh from 0 to 5000"),
        ("5000.1", "is 5000.1"),
        ("1e300", "expected g/kWh"),
        ("1e999", "number out of range"),
        ("\"12\"", "invalid type: string"),
        ("true", "invalid type: boolean"),
    ] {
        let body = format!(
            r#"{{"records":[{{"Minutes5UTC":"2026-11-23T10:00:00","PriceArea":"DK1","CO2Emission":7}},
               {{"Minutes5UTC":"2026-11-23T10:05:00","PriceArea":"DK1","CO2Emission":{value}}}]}}"#
        );
        let server = Server::start(move |_, _| ok(&body));
        let site = Site::new(Provider::EnergiDataService, "DK1", &server);
        fs::write(site.file(), OLD).unwrap();
        let error = site.fetch().unwrap_err();
        assert!(error.contains(seen), "{value}: {error}");
        assert_eq!(site.text(), OLD);
    }
    for (provider, zone, body) in [
        (
            Provider::EnergiDataService,
            "DK1",
            r#"{"records":[{"Minutes5UTC":"soon","PriceArea":"DK1","CO2Emission":7}]}"#,
        ),
        (
            Provider::CarbonIntensity,
            "GB",
            r#"{"data":[{"from":"soon","intensity":{"forecast":7}}]}"#,
        ),
        (
            Provider::ElectricityMaps,
            "DE",
            r#"{"history":[{"carbonIntensity":7,"datetime":"soon"}]}"#,
        ),
    ] {
        let server = Server::start(move |_, _| ok(body));
        let error = Site::new(provider, zone, &server).fetch().unwrap_err();
        let is_named = error.contains("\"soon\"") || error.contains("invalid characters");
        assert!(is_named, "{zone}: {error}");
    }
}

#[test]
fn a_token_that_the_provider_repeats_is_not_shown() {
    let body = format!(r#"{{"error":"token {TOKEN} is unknown"}}"#);
    let server = Server::start(move |_, _| Reply::Bytes(response("401 Unauthorized", "", &body)));
    let error = Site::new(Provider::ElectricityMaps, "DE", &server).fetch().unwrap_err();
    assert!(error.contains("401 token … is unknown"), "{error}");
}

#[test]
fn what_was_measured_is_kept_where_the_forecast_fails_and_that_is_told() {
    for (reply, says) in [
        (response("500 Internal Server Error", "", "oops"), "the provider fails: 500 oops"),
        (response("429 Too Many Requests", "retry-after: 9999\r\n", ""), "wait 9999 s"),
        (response("200 OK", "", "<html>"), "documentation says: expected value"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec(), "no whole answer"),
    ] {
        let server = Server::start(move |request, _| match request.path.contains("Prog") {
            true => Reply::Bytes(reply.clone()),
            false => ok(&danish(request)),
        });
        let site = Site::new(Provider::EnergiDataService, "DK1", &server);
        let mut outcome = Outcome::default();
        let fetched = site.fetch_at("2026-11-23T10:20:30Z", None, &mut outcome);
        assert_eq!(fetched, Ok(Fetched { n_new: 2, has_changed: true }));
        // A part that was skipped makes the exit code 3.
        let [skipped] = &outcome.skipped[..] else { panic!("{outcome:?}") };
        let reason = &skipped.reason;
        assert!(reason.starts_with("no forecast: ") && reason.contains(says), "{reason}");
    }
    // And the other way round, where a dataset has a hole.
    let server = Server::start(|request, _| match request.path.contains("Prog") {
        true => ok(&danish(request)),
        false => ok(r#"{"records":[]}"#),
    });
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    let mut outcome = Outcome::default();
    site.fetch_at("2026-11-23T10:20:30Z", None, &mut outcome).unwrap();
    assert!(outcome.skipped[0].reason.contains("only forecasts of zone \"DK1\""), "{outcome:?}");
    assert_eq!(site.text().matches("forecast\n").count(), 2);
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
fn an_answer_cut_at_any_byte_leaves_the_old_file_whole() {
    let body = danish(&Request { path: String::new(), headers: vec![] });
    let whole = response("200 OK", "", &body);
    // With its length said, with an end that is the connection's, in chunks.
    let length = format!("content-length: {}\r\n", body.len());
    let text = String::from_utf8(whole.clone()).unwrap();
    let open_ended = text.replace(&length, "").into_bytes();
    // In two chunks, as most servers send it.
    let head = text.replace(&length, "transfer-encoding: chunked\r\n");
    let (a, b) = body.split_at(100);
    let (head, b_len) = (&head[..head.len() - body.len()], b.len());
    let chunked = format!("{head}64\r\n{a}\r\n{b_len:x}\r\n{b}\r\n0\r\n\r\n").into_bytes();
    // What comes after the last byte of the body may be missed.
    for (whole, n_after) in [(whole, 0), (open_ended, 0), (chunked, "\r\n0\r\n\r\n".len())] {
        let length = whole.len() - n_after;
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
fn nobody_there_is_told_after_all_tries() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(|_, _| ok("{}"));
    let mut site = Site::new(Provider::EnergiDataService, "DK1", &server);
    site.carbon.fetch.base_url = Some(format!("http://127.0.0.1:{port}"));
    site.patience.retries = 2;
    let error = site.fetch().unwrap_err();
    for part in ["no whole answer", "Connection refused", "https_proxy is respected"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(server.requests().is_empty());
}

/// A response with a body that is packed.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

#[test]
fn packed_answers_are_read_and_one_that_never_ends_is_not() {
    let server = Server::start(|request, _| Reply::Bytes(packed(danish(request).as_bytes())));
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    assert_eq!(site.fetch().unwrap().n_new, 4);
    // 80 MiB of spaces, packed into 80 KB, are more than is read.
    let bomb = packed(&vec![b' '; 80 << 20]);
    let server = Server::start(move |_, _| Reply::Bytes(bomb.clone()));
    let mut site = Site::new(Provider::EnergiDataService, "DK1", &server);
    (site.patience.retries, site.patience.request) = (2, Duration::from_secs(60));
    let error = site.fetch().unwrap_err();
    assert!(error.contains("no whole answer"), "{error}");
    assert_eq!(server.requests().len(), 1, "what is too long is so the next time");
}
