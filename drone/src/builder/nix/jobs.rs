//! Evaluation jobs: the arguments of the evaluator, and its answers.
//!
//! The evaluator may be a program that prints a line of JSON for each attribute (`builder.nix.eval_command`),
//! such as nix-eval-jobs.
//!
//! Its expression contains a set for each attribute: `a0`, `a1`, and so on. The set contains the derivation
//! under the name of the output that the attribute selects. An attribute that fails does not stop the others.

use super::{failure, sandbox::SOURCE, source::address};
use serde::{Deserialize, de::IgnoredAny};
use std::{collections::BTreeMap, ffi::OsString};
use swarm_common::wire::nix::is_store_path;
use swarm_formats::snapshot::NixSource;

/// A derivation and the output that the attribute selects if it is not `out`, or the reason why there is
/// none.
pub(super) type Answer = Result<(String, Option<String>), String>;

/// The arguments for evaluating the attributes with these paths, without options.
pub(super) fn arguments(source: &NixSource, paths: &[&str]) -> Vec<OsString> {
    let job = |(n, path): (usize, &&str)| {
        format!(
            "a{n} = let it = {}; in {{ recurseForDerivations = true; ${{output it}} = it; }};",
            select(path)
        )
    };
    let jobs: String = paths.iter().enumerate().map(job).collect();
    let output = r#"output = it: if it.type or null == "derivation" then it.outputName else throw "it evaluates to no derivation";"#;
    if source.flake {
        let selected = format!("flake: let root = flake.outputs; {output} in {{ {jobs} }}");
        return ["--flake", &address(SOURCE, source), "--select", &selected].map(OsString::from).to_vec();
    }
    let file = text(&format!("{SOURCE}/{}", source.file));
    let values = source.arguments.iter().map(|(name, value)| format!("{name} = {};", text(value)));
    let values: String = values.collect();
    let expression = format!(
        "let file = import (/. + {file}); given = builtins.intersectAttrs (builtins.functionArgs file) {{ {values} }}; \
         root = if builtins.isFunction file then file given else file; {output} in {{ {jobs} }}"
    );
    ["--expr", &expression].map(OsString::from).to_vec()
}

/// An expression for the value at an attribute path. Names in the path may be quoted.
fn select(path: &str) -> String {
    let mut selected = "root".to_owned();
    let mut rest = Some(path);
    while let Some(path) = rest {
        let (name, after) = match path.strip_prefix('"').and_then(|inner| inner.split_once('"')) {
            Some((name, after)) => (name, after.strip_prefix('.')),
            None => path.split_once('.').map_or((path, None), |(name, after)| (name, Some(after))),
        };
        selected.push_str(&format!(".{}", text(name)));
        rest = after;
    }
    selected
}

/// Parses the output of Nix's own programs: the derivations, each with the output that the attribute selects.
pub(super) fn derivations(source: &NixSource, output: &str) -> Vec<(String, Option<String>)> {
    #[derive(Deserialize)]
    struct Built {
        #[serde(rename = "drvPath")]
        derivation: String,
        #[serde(default)]
        outputs: BTreeMap<String, IgnoredAny>,
    }
    if source.flake {
        let found: Vec<Built> = serde_json::from_str(output.trim()).unwrap_or_default();
        // The outputs that would be installed: the one that the attribute selects, or the default ones.
        let named = |outputs: BTreeMap<String, IgnoredAny>| match outputs.contains_key("out") {
            true => None,
            false => outputs.into_keys().next(),
        };
        return found.into_iter().map(|built| (built.derivation, named(built.outputs))).collect();
    }
    let found = output.lines().filter(|line| line.starts_with('/'));
    found
        .map(|line| match line.split_once('!') {
            Some((derivation, output)) => (derivation.to_owned(), Some(output.to_owned())),
            None => (line.to_owned(), None),
        })
        .collect()
}

/// A string literal in the Nix language.
fn text(plain: &str) -> String {
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${"))
}

/// A line of the evaluator's output.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    attr_path: Vec<String>,
    drv_path: Option<String>,
    error: Option<String>,
}

/// The answer for each of `count` attributes; `None` if there was none.
pub(super) fn answers(output: &str, count: usize) -> Vec<Option<Answer>> {
    let mut answers = vec![None; count];
    for line in output.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        let mut path = line.attr_path.into_iter();
        let job = path.next().and_then(|name| name.strip_prefix('a')?.parse::<usize>().ok());
        let Some(answer) = job.and_then(|job| answers.get_mut(job)) else { continue };
        let found = match (line.drv_path, line.error) {
            (_, Some(error)) => Err(failure::error(&error)),
            (Some(derivation), None) if is_store_path(&derivation) && derivation.ends_with(".drv") => {
                Ok((derivation, path.next().filter(|output| output != "out")))
            }
            (derivation, None) => Err(format!("the command's answer has no derivation: {derivation:?}")),
        };
        answer.get_or_insert(found);
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_path_is_selected_by_its_names_whatever_they_are() {
        assert_eq!(select("hello"), r#"root."hello""#);
        assert_eq!(select(r#"pkgs."a.b/c".gtk+.dev"#), r#"root."pkgs"."a.b/c"."gtk+"."dev""#);
        assert_eq!(text(r#"a"\${x}"#), r#""a\"\\\${x}""#);
    }

    #[test]
    fn the_lines_are_matched_with_the_attributes_and_anything_else_is_passed_over() {
        let drv = format!("/nix/store/{}-x.drv", "0".repeat(32));
        let output = format!(
            r#"warming up
{{"attr":"a1.dev","attrPath":["a1","dev"],"drvPath":"{drv}","name":"x"}}
{{"attr":"a0","attrPath":["a0"],"error":"\u001b[31merror:\u001b[0m not this one"}}
{{"attr":"a0","attrPath":["a0","out"],"drvPath":"{drv}"}}
{{"attr":"a9","attrPath":["a9"],"drvPath":"{drv}"}}
{{"attr":"a3","attrPath":["a3"],"drvPath":"/etc/passwd"}}
{{"attr":"a4","attrPath":["a4","out"],"drvPath":"{drv}"}}"#
        );
        let answers = answers(&output, 5);
        assert_eq!(answers[0], Some(Err("not this one".into())), "the first answer counts");
        assert_eq!(answers[1], Some(Ok((drv.clone(), Some("dev".into())))));
        assert_eq!(answers[2], None);
        assert!(answers[3].as_ref().unwrap().is_err());
        assert_eq!(answers[4], Some(Ok((drv, None))));
    }
}
