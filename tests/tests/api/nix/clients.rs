//! What the real Nix refuses in a cache, although the cache is trusted, and what it does not check: the
//! served files are changed one by one behind the orchestrator's back.

use super::{built, key, realise, url};
use anyhow::Result;
use std::{fs, path::PathBuf};
use swarm_tests::{
    api::{
        PROFILE, Swarm, name,
        nix::{World, fields},
    },
    e2e::nginx::Nginx,
};

/// A published cache and one of its paths, with everything that clients get of it.
struct Cache {
    folder: PathBuf,
    /// Names of the path's narinfo and archive.
    narinfo: String,
    nar: String,
    text: String,
}

/// Files with new content; `None` removes a file.
type Changes = Vec<(String, Option<Vec<u8>>)>;

impl Cache {
    fn of(swarm: &Swarm, path: &str) -> Self {
        let folder = swarm.app.binhosts.stable(&name(PROFILE));
        let narinfo = format!("{}.narinfo", &path["/nix/store/".len()..][..32]);
        let text = fs::read_to_string(folder.join(&narinfo)).unwrap();
        let nar = fields(text.as_bytes())["URL"].clone();
        Self { folder, narinfo, nar, text }
    }

    fn write(&self, changes: &Changes) {
        for (file, content) in changes {
            let at = self.folder.join(file);
            // An archive is a link to the stored file, which must not change.
            let _ = fs::remove_file(&at);
            if let Some(content) = content {
                fs::write(at, content).unwrap();
            }
        }
    }

    /// The current content of the files that these changes affect.
    fn present(&self, changes: &Changes) -> Changes {
        changes.iter().map(|(file, _)| (file.clone(), fs::read(self.folder.join(file)).ok())).collect()
    }

    fn says(&self, text: String) -> Changes {
        vec![(self.narinfo.clone(), Some(text.into_bytes()))]
    }

    /// Another narinfo and no archive: Nix must refuse it because of its content.
    fn says_only(&self, text: String) -> Changes {
        [self.says(text), vec![(self.nar.clone(), None)]].concat()
    }

    fn has(&self, nar: Vec<u8>) -> Changes {
        vec![(self.nar.clone(), Some(nar))]
    }

    /// The narinfo with another value of a field.
    fn with(&self, field: &str, value: &str) -> String {
        let begin = format!("{field}: ");
        assert!(self.text.lines().any(|line| line.starts_with(&begin)), "no {field}: {}", self.text);
        let line = |line: &str| {
            if line.starts_with(&begin) { format!("{begin}{value}\n") } else { format!("{line}\n") }
        };
        self.text.lines().map(line).collect()
    }

    /// The narinfo without a field.
    fn without(&self, field: &str) -> String {
        self.text.split_inclusive('\n').filter(|line| !line.starts_with(&format!("{field}: "))).collect()
    }
}

/// Nix's messages about a missing or wrong signature.
const UNSIGNED: &[&str] =
    &["not signed by any of the keys in 'trusted-public-keys'", "lacks a signature by a trusted key"];

