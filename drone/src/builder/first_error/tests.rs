//! Escape sequences, and output that never ends.

use super::*;
use crate::builder::errors::Errors;

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
    let mut errors = Errors::new(&Marks::NONE);
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
