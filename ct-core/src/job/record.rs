//! The job's record, from all that was charged and told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{ActivitySource, Context, Job};
use crate::carbon::Pricing;
use crate::energy::Component;
use crate::record::{EndReason, Epochs, JobTotal, Record, SHOWS_SIMULATED, VERSION};
use crate::units::Microjoules;

impl Job {
    /// The record of the job as it stands, from its start to the last interval charged.
    pub fn record(&self, end_reason: EndReason, context: Context<'_>) -> Record {
        let facts = &self.facts;
        let energy = self.energy.total();
        let elapsed = self.elapsed();
        let pricing = self.price(context.factors);
        let embodied_g = context.factors.embodied_g(self.cpu_share(context.n_cpus), elapsed);
        let job_total = self.job_total(&pricing, context);
        let sci = self.sci(&pricing, embodied_g, job_total.as_ref(), context);
        // The site's name for the cluster comes before Slurm's.
        let cluster = context.cluster.or(facts.cluster.as_deref()).unwrap_or("cluster").to_owned();
        Record {
            v: VERSION,
            kind: "job".to_owned(),
            cluster,
            job_id: facts.job_id,
            array_job_id: facts.array_job_id,
            array_task_id: facts.array_task_id,
            het_job_id: facts.het_job_id,
            restart: self.restart,
            node: facts.node.clone().unwrap_or_else(|| context.node.to_owned()),
            n_nodes: facts.n_nodes.unwrap_or(1),
            user: facts.user.clone().unwrap_or_else(|| facts.uid.to_string()),
            uid: facts.uid,
            account: facts.account.clone(),
            partition: facts.partition.clone(),
            qos: facts.qos.clone(),
            job_name: facts.job_name.clone(),
            start: self.start.wall,
            // By the monotonic clock: the wall clock may have been set meanwhile.
            end: self.start.wall + elapsed,
            elapsed_s: (elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            end_reason,
            alloc_cpus: facts.alloc_cpus.unwrap_or(0),
            alloc_mem_mb: facts.alloc_mem_mb,
            gpus: self.all_gpus().cloned().collect(),
            energy_j: energy,
            idle_j: self.energy.idle(),
            gpu_unused_j: self.gpu_unused,
            energy_by_hour: self.energy.by_hour(),
            pue: context.factors.pue.as_ratio(),
            intensity: pricing.used,
            co2e_g: pricing.footprint.as_grams(),
            embodied_g,
            water_l: context.factors.water_l(energy.total()),
            epochs: self.record_epochs(),
            prediction: self.outlook(context),
            budget: self.budget.clone(),
            account_budget: self.account_budget.clone(),
            method: self.methods(context),
            coverage: self.coverage(),
            attribution: context.policy.as_str().to_owned(),
            warnings: self.all_warnings(context).into_iter().collect(),
            tracked: self.tracked,
            job_total,
            simulated: self.record_simulated(),
            sci,
        }
    }

    fn record_epochs(&self) -> Option<Epochs> {
        let (declared, n) = (self.settings.epochs.filter(|_| self.tracked), self.n_epochs());
        if !self.is_first_node || (declared.is_none() && n == 0) {
            return None;
        }
        let (listed, total) = (self.epochs(), self.epochs.total());
        let is_cut = u32::try_from(listed.len()).is_ok_and(|len| len < n);
        let seconds = |d: Duration| (d.as_secs_f64() * 1000.0).round() / 1000.0;
        Some(Epochs {
            declared,
            done: n,
            energy_j: listed.iter().map(|e| e.energy.total()).collect(),
            duration_s: listed.iter().map(|e| seconds(e.duration)).collect(),
            total_energy_j: is_cut.then(|| total.energy.total()),
            total_duration_s: is_cut.then(|| seconds(total.duration)),
        })
    }

    /// Where each component's joules come from, and `activity`, by which the job's share of shared
    /// devices was found; a component without a meter is absent.
    pub fn methods(&self, context: Context<'_>) -> BTreeMap<String, String> {
        let mut out: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for device in context.devices {
            let is_held = self.all_gpus().any(|g| g.uuid == device.id);
            if device.component != Component::Gpu || is_held {
                let name = device.component.as_str().to_owned();
                out.entry(name).or_default().insert(&device.method);
            }
        }
        out.insert("activity".to_owned(), BTreeSet::from([self.activity.as_str()]));
        let join = |methods: BTreeSet<&str>| methods.into_iter().collect::<Vec<_>>().join("+");
        out.into_iter().map(|(component, methods)| (component, join(methods))).collect()
    }

    /// Share of the job's time for which its meters answered.
    pub fn coverage(&self) -> f64 {
        let elapsed = self.elapsed().as_secs_f64();
        if self.is_unmeasured {
            return 0.0;
        }
        if elapsed <= 0.0 {
            return 1.0;
        }
        (self.covered.as_secs_f64() / elapsed * 10_000.0).round() / 10_000.0
    }

    /// What is degraded, on the node and for this job.
    pub fn all_warnings(&self, context: Context<'_>) -> BTreeSet<String> {
        let mut all: BTreeSet<String> =
            self.warnings.iter().chain(context.problems).cloned().collect();
        if self.cgroup.is_some() && self.activity != ActivitySource::Cgroup {
            let by = self.activity.as_str();
            all.insert(format!("no CPU time in the job's cgroup: its share is by {by}"));
        }
        if self.record_simulated().is_some() {
            all.insert(SHOWS_SIMULATED.to_owned());
        }
        all.extend(self.missing_warning(context));
        all.extend(self.price(context.factors).warnings);
        all
    }

    fn job_total(&self, pricing: &Pricing, context: Context<'_>) -> Option<JobTotal> {
        let n_nodes = self.facts.n_nodes.unwrap_or(1);
        if !self.is_first_node
            || n_nodes <= 1
            || (self.others.n_seen == 0 && self.others.missing.is_empty())
        {
            return None;
        }
        let energy = self.energy.total() + self.others.energy;
        let total: Microjoules = energy.total();
        Some(JobTotal {
            nodes_seen: self.others.n_seen + 1,
            nodes_missing: self.others.missing.clone(),
            energy_j: energy,
            // What the other nodes drew in which hour is not known here: this node's mean stands for it.
            co2e_g: context.factors.footprint(total.to_joules(), pricing.mean()).as_grams(),
        })
    }
}
