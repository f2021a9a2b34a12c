//! Shows one tracked job on a throwaway two-node cluster, from its script to the month's report.
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ct_tests::{Site, User};

fn main() -> Result<()> {
    title("A cluster of two nodes whose CPU packages draw 120 W and 80 W");
    let site = Site::builder().watts(&[120.0, 80.0]).start()?;
    let cluster = &site.cluster;
    println!("{}", cluster.command(&User::root(), "sinfo").args(&["-N"]).run()?.stdout());

    let user = cluster.user(1);
    let script = script(&site.bin("ct-track"));
    title(&format!("{} submits train.sh", user.name()));
    println!("{}", script.replace(&site.bin("").display().to_string(), ""));
    let job = cluster.sbatch_with(user, &["--job-name=train"], &script)?;
    println!("Submitted batch job {job}");
    let info = cluster.wait_for(job, Duration::from_secs(60))?;
    println!("Job {job} is {}", info.state());
    site.wait_for_records(job, 2)?;

    let home = cluster.home(user);
    title(&format!("What the job printed: slurm-{job}.out"));
    print!("{}", fs::read_to_string(home.join(format!("slurm-{job}.out")))?);
    show_logs(&home.join("carbontracker"))?;

    title("The month's footprint: ct-report usage --by user,month");
    let ledger = site.ledger().display().to_string();
    report(&site, &["usage", "--by", "user,month", "--ledger", &ledger])?;
    title("The same by node: ct-report usage --by node");
    report(&site, &["usage", "--by", "node", "--ledger", &ledger])?;
    title("What goes into the paper: ct-report aggregate carbontracker/");
    report(&site, &["aggregate", &home.join("carbontracker").display().to_string()])?;
    title("The cluster is taken down");
    Ok(())
}

fn script(track: &Path) -> String {
    let t = track.display();
    format!(
        "#!/bin/bash\n#SBATCH --nodes=2 --exclusive\n#SBATCH --carbontracker=epochs:3\n\n\
         for epoch in 1 2 3; do\n    {t} epoch start\n    \
         srun sh -c 'timeout 2 sh -c \"while :; do :; done\"; true'   # the training\n    \
         {t} epoch end\ndone\n"
    )
}

/// The logs, in the order of their names; the record last.
fn show_logs(dir: &Path) -> Result<()> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .with_context(|| format!("no logs in {}", dir.display()))?
        .flatten()
        .map(|e| e.path())
        .collect();
    paths.sort_by_key(|p| (p.extension().is_some_and(|e| e == "json"), p.clone()));
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        title(&format!("carbontracker/{name}"));
        print!("{}", fs::read_to_string(&path)?);
    }
    Ok(())
}

fn report(site: &Site, args: &[&str]) -> Result<()> {
    let program = site.bin("ct-report").display().to_string();
    let output = site.cluster.command(&User::root(), &program).args(args).run()?.success();
    println!("{}", output.stdout().trim_end());
    Ok(())
}

fn title(text: &str) {
    println!("\n== {text}\n");
}
