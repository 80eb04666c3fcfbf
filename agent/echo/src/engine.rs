//! The shell: one socket for all targets of a family, batches out, batches in.
//!
//! It never waits and runs no task of its own. Its owner waits until [`Engine::as_fd`] is readable or [`Engine::next_expiry`]
//! is there, and calls [`Engine::receive`]. Kernel stamps make it harmless to wait a little longer than that.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use firstmile_sys::address;
use firstmile_sys::batch::{self, Inbox, Outgoing};

use crate::channel::Channel;
use crate::clock;
use crate::completion::{Completion, Ending, Request};
use crate::counters::Counters;
use crate::flights::Flights;
use crate::moment::Moment;
use crate::packet::{self, Family, REQUEST_BYTES};
use crate::reader::Reader;
use crate::rotation::Rotation;

/// Bytes read of a packet: the longest IPv4 header and our request fit; of more, the rest is not looked at.
const READ_BYTES: usize = 192;

/// How the system lets us send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A datagram socket: `net.ipv4.ping_group_range` holds our group.
    Datagram,
    /// A raw socket: we have `CAP_NET_RAW`.
    Raw,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Neither kind of socket may be opened.
    #[error(
        "cannot open an echo socket for {family:?}: net.ipv4.ping_group_range does not hold our group ({datagram}), \
         and a raw socket needs CAP_NET_RAW ({raw})"
    )]
    NeitherKind {
        /// The version of IP.
        family: Family,
        /// Why no datagram socket.
        datagram: io::Error,
        /// Why no raw socket.
        raw: io::Error,
    },
    /// The socket opened, and refused an option or the source address.
    #[error("cannot prepare the {access:?} echo socket for {family:?}")]
    Setup {
        /// The version of IP.
        family: Family,
        /// The kind of socket.
        access: Access,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What an engine is for.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The version of IP.
    pub family: Family,
    /// Probes that may be under way at once; at most 65,536.
    pub capacity: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The address to send from; `None` leaves it to the routes.
    pub source: Option<IpAddr>,
    /// The interface to send by, its name ended by a zero; `None` leaves it to the routes.
    pub interface: Option<[u8; 16]>,
    /// Octet of IPv4's type of service, or of IPv6's traffic class.
    pub traffic_class: u8,
}

/// Sends echo requests to any number of targets and tells what became of them.
#[derive(Debug)]
pub struct Engine {
    setup: Setup,
    channel: Channel,
    /// The socket of the identifier before, until the last of its probes has ended.
    retiring: Option<(Channel, Duration)>,
    rotations: u64,
    flights: Flights,
    rotation: Rotation,
    inbox: Inbox,
}

