//! What has not changed: ETags, and answers that say so.

use std::fs;

use ct_core::config::Provider;

use super::server::{Reply, Server, response};
use super::{Fetched, OLD, Site, danish};

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
fn not_modified_is_believed_only_where_an_etag_was_sent() {
    // A cache in between that answers for somebody else.
    let server = Server::start(|_, _| Reply::Bytes(response("304 Not Modified", "", "")));
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    fs::write(site.file(), OLD).unwrap();
    let error = site.fetch().unwrap_err();
    assert!(error.contains("does not accept the request: 304"), "{error}");
    assert_eq!(site.text(), OLD);
}

#[test]
fn etags_that_are_garbled_are_none() {
    let server = Server::start(|request, _| {
        let is_asked = request.headers.iter().any(|h| h.starts_with("if-none-match"));
        assert!(!is_asked, "{request:?}");
        Reply::Bytes(response("200 OK", "etag: \"a1\"\r\n", &danish(request)))
    });
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    for etags in ["", "{", "[1,2]", "{\"http://x\":7}"] {
        fs::write(site.file(), OLD).unwrap();
        fs::write(site.dir.path().join(".series.csv.etags"), etags).unwrap();
        assert_eq!(site.fetch().unwrap().n_new, 4, "{etags}");
    }
}
