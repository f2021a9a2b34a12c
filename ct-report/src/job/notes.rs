//! What helps the owner of a job to need less: said only where the records bear it out.

use ct_core::energy::Component;
use ct_core::record::EndReason;

use super::Run;
use crate::amount::energy;

/// GPUs unused for less of their time than this are not worth a word.
const UNUSED_WORTH: f64 = 0.1;

/// A job whose CPUs and GPUs drew less above idle than this part of their energy did little.
const LITTLE_WORK: f64 = 0.05;

/// Notes on a run, one sentence each.
pub(crate) fn notes(run: &Run) -> Vec<String> {
    let all = [
        unused_gpus(run),
        idle_cpus(run),
        lost_work(run),
        missing_nodes(run),
        gaps(run),
        modelled(run),
        simulated(run),
        whole_nodes(run),
    ];
    all.into_iter().flatten().collect()
}

/// GPUs held, as far as whole ones are told apart.
pub(crate) fn n_gpus(run: &Run) -> f64 {
    run.records().iter().flat_map(|r| &r.gpus).map(|gpu| gpu.share).sum()
}

/// The part of the time for which held GPUs stayed at their baseline, 0 to 1, by energy; `None`
/// without GPUs or without a baseline.
///
/// `idle_j.gpu` is the baseline times the time GPUs were held, `gpu_unused_j` the energy of GPUs
/// that drew no more than 5 % above it: their ratio is that of the times, at most 5 % too high.
pub(crate) fn gpu_unused_share(run: &Run) -> Option<f64> {
    let held: u128 = run.records().iter().map(|r| u128::from(r.idle_j.gpu.as_u64())).sum();
    (held > 0).then(|| (run.sums.gpu_unused_uj as f64 / held as f64).min(1.0))
}

fn unused_gpus(run: &Run) -> Option<String> {
    let share = gpu_unused_share(run).filter(|share| *share >= UNUSED_WORTH)?;
    let (n, percent) = (n_gpus(run), 100.0 * share);
    let lost = energy(run.sums.gpu_unused_uj);
    let gpus = if n > 1.0 {
        format!(
            "the {n} GPUs drew idle power for {percent:.0} % of their time, as if {:.1} of them had not been needed",
            n * share
        )
    } else {
        format!("the GPU drew idle power for {percent:.0} % of its time")
    };
    Some(format!("{gpus}: {lost} went into GPUs that were held and not used"))
}

fn idle_cpus(run: &Run) -> Option<String> {
    let cpu_uj = run.sums.component_uj(Component::Cpu);
    let idle_uj: u128 = run.records().iter().map(|r| u128::from(r.idle_j.cpu.as_u64())).sum();
    if cpu_uj == 0 || idle_uj == 0 {
        return None;
    }
    let dynamic = 1.0 - idle_uj as f64 / cpu_uj as f64;
    let n_cpus: u32 = run.records().iter().map(|r| r.alloc_cpus).sum();
    (dynamic < LITTLE_WORK && n_cpus > 1).then(|| {
        let percent = 100.0 * dynamic.max(0.0);
        format!(
            "asked for {n_cpus} CPUs, which did little: {percent:.0} % of their energy was above idle"
        )
    })
}

fn lost_work(run: &Run) -> Option<String> {
    let how = match run.head().end_reason {
        EndReason::Timeout => "ran into its time limit",
        EndReason::OutOfMemory => "was killed for its memory",
        EndReason::Failed => "failed",
        EndReason::NodeFail => "lost a node",
        EndReason::Requeued => "was sent back to the queue",
        EndReason::Preempted => "was preempted",
        _ => return None,
    };
    Some(format!(
        "the job {how}: what it had not saved of {} is lost",
        energy(run.sums.energy_uj())
    ))
}

fn missing_nodes(run: &Run) -> Option<String> {
    let missing = run.n_missing();
    if missing == 0 {
        return None;
    }
    let known = run.records().len();
    let of_all = run.head().job_total.as_ref().map(|total| {
        let seen = energy(total.energy_j.total().as_u64().into());
        format!("; the first node saw {seen} on {} nodes", total.nodes_seen)
    });
    Some(format!(
        "records of {known} of {} nodes were found: the others are in no sum here{}",
        known + missing,
        of_all.unwrap_or_default()
    ))
}

fn gaps(run: &Run) -> Option<String> {
    let coverage = run.sums.coverage().filter(|coverage| *coverage < 0.995)?;
    Some(format!("meters answered for {:.1} % of the job's time only", 100.0 * coverage))
}

fn modelled(run: &Run) -> Option<String> {
    let share = run.sums.measured_share().filter(|share| *share < 0.995)?;
    Some(format!("{:.0} % of the energy is modelled, not measured", 100.0 * (1.0 - share)))
}

fn simulated(run: &Run) -> Option<String> {
    let shown = run.head().simulated.as_ref()?;
    let names: Vec<_> = [&shown.cpu, &shown.gpu].into_iter().flatten().map(|s| &*s.name).collect();
    Some(format!(
        "the job's logs, epochs and prediction show simulated components ({}), the energies here \
         what was metered",
        names.join(", ")
    ))
}

fn whole_nodes(run: &Run) -> Option<String> {
    let is_whole = run.records().iter().any(|record| record.attribution == "node");
    is_whole.then(|| {
        "by the policy \"node\" the job is charged its whole nodes, whoever else was there".into()
    })
}
