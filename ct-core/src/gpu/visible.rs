//! GPUs by the variables that programs read: `CUDA_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES`,
//! `ZE_AFFINITY_MASK`. Asked only where Slurm has given a job no GPUs, and believed only of GPUs that
//! Slurm does not manage: anybody can write them, and a neighbour would pay less.

use std::collections::BTreeSet;

use super::{Claim, Found, Machine, Maker, is_uuid, maker, words};

const CUDA: &str = "CUDA_VISIBLE_DEVICES";
const ROCR: &str = "ROCR_VISIBLE_DEVICES";
const ZE: &str = "ZE_AFFINITY_MASK";

pub(super) fn find(
    machine: Machine<'_>,
    claim: &Claim<'_>,
    warnings: &mut Vec<String>,
) -> BTreeSet<Found> {
    let mut found = BTreeSet::new();
    for (name, list) in [(CUDA, claim.cuda), (ROCR, claim.rocr), (ZE, claim.ze)] {
        let maker = if name == CUDA { Maker::Nvidia } else { Maker::Other };
        let order = in_order(machine, claim, maker);
        for word in list.into_iter().flat_map(words) {
            // As in CUDA, -1 ends the list.
            if word.starts_with("-1") {
                break;
            }
            match by_word(machine, &order, name, word) {
                Ok(one) => _ = found.insert(one),
                Err(why) => {
                    warnings.push(format!("{word:?} of {name} {why}; not included"));
                }
            }
        }
    }
    if claim.cuda.is_some_and(|list| words(list).any(|w| !is_uuid(w))) && has_models(machine) {
        warnings.push(format!(
            "the node has several models of GPU: indices in {CUDA} are taken in PCI order, which is \
             CUDA's only with CUDA_DEVICE_ORDER=PCI_BUS_ID"
        ));
    }
    let managed: BTreeSet<usize> =
        machine.gres.iter().flat_map(|files| machine.by_files(files)).map(|f| f.device).collect();
    let allowed = claim.allowed.map(|files| machine.by_files(files));
    found.retain(|one| {
        let uuid = &machine.devices[one.device].id;
        if managed.contains(&one.device) {
            warnings.push(format!("{uuid} is asked for but not given by Slurm; not included"));
            return false;
        }
        let is_allowed = allowed.as_ref().is_none_or(|all| {
            all.contains(one) || all.contains(&Found { partition: None, ..*one })
        });
        if !is_allowed {
            warnings.push(format!("{uuid} is visible but not allowed by the job's cgroup"));
        }
        is_allowed
    });
    found
}

/// GPUs in the order in which a program in the job counts them: of the driver, without those that
/// the job's cgroup hides.
fn in_order(machine: Machine<'_>, claim: &Claim<'_>, of: Maker) -> Vec<usize> {
    let is_of = |d| maker(d) == of || maker(d) == Maker::Unknown;
    let mut gpus: Vec<_> = machine.gpus().filter(|(_, d)| is_of(d)).collect();
    gpus.sort_by_key(|(place, d)| (d.index.or(d.minor).unwrap_or(u32::MAX), *place));
    let allowed = claim.allowed.map(|files| machine.by_files(files));
    let is_seen = |device: &usize| {
        allowed.as_ref().is_none_or(|all| all.iter().any(|found| found.device == *device))
    };
    gpus.into_iter().map(|(place, _)| place).filter(is_seen).collect()
}

fn by_word(
    machine: Machine<'_>,
    order: &[usize],
    name: &str,
    word: &str,
) -> Result<Found, &'static str> {
    if is_uuid(word) {
        return machine.by_uuid(word).map_err(|e| e.as_str());
    }
    // Level Zero names a tile of a GPU after a point.
    let number = if name == ZE { word.split('.').next().unwrap_or(word) } else { word };
    let number: usize = number.parse().map_err(|_| "is neither an index nor a UUID")?;
    let device = *order.get(number).ok_or("has no meter")?;
    if machine.is_partitioned(device) {
        return Err("is the index of a partitioned GPU, which does not say which instance");
    }
    Ok(Found { device, partition: None })
}

fn has_models(machine: Machine<'_>) -> bool {
    let names: BTreeSet<&str> = machine
        .gpus()
        .filter(|(_, d)| maker(d) == Maker::Nvidia)
        .map(|(_, d)| d.name.as_str())
        .collect();
    names.len() > 1
}
