//! HTTP: one request, patiently. Timeouts, a few retries with growing pauses, and no redirects, which
//! would carry a token elsewhere.

use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::address::is_local;
use super::token::Token;

/// Largest body that is read; a year of five minutes is 10 MB.
const MOST_BYTES: u64 = 64 << 20;

/// How long is waited, and how often it is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a connection.
    pub(super) connect: Duration,
    /// For a whole request, its body included.
    pub(super) request: Duration,
    /// Tries after the first one.
    pub(super) retries: u32,
    /// Pause before the first retry; it doubles.
    pub(super) pause: Duration,
    /// Longest pause a provider may ask for.
    pub(super) longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            retries: 3,
            pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(120),
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(super) enum Answer {
    /// A body, and its ETag.
    Fresh { body: Vec<u8>, etag: Option<String> },
    /// As it was when the ETag was given.
    NotModified,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// 401 or 403.
    #[error("{url}: the provider refuses us: {status} {message}")]
    Refused { url: String, status: u16, message: String, has_token: bool },
    /// Another 4xx, or a success that brings nothing.
    #[error("{url}: the provider does not accept the request: {status} {message}")]
    Rejected { url: String, status: u16, message: String },
    /// 429, beyond our patience.
    #[error("{url}: too many requests; the provider asks to wait{}", wait(.seconds))]
    TooMany { url: String, seconds: Option<u64> },
    /// 5xx to the last.
    #[error("{url}: the provider fails: {status} {message}")]
    Server { url: String, status: u16, message: String },
    /// 3xx.
    #[error("{url}: redirected to {to:?}, which is not followed")]
    Redirect { url: String, to: String },
    /// No connection, a timeout, a body that ends too soon.
    #[error("{url}: no whole answer")]
    Transport { url: String, source: Box<ureq::Error> },
}

fn wait(seconds: &Option<u64>) -> String {
    seconds.map(|s| format!(" {s} s")).unwrap_or_default()
}

impl Failure {
    /// How to mend it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Refused { has_token: true, .. } => {
                "see that carbon.fetch.token_file holds the token, and that it is valid for carbon.zone"
            }
            Self::Refused { .. } => {
                "this provider asks for no token: see whether a proxy refuses (https_proxy is respected)"
            }
            Self::Rejected { .. } => {
                "see that carbon.zone is one of the provider's zones, that it has values of the time \
                 asked for, and that carbon.fetch.base_url, where it is set, is the provider's"
            }
            Self::TooMany { .. } => "let the timer run less often; the file is as it was",
            Self::Server { .. } => "try again later; the file is as it was",
            Self::Redirect { .. } => "set carbon.fetch.base_url to the new address",
            Self::Transport { source, .. } if is_distrust(source) => {
                "where a proxy has a certificate of its own, name the file of its issuer's in SSL_CERT_FILE"
            }
            Self::Transport { .. } => {
                "see that this host reaches the provider (https_proxy is respected); the file is as it was"
            }
        }
    }
}

/// A failure, and whether to try again after at least this long.
struct Setback {
    failure: Failure,
    again: Option<Duration>,
}

/// The client.
pub(super) struct Client {
    agent: Agent,
    patience: Patience,
}

