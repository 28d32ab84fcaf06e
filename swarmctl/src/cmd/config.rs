//! `config`: shows the settings of `swarmctl` and where each value comes from.

use crate::{
    config::{Origin, Setting},
    failure::Failure,
    output::{Cell, Table, text::clean},
    session::Session,
};

/// The verbs.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  swarmctl config show
  swarmctl config show --origin    with the option, variable or file that sets each value")]
pub enum Verb {
    /// Print the settings in effect; the token itself is never printed
    Show {
        /// Also print where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

/// Prints the settings.
///
/// # Errors
/// The configuration file is invalid or readable by others, or writing to stdout failed.
pub fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let Verb::Show { origin } = verb;
    let settings = session.connection.effective()?;
    session.output.show(&json(&settings), |paint| {
        let heads: &[&'static str] =
            if origin { &["SETTING", "VALUE", "ORIGIN"] } else { &["SETTING", "VALUE"] };
        let mut table = Table::new(heads);
        for Setting { name, values, origin: from } in &settings {
            let value = if values.is_empty() { "-".to_owned() } else { values.join(" ") };
            let cells = [(*name).to_owned(), clean(&value), clean(&from.to_string())];
            table.row(cells.into_iter().take(heads.len()).map(Cell::from));
        }
        table.render(paint)
    })
}

fn json(settings: &[Setting]) -> serde_json::Value {
    let one = |Setting { name, values, origin }: &Setting| {
        let from = match origin {
            Origin::Unset => None,
            from => Some(from.to_string()),
        };
        ((*name).to_owned(), serde_json::json!({ "values": values, "origin": from }))
    };
    serde_json::Value::Object(settings.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_has_no_origin() {
        let settings = [
            Setting {
                name: "orchestrator",
                values: vec!["http://nas:8100".into()],
                origin: Origin::Option("--orchestrator"),
            },
            Setting { name: "ca", values: vec![], origin: Origin::Unset },
        ];
        let expected = serde_json::json!({
            "orchestrator": { "values": ["http://nas:8100"], "origin": "--orchestrator" },
            "ca": { "values": [], "origin": null },
        });
        assert_eq!(json(&settings), expected);
    }
}
