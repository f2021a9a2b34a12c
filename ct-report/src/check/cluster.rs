//! A cluster as its ledger shows it: nodes that went silent, clocks that are wrong, versions that
//! differ.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use ct_core::ledger::reader::{Entries, Entry, ledger_files};
use ct_core::slurm::expand_hostlist;

use super::{Area, Finding};
use crate::slurm;

/// A line is written each hour; a node without one for longer is silent.
const SILENT_AFTER: TimeDelta = TimeDelta::hours(3);
/// A node that was silent for longer is no part of the cluster any more.
const GONE_AFTER: TimeDelta = TimeDelta::days(62);
/// How far a clock may be off.
const CLOCK_SLACK: TimeDelta = TimeDelta::seconds(60);
/// The end of a file that is read for its last lines: a node's line is some kilobytes.
const TAIL: u64 = 1 << 20;
/// Nodes that are named one by one; the rest is counted.
const NAMED: usize = 20;
/// How long sinfo may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the ledger last has of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LastSign {
    /// End of its last line.
    end: DateTime<Utc>,
    /// When that was written, by the clock of the file's machine.
    written: DateTime<Utc>,
    /// Version of its ct-noded, where its lines name it.
    version: Option<String>,
}

/// Looks at a ledger; says how many nodes it has.
///
/// # Errors
///
/// A ledger that cannot be read.
pub(crate) fn check(dir: &Path, now: DateTime<Utc>, out: &mut Vec<Finding>) -> Result<usize> {
    let nodes = nodes(dir, now).with_context(|| format!("cannot read ledger {}", dir.display()))?;
    let n = nodes.len();
    check_silence(&nodes, now, &mut Area::new("nodes", out));
    check_clocks(&nodes, now, &mut Area::new("clocks", out));
    check_versions(&nodes, &mut Area::new("versions", out));
    let listed = slurm::run("sinfo", &["--noheader", "--format=%N"], PATIENCE);
    if let Some(answer) = listed.ok().filter(|answer| answer.is_success) {
        check_missing(&nodes, &answer.out, &mut Area::new("nodes", out));
    }
    Ok(n)
}

/// The last sign of each node, by the name of its files.
fn nodes(dir: &Path, now: DateTime<Utc>) -> std::io::Result<BTreeMap<String, LastSign>> {
    let oldest = (now - GONE_AFTER).format("%Y-%m").to_string();
    let mut nodes = BTreeMap::new();
    for file in ledger_files(dir)? {
        let month = file.parent().and_then(Path::file_name).and_then(|m| m.to_str());
        if month.is_none_or(|month| month < oldest.as_str()) {
            continue;
        }
        for (node, sign) in last_signs(&file)? {
            let known = nodes.entry(node).or_insert_with(|| sign.clone());
            if sign.end >= known.end {
                let version = sign.version.clone().or_else(|| known.version.take());
                *known = LastSign { version, ..sign };
            }
        }
    }
    Ok(nodes)
}

/// The last sign of each node in the end of a file, which is as a rule of one node.
fn last_signs(path: &Path) -> std::io::Result<BTreeMap<String, LastSign>> {
    let mut file = File::open(path)?;
    let written: DateTime<Utc> = fs::metadata(path)?.modified()?.into();
    let from = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let whole =
        if from == 0 { 0 } else { bytes.iter().position(|b| *b == b'\n').map_or(0, |n| n + 1) };
    let mut signs = BTreeMap::new();
    for entry in Entries::new(&bytes[whole..]).flatten() {
        let (node, end, version) = match entry {
            Entry::Job(record) => (record.node, record.end, None),
            Entry::Node(line) => (line.node, line.end, line.version),
            Entry::Other | Entry::Skipped(_) => continue,
        };
        let sign = LastSign { end, written, version };
        let known = signs.entry(node).or_insert_with(|| sign.clone());
        if end >= known.end {
            let version = sign.version.clone().or_else(|| known.version.take());
            *known = LastSign { version, ..sign };
        }
    }
    Ok(signs)
}

type Nodes = BTreeMap<String, LastSign>;

fn check_silence(nodes: &Nodes, now: DateTime<Utc>, area: &mut Area<'_>) {
    let is_silent = |sign: &LastSign| now - sign.end.max(sign.written) > SILENT_AFTER;
    let silent: Vec<&String> = nodes.iter().filter(|(_, s)| is_silent(s)).map(|(n, _)| n).collect();
    area.ok(format!("{} of {} wrote in the last 3 hours", nodes.len() - silent.len(), nodes.len()));
    if !silent.is_empty() {
        area.fail(
            format!("silent for more than 3 hours: {}", named(&silent)),
            "run `ct-report check` there: ct-noded does not run, or cannot write the ledger; a node \
             that was taken away is forgotten after two months",
        );
    }
}

