//! What is built in: licences, sources and bans as `deny.toml` has them, and the few crates that Slurm's
//! daemons load. By cargo's own word, offline; cargo-deny checks the same lists for other machines, too
//! (tests/deny).
#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates in the plugin, ours and those that run at build time for it included.
const MOST_IN_PLUGIN: usize = 30;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every package that is built on this machine.
fn packages() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
    let args = ["metadata", "--format-version=1", "--locked", "--offline", "--all-features"];
    let metadata = cargo(&[&args[..], &["--filter-platform", host]].concat());
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn deny() -> toml_edit::DocumentMut {
    std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

fn texts(item: &toml_edit::Item) -> BTreeSet<String> {
    let texts = item.as_array().unwrap().iter();
    texts.map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// Whether an SPDX expression can be met with these licences.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_ascii_whitespace().peekable();
    any(&mut words, allowed)
}

type Words<'a, 'b> = &'b mut std::iter::Peekable<std::str::SplitAsciiWhitespace<'a>>;

fn any(words: Words<'_, '_>, allowed: &BTreeSet<String>) -> bool {
    let mut is_met = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        is_met |= all(words, allowed);
    }
    is_met
}

fn all(words: Words<'_, '_>, allowed: &BTreeSet<String>) -> bool {
    let mut is_met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        is_met &= one(words, allowed);
    }
    is_met
}

fn one(words: Words<'_, '_>, allowed: &BTreeSet<String>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let is_met = any(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return is_met;
    }
    let licence = words.next().unwrap_or_default();
    // An exception gives more than the licence, which is enough.
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    allowed.contains(licence)
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let allowed = texts(&deny()["licenses"]["allow"]);
    assert!(is_met("(MIT OR X) AND Zlib", &allowed) && !is_met("MIT AND GPL-3.0", &allowed));
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_met(licence, &allowed), "{} has {licence}", package["name"]);
    }
}

#[test]
fn everything_comes_from_crates_io_or_lies_here_and_nothing_is_banned() {
    let deny = deny();
    assert!(texts(&deny["sources"]["allow-git"]).is_empty());
    let registries: Vec<String> = texts(&deny["sources"]["allow-registry"])
        .iter()
        .map(|url| format!("registry+{url}"))
        .collect();
    let banned = deny["bans"]["deny"].as_array().unwrap().iter();
    // By name, with those that may depend on it all the same.
    let banned: BTreeMap<&str, Vec<&str>> = banned
        .map(|ban| {
            let ban = ban.as_inline_table().unwrap();
            let wrappers = ban.get("wrappers").and_then(|w| w.as_array()).into_iter().flatten();
            (ban["crate"].as_str().unwrap(), wrappers.map(|w| w.as_str().unwrap()).collect())
        })
        .collect();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let is_wrapped = |crate_name: &str| banned[crate_name].contains(&name);
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let is_ours = package["source"].is_null();
            assert!(!is_ours || !banned.contains_key(on) || is_wrapped(on), "{name} on {on}");
        }
        let is_banned = banned.get(name).is_some_and(Vec::is_empty);
        assert!(!is_banned, "{name} is banned");
        match package["source"].as_str() {
            Some(source) => assert!(registries.iter().any(|r| r == source), "{name}: {source}"),
            None => {
                let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
                let root = root().canonicalize().unwrap();
                assert!(manifest.starts_with(root), "{}", manifest.display());
            }
        }
    }
}

/// Name, version and source of each crate of others that a lock file has, for whatever machine.
fn locked(workspace: &str) -> BTreeSet<[String; 3]> {
    let text = std::fs::read_to_string(root().join(workspace).join("Cargo.lock")).unwrap();
    let lock: toml_edit::DocumentMut = text.parse().unwrap();
    let text = |package: &toml_edit::Table, key: &str| {
        Some(package.get(key)?.as_str().unwrap().to_owned())
    };
    let packages = lock["package"].as_array_of_tables().unwrap().iter();
    let of_others = packages.filter_map(|package| {
        let source = text(package, "source")?;
        Some([text(package, "name")?, text(package, "version")?, source])
    });
    of_others.collect()
}

#[test]
fn lock_files_have_nothing_banned_or_from_elsewhere_and_the_fuzzers_only_the_engine_beside() {
    let deny = deny();
    let registries = texts(&deny["sources"]["allow-registry"]);
    let bans =
        deny["bans"]["deny"].as_array().unwrap().iter().map(|ban| ban.as_inline_table().unwrap());
    let banned: BTreeSet<&str> = bans
        .filter(|ban| !ban.contains_key("wrappers"))
        .map(|ban| ban["crate"].as_str().unwrap())
        .collect();
    assert!(banned.contains("tokio") && banned.contains("openssl-sys"), "{banned:?}");
    let (main, fuzz) = (locked("."), locked("tests/fuzz"));
    for [name, _, source] in main.iter().chain(&fuzz) {
        assert!(!banned.contains(&**name), "{name} is banned");
        let is_known = registries.iter().any(|url| *source == format!("registry+{url}"));
        assert!(is_known, "{name}: {source}");
    }
    let own: Vec<&str> = fuzz.difference(&main).map(|[name, ..]| &**name).collect();
    assert_eq!(own, ["arbitrary", "libfuzzer-sys"]);
}

#[test]
fn the_plugin_is_made_of_few_crates_each_in_one_version() {
    let tree = ["tree", "--package", "carbontracker", "--edges", "normal", "--locked", "--offline"];
    let tree = cargo(&[&tree[..], &["--prefix", "none", "--format", "{p}"]].concat());
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap_or_default());
        versions.entry(name).or_default().insert(version);
    }
    assert!(versions.contains_key("ct-core") && versions.contains_key("libc"), "{tree}");
    let twice: Vec<_> = versions.iter().filter(|(_, versions)| versions.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(versions.len() <= MOST_IN_PLUGIN, "{} crates: {tree}", versions.len());
    for heavy in ["regex", "clap", "rustix", "nix", "anyhow", "nvml-wrapper", "signal-hook", "csv"]
    {
        assert!(!versions.contains_key(heavy), "{heavy} is in what Slurm loads");
    }
}
