//! Who, where, when and how much, in words: the same in the terminal, on pages and in PDF.

use ct_core::carbon::sci::Sci;
use ct_core::energy::Component;
use ct_core::record::{BudgetUse, Epochs, PredictedBy, Prediction};

use crate::amount::{KWH_UJ, Scale, energy, mass, percent, time};
use crate::job::share::NodeShare;
use crate::job::{Run, notes, shown_id, summary};
use crate::query::time::Zone;

/// The first line.
pub(crate) fn title(run: &Run) -> String {
    let head = run.head();
    let name = head.job_name.as_deref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    format!("Job {}{name} on {}: {}", shown_id(head), head.cluster, head.end_reason.as_str())
}

/// Owner, time, place, meters and footprint, each behind its name.
pub(crate) fn facts(run: &Run, zone: Zone) -> Vec<(&'static str, String)> {
    let wall = |at| zone.wall(at).format("%Y-%m-%d %H:%M:%S").to_string();
    let (start, end, took) = (wall(run.start()), wall(run.end()), time(run.elapsed_s()));
    let mut facts = vec![
        ("owner", owner(run)),
        ("time", format!("{start} to {end} ({}), {took}", zone.name())),
        ("nodes", nodes(run)),
    ];
    facts.extend(gpus(run).map(|gpus| ("GPUs", gpus)));
    facts.push(("energy", format!("{} without PUE", energy(run.sums.energy_uj()))));
    facts.push(("footprint", footprint(run)));
    if let Some(sci) = &run.head().sci {
        facts.push(("SCI", sci_text(sci)));
    }
    facts.extend(budget(run).map(|budget| ("budget", budget)));
    facts.extend(account_budget(run).map(|budget| ("account's", budget)));
    facts.push(("measured", measured(run)));
    facts
}

fn owner(run: &Run) -> String {
    let head = run.head();
    let named = [("account", &head.account), ("partition", &head.partition), ("qos", &head.qos)];
    let known =
        named.iter().filter_map(|(what, name)| Some(format!(", {what} {}", name.as_ref()?)));
    format!("{} (uid {}){}", head.user, head.uid, known.collect::<String>())
}

fn nodes(run: &Run) -> String {
    let names: Vec<_> = run.records().iter().map(|record| &*record.node).collect();
    let missing = match run.n_missing() {
        0 => String::new(),
        n => format!(" and {n} without a record"),
    };
    let cpus: u32 = run.records().iter().map(|record| record.alloc_cpus).sum();
    let memory: Option<u64> = run.records().iter().map(|record| record.alloc_mem_mb).sum();
    let memory = memory.map(|mb| format!(", {mb} MB")).unwrap_or_default();
    format!("{}{missing}; {cpus} CPUs{memory}", names.join(" "))
}

fn gpus(run: &Run) -> Option<String> {
    let mut models: Vec<(&str, f64)> = Vec::new();
    for gpu in run.records().iter().flat_map(|record| &record.gpus) {
        match models.iter_mut().find(|(name, _)| *name == gpu.name) {
            Some((_, n)) => *n += gpu.share,
            None => models.push((&gpu.name, gpu.share)),
        }
    }
    let models: Vec<_> = models.iter().map(|(name, n)| format!("{n} × {name}")).collect();
    let unused = notes::gpu_unused_share(run).map(|share| {
        format!(
            "; unused for {} of their time ({})",
            percent(share),
            energy(run.sums.gpu_unused_uj)
        )
    });
    (!models.is_empty()).then(|| models.join(", ") + &unused.unwrap_or_default())
}

fn footprint(run: &Run) -> String {
    let (sums, head) = (&run.sums, run.head());
    let embodied = sums.embodied_g().map(|g| format!("; embodied {}", mass(g)));
    let water = sums.water_l().map(|l| format!("; water {l:.3} l"));
    format!(
        "{} with PUE {}, carbon intensity {} g/kWh ({}: {}){}{}",
        mass(sums.co2e_g()),
        head.pue,
        head.intensity.g_per_kwh,
        head.intensity.zone,
        head.intensity.source,
        embodied.unwrap_or_default(),
        water.unwrap_or_default()
    )
}

