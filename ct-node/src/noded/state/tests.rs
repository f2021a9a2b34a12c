//! What is there after the daemon died, wherever it was.

use ct_core::config::Config;
use ct_core::protocol::{JobEnd, JobFacts};
use ct_core::sampler::Sampler;

use super::*;

fn station() -> Station {
    let sampler = Sampler::new(Vec::new(), Path::new("/nonexistent"));
    Station::new(Config::default(), "n1".to_owned(), sampler)
}

fn start(station: &mut Station, job_id: u32) {
    station.job_start(JobFacts { job_id, uid: 1000, ..JobFacts::default() });
}

fn state_dir(dir: &Path) -> StateDir {
    fs::create_dir_all(dir.join("jobs")).unwrap();
    StateDir::new(dir, Path::new("/nonexistent"))
}

#[test]
fn running_jobs_are_taken_up_and_ended_ones_are_not_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state_dir(dir.path());
    let mut first = station();
    start(&mut first, 1);
    start(&mut first, 2);
    state.save_if_due(&first, false);
    // The daemon dies after the end of job 2 was written down, and before the others were.
    first.job_end(2, Some(0), true);
    state.save_ended(&mut first.ended_mut()[0]);
    state.save(&first);
    let mut second = station();
    state_dir(dir.path()).restore(&mut second);
    assert_eq!(second.jobs().keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(second.ended().len(), 1);
    assert_eq!(second.ended()[0].job.facts.job_id, 2);
    // Its processes are gone: the gap is not its own.
    let warnings = &second.jobs()[&1].warnings;
    assert!(warnings.iter().any(|w| w.contains("not charged")), "{warnings:?}");
}

#[test]
fn an_end_that_was_counted_as_a_running_jobs_hides_it_from_no_later_life() {
    for is_kept_anew in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut state = state_dir(dir.path());
        let mut first = station();
        let facts = |restart| JobFacts { job_id: 7, uid: 1000, restart, ..JobFacts::default() };
        // The epilog of run 0, which was sent back, counts 1.
        let end = JobEnd { job: Box::new(facts(Some(1))), ..JobEnd::default() };
        first.job_ended(end);
        state.save_ended(&mut first.ended_mut()[0]);
        first.job_start(facts(Some(1)));
        if is_kept_anew {
            state.save_ended(&mut first.ended_mut()[0]);
        }
        state.save(&first);
        let mut second = station();
        state_dir(dir.path()).restore(&mut second);
        assert_eq!(second.jobs().keys().collect::<Vec<_>>(), [&7], "{is_kept_anew}");
        let ended: Vec<_> = second.ended().iter().map(|e| e.job.restart).collect();
        assert_eq!(ended, [0], "{is_kept_anew}");
        // The old name goes with the new one.
        state.save_ended(&mut second.ended_mut()[0]);
        assert!(!dir.path().join("jobs/7.1.json").exists());
        assert!(dir.path().join("jobs/7.0.json").exists());
    }
}

#[test]
fn a_run_that_was_sent_back_is_counted_by_the_next_life() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state_dir(dir.path());
    let mut first = station();
    start(&mut first, 7);
    first.job_end(7, Some(15), true);
    first.ended_mut().clear();
    assert!(!state.is_behind(&first) || state.saved.is_none());
    state.save(&first);
    first.note_sent_back(7, 0);
    assert!(state.is_behind(&first), "it is to be kept");
    state.save(&first);
    let mut second = station();
    state_dir(dir.path()).restore(&mut second);
    // Slurm says of the next run, too, that it is the first.
    second.job_start(JobFacts { job_id: 7, restart: Some(0), ..JobFacts::default() });
    assert_eq!(second.jobs()[&7].restart, 1);
    second.job_end(7, Some(0), true);
    assert!(second.sent_back().is_empty(), "it has run again");
}

#[test]
fn jobs_of_another_boot_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state_dir(dir.path());
    state.boot_id = "another boot".to_owned();
    let mut first = station();
    start(&mut first, 1);
    state.save(&first);
    let mut second = station();
    state_dir(dir.path()).restore(&mut second);
    assert!(second.jobs().is_empty());
    assert!(!second.ended()[0].was_told);
}

#[test]
fn a_broken_file_is_set_aside_and_an_unfinished_one_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state_dir(dir.path());
    fs::write(dir.path().join("jobs/7.0.tmp"), "{").unwrap();
    fs::write(dir.path().join("jobs/running.json"), "{\"boot").unwrap();
    let mut station = station();
    state.restore(&mut station);
    assert!(station.jobs().is_empty());
    assert!(dir.path().join("jobs/running.broken").exists());
    assert!(!dir.path().join("jobs/7.0.tmp").exists());
}

