//! What the source tree promises of itself.

use std::fs;
use std::path::{Path, PathBuf};

use ct_core::config::Config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the tests lie in it")
}

/// Source files below a directory of the repository.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !["target", ".git", ".venv", "fixtures", "bindings"].iter().any(|skip| name == *skip)
            {
                found.extend(files(&path, extension));
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_module_says_what_it_is() {
    for path in files(&root(), "rs") {
        let text = fs::read_to_string(&path).expect("source");
        assert!(text.starts_with("//!"), "{} has no //! header", path.display());
    }
}

#[test]
fn unsafe_code_is_where_the_documents_say() {
    let allowed = ["spank-plugin", "ct-ipmi", "tests/fake-nvml"].map(|dir| root().join(dir));
    for path in files(&root(), "rs") {
        let text = fs::read_to_string(&path).expect("source");
        let word = concat!("unsafe", " {");
        let is_allowed = allowed.iter().any(|dir| path.starts_with(dir));
        assert!(is_allowed || !text.contains(word), "{} has unsafe code", path.display());
    }
}

#[test]
fn shipped_configuration_is_accepted_and_says_the_defaults() {
    let path = root().join("slurm-conf/carbontracker.toml");
    let text = fs::read_to_string(&path).expect("configuration");
    assert_eq!(Config::parse(&text, &path).expect("it is accepted"), Config::default());
    // The commented keys are keys, too.
    let all: String = text
        .lines()
        .map(|l| l.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(l))
        .map(|l| format!("{l}\n"))
        .collect();
    Config::parse(&all, &path).expect("with every comment taken away it is accepted as well");
}

#[test]
fn lines_end_where_they_end() {
    for extension in ["rs", "md", "toml", "sh"] {
        for path in files(&root(), extension) {
            let text = fs::read_to_string(&path).expect("text");
            for (number, line) in text.lines().enumerate() {
                // The blank after upstream's sentence is part of a string in the code.
                let blank = line.ends_with([' ', '\t']);
                assert!(!blank, "{}:{} ends in a blank", path.display(), number + 1);
            }
        }
    }
}
