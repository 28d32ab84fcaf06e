//! The same facts in other words: nothing that is decided or found wrong may depend on how it is
//! worded. A world is run twice, once as the core words things and once with every sentence worded
//! anew before anybody reads it, and what happened is compared without its sentences.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use swarm_common::{digest::Digest, time::TimeMs};
use swarm_core::{Record, Refusal, Reply, Request, Swarm, view};

/// Fields of events, answers and concerns that hold sentences.
const SENTENCES: [&str; 8] = ["reason", "detail", "skipped", "signed_off", "what", "next", "why", "healing"];

/// In whose words a world is run that is compared with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// In those of the core.
    Own,
    /// In quite other ones.
    Other,
}

/// How what happens in a world is told, and what it comes to without its sentences.
#[derive(Debug, Clone, Copy, Default)]
pub struct Telling(Option<(Words, Digest)>);

impl Telling {
    /// In these words; nothing is compared without any.
    #[must_use]
    pub fn new(words: Option<Words>) -> Self {
        Self(words.map(|words| (words, Digest::of(b""))))
    }

    /// What has happened and what was wrong until now, if it is compared.
    #[must_use]
    pub fn facts(&self) -> Option<Digest> {
        self.0.map(|(_, facts)| facts)
    }

    /// [`Swarm::handle`], in these words.
    pub(super) fn handle(
        self,
        swarm: &mut Swarm,
        request: &Request,
    ) -> Result<Result<(Vec<Record>, Reply), Refusal>, String> {
        if !matches!(self.0, Some((Words::Other, _))) {
            return Ok(swarm.handle(request));
        }
        let (records, reply) = match swarm.clone().handle(request) {
            Ok(done) => done,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let records = records.iter().map(reworded).collect::<Result<Vec<Record>, String>>()?;
        records.iter().for_each(|record| swarm.apply(record));
        Ok(Ok((records, reworded(&reply)?)))
    }

    pub(super) fn note_records(&mut self, records: &[Record]) -> Result<(), String> {
        self.note(|| records)
    }

    pub(super) fn note_concerns(&mut self, swarm: &Swarm, now: TimeMs) -> Result<(), String> {
        self.note(|| view::concerns(swarm, now, now, &[]))
    }

    fn note<T: Serialize>(&mut self, told: impl FnOnce() -> T) -> Result<(), String> {
        let Some((_, facts)) = &mut self.0 else { return Ok(()) };
        let mut value = serde_json::to_value(told()).map_err(|e| e.to_string())?;
        // Whether there is a sentence is a fact.
        each_sentence(&mut value, &mut |text| *text = if text.is_empty() { "" } else { "said" }.to_owned());
        *facts = Digest::of(format!("{facts}{value}").as_bytes());
        Ok(())
    }
}

fn reworded<T: Serialize + DeserializeOwned>(told: &T) -> Result<T, String> {
    let mut value = serde_json::to_value(told).map_err(|e| e.to_string())?;
    each_sentence(&mut value, &mut |text| *text = text.chars().rev().collect());
    serde_json::from_value(value).map_err(|e| e.to_string())
}

fn each_sentence(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if SENTENCES.contains(&key.as_str()) => change(text),
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
    use swarm_common::{id::DroneId, wire::concern::Offline};
    use swarm_core::Event;

    #[test]
    fn another_wording_is_another_event_with_the_same_facts() {
        let record = |why: &str| Record {
            seq: 1,
            at: TimeMs(5),
            event: Event::offline(DroneId(1), Offline::SignedOff(why.into())),
        };
        let other = reworded(&record("the night")).unwrap();
        let Event::DroneWentOffline { reason, why, .. } = &other.event else { panic!("{other:?}") };
        assert_eq!(
            (reason.as_str(), why),
            ("thgin eht :ffo dengis", &Some(Offline::SignedOff("thgin eht".into())))
        );
        let known = |record: Record| {
            let mut telling = Telling::new(Some(Words::Own));
            telling.note_records(&[record]).unwrap();
            telling.facts().unwrap()
        };
        assert_eq!(known(other), known(record("the night")));
        assert_ne!(known(record("")), known(record("the night")), "whether there is a reason is a fact");
    }
}
