//! Old settings: plain numbers with their unit in the name, such as `lease_ms = 60000`. They are still read,
//! as `lease = "1m"`, and reported so that they can be rewritten.

use super::units::{Size, Span};
use std::{fmt, ops::Range, path::PathBuf};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Seconds,
    Days,
    Bytes,
    Mebibytes,
    Gibibytes,
}

/// An old setting and its replacement.
#[derive(Debug, Clone, Copy)]
pub struct Renamed {
    /// The section of both names, such as `builder.nix`; empty for the top level of the file.
    pub section: &'static str,
    /// The old name, for a plain number.
    pub old: &'static str,
    /// The unit of that number.
    pub unit: Unit,
    /// The new name, whose value is a [`Span`] or a [`Size`].
    pub new: &'static str,
}

/// An old setting in a file. [`Display`](fmt::Display) says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldForm {
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The name with its section, such as `policy.lease_ms`.
    pub name: String,
    /// The setting as written.
    pub old: String,
    /// The setting as it should be written.
    pub new: String,
}

impl fmt::Display for OldForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, old, new, .. } = self;
        write!(f, "{}:{line}: `{old}` is the old form; write `{new}`", path.display())
    }
}

/// A setting that was replaced: its position, its name with its section, and both forms.
pub(super) struct Found {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) old: String,
    pub(super) new: String,
}

/// The description and position of a mistake in an old setting.
pub(super) struct Mistake {
    pub(super) at: Range<usize>,
    pub(super) what: String,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::Days => "days",
            Self::Bytes => "bytes",
            Self::Mebibytes => "MiB",
            Self::Gibibytes => "GiB",
        }
    }

    /// The value of a new setting for this number. A number above the maximum becomes the maximum.
    fn today(self, number: u64) -> String {
        match self {
            Self::Milliseconds => Span::from_millis(number).to_string(),
            Self::Seconds => Span::from_secs(number).to_string(),
            Self::Days => Span::from_days(number).to_string(),
            Self::Bytes => Size::from_bytes(number).to_string(),
            Self::Mebibytes => Size::from_mib(number).to_string(),
            Self::Gibibytes => Size::from_gib(number).to_string(),
        }
    }

    /// The same text for equal values, so that "60s" and "1m" do not differ. An invalid text is returned
    /// unchanged.
    fn canonical(self, text: &str) -> String {
        let read = match self {
            Self::Milliseconds | Self::Seconds | Self::Days => text.parse::<Span>().map(|v| v.to_string()),
            Self::Bytes | Self::Mebibytes | Self::Gibibytes => text.parse::<Size>().map(|v| v.to_string()),
        };
        read.unwrap_or_else(|_| text.to_owned())
    }

    fn example(self) -> &'static str {
        match self {
            Self::Milliseconds | Self::Seconds => "\"90s\"",
            Self::Days => "\"7d\"",
            Self::Bytes | Self::Mebibytes | Self::Gibibytes => "\"4GiB\"",
        }
    }
}

impl Renamed {
    /// Settings of one section and unit, by their old and new names.
    #[must_use]
    pub const fn in_section<const N: usize>(
        section: &'static str,
        unit: Unit,
        names: [(&'static str, &'static str); N],
    ) -> [Self; N] {
        let mut renamed = [Self { section, old: "", unit, new: "" }; N];
        let mut at = 0;
        while at < N {
            (renamed[at].old, renamed[at].new) = names[at];
            at += 1;
        }
        renamed
    }

