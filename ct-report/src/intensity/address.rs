//! What an address says of the way to it.

use ureq::http::Uri;

/// Whether it is this host itself, without TLS.
pub(super) fn is_local(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    uri.scheme_str() == Some("http") && ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}

/// Whether nobody between here and there can read along.
pub(super) fn is_private(url: &str) -> bool {
    let is_tls = url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https"));
    is_tls || is_local(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_only_looks_like_this_host_is_another() {
        for url in ["http://127.0.0.1:8/x", "http://localhost", "http://[::1]:80/"] {
            assert!(is_local(url) && is_private(url), "{url}");
        }
        assert!(is_private("https://example.org") && !is_local("https://127.0.0.1"));
        for url in [
            "http://example.org",
            "http://127.0.0.1:80@example.org/",
            "http://localhost.example.org/",
            "ftp://127.0.0.1/",
            "127.0.0.1",
            "",
        ] {
            assert!(!is_private(url), "{url}");
        }
    }
}
