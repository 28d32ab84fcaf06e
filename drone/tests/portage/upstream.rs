//! The planner finds the commit of a live ebuild's upstream in a real Git repository, over every transport
//! and for every notation that ebuilds use.

use crate::lab::{Lab, packages, serve};
use std::{collections::BTreeMap, fs, path::Path, process::Command};
use swarm_common::wire::plan::PortagePackage;

fn git(dir: &Path, args: &[&str]) -> Vec<u8> {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"];
    let done = Command::new("git").arg("-C").arg(dir).args(identity).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// Makes a commit on the current branch and returns its ID.
fn commit(dir: &Path, text: &str) -> String {
    fs::write(dir.join("text"), text).unwrap();
    git(dir, &["add", "."]);
    git(dir, &["commit", "-q", "-m", text]);
    git(dir, &["update-server-info"]);
    String::from_utf8(git(dir, &["rev-parse", "HEAD"])).unwrap().trim().to_owned()
}

/// The responses of the repository's server: a smart server at `/smart.git`, plain files at `/dumb.git`. It
/// refuses the `git` program, because a base may not have it.
fn page(repository: &Path, path: &str, agent: &str) -> Option<(&'static str, Vec<u8>)> {
    if !agent.ends_with("(build-swarm)") {
        return None;
    }
    match path.split_once(".git/")? {
        ("/smart", "info/refs?service=git-upload-pack") => {
            let mut body = b"001e# service=git-upload-pack\n0000".to_vec();
            body.extend(git(repository, &["upload-pack", "--advertise-refs", "."]));
            Some(("application/x-git-upload-pack-advertisement", body))
        }
        ("/dumb", file) => {
            let file = repository.join(".git").join(file.split('?').next()?);
            Some(("text/plain", fs::read(file).ok()?))
        }
        _ => None,
    }
}

/// Adds a live ebuild with version 9999.
fn live(lab: &Lab, name: &str, lines: &str) {
    let text = format!(
        "EAPI=8\nDESCRIPTION=\"x\"\nLICENSE=MIT\nSLOT=0\nKEYWORDS=amd64\nPROPERTIES=live\nS=\"${{WORKDIR}}\"\n{lines}\n"
    );
    lab.file(&format!("app-misc/{name}/{name}-9999.ebuild"), &text);
}

#[tokio::test]
async fn a_live_ebuild_has_the_commit_of_its_upstream_however_it_names_it() {
    let lab = Lab::new();
    let repository = lab.dir.path().join("upstream");
    fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "-q"]);
    let old = commit(&repository, "one");
    git(&repository, &["tag", "-a", "v1", "-m", "v1"]);
    git(&repository, &["branch", "stable"]);
    git(&repository, &["update-server-info"]);
    let served = repository.clone();
    let http = serve(move |path, agent| page(&served, path, agent));
    let file = format!("file://{}", repository.display());

    // HEAD of the upstream, over each transport and in each notation.
    let eclass = format!(
        "EGIT_REPO_URI=\"{http}/smart.git\"\nof-upstream_src_unpack() {{ :; }}\nEXPORT_FUNCTIONS src_unpack\n"
    );
    lab.file("eclass/of-upstream.eclass", &eclass);
    let moving = [
        ("smart", format!("EGIT_REPO_URI=\"{http}/${{PN}}.git\"")),
        ("dumb", format!("EGIT_REPO_URI='{http}/dumb.git'")),
        ("local", format!("EGIT_REPO_URI={file}")),
        ("homepage", format!("HOMEPAGE=\"{http}/smart\"\nEGIT_REPO_URI=\"${{HOMEPAGE}}.git\"")),
        ("lines", format!("EGIT_REPO_URI=\"\n\t{http}/missing.git\n\t{http}/dumb.git\n\"")),
        ("array", format!("EGIT_REPO_URI=(\n\t{http}/missing.git # gone\n\t{http}/smart.git\n)")),
        ("inheriting", "inherit of-upstream".to_owned()),
        ("branch", format!("EGIT_REPO_URI={http}/smart.git\n[[ ${{PV}} == 9999 ]] && EGIT_BRANCH=main")),
        ("cloning", format!("src_unpack() {{\n\tgit -c a.b=c clone -q \\\n\t\t\"{file}\" src || die\n}}")),
        (
            "fetching",
            format!("MY=smart\nsrc_unpack() {{ git init src && git -C src fetch \"{http}/${{MY}}.git\"; }}"),
        ),
    ];
    let still = [
        ("stable", format!("EGIT_REPO_URI={http}/smart.git\nEGIT_BRANCH=stable")),
        ("tag", format!("EGIT_REPO_URI={http}/dumb.git\nEGIT_COMMIT=\"v$(ver_cut 1 1.0)\"")),
        ("exact", format!("EGIT_REPO_URI={http}/missing.git\nEGIT_COMMIT={old}")),
        ("clone-b", format!("src_unpack() {{ git clone -b stable {file} src; }}")),
    ];
    let unknown = [
        ("gone", format!("EGIT_REPO_URI={http}/missing.git")),
        ("no-branch", format!("EGIT_REPO_URI={http}/smart.git\nEGIT_BRANCH=nowhere")),
        ("subversion", "ESVN_REPO_URI=https://svn.example.org/x".to_owned()),
        ("option", "EGIT_REPO_URI=--upload-pack=touch".to_owned()),
    ];
    let all = moving.iter().chain(&still).chain(&unknown);
    all.clone().for_each(|(name, lines)| live(&lab, name, lines));
    lab.world(&all.map(|(name, _)| format!("app-misc/{name}\n")).collect::<String>());

    let commits = async || -> BTreeMap<String, Option<String>> {
        let plan = lab.plan().await;
        let live = |p: &PortagePackage| p.live.clone().map(|live| live.commit);
        packages(&plan).filter_map(|p| Some((p.cpv.pn().to_owned(), live(p)?))).collect()
    };
    let expected = |head: &str| -> BTreeMap<String, Option<String>> {
        let of = |names: &[(&'static str, String)], commit: Option<&str>| {
            let commit = commit.map(str::to_owned);
            names.iter().map(move |(name, _)| ((*name).to_owned(), commit.clone())).collect::<Vec<_>>()
        };
        [of(&moving, Some(head)), of(&still, Some(&old)), of(&unknown, None)].concat().into_iter().collect()
    };
    assert_eq!(commits().await, expected(&old));
    let new = commit(&repository, "two");
    assert_ne!(new, old);
    assert_eq!(commits().await, expected(&new));
}
