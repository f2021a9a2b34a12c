//! `%j %A %a %x %u %N %n` in paths and prefixes, as in Slurm's own file names.

/// What the patterns of one job stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternValues {
    /// `%j`: job id.
    pub job_id: u32,
    /// `%A`: array job id, else the job id.
    pub array_job_id: Option<u32>,
    /// `%a`: array index, else 0.
    pub array_task_id: Option<u32>,
    /// `%x`: job name.
    pub job_name: String,
    /// `%u`: user name.
    pub user: String,
    /// `%N`: node name.
    pub node: String,
    /// `%n`: index of the node within the job.
    pub node_index: u32,
}

/// Replaces the patterns; `%%` is a percent sign, what is no pattern stays as it is.
///
/// A job name or user name may hold anything, so `/` and control characters in them become `_`: a
/// name never leads to another directory.
pub fn expand(template: &str, values: &PatternValues) -> String {
    let mut out = String::with_capacity(template.len());
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('j') => out.push_str(&values.job_id.to_string()),
            Some('A') => out.push_str(&values.array_job_id.unwrap_or(values.job_id).to_string()),
            Some('a') => out.push_str(&values.array_task_id.unwrap_or(0).to_string()),
            Some('x') => out.push_str(&harmless(&values.job_name)),
            Some('u') => out.push_str(&harmless(&values.user)),
            Some('N') => out.push_str(&harmless(&values.node)),
            Some('n') => out.push_str(&values.node_index.to_string()),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

fn harmless(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    if name == ".." || name == "." { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_replaced_and_names_stay_harmless() {
        let values = PatternValues {
            job_id: 42,
            array_job_id: Some(40),
            array_task_id: Some(7),
            job_name: "../x\ny".to_owned(),
            user: "ann".to_owned(),
            node: "n1".to_owned(),
            node_index: 3,
        };
        assert_eq!(expand("%j/%A_%a/%x/%u-%N.%n%%%q%", &values), "42/40_7/.._x_y/ann-n1.3%%q%");
    }
}
