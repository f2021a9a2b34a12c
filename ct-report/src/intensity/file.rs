//! Which file and which zone is meant, and what stands in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use ct_core::carbon::intensity::Point;
use ct_core::carbon::series;
use ct_core::config::{Carbon, Config};

use crate::diagnostic::{Hint, Outcome};

/// The `[carbon]` that is meant: the configuration's, with what the command line says.
///
/// # Errors
///
/// A configuration that cannot be read.
pub(crate) fn carbon(
    config: Option<&Path>,
    file: Option<&Path>,
    zone: Option<&str>,
) -> Result<Carbon> {
    let mut carbon = Config::load(config)?.carbon;
    carbon.series_file = file.map(Path::to_owned).or(carbon.series_file);
    carbon.zone = zone.map(str::to_owned).or(carbon.zone);
    Ok(carbon)
}

/// The file that is named.
///
/// # Errors
///
/// Where none is.
pub(super) fn path(carbon: &Carbon) -> Result<PathBuf> {
    carbon.series_file.clone().ok_or_else(|| {
        anyhow!("no series file is named").context(Hint(
            "name it with --series, or set carbon.series_file and carbon.zone in the configuration",
        ))
    })
}

/// The points of a file; lines that are none are reported.
///
/// # Errors
///
/// A file that cannot be read.
pub(super) fn read(path: &Path, outcome: &mut Outcome) -> Result<Vec<Point>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read series {}", path.display()))?;
    let (points, skipped) = series::parse(&String::from_utf8_lossy(&bytes));
    skipped.iter().for_each(|skipped| outcome.skip(path, skipped));
    Ok(points)
}
