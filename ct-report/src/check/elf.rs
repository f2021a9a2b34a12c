//! What a SPANK plugin says of itself, read from its ELF file: it is not loaded for that, as foreign
//! code would then run as whoever asks, most likely root.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use elf::ElfBytes;
use elf::abi::{PT_LOAD, STB_WEAK};
use elf::endian::AnyEndian;
use elf::string_table::StringTable;
use elf::symbol::{Symbol, SymbolTable};

/// A release of Slurm, as far as plugins are bound to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Release {
    /// Of `SLURM_VERSION_NUMBER`: `0x160508` is 22.05.8.
    fn from_number(number: u32) -> Self {
        Self { major: (number >> 16) & 0xff, minor: (number >> 8) & 0xff }
    }

    /// Of a text that has it: `slurm-wlm 22.05.8`.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let mut parts = word.split('.');
            let major = parts.next()?.parse().ok()?;
            let minor = parts.next()?.get(..2)?.parse().ok()?;
            Some(Self { major, minor })
        })
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.major, self.minor)
    }
}

/// A plugin's own words.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// Slurm it was built for.
    pub(crate) built_for: Release,
    /// Symbols that no library it names promises: a program that lacks one cannot load it.
    pub(crate) undefined: Vec<String>,
    /// The newest glibc it needs, as in `2.34`.
    pub(crate) glibc: Option<(u32, u32)>,
}

/// Reads a plugin.
///
/// # Errors
///
/// A file that cannot be read, or that is no SPANK plugin of ours.
pub(crate) fn read(path: &Path) -> Result<Plugin> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{} is no plugin", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Plugin> {
    let file = ElfBytes::<AnyEndian>::minimal_parse(bytes).context("it is no ELF file")?;
    let (symbols, names) =
        file.dynamic_symbol_table()?.context("it has no table of dynamic symbols")?;
    let find = |name: &str| find(&symbols, &names, name);
    let at = |symbol: Symbol, n: usize| bytes_at(&file, bytes, symbol.st_value, n);
    let kind = find("plugin_type").context("it has no symbol plugin_type")?;
    if at(kind, 6) != Some(b"spank\0".as_slice()) {
        bail!("its plugin_type is not \"spank\"");
    }
    let version = find("plugin_version").context("it has no symbol plugin_version")?;
    let number = at(version, 4).context("plugin_version lies outside of the file")?;
    let number = u32::from_le_bytes(number.try_into()?);
    let (undefined, glibc) = needs(&file, &symbols, &names)?;
    Ok(Plugin { built_for: Release::from_number(number), undefined, glibc })
}

fn find(
    symbols: &SymbolTable<'_, AnyEndian>,
    names: &StringTable<'_>,
    name: &str,
) -> Option<Symbol> {
    let is_it = |symbol: &Symbol| {
        !symbol.is_undefined() && names.get(symbol.st_name as usize).is_ok_and(|n| n == name)
    };
    symbols.iter().find(is_it)
}

/// The bytes that are loaded to an address.
fn bytes_at<'d>(
    file: &ElfBytes<'_, AnyEndian>,
    bytes: &'d [u8],
    address: u64,
    n: usize,
) -> Option<&'d [u8]> {
    let holds = |s: &elf::segment::ProgramHeader| {
        s.p_type == PT_LOAD && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz
    };
    let segment = file.segments()?.iter().find(holds)?;
    let from = usize::try_from(segment.p_offset + (address - segment.p_vaddr)).ok()?;
    bytes.get(from..from.checked_add(n)?)
}

type Needs = (Vec<String>, Option<(u32, u32)>);

/// Undefined symbols without a library's version, and the newest version of glibc.
fn needs(
    file: &ElfBytes<'_, AnyEndian>,
    symbols: &SymbolTable<'_, AnyEndian>,
    names: &StringTable<'_>,
) -> Result<Needs> {
    let versions = file.symbol_version_table()?;
    let (mut undefined, mut glibc) = (BTreeSet::new(), None);
    for (index, symbol) in symbols.iter().enumerate() {
        let name = names.get(symbol.st_name as usize)?;
        if !symbol.is_undefined() || name.is_empty() {
            continue;
        }
        let version = versions.as_ref().map(|v| v.get_requirement(index)).transpose()?.flatten();
        match version.map(|version| version.name) {
            Some(version) => glibc = glibc.max(glibc_of(version)),
            None if symbol.st_bind() != STB_WEAK => {
                undefined.insert(name.to_owned());
            }
            None => {}
        }
    }
    Ok((undefined.into_iter().collect(), glibc))
}

/// `GLIBC_2.34`, and `glibc 2.36` of getconf.
pub(crate) fn glibc_of(text: &str) -> Option<(u32, u32)> {
    let text = text.strip_prefix("GLIBC_").or_else(|| text.trim().strip_prefix("glibc "))?;
    let (major, rest) = text.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_slurm_writes_them() {
        assert_eq!(Release::from_number(0x16_05_08).to_string(), "22.05");
        assert_eq!(Release::from_number(0x18_0b_05).to_string(), "24.11");
        let text = |text| Release::from_text(text).map(|r| r.to_string());
        assert_eq!(text("slurm-wlm 22.05.8\n").as_deref(), Some("22.05"));
        assert_eq!(text("slurm 24.11.0-0rc1").as_deref(), Some("24.11"));
        assert_eq!(text("command not found"), None);
        assert_eq!(glibc_of("GLIBC_2.34"), Some((2, 34)));
        assert_eq!(glibc_of("glibc 2.36\n"), Some((2, 36)));
        assert_eq!(glibc_of("GCC_3.0"), None);
    }

    #[test]
    fn what_is_no_plugin_is_told() {
        let said = |bytes: &[u8]| format!("{:#}", parse(bytes).unwrap_err());
        assert!(said(b"#!/bin/sh\n").starts_with("it is no ELF file"), "{}", said(b"#!/bin/sh\n"));
        let own = fs::read("/proc/self/exe").unwrap();
        assert!(said(&own).contains("plugin_type"), "{}", said(&own));
    }
}
