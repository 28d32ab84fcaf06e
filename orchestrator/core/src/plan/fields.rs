//! Bounds of the fields of a plan, which keys are computed from.

use swarm_common::wire::plan::{PlanPackage, PlanReport};

/// The maximum number of fields of one package, and of a plan's common settings.
const MOST_FIELDS: usize = 1000;
/// The maximum length of a field's name, in bytes.
const LONGEST_NAME: usize = 200;
/// The maximum length of a field's value, in bytes. Longer values are sent as digests.
const LONGEST_VALUE: usize = 2000;

/// Checks that a report's fields are within bounds.
///
/// # Errors
/// What is too large, in one line.
pub(super) fn check(report: &PlanReport) -> Result<(), String> {
    let packages = report.packages.iter();
    let packages = packages.filter_map(PlanPackage::portage);
    let all = packages.flat_map(|p| [(p.cpv.as_str(), &p.fields), (p.cpv.as_str(), &p.strict)]);
    for (whose, fields) in all.chain([("the plan", &report.settings)]) {
        let large =
            |(name, value): (&String, &String)| name.len() > LONGEST_NAME || value.len() > LONGEST_VALUE;
        if fields.len() > MOST_FIELDS || fields.iter().any(large) {
            return Err(format!(
                "the fields of {whose} are too many or too long; at most {MOST_FIELDS}, with names of \
                 {LONGEST_NAME} and values of {LONGEST_VALUE} bytes, are taken"
            ));
        }
    }
    Ok(())
}
