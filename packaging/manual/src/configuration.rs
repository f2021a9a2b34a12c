//! The files of `slurm-conf/` that list keys, and the table of keys in INSTALL.

use ct_core::config::keys::{KeyDefault, SECTIONS};
use ct_core::config::plugstack::ARGUMENTS;
use ct_core::option::KEYS;

/// Columns of a comment.
const WIDTH: usize = 100;

/// The text of `slurm-conf/carbontracker.toml`.
pub fn carbontracker_toml() -> String {
    let mut out = comment(
        "Configuration of carbontracker: the Slurm plugin, ct-noded, ct-track and ct-report; \
         carbontracker.conf(5). Every key is shown with its default; a commented one has none, or a \
         default that depends on the node. An unknown key is an error. %n is the node's name in \
         Slurm, %h the host's.",
        "# ",
    );
    for section in SECTIONS {
        out.push('\n');
        out.push_str(&comment(section.about, "# "));
        out.push_str(&format!("[{}]\n", section.name));
        for key in section.keys {
            out.push_str(&comment(key.help, "# "));
            match key.default {
                KeyDefault::Is(value) => out.push_str(&format!("{} = {value}\n", key.name)),
                KeyDefault::Unset(value) => out.push_str(&format!("#{} = {value}\n", key.name)),
            }
        }
    }
    out
}

/// The text of `slurm-conf/plugstack.conf.d/carbontracker.conf`.
pub fn plugstack_conf() -> String {
    let mut out = comment(
        "carbontracker: energy and carbon of every job. See spank(8) for this file's form and \
         carbontracker.conf(5) for the arguments.",
        "# ",
    );
    out.push_str(concat!(
        "#\n",
        "# Install this file as /etc/slurm/plugstack.conf.d/carbontracker.conf on every node, login nodes\n",
        "# included, and have /etc/slurm/plugstack.conf hold the line\n",
        "#\n",
        "#   include /etc/slurm/plugstack.conf.d/*.conf\n",
        "#\n",
        "# \"optional\", never \"required\": a plugin that cannot be loaded then costs the measurement, not\n",
        "# the job. carbontracker.so is looked for in Slurm's plugin directory; a full path works as well.\n",
        "#\n",
        "# Arguments, with their defaults:\n",
        "#\n",
    ));
    for argument in ARGUMENTS {
        out.push_str(&format!("#   {}={}\n", argument.name, argument.default));
        out.push_str(&comment(argument.help, "#       "));
    }
    out.push_str(
        "#\n# Every key of the option is an argument as well, and sets the site's default of it:\n#\n",
    );
    for key in KEYS {
        out.push_str(&format!("#   {}={}\n", key.name, key.default));
        out.push_str(&comment(key.help, "#       "));
    }
    out + "#\noptional carbontracker.so\n"
}

/// The table of INSTALL: key, default, meaning.
pub fn markdown_table() -> String {
    let mut out = String::from("| key | default | meaning |\n| --- | --- | --- |\n");
    for section in SECTIONS {
        if section.is_open || !section.about.is_empty() {
            out.push_str(&format!("| `{}` | | {} |\n", section.name, cell(section.about)));
        }
        for key in section.keys {
            let default = match key.default {
                KeyDefault::Is(value) => format!("`{}`", value.trim_matches('"')),
                KeyDefault::Unset(_) => String::new(),
            };
            let row =
                format!("| `{}.{}` | {default} | {} |\n", section.name, key.name, cell(key.help));
            out.push_str(&row.replace("|  |", "| |"));
        }
    }
    out
}

fn cell(text: &str) -> String {
    text.trim_end_matches('.').replace('|', "\\|")
}

/// Words in lines of at most [`WIDTH`] columns, each behind `prefix`; nothing for no words.
fn comment(text: &str, prefix: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{prefix}{word}")),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