fn check_clocks(nodes: &Nodes, now: DateTime<Utc>, area: &mut Area<'_>) {
    let is_ahead = |s: &LastSign| s.end > s.written + CLOCK_SLACK || s.end > now + CLOCK_SLACK;
    let ahead: Vec<&String> = nodes.iter().filter(|(_, s)| is_ahead(s)).map(|(n, _)| n).collect();
    if ahead.is_empty() {
        area.ok("no node wrote a line before its time");
    } else {
        area.fail(
            format!("clocks are ahead by more than a minute: {}", named(&ahead)),
            "see that chrony or ntpd runs there: jobs are booked to hours by these clocks",
        );
    }
}

fn check_versions(nodes: &Nodes, area: &mut Area<'_>) {
    let mut by_version: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for (node, sign) in nodes {
        if let Some(version) = &sign.version {
            by_version.entry(version).or_default().push(node);
        }
    }
    let texts: Vec<String> =
        by_version.iter().map(|(version, nodes)| format!("{version}: {}", named(nodes))).collect();
    match texts.len() {
        0 => area.warn(
            "no line names the version of its ct-noded",
            "install this version's ct-noded; older ones do not say theirs",
        ),
        1 => area.ok(format!("ct-noded {}", texts.join(""))),
        _ => area.warn(
            format!("ct-noded differs: {}", texts.join("; ")),
            "install one version on all nodes, and restart ct-noded",
        ),
    }
}

/// Nodes that Slurm has and the ledger has nothing of.
fn check_missing(nodes: &Nodes, sinfo: &str, area: &mut Area<'_>) {
    let all = sinfo.lines().flat_map(|list| expand_hostlist(list.trim()));
    let mut missing: Vec<String> = all.filter(|name| !nodes.contains_key(name)).collect();
    missing.sort();
    missing.dedup();
    if !missing.is_empty() {
        area.fail(
            format!("Slurm has nodes of which the ledger has no line: {}", named(&missing.iter().collect::<Vec<_>>())),
            "install carbontracker there, with the same ledger.dir, and run `ct-report check` there",
        );
    }
}

fn named(nodes: &[&String]) -> String {
    let some = nodes.iter().take(NAMED).map(|n| n.as_str()).collect::<Vec<_>>().join(" ");
    let more = nodes.len().saturating_sub(NAMED);
    if more > 0 { format!("{some} and {more} more") } else { some }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn sign(end: &str, written: &str, version: Option<&str>) -> LastSign {
        let at = |text: &str| text.parse().unwrap();
        LastSign { end: at(end), written: at(written), version: version.map(str::to_owned) }
    }

    fn now() -> DateTime<Utc> {
        "2026-11-23T12:30:00Z".parse().unwrap()
    }

    #[test]
    fn silence_clocks_and_versions_are_told_apart() {
        let hour = "2026-11-23T12:00:00Z";
        let nodes: Nodes = [
            ("n1", sign(hour, "2026-11-23T12:00:01Z", Some("0.1.0"))),
            ("n2", sign("2026-11-22T07:00:00Z", "2026-11-22T07:00:00Z", None)),
            // Its clock is two minutes ahead of the file server's.
            ("n3", sign("2026-11-23T12:00:00Z", "2026-11-23T11:58:00Z", Some("0.2.0"))),
        ]
        .into_iter()
        .map(|(name, sign)| (name.to_owned(), sign))
        .collect();
        let mut out = Vec::new();
        check_silence(&nodes, now(), &mut Area::new("nodes", &mut out));
        check_clocks(&nodes, now(), &mut Area::new("clocks", &mut out));
        check_versions(&nodes, &mut Area::new("versions", &mut out));
        check_missing(&nodes, "n[1-4]\n", &mut Area::new("nodes", &mut out));
        let bad: Vec<&str> =
            out.iter().filter(|f| f.level != Level::Ok).map(|f| f.text.as_str()).collect();
        assert_eq!(
            bad,
            [
                "silent for more than 3 hours: n2",
                "clocks are ahead by more than a minute: n3",
                "ct-noded differs: 0.1.0: n1; 0.2.0: n3",
                "Slurm has nodes of which the ledger has no line: n4",
            ]
        );
    }

    #[test]
    fn the_last_lines_of_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let month = dir.path().join("2026-11");
        fs::create_dir(&month).unwrap();
        let record = crate::job::tests::record("n1");
        let text = format!("torn\n{}", record.to_line().unwrap());
        fs::write(month.join("n1.jsonl"), text).unwrap();
        fs::create_dir(dir.path().join("2020-01")).unwrap();
        fs::write(dir.path().join("2020-01/old.jsonl"), "").unwrap();
        let nodes = nodes(dir.path(), now()).unwrap();
        assert_eq!(nodes.keys().collect::<Vec<_>>(), ["n1"]);
        assert_eq!(nodes["n1"].end, record.end);
    }
}
