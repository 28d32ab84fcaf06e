//! The content of plans.

use crate::lab::{Lab, dependencies, package};
use axum::http::{StatusCode, Uri};
use std::path::PathBuf;
use swarm_common::wire::{
    nix::{ContentHash, NixMachine, NixRoot},
    plan::ProblemKind,
};
use swarm_drone::{
    builder::{BuildEnd, nix::find},
    config::BuilderConfig,
};

#[tokio::test]
async fn a_plan_has_the_derivations_sources_and_edges_and_says_what_does_not_evaluate() {
    let lab = Lab::new(&["world", "multi.dev", "feature", "broken", "no-derivation", "set", "foreign"]);
    let plan = lab.plan().await;

    let names: Vec<&str> = plan.packages.iter().map(|package| package.title()).collect();
    let built = plan.packages.iter().filter(|package| package.nix().unwrap().drv.is_some()).count();
    assert_eq!(built, 18, "{names:?}");
    for source in ["seed", "note", "detail"] {
        assert!(package(&plan, source).drv.is_none(), "{source}");
        assert_eq!(package(&plan, source).outputs[0].name, "source");
    }
    assert_eq!(names.len(), 21, "{names:?}");
    assert_eq!(dependencies(&plan, "prog-2.0"), ["lib-1.0", "seed"]);
    assert_eq!(dependencies(&plan, "user-1.0"), ["multi-1.0", "seed"]);
    assert_eq!(dependencies(&plan, "noted-1.0"), ["note", "seed"]);
    assert_eq!(dependencies(&plan, "note"), ["detail"], "a source that refers to another");
    assert!(plan.edges.iter().all(|edge| edge.build && !edge.runtime));
    let outputs: Vec<&str> = package(&plan, "multi-1.0").outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(outputs, ["dev", "doc", "out"]);
    assert!(package(&plan, "fixed-1.0").fixed && !package(&plan, "lib-1.0").fixed);
    assert_eq!(package(&plan, "fixed-1.0").content_hash, Some(ContentHash::File));
    let feature = package(&plan, "feature-1.0");
    assert_eq!((feature.features.join(" ").as_str(), feature.local), ("imaginary", true));
    assert_eq!(package(&plan, "lib-1.0").system, "x86_64-linux");
    assert_eq!(package(&plan, "foreign-1.0").system, "riscv64-linux");

    let root = |attribute: &str, name: &str, output: usize| NixRoot {
        attribute: attribute.into(),
        path: package(&plan, name).outputs[output].path.clone(),
        host: false,
    };
    assert_eq!(
        plan.roots,
        [
            root("world", "world-1.0", 0),
            root("multi.dev", "multi-1.0", 0),
            root("feature", "feature-1.0", 0),
            root("foreign", "foreign-1.0", 0)
        ]
    );
    let problems: Vec<_> = plan.problems.iter().map(|problem| (problem.kind, &*problem.atoms[0])).collect();
    assert_eq!(problems, ["broken", "no-derivation", "set"].map(|atom| (ProblemKind::Evaluation, atom)));
    assert!(plan.problems[0].message.starts_with("this attribute is broken"), "{:?}", plan.problems);
    assert!(plan.problems[2].message.contains("2 derivations"), "{:?}", plan.problems);
}

