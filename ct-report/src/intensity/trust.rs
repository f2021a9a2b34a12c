//! Whose certificates are trusted: those of the file that `SSL_CERT_FILE` names, else Mozilla's.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use ureq::tls::{PemItem, RootCerts, parse_pem};

use crate::diagnostic::Hint;

/// The variable, by the name that OpenSSL, curl and Python know.
pub(super) const VARIABLE: &str = "SSL_CERT_FILE";

const MEND: Hint =
    Hint("let it name a file of certificates in PEM, or unset it for Mozilla's list");

/// The certificates of a file, or Mozilla's where none is named.
///
/// # Errors
///
/// A file that cannot be read or holds no certificate.
pub(super) fn roots(file: Option<&OsStr>) -> Result<RootCerts> {
    let Some(path) = file.filter(|path| !path.is_empty()).map(Path::new) else {
        return Ok(RootCerts::WebPki);
    };
    let shown = path.display();
    let pem =
        fs::read(path).with_context(|| format!("cannot read {VARIABLE} {shown}")).context(MEND)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        let item =
            item.with_context(|| format!("{VARIABLE} {shown} is no PEM file")).context(MEND)?;
        if let PemItem::Certificate(certificate) = item {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        let error = anyhow!("{VARIABLE} {shown} holds no certificate: expected PEM");
        return Err(error.context(MEND));
    }
    Ok(RootCerts::new_with_certs(&found))
}
