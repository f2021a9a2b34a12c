//! How long a job's end waits for slurmctld's word, and what its record says without it.

use ct_core::config::Config;
use ct_core::protocol::JobFacts;
use ct_core::sampler::Sampler;

use super::*;

/// What the ledger says of the end of a job about which slurmctld says this, once more than half a minute
/// has passed since it said anything; nothing where it is waited on.
fn end_reason(fate: Fate, waited: Duration, wait_status: Option<i32>) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    let mut config = Config::default();
    config.ledger.dir = dir.path().join("ledger");
    let sampler = Sampler::new(Vec::new(), Path::new("/nonexistent"));
    let mut station = Station::new(config, "n1".to_owned(), sampler);
    let mut state = StateDir::new(dir.path(), Path::new("/nonexistent"));
    let mut logs = LogFiles::default();
    let (wake, _end) = UnixStream::pair().unwrap();
    let mut closing = Closing::new(&mut station, wake).unwrap();
    station.job_start(JobFacts { job_id: 1, ..JobFacts::default() });
    station.job_end(1, wait_status, true);
    closing.turn(&mut station, &mut logs, &mut state);
    let heard = Instant::now().checked_sub(PATIENCE + Duration::from_secs(1)).unwrap();
    let since = Instant::now().checked_sub(waited).unwrap();
    closing.since.insert((1, 0), Waiting { since, heard });
    closing.hear((1, 0), fate, &mut station, &mut logs, &state);
    closing.turn(&mut station, &mut logs, &mut state);
    closing.finish(Duration::from_secs(10));
    let months = std::fs::read_dir(dir.path().join("ledger")).ok()?.flatten();
    let files = months.flat_map(|month| std::fs::read_dir(month.path()).unwrap().flatten());
    let text: String = files.map(|f| std::fs::read_to_string(f.path()).unwrap()).collect();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut records = lines.filter(|line| line["kind"] == "job");
    Some(records.next()?["end_reason"].as_str().unwrap().to_owned())
}

#[test]
fn a_slurmctld_that_is_away_is_waited_for_by_the_hour() {
    let hour = Duration::from_secs(3600);
    let minute = Duration::from_secs(60);
    assert_eq!(end_reason(Fate::Away, hour - minute, Some(0)), None);
    // Exit code 3: only a failure is sure without its word.
    assert_eq!(end_reason(Fate::Away, hour, Some(3 << 8)).unwrap(), "failed");
    assert_eq!(end_reason(Fate::Away, hour, Some(0)).unwrap(), "unknown");
    assert_eq!(end_reason(Fate::Away, hour, Some(9)).unwrap(), "unknown");
}

#[test]
fn a_job_that_slurmctld_says_is_being_ended_is_waited_for_ten_minutes() {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    assert_eq!(end_reason(Fate::Ending, minutes(9), Some(0)), None);
    assert_eq!(end_reason(Fate::Alive(Told::default()), minutes(9), Some(0)), None);
    assert_eq!(end_reason(Fate::Ending, minutes(10), Some(1 << 8)).unwrap(), "failed");
    assert_eq!(end_reason(Fate::Alive(Told::default()), minutes(10), Some(0)).unwrap(), "unknown");
}

#[test]
fn an_end_that_is_found_out_is_kept_before_it_is_forgotten_that_the_job_ran() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    let station = || {
        let mut config = Config::default();
        config.ledger.dir = dir.path().join("ledger");
        let sampler = Sampler::new(Vec::new(), Path::new("/nonexistent"));
        Station::new(config, "n1".to_owned(), sampler)
    };
    let mut first = station();
    let mut state = StateDir::new(dir.path(), Path::new("/nonexistent"));
    let (wake, _end) = UnixStream::pair().unwrap();
    let mut closing = Closing::new(&mut first, wake).unwrap();
    first.job_start(JobFacts { job_id: 1, ..JobFacts::default() });
    state.save(&first);
    let fate = Fate::Ended(EndReason::Completed, Told::default());
    closing.hear_of_running((1, 0), fate, &mut first, &mut state);
    state.save_if_due(&first, false);
    // Killed right here, before the next turn.
    let mut second = station();
    StateDir::new(dir.path(), Path::new("/nonexistent")).restore(&mut second);
    assert!(second.jobs().is_empty());
    let ended: Vec<_> = second.ended().iter().map(|ended| ended.job.facts.job_id).collect();
    assert_eq!(ended, [1]);
}

#[test]
fn a_job_of_which_slurmctld_says_nothing_is_closed_after_half_a_minute() {
    // No answer came: it is the turn that closes it.
    assert_eq!(end_reason(Fate::Failed, PATIENCE, Some(0)).unwrap(), "unknown");
    assert_eq!(end_reason(Fate::Unknown, Duration::ZERO, Some(2 << 8)).unwrap(), "failed");
}
