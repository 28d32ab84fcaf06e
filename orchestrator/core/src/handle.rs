//! One request from beginning to end: decide, apply, settle.

use crate::{
    command::{Reply, Request},
    decide::decide,
    event::{Event, Record},
    refusal::Refusal,
    settle::settle,
    swarm::Swarm,
};

impl Swarm {
    /// Decides a request and applies what follows from it.
    ///
    /// Gives the records that happened, fleeting ones included; the shell journals the
    /// durable ones before it lets the reply out. A repeated idempotency key gets its
    /// first answer and nothing happens.
    ///
    /// # Errors
    /// The refusal; then nothing has changed.
    pub fn handle(&mut self, request: &Request) -> Result<(Vec<Record>, Reply), Refusal> {
        if let Some((_, reply)) = request.key.as_ref().and_then(|key| self.answers.get(key)) {
            return Ok((Vec::new(), reply.clone()));
        }
        let (mut events, reply) = decide(self, request)?;
        if let Some(key) = &request.key {
            events.push(Event::CommandAnswered { key: key.clone(), reply: reply.clone() });
        }
        let mut records = Vec::with_capacity(events.len());
        while !events.is_empty() {
            for event in events.drain(..) {
                let seq = self.seq + u64::from(event.is_durable());
                let record = Record { seq, at: request.now, event };
                self.apply(&record);
                records.push(record);
            }
            events = settle(self);
        }
        Ok((records, reply))
    }
}
