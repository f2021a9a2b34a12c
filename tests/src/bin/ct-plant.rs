//! Runs a power plant: keeps the meters of a simulated machine at known watts.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use anyhow::{Context, Result};
use clap::Parser;
use ct_tests::plant::{Generator, Spec};

/// Keep the meters of a simulated machine at known watts
///
/// Prints "started SECONDS" (since 1970) when all files are there, and runs until SIGTERM or
/// SIGINT. ROOT/truth.json is written at the end.
#[derive(Parser)]
#[command(name = "ct-plant", version)]
struct Args {
    /// Also end with standard input, and answer each line of it: "truth" (ROOT/truth.json is
    /// written), "truth UNIX_SECONDS", "fault METER FAULT", "heal METER"
    #[arg(long)]
    until_eof: bool,
    /// The machine, as JSON
    spec: PathBuf,
    /// The directory for its files
    root: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let text = fs::read_to_string(&args.spec)
        .with_context(|| format!("cannot read {}", args.spec.display()))?;
    let spec: Spec = serde_json::from_str(&text)
        .with_context(|| format!("cannot parse {}", args.spec.display()))?;
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&is_over))?;
    }
    let mut plant = Generator::start(&args.root, spec)?;
    // Kept to the end: a channel without a sender would read as the end of standard input.
    let (sender, requests) = channel();
    let _sender = if args.until_eof { listen(sender) } else { Some(sender) };
    say(&format!("started {}", plant.started_unix_s()));
    run(&mut plant, &requests, &is_over)?;
    plant.write_truth()
}

/// Passes on each line of standard input, on a thread of its own; hangs up at its end.
fn listen(sender: Sender<String>) -> Option<Sender<String>> {
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    None
}

fn run(plant: &mut Generator, requests: &Receiver<String>, is_over: &AtomicBool) -> Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        match requests.recv_timeout(plant.pause()) {
            Ok(request) => say(&plant.answer(&request)),
            Err(RecvTimeoutError::Timeout) => plant.tick()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
    Ok(())
}

/// Answers the caller; one that is gone is told nothing, and the truth is still written.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
