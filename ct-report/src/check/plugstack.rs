//! The line of plugstack.conf that loads our plugin, found through its `include`s.

use std::fs;
use std::path::{Path, PathBuf};

/// How deep files may include others.
const DEPTH_MAX: usize = 8;

/// Our line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The file it stands in, and where.
    pub(crate) file: PathBuf,
    pub(crate) number: usize,
    pub(crate) is_required: bool,
    /// The plugin as it is named there.
    pub(crate) plugin: PathBuf,
    /// The configuration it names.
    pub(crate) config: Option<PathBuf>,
}

/// Lines that load a plugin of our name, in the order in which Slurm reads them.
///
/// # Errors
///
/// A file that cannot be read; one that an `include` does not find is none to Slurm either.
pub(crate) fn find(file: &Path) -> std::io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    read(file, 0, &mut lines)?;
    Ok(lines)
}

fn read(file: &Path, depth: usize, lines: &mut Vec<Line>) -> std::io::Result<()> {
    let text = fs::read_to_string(file)?;
    for (index, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        match words[..] {
            ["include", pattern] if depth < DEPTH_MAX => {
                for file in included(file, pattern) {
                    read(&file, depth + 1, lines)?;
                }
            }
            [kind @ ("optional" | "required"), plugin, ref args @ ..] if is_ours(plugin) => {
                let config = args.iter().find_map(|arg| arg.strip_prefix("config="));
                lines.push(Line {
                    file: file.to_owned(),
                    number: index + 1,
                    is_required: kind == "required",
                    plugin: plugin.into(),
                    config: config.map(PathBuf::from),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_ours(plugin: &str) -> bool {
    let name = Path::new(plugin).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.trim_start_matches("lib") == "carbontracker.so"
}

/// The files of a pattern, which is relative to the directory of the file it stands in.
fn included(file: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = file.parent().unwrap_or(Path::new("")).join(pattern);
    let found = glob::glob(&pattern.to_string_lossy()).into_iter().flatten();
    found.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_line_is_found_through_includes() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("plugstack.conf");
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(&main, "# required carbontracker.so\nrequired other.so\ninclude d/*.conf\n")
            .unwrap();
        assert_eq!(find(&main).unwrap(), []);
        let own = dir.path().join("d/carbontracker.conf");
        fs::write(&own, "\noptional /x/libcarbontracker.so default=on config=/y.toml # ours\n")
            .unwrap();
        let line = Line {
            file: own,
            number: 2,
            is_required: false,
            plugin: "/x/libcarbontracker.so".into(),
            config: Some("/y.toml".into()),
        };
        assert_eq!(find(&main).unwrap(), [line]);
        // A file that includes itself ends.
        fs::write(&main, "include plugstack.conf\nrequired carbontracker.so\n").unwrap();
        assert!(find(&main).unwrap().iter().all(|line| line.is_required));
        assert!(find(&dir.path().join("none")).is_err());
    }
}