impl Client {
    pub(super) fn new(patience: Patience, roots: RootCerts) -> Self {
        let config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("ct-report/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience.connect))
            .timeout_per_call(Some(patience.request))
            .build();
        Self { agent: config.new_agent(), patience }
    }

    /// Gets a body, unless it is as it was when `etag` was given.
    ///
    /// # Errors
    ///
    /// [`Failure`], after all retries.
    pub(super) fn get(
        &self,
        url: &str,
        token: Option<&Token>,
        etag: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut pause = self.patience.pause;
        let mut left = self.patience.retries;
        loop {
            let setback = match self.try_once(url, token, etag) {
                Ok(answer) => return Ok(answer),
                Err(setback) => setback,
            };
            let again =
                setback.again.filter(|wait| left > 0 && *wait <= self.patience.longest_pause);
            let Some(asked) = again else { return Err(setback.failure) };
            thread::sleep(asked.max(pause));
            pause = (pause * 2).min(self.patience.longest_pause);
            left -= 1;
        }
    }

    fn try_once(
        &self,
        url: &str,
        token: Option<&Token>,
        etag: Option<&str>,
    ) -> Result<Answer, Setback> {
        let mut request = self.agent.get(url).header("accept", "application/json");
        if is_local(url) {
            // No proxy is between this host and itself, and none is to see the token.
            request = request.config().proxy(None).build();
        }
        if let Some(token) = token {
            request = request.header("auth-token", token.reveal());
        }
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let mut response = request.call().map_err(|e| transport(url, e))?;
        let new_etag = header(&response, "etag");
        let limited = response.body_mut().with_config().limit(MOST_BYTES).read_to_vec();
        match response.status().as_u16() {
            304 if etag.is_some() => Ok(Answer::NotModified),
            200 => {
                let body = limited.map_err(|e| transport(url, e))?;
                Ok(Answer::Fresh { body, etag: new_etag })
            }
            status => {
                let message = message(&limited.unwrap_or_default(), token);
                Err(setback(url, status, &response, message, token.is_some()))
            }
        }
    }
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn transport(url: &str, error: ureq::Error) -> Setback {
    // An address that cannot be one is none the next time either.
    // An answer that is too long or a certificate that is wrong is so the next time, too.
    let is_hopeless = matches!(
        error,
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::BodyExceedsLimit(_)
    ) || is_distrust(&error);
    let failure = Failure::Transport { url: url.to_owned(), source: Box::new(error) };
    Setback { failure, again: (!is_hopeless).then_some(Duration::ZERO) }
}

/// Whether it is about a certificate: rustls says so, but within errors of reading.
fn is_distrust(error: &ureq::Error) -> bool {
    error.to_string().contains("certificate")
}

fn setback(
    url: &str,
    status: u16,
    response: &Response<Body>,
    message: String,
    has_token: bool,
) -> Setback {
    let url = url.to_owned();
    let asked = header(response, "retry-after").and_then(|text| retry_after(&text, Utc::now()));
    let again = Some(asked.unwrap_or_default());
    match status {
        401 | 403 => {
            let failure = Failure::Refused { url, status, message, has_token };
            Setback { failure, again: None }
        }
        429 => {
            let seconds = asked.map(|d| d.as_secs());
            Setback { failure: Failure::TooMany { url, seconds }, again }
        }
        // A timeout of the provider's.
        408 => Setback { failure: Failure::Server { url, status, message }, again },
        301..=303 | 307 | 308 => {
            let to = header(response, "location").unwrap_or_default();
            Setback { failure: Failure::Redirect { url, to }, again: None }
        }
        500.. => Setback { failure: Failure::Server { url, status, message }, again },
        _ => Setback { failure: Failure::Rejected { url, status, message }, again: None },
    }
}

/// Seconds, or an HTTP date.
fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// What the provider says, wherever its error's text stands, in one short line.
/// A token that it repeats is left out.
fn message(body: &[u8], token: Option<&Token>) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let said = json.as_ref().and_then(|json| {
        ["/error/message", "/message", "/error", "/detail", "/title"]
            .iter()
            .find_map(|at| json.pointer(at)?.as_str())
    });
    let mut text = said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    if let Some(token) = token {
        text = text.replace(token.reveal(), "…");
    }
    one_line(&text, 200)
}

/// The beginning of a text, in one line.
pub(super) fn one_line(text: &str, n_chars: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(n_chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        let date = retry_after("Mon, 23 Nov 2026 10:00:30 GMT", now);
        assert_eq!(date, Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Mon, 23 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn the_providers_words_are_found() {
        for (body, text) in [
            (r#"{"error":{"code":"400 Bad Request","message":"Please enter"}}"#, "Please enter"),
            (
                r#"{"status":"error","message":"Zone 'X' does not exist"}"#,
                "Zone 'X' does not exist",
            ),
            (r#"{"error":"Invalid auth-token"}"#, "Invalid auth-token"),
            ("<html>\n bad \n</html>", "<html> bad </html>"),
            ("", ""),
        ] {
            assert_eq!(message(body.as_bytes(), None), text);
        }
    }
}
