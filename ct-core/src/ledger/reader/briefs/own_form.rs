//! Reads the line of a job as our writer writes it: every field in the order of
//! [`crate::record::Record`].
//!
//! Fields that a brief does not have are read all the same, so that a line that is no record is not
//! taken for one. Most of a line are numbers of hours and names: those are read in place, what is
//! rare by serde.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use super::super::JOB_PREFIX;
use super::cursor::Cursor;
use crate::carbon::sci::Sci;
use crate::energy::{ByComponent, Component, HourEnergy};
use crate::record::{
    AccountBudgetUse, Brief, BriefIntensity, BudgetUse, EndReason, Epochs, JobTotal, Prediction,
    Simulated,
};

/// Bytes of an hour without energy.
const HOUR_LEN: usize = "[\"2026-11-23T04:00:00.000Z\",0.000000,0.000000,0.000000,0.000000],".len();

const LIST: [&str; 2] = ["[", "]"];
const MAP: [&str; 2] = ["{", "}"];

/// Reads a line; nothing where it is in another form.
pub(super) fn brief(line: &str) -> Option<Brief<'_>> {
    let mut c = Cursor::new(line);
    c.pass(JOB_PREFIX)?;
    // Read in the order in which they stand here.
    #[rustfmt::skip]
    let brief = Brief {
        cluster: { c.pass("\"cluster\":")?; c.text()? },
        job_id: { c.pass(",\"job_id\":")?; c.integer()? },
        array_job_id: { c.pass(",\"array_job_id\":")?; c.known(Cursor::integer)? },
        array_task_id: { c.pass(",\"array_task_id\":")?; c.known(Cursor::integer)? },
        het_job_id: { c.pass(",\"het_job_id\":")?; c.known(Cursor::integer)? },
        restart: { c.pass(",\"restart\":")?; c.integer()? },
        node: { c.pass(",\"node\":")?; c.text()? },
        n_nodes: { c.pass(",\"n_nodes\":")?; c.integer()? },
        user: { c.pass(",\"user\":")?; c.text()? },
        account: {
            c.pass(",\"uid\":")?; c.integer::<u32>()?;
            c.pass(",\"account\":")?; c.known(Cursor::text)?
        },
        partition: { c.pass(",\"partition\":")?; c.known(Cursor::text)? },
        qos: { c.pass(",\"qos\":")?; c.known(Cursor::text)? },
        job_name: { c.pass(",\"job_name\":")?; c.known(Cursor::text)? },
        start: { c.pass(",\"start\":")?; c.instant()? },
        end: { c.pass(",\"end\":")?; c.instant()? },
        elapsed_s: { c.pass(",\"elapsed_s\":")?; c.float()? },
        end_reason: { c.pass(",\"end_reason\":")?; end_reason(&c.text()?)? },
        alloc_cpus: { c.pass(",\"alloc_cpus\":")?; c.integer()? },
        gpus: {
            c.pass(",\"alloc_mem_mb\":")?; c.known(Cursor::integer::<u64>)?;
            c.pass(",\"gpus\":")?; gpus(&mut c)?
        },
        energy_j: { c.pass(",\"energy_j\":")?; c.energies()? },
        idle_j: { c.pass(",\"idle_j\":")?; c.energies()? },
        gpu_unused_j: { c.pass(",\"gpu_unused_j\":")?; c.energy()? },
        energy_by_hour: { c.pass(",\"energy_by_hour\":")?; hours(&mut c, line.len())? },
        pue: { c.pass(",\"pue\":")?; c.float()? },
        intensity: { c.pass(",\"intensity\":")?; intensity(&mut c)? },
        co2e_g: { c.pass(",\"co2e_g\":")?; c.float()? },
        embodied_g: { c.pass(",\"embodied_g\":")?; c.known(Cursor::float)? },
        water_l: { c.pass(",\"water_l\":")?; c.known(Cursor::float)? },
        method: { pass_outlook(&mut c)?; c.pass(",\"method\":")?; method(&mut c)? },
        coverage: { c.pass(",\"coverage\":")?; c.float()? },
        attribution: { c.pass(",\"attribution\":")?; c.text()? },
        warnings: { c.pass(",\"warnings\":")?; texts(&mut c)? },
    };
    pass_end(&mut c)?;
    c.is_at_end().then_some(brief)
}