impl Engine {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`OpenError`], which says what is missing.
    pub fn open(setup: Setup) -> Result<Self, OpenError> {
        let flights = Flights::new(setup.capacity, setup.timeout);
        let channel = Channel::open(&setup, flights.capacity())?;
        let inbox = Inbox::new(READ_BYTES);
        Ok(Self {
            setup,
            channel,
            retiring: None,
            rotations: 0,
            flights,
            rotation: Rotation::default(),
            inbox,
        })
    }

    /// Sends what can be sent now, from the first on, and gives back how many that were. The others were not touched: the
    /// send buffer or the table is full.
    pub fn send(&mut self, requests: &[Request]) -> usize {
        let started = clock::read();
        let mut done = 0;
        for batch in requests.chunks(batch::MOST) {
            if done > 0 {
                self.make_room(started);
            }
            let sent = self.send_batch(batch);
            done += sent;
            if sent < batch.len() {
                break;
            }
        }
        // Most drivers stamp within the call; read now, the stamps need not wake us.
        self.read_stamps();
        done
    }

    /// Reads what waits, ends what is answered or overdue, and moves it into `finished`. `idle_since` is the moment from
    /// which the caller would have read at once (see [`Engine::now`]); `None` if it waited all along. Says whether nothing is
    /// left to read.
    ///
    /// # Errors
    /// When the socket is broken: reading fails though no ICMP error explains it.
    pub fn receive(
        &mut self,
        idle_since: Option<Moment>,
        finished: &mut Vec<Completion>,
    ) -> io::Result<bool> {
        let idle_since = idle_since.map_or(Duration::ZERO, |moment| moment.wall);
        let Self {
            channel,
            retiring,
            flights,
            inbox,
            setup,
            ..
        } = self;
        let mut reader = Reader {
            flights,
            inbox,
            family: setup.family,
            idle_since,
        };
        let mut exhausted = reader.read_all(channel)?;
        if let Some((old, _)) = retiring {
            exhausted &= reader.read_all(old)?;
        }
        let now = clock::read();
        self.flights.settle();
        // Where a flood left no time to read everything, a reply may still lie unread: wait once more as long.
        let grace = if exhausted {
            Duration::ZERO
        } else {
            self.setup.timeout
        };
        self.flights.expire(Moment {
            monotonic: now.monotonic.saturating_sub(grace),
            ..now
        });
        if self
            .retiring
            .as_ref()
            .is_some_and(|(_, until)| now.monotonic >= *until)
        {
            self.retiring = None;
        }
        let first = finished.len();
        self.flights.take_finished(finished);
        self.watch_for_wedges(finished.get(first..).unwrap_or_default(), now);
        Ok(exhausted)
    }

    /// When to call [`Self::receive`] though nothing came, by the monotonic clock of [`Self::now`].
    pub fn next_expiry(&mut self) -> Option<Duration> {
        self.flights.next_expiry()
    }

    /// The clocks of the engine.
    pub fn now() -> Moment {
        clock::read()
    }

    /// Everything that happened, counted.
    pub const fn counters(&self) -> &Counters {
        self.flights.counters()
    }

    /// Probes under way.
    pub const fn under_way(&self) -> usize {
        self.flights.under_way()
    }

    /// How the system lets us send.
    pub const fn access(&self) -> Access {
        self.channel.access
    }

    /// The identifier of the probes.
    pub const fn identifier(&self) -> u16 {
        self.channel.identifier
    }

    /// The socket of the identifier. Whoever waits for it keeps it open as long, and needs no descriptor of its own.
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        self.channel.descriptor()
    }

    /// Times that the identifier changed. With it the descriptor does: whoever waits for it has to take the new one.
    pub const fn rotations(&self) -> u64 {
        self.rotations
    }

    /// Leaves the identifier for a new one. Probes under way keep the old one. Not done while an older one still retires, nor
    /// when no new socket is to be had.
    pub fn rotate(&mut self) {
        if self.retiring.is_some() {
            return;
        }
        if let Ok(fresh) = Channel::open(&self.setup, self.flights.capacity()) {
            let old = std::mem::replace(&mut self.channel, fresh);
            self.retiring = Some((old, clock::read().monotonic + self.setup.timeout));
            self.rotations += 1;
        }
    }

    fn watch_for_wedges(&mut self, finished: &[Completion], now: Moment) {
        let mut wedged = false;
        for Completion {
            destination,
            ending,
            ..
        } in finished
        {
            match ending {
                Ending::Answered(_) => self.rotation.answered(*destination),
                Ending::Timeout => wedged |= self.rotation.lost(*destination, now.monotonic),
                Ending::Unreachable { .. } | Ending::Spoiled(_) | Ending::NotSent(_) => {}
            }
        }
        if wedged {
            self.rotate();
        }
    }

    /// Sends at most one batch; gives back how many of it were dealt with.
    fn send_batch(&mut self, requests: &[Request]) -> usize {
        let mut launches = [Launch::EMPTY; batch::MOST];
        let count = self.launch(requests, &mut launches);
        let launches = launches.get(..count).unwrap_or_default();
        let mut retried = false;
        let mut done = 0;
        while let Some(rest) = launches.get(done..).filter(|rest| !rest.is_empty()) {
            let error = match transmit(&self.channel, rest) {
                Ok(sent) => {
                    for launch in rest.iter().take(sent) {
                        self.channel.keys.sent(launch.seq);
                    }
                    done += sent;
                    retried &= sent == 0;
                    if sent == rest.len() {
                        break;
                    }
                    None
                }
                Err(error) => Some(error),
            };
            self.recover();
            match error {
                None => {}
                Some(error) if is_busy(&error) => {
                    for launch in rest {
                        self.flights.on_withdrawn(launch.seq);
                    }
                    break;
                }
                // It may have been an ICMP error about an earlier probe, which `recover` has read by now.
                Some(_) if !retried => retried = true,
                Some(error) => {
                    if let Some(failed) = rest.first() {
                        self.flights.on_not_sent(failed.seq, error);
                    }
                    done += 1;
                    retried = false;
                }
            }
        }
        done
    }

    fn launch(&mut self, requests: &[Request], launches: &mut [Launch]) -> usize {
        let now = clock::read();
        let family = self.setup.family;
        let mut count = 0;
        for (request, launch) in requests.iter().zip(launches) {
            let cookie = rand::random();
            let Ok(seq) = self.flights.launch(*request, cookie, now) else {
                break;
            };
            let bytes = packet::request(family, self.channel.identifier, seq, cookie);
            *launch = Launch {
                seq,
                destination: request.destination,
                bytes,
            };
            count += 1;
        }
        count
    }

    /// After a failed send nobody knows whether it used up a key: reads the stamps that are there, and counts anew.
    fn recover(&mut self) {
        self.read_stamps();
        self.channel.restart_keys();
    }

    /// Between batches: whoever sends everything before it reads loses the replies that find no room.
    fn make_room(&mut self, started: Moment) {
        let Self {
            channel,
            flights,
            inbox,
            setup,
            ..
        } = self;
        let mut reader = Reader {
            flights,
            inbox,
            family: setup.family,
            idle_since: started.wall,
        };
        // An error that lasts is told by the next `receive`.
        reader.read_all(channel).ok();
    }

    fn read_stamps(&mut self) {
        let Self {
            channel,
            flights,
            inbox,
            setup,
            ..
        } = self;
        Reader {
            flights,
            inbox,
            family: setup.family,
            idle_since: Duration::ZERO,
        }
        .read_errors(channel);
    }
}

impl AsFd for Engine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// A probe with its bytes.
#[derive(Clone, Copy, Debug)]
struct Launch {
    seq: u16,
    destination: IpAddr,
    bytes: [u8; REQUEST_BYTES],
}

impl Launch {
    const EMPTY: Self = Self {
        seq: 0,
        destination: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        bytes: [0; REQUEST_BYTES],
    };
}

fn transmit(channel: &Channel, launches: &[Launch]) -> io::Result<usize> {
    let mut datagrams = [Outgoing {
        bytes: &[],
        destination: None,
    }; batch::MOST];
    for (launch, datagram) in launches.iter().zip(&mut datagrams) {
        *datagram = Outgoing {
            bytes: &launch.bytes,
            destination: Some(address::of_host(launch.destination)),
        };
    }
    batch::send(
        channel.as_fd(),
        datagrams.get(..launches.len()).unwrap_or(&datagrams),
    )
}

/// Whether the send buffer, or the queue of the interface, is full.
fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32)
}
