//! The keys: upstream's parameters and ours, each with its check, its default and its help line.

/// One key of the option.
pub struct KeySpec {
    /// Its name, upstream's where it is upstream's.
    pub name: &'static str,
    /// The default, as text.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Refuses a value by saying what is expected.
    pub(super) check: fn(&str) -> Result<(), &'static str>,
}

impl PartialEq for KeySpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for KeySpec {}

impl std::fmt::Debug for KeySpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn key(
    name: &'static str,
    default: &'static str,
    help: &'static str,
    check: fn(&str) -> Result<(), &'static str>,
) -> KeySpec {
    KeySpec { name, default, help, check }
}

/// Every key, in the order of the help.
pub static KEYS: &[KeySpec] = &[
    key("epochs", "none", "epochs of the whole training; needed for a prediction", epochs),
    key("epochs_before_pred", "1", "epochs before the prediction; -1 all, 0 none", before_pred),
    key("monitor_epochs", "1", "epochs before the actual block; -1 all", monitor_epochs),
    key("update_interval", "10", "seconds between two samples", update_interval),
    key("interpretable", "true", "add the distance travelled by car", boolean),
    key("stop_and_confirm", "false", "wait for an answer after the prediction", boolean),
    key("ignore_errors", "true", "false: the record says so; tracking never ends a job", boolean),
    key("components", "all", "all, cpu, gpu or gpu+cpu", components),
    key(
        "devices_by_pid",
        "false",
        "charge the job for GPUs on which it has a process, too",
        boolean,
    ),
    key(
        "log_dir",
        "carbontracker",
        "directory of the logs, below the job's; %j %A %a %x %u %N %n",
        log_dir,
    ),
    key("log_file_prefix", "", "first part of the logs' names; the same patterns", prefix),
    key("verbose", "1", "0: no blocks in the job's output; 2: name devices and intensity", verbose),
    key("decimal_precision", "6", "decimals of energies and masses", precision),
    key("sim_cpu", "none", "name of a simulated CPU that is shown in place of the real", name),
    key("sim_cpu_tdp", "none", "its TDP in watts; needed with sim_cpu", watts),
    key("sim_cpu_util", "0.5", "its utilisation, 0 to 1", utilisation),
    key("sim_gpu", "none", "name of a simulated GPU that is shown in place of the real", name),
    key("sim_gpu_watts", "none", "its power in watts; needed with sim_gpu", watts),
    key("sim_gpu_util", "0.5", "its utilisation, 0 to 1", utilisation),
    key("epoch_by", "mark", "mark (ct-track epoch), step (each srun step) or pattern", epoch_by),
    key(
        "epoch_pattern",
        super::DEFAULT_PATTERN,
        "regular expression of a line that begins an epoch; group 1 tells epochs apart",
        epoch_pattern,
    ),
    key("max_energy", "none", "budget in kWh, as the blocks count", max_energy),
    key("max_co2", "none", "budget in g of CO2eq, as the blocks count", max_co2),
    key("on_budget", "warn", "warn, or stop: the job is ended when it has passed", on_budget),
];

/// What `--carbontracker=help` prints.
pub fn help_text() -> String {
    let mut out = String::from(
        "--carbontracker=on | off | help | KEY:VALUE[,KEY:VALUE…]\n\
         A backslash takes the next comma or colon literally. Keys, with their defaults:\n",
    );
    for k in KEYS {
        let name = format!("{} ({})", k.name, k.default);
        out.push_str(&format!("  {name:<26} {}\n", k.help));
    }
    out
}

fn whole(
    value: &str,
    ok: impl Fn(i64) -> bool,
    expected: &'static str,
) -> Result<(), &'static str> {
    // i64::from_str takes a leading plus, which upstream's users do not write.
    value
        .parse::<i64>()
        .ok()
        .filter(|n| ok(*n) && !value.starts_with('+'))
        .map(drop)
        .ok_or(expected)
}

fn one_of(value: &str, allowed: &[&str], expected: &'static str) -> Result<(), &'static str> {
    allowed.contains(&value).then_some(()).ok_or(expected)
}

const MAX_EPOCHS: i64 = 1_000_000_000;

fn epochs(v: &str) -> Result<(), &'static str> {
    whole(v, |n| (1..=MAX_EPOCHS).contains(&n), "a whole number from 1 to 1000000000")
}

fn before_pred(v: &str) -> Result<(), &'static str> {
    let expected = "a whole number from 1 to 1000000000, 0 (no prediction) or -1 (all epochs)";
    whole(v, |n| (-1..=MAX_EPOCHS).contains(&n), expected)
}

fn monitor_epochs(v: &str) -> Result<(), &'static str> {
    let expected = "a whole number from 1 to 1000000000, or -1 (all epochs)";
    whole(v, |n| n == -1 || (1..=MAX_EPOCHS).contains(&n), expected)
}

fn update_interval(v: &str) -> Result<(), &'static str> {
    let seconds = v.parse::<f64>().ok().filter(|s| (0.1..=3600.0).contains(s));
    seconds.map(drop).ok_or("a number of seconds from 0.1 to 3600")
}

fn boolean(v: &str) -> Result<(), &'static str> {
    super::settings::parse_bool(v).map(drop).ok_or("true or false")
}

fn components(v: &str) -> Result<(), &'static str> {
    super::settings::Components::parse(v).map(drop).ok_or("all, cpu, gpu or gpu+cpu")
}

fn log_dir(v: &str) -> Result<(), &'static str> {
    (!v.is_empty()).then_some(()).ok_or("the path of a directory")
}

fn prefix(v: &str) -> Result<(), &'static str> {
    let ok = v.len() <= 100 && !v.contains('/');
    ok.then_some(()).ok_or("at most 100 bytes without \"/\"")
}

fn verbose(v: &str) -> Result<(), &'static str> {
    one_of(v, &["0", "1", "2"], "0, 1 or 2")
}

fn precision(v: &str) -> Result<(), &'static str> {
    whole(v, |n| (0..=15).contains(&n), "a whole number from 0 to 15")
}

fn name(v: &str) -> Result<(), &'static str> {
    let ok = !v.trim().is_empty() && v.len() <= 100;
    ok.then_some(()).ok_or("a name of at most 100 bytes, or none")
}

fn watts(v: &str) -> Result<(), &'static str> {
    number(v, 100_000.0, "a number of watts from 0 to 100000")
}

fn utilisation(v: &str) -> Result<(), &'static str> {
    number(v, 1.0, "a number from 0 to 1")
}

fn number(v: &str, max: f64, expected: &'static str) -> Result<(), &'static str> {
    v.parse::<f64>().ok().filter(|n| (0.0..=max).contains(n)).map(drop).ok_or(expected)
}

fn epoch_by(v: &str) -> Result<(), &'static str> {
    one_of(v, &["mark", "step", "pattern"], "mark, step or pattern")
}

fn epoch_pattern(v: &str) -> Result<(), &'static str> {
    super::pattern::check(v)
}

fn max_energy(v: &str) -> Result<(), &'static str> {
    budget(v, "a number of kWh above 0, at most 1000000000, or none")
}

fn max_co2(v: &str) -> Result<(), &'static str> {
    budget(v, "a number of grams above 0, at most 1000000000, or none")
}

fn budget(v: &str, expected: &'static str) -> Result<(), &'static str> {
    let is_amount = v.parse::<f64>().is_ok_and(|n| n > 0.0 && n <= 1e9);
    (is_amount || v == "none").then_some(()).ok_or(expected)
}

fn on_budget(v: &str) -> Result<(), &'static str> {
    one_of(v, &["warn", "stop"], "warn or stop")
}
