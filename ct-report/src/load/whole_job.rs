//! A job over several nodes of which only the first node's record is at hand, as in a log directory:
//! its sum over the nodes, as the first node saw it, takes the place of the node's own energy.
//!
//! What the sum does not say (hours, idle part, CPUs, GPUs) is taken in proportion to the first
//! node's.

use ct_core::energy::{ByComponent, Component, HourEnergy};
use ct_core::ledger::reader::parse_record;
use ct_core::record::Record;
use ct_core::units::Microjoules;

use crate::aggregate::slice::in_proportion;

/// The record of the whole job by the text of a record; `None` where that has no sum of more nodes
/// than its own.
pub(super) fn whole_job(text: &[u8]) -> Option<Record> {
    of_all_nodes(&parse_record(text).ok()??)
}

fn of_all_nodes(record: &Record) -> Option<Record> {
    let total = record.job_total.as_ref().filter(|total| total.nodes_seen > 1)?;
    let n = total.nodes_seen;
    let mut whole = record.clone();
    for component in Component::ALL {
        let (own, all) = (of(&record.energy_j, component), of(&total.energy_j, component));
        *whole.energy_j.get_mut(component) = Microjoules::new(all);
        let idle = scaled(of(&record.idle_j, component), all, own);
        *whole.idle_j.get_mut(component) = Microjoules::new(idle);
        spread(&mut whole.energy_by_hour, component, all);
    }
    let gpu = (of(&total.energy_j, Component::Gpu), of(&record.energy_j, Component::Gpu));
    let unused = scaled(record.gpu_unused_j.as_u64(), gpu.0, gpu.1);
    whole.gpu_unused_j = Microjoules::new(unused);
    whole.co2e_g = total.co2e_g;
    whole.embodied_g = record.embodied_g.map(|g| g * f64::from(n));
    let (own, all) = (sum(&record.energy_j), sum(&total.energy_j));
    whole.water_l = record.water_l.map(|l| if own > 0.0 { l * all / own } else { l });
    whole.alloc_cpus = record.alloc_cpus.saturating_mul(n);
    whole.gpus.iter_mut().for_each(|gpu| gpu.share *= f64::from(n));
    Some(whole)
}

fn of(energy: &ByComponent<Microjoules>, component: Component) -> u64 {
    energy.get(component).as_u64()
}

fn sum(energy: &ByComponent<Microjoules>) -> f64 {
    Component::ALL.iter().map(|c| of(energy, *c) as f64).sum()
}

/// `part · all ÷ own`, rounded down.
fn scaled(part: u64, all: u64, own: u64) -> u64 {
    let product = u128::from(part) * u128::from(all);
    let scaled = product.checked_div(u128::from(own)).unwrap_or_default();
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Splits the energy of a component among the hours as they have it, or evenly where none has any.
fn spread(hours: &mut [HourEnergy], component: Component, all: u64) {
    let weight = |hour: &HourEnergy| u128::from(of(&hour.energy(), component));
    let mut weights: Vec<u128> = hours.iter().map(weight).collect();
    if weights.iter().all(|weight| *weight == 0) {
        weights.fill(1);
    }
    let parts = in_proportion(all.into(), &weights);
    for (hour, part) in hours.iter_mut().zip(parts) {
        let part = Microjoules::new(u64::try_from(part).unwrap_or(u64::MAX));
        match component {
            Component::Cpu => hour.1 = part,
            Component::Dram => hour.2 = part,
            Component::Gpu => hour.3 = part,
            Component::Rest => hour.4 = part,
        }
    }
}

#[cfg(test)]
mod tests {
    use ct_core::record::JobTotal;

    use super::*;
    use crate::job::tests::record;

    #[test]
    fn the_first_nodes_sum_stands_for_the_job_and_its_hours_add_up() {
        let mut first = record("n1");
        assert_eq!(of_all_nodes(&first), None);
        first.n_nodes = 3;
        first.idle_j.cpu = Microjoules::new(1_200_000_000_000);
        let energy_j = ByComponent {
            // Of the first node 3.6 MJ; memory that it has not itself.
            cpu: Microjoules::new(9_000_000_000_001),
            dram: Microjoules::new(5),
            ..ByComponent::default()
        };
        let nodes_missing = Vec::new();
        first.job_total = Some(JobTotal { nodes_seen: 3, nodes_missing, energy_j, co2e_g: 7.0 });
        let whole = whole_job(first.to_line().unwrap().as_bytes()).unwrap();
        assert_eq!(Some(&whole), of_all_nodes(&first).as_ref());
        assert_eq!((whole.energy_j, whole.co2e_g), (energy_j, 7.0));
        // A third of it idle, as of the first node: 9.000000000001 MJ ÷ 3, rounded down.
        assert_eq!(whole.idle_j.cpu.as_u64(), 3_000_000_000_000);
        for component in Component::ALL {
            let hours: u64 = whole.energy_by_hour.iter().map(|h| of(&h.energy(), component)).sum();
            assert_eq!(hours, of(&energy_j, component), "{component:?}");
        }
        assert_eq!(whole.alloc_cpus, 3 * first.alloc_cpus);
    }
}
