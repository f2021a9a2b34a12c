//! What is refused before anybody is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ct_core::config::Provider;

use super::server::Server;
use super::{Site, TOKEN, electricity_maps, ok};

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

#[test]
fn a_time_that_cannot_be_asked_for_is_named() {
    let server = Server::start(|_, _| ok("{}"));
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    // The horizon is 24 h from 10:00 on.
    let error = site.fetch_from(Some("2026-11-24T10:00:00Z".parse().unwrap())).unwrap_err();
    assert!(error.contains("nothing to fetch") && error.contains("begin earlier"), "{error}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_directory_that_cannot_be_written_is_named_with_its_mend() {
    let server = Server::start(|_, _| ok("{}"));
    let mut site = Site::new(Provider::EnergiDataService, "DK1", &server);
    site.carbon.series_file = Some(site.dir.path().join("none/series.csv"));
    let error = site.fetch().unwrap_err();
    for part in ["none/.series.csv.lock", "No such file", "runuser -u carbontracker"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(server.requests().is_empty());
}
