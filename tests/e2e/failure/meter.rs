//! A meter that hangs: the driver of a GPU answers no call.

use anyhow::{Result, ensure};
use ct_tests::{Site, e2e_is_possible};

use crate::outcome::{
    MOST_DELAY, best_of, ended, has_its_energy, one_record_each, record, run, submit, warns,
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
    let (usual, _) = best_of(3, || run(&site))?;
    let hang = site.plants[0].nvml_dir().join("gpu0/hang_ms");
    // It hangs once: until its call returns, the meter is set aside.
    std::fs::write(&hang, "60000")?;
    let (delayed, jobs) = best_of(1, || run(&site))?;
    let delay = delayed.saturating_sub(usual);
    ensure!(delay <= MOST_DELAY, "{usual:?} usually, {delayed:?} with a driver that hangs");
    let late = record(&site, jobs[0])?;
    ensure!(warns(&late, "nvml did not answer"), "{late:#}");
    ensure!(warns(&late, "ct-noded stood still from"), "{late:#}");

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
