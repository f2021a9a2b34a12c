//! A provider's token: from a file that is its owner's alone, never on a command line or in a message.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};

use crate::diagnostic::Hint;

/// Longest token that is taken.
const MOST_BYTES: u64 = 4096;

/// A token; its text is shown to nobody.
pub(super) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    ///
    /// A file that others can read, or that holds no token.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = File::open(path)
            .with_context(|| format!("cannot read token {shown}"))
            .context(Hint("carbon.fetch.token_file is to be a file of the user who fetches"))?;
        let mode = file.metadata()?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let error =
                anyhow!("token {shown} has mode {mode:03o}, expected 600: others may read it");
            return Err(error.context(Hint("chmod 600, as the user who fetches")));
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read token {shown}"))?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            let error = anyhow!("token {shown} holds no token: expected one word of visible ASCII");
            return Err(error.context(Hint("copy the token from the provider's portal into it")));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text, for the request's header.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}
