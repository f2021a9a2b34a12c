//! Which jobs, of which time, from where: what several commands are asked.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use chrono::Utc;
use clap::Args;

use crate::load::jobs::{self, Sources};
use crate::load::pieces::Ledger;
use crate::query::time::{Edge, Zone, parse_time};
use crate::query::{JobSelector, Query};

/// Which records are counted.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Take records from these log directories, besides the ledger if one is named
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Look into directories below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Read the ledger in this directory
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// Read the ledger this configuration names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read what ct-report compact made of the ledger from this directory, not from LEDGER/parquet
    #[arg(long, value_name = "DIR")]
    parquet: Option<PathBuf>,
    /// Count energy from this time on: 2026-10-01, 2026-10-01T12:00:00Z, today, now-30days, lastmonth
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    starttime: Option<String>,
    /// Count energy before this time; lastmonth means up to its end
    #[arg(short = 'E', long, value_name = "TIME", allow_hyphen_values = true)]
    endtime: Option<String>,
    /// Count only jobs of these users
    #[arg(short, long, value_name = "USER", value_delimiter = ',')]
    user: Vec<String>,
    /// Count only jobs of these accounts
    #[arg(short = 'A', long, value_name = "ACCOUNT", value_delimiter = ',')]
    account: Vec<String>,
    /// Count only jobs in these partitions
    #[arg(short = 'r', long, value_name = "PARTITION", value_delimiter = ',')]
    partition: Vec<String>,
    /// Count only jobs on these clusters
    #[arg(short = 'M', long, value_name = "CLUSTER", value_delimiter = ',')]
    clusters: Vec<String>,
    /// Count only these jobs: 42, 42_7 for a task of an array, 42.1 for the run after one restart
    #[arg(short, long, value_name = "ID", value_delimiter = ',')]
    jobs: Vec<JobSelector>,
    /// Begin months, weeks and days in this zone: UTC, local or a name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: Zone,
}

impl Selection {
    /// What is asked for.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub(crate) fn query(&self) -> Result<Query> {
        self.query_from(None)
    }

    /// What is asked for, from `start` on where no time is named.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub(crate) fn query_from(&self, start: Option<&str>) -> Result<Query> {
        let (zone, now) = (self.timezone, Utc::now());
        let time = |text: Option<&str>, edge| {
            let time = text.map(|text| parse_time(text, edge, zone, now));
            time.transpose().map_err(|error| anyhow!(error))
        };
        Ok(Query {
            users: self.user.clone(),
            accounts: self.account.clone(),
            partitions: self.partition.clone(),
            clusters: self.clusters.clone(),
            jobs: self.jobs.clone(),
            start: time(self.starttime.as_deref().or(start), Edge::Start)?,
            end: time(self.endtime.as_deref(), Edge::End)?,
            zone,
        })
    }

    /// The configuration that is named.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The ledger where it is named, or where nothing else is.
    ///
    /// # Errors
    ///
    /// A configuration that cannot be read.
    pub(crate) fn sources(&self, query: &Query) -> Result<Sources> {
        let is_named = self.ledger.is_some() || self.config.is_some() || self.parquet.is_some();
        let is_wanted = is_named || self.paths.is_empty();
        let ledger = || {
            let dir = jobs::ledger_dir(self.ledger.as_deref(), self.config.as_deref())?;
            anyhow::Ok(Ledger::new(dir, self.parquet.as_deref()))
        };
        Ok(Sources {
            ledger: is_wanted.then(ledger).transpose()?,
            logs: self.paths.clone(),
            is_recursive: self.recursive,
            since: query.start,
            wants_whole_jobs: true,
        })
    }
}
