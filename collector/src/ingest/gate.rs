//! Bounds on what agents may have in flight: bytes over all, requests of one agent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use firstmile_wire::frame::MAX_ENCODED_BYTES;
use firstmile_wire::ids::AgentId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of reports in memory, received or waiting for the disk: 128 MiB, or 32 reports of the largest size.
const MAX_KIB: usize = 128 << 10;
/// Requests of one agent at once: it sends one by one, and may have broken one connection off.
const MAX_OF_AGENT: u32 = 2;

/// Lets requests in while there is room.
#[derive(Debug)]
pub struct Gate {
    kib: Arc<Semaphore>,
    agents: Arc<Mutex<BTreeMap<AgentId, u32>>>,
}

/// Room for one request, given back when dropped.
#[derive(Debug)]
pub struct Room {
    _kib: OwnedSemaphorePermit,
    agents: Arc<Mutex<BTreeMap<AgentId, u32>>>,
    agent: AgentId,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            kib: Arc::new(Semaphore::new(MAX_KIB)),
            agents: Arc::default(),
        }
    }
}

impl Gate {
    /// Room for a body of `bytes` from `agent`; the largest is assumed where the length is not told. `None`: full.
    pub fn enter(&self, agent: AgentId, bytes: Option<usize>) -> Option<Room> {
        let kib = bytes.unwrap_or(MAX_ENCODED_BYTES).min(MAX_ENCODED_BYTES) / 1024 + 1;
        let permit = Arc::clone(&self.kib)
            .try_acquire_many_owned(u32::try_from(kib).ok()?)
            .ok()?;
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let count = agents.entry(agent).or_default();
        if *count >= MAX_OF_AGENT {
            return None;
        }
        *count += 1;
        Some(Room {
            _kib: permit,
            agents: Arc::clone(&self.agents),
            agent,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = agents.get_mut(&self.agent) {
            *count -= 1;
            if *count == 0 {
                agents.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_cannot_take_all_the_room() {
        let gate = Gate::default();
        let (one, other) = (AgentId::random(), AgentId::random());
        let held = (
            gate.enter(one, Some(10)).expect("room"),
            gate.enter(one, Some(10)).expect("room"),
        );
        assert!(gate.enter(one, Some(10)).is_none());
        assert!(gate.enter(other, Some(10)).is_some());
        drop(held);
        assert!(gate.enter(one, Some(10)).is_some());
    }

    #[test]
    fn bytes_are_bounded_whatever_length_is_claimed() {
        let gate = Gate::default();
        let rooms: Vec<_> = (0..64)
            .map_while(|_| gate.enter(AgentId::random(), None))
            .collect();
        assert_eq!(rooms.len(), 31);
        drop(rooms);
        assert!(gate.enter(AgentId::random(), Some(usize::MAX)).is_some());
    }
}