    /// Replaces this setting in a file, if it is there.
    pub(super) fn replace(&self, file: &mut DeTable<'_>) -> Result<Option<Found>, Mistake> {
        let Some(table) = section(file, self.section) else { return Ok(None) };
        let Some((key, value)) = table.remove_entry(self.old) else {
            self.canonicalise(table);
            return Ok(None);
        };
        let of = if self.section.is_empty() { String::new() } else { format!(" of `[{}]`", self.section) };
        let Self { old, new, unit, .. } = self;
        if table.contains_key(*new) {
            let what = format!("`{old}` and `{new}`{of} are the same setting; remove `{old}`");
            return Err(Mistake { at: key.span(), what });
        }
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let Some(number) = number else {
            let (unit, example) = (unit.name(), unit.example());
            let what = format!(
                "`{old}`{of} is a whole number of {unit}; write `{new}` instead, with a unit, such as `{new} = {example}`"
            );
            return Err(Mistake { at: value.span(), what });
        };
        let today = unit.today(number);
        let name = if self.section.is_empty() { String::new() } else { format!("{}.", self.section) };
        let found = Found {
            at: key.span().start,
            name: name + old,
            old: format!("{old} = {number}"),
            new: format!("{new} = \"{today}\""),
        };
        table.insert(
            Spanned::new(key.span(), DeString::Borrowed(new)),
            Spanned::new(value.span(), DeValue::String(today.into())),
        );
        Ok(Some(found))
    }

    fn canonicalise(&self, table: &mut DeTable<'_>) {
        if let Some(DeValue::String(text)) = table.get_mut(self.new).map(Spanned::get_mut) {
            *text = self.unit.canonical(text).into();
        }
    }
}

