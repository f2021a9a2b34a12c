//! `n[1-3,7],login1` and `2(x3),1`, as Slurm writes them into the environment.

/// Most names a list may expand to; more than any cluster has nodes.
const MAX_HOSTS: usize = 100_000;
/// Most bytes that are made for that: a list may also expand to nothing, or to very long names.
const MAX_BYTES: usize = 16 << 20;

/// The names of a host list, in its order. What cannot be read is taken as it stands.
pub fn expand_hostlist(list: &str) -> Vec<String> {
    let (mut out, mut n_bytes) = (Vec::new(), 0);
    for item in split_outside_brackets(list) {
        expand_item(item, &mut out, &mut n_bytes);
    }
    out
}

fn split_outside_brackets(list: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    list.split(move |c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth <= 0
    })
    .filter(|item| !item.is_empty())
    .collect()
}

fn expand_item(item: &str, out: &mut Vec<String>, n_bytes: &mut usize) {
    let parts = item.split_once('[').and_then(|(head, rest)| {
        let (ranges, tail) = rest.split_once(']')?;
        Some((head, ranges, tail))
    });
    let Some((head, ranges, tail)) = parts else {
        if out.len() < MAX_HOSTS {
            out.push(item.to_owned());
        }
        return;
    };
    for range in ranges.split(',') {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (low.parse::<u64>(), high.parse::<u64>()) else { continue };
        for n in first..=last {
            *n_bytes += item.len();
            if out.len() >= MAX_HOSTS || *n_bytes > MAX_BYTES {
                return;
            }
            // A second pair of brackets, as in rack[1-2]n[1-4], is expanded in turn.
            expand_item(&format!("{head}{n:0width$}{tail}", width = low.len()), out, n_bytes);
        }
    }
}

/// The numbers of a counted list: `2(x3),1` is 2, 2, 2, 1. What cannot be read ends it.
pub fn expand_counts(list: &str) -> Vec<u32> {
    let mut out = Vec::new();
    for item in list.split(',') {
        let (value, times) = match item.split_once("(x") {
            Some((value, times)) => (value, times.trim_end_matches(')')),
            None => (item, "1"),
        };
        let (Ok(value), Ok(times)) = (value.parse::<u32>(), times.parse::<usize>()) else { break };
        out.extend(std::iter::repeat_n(value, times.min(MAX_HOSTS.saturating_sub(out.len()))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_lists() {
        for (list, names) in [
            ("n1", "n1"),
            ("n[1-3],m7", "n1 n2 n3 m7"),
            ("n[08-10,12]", "n08 n09 n10 n12"),
            ("r[1-2]n[1-2]-ib", "r1n1-ib r1n2-ib r2n1-ib r2n2-ib"),
            ("", ""),
            ("n[1-", "n[1-"),
        ] {
            assert_eq!(expand_hostlist(list).join(" "), names, "{list}");
        }
        assert_eq!(expand_hostlist("n[1-99999999999]").len(), MAX_HOSTS);
    }

    #[test]
    fn a_list_that_names_nobody_ends() {
        assert!(expand_hostlist("a[1-99999999999999][x]").is_empty());
        assert!(expand_hostlist(&format!("{}[x]", "[0-99999]".repeat(9))).is_empty());
        assert!(expand_hostlist(&"[0-99999]".repeat(9)).len() <= MAX_HOSTS);
        let long = format!("[{}-99999]", "0".repeat(8000));
        let n_bytes: usize = expand_hostlist(&long).iter().map(String::len).sum();
        assert!(n_bytes <= MAX_BYTES, "{n_bytes}");
    }

    #[test]
    fn counted_lists() {
        assert_eq!(expand_counts("2(x3),1"), [2, 2, 2, 1]);
        assert_eq!(expand_counts("16"), [16]);
        assert_eq!(expand_counts("2(x"), [0_u32; 0]);
        assert_eq!(expand_counts("x"), [0_u32; 0]);
    }
}
