//! What the documents promise: output that is real, links that lead somewhere, every key named.

mod commands;
mod sandbox;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ct_core::config::keys::SECTIONS;
use ct_core::option::KEYS;
use ct_tests::e2e_is_possible;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the tests lie in it")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// README, CHANGELOG and `docs/`, by path.
fn documents() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).expect("docs").flatten();
    let mut paths: Vec<String> = docs
        .map(|entry| format!("docs/{}", entry.file_name().to_string_lossy()))
        .filter(|path| path.ends_with(".md"))
        .collect();
    paths.sort();
    paths.extend(["README.md".to_owned(), "CHANGELOG.md".to_owned()]);
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The fenced block after the comment that names `ct-demo`.
fn demo_block(document: &str) -> &str {
    let rest = document.split_once("<!-- Compared with the output of ct-demo").expect("comment").1;
    let block = rest.split_once("\n```").expect("a block").1;
    let (_, block) = block.split_once('\n').expect("lines");
    block.split_once("\n```").expect("its end").0
}

/// A run of digits, with points between them, is `N`; so is a number in names and dates.
///
/// Blanks are one blank, as a column is as wide as its numbers; those at the end are none, as
/// Markdown has none.
fn normal(line: &str) -> String {
    let mut out = String::new();
    let mut chars = without_node_prefix(line).chars().collect::<Vec<_>>().into_iter().peekable();
    while let Some(c) = chars.next() {
        if c.is_ascii_digit() {
            while chars.next_if(|c| c.is_ascii_digit() || *c == '.').is_some() {}
            out.push('N');
        } else if c == ' ' {
            while chars.next_if_eq(&' ').is_some() {}
            out.push(' ');
        } else {
            out.push(c);
        }
    }
    // Where cgroup v1 is not mounted the demo's jobs have no cgroups.
    out.trim_end().replace("\"activity\":\"allocation\"", "\"activity\":\"cgroup\"")
}

/// Nodes of the throwaway cluster are named by a block of ports in hexadecimal: `c0dfn1`.
fn without_node_prefix(line: &str) -> String {
    let bytes = line.as_bytes();
    let is_node = |at: usize| {
        let name = bytes.get(at..at + 6)?;
        let is_hex = name[1..4].iter().all(u8::is_ascii_hexdigit);
        (name[0] == b'c' && is_hex && name[4] == b'n' && name[5].is_ascii_digit()).then_some(())
    };
    let mut out = String::new();
    let mut at = 0;
    for (index, c) in line.char_indices() {
        if index < at {
            continue;
        }
        if is_node(index).is_some() {
            out.push_str("node");
            at = index + 5;
        } else {
            out.push(c);
        }
    }
    out
}

/// The normal lines below each `== title`, without blank ones before and after.
fn sections(text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for part in format!("\n{text}").split("\n== ").skip(1) {
        let (title, body) = part.split_once('\n').unwrap_or((part, ""));
        let lines: Vec<String> = body.lines().map(normal).collect();
        out.insert(normal(title), lines.join("\n").trim_matches('\n').to_owned());
    }
    out
}

#[test]
fn output_in_the_documents_is_what_the_demo_prints() {
    if !e2e_is_possible() {
        return;
    }
    let demo = Command::new(env!("CARGO_BIN_EXE_ct-demo")).output().expect("ct-demo runs");
    let printed = String::from_utf8(demo.stdout).expect("UTF-8");
    let said = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{printed}\n{said}");

    let real = sections(&printed);
    let shown = sections(demo_block(&read("README.md")));
    for title in ["ctuserN submits", "What the job printed", "The month's footprint"] {
        assert!(shown.keys().any(|t| t.starts_with(title)), "README lacks {title:?}");
    }
    for (title, lines) in &shown {
        assert_eq!(Some(lines), real.get(title), "section {title:?} of README and of the demo");
    }
    let record = printed.lines().find(|line| line.starts_with("{\"v\":1,")).expect("a record");
    assert_eq!(normal(demo_block(&read("docs/LEDGER.md"))), normal(record), "LEDGER's example");
}

#[test]
fn numbers_blanks_and_node_names_are_all_that_may_differ() {
    assert_eq!(normal(" c0dfn1     1     0.0018  x "), normal(" cabcn2  12  3  x"));
    assert_eq!(normal("1.0_2026-11-23T062303Z_a.log"), "N_N-N-NTNZ_a.log");
    assert_ne!(normal("Energy:\t0.5 kWh"), normal("Energy:\t0.5 Wh"));
    assert_ne!(normal("[445.0]"), normal("445.0"));
}

#[test]
fn links_lead_to_files() {
    for (path, text) in documents() {
        let dir = root().join(&path).parent().expect("a file lies in a directory").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let target = link.0.split('#').next().unwrap_or_default();
            let is_relative = !target.is_empty() && !target.contains("://");
            assert!(!is_relative || dir.join(target).is_file(), "{path} links to {target}");
        }
    }
}

/// Keys of carbontracker.toml with their sections.
fn config_keys() -> Vec<String> {
    let of = |name: &str, key: &str| format!("{name}.{key}");
    SECTIONS.iter().flat_map(|s| s.keys.iter().map(move |key| of(s.name, key.name))).collect()
}

#[test]
fn every_key_is_in_the_documents() {
    let all: String = documents().into_iter().map(|(_, text)| text).collect();
    for key in KEYS {
        let name = key.name;
        let is_named = [format!("`{name}`"), format!("`{name}:")].iter().any(|n| all.contains(n));
        assert!(is_named, "option key {name} is in no document");
    }
    for key in config_keys() {
        assert!(all.contains(&format!("`{key}`")), "configuration key {key} is in no document");
    }
}

#[test]
fn migration_has_every_key_of_the_option() {
    let text = read("docs/MIGRATION.md");
    for key in KEYS {
        assert!(text.contains(&format!("`{}`", key.name)), "MIGRATION lacks {}", key.name);
    }
}

#[test]
fn markdown_has_one_sentence_a_line() {
    for (path, text) in documents() {
        let mut is_code = false;
        for (number, line) in text.lines().enumerate() {
            is_code ^= line.starts_with("```");
            // Tables and code are no prose.
            let text = line.trim_start_matches(['-', ' ', '*']);
            let is_indented = line.starts_with("    ");
            let is_prose = text.starts_with(|c: char| c.is_ascii_uppercase()) && !is_code;
            let ends = line.match_indices(". ").filter(|(at, _)| {
                line[at + 2..].starts_with(|c: char| c.is_ascii_uppercase())
                    && !line[..*at].ends_with(|c: char| c.is_ascii_uppercase())
            });
            let n = if is_prose && !is_indented { ends.count() } else { 0 };
            assert_eq!(n, 0, "{path}:{}: several sentences: {line}", number + 1);
        }
    }
}
