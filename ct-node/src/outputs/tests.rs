//! Outputs that are followed, printed into and passed on.

use std::fs::{OpenOptions, read_to_string};
use std::io::{Read, Write};

use super::follower::PAUSE;
use super::*;

const EPOCH: &str = "Epoch ([0-9]+)";

fn reader(path: &std::path::Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

fn label(n: u32) -> Label {
    Some(n.to_string())
}

fn labels(outputs: &Outputs, n: usize) -> Vec<Label> {
    let mut labels = Vec::new();
    for _ in 0..100 {
        labels.extend(outputs.found().into_iter().flat_map(|f| f.labels));
        if labels.len() >= n {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    labels
}

#[test]
fn a_growing_file_is_followed_from_its_end_through_a_cut_to_its_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    std::fs::write(&path, "Epoch 7\n").unwrap();
    let mut outputs = Outputs::default();
    outputs.follow(1, EPOCH, vec![reader(&path)], None).unwrap();
    let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
    writer.write_all(b"Epoch 8\nEpo").unwrap();
    assert_eq!(labels(&outputs, 1), [Some("8".to_owned())]);
    writer.write_all(b"ch 9\n").unwrap();
    assert_eq!(labels(&outputs, 1), [Some("9".to_owned())]);
    writer.set_len(0).unwrap();
    thread::sleep(2 * PAUSE);
    writer.write_all(b"Epoch 10\nEpoch 11").unwrap();
    let found = outputs.finish(1);
    assert_eq!((found.labels, found.is_behind), (vec![label(10), label(11)], false));
    assert!(outputs.finish(1).labels.is_empty());
}

#[test]
fn an_output_is_read_on_from_where_an_earlier_life_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    std::fs::write(&path, "Epoch 1\nEpoch 2\nEpo").unwrap();
    let mut first = Outputs::default();
    first.follow(1, EPOCH, vec![reader(&path)], Some(0)).unwrap();
    let found = loop {
        if let Some(found) = first.found().pop() {
            break found;
        }
        thread::sleep(Duration::from_millis(20));
    };
    // The line that is not at its end is read once more.
    assert_eq!((found.labels, found.at), (vec![label(1), label(2)], 16));
    drop(first);
    let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
    writer.write_all(b"ch 3\nEpoch 4\n").unwrap();
    let mut second = Outputs::default();
    second.follow(1, EPOCH, vec![reader(&path)], Some(found.at)).unwrap();
    second.begin_to_finish(1);
    assert_eq!(second.finish(1).labels, [label(3), label(4)]);
}

#[test]
fn what_is_printed_into_an_output_stands_where_its_program_is_and_begins_no_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let mut program = File::create(&path).unwrap();
    let mut outputs = Outputs::default();
    let fds = vec![reader(&path), program.try_clone().unwrap().into()];
    outputs.follow(1, EPOCH, fds, None).unwrap();
    program.write_all(b"Epoch 1\n").unwrap();
    assert_eq!(labels(&outputs, 1), [label(1)]);
    outputs.print(1, "Predicted after Epoch 9:\n\tEpoch 8\n".to_owned()).unwrap();
    for _ in 0..100 {
        if read_to_string(&path).unwrap().contains("Epoch 8\n") {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    program.write_all(b"Epoch 2\n").unwrap();
    assert_eq!(outputs.finish(1).labels, [label(2)]);
    let text = "Epoch 1\nPredicted after Epoch 9:\n\tEpoch 8\nEpoch 2\n";
    assert_eq!(read_to_string(&path).unwrap(), text);
    // Where nobody follows, the text is given back.
    assert_eq!(outputs.print(1, "x".to_owned()), Err("x".to_owned()));
}

#[test]
fn a_pipe_that_others_hold_is_given_back_when_its_command_is_over() {
    let (ours, mut theirs) = std::io::pipe().unwrap();
    let mut outputs = Outputs::default();
    outputs.pass_on(1, EPOCH, ours.into()).unwrap();
    theirs.write_all(b"Epoch 1\nEpoch 2").unwrap();
    let (found, pipe) = outputs.drain(1);
    assert_eq!(found, [label(1), label(2)]);
    theirs.write_all(b"more").unwrap();
    drop(theirs);
    let mut rest = String::new();
    File::from(pipe.unwrap()).read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "more");
}

#[test]
fn what_is_no_file_to_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut outputs = Outputs::default();
    let mut refusal = |fds| outputs.follow(1, "E", fds, None).unwrap_err().to_string();
    assert!(refusal(Vec::new()).contains("0 file handles"));
    let (pipe, _end) = UnixStream::pair().unwrap();
    assert!(refusal(vec![OwnedFd::from(pipe)]).contains("not a regular file"));
    let path = dir.path().join("x");
    let writing = || OwnedFd::from(File::create(&path).unwrap());
    assert!(refusal(vec![writing()]).contains("for writing only"));
    assert!(refusal(vec![reader(&path), reader(&path)]).contains("for reading only"));
    let other = File::create(dir.path().join("y")).unwrap();
    assert!(refusal(vec![reader(&path), other.into()]).contains("two files"));
    assert!(refusal(vec![reader(&path), writing(), writing()]).contains("3 file handles"));
}
