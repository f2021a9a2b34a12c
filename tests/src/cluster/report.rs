//! What a failed test leaves to read: logs, ledgers, and the listing of the directory.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Lines shown of each file, from its end.
const TAIL_LINES: usize = 60;
/// Endings of the files worth reading.
const TEXTS: [&str; 6] = ["log", "out", "err", "jsonl", "json", "toml"];

/// Prints everything worth reading about the cluster in `dir` to stderr.
#[expect(clippy::print_stderr, reason = "cargo test shows stderr of tests that failed")]
pub(super) fn print(dir: &Path) {
    eprintln!("{}", render(dir));
}

fn render(dir: &Path) -> String {
    let mut files = Vec::new();
    collect(dir, &mut files);
    let mut text = format!("======== cluster {}\n", dir.display());
    for file in files.iter().filter(|f| is_text(f)) {
        let _ = writeln!(text, "-------- {}\n{}", file.display(), tail(file));
    }
    let _ = writeln!(text, "-------- listing");
    for file in &files {
        let _ = writeln!(text, "{}", describe(file, dir));
    }
    text
}

/// All paths below a directory, sorted; links are not followed.
fn collect(dir: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let is_dir = path.is_dir() && !path.is_symlink();
        paths.push(path.clone());
        if is_dir {
            collect(&path, paths);
        }
    }
}

fn is_text(path: &Path) -> bool {
    let has_ending = path.extension().is_some_and(|e| TEXTS.iter().any(|&text| e == text));
    has_ending && fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.size() > 0)
}

fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn describe(path: &Path, dir: &Path) -> String {
    let name = path.strip_prefix(dir).unwrap_or(path).display();
    let Ok(meta) = fs::symlink_metadata(path) else { return format!("? {name}") };
    let kind = match meta.file_type() {
        t if t.is_dir() => 'd',
        t if t.is_symlink() => 'l',
        t if t.is_socket() => 's',
        t if t.is_char_device() => 'c',
        _ => '-',
    };
    let mode = meta.mode() & 0o7777;
    format!("{kind}{mode:04o} {:>5} {:>5} {:>9} {name}", meta.uid(), meta.gid(), meta.size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_holds_the_end_of_a_log_and_every_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        let lines: String = (0..100).map(|n| format!("line {n}\n")).collect();
        fs::write(dir.path().join("log/slurmd.log"), lines).unwrap();
        fs::write(dir.path().join("munge.key"), "secret").unwrap();
        let text = render(dir.path());
        assert!(
            text.contains("line 99") && text.contains("line 40\n") && !text.contains("line 39\n")
        );
        assert!(text.contains("munge.key") && !text.contains("secret"));
    }
}
