//! Connects the listeners of path sockets to the rounds that wait for replies.

use std::collections::HashMap;
#[cfg(any(test, target_os = "linux"))]
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
#[cfg(any(test, target_os = "linux"))]
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use super::exit::Exit;
#[cfg(target_os = "linux")]
use crate::probe::met::Rewrites;
use crate::probe::quote::Sent;
#[cfg(target_os = "linux")]
use crate::probe::quote::{self, Quoted};
use crate::probe::trace::{ProbeId, Reply};
use crate::report::counters::Counters;

/// Tokens that there are: 16 bits, without the two that no checksum is.
const TOKENS: usize = u16::MAX as usize - 1;

/// Replies that may wait for a round: more than a round has packets.
const QUEUE: usize = 1024;

/// The listeners of one means of tracing: they end together, when it is dropped, one of them ends, or the program does.
#[cfg(any(test, target_os = "linux"))]
pub(super) struct Listening(DropGuard);

#[cfg(any(test, target_os = "linux"))]
impl Listening {
    pub(super) fn new(hub: &Hub) -> Self {
        Self(hub.cancel.child_token().drop_guard())
    }

    /// Starts one of them.
    pub(super) fn spawn(
        &self,
        tasks: &TaskTracker,
        listener: impl Future<Output = ()> + Send + 'static,
    ) {
        let all = self.0.token().clone();
        tasks.spawn(async move {
            all.run_until_cancelled(listener).await;
            all.cancel();
        });
    }

    /// Ends all of them.
    #[cfg(target_os = "linux")]
    pub(super) fn end(&self) {
        self.0.token().cancel();
    }

    pub(super) fn is_whole(&self) -> bool {
        !self.0.token().is_cancelled()
    }
}

/// What a listener needs.
pub(super) struct Hub {
    pub(super) board: Arc<Switchboard>,
    pub(super) counters: Arc<Counters>,
    pub(super) tasks: TaskTracker,
    pub(super) cancel: CancellationToken,
    /// Nobody watches the rounds: what comes may lie until one of them looks.
    #[cfg_attr(windows, expect(dead_code, reason = "nothing is looked at there"))]
    pub(super) is_calm: bool,
    /// The way out that all packets take.
    pub(super) exit: Exit,
}

type Heard = (ProbeId, Reply, Instant);

struct Waiting {
    line: u64,
    id: ProbeId,
    destination: IpAddr,
    /// What the packet was when it left, where the means told.
    #[cfg_attr(windows, expect(dead_code, reason = "nothing is quoted there"))]
    sent: Option<Sent>,
    sender: mpsc::Sender<Heard>,
}

/// Connects replies to the rounds that wait for them. A token names one packet of the whole process, 16 bits of it; it
/// stays taken until its round ends, so that a late reply is never another round's.
#[derive(Default)]
pub(super) struct Switchboard {
    inner: Mutex<Board>,
}

#[derive(Default)]
struct Board {
    next_line: u64,
    next_token: u16,
    waiting: HashMap<u16, Waiting>,
}

impl Switchboard {
    fn lock(&self) -> std::sync::MutexGuard<'_, Board> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(self: &Arc<Self>, destination: IpAddr) -> Line {
        let (sender, replies) = mpsc::channel(QUEUE);
        let mut board = self.lock();
        board.next_line += 1;
        Line {
            number: board.next_line,
            destination,
            sender,
            replies,
            board: Arc::clone(self),
        }
    }

    /// Notes what the packet of a token is as it leaves, so that a quote of it can be compared.
    #[cfg(target_os = "linux")]
    pub(super) fn note_sent(&self, token: u16, sent: Sent) {
        if let Some(waiting) = self.lock().waiting.get_mut(&token) {
            waiting.sent = Some(sent);
        }
    }

    /// Passes on what an ICMP error quotes. `is_certain` says that the quote carries a secret of ours, and may be about an
    /// address that was rewritten on the way. False: nobody waits for it, or it is about another destination.
    #[cfg(target_os = "linux")]
    pub(super) fn deliver_quoted(
        &self,
        token: u16,
        quoted: &Quoted,
        is_certain: bool,
        from: IpAddr,
        reply_ttl: u8,
        at: Instant,
    ) -> bool {
        let board = self.lock();
        let Some(waiting) = board.waiting.get(&token) else {
            return false;
        };
        let sent = waiting.sent.filter(|sent| sent.protocol == quoted.protocol);
        if !is_certain && quoted.destination != waiting.destination {
            return false;
        }
        let kind = quote::role(quoted.icmp, from, waiting.destination);
        let reply = Reply {
            quoted_ttl: quoted.odd_ttl(),
            rewrites: sent.map_or_else(Rewrites::default, |sent| quoted.rewrites(&sent)),
            mpls: quoted.mpls,
            ..Reply::plain(from, kind, quoted.icmp, reply_ttl)
        };
        sent.is_some() && waiting.sender.try_send((waiting.id, reply, at)).is_ok()
    }

    /// Passes a reply on. False: nobody waits for it, or it is about another destination.
    pub(super) fn deliver(&self, token: u16, about: IpAddr, reply: Reply, at: Instant) -> bool {
        let board = self.lock();
        match board.waiting.get(&token) {
            Some(waiting) if waiting.destination == about => {
                waiting.sender.try_send((waiting.id, reply, at)).is_ok()
            }
            Some(_) | None => false,
        }
    }
}

/// One round's line; hanging up frees its tokens.
pub(super) struct Line {
    number: u64,
    destination: IpAddr,
    sender: mpsc::Sender<Heard>,
    pub(super) replies: mpsc::Receiver<Heard>,
    board: Arc<Switchboard>,
}

impl Line {
    /// Takes a free token for a packet; `None`: packets of rounds that are not over have them all.
    pub(super) fn expect(&self, id: ProbeId) -> Option<u16> {
        let mut board = self.board.lock();
        if board.waiting.len() >= TOKENS {
            return None;
        }
        // The checksum of a datagram is a token, and it can be neither of these two. Another one is free.
        while matches!(board.next_token, 0 | u16::MAX)
            || board.waiting.contains_key(&board.next_token)
        {
            board.next_token = board.next_token.wrapping_add(1);
        }
        let token = board.next_token;
        board.next_token = token.wrapping_add(1);
        let waiting = Waiting {
            line: self.number,
            id,
            destination: self.destination,
            sent: None,
            sender: self.sender.clone(),
        };
        board.waiting.insert(token, waiting);
        Some(token)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.board
            .lock()
            .waiting
            .retain(|_, waiting| waiting.line != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn who_asks_when_all_tokens_are_taken_gets_none_and_does_not_wait_for_ever() {
        let board = Arc::<Switchboard>::default();
        let destination = IpAddr::from([192, 0, 2, 1]);
        let (greedy, other) = (board.open(destination), board.open(destination));
        let taken: HashSet<u16> = (0..=u16::MAX)
            .map_while(|number| greedy.expect(ProbeId(number)))
            .collect();
        assert_eq!(taken.len(), TOKENS, "each names one packet");
        assert!(!taken.contains(&0) && !taken.contains(&u16::MAX));
        assert_eq!(other.expect(ProbeId(0)), None);
        drop(greedy);
        assert!(
            other.expect(ProbeId(0)).is_some(),
            "a round that ends frees its own"
        );
    }
}
