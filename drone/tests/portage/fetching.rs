//! Reports about a source file that is missing or does not match the Manifest, from the messages of the real
//! Portage and fetcher.

use crate::lab::{Lab, order, play, serve, target};
use std::{fs, path::Path, process::Command};
use swarm_common::state::{FailureCause, FailureClass};
use swarm_drone::builder::BuildEnd;

/// The digest of a file, computed by a program of the coreutils.
fn digest(program: &str, file: &Path) -> String {
    let done = Command::new(program).arg(file).output().unwrap();
    String::from_utf8(done.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_source_that_is_gone_or_another_one_is_told_with_its_name_and_numbers() {
    let http = serve(|path, _| {
        let length = match path {
            "/shorter-1.tar" => 400,
            "/longer-1.tar" => 2000,
            "/rerolled-1.tar" => 998,
            _ => return None,
        };
        Some(("application/x-tar", vec![b'b'; length]))
    });
    let lab = Lab::new();
    let (real, other) = (lab.dir.path().join("real"), lab.dir.path().join("other"));
    fs::write(&real, vec![b'a'; 998]).unwrap();
    fs::write(&other, vec![b'b'; 998]).unwrap();
    let (blake2b, sha512) = (digest("b2sum", &real), digest("sha512sum", &real));
    let size = |got: u32| {
        format!("does not match the Manifest: Filesize does not match recorded size: got {got}, expected 998")
    };
    let digests = format!(
        "does not match the Manifest: Failed on BLAKE2B verification: got {}, expected {blake2b}",
        digest("b2sum", &other)
    );
    for (name, cause, what) in [
        ("shorter", FailureCause::SourceMismatch, size(400)),
        ("longer", FailureCause::SourceMismatch, size(2000)),
        ("rerolled", FailureCause::SourceMismatch, digests),
        ("gone", FailureCause::SourceMissing, "ERROR 404".to_owned()),
    ] {
        let ebuild = format!(
            "EAPI=8\nDESCRIPTION=x\nSLOT=0\nKEYWORDS=amd64\nRESTRICT=mirror\nS=\"${{WORKDIR}}\"\n\
             SRC_URI={http}/{name}-1.tar\n"
        );
        lab.file(&format!("app-misc/{name}/{name}-1.ebuild"), &ebuild);
        let manifest = format!("DIST {name}-1.tar 998 BLAKE2B {blake2b} SHA512 {sha512}\n");
        lab.file(&format!("app-misc/{name}/Manifest"), &manifest);
        let work = order(vec![target(&format!("app-misc/{name}-1"), "0", 1)], vec![]);
        let (end, log, _) = play(lab.context(work)).await;
        let BuildEnd::Failed { failure, .. } = end else { panic!("{name}: {end:?}\n{log}") };
        assert_eq!((failure.class, failure.cause), (FailureClass::Infra, Some(cause)), "{failure:?}\n{log}");
        for part in [&format!("{name}-1.tar"), &what, &format!("tried {http}/{name}-1.tar")] {
            assert!(failure.message.contains(part), "{name}: {part} is not in {failure:?}\n{log}");
        }
    }
}