fn section<'t, 'i>(file: &'t mut DeTable<'i>, name: &str) -> Option<&'t mut DeTable<'i>> {
    name.split('.').filter(|part| !part.is_empty()).try_fold(file, |table, part| {
        match table.get_mut(part).map(Spanned::get_mut) {
            Some(DeValue::Table(table)) => Some(table),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigError, Program, read};
    use super::*;
    use std::path::Path;

    const PROGRAM: Program = Program { variables: "", renamed: RENAMED };

    const RENAMED: &[&[Renamed]] = &[
        &Renamed::in_section("", Unit::Seconds, [("beat_s", "beat")]),
        &Renamed::in_section("policy", Unit::Milliseconds, [("lease_ms", "lease")]),
        &Renamed::in_section("builder.nix", Unit::Gibibytes, [("max_gib", "store_max")]),
        &Renamed::in_section("log", Unit::Days, [("days_kept", "max_age")]),
        &Renamed::in_section("log", Unit::Bytes, [("file_bytes", "file_size")]),
        &Renamed::in_section("log", Unit::Mebibytes, [("room_mib", "room")]),
    ];

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct File {
        beat: Span,
        policy: Policy,
        builder: Builder,
        log: Log,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Policy {
        lease: Span,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Builder {
        nix: Nix,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Nix {
        store_max: Size,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Log {
        max_age: Span,
        file_size: Size,
        room: Size,
    }

    fn parse(text: &str) -> Result<(File, Vec<OldForm>), ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        read(&path, PROGRAM)
    }

    fn refusal(text: &str) -> String {
        let error = parse(text).unwrap_err().to_string();
        error[error.find("x.toml").unwrap()..].to_owned()
    }

    #[test]
    fn old_forms_are_read_and_named_in_their_order_with_what_to_write() {
        let (file, old) = parse(
            "beat_s = 10\n[policy]\n\nlease_ms = 60_000\n[builder.nix]\nmax_gib = 0x28\n\
             [log]\nroom_mib = 0\nfile_bytes = 16777216\ndays_kept = 30\n",
        )
        .unwrap();
        assert_eq!((file.beat, file.policy.lease), (Span::from_secs(10), Span::from_secs(60)));
        assert_eq!(file.builder.nix.store_max, Size::from_gib(40));
        assert_eq!(file.log.max_age, Span::from_days(30));
        assert_eq!((file.log.file_size, file.log.room), (Size::from_mib(16), Size::from_mib(0)));
        let found: Vec<String> =
            old.iter().map(|form| format!("{} {} {} {}", form.line, form.name, form.old, form.new)).collect();
        assert_eq!(
            found,
            [
                "1 beat_s beat_s = 10 beat = \"10s\"",
                "4 policy.lease_ms lease_ms = 60000 lease = \"1m\"",
                "6 builder.nix.max_gib max_gib = 40 store_max = \"40GiB\"",
                "8 log.room_mib room_mib = 0 room = \"0\"",
                "9 log.file_bytes file_bytes = 16777216 file_size = \"16MiB\"",
                "10 log.days_kept days_kept = 30 max_age = \"30d\"",
            ]
        );
        let shown = old[0].to_string();
        assert!(
            shown.ends_with("x.toml:1: `beat_s = 10` is the old form; write `beat = \"10s\"`"),
            "{shown}"
        );
        assert!(parse("beat = \"10s\"\n[builder.nix]\nstore_max = \"1GiB\"\n").unwrap().1.is_empty());
    }

    #[test]
    fn a_number_that_meant_forever_is_the_longest_duration() {
        let (file, _) = parse("[policy]\nlease_ms = 9223372036854775807\n").unwrap();
        assert_eq!(file.policy.lease, Span::from_days(36_525));
    }

    #[test]
    fn both_names_at_once_are_refused_with_both_names() {
        for text in [
            "[policy]\nlease = \"1m\"\nlease_ms = 60000\n",
            "[policy]\nother = 1\nlease_ms = 60000\nlease = \"1m\"\n",
        ] {
            let error = refusal(text);
            assert!(
                error.starts_with("x.toml:3:1: `lease_ms` and `lease` of `[policy]` are the same"),
                "{error}"
            );
        }
        assert!(refusal("beat_s = 1\nbeat = \"1s\"\n").contains("`beat_s` and `beat` are the same"));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place_key_and_forms() {
        for (text, want) in [
            (
                "beat_s = \"10s\"\n",
                "x.toml:1:10: `beat_s` is a whole number of seconds; write `beat` instead",
            ),
            ("[policy]\nlease_ms = -1\n", "x.toml:2:12: `lease_ms` of `[policy]` is a whole number of milli"),
            (
                "[policy]\nlease_ms = 1.5\n",
                "x.toml:2:12: `lease_ms` of `[policy]` is a whole number of milli",
            ),
            ("beat = 10\n", "x.toml:1:8: `beat`: `10` has no unit; write a duration, such as \"250ms\""),
            (
                "[policy]\nlease = \"5x\"\n",
                "x.toml:2:9: `lease` of `[policy]`: `5x` is not a duration, such as",
            ),
            (
                "[builder]\nnix = { store_max = 4 }\n",
                "x.toml:2:21: `store_max` of `[builder.nix]`: `4` has no",
            ),
            (
                "[builder.nix]\nstore_max = true\n",
                "`store_max` of `[builder.nix]`: invalid type: boolean `true`",
            ),
            ("[builder.nix]\nstore_max = \"4G\"\n", "`4G` is not a size, such as \"100KiB\", \"512MiB\""),
            ("[policy]\nleas_ms = 5\n", "x.toml:2:1: unknown key `leas_ms`; did you mean `lease`?"),
        ] {
            let error = refusal(text);
            assert!(error.contains(want), "{text}: {error}");
        }
        // 0 is the same in every unit.
        assert_eq!(parse("beat = 0\n").unwrap().0.beat, Span::default());
    }

    #[test]
    fn a_reload_does_not_take_a_new_form_for_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            super::super::changes::RawConfig::load(Path::new(&path), PROGRAM).unwrap()
        };
        let old = written("old", "[policy]\nlease_ms = 60000\n[log]\ndays_kept = 1\n");
        let new = written("new", "[policy]\nlease = \"60s\"\n[log]\nmax_age = \"48h\"\n");
        assert_eq!(old.changes(&new).into_iter().collect::<Vec<_>>(), ["log.max_age"]);
    }
}
