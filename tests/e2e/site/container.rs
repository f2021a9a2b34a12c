//! ct-track in a container: a static program, another root, another mount namespace, and the socket
//! bound in, as Apptainer does it with `--bind`.

use std::fs;

use anyhow::Result;
use ct_tests::{Site, e2e_is_possible, packages};

use crate::job_dir::{JobDir, number};
use crate::{assert_within, completed};

/// Runs a program in a root that has nothing but it and the socket, as an unprivileged user can.
const CONTAINER: &str = r#"
root=$(mktemp -d "$PWD/root.XXXXXX")
run=$(dirname "$CARBONTRACKER_SOCKET")
mkdir -p "$root$run" && cp "$1" "$root/ct-track" && shift
unshare --user --map-root-user --mount sh -c '
  mount --bind "$1" "$2$1" && root=$2 && shift 2 && exec chroot "$root" /ct-track "$@"' \
  sh "$run" "$root" "$@"
status=$?
rm -r "$root"
exit $status
"#;

#[test]
fn epochs_are_marked_from_within_a_container() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let track = cluster.dir().join("ct-track-static");
    fs::copy(packages::static_track()?, &track)?;
    fs::write(cluster.dir().join("container.sh"), CONTAINER)?;
    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=epochs:2,monitor_epochs:-1\n\
         container() {{ sh {dir}/container.sh {track} \"$@\"; }}\n\
         for n in 1 2; do\n  container epoch start || exit 3\n  sleep 1\n\
         \x20 container epoch end || exit 4\ndone\ncontainer status\n",
        dir = cluster.dir().display(),
        track = track.display(),
    );
    let job = cluster.sbatch(user, &script)?;
    completed(cluster, job);
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    let logs = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?;
    assert_eq!(number(&logs.record, "epochs.done"), 2.0, "{out}");
    for power in logs.powers("cpu") {
        assert_within(power, 100.0, 0.02, "power of an epoch");
    }
    assert!(out.contains("Actual consumption for 2 epoch(s)"), "{out}");
    // Where the socket was not bound in, it says so, and the program goes on.
    let unbound = ["--user", "--map-root-user", "chroot"];
    let root = cluster.home(user);
    fs::copy(&track, root.join("ct-track"))?;
    fs::set_permissions(
        root.join("ct-track"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let root = root.display().to_string();
    let alone = cluster
        .command(user, "unshare")
        .args(&unbound)
        .args(&[&root, "/ct-track", "epoch", "start"])
        .env("CARBONTRACKER_SOCKET", "/run/carbontracker/noded.sock")
        .env("CARBONTRACKER_JOB_ID", "1")
        .run()?;
    assert!(alone.is_success() && alone.stderr().contains("noded.sock"), "{alone}");
    Ok(())
}
