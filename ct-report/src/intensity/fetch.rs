//! `ct-report intensity fetch`: asks the provider and puts the answers into the site's file.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use chrono::{DateTime, TimeDelta, Utc};
use ct_core::carbon::intensity::{Point, hour_of};
use ct_core::carbon::series;
use ct_core::config::{Carbon, Provider};

use super::client::{Answer, Client, Failure, Patience};
use super::file;
use super::provider::{Ask, Span, base_url, requests};
use super::store::{Etags, Lock, replace};
use super::token::Token;
use crate::diagnostic::{Hint, Outcome, note};

/// What is to be fetched.
pub(super) struct Job {
    provider: Provider,
    base_url: String,
    zone: String,
    file: PathBuf,
    token: Option<Token>,
    span: Span,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Values that came.
    pub(super) n_new: usize,
    /// Whether the file was written.
    pub(super) has_changed: bool,
}

/// Fetches as the configuration says, from `from` or the configured number of hours back.
///
/// # Errors
///
/// What is not or not rightly configured, and what [`Job::run`] says.
pub(crate) fn run(
    carbon: &Carbon,
    from: Option<DateTime<Utc>>,
    outcome: &mut Outcome,
) -> Result<()> {
    let job = Job::from_config(carbon, from, Utc::now())?;
    let fetched = job.run(&Client::new(Patience::default()), outcome)?;
    outcome.matched += 1;
    let (file, zone) = (job.file.display(), &job.zone);
    note(&match fetched {
        Fetched { has_changed: true, n_new } => format!("{file}: {n_new} values of zone {zone}"),
        Fetched { has_changed: false, .. } => format!("{file}: nothing new of zone {zone}"),
    });
    Ok(())
}

impl Job {
    /// What the configuration asks for at an instant.
    ///
    /// # Errors
    ///
    /// What is missing or cannot be.
    pub(super) fn from_config(
        carbon: &Carbon,
        from: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let fetch = &carbon.fetch;
        let provider = fetch.provider.ok_or_else(|| {
            anyhow!("no provider is configured").context(Hint(
                "set carbon.fetch.provider to electricitymaps, carbonintensity or energidataservice",
            ))
        })?;
        let zone = carbon.zone.clone().unwrap_or_default();
        if let Err(expected) = provider.check_zone(&zone) {
            let error = anyhow!("zone is {zone:?}, expected {expected}");
            return Err(error.context(Hint("name it with --zone, or set carbon.zone")));
        }
        let base_url = fetch.base_url.as_deref().unwrap_or(base_url(provider));
        let token = fetch.token_file.as_deref().map(Token::read).transpose()?;
        if token.is_some() && !is_private(base_url) {
            let error =
                anyhow!("{base_url} is not encrypted: it would show the token to the network");
            return Err(error.context(Hint("set carbon.fetch.base_url to an https:// address")));
        }
        // Full hours, so that the addresses of one hour, and their ETags, are the same.
        let hour = hour_of(now);
        let hours = |n: u32| TimeDelta::hours(n.into());
        let from = from.unwrap_or(hour - hours(fetch.history_h));
        Ok(Self {
            provider,
            base_url: base_url.trim_end_matches('/').to_owned(),
            zone,
            file: file::path(carbon)?,
            token,
            span: Span { from, to: hour + hours(fetch.horizon_h.max(1)), hour },
        })
    }

    /// Fetches and writes the file.
    ///
    /// # Errors
    ///
    /// Another fetch, a provider that does not answer, an answer that cannot be read, a file that
    /// cannot be read or written: the file is then as it was.
    pub(super) fn run(&self, client: &Client, outcome: &mut Outcome) -> Result<Fetched> {
        let _lock = Lock::take(&self.file)?;
        let old = if self.file.exists() { file::read(&self.file, outcome)? } else { Vec::new() };
        let known = Etags::load(&self.file);
        let (mut new, mut etags) = (Vec::new(), BTreeMap::new());
        for ask in requests(self.provider, &self.zone, self.span) {
            let url = format!("{}{}", self.base_url, ask.path);
            match client.get(&url, self.token.as_ref(), known.get(&url)) {
                Ok(Answer::Fresh { body, etag }) => {
                    new.extend(self.read(&ask, &url, &body)?);
                    etags.extend(etag.map(|etag| (url, etag)));
                }
                Ok(Answer::NotModified) => {
                    etags.extend(known.get(&url).map(|etag| (url.clone(), etag.to_owned())));
                }
                Err(failure) if is_spared(&ask, &failure) => {
                    note(&format!("no forecast: {failure}"));
                }
                Err(failure) => {
                    let hint = Hint(failure.hint());
                    return Err(anyhow!(failure).context("cannot fetch intensities").context(hint));
                }
            }
        }
        self.write(old, new, etags)
    }

    fn read(&self, ask: &Ask, url: &str, body: &[u8]) -> Result<Vec<Point>> {
        let is_broken = |reason: String| {
            anyhow!(reason)
                .context(format!(
                    "{url}: the answer is not what this provider's documentation says"
                ))
                .context("cannot fetch intensities")
                .context(Hint(
                    "the file is as it was; look whether the provider has changed its form",
                ))
        };
        let points = (ask.read)(&self.zone, body).map_err(is_broken)?;
        if points.is_empty() && !ask.is_optional {
            return Err(is_broken(format!("it has no value of zone {:?}", self.zone)));
        }
        Ok(points)
    }

    fn write(
        &self,
        old: Vec<Point>,
        new: Vec<Point>,
        etags: BTreeMap<String, String>,
    ) -> Result<Fetched> {
        let n_new = new.len();
        let text = series::to_text(&series::merge(old, new));
        let has_changed =
            n_new > 0 && fs::read(&self.file).ok().as_deref() != Some(text.as_bytes());
        let cannot = || format!("cannot write {}; it is as it was", self.file.display());
        if has_changed {
            replace(&self.file, |out| out.write_all(text.as_bytes())).with_context(cannot)?;
        }
        Etags::save(&self.file, etags).with_context(|| {
            format!("cannot write beside {}; it is up to date itself", self.file.display())
        })?;
        Ok(Fetched { n_new, has_changed })
    }
}

/// Whether what failed is a forecast that this token's plan does not have.
fn is_spared(ask: &Ask, failure: &Failure) -> bool {
    let is_refused = matches!(failure, Failure::Refused { .. } | Failure::Rejected { .. });
    ask.is_optional && is_refused
}

/// Whether nobody between here and there can read along.
fn is_private(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return true };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}