#[tokio::test]
async fn a_drone_tells_the_systems_and_features_that_its_nix_builds_with() {
    let lab = Lab::new(&["foreign", "feature"]);
    let machine = |builder: &BuilderConfig| {
        let programs = find(&builder.nix).unwrap().expect("needs nix-bin");
        programs.machine(&builder.nix).unwrap()
    };
    let own = machine(&lab.config);
    assert_eq!(own.systems[0], "x86_64-linux", "{own:?}");
    assert!(own.systems.iter().any(|system| system == "i686-linux"), "{own:?}");
    assert!(own.features.iter().any(|feature| feature == "big-parallel"), "{own:?}");
    assert!(own.systems.len() <= NixMachine::MOST && own.features.len() <= NixMachine::MOST);

    let plan = lab.plan().await;
    let mut config = lab.config.clone();
    config.nix.extra_platforms = vec!["riscv64-linux".into()];
    config.nix.system_features = vec!["imaginary".into()];
    let more = machine(&config);
    assert!(more.systems.len() == own.systems.len() + 1 && more.features.len() == own.features.len() + 1);
    // The systems and features that it reports are those for which Nix builds.
    for name in ["foreign-1.0", "feature-1.0"] {
        let package = package(&plan, name);
        let builds = |machine: &NixMachine| {
            let has_all = package.features.iter().all(|feature| machine.features.contains(feature));
            machine.systems.contains(&package.system) && has_all
        };
        assert!(!builds(&own) && builds(&more), "{own:?} {more:?} {package:?}");
        let (failure, log) = lab.failure(&plan, name).await;
        // The messages of Nix 2.8 and 2.34.
        let says = ["is required to build", "Required "].iter().any(|words| failure.message.contains(words));
        assert!(says, "{failure:?} {log}");
    }
    let more = Lab { config, ..lab };
    for name in ["foreign-1.0", "feature-1.0"] {
        let (end, log, _) = more.build(package(&plan, name), Vec::new()).await;
        assert!(matches!(end, BuildEnd::Built { .. }), "{end:?} {log}");
    }
}

#[tokio::test]
async fn two_drones_with_other_directories_make_the_same_plan() {
    let (one, two) = (Lab::new(&["world"]), Lab::new(&["world"]));
    let (one, two) = tokio::join!(one.plan(), two.plan());
    assert_eq!(one, two);
}

#[tokio::test]
async fn the_arguments_of_the_profile_reach_the_expression() {
    let with = Lab::with_manifest(
        r#"{"flake": false, "file": "sub/other.nix", "attributes": ["lib"], "arguments": {"salt": "a \"b\" $c"}}"#,
    );
    with.file("source/sub/other.nix", "{ salt ? \"none\" }: import ../default.nix { inherit salt; }");
    with.file("source/default.nix", include_str!("world.nix"));
    let plan = with.plan().await;
    let drv = package(&plan, "lib-1.0").drv.clone().unwrap();
    let text = std::fs::read_to_string(with.path("cache/nix/evaluation").join(&drv[1..])).unwrap();
    assert!(text.contains(r#"("salt","a \"b\" $c")"#), "{text}");
}

#[tokio::test]
async fn what_an_upstream_cache_has_is_not_planned_and_one_that_is_away_has_nothing() {
    let lab = Lab::new(&["lib", "prog"]);
    let cache = lab.path("upstream");
    let plan = lab.plan().await;
    let lib = package(&plan, "lib-1.0");
    let (end, log, _) = lab.build(lib, Vec::new()).await;
    assert!(matches!(end, BuildEnd::Built { .. }), "{log}");
    let copied = std::process::Command::new("nix")
        .args(["--extra-experimental-features", "nix-command", "copy", "--from"])
        .arg(lab.path("cache/nix/build"))
        .args(["--to", &format!("file://{}", cache.display()), &lib.outputs[0].path])
        .env("HOME", lab.path("home"))
        .env("NIX_CONF_DIR", lab.path("cache/nix/build/configuration"))
        .status();
    assert!(copied.unwrap().success());

    // The drone's Nix trusts the cache. The orchestrator checks the signatures.
    for (url, planned, available) in [
        (serve(cache).await, 1, vec![lib.outputs[0].path.clone()]),
        ("http://127.0.0.1:1".into(), 2, Vec::new()),
    ] {
        let key = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let with = Lab::with_manifest(&format!(
            r#"{{"flake": false, "file": "default.nix", "attributes": ["lib", "prog"],
                "upstreams": [{{"url": "{url}", "keys": ["{key}"]}}]}}"#
        ));
        with.file("source/default.nix", include_str!("world.nix"));
        let plan = with.plan().await;
        let built = plan.packages.iter().filter(|package| package.nix().unwrap().drv.is_some()).count();
        assert_eq!((built, plan.roots.len(), plan.available), (planned, 2, available), "{url}");
    }
}

/// Serves the files of a folder until the test ends. Returns the URL.
async fn serve(folder: PathBuf) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let file = move |uri: Uri| {
        let file = folder.join(&uri.path()[1..]);
        async move { std::fs::read(file).map_err(|_| StatusCode::NOT_FOUND) }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(file)).await });
    url
}
