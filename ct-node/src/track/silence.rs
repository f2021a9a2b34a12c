//! Remembers from one mark to the next that ct-noded is silent, so that a job waits for it once.
//!
//! Hooks note it in the run directory, which no user may write; what a user's own mark has seen is a
//! file of the user's in the temporary directory. Both say since when by the clock that nobody sets.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use ct_core::protocol::SILENCE_NAME;
use ct_core::sampler::now;

use super::client::Tracker;
use crate::note;

/// How long it is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// When it is first looked whether ct-noded answers again; then each time at twice that age.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Where it is noted that ct-noded is silent.
pub(super) struct Silence {
    hooks: PathBuf,
    own: PathBuf,
    uid: u32,
}

/// What a user's own note says.
#[derive(Clone, Copy)]
struct Note {
    /// Since when ct-noded is silent: milliseconds since boot.
    since_ms: u64,
    /// At which age of the silence it is looked again.
    look_at: Duration,
}

impl Silence {
    pub(super) fn of(tracker: &Tracker) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let name = format!(".ct-track-{uid}-{}.silent", tracker.job_id);
        Self {
            hooks: tracker.socket.with_file_name(SILENCE_NAME),
            own: env::temp_dir().join(name),
            uid,
        }
    }

    /// Whether a hook or an earlier mark has waited in vain.
    pub(super) fn is_known(&self) -> bool {
        self.hooks_say_so() || self.own_note().is_some()
    }

    /// Whether a mark is to look again if ct-noded answers. The hooks' note needs no look: ct-noded
    /// removes it.
    pub(super) fn is_time_to_look(&self) -> bool {
        if self.hooks_say_so() {
            return false;
        }
        let Some(note) = self.own_note() else { return true };
        let is_time = age_of(note.since_ms).is_none_or(|age| age >= note.look_at);
        if is_time {
            // Before it is waited, as marks may come at the same time.
            let look_at = age_of(note.since_ms).unwrap_or(note.look_at).max(FIRST_LOOK) * 2;
            self.write(Note { look_at, ..note });
        }
        is_time
    }

    /// A mark has waited in vain.
    pub(super) fn remember(&self) {
        if self.own_note().is_none() {
            self.write(Note { since_ms: since_boot_ms(), look_at: FIRST_LOOK });
        }
    }

    /// It has answered.
    pub(super) fn forget(&self) {
        if fs::symlink_metadata(&self.own).is_ok() {
            let _ = fs::remove_file(&self.own);
        }
    }

    fn hooks_say_so(&self) -> bool {
        let Ok(metadata) = fs::symlink_metadata(&self.hooks) else { return false };
        let noted = note::text_of(&self.hooks).and_then(|text| text.trim_end().parse().ok());
        let age = match noted {
            Some(since_ms) => age_of(since_ms),
            // Of an earlier plugin.
            None => metadata.modified().ok().and_then(|at| at.elapsed().ok()),
        };
        age.is_some_and(|age| age < REMEMBERED_FOR)
    }

    /// The user's own note. Anybody may make a file in the temporary directory: somebody else's says
    /// nothing.
    fn own_note(&self) -> Option<Note> {
        let metadata = fs::symlink_metadata(&self.own).ok()?;
        if metadata.uid() != self.uid || !metadata.is_file() {
            return None;
        }
        let text = note::text_of(&self.own)?;
        let (since, look_at) = text.trim_end().split_once(' ')?;
        let (since_ms, look_at) =
            (since.parse().ok()?, Duration::from_millis(look_at.parse().ok()?));
        let is_young = age_of(since_ms).is_some_and(|age| age < REMEMBERED_FOR);
        is_young.then_some(Note { since_ms, look_at })
    }

    fn write(&self, note: Note) {
        let _ = fs::remove_file(&self.own);
        // Where it cannot be made, the next mark waits as well.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.own);
        let text = format!("{} {}\n", note.since_ms, note.look_at.as_millis());
        let _ = made.and_then(|mut file| file.write_all(text.as_bytes()));
    }
}

fn since_boot_ms() -> u64 {
    u64::try_from(now().since_boot.as_millis()).unwrap_or(u64::MAX)
}

/// None of one that is of the future: it is of an earlier boot.
fn age_of(since_ms: u64) -> Option<Duration> {
    since_boot_ms().checked_sub(since_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;

    fn silence(dir: &Path, uid: u32) -> Silence {
        Silence { hooks: dir.join("hooks"), own: dir.join("own"), uid }
    }

    #[test]
    fn what_one_mark_has_seen_the_next_one_knows() {
        let dir = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let own = silence(dir.path(), uid);
        assert!(!own.is_known());
        own.remember();
        assert!(own.is_known());
        let of_another = silence(dir.path(), uid + 1);
        assert!(!of_another.is_known());
        own.forget();
        assert!(!own.is_known());
        fs::write(&own.hooks, since_boot_ms().to_string()).unwrap();
        assert!(own.is_known() && of_another.is_known());
        assert!(!own.is_time_to_look());
    }

    #[test]
    fn looks_come_ever_more_seldom() {
        let dir = tempfile::tempdir().unwrap();
        let own = silence(dir.path(), rustix::process::geteuid().as_raw());
        own.remember();
        let look_after = |seconds: u64| {
            let note = own.own_note().unwrap();
            let since_ms = since_boot_ms() - seconds * 1000;
            own.write(Note { since_ms, ..note });
            own.is_time_to_look()
        };
        let looks: Vec<u64> = (0..600).filter(|age| look_after(*age)).collect();
        assert_eq!(looks.first(), Some(&2));
        // A millisecond makes one of 4 s one of 5 s.
        assert!(looks.windows(2).all(|two| two[0] * 2 <= two[1] && two[1] <= two[0] * 2 + 1));
        assert!((8..=9).contains(&looks.len()), "{looks:?}");
        assert!(!look_after(599));
    }

    #[test]
    fn a_clock_that_is_set_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let own = silence(dir.path(), rustix::process::geteuid().as_raw());
        fs::write(&own.hooks, since_boot_ms().to_string()).unwrap();
        let day = Duration::from_secs(86_400);
        for at in [SystemTime::now() + day, SystemTime::now() - day] {
            let file = OpenOptions::new().write(true).open(&own.hooks).unwrap();
            file.set_modified(at).unwrap();
            assert!(own.is_known());
        }
        // Ten minutes, and one of the boot before.
        for at in [since_boot_ms() - 600_000, since_boot_ms() + 600_000] {
            fs::write(&own.hooks, at.to_string()).unwrap();
            assert!(!own.is_known());
        }
        // An earlier plugin says nothing in it.
        fs::write(&own.hooks, "").unwrap();
        assert!(own.is_known());
    }
}
