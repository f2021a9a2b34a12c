//! Watches the site's file of intensities.
//!
//! A file that is gone, cannot be read or has no value of the zone gives no series, and the reason
//! goes into the records.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ct_core::carbon::intensity::IntensitySeries;
use ct_core::carbon::series;
use ct_core::config::Carbon;

use crate::file_watch::{FileWatch, Seen, Watched};

/// What the last look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The series of the zone.
    pub series: Option<Arc<IntensitySeries>>,
    /// Why there is none, or why it may be old.
    pub problem: Option<String>,
}

/// The file, for as long as this lives.
pub struct SeriesWatch(FileWatch<IntensitySeries>);

impl SeriesWatch {
    /// Starts watching the configured file; `None` where none is configured.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn start(carbon: &Carbon) -> io::Result<Option<Self>> {
        let (Some(path), Some(zone)) = (carbon.series_file.clone(), carbon.zone.clone()) else {
            return Ok(None);
        };
        let shown = format!("{NAME} {}", path.display());
        let watched = Watched {
            thread: "series",
            name: NAME,
            path,
            pause: Duration::from_secs_f64(carbon.series_check_s),
            parse: Box::new(move |text| parse(text, &zone, &shown)),
            consequence: "jobs are priced with the annual average",
        };
        Ok(Some(Self(FileWatch::start(watched)?)))
    }

    /// What was found last; says so where that is long ago.
    pub fn latest(&self) -> Found {
        let Seen { value, problem } = self.0.latest();
        Found { series: value, problem }
    }
}

/// The key that names the file.
const NAME: &str = "carbon.series_file";

fn parse(text: &str, zone: &str, shown: &str) -> Result<IntensitySeries, String> {
    let (points, skipped) = series::parse(text);
    if let Some(first) = skipped.first() {
        let n = skipped.len();
        log::warn!("{shown}: {n} lines skipped; line {}: {}", first.line, first.reason);
    }
    let series = IntensitySeries::new(zone, &points);
    if series.is_empty() {
        return Err(series::unknown_zone(zone, &points));
    }
    let last = series.hours().next_back().map(|(hour, _)| hour.to_rfc3339());
    let n = series.hours().count();
    log::info!("{shown}: {n} hours of zone {zone}, up to {}", last.unwrap_or_default());
    Ok(series)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::file_watch::PATIENCE;

    fn carbon(path: &Path) -> Carbon {
        Carbon {
            series_file: Some(path.to_owned()),
            zone: Some("DK1".to_owned()),
            series_check_s: 0.02,
            ..Carbon::default()
        }
    }

    fn wait_until(watch: &SeriesWatch, what: impl Fn(&Found) -> bool) -> Found {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let found = watch.latest();
            if what(&found) {
                return found;
            }
            assert!(Instant::now() < end, "{found:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn g(found: &Found) -> Option<f64> {
        let at = "2026-11-23T10:30:00Z".parse().unwrap();
        Some(found.series.as_deref()?.at(at)?.intensity.as_g_per_kwh())
    }

    #[test]
    fn a_change_is_noticed_and_so_is_the_end_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.csv");
        let line = |g: u32| format!("2026-11-23T10:00:00Z,DK1,{g},X actual\n");
        fs::write(&path, line(100)).unwrap();
        let watch = SeriesWatch::start(&carbon(&path)).unwrap().unwrap();
        assert_eq!(g(&watch.latest()), Some(100.0));
        assert_eq!(watch.latest().problem, None);

        // Replaced in one step, with a text of the same length.
        fs::write(dir.path().join("new"), line(200)).unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        wait_until(&watch, |found| g(found) == Some(200.0));

        fs::write(&path, line(300).replace("DK1", "DK2")).unwrap();
        let found = wait_until(&watch, |found| found.series.is_none());
        let problem = found.problem.unwrap();
        assert!(problem.contains("no zone \"DK1\"") && problem.contains("\"DK2\""), "{problem}");

        fs::remove_file(&path).unwrap();
        wait_until(&watch, |found| found.problem.as_ref().is_some_and(|p| p.contains("No such")));
        fs::write(&path, line(400)).unwrap();
        wait_until(&watch, |found| g(found) == Some(400.0) && found.problem.is_none());
    }

    #[test]
    fn a_file_that_hangs_holds_up_nobody_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let begun = Instant::now();
        // Opening a FIFO nobody writes to blocks, as does a file server that is away.
        let watch = SeriesWatch::start(&carbon(&path)).unwrap().unwrap();
        assert!(begun.elapsed() < PATIENCE + Duration::from_secs(2));
        let problem = watch.latest().problem.unwrap();
        assert!(problem.contains("not read yet"), "{problem}");
        // Frees the thread.
        drop(watch);
        drop(std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap());
    }

    #[test]
    fn what_is_configured_nowhere_is_not_watched() {
        assert!(SeriesWatch::start(&Carbon::default()).unwrap().is_none());
    }
}
