//! Checks the headlines of real logs. A file `corpus/*.log` consists of the expected headline, a line of
//! dashes, and the log; `\e` stands for ESC.

use super::*;
use crate::{
    builder::{errors::Errors, failure::of, log::Log},
    process::Sink as _,
};
use std::{fs, path::Path};
use swarm_common::state::FailureClass;

async fn headline(log: &str) -> String {
    let (notes, mut drain) = tokio::sync::mpsc::channel(64);
    let reader = tokio::spawn(async move { while drain.recv().await.is_some() {} });
    let mut sink = Log::new(notes, 1 << 20);
    sink.expect(&MARKS);
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
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/builder/portage/marks/corpus");
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 40, "{}", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (expected, log) = text.split_once("\n---\n").unwrap();
        let actual = headline(&log.replace("\\e", "\u{1b}")).await;
        if actual != expected {
            let name = file.file_name().unwrap().to_string_lossy();
            wrong.push(format!("{name}\n  expected {expected}\n  actual   {actual}"));
        }
    }
    assert!(wrong.is_empty(), "{} logs\n{}", wrong.len(), wrong.join("\n"));
}

fn seen(text: &str) -> Errors {
    let mut errors = Errors::new(&MARKS);
    text.lines().for_each(|line| errors.see(line));
    errors
}

#[test]
fn the_first_error_of_the_compiler_counts_not_the_last_words_of_portage() {
    let errors = seen(
        "cc -c x.c\nx.c: In function 'main':\nx.c:3:5: error: unknown type name 'foo'\n  3 | foo\nx.c:9:1: error: late\n * ERROR: a/b-1::r failed (compile phase):\n",
    );
    let failure = of(FailureClass::Package, Phase::Building, errors.first().unwrap().into());
    assert_eq!(failure.signature, "x.c:N:N: error: unknown type name 'foo'");
    assert!(failure.message.contains("late"));
    let failure = errors.failure(FailureClass::Package, Phase::Building, 0);
    assert_eq!(failure.class, FailureClass::Package);
    assert!(failure.message.ends_with(" * ERROR: a/b-1::r failed (compile phase):"));
}

#[test]
fn what_the_network_did_counts_until_the_build_begins() {
    for (text, class) in [
        (" * Fetch failed for 'app-misc/x-1', Log file:", FailureClass::Infra),
        ("curl: Temporary failure in name resolution", FailureClass::Infra),
        (">>> Unpacking source...\ncurl: Temporary failure in name resolution", FailureClass::Package),
    ] {
        let failure = seen(text).failure(FailureClass::Package, Phase::Building, 0);
        assert_eq!(failure.class, class, "{text}");
    }
}
