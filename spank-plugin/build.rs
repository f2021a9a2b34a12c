//! Bindings and version for the Slurm this plugin is built for.
//!
//! Slurm refuses a plugin whose `plugin_version` is of another release, so the number comes from
//! the installed `slurm_version.h`. Where there is no header, the committed bindings serve (the
//! types are the same from 22.05 on) and `CT_SLURM_VERSION`, such as `24.11.5`, gives the number.
//! `CT_SLURM_INCLUDE` names a directory of headers that is not a usual one; empty, it says that none
//! is to be looked at.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

const INCLUDE_DIRS: [&str; 4] =
    ["/usr/include", "/usr/local/include", "/opt/slurm/include", "/usr/local/slurm/include"];

fn main() -> Result<(), Box<dyn Error>> {
    for path in ["build.rs", "wrapper.h", "bindings/spank.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    for name in ["CT_SLURM_VERSION", "CT_SLURM_INCLUDE", "CT_BINDINGS_OUT"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    // Slurm opens plugins with RTLD_LAZY; rustc's default asks for BIND_NOW.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,lazy");

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let include = find_include()?;
    write_bindings(include.as_deref(), &out.join("spank.rs"))?;
    let version = version_number(include.as_deref())?;
    let text = format!("pub(crate) const SLURM_VERSION_NUMBER: u32 = {version:#x};\n");
    fs::write(out.join("version.rs"), text)?;
    Ok(())
}

fn find_include() -> Result<Option<PathBuf>, String> {
    let has_header = |dir: &PathBuf| dir.join("slurm/spank.h").is_file();
    let found = match env::var_os("CT_SLURM_INCLUDE").map(PathBuf::from) {
        Some(none) if none.as_os_str().is_empty() => None,
        Some(named) if has_header(&named) => Some(named),
        Some(named) => {
            let header = named.join("slurm/spank.h");
            return Err(format!(
                "CT_SLURM_INCLUDE: {} is no file; leave it empty to use the committed bindings",
                header.display()
            ));
        }
        None => INCLUDE_DIRS.iter().map(PathBuf::from).find(has_header),
    };
    if let Some(found) = &found {
        println!("cargo:rerun-if-changed={}", found.join("slurm/spank.h").display());
        println!("cargo:rerun-if-changed={}", found.join("slurm/slurm_version.h").display());
    }
    Ok(found)
}

fn write_bindings(include: Option<&Path>, out: &Path) -> Result<(), Box<dyn Error>> {
    let committed = Path::new("bindings/spank.rs");
    let Some(include) = include else {
        fs::copy(committed, out)?;
        return Ok(());
    };
    // bindgen panics where libclang is missing, which the committed bindings make up for.
    let Ok(generated) = std::panic::catch_unwind(|| generate(include)) else {
        println!("cargo:warning=libclang is missing (libclang1-14): using the committed bindings");
        fs::copy(committed, out)?;
        return Ok(());
    };
    let generated = generated?;
    generated.write_to_file(out)?;
    if fs::read(committed)? != fs::read(out)? {
        println!("cargo:warning=bindings/spank.rs differs from what the installed spank.h gives");
    }
    if let Some(copy) = env::var_os("CT_BINDINGS_OUT") {
        generated.write_to_file(copy)?;
    }
    Ok(())
}

fn generate(include: &Path) -> Result<bindgen::Bindings, bindgen::BindgenError> {
    bindgen::Builder::default()
        .header("wrapper.h")
        .clang_arg(format!("-I{}", include.display()))
        .allowlist_function("spank_.*|slurm_(info|error|verbose|debug|spank_log)")
        .allowlist_type("spank_.*")
        .blocklist_function("slurm_spank_(init|job|local|user|task|slurmd|exit).*")
        .blocklist_var("slurm_spank_.*|spank_options")
        // Hundreds of error numbers; the plugin asks only whether it is 0, success.
        .blocklist_type("slurm_err_t")
        .raw_line("pub type slurm_err_t = ::std::os::raw::c_uint;")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .layout_tests(false)
        .generate()
}

fn version_number(include: Option<&Path>) -> Result<u32, Box<dyn Error>> {
    if let Some(text) = env::var("CT_SLURM_VERSION").ok().filter(|text| !text.is_empty()) {
        return parse_version(&text)
            .ok_or_else(|| format!("CT_SLURM_VERSION is {text:?}, expected e.g. 24.11.5").into());
    }
    let include = include.ok_or(
        "no slurm/spank.h found: install libslurm-dev, name its directory in CT_SLURM_INCLUDE, \
         or give the version of Slurm in CT_SLURM_VERSION, e.g. 24.11.5",
    )?;
    let header = include.join("slurm/slurm_version.h");
    let text = fs::read_to_string(&header)?;
    text.lines()
        .find_map(|l| l.strip_prefix("#define SLURM_VERSION_NUMBER 0x"))
        .and_then(|hex| u32::from_str_radix(hex.trim(), 16).ok())
        .ok_or_else(|| format!("{}: no SLURM_VERSION_NUMBER", header.display()).into())
}

fn parse_version(text: &str) -> Option<u32> {
    let parts: Vec<u32> = text.split('.').map(|p| p.parse().ok()).collect::<Option<_>>()?;
    match parts[..] {
        [major, minor] => Some((major << 16) + (minor << 8)),
        [major, minor, micro] => Some((major << 16) + (minor << 8) + micro),
        _ => None,
    }
}
