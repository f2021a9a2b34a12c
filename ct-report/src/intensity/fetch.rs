//! `ct-report intensity fetch`: asks the provider and puts the answers into the site's file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use ct_core::carbon::intensity::{Point, hour_of};
use ct_core::carbon::series;
use ct_core::config::{Carbon, Provider};

use super::address::is_private;
use super::client::{Answer, Client, Failure, Patience, one_line};
use super::provider::{Ask, Span, base_url, requests};
use super::store::{Etags, Lock, replace};
use super::token::Token;
use super::{file, trust};
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

/// What one request brought.
struct Part {
    /// `None` where nothing has changed.
    points: Option<Vec<Point>>,
    etag: Option<String>,
}

/// What all of them brought.
struct Got {
    points: Vec<Point>,
    etags: BTreeMap<String, String>,
    /// Whether every answer of the past was empty.
    has_no_past: bool,
}

impl Default for Got {
    fn default() -> Self {
        Self { points: Vec::new(), etags: BTreeMap::new(), has_no_past: true }
    }
}

impl Got {
    fn add(&mut self, ask: &Ask, url: String, part: Part) {
        let is_empty = part.points.as_ref().is_some_and(Vec::is_empty);
        self.has_no_past &= ask.is_optional || is_empty;
        self.points.extend(part.points.into_iter().flatten());
        self.etags.extend(part.etag.map(|etag| (url, etag)));
    }
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
    let roots = trust::roots(env::var_os(trust::VARIABLE).as_deref())?;
    let fetched = job.run(&Client::new(Patience::default(), roots), outcome)?;
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
        let hours = |n: u32| TimeDelta::hours(n.max(1).into());
        let (from, to) =
            (from.unwrap_or(hour - hours(fetch.history_h)), hour + hours(fetch.horizon_h));
        if from >= to {
            let error = anyhow!("nothing to fetch from {from} on: it ends at {to}");
            return Err(error.context(Hint("begin earlier, or set carbon.fetch.horizon_h higher")));
        }
        Ok(Self {
            provider,
            base_url: base_url.trim_end_matches('/').to_owned(),
            zone,
            file: resolved(file::path(carbon)?),
            token,
            span: Span { from, to, hour },
        })
    }

    /// Fetches and writes the file. Without a forecast it is of use all the same: what is wrong with
    /// one is noted in `outcome`.
    ///
    /// # Errors
    ///
    /// Another fetch, a provider that does not answer, an answer that cannot be read, a file that
    /// cannot be read or written: the file is then as it was.
    pub(super) fn run(&self, client: &Client, outcome: &mut Outcome) -> Result<Fetched> {
        let _lock = Lock::take(&self.file)?;
        let old = if self.file.exists() { file::read(&self.file, outcome)? } else { Vec::new() };
        let known = Etags::load(&self.file);
        let mut got = Got::default();
        for ask in requests(self.provider, &self.zone, self.span) {
            let url = format!("{}{}", self.base_url, ask.path);
            match self.ask(client, &ask, &url, known.get(&url)) {
                Ok(part) => got.add(&ask, url, part),
                Err(error) if ask.is_optional => self.do_without(&error, outcome),
                Err(error) => return Err(error),
            }
        }
        if got.has_no_past && got.points.is_empty() {
            return Err(self.nothing());
        }
        if got.has_no_past {
            let reason = format!("{}: only forecasts of zone {:?} came", self.base_url, self.zone);
            outcome.skip_part(&self.file, None, reason);
        }
        self.write(old, got.points, got.etags)
    }

    fn ask(&self, client: &Client, ask: &Ask, url: &str, etag: Option<&str>) -> Result<Part> {
        match client.get(url, self.token.as_ref(), etag) {
            Ok(Answer::Fresh { body, etag }) => {
                Ok(Part { points: Some(self.read(ask, url, &body)?), etag })
            }
            Ok(Answer::NotModified) => Ok(Part { points: None, etag: etag.map(str::to_owned) }),
            Err(failure) => {
                let hint = Hint(failure.hint());
                Err(anyhow!(failure).context("cannot fetch intensities").context(hint))
            }
        }
    }

    /// Goes on without a forecast: a plan may not have it, which is no fault.
    fn do_without(&self, error: &anyhow::Error, outcome: &mut Outcome) {
        match error.downcast_ref::<Failure>() {
            Some(failure @ (Failure::Refused { .. } | Failure::Rejected { .. })) => {
                note(&format!("no forecast: {failure}"));
            }
            _ => {
                let causes: Vec<_> = error.chain().skip(2).map(ToString::to_string).collect();
                outcome.skip_part(&self.file, None, format!("no forecast: {}", causes.join(": ")));
            }
        }
    }

    fn nothing(&self) -> anyhow::Error {
        let Span { from, to, .. } = self.span;
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        anyhow!(
            "{}: no value of zone {:?} from {} to {}",
            self.base_url,
            self.zone,
            time(from),
            time(to)
        )
        .context("cannot fetch intensities")
        .context(Hint(
            "see that the provider has this zone and this time, and publishes it now; the file is \
                 as it was",
        ))
    }

    fn read(&self, ask: &Ask, url: &str, body: &[u8]) -> Result<Vec<Point>> {
        (ask.read)(&self.zone, body).map_err(|reason| {
            let is_json = body.trim_ascii_start().starts_with(b"{");
            let begins = || one_line(&String::from_utf8_lossy(&body[..body.len().min(400)]), 60);
            let seen = if is_json { String::new() } else { format!("; it begins with {:?}", begins()) };
            anyhow!("{reason}{seen}")
                .context(format!(
                    "{url}: the answer is not what this provider's documentation says"
                ))
                .context("cannot fetch intensities")
                .context(Hint(
                    "the file is as it was; look whether a proxy answers in the provider's place, or \
                     the provider has changed its form",
                ))
        })
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

/// Where the file is, not the link to it: a link is not to be replaced.
fn resolved(path: PathBuf) -> PathBuf {
    fs::canonicalize(&path).unwrap_or(path)
}
