//! The columns of the tables, in the order in which rows give their values.

use std::fmt::Write;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Double,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether a value may be missing.
    pub(crate) is_optional: bool,
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text, is_optional: false }
}

const fn int(name: &'static str) -> Column {
    Column { name, kind: Kind::Int, is_optional: false }
}

const fn double(name: &'static str) -> Column {
    Column { name, kind: Kind::Double, is_optional: false }
}

const fn maybe(column: Column) -> Column {
    Column { is_optional: true, ..column }
}

/// Columns of `jobs`.
pub(crate) const JOBS: &[Column] = &[
    text("node"),
    int("job_id"),
    int("restart"),
    int("start_ms"),
    int("end_ms"),
    maybe(int("array_job_id")),
    maybe(int("array_task_id")),
    maybe(int("het_job_id")),
    int("n_nodes"),
    text("user"),
    int("uid"),
    maybe(text("account")),
    maybe(text("partition")),
    maybe(text("qos")),
    maybe(text("job_name")),
    text("end_reason"),
    double("elapsed_s"),
    int("alloc_cpus"),
    maybe(int("alloc_mem_mb")),
    double("gpus"),
    int("energy_uj"),
    int("cpu_uj"),
    int("dram_uj"),
    int("gpu_uj"),
    int("rest_uj"),
    int("idle_uj"),
    int("gpu_unused_uj"),
    int("measured_uj"),
    double("pue"),
    double("intensity_g_per_kwh"),
    text("intensity_zone"),
    double("co2e_g"),
    maybe(double("embodied_g")),
    maybe(double("water_l")),
    double("coverage"),
    text("attribution"),
    int("tracked"),
    text("record"),
];

/// Columns of `hours`.
pub(crate) const HOURS: &[Column] = &[
    int("hour_s"),
    text("day"),
    text("node"),
    int("job_id"),
    int("restart"),
    int("start_ms"),
    int("n_nodes"),
    int("nth"),
    int("split_id"),
    text("user"),
    maybe(text("account")),
    maybe(text("partition")),
    maybe(text("qos")),
    maybe(text("job_name")),
    text("end_reason"),
    int("energy_uj"),
    int("cpu_uj"),
    int("dram_uj"),
    int("gpu_uj"),
    int("rest_uj"),
    int("idle_uj"),
    int("gpu_unused_uj"),
    int("measured_uj"),
    double("elapsed_s"),
    double("covered_s"),
    double("core_s"),
    double("gpu_s"),
    double("co2e_g"),
    maybe(double("embodied_g")),
    maybe(double("water_l")),
];

/// Columns of `nodes`.
pub(crate) const NODES: &[Column] = &[
    text("node"),
    int("start_ms"),
    int("end_ms"),
    int("hour_s"),
    text("day"),
    double("elapsed_s"),
    int("meter_uj"),
    int("jobs_uj"),
    int("system_uj"),
    int("unallocated_uj"),
    int("idle_uj"),
    double("gap_s"),
    text("attribution"),
    text("record"),
];

/// The schema of a table, as Parquet's own language has it.
pub(crate) fn schema(columns: &[Column]) -> String {
    let mut text = "message ledger {\n".to_owned();
    for column in columns {
        let repetition = if column.is_optional { "OPTIONAL" } else { "REQUIRED" };
        let (physical, logical) = match column.kind {
            Kind::Text => ("BYTE_ARRAY", " (UTF8)"),
            Kind::Int => ("INT64", ""),
            Kind::Double => ("DOUBLE", ""),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {repetition} {physical} {}{logical};", column.name);
    }
    text + "}"
}
