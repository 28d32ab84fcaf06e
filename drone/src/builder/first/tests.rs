//! Checks the headline of real logs (`corpus/*.log`: the expected headline, a line of dashes, the
//! log; `\e` stands for ESC).

use super::*;
use crate::builder::{errors::Errors, log::Log};
use crate::process::Sink as _;
use std::{fs, path::Path};
use swarm_common::state::FailureClass;

async fn headline(log: &str) -> String {
    let (notes, mut drain) = tokio::sync::mpsc::channel(64);
    let reader = tokio::spawn(async move { while drain.recv().await.is_some() {} });
    let mut sink = Log::new(notes, 1 << 20);
    sink.begin();
    assert!(sink.take(log.as_bytes()).await.is_continue());
    let failure = sink.errors.failure(FailureClass::Package, sink.phase(), 0);
    assert!(!failure.message.contains('\u{1b}'), "{failure:?}");
    drop(sink);
    reader.await.unwrap();
    failure.headline()
}

#[tokio::test]
async fn the_first_error_of_each_log_is_the_one_that_a_person_would_name() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/builder/first/corpus");
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 40, "{}", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (expected, log) = text.split_once("\n---\n").unwrap();
        let told = headline(&log.replace("\\e", "\u{1b}")).await;
        if told != expected {
            let name = file.file_name().unwrap().to_string_lossy();
            wrong.push(format!("{name}\n  expected {expected}\n  told     {told}"));
        }
    }
    assert!(wrong.is_empty(), "{} logs\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn escapes_and_what_was_overwritten_are_not_there() {
    for (line, expected) in [
        ("\u{1b}[31;01m * \u{1b}[39;49;00mfailed\u{1b}[K", " * failed"),
        ("\u{1b}]8;;file:///x\u{1b}\\x.c\u{1b}]8;;\u{1b}\\:1", "x.c:1"),
        (" 10%\r 50%\r100% done\r\n", "100% done"),
        ("a\tb\u{8}\u{7f}", "a\tb"),
        ("\u{9b}1mbold\u{1b}(B", "bold"),
        ("\u{1b}[", ""),
    ] {
        assert_eq!(plain(line), expected);
    }
}

#[test]
fn a_log_without_end_takes_no_memory() {
    let mut errors = Errors::default();
    let long = "y".repeat(2000);
    for _ in 0..3_000 {
        errors.see("No such file or directory");
        errors.see(&long);
    }
    errors.see("x.c:1:1: error: first");
    for _ in 0..3_000 {
        errors.see(&long);
    }
    assert!(errors.first().unwrap().len() <= TEXT_BYTES);
    assert!(errors.first().unwrap().starts_with("x.c:1:1: error: first\n"));
}
