//! Evaluation with a program that prints a line for each attribute (`builder.nix.eval_command`).

use crate::lab::{Lab, left_processes, package};
use swarm_daemon::config::{Size, Span};

/// A command that runs this script with the arguments of an evaluation.
fn command(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script, "eval-jobs", "--workers", "2"].map(str::to_owned).to_vec()
}

const JOBS: &str = include_str!("eval-jobs.sh");

#[tokio::test]
async fn a_command_that_prints_a_line_for_each_attribute_makes_the_same_plan_as_nix_itself() {
    let attributes = ["world", "multi.dev", "broken", "no-derivation", "set", "lib", "missing", "fetched"];
    let mut lab = Lab::new(&attributes);
    let plain = lab.plan().await;
    lab.config.cache_dir = lab.path("another-cache");
    lab.config.nix.eval_command = command(JOBS);
    let plan = lab.plan().await;
    assert_eq!((&plan.packages, &plan.edges, &plan.roots), (&plain.packages, &plain.edges, &plain.roots));
    let roots: Vec<&str> = plan.roots.iter().map(|root| root.attribute.as_str()).collect();
    assert_eq!(roots, ["world", "multi.dev", "lib"]);
    assert_eq!(plan.roots[1].path, package(&plan, "multi-1.0").outputs[0].path, "the output `dev`");
    for (attribute, words) in [
        ("broken", "this attribute is broken"),
        ("no-derivation", "it evaluates to no derivation"),
        ("set", "it evaluates to no derivation"),
        ("missing", "'missing' missing"),
        ("fetched", "forbidden in restricted mode"),
    ] {
        let problem = plan.problems.iter().find(|problem| problem.atoms == [attribute]).unwrap();
        assert!(problem.message.contains(words), "{problem:?}");
    }
    assert_eq!(plan.problems.len(), 5);
}

#[tokio::test]
async fn a_flake_and_a_file_with_arguments_are_evaluated_by_a_command() {
    let flake = r#"{ outputs = { self }: {
        packages.x86_64-linux."to ol" = derivation { name = "tool"; system = "x86_64-linux"; builder = "/x"; };
        nixosConfigurations.oak.config.system.build.toplevel = self.packages.x86_64-linux."to ol";
    }; }"#;
    let mut lab = Lab::with_manifest(
        r#"{"flake": true, "file": "flake.nix", "attributes": ["packages.x86_64-linux.\"to ol\""], "hosts": ["oak"]}"#,
    );
    lab.file("source/flake.nix", flake);
    lab.config.nix.eval_command = command(JOBS);
    let plan = lab.plan().await;
    assert_eq!((plan.roots.len(), plan.problems.len()), (2, 0), "{:?}", plan.problems);
    assert_eq!(plan.roots[0].path, plan.roots[1].path);

    let lab = |salt: &str| {
        Lab::with_manifest(&format!(
            r#"{{"flake": false, "file": "wor ld.nix", "attributes": ["lib"], "arguments": {{"salt": {salt:?}}}}}"#
        ))
    };
    let salt = r"a\${b}'";
    let (mut by_command, plain) = (lab(salt), lab(salt));
    by_command.config.nix.eval_command = command(JOBS);
    for lab in [&by_command, &plain] {
        lab.file("source/wor ld.nix", include_str!("world.nix"));
    }
    assert_eq!(by_command.plan().await, plain.plan().await);
}

#[tokio::test]
async fn a_command_that_hangs_or_says_nothing_of_an_attribute_is_stopped_and_told() {
    let mut lab = Lab::new(&["lib"]);
    lab.config.nix.evaluation_timeout = Span::from_secs(2);
    lab.config.nix.eval_command = command("sleep 987654");
    let plan = lab.plan().await;
    assert!(plan.problems[0].message.contains("longer than 2 s"), "{:?}", plan.problems);
    assert_eq!(left_processes(&lab.config.work_dir, "sleep 987654"), [""; 0]);

    for (script, words) in [
        ("echo no JSON", "/bin/sh answered nothing (builder.nix.eval_command)"),
        ("echo 'no such option' >&2; exit 1", "no such option"),
        ("kill -9 $$", "more memory than"),
    ] {
        // A new lab, because the evaluation would otherwise be kept.
        let mut lab = Lab::new(&["lib"]);
        lab.config.nix.eval_command = command(script);
        let plan = lab.plan().await;
        assert!(plan.problems[0].message.contains(words), "{:?}", plan.problems);
        assert!(plan.roots.is_empty());
    }
}

#[tokio::test]
async fn what_a_command_leaves_out_is_evaluated_alone() {
    let mut lab = Lab::new(&["large", "lib", "prog"]);
    lab.config.nix.evaluation_memory = Size::from_gib(1);
    // Of several attributes, only the last one is answered.
    let script = format!("{{\n{JOBS}\n}} | tail -n 1");
    lab.config.nix.eval_command = command(&script);
    let plan = lab.plan().await;
    let roots: Vec<&str> = plan.roots.iter().map(|root| root.attribute.as_str()).collect();
    assert_eq!(roots, ["lib", "prog"]);
    assert_eq!(plan.problems[0].atoms, ["large"], "{:?}", plan.problems);
}