/// The Software Carbon Intensity, which is a mass per unit of work, with all that it is made of.
fn sci_text(sci: &Sci) -> String {
    let embodied = match sci.m_g {
        Some(m) => format!(", embodied M {}", mass(m)),
        None => ", embodied M not known".to_owned(),
    };
    format!(
        "{} per {}, Software Carbon Intensity by ISO/IEC 21031: (E · I + M) ÷ R with energy E {}, \
         grid's carbon intensity I {} g/kWh{embodied}, R {} {}",
        mass(sci.g_per_r),
        sci.unit,
        energy((sci.e_kwh * KWH_UJ).round() as u128),
        sci.i_g_per_kwh,
        sci.r,
        if sci.r == 1 { sci.unit.clone() } else { format!("{}s", sci.unit) }
    )
}

fn budget(run: &Run) -> Option<String> {
    run.head().budget.as_ref().map(budget_text)
}

/// The month's budget of the job's account, and what was seen of it.
fn account_budget(run: &Run) -> Option<String> {
    let of = run.head().account_budget.as_ref()?;
    let seen = match (&of.month, of.as_of) {
        (Some(month), Some(as_of)) => format!(
            "{} kWh and {} of {month} used by others at {}",
            of.used_energy_kwh,
            mass(of.used_co2_g),
            as_of.format("%Y-%m-%d %H:%M:%SZ")
        ),
        _ => "what others used was not known".to_owned(),
    };
    Some(format!("{}; {seen}", budget_text(&of.budget)))
}

fn budget_text(budget: &BudgetUse) -> String {
    let energy = budget.max_energy_kwh.map(|kwh| format!("{kwh} kWh"));
    let mass = budget.max_co2_g.map(|g| format!("{g} g CO2e"));
    let passed = match (budget.exceeded_at, budget.passed_at) {
        (Some(at), _) => format!(", exceeded at {}", at.format("%Y-%m-%d %H:%M:%SZ")),
        (None, Some(at)) => {
            format!(", predicted to be passed at {}", at.format("%Y-%m-%d %H:%M:%SZ"))
        }
        (None, None) => ", kept".to_owned(),
    };
    let allowed: Vec<_> = [energy, mass].into_iter().flatten().collect();
    allowed.join(" and ") + &passed
}