/// Goes behind what a brief has not: budgets, epochs, prediction.
fn pass_outlook(c: &mut Cursor<'_>) -> Option<()> {
    if c.has(",\"budget\":") {
        c.value::<Option<BudgetUse>>()?;
    }
    if c.has(",\"account_budget\":") {
        c.value::<Option<AccountBudgetUse>>()?;
    }
    c.pass(",\"epochs\":")?;
    c.known(Cursor::value::<Epochs>)?;
    c.pass(",\"prediction\":")?;
    c.known(Cursor::value::<Prediction>)?;
    Some(())
}

/// Goes behind what a brief has not, to the end of the line.
fn pass_end(c: &mut Cursor<'_>) -> Option<()> {
    c.pass(",\"tracked\":")?;
    if !c.has("true") && !c.has("false") {
        return None;
    }
    if c.has(",\"job_total\":") {
        c.value::<Option<JobTotal>>()?;
    }
    if c.has(",\"simulated\":") {
        c.value::<Option<Simulated>>()?;
    }
    if c.has(",\"sci\":") {
        c.value::<Option<Sci>>()?;
    }
    c.pass("}")
}

fn end_reason(text: &str) -> Option<EndReason> {
    let text: StrDeserializer<'_, Error> = text.into_deserializer();
    EndReason::deserialize(text).ok()
}

/// Reads GPUs; their shares are added up in their order.
fn gpus(c: &mut Cursor<'_>) -> Option<f64> {
    let mut shares = Vec::new();
    c.each(LIST, |c| {
        c.pass("{\"uuid\":")?;
        c.text()?;
        c.pass(",\"name\":")?;
        c.text()?;
        c.pass(",\"share\":")?;
        shares.push(c.float()?);
        c.pass("}")
    })?;
    Some(shares.iter().sum())
}

/// Reads `[["2026-11-23T04:00:00.000Z",1.000000,0.000000,0.000000,0.000000],…]`.
fn hours<'a>(c: &mut Cursor<'_>, most_bytes: usize) -> Option<Cow<'a, [HourEnergy]>> {
    let mut hours = Vec::with_capacity(most_bytes / HOUR_LEN);
    c.each(LIST, |c| {
        c.pass("[")?;
        let start = c.instant()?;
        let mut next = || c.pass(",").and_then(|()| c.energy());
        hours.push(HourEnergy(start, next()?, next()?, next()?, next()?));
        c.pass("]")
    })?;
    Some(Cow::Owned(hours))
}

fn intensity<'a>(c: &mut Cursor<'a>) -> Option<BriefIntensity<'a>> {
    c.pass("{\"g_per_kwh\":")?;
    let g_per_kwh = c.float()?;
    c.pass(",\"zone\":")?;
    let zone = c.text()?;
    c.pass(",\"source\":")?;
    let source = c.text()?;
    c.pass("}")?;
    Some(BriefIntensity { g_per_kwh, zone, source })
}

fn method<'a>(c: &mut Cursor<'a>) -> Option<ByComponent<Option<Cow<'a, str>>>> {
    let mut all = ByComponent::default();
    c.each(MAP, |c| {
        let name = c.text()?;
        c.pass(":")?;
        let method = c.text()?;
        if let Some(component) = Component::ALL.into_iter().find(|c| c.as_str() == name) {
            *all.get_mut(component) = Some(method);
        }
        Some(())
    })?;
    Some(all)
}

fn texts<'a>(c: &mut Cursor<'a>) -> Option<Vec<Cow<'a, str>>> {
    let mut texts = Vec::new();
    c.each(LIST, |c| {
        texts.push(c.text()?);
        Some(())
    })?;
    Some(texts)
}