#[test]
fn what_ended_is_kept_once_wherever_the_daemon_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state_dir(dir.path());
    let mut first = station();
    start(&mut first, 1);
    state.save(&first);
    first.job_end(1, Some(0), true);
    assert_eq!(first.lines_mut().len(), 1, "the node is idle: its line ends");
    state.save_ended(&mut first.ended_mut()[0]);
    let line = first.lines_mut().remove(0);
    let line_file = state.save_line(&line);
    // Before the save without them: the job and the open line are taken up as they were.
    let restored = |dir: &Path| {
        let (mut state, mut station) = (state_dir(dir), station());
        state.restore(&mut station);
        (state.kept_lines().len(), station.ended().len(), station.jobs().len())
    };
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir_all(copy.path().join("jobs")).unwrap();
    for file in fs::read_dir(dir.path().join("jobs")).unwrap().flatten() {
        fs::copy(file.path(), copy.path().join("jobs").join(file.file_name())).unwrap();
    }
    assert_eq!(restored(copy.path()), (0, 0, 1));
    // After it: both are on their way, and nothing runs.
    state.save(&first);
    assert_eq!(restored(dir.path()), (1, 1, 0));
    // Without the file of the running jobs nothing is thought to be ahead of it, then or later.
    fs::remove_file(dir.path().join("jobs/running.json")).unwrap();
    let (mut state, mut second) = (state_dir(dir.path()), station());
    state.restore(&mut second);
    state.save(&second);
    assert_eq!(restored(dir.path()), (1, 1, 0));
    fs::remove_file(line_file).unwrap();
    assert_eq!(restored(dir.path()), (0, 1, 0));
}

#[test]
fn the_open_line_goes_on_with_the_gap_on_the_same_boot_and_ends_with_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state_dir(dir.path());
    let mut first = station();
    std::thread::sleep(Duration::from_millis(20));
    first.sample();
    state.save(&first);
    let mut second = station();
    state_dir(dir.path()).restore(&mut second);
    second.close_line();
    let line = &second.lines_mut()[0];
    assert!(line.elapsed_s >= 0.02 && line.gap_s < line.elapsed_s, "{line:?}");
    state.boot_id = "another boot".to_owned();
    state.save(&first);
    let mut third = station();
    state_dir(dir.path()).restore(&mut third);
    assert_eq!(third.lines_mut().len(), 1, "what the boot before booked is a line of its own");
}

#[test]
fn learned_idle_power_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state_dir(dir.path());
    let text =
        r#"{"rapl:cpu-0":{"watts":[40.0,41.5],"quantile_w":40.0,"at":"2026-11-23T10:00:00.000Z"}}"#;
    fs::write(dir.path().join("baseline.json"), text).unwrap();
    let mut station = station();
    state.restore(&mut station);
    let json = serde_json::to_string(station.baselines().0).unwrap();
    assert_eq!(json, text);
    // Nothing was learned since: nothing is written.
    fs::remove_file(dir.path().join("baseline.json")).unwrap();
    state.save_baselines(&station);
    assert!(!dir.path().join("baseline.json").exists());
}

#[test]
fn saves_are_spread_unless_a_job_comes_or_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state_dir(dir.path());
    let file = dir.path().join("jobs/running.json");
    let mut station = station();
    start(&mut station, 1);
    state.save_if_due(&station, false);
    fs::remove_file(&file).unwrap();
    state.save_if_due(&station, false);
    assert!(!file.exists(), "saved again within a second");
    start(&mut station, 2);
    state.save_if_due(&station, false);
    assert!(file.exists(), "a new job was not saved");
    fs::remove_file(&file).unwrap();
    let saved = state.saved.as_mut().unwrap();
    saved.at = saved.at.checked_sub(LEAST_PAUSE).unwrap();
    state.save_if_due(&station, false);
    assert!(!file.exists(), "saved though jobs have but drawn more");
    station.epoch_start(2);
    state.save_if_due(&station, false);
    assert!(file.exists(), "the mark of an epoch was not saved");
}

#[test]
fn a_file_that_cannot_be_replaced_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("7.0.json");
    // Nothing can be renamed to where a directory is.
    fs::create_dir(&path).unwrap();
    assert!(replace_durably(&path, b"{}").is_err() && replace(&path, b"{}").is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_turn_that_time_alone_asks_for_saves_what_an_event_does_not_yet() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state_dir(dir.path());
    let mut station = station();
    start(&mut station, 1);
    state.save_if_due(&station, false);
    for (age_s, is_turn_due, is_saved) in
        [(0, true, false), (2, false, false), (2, true, true), (10, false, true)]
    {
        let seq = state.seq;
        state.saved.as_mut().unwrap().at = Instant::now() - Duration::from_secs(age_s);
        state.save_if_due(&station, is_turn_due);
        assert_eq!(state.seq > seq, is_saved, "{age_s} s, {is_turn_due}");
    }
}
