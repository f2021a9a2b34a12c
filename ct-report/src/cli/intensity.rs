//! `ct-report intensity`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Subcommand};

use crate::diagnostic::Outcome;
use crate::intensity::{self, show::Form};
use crate::query::time::{Edge, Zone, parse_time};

/// Arguments of `ct-report intensity`.
#[derive(Debug, Args)]
pub(crate) struct IntensityArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Ask the configured provider and put its values into the series file
    #[cfg(feature = "fetch")]
    Fetch(FetchArgs),
    /// Show the values of the series file by hour, and the one that holds now
    Show(ShowArgs),
}

/// Which file and zone.
#[derive(Debug, Args)]
struct Where {
    /// Take file, zone and provider from this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use this series file instead of the configured one
    #[arg(long, value_name = "FILE")]
    series: Option<PathBuf>,
    /// Use this zone instead of the configured one
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Begin here: 2026-10-01, 2026-10-01T12:00:00Z, today, now-30days
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    starttime: Option<String>,
}

#[cfg(feature = "fetch")]
#[derive(Debug, Args)]
struct FetchArgs {
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("output").multiple(false))]
struct ShowArgs {
    #[command(flatten)]
    place: Where,
    /// End before this time
    #[arg(short = 'E', long, value_name = "TIME", allow_hyphen_values = true)]
    endtime: Option<String>,
    /// Print comma-separated values
    #[arg(long, group = "output")]
    csv: bool,
    /// Print JSON
    #[arg(long, group = "output")]
    json: bool,
}

/// Fetches or shows intensities.
pub(crate) fn run(args: &IntensityArgs) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    match &args.what {
        #[cfg(feature = "fetch")]
        What::Fetch(FetchArgs { place }) => {
            let from = time(place.starttime.as_deref(), Edge::Start)?;
            intensity::fetch::run(&carbon(place)?, from, &mut outcome)?;
        }
        What::Show(show) => {
            let start = time(show.place.starttime.as_deref(), Edge::Start)?;
            let end = time(show.endtime.as_deref(), Edge::End)?;
            let form = match (show.json, show.csv) {
                (true, _) => Form::Json,
                (_, true) => Form::Csv,
                _ => Form::Text,
            };
            intensity::show::run(&carbon(&show.place)?, (start, end), form, &mut outcome)?;
        }
    }
    Ok(outcome)
}

fn carbon(place: &Where) -> Result<ct_core::config::Carbon> {
    let Where { config, series, zone, .. } = place;
    intensity::carbon(config.as_deref(), series.as_deref(), zone.as_deref())
}

fn time(text: Option<&str>, edge: Edge) -> Result<Option<DateTime<Utc>>> {
    let time = text.map(|text| parse_time(text, edge, Zone::Utc, Utc::now()));
    time.transpose().map_err(|error| anyhow!(error))
}
