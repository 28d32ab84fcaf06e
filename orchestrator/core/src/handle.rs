//! Handles one request completely: decide, apply, settle.

use crate::{
    command::Request,
    decide::decide,
    event::{Event, Record},
    refusal::Refusal,
    reply::Reply,
    settle::settle,
    state::Swarm,
};

impl Swarm {
    /// Decides a request and applies the resulting events.
    ///
    /// Returns the records, including transient ones; the shell writes the durable ones to the
    /// journal before it sends the reply. A repeated idempotency key gets its first answer and
    /// changes nothing.
    ///
    /// # Errors
    /// The refusal; the state has not changed.
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