#[tokio::test(flavor = "multi_thread")]
async fn nix_refuses_what_is_not_as_it_was_signed_and_nothing_else() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let (url, key) = (url(&swarm), key(&swarm).await);
    let closure = world.ok("drone", "nix-store", &["-qR", &top]).await.unwrap();
    let named = |name: &str| closure.lines().find(|path| path.ends_with(name)).unwrap();
    let path = named("-prog-2.0");
    let (prog, lib, seed) =
        (Cache::of(&swarm, path), Cache::of(&swarm, named("-lib-1.0")), Cache::of(&swarm, named("-seed")));
    let archive = fs::read(prog.folder.join(&prog.nar)).unwrap();
    let own = fields(prog.text.as_bytes());
    let one_reference = own["References"].split(' ').next().unwrap();
    let zeros = format!("sha256:{}", "0".repeat(52));
    let other = fs::read(lib.folder.join(&lib.nar)).unwrap();
    let up = b"\x0d\0\0\0\0\0\0\0nix-archive-1\0\0\0";
    let second = format!("{}Sig: {}\n", prog.text, own["Sig"].replace('A', "B").replace('a', "b"));
    let info = |text: &str| vec![("nix-cache-info".to_owned(), Some(text.as_bytes().to_vec()))];

    let refused: &[(&str, Changes, &[&str])] = &[
        ("no signature", prog.says_only(prog.without("Sig")), UNSIGNED),
        (
            "another's signature",
            prog.says_only(prog.with("Sig", &fields(lib.text.as_bytes())["Sig"])),
            UNSIGNED,
        ),
        (
            "a signature of another name",
            prog.says_only(prog.with("Sig", &own["Sig"].replacen(':', "2:", 1))),
            UNSIGNED,
        ),
        ("another NarSize", prog.says_only(prog.with("NarSize", "8")), UNSIGNED),
        ("another NarHash", prog.says_only(prog.with("NarHash", &zeros)), UNSIGNED),
        ("fewer references", prog.says_only(prog.with("References", one_reference)), UNSIGNED),
        (
            "another path",
            prog.says(lib.text.clone()),
            &["is not valid", "cannot be built", "don't know how to build"],
        ),
        ("no StorePath", prog.says(prog.without("StorePath")), &["is corrupt"]),
        ("no URL", prog.says(prog.without("URL")), &["is corrupt"]),
        ("no NarHash", prog.says(prog.without("NarHash")), &["is corrupt"]),
        (
            "carriage returns",
            prog.says(prog.text.replace('\n', "\r\n")),
            &["is corrupt", "illegal character"],
        ),
        ("no last line feed", prog.says(prog.text.trim_end().to_owned()), &["is corrupt"]),
        ("cut off", prog.says(prog.text[..prog.text.len() / 2].to_owned()), &["is corrupt"]),
        ("nothing", prog.says(String::new()), &["is corrupt"]),
        ("another archive", prog.has(other), &["hash mismatch"]),
        (
            "a cut archive",
            prog.has(archive[..archive.len() - 20].to_vec()),
            &["zstd", "truncated", "unexpected end-of-file"],
        ),
        ("no archive", vec![(prog.nar.clone(), None)], &["does not exist", "404"]),
        ("rubbish", prog.has(b"rubbish".repeat(100)), &["compress", "zstd", "bad archive"]),
        ("an empty archive", prog.has(zstd::encode_all(&up[..], 3).unwrap()), &["is incomplete"]),
        ("a dependency's archive is missing", vec![(lib.nar.clone(), None)], &["does not exist", "404"]),
        (
            "a dependency is missing",
            vec![(lib.narinfo.clone(), None)],
            &["cannot be built", "don't know how to build"],
        ),
        (
            "no nix-cache-info",
            vec![("nix-cache-info".to_owned(), None)],
            &["does not appear to be a binary cache"],
        ),
        ("another store", info("StoreDir: /gnu/store\nWantMassQuery: 1\n"), &["/gnu/store"]),
    ];
    let taken: &[(&str, Changes)] = &[
        ("another FileHash", prog.says(prog.with("FileHash", &zeros))),
        ("no FileHash", prog.says(prog.without("FileHash"))),
        ("another FileSize", prog.says(prog.with("FileSize", "1"))),
        ("another Deriver", prog.says(prog.with("Deriver", "00000000000000000000000000000000-x.drv"))),
        ("a new field", prog.says(format!("{}Novelty: yes\n", prog.text))),
        ("a second signature that is wrong", prog.says(second)),
        ("a content address instead of a signature", seed.says(seed.without("Sig"))),
    ];
    let mut wrong: Vec<String> = Vec::new();
    for (what, changes, words) in refused {
        match with(&world, &prog, changes, path, &url, &key, what).await {
            Ok(_) => wrong.push(format!("{what}: it was taken")),
            Err(error) if words.iter().any(|word| error.to_string().contains(word)) => {}
            Err(error) => wrong.push(format!("{what}: {error}")),
        }
        // Unpacked files may exist, but the path must not count as valid.
        let valid = world.run(&client(what), "nix-store", &["--check-validity", path]).await.unwrap();
        assert!(!valid.status.success(), "{what}: the client has it");
    }
    for (what, changes) in taken {
        if let Err(error) = with(&world, &prog, changes, path, &url, &key, what).await {
            wrong.push(format!("{what}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(swarm.admin.audit().await.unwrap().faults.is_empty(), "all is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_a_proxy_asks_for_is_taken_from_netrc() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let (key, passwords) = (key(&swarm).await, world.path("passwords"));
    fs::write(&passwords, "ada:{PLAIN}lovelace\n").unwrap();
    let nginx = Nginx::start(|address| {
        Ok(format!(
            "server {{ listen {address}; location /binhost/ {{ proxy_pass http://{}; proxy_set_header Authorization \"\"; \
             auth_basic swarm; auth_basic_user_file {}; }} }}",
            swarm.address,
            passwords.display()
        ))
    });
    let nginx = nginx.unwrap();
    let url = format!("http://{}/binhost/{PROFILE}", nginx.address);
    let refused = realise(&world, "stranger", &top, &url, &key).await.unwrap_err().to_string();
    // The messages of Nix 2.8 and 2.26.
    let says = ["does not appear to be a binary cache", "401"].iter().any(|words| refused.contains(words));
    assert!(says, "{refused}");
    // Nix looks here if `netrc-file` is not set: beside nix.conf.
    fs::write(world.path("netrc"), "machine 127.0.0.1 login ada password lovelace\n").unwrap();
    realise(&world, "ada", &top, &url, &key).await.unwrap();
}

/// The name of a client for a case.
fn client(what: &str) -> String {
    what.replace([' ', '\''], "-")
}

/// Lets a new client fetch a path while the cache is changed.
async fn with(
    world: &World,
    cache: &Cache,
    changes: &Changes,
    path: &str,
    url: &str,
    key: &str,
    what: &str,
) -> Result<String> {
    let before = cache.present(changes);
    cache.write(changes);
    let output = realise(world, &client(what), path, url, key).await;
    cache.write(&before);
    output
}
