//! TDP and cores of common server CPUs, with the vendor's page for each: `cpu_tdp.csv`.
//!
//! Found by the whole name, so that a "Gold 6248" is no "Gold 6248R". Parts made for one cloud (such
//! as the Platinum 8259CL) are left out: their vendors publish no TDP.

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuSpec {
    /// Name as the vendor writes it.
    pub name: &'static str,
    /// Thermal design power of the package in watts; a power to cool, not a measured one.
    pub tdp_w: f64,
    /// Physical cores of the package.
    pub cores: u32,
    /// The vendor's page.
    pub source: &'static str,
}

const CSV: &str = include_str!("cpu_tdp.csv");

/// The rows; one that is not understood is left out, and a test finds none.
pub fn rows() -> impl Iterator<Item = CpuSpec> {
    CSV.lines().skip(1).filter_map(parse_row)
}

fn parse_row(line: &'static str) -> Option<CpuSpec> {
    let mut fields = line.split(',');
    let (name, tdp_w, cores) = (fields.next()?, fields.next()?, fields.next()?);
    let source = fields.next().filter(|_| fields.clone().next().is_none())?;
    Some(CpuSpec { name, tdp_w: tdp_w.parse().ok()?, cores: cores.parse().ok()?, source })
}

/// The row of a CPU by its `model name` in `/proc/cpuinfo`.
pub fn find(model_name: &str) -> Option<CpuSpec> {
    let wanted = words(model_name);
    rows().find(|row| words(row.name) == wanted)
}

/// The words that tell one model from another, in lower case.
///
/// Left out are trademarks, clock rate, number of cores, built-in graphics, and words such as
/// "CPU" and "Processor".
fn words(name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase().replace("(r)", " ").replace("(tm)", " ");
    let name = name.split('@').next().unwrap_or_default();
    let name = name.split(" with ").next().unwrap_or_default();
    let is_told = |word: &&str| {
        let is_core_count = word.ends_with("-core") || word.ends_with("-cores");
        !is_core_count && !["cpu", "processor"].contains(word)
    };
    name.split_whitespace().filter(is_told).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_is_whole() {
        assert_eq!(rows().count(), CSV.lines().count() - 1, "a row is not understood");
        assert_eq!(CSV.lines().next(), Some("name,tdp_w,cores,source"));
        let mut names = BTreeSet::new();
        for row in rows() {
            assert!((65.0..=500.0).contains(&row.tdp_w), "{row:?}");
            assert!((6..=192).contains(&row.cores), "{row:?}");
            let per_core = row.tdp_w / f64::from(row.cores);
            assert!((2.0..=20.0).contains(&per_core), "{row:?}");
            let vendor = if row.name.starts_with("AMD ") {
                "https://www.amd.com/en/products/"
            } else {
                assert!(row.name.starts_with("Intel "), "{row:?}");
                "https://ark.intel.com/products/"
            };
            assert!(row.source.starts_with(vendor), "{row:?}");
            assert!(names.insert(words(row.name)), "{row:?} is there twice");
            assert_eq!(find(row.name), Some(row));
        }
        let sources: BTreeSet<&str> = rows().map(|r| r.source).collect();
        assert_eq!(sources.len(), names.len(), "two rows have one source");
    }

    #[test]
    fn names_as_linux_reports_them() {
        for (model_name, tdp_w, cores) in [
            ("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", 150.0, 20),
            ("Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz", 205.0, 24),
            ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120.0, 14),
            ("Intel(R) Xeon(R) Platinum 8480+", 350.0, 56),
            ("INTEL(R) XEON(R) PLATINUM 8592+", 350.0, 64),
            ("Intel(R) Xeon(R) CPU Max 9480", 350.0, 56),
            ("Intel(R) Xeon(R) 6980P", 500.0, 128),
            ("AMD EPYC 7742 64-Core Processor", 225.0, 64),
            ("AMD EPYC 7763 64-Core Processor", 280.0, 64),
            ("AMD EPYC 9654 96-Core Processor", 360.0, 96),
            ("AMD Ryzen 9 5950X 16-Core Processor", 105.0, 16),
            ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", 95.0, 6),
        ] {
            let found = find(model_name).unwrap_or_else(|| panic!("{model_name}"));
            assert_eq!((found.tdp_w, found.cores), (tdp_w, cores), "{model_name}");
        }
    }

    #[test]
    fn what_is_not_the_same_name_is_not_found() {
        for model_name in [
            "",
            "Intel(R) Xeon(R) Gold 624 CPU @ 2.50GHz",
            "Intel(R) Xeon(R) Gold 6248U CPU @ 2.50GHz",
            "Intel(R) Xeon(R) Platinum 8480C",
            "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz",
            "Intel(R) Xeon(R) CPU @ 2.20GHz",
            "Intel Xeon Processor (Skylake, IBRS)",
            "Intel(R) Xeon(R) CPU E5-2680 0 @ 2.70GHz",
            "AMD EPYC",
            "AMD EPYC 7R13 Processor",
            "Arm Neoverse-N1",
        ] {
            assert_eq!(find(model_name), None, "{model_name}");
        }
    }
}
