//! Which components a job's logs and output show, and what is said of them: that no meter counts one,
//! or that it is not there.

use super::{Context, Job, local};
use crate::energy::Component;
use crate::sample::Moment;

/// What the method of a component without a meter begins with.
const MODELLED: &str = "modelled:";

impl Job {
    /// Says of what is shown that no meter counted it.
    pub(super) fn log_modelled(&mut self, at: Moment, context: Context<'_>) -> String {
        let methods = self.methods(context);
        let is_simulated = |name| match name {
            "cpu" => self.simulated_cpu().is_some(),
            _ => self.simulated_gpu().is_some(),
        };
        let shown = self.components(context).into_iter().map(|(name, _)| name);
        let of = |name: &str| methods.get(name).filter(|method| method.contains(MODELLED));
        let modelled = shown.filter(|name| !is_simulated(*name)).filter_map(|name| {
            let upper = name.to_uppercase();
            of(name).map(|method| format!("{upper} energy is not measured: {method}"))
        });
        let sentences: Vec<String> = modelled.collect();
        let mut text = String::new();
        for sentence in sentences {
            self.log.standard(local(at), &sentence);
            text.push_str(&self.log.output(local(at), &sentence));
        }
        text
    }

    /// Components in the log's order, with the names of their devices.
    pub(super) fn components(&self, context: Context<'_>) -> Vec<(&'static str, Vec<String>)> {
        let chosen = self.settings.components;
        let mut out = Vec::new();
        if let Some(gpu) = self.simulated_gpu() {
            out.push(("gpu", vec![gpu.name.clone()]));
        } else if chosen.gpu && self.all_gpus().next().is_some() {
            out.push(("gpu", self.all_gpus().map(|g| g.name.clone()).collect()));
        }
        let is_cpu = |c: Component| c != Component::Gpu;
        let cpu: Vec<String> = context
            .devices
            .iter()
            .filter(|d| is_cpu(d.component))
            .map(|d| d.name.clone())
            .collect();
        if let Some(cpu) = self.simulated_cpu() {
            out.push(("cpu", vec![cpu.name.clone()]));
        } else if chosen.cpu && !cpu.is_empty() {
            out.push(("cpu", cpu));
        }
        out
    }

    /// Says that the one component its owner chose is not there: the zeros of its blocks are no
    /// measurement.
    pub(super) fn log_missing(&mut self, at: Moment, context: Context<'_>) -> String {
        let Some((missing, there)) = self.missing(context) else { return String::new() };
        // Its processes tell which GPUs are the job's.
        let yet = if self.settings.devices_by_pid && missing == "gpu" { " yet" } else { "" };
        let sentence = format!(
            "{}{yet}, and components is \"{missing}\": blocks and logs show 0; with \
             components:{there} they show the {}",
            none_of(missing),
            there.to_uppercase()
        );
        self.log.standard(local(at), &sentence);
        self.log.output(local(at), &sentence)
    }

    /// What the record says where the one component its owner chose is not there.
    pub(super) fn missing_warning(&self, context: Context<'_>) -> Option<String> {
        let (missing, there) = self.missing(context)?;
        Some(format!(
            "{}, and components is \"{missing}\": blocks and logs show 0; energy_j has the {}",
            none_of(missing),
            there.to_uppercase()
        ))
    }

    /// The one component that is chosen, where it is not there, and the one that is not chosen.
    fn missing(&self, context: Context<'_>) -> Option<(&'static str, &'static str)> {
        let chosen = self.settings.components;
        if !self.is_seen() || chosen.cpu == chosen.gpu || !self.components(context).is_empty() {
            return None;
        }
        Some(if chosen.gpu { ("gpu", "cpu") } else { ("cpu", "gpu") })
    }
}

fn none_of(component: &str) -> String {
    format!("No {} was found", component.to_uppercase())
}
