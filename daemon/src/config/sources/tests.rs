//! Tests with files and variables of their own.

use super::*;
use std::collections::BTreeMap;

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: String,
    #[serde(default)]
    list: Vec<u32>,
    #[serde(default)]
    sink: Vec<BTreeMap<String, String>>,
    #[serde(default)]
    build: Build,
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Build {
    jobs: u32,
    slots: u32,
    lease: String,
}

const RENAMED: &[&[Renamed]] =
    &[&[Renamed { section: "build", old: "lease_ms", unit: super::super::Unit::Milliseconds, new: "lease" }]];

/// A configuration in a directory of its own: `x.toml`, files of `x.conf.d`, and variables.
struct Lab {
    dir: tempfile::TempDir,
    variables: Vec<(OsString, OsString)>,
}

impl Lab {
    fn new(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("x.conf.d")).unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        Self { dir, variables: variables.iter().map(|(n, v)| (n.into(), v.into())).collect() }
    }

    fn sources(&self) -> Result<Sources, String> {
        let path = self.dir.path().join("x.toml");
        Sources::read(&path, "X__", self.variables.iter().cloned()).map_err(|e| e.to_string())
    }

    fn refusal(&self) -> String {
        let read = |sources: Sources| sources.parse::<Settings>(RENAMED).map_err(|e| e.to_string());
        let error = self.sources().and_then(read).unwrap_err();
        error.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

#[test]
fn later_files_and_then_variables_override_settings_and_add_entries() {
    let lab = Lab::new(
        &[
            (
                "x.toml",
                "listen = \"a\"\nlist = [1, 2]\n[[sink]]\nurl = \"1\"\n[build]\njobs = 1\nslots = 1\n",
            ),
            ("x.conf.d/20.toml", "list = [3]\n[build]\nslots = 3\n"),
            ("x.conf.d/10.toml", "[build]\nslots = 2\n[[sink]]\nurl = \"2\"\n"),
            ("x.conf.d/.30.toml", "listen = 1"),
            ("x.conf.d/30.toml~", "listen = 1"),
        ],
        &[("X__LISTEN", "0.0.0.0:1"), ("X__BUILD__JOBS", "7"), ("X_LISTEN", "no"), ("LISTEN", "no")],
    );
    let (settings, old) = lab.sources().unwrap().parse::<Settings>(RENAMED).unwrap();
    let sink = |url: &str| BTreeMap::from([("url".to_owned(), url.to_owned())]);
    let want = Settings {
        listen: "0.0.0.0:1".into(),
        list: vec![3],
        sink: vec![sink("1"), sink("2")],
        build: Build { jobs: 7, slots: 3, lease: String::new() },
    };
    assert_eq!((settings, old), (want, vec![]));
}

#[test]
fn a_mistake_is_reported_in_the_source_that_has_it() {
    let good = ("x.toml", "listen = \"a\"\n[build]\njobs = 1\n");
    for (text, want) in [
        ("[build]\n\nslots = \"two\"\n", "x.conf.d/10.toml:3:9: `slots` of `[build]`"),
        ("lisen = \"a\"\n", "x.conf.d/10.toml:1:1: unknown key `lisen`; did you mean `listen`?"),
        ("listen = \n", "x.conf.d/10.toml:1:10: "),
        ("[build]\nlease_ms = 1.5\n", "x.conf.d/10.toml:2:12: "),
    ] {
        let error = Lab::new(&[good, ("x.conf.d/10.toml", text)], &[]).refusal();
        assert!(error.starts_with(want), "{error}");
    }
    for (name, value, want) in [
        ("X__BUILD__SLOTS", "two", "X__BUILD__SLOTS:1:15: `slots` of `[build]`"),
        ("X__BUILD__SLOT", "2", "X__BUILD__SLOT:1:7: unknown key `slot`"),
        ("X__", "2", "the environment variable X__: it does not name a setting"),
    ] {
        let error = Lab::new(&[good, ("x.conf.d/10.toml", "")], &[(name, value)]).refusal();
        assert!(error.starts_with(want), "{error}");
    }
    assert!(Lab::new(&[("x.toml", "[build]\n")], &[]).refusal().starts_with("x.toml:1:1: missing key"));
}

#[test]
fn each_setting_is_listed_with_the_source_of_its_value() {
    let lab = Lab::new(
        &[
            ("x.toml", "listen = \"a\"\n[build]\njobs = 1\nlease_ms = 90000\n"),
            ("x.conf.d/10.toml", "\n[[sink]]\nurl = \"u\"\n[build]\njobs = 2\n"),
        ],
        &[("X__BUILD__SLOTS", "3")],
    );
    let origins = lab.sources().unwrap().origins(RENAMED).unwrap();
    let top = format!("{}/", lab.dir.path().display());
    let lines = origins.iter().map(|o| format!("{} = {} {}", o.name, o.value, o.from.replace(&top, "")));
    let want = [
        "build.jobs = 2 x.conf.d/10.toml:5",
        "build.lease = \"1m30s\" x.toml:4",
        "build.slots = 3 X__BUILD__SLOTS",
        "listen = \"a\" x.toml:1",
        "sink.0.url = \"u\" x.conf.d/10.toml:3",
    ];
    assert_eq!(lines.collect::<Vec<_>>(), want);
}
