//! The line of a node: what its meters counted in a part of one hour, and whose that was.
//!
//! Lines of one node do not overlap, and none crosses an hour (UTC), so they may be added up. A line
//! is written at the full hour, when the last job of the node ends, and when ct-noded stops.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::energy::ByComponent;
use crate::text::printable_json;
use crate::units::Microjoules;

/// A node from `start` to `end`, both in one hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// [`super::VERSION`].
    pub v: u32,
    /// `node`.
    pub kind: String,
    /// `ClusterName` of slurm.conf.
    pub cluster: String,
    /// Slurm's node name.
    pub node: String,
    /// First instant covered, UTC.
    #[serde(with = "super::timestamp")]
    pub start: DateTime<Utc>,
    /// Last instant covered, UTC.
    #[serde(with = "super::timestamp")]
    pub end: DateTime<Utc>,
    /// Seconds between the two by the monotonic clock.
    pub elapsed_s: f64,
    /// What the meters counted, in joules.
    pub meter_j: ByComponent<Microjoules>,
    /// Of it, what jobs were charged.
    pub jobs_j: ByComponent<Microjoules>,
    /// Of it, what the system did.
    pub system_j: ByComponent<Microjoules>,
    /// Of it, what no job held.
    pub unallocated_j: ByComponent<Microjoules>,
    /// The idle part of `meter_j`.
    pub idle_j: ByComponent<Microjoules>,
    /// What each job was charged.
    pub jobs: Vec<JobCharge>,
    /// Idle baseline of each device, by its identity; a device without one is absent.
    pub baseline: BTreeMap<String, Baseline>,
    /// Seconds for which a meter did not answer, or ct-noded did not run.
    pub gap_s: f64,
    /// Where each component's joules came from.
    pub method: BTreeMap<String, String>,
    /// Attribution policy; with `node` the jobs do not add up to the meters.
    pub attribution: String,
    /// What is degraded or left out.
    pub warnings: Vec<String>,
    /// Version of the ct-noded that wrote it; earlier ones did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What one job was charged in the span of a line: `[job_id, restart, energy_j]` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCharge(
    /// Raw job id.
    pub u32,
    /// Restart count.
    pub u32,
    /// Energy of all components.
    pub Microjoules,
);

/// What a device draws while no job holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Watts.
    pub watts: f64,
    /// `configured` or `learned`.
    pub source: String,
    /// When it was learned last.
    #[serde(default, with = "optional_timestamp", skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// Samples it was learned from.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_samples: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

mod optional_timestamp {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct At(#[serde(with = "crate::record::timestamp")] DateTime<Utc>);

    pub(super) fn serialize<S: Serializer>(
        at: &Option<DateTime<Utc>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(At).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        Ok(Option::<At>::deserialize(d)?.map(|at| at.0))
    }
}

impl NodeRecord {
    /// The line, newline included.
    ///
    /// # Errors
    ///
    /// None in practice: every field is a value JSON can hold.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        Ok(printable_json(&serde_json::to_string(self)?).into_owned() + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_writing_and_reading() {
        let cpu = |uj| ByComponent { cpu: Microjoules::new(uj), ..ByComponent::default() };
        let baseline =
            Baseline { watts: 40.5, source: "configured".to_owned(), at: None, n_samples: 0 };
        let record = NodeRecord {
            v: 1,
            kind: "node".to_owned(),
            cluster: "lab".to_owned(),
            node: "n1".to_owned(),
            start: "2026-11-23T10:00:00Z".parse().unwrap(),
            end: "2026-11-23T11:00:00Z".parse().unwrap(),
            elapsed_s: 3600.0,
            meter_j: cpu(10),
            jobs_j: cpu(6),
            system_j: cpu(1),
            unallocated_j: cpu(3),
            idle_j: cpu(4),
            jobs: vec![JobCharge(42, 0, Microjoules::new(6))],
            baseline: [("rapl:cpu-0".to_owned(), baseline)].into(),
            gap_s: 0.0,
            method: [("cpu".to_owned(), "rapl".to_owned())].into(),
            attribution: "hybrid".to_owned(),
            warnings: Vec::new(),
            version: Some("0.1.0".to_owned()),
        };
        let line = record.to_line().unwrap();
        assert!(line.contains(r#""jobs":[[42,0,0.000006]]"#), "{line}");
        assert_eq!(serde_json::from_str::<NodeRecord>(&line).unwrap(), record);
    }
}
