//! What a record or a node's line comes to in rows.

use ct_core::energy::{ByComponent, Component};
use ct_core::record::{Brief, NodeRecord, Record};
use ct_core::units::Microjoules;

use super::writer::Value;
use crate::aggregate::part::Part;

/// The row of a record in `jobs`; `line` is its text in the ledger.
///
/// # Errors
///
/// Energies beyond the columns' 64 bits.
pub(crate) fn job<'a>(record: &'a Record, line: &'a str) -> Result<Vec<Value<'a>>, String> {
    let brief = Brief::from(record);
    let whole = Part::whole(&brief);
    let [cpu, dram, gpu, rest] = components(&record.energy_j)?;
    Ok(vec![
        Value::Text(&record.node),
        record.job_id.into(),
        record.restart.into(),
        Value::Int(record.start.timestamp_millis()),
        Value::Int(record.end.timestamp_millis()),
        record.array_job_id.into(),
        record.array_task_id.into(),
        record.het_job_id.into(),
        record.n_nodes.into(),
        Value::Text(&record.user),
        record.uid.into(),
        record.account.as_deref().into(),
        record.partition.as_deref().into(),
        record.qos.as_deref().into(),
        record.job_name.as_deref().into(),
        Value::Text(record.end_reason.as_str()),
        Value::Double(record.elapsed_s),
        record.alloc_cpus.into(),
        record.alloc_mem_mb.map_or(Ok(Value::Missing), |mb| int(u128::from(mb)))?,
        Value::Double(brief.gpus),
        int(whole.energy_uj.iter().sum())?,
        cpu,
        dram,
        gpu,
        rest,
        int(whole.idle_uj)?,
        int(whole.gpu_unused_uj)?,
        int(whole.measured_uj)?,
        Value::Double(record.pue),
        Value::Double(record.intensity.g_per_kwh),
        Value::Text(&record.intensity.zone),
        Value::Double(record.co2e_g),
        record.embodied_g.into(),
        record.water_l.into(),
        Value::Double(record.coverage),
        Value::Text(&record.attribution),
        Value::Int(i64::from(record.tracked)),
        Value::Text(line),
    ])
}

/// Where a part of a record stands in `hours`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position<'a> {
    /// The day its hour lies in.
    pub(crate) day: &'a str,
    /// How many parts of the record come before it in the same partition.
    pub(crate) nth: usize,
    /// 0, or the record's number where several partitions hold parts of it.
    pub(crate) split_id: i64,
}

/// A number for a record, the same on every machine: FNV-1a over what identifies it (Fowler, Noll,
/// Vo 1991).
pub(crate) fn split_id(record: &Record) -> i64 {
    let start_ms = record.start.timestamp_millis();
    let (cluster, node) = (&record.cluster, &record.node);
    let text = format!("{cluster}\n{node}\n{}\n{}\n{start_ms}", record.job_id, record.restart);
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (hash >> 1).max(1).cast_signed()
}

/// The row of a part of a record in `hours`.
///
/// # Errors
///
/// Energies beyond the columns' 64 bits.
pub(crate) fn hour<'a>(
    record: &'a Record,
    part: &Part,
    position: Position<'a>,
) -> Result<Vec<Value<'a>>, String> {
    let [cpu, dram, gpu, rest] = part.energy_uj;
    Ok(vec![
        Value::Int(part.hour.timestamp()),
        Value::Text(position.day),
        Value::Text(&record.node),
        record.job_id.into(),
        record.restart.into(),
        Value::Int(record.start.timestamp_millis()),
        record.n_nodes.into(),
        int(position.nth as u128)?,
        Value::Int(position.split_id),
        Value::Text(&record.user),
        record.account.as_deref().into(),
        record.partition.as_deref().into(),
        record.qos.as_deref().into(),
        record.job_name.as_deref().into(),
        Value::Text(record.end_reason.as_str()),
        int(part.energy_uj.iter().sum())?,
        int(cpu)?,
        int(dram)?,
        int(gpu)?,
        int(rest)?,
        int(part.idle_uj)?,
        int(part.gpu_unused_uj)?,
        int(part.measured_uj)?,
        Value::Double(part.elapsed_s),
        Value::Double(part.covered_s),
        Value::Double(part.core_s),
        Value::Double(part.gpu_s),
        Value::Double(part.co2e_g),
        part.embodied_g.into(),
        part.water_l.into(),
    ])
}

/// The row of a node's line in `nodes`.
///
/// # Errors
///
/// Energies beyond the columns' 64 bits.
pub(crate) fn node<'a>(
    node: &'a NodeRecord,
    day: &'a str,
    line: &'a str,
) -> Result<Vec<Value<'a>>, String> {
    let seconds = node.start.timestamp();
    Ok(vec![
        Value::Text(&node.node),
        Value::Int(node.start.timestamp_millis()),
        Value::Int(node.end.timestamp_millis()),
        Value::Int(seconds - seconds.rem_euclid(3600)),
        Value::Text(day),
        Value::Double(node.elapsed_s),
        int(total(&node.meter_j))?,
        int(total(&node.jobs_j))?,
        int(total(&node.system_j))?,
        int(total(&node.unallocated_j))?,
        int(total(&node.idle_j))?,
        Value::Double(node.gap_s),
        Value::Text(&node.attribution),
        Value::Text(line),
    ])
}

/// Energy of all components in microjoules.
pub(crate) fn total(energy: &ByComponent<Microjoules>) -> u128 {
    Component::ALL.into_iter().map(|c| u128::from(energy.get(c).as_u64())).sum()
}

fn components(energy: &ByComponent<Microjoules>) -> Result<[Value<'static>; 4], String> {
    let [cpu, dram, gpu, rest] = Component::ALL.map(|c| int(u128::from(energy.get(c).as_u64())));
    Ok([cpu?, dram?, gpu?, rest?])
}

fn int(uj: u128) -> Result<Value<'static>, String> {
    let int = i64::try_from(uj).map(Value::Int);
    int.map_err(|_| {
        format!("{uj} does not fit a column of the dataset, expected {} at most", i64::MAX)
    })
}
