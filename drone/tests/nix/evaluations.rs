//! What expressions must not be able to do.

use crate::lab::{Lab, left_processes, order, package, play};
use swarm_common::wire::{drone::Work, plan::PlanReport};
use swarm_daemon::config::{Size, Span};
use swarm_drone::builder::BuildEnd;

/// Checks that the plan contains `lib` and refuses each of these attributes with a message that contains the
/// text.
fn refuses(plan: &PlanReport, refused: &[(&str, &str)]) {
    for (attribute, text) in refused {
        let found = plan.problems.iter().find(|problem| problem.atoms == [*attribute]);
        let problem = found.unwrap_or_else(|| panic!("{attribute} was evaluated: {:?}", plan.problems));
        assert!(problem.message.contains(text), "{problem:?}");
        assert!(!problem.message.contains('\u{1b}'), "{problem:?}");
    }
    assert_eq!(plan.problems.len(), refused.len());
    assert_eq!(plan.roots.iter().map(|root| root.attribute.as_str()).collect::<Vec<_>>(), ["lib"]);
}

#[tokio::test]
async fn an_expression_reads_no_file_of_the_machine_fetches_nothing_and_builds_nothing() {
    let lab = Lab::new(&["password", "fetched", "imported", "addressed", "lib"]);
    refuses(
        &lab.plan().await,
        &[
            ("password", "access to absolute path '/etc"),
            ("fetched", "'http://127.0.0.1:1/x' is forbidden in restricted mode"),
            ("imported", "import-from-derivation"),
            ("addressed", "ca-derivations"),
        ],
    );
}

#[tokio::test]
async fn an_expression_that_recurses_without_end_or_takes_all_memory_is_stopped() {
    let mut lab = Lab::new(&["endless", "large", "lib"]);
    lab.config.nix.evaluation_memory = Size::from_gib(1);
    refuses(&lab.plan().await, &[("endless", "stack overflow"), ("large", "more memory than 1024 MiB")]);
}

#[tokio::test]
async fn an_expression_that_takes_too_long_is_stopped() {
    let mut lab = Lab::new(&["slow-to-evaluate", "lib"]);
    lab.config.nix.evaluation_timeout = Span::from_secs(8);
    refuses(&lab.plan().await, &[("slow-to-evaluate", "longer than 8 s")]);
    let mut left = left_processes(&lab.config.work_dir, "slow-to-evaluate");
    // It waits for the first build of the plan.
    left.retain(|line| !line.contains("--serve"));
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn a_plan_evaluates_again_what_failed_and_a_build_takes_what_is_known() {
    let mut lab = Lab::new(&["lib", "broken"]);
    let enough = std::mem::replace(&mut lab.config.nix.evaluation_timeout, Span::from_secs(0));
    let plan = lab.plan().await;
    assert_eq!((plan.problems.len(), plan.roots.len()), (2, 0), "{:?}", plan.problems);
    assert!(plan.problems[0].message.contains("takes longer than 0 s"), "{:?}", plan.problems);

    lab.config.nix.evaluation_timeout = enough;
    refuses(&lab.plan().await, &[("broken", "this attribute is broken")]);
    let (end, log, _) = play(lab.context(Work::Plan)).await;
    let BuildEnd::Planned { plan, .. } = end else { panic!("{end:?}\n{log}") };
    refuses(&plan, &[("broken", "this attribute is broken")]);
    assert!(log.contains("1 attributes are evaluated"), "{log}");
    let (end, log, _) = play(lab.context(order(package(&plan, "lib-1.0"), Vec::new()))).await;
    assert!(matches!(end, BuildEnd::Built { .. }), "{end:?}\n{log}");
    assert!(!log.contains("attributes are evaluated"), "{log}");
}

#[tokio::test]
async fn evaluation_may_build_where_the_snapshot_allows_it() {
    let lab = Lab::with_manifest(
        r#"{"flake": false, "file": "default.nix", "attributes": ["from-file"], "import_from_derivation": true}"#,
    );
    let world = include_str!("world.nix");
    let more = "  from-file = mk \"from-${import (mk \"name-file\" \"echo '\\\"file\\\"' > $out\" { })}\" \"echo > $out\" { };\n\n  broken";
    lab.file("source/default.nix", &world.replacen("  broken", more, 1));
    let plan = lab.plan().await;
    assert_eq!(plan.problems, []);
    let names: Vec<&str> = plan.packages.iter().map(|package| package.title()).collect();
    assert_eq!(names, ["from-file", "seed"]);
}
