//! The option on the user's terminal.

use crate::host::{ALLOCATOR, Host, LOCAL};

#[test]
fn an_invalid_option_is_refused_on_the_terminal_with_key_value_and_what_is_allowed() {
    let long = format!("log_dir:{}", "x".repeat(10_000));
    for (text, parts) in [
        ("epochs:0", &["epochs is \"0\"", "a whole number from 1"][..]),
        ("epoch:3", &["unknown key \"epoch\"", "did you mean \"epochs\"?"]),
        ("epochs", &["\"epochs\" has no value", "KEY:VALUE"]),
        ("log_dir:a\u{1b}[31mb", &["log_dir", "control characters"]),
        ("log_dir:a\nb", &["log_dir", "control characters"]),
        (&long, &["log_dir is 10000 bytes long", "at most 1024"]),
    ] {
        for context in [LOCAL, ALLOCATOR] {
            let run = Host::new(context).run(&["hook=init", &format!("option={text}")]);
            assert_eq!(run.one("option"), "rc=-1", "{run}");
            let message = run.one("error");
            assert!(message.starts_with("--carbontracker: "), "{message}");
            for part in parts {
                assert!(message.contains(part), "{text:?}: {message:?} lacks {part:?}");
            }
            assert!(!message.contains('\u{1b}') && message.len() < 600, "{message:?}");
        }
    }
}

#[test]
fn a_valid_option_passes_in_silence_and_a_left_out_argument_means_on() {
    for word in ["option=", "option=(null)", "option-null", "option=on", "option=epochs:5"] {
        let run = Host::new(LOCAL).run(&["hook=init", word]);
        assert_eq!(run.one("option"), "rc=0", "{run}");
        assert_eq!(run.all("error").len() + run.all("say").len(), 0, "{run}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let run = Host::new(LOCAL).run_bytes(&[b"hook=init", b"option=log_dir:\xff\xfe"]);
    assert_eq!(run.one("option"), "rc=-1", "{run}");
    assert!(run.one("error").contains("UTF-8"), "{run}");
}

#[test]
fn help_is_printed_and_ends_the_command_with_success() {
    let run = Host::new(LOCAL).run(&["hook=init", "option=help", "count"]);
    let help = run.all("say").join("\n");
    assert!(help.contains("epochs_before_pred") && help.contains("KEY:VALUE"), "{run}");
    // The host did not come to its last word, and its status, checked by run(), is 0.
    assert_eq!(run.all("count").len() + run.all("done").len(), 0, "{run}");
}
