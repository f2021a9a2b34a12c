//! A meter that hangs: the driver of a GPU answers no call.

use anyhow::{Result, ensure};
use ct_tests::{Site, e2e_is_possible};

use crate::outcome::{
    MOST_DELAY, ended, has_its_energy, median_of, one_record_each, record, run, submit, warns,
};

#[test]
fn that_hangs_costs_a_job_less_than_a_second_and_the_other_meters_nothing() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder()
        .without_report()
        .gpus(1, 250.0)
        .config("attribution.policy", "node")
        .start()?;
    let (usual, _) = median_of(3, || run(&site))?;
    let hang = site.plants[0].nvml_dir().join("gpu0/hang_ms");
    // It hangs once: until its call returns, the meter is set aside.
    let (delayed, jobs) = median_of(3, || {
        std::fs::write(&hang, "2500")?;
        let ran = run(&site);
        std::fs::write(&hang, "0")?;
        // It is back by then, and the note of a hook that waited is away.
        std::thread::sleep(std::time::Duration::from_secs(3));
        ran
    })?;
    std::fs::write(&hang, "60000")?;
    run(&site)?;
    let delay = delayed.saturating_sub(usual);
    ensure!(delay <= MOST_DELAY, "{usual:?} usually, {delayed:?} with a driver that hangs");
    let records = jobs.into_iter().map(|job| record(&site, job)).collect::<Result<Vec<_>>>()?;
    ensure!(records.iter().all(|r| warns(r, "nvml did not answer")), "{records:#?}");
    // Those of them whose own hooks met it, and not a look at the idle node shortly before.
    ensure!(records.iter().any(|r| warns(r, "ct-noded stood still from")), "{records:#?}");

    // What comes right after is late, too.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let job = submit(&site, "on\n#SBATCH --exclusive", "sleep 3; echo hello; exit 3")?;
    ended(&site, job, 3)?;
    let other = record(&site, job)?;
    has_its_energy(&site, 1, &other)?;
    ensure!(warns(&other, "nvml did not answer"), "{other:#}");
    ensure!(!warns(&other, "ct-noded stood still from"), "{other:#}");
    one_record_each(&site)
}