fn measured(run: &Run) -> String {
    let share = run.sums.measured_share().map(|share| match share {
        s if s >= 1.0 => "all of the energy".to_owned(),
        s if s <= 0.0 => "none of the energy, it is modelled".to_owned(),
        s => format!("{} of the energy, the rest is modelled", percent(s)),
    });
    let coverage = run.sums.coverage();
    let coverage =
        coverage.map(|c| format!("meters answered for {} of the job's time", percent(c)));
    let methods = summary::methods(run);
    let by = methods.iter().map(|(component, method)| format!("{component} {method}"));
    let parts = [share, coverage, Some(by.collect::<Vec<_>>().join(", "))];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Energy and power by component: a head, the components that drew any, and all of them.
pub(crate) fn components(run: &Run) -> Vec<Vec<String>> {
    let (all, held) = (summary::energy(run), summary::allocated(run));
    let scale = Scale::energy(run.sums.energy_uj());
    let unit = scale.unit;
    let head = [
        "component",
        &format!("energy [{unit}]"),
        "mean [W]",
        &format!("allocated [{unit}]"),
        &format!("dynamic [{unit}]"),
    ];
    let row = |name: &str, all: u128, held: u128, watts: f64| {
        let dynamic = all.saturating_sub(held);
        let [all, held, dynamic] = [all, held, dynamic].map(|uj| scale.show(uj as f64));
        vec![name.to_owned(), all, format!("{watts:.1}"), held, dynamic]
    };
    let mut rows = vec![head.map(ToOwned::to_owned).to_vec()];
    for component in Component::ALL {
        let uj = u128::from(all.get(component).as_u64());
        let idle = u128::from(held.get(component).as_u64());
        if uj > 0 {
            rows.push(row(component.as_str(), uj, idle, summary::power_w(run, component)));
        }
    }
    let watts = Component::ALL.iter().map(|c| summary::power_w(run, *c)).sum();
    rows.push(row("all", run.sums.energy_uj(), run.sums.allocated_uj, watts));
    rows
}

/// Whose the energy of the nodes was meanwhile: names and parts, 0 to 1.
pub(crate) fn node_shares(share: &NodeShare) -> Vec<(String, f64)> {
    let others = format!("other jobs ({})", share.n_other_jobs);
    let parts = [
        ("this job".to_owned(), share.job_uj),
        (others, share.other_jobs_uj),
        ("system".to_owned(), share.system_uj),
        ("held by no job".to_owned(), share.unallocated_uj),
    ];
    let part = |(name, uj)| (name, share.of_meters(uj).unwrap_or_default());
    parts.into_iter().map(part).collect()
}

/// What was foretold and what came, each behind its name: the first prediction is what the job's
/// owner was told; the last one, of a job that has all its epochs, is what came.
pub(crate) fn prediction(run: &Run) -> Vec<(&'static str, String)> {
    let Some(last) = run.prediction() else { return Vec::new() };
    let first = last.first();
    let mut facts = vec![("predicted", foretold(first))];
    if last.first.is_some() && last.from_epochs < last.epochs {
        facts.push(("later", foretold(last)));
    }
    let came = match (first.by, run.epochs()) {
        (PredictedBy::Epochs, Some(epochs)) => Some(outcome(epochs, first)),
        (PredictedBy::Epochs, None) => None,
        _ => Some(format!("{} in {}", energy(run.sums.energy_uj()), time(run.elapsed_s()))),
    };
    facts.extend(came.map(|came| ("came", came)));
    facts
}

fn foretold(prediction: &Prediction) -> String {
    let joules = |joules: f64| energy((joules * 1e6) as u128);
    let likely = prediction.energy_j_low.zip(prediction.energy_j_high);
    let likely = likely.map(|(low, high)| format!(" (95 %: {} to {})", joules(low), joules(high)));
    let basis = match prediction.by {
        PredictedBy::TimeLimit => "up to the time limit, by the mean power so far".to_owned(),
        _ => format!("for {} epochs, from {} of them", prediction.epochs, prediction.from_epochs),
    };
    format!(
        "{}{} in {} and {} {basis}",
        joules(prediction.energy_j),
        likely.unwrap_or_default(),
        time(prediction.duration_s),
        mass(prediction.co2e_g)
    )
}

/// What came, and by how much it differs where it is of as many epochs.
fn outcome(epochs: &Epochs, prediction: &Prediction) -> String {
    // Only the first of very many epochs are listed.
    let listed = || epochs.energy_j.iter().map(|e| u128::from(e.as_u64())).sum();
    let uj = epochs.total_energy_j.map_or_else(listed, |e| e.as_u64().into());
    let seconds = epochs.total_duration_s.unwrap_or_else(|| epochs.duration_s.iter().sum());
    let is_hindsight = prediction.from_epochs >= prediction.epochs;
    let differs = |came: f64, foretold: f64| match foretold {
        f if f > 0.0 && epochs.done == prediction.epochs && !is_hindsight => {
            format!(" ({:+.1} %)", 100.0 * (came / f - 1.0))
        }
        _ => String::new(),
    };
    format!(
        "{}{} in {}{} for {} epochs",
        energy(uj),
        differs(uj as f64 / 1e6, prediction.energy_j),
        time(seconds),
        differs(seconds, prediction.duration_s),
        epochs.done
    )
}
