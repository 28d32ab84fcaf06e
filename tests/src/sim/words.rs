//! The same facts in other words: neither decisions nor violations may depend on wording, or on what a newer
//! version adds. A world is run with the core's own sentences, again with every sentence reworded before
//! anything reads it, and again with an unknown field in every object. The results are compared without
//! sentences.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use swarm_common::{digest::Digest, time::TimeMs};
use swarm_core::{Record, Refusal, Reply, Request, Swarm, view};

/// Fields of events, answers and concerns that contain sentences or reasons.
const SENTENCES: [&str; 8] = ["reason", "detail", "skipped", "signed_off", "what", "next", "why", "healing"];

/// The wording of a world that is compared with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// That of the core.
    Own,
    /// Completely different sentences, and sentences in place of the facts of reasons.
    Other,
    /// That of the core, with an unknown field in every object, as a newer version might write.
    Newer,
}

/// How events in a world are worded, and the digest of their content without sentences.
#[derive(Debug, Clone, Copy, Default)]
pub struct Telling(Option<(Words, Digest)>);

impl Telling {
    /// With this wording; with `None`, nothing is compared.
    #[must_use]
    pub fn new(words: Option<Words>) -> Self {
        Self(words.map(|words| (words, Digest::of(b""))))
    }

    /// Digest of the events and violations so far, if they are compared.
    #[must_use]
    pub fn facts(&self) -> Option<Digest> {
        self.0.map(|(_, facts)| facts)
    }

    /// Like [`Swarm::handle`], with this wording.
    pub(super) fn handle(
        self,
        swarm: &mut Swarm,
        request: &Request,
    ) -> Result<Result<(Vec<Record>, Reply), Refusal>, String> {
        let Some((words @ (Words::Other | Words::Newer), _)) = self.0 else {
            return Ok(swarm.handle(request));
        };
        let (records, reply) = match swarm.clone().handle(request) {
            Ok(done) => done,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let records = records.iter().enumerate().map(|(n, record)| reworded(record, words, n));
        let records = records.collect::<Result<Vec<Record>, String>>()?;
        records.iter().for_each(|record| swarm.apply(record));
        Ok(Ok((records, reworded(&reply, words, 0)?)))
    }

    pub(super) fn note_records(&mut self, records: &[Record]) -> Result<(), String> {
        self.note(|| records)
    }

    pub(super) fn note_concerns(&mut self, swarm: &Swarm, now: TimeMs) -> Result<(), String> {
        self.note(|| view::concerns(swarm, now, now, &[]))
    }

    fn note<T: Serialize>(&mut self, make_view: impl FnOnce() -> T) -> Result<(), String> {
        let Some((_, facts)) = &mut self.0 else { return Ok(()) };
        let mut value = serde_json::to_value(make_view()).map_err(|e| e.to_string())?;
        without_versions(&mut value);
        // Whether there is a sentence is a fact.
        each_sentence(&mut value, &mut |text| *text = if text.is_empty() { "" } else { "said" }.to_owned());
        *facts = Digest::of(format!("{facts}{value}").as_bytes());
        Ok(())
    }
}

/// Rewords all sentences. `n` makes the sentences of different objects differ, and within one object no two
/// are equal, so that nothing may depend on whether sentences are equal.
fn reworded<T: Serialize + DeserializeOwned>(original: &T, words: Words, n: usize) -> Result<T, String> {
    let mut value = serde_json::to_value(original).map_err(|e| e.to_string())?;
    match words {
        Words::Own => {}
        Words::Other => {
            let mark = match value.get("seq") {
                Some(seq) => format!(" ({seq} {n})"),
                None => String::new(),
            };
            each_sentence(&mut value, &mut |text| {
                if !text.is_empty() {
                    *text = text.chars().rev().chain(mark.chars()).collect();
                }
            });
        }
        Words::Newer => extend(&mut value),
    }
    serde_json::from_value(value.clone()).map_err(|e| format!("{e} in {value}"))
}

/// Adds an unknown field to every object, except to maps by ID and to variants of enums.
fn extend(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(extend);
            let is_id = |key: &String| key.bytes().skip(1).all(|b| b.is_ascii_digit());
            if map.len() > 1 && !map.keys().all(is_id) {
                map.insert("of_a_newer_version".into(), serde_json::json!({ "n": [1] }));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(extend),
        _ => {}
    }
}

/// Removes the versions of the forms of events, which depend on whether reasons are sentences.
fn without_versions(value: &mut Value) {
    for record in value.as_array_mut().into_iter().flatten() {
        if let Some(event) = record.get_mut("event").and_then(Value::as_object_mut) {
            event.remove("version");
        }
    }
}

/// Changes all sentences. A reason is changed to a sentence.
fn each_sentence(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if SENTENCES.contains(&key.as_str()) => change(text),
                    // A reason may be a sentence as well, so all its facts can be replaced by one.
                    Value::Object(reason) if reason.contains_key("cause") => {
                        let mut text = Value::Object(std::mem::take(reason)).to_string();
                        change(&mut text);
                        *value = Value::String(text);
                    }
                    other => each_sentence(other, change),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| each_sentence(value, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::{
        id::{AttemptId, DroneId},
        wire::concern::Offline,
    };
    use swarm_core::{Event, Reason};

    #[test]
    fn another_wording_is_another_event_with_the_same_facts() {
        let record = |why: &str| Record {
            seq: 1,
            at: TimeMs(5),
            event: Event::offline(DroneId(1), Offline::SignedOff(why.into())),
        };
        let other = reworded(&record("the night"), Words::Other, 0).unwrap();
        let Event::DroneWentOffline { why, .. } = &other.event else { panic!("{other:?}") };
        assert_eq!(why, &Some(Offline::SignedOff("thgin eht (1 0)".into())));
        let known = |record: Record| {
            let mut telling = Telling::new(Some(Words::Own));
            telling.note_records(&[record]).unwrap();
            telling.facts().unwrap()
        };
        assert_eq!(known(other), known(record("the night")));
        assert_ne!(known(record("")), known(record("the night")), "whether there is a reason is a fact");

        let lost = |reason| {
            let event = Event::AttemptLost { attempt: AttemptId(1), reason };
            Record { seq: 1, at: TimeMs(5), event }
        };
        let other = reworded(&lost(Reason::Silent { ms: 9 }), Words::Other, 0).unwrap();
        assert_eq!(other, lost(Reason::Text(r#"}9:"sm","tnelis":"esuac"{ (1 0)"#.into())));
        assert_eq!(known(other), known(lost(Reason::LeaseExpired)));
    }
}
