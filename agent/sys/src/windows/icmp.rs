//! ICMP echo without rights (`IcmpSendEcho2Ex`, `Icmp6SendEcho2`): Windows itself matches replies to requests.
//!
//! The interface gives whole milliseconds, so the performance counter is read around it: before the request is handed over,
//! and by the thread of the system's pool that is woken by the reply, so that a busy runtime is not in the figure.

use std::ffi::c_void;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, GetLastError, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY_LH, IP_OPTION_INFORMATION, Icmp6CreateFile,
    Icmp6ParseReplies, Icmp6SendEcho2, IcmpCloseHandle, IcmpCreateFile, IcmpParseReplies,
    IcmpSendEcho2Ex,
};
use windows_sys::Win32::System::Threading::{
    CloseThreadpoolWait, CreateEventW, CreateThreadpoolWait, PTP_CALLBACK_INSTANCE, PTP_WAIT,
    SetThreadpoolWait, WaitForThreadpoolWaitCallbacks,
};

use super::clock::Ticks;
use super::{last_error, sockaddr_v6};

/// Room for a reply: its header, the payload that comes back, an ICMP error, and what the system writes behind it.
const REPLY_WORDS: usize = 128;

/// That room in bytes.
const ROOM: u32 = 1024;
const _: () = assert!(ROOM as usize == REPLY_WORDS * size_of::<u64>());

/// Longest payload: with the header it leaves room in the reply.
pub const MAX_PAYLOAD: usize = 256;

/// The door through which requests of one family go.
#[derive(Clone, Debug)]
pub struct Echo {
    door: Arc<Door>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it goes; of the family of the door.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: &'a [u8],
    /// After that long it is lost; the system rounds up to its own timer.
    pub timeout: Duration,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Who answered; `None`: nobody did.
    pub from: Option<IpAddr>,
    /// `IP_STATUS`: 0 is an answer; see [`Status`].
    pub status: Status,
    /// From handing over the request to hearing of the reply.
    pub elapsed: Duration,
    /// TTL of the reply, 0 when unknown (IPv6).
    pub reply_ttl: u8,
    /// Whether the payload came back as it was sent; true for whatever brings none back.
    pub payload_intact: bool,
}

/// The meaning of `IP_STATUS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The destination answered.
    Answered,
    /// Nobody answered in time.
    TimedOut,
    /// The TTL ran out at a router.
    TimeExceeded,
    /// A router or the destination says that it cannot be reached: ICMP type and code, `type * 256 + code`.
    Unreachable(u16),
    /// A router or firewall says that the packet is not let through.
    Prohibited,
    /// This machine has no route, or no address of the family.
    NoRoute,
    /// Anything else, by its number.
    Other(u32),
}

#[derive(Debug)]
struct Door {
    handle: HANDLE,
    ipv6: bool,
}

#[expect(unsafe_code, reason = "a handle is a number of the kernel's")]
// SAFETY: the handle may be used by any thread, and the calls on it at the same time.
unsafe impl Send for Door {}
#[expect(unsafe_code, reason = "a handle is a number of the kernel's")]
// SAFETY: as above.
unsafe impl Sync for Door {}

impl Drop for Door {
    #[expect(unsafe_code, reason = "closes the handle")]
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and each request under way holds the door, so that none is.
        unsafe { IcmpCloseHandle(self.handle) };
    }
}

type Done = Box<dyn FnOnce(Completion) + Send>;

/// A request under way: what the system writes to and reads from, at a place that does not move.
struct Flight {
    door: Arc<Door>,
    event: OwnedHandle,
    reply: [u64; REPLY_WORDS],
    payload: Vec<u8>,
    sent_at: Ticks,
    done: Option<Done>,
}

impl Echo {
    /// Opens the door of a family. It wants no rights.
    ///
    /// # Errors
    /// What Windows says: the network is not up yet, or there is no such family.
    #[expect(unsafe_code, reason = "IcmpCreateFile gives a handle")]
    pub fn open(ipv6: bool) -> io::Result<Self> {
        // SAFETY: takes nothing; the handle becomes the door's.
        let handle = unsafe {
            if ipv6 {
                Icmp6CreateFile()
            } else {
                IcmpCreateFile()
            }
        };
        if handle == INVALID_HANDLE_VALUE || handle.is_null() {
            return Err(last_error());
        }
        Ok(Self {
            door: Arc::new(Door { handle, ipv6 }),
        })
    }

    /// Sends a request; `done` is called once, by a thread of the system's pool, when it was answered or given up. It must
    /// not wait and must not panic.
    ///
    /// # Errors
    /// `InvalidInput` for the wrong family or too long a payload; else what Windows says. `done` is not called then.
    pub fn send(
        &self,
        request: &Request<'_>,
        done: impl FnOnce(Completion) + Send + 'static,
    ) -> io::Result<()> {
        let ipv6 = request.destination.is_ipv6();
        if ipv6 != self.door.ipv6 || request.payload.len() > MAX_PAYLOAD {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flight = Box::new(Flight {
            door: Arc::clone(&self.door),
            event: event()?,
            reply: [0; REPLY_WORDS],
            payload: request.payload.to_vec(),
            sent_at: Ticks::now(),
            done: Some(Box::new(done)),
        });
        if super::wine::runs_here() {
            send_and_wait(flight, request)
        } else {
            send_and_return(flight, request)
        }
    }
}

/// The system's pool waits for the reply.
#[expect(
    unsafe_code,
    reason = "hands buffers to the system until it has answered"
)]
fn send_and_return(flight: Box<Flight>, request: &Request<'_>) -> io::Result<()> {
    let event = flight.event.as_raw_handle();
    let flight = Box::into_raw(flight);
    // SAFETY: `flight` is ours until `land` has it, which is when the event is signalled: after the request was taken. If it
    // was not taken the wait is called off first, and then the flight is ours alone again.
    unsafe {
        let wait = CreateThreadpoolWait(Some(land), flight.cast(), null());
        if wait == 0 {
            let error = last_error();
            drop(Box::from_raw(flight));
            return Err(error);
        }
        SetThreadpoolWait(wait, event, null());
        let launched = launch(flight, event, request);
        if launched.is_err() {
            SetThreadpoolWait(wait, null_mut(), null());
            WaitForThreadpoolWaitCallbacks(wait, 1);
            CloseThreadpoolWait(wait);
            drop(Box::from_raw(flight));
        }
        launched
    }
}

/// A thread of its own waits for the reply: wine 8 writes to the stack of a caller that did not wait.
#[expect(
    unsafe_code,
    reason = "hands buffers to the system until it has answered"
)]
fn send_and_wait(flight: Box<Flight>, request: &Request<'_>) -> io::Result<()> {
    let payload = request.payload.to_vec();
    let (destination, ttl, timeout) = (request.destination, request.ttl, request.timeout);
    std::thread::Builder::new().spawn(move || {
        let mut flight = flight;
        let request = Request {
            destination,
            ttl,
            payload: &payload,
            timeout,
        };
        // SAFETY: without an event the call returns when the request is over.
        match unsafe { launch(&raw mut *flight, null_mut(), &request) } {
            Ok(()) => flight.finish(Ticks::now(), Parsed::Already),
            Err(error) => flight.fail(error.raw_os_error().unwrap_or(0).cast_unsigned()),
        }
    })?;
    Ok(())
}

/// An event without a name.
#[expect(unsafe_code, reason = "CreateEventW gives a handle")]
fn event() -> io::Result<OwnedHandle> {
    // SAFETY: no attributes and no name; the handle becomes the caller's.
    unsafe {
        let event = CreateEventW(null(), 0, 0, null());
        if event.is_null() {
            return Err(last_error());
        }
        Ok(OwnedHandle::from_raw_handle(event))
    }
}

/// Hands the request over.
///
/// # Safety
/// `flight` is valid until `event` is signalled, or until this fails; without an event, until this returns.
#[expect(
    unsafe_code,
    reason = "hands buffers to the system until it has answered"
)]
unsafe fn launch(flight: *mut Flight, event: HANDLE, request: &Request<'_>) -> io::Result<()> {
    let options = IP_OPTION_INFORMATION {
        Ttl: request.ttl,
        ..IP_OPTION_INFORMATION::default()
    };
    let timeout_ms = u32::try_from(request.timeout.as_millis())
        .unwrap_or(u32::MAX)
        .max(1);
    // SAFETY: the caller's promise; addresses and options are copied during the call, buffer and payload are the flight's.
    let replies = unsafe {
        let of = &raw const (*flight).door;
        let door = (&*of).handle;
        let buffer: *mut c_void = (&raw mut (*flight).reply).cast();
        let kept = &raw const (*flight).payload;
        let kept = &*kept;
        let payload: *const c_void = kept.as_ptr().cast();
        let length = u16::try_from(kept.len()).map_err(io::Error::other)?;
        (*flight).sent_at = Ticks::now();
        match request.destination {
            IpAddr::V4(to) => IcmpSendEcho2Ex(
                door,
                event,
                None,
                null(),
                0,
                u32::from_ne_bytes(to.octets()),
                payload,
                length,
                &raw const options,
                buffer,
                ROOM,
                timeout_ms,
            ),
            IpAddr::V6(to) => {
                let from = sockaddr_v6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
                let to = sockaddr_v6(SocketAddrV6::new(to, 0, 0, 0));
                Icmp6SendEcho2(
                    door,
                    event,
                    None,
                    null(),
                    &raw const from,
                    &raw const to,
                    payload,
                    length,
                    &raw const options,
                    buffer,
                    ROOM,
                    timeout_ms,
                )
            }
        }
    };
    // SAFETY: takes nothing.
    let error = unsafe { GetLastError() };
    // With an event the call returns at once; the documents allow both ways of saying so.
    if replies != 0 || error == ERROR_IO_PENDING {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error.cast_signed()))
    }
}

/// Runs in the system's pool when the event of a flight is signalled.
#[expect(unsafe_code, reason = "takes the flight back from the system")]
unsafe extern "system" fn land(
    _: PTP_CALLBACK_INSTANCE,
    flight: *mut c_void,
    wait: PTP_WAIT,
    _: u32,
) {
    let heard_at = Ticks::now();
    // SAFETY: the pointer is the one of `send`, which has let go of it; the wait fires once and is closed by nobody else.
    let flight = unsafe {
        CloseThreadpoolWait(wait);
        Box::from_raw(flight.cast::<Flight>())
    };
    flight.finish(heard_at, Parsed::NotYet);
}

/// Whether the system has put the buffer into its final form: a call that waits has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parsed {
    Already,
    NotYet,
}

/// In its box throughout: the reply points into itself.
impl Flight {
    fn finish(mut self: Box<Self>, heard_at: Ticks, parsed: Parsed) {
        let elapsed = heard_at.since(self.sent_at);
        let completion = if self.door.ipv6 {
            read_v6(&mut self, elapsed, parsed)
        } else {
            read_v4(&mut self, elapsed, parsed)
        };
        self.tell(completion);
    }

    fn fail(mut self: Box<Self>, error: u32) {
        let (elapsed, ipv6) = (Ticks::now().since(self.sent_at), self.door.ipv6);
        self.tell(nobody(error, elapsed, ipv6));
    }

    fn tell(&mut self, completion: Completion) {
        if let Some(done) = self.done.take() {
            done(completion);
        }
    }
}

/// No reply at all: `error` says why.
fn nobody(error: u32, elapsed: Duration, ipv6: bool) -> Completion {
    let status = Status::of(error, ipv6);
    Completion {
        from: None,
        status: if status == Status::Answered {
            Status::Other(error)
        } else {
            status
        },
        elapsed,
        reply_ttl: 0,
        payload_intact: true,
    }
}

#[expect(unsafe_code, reason = "the system wrote a C struct into the buffer")]
fn read_v4(flight: &mut Flight, elapsed: Duration, parsed: Parsed) -> Completion {
    // SAFETY: the request is over, so nobody else writes to the buffer; it is aligned for the struct and longer than it.
    let (reply, buffer) = unsafe {
        let buffer: *mut c_void = flight.reply.as_mut_ptr().cast();
        if parsed == Parsed::NotYet && IcmpParseReplies(buffer, ROOM) == 0 {
            return nobody(GetLastError(), elapsed, false);
        }
        (buffer.cast::<ICMP_ECHO_REPLY>().read(), buffer)
    };
    let offset = (reply.Data as usize).wrapping_sub(buffer as usize);
    let status = Status::of(reply.Status, false);
    Completion {
        from: Some(Ipv4Addr::from(reply.Address.to_ne_bytes()).into()),
        status,
        elapsed,
        reply_ttl: reply.Options.Ttl,
        payload_intact: status != Status::Answered
            || bytes(&flight.reply).get(offset..offset.wrapping_add(usize::from(reply.DataSize)))
                == Some(&flight.payload),
    }
}

#[expect(unsafe_code, reason = "the system wrote a C struct into the buffer")]
fn read_v6(flight: &mut Flight, elapsed: Duration, parsed: Parsed) -> Completion {
    // SAFETY: as in `read_v4`.
    let reply = unsafe {
        let buffer: *mut c_void = flight.reply.as_mut_ptr().cast();
        if parsed == Parsed::NotYet && Icmp6ParseReplies(buffer, ROOM) == 0 {
            return nobody(GetLastError(), elapsed, true);
        }
        buffer.cast::<ICMPV6_ECHO_REPLY_LH>().read()
    };
    let address = reply.Address.sin6_addr; // a copy: the struct is packed
    let status = Status::of(reply.Status, true);
    let data = size_of::<ICMPV6_ECHO_REPLY_LH>();
    Completion {
        from: Some(Ipv6Addr::from(address.map(u16::from_be)).into()),
        status,
        elapsed,
        reply_ttl: 0,
        payload_intact: status != Status::Answered
            || bytes(&flight.reply).get(data..data + flight.payload.len()) == Some(&flight.payload),
    }
}

fn bytes(words: &[u64; REPLY_WORDS]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

impl Status {
    /// `IP_STATUS` (ipexport.h). Those of the two families that share a number mean the same, but for 11004.
    const fn of(status: u32, ipv6: bool) -> Self {
        const UNREACHABLE_V4: u16 = 3 << 8; // RFC 792
        const UNREACHABLE_V6: u16 = 1 << 8; // RFC 4443 §3.1
        match (status, ipv6) {
            (0, _) => Self::Answered,
            (11_010 | 1_460, _) => Self::TimedOut, // IP_REQ_TIMED_OUT, ERROR_TIMEOUT
            (11_013 | 11_041, _) => Self::TimeExceeded, // IP_TTL_EXPIRED_TRANSIT, IP_TIME_EXCEEDED
            (11_002, false) => Self::Unreachable(UNREACHABLE_V4), // net
            (11_003, false) => Self::Unreachable(UNREACHABLE_V4 | 1), // host
            (11_004, false) => Self::Unreachable(UNREACHABLE_V4 | 2), // protocol
            (11_005, false) => Self::Unreachable(UNREACHABLE_V4 | 3), // port
            (11_002 | 11_040, true) => Self::Unreachable(UNREACHABLE_V6), // no route
            (11_003, true) => Self::Unreachable(UNREACHABLE_V6 | 3), // address
            (11_005, true) => Self::Unreachable(UNREACHABLE_V6 | 4), // port
            (11_004, true) => Self::Prohibited,
            // ERROR_NETWORK_UNREACHABLE, ERROR_HOST_UNREACHABLE, WSAENETUNREACH, WSAEHOSTUNREACH, IP_BAD_ROUTE,
            // IP_BAD_DESTINATION: said by this machine.
            (1_231 | 1_232 | 10_051 | 10_065 | 11_012 | 11_018, _) => Self::NoRoute,
            (other, _) => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn ask(destination: IpAddr, payload: &[u8]) -> Completion {
        let echo = Echo::open(destination.is_ipv6()).expect("a door");
        let (done, completion) = mpsc::channel();
        let request = Request {
            destination,
            ttl: 64,
            payload,
            timeout: Duration::from_secs(2),
        };
        echo.send(&request, move |completion| {
            done.send(completion).expect("waited for");
        })
        .expect("sent");
        drop(echo); // the request holds the door open
        completion
            .recv_timeout(PATIENCE)
            .expect("each request ends")
    }

    #[test]
    fn loopback_answers_with_the_payload() {
        let destination = IpAddr::from([127, 0, 0, 1]);
        for payload in [&b""[..], b"firstmile", &[7; MAX_PAYLOAD]] {
            let completion = ask(destination, payload);
            assert_eq!(completion.status, Status::Answered, "{completion:?}");
            assert_eq!(completion.from, Some(destination));
            assert!(completion.payload_intact, "{completion:?}");
            assert!(completion.elapsed < PATIENCE);
        }
    }

    #[test]
    fn many_requests_at_once_are_each_answered_once() {
        let echo = Echo::open(false).expect("a door");
        let (done, completions) = mpsc::channel();
        for number in 0_u8..100 {
            let done = done.clone();
            let request = Request {
                destination: IpAddr::from([127, 0, 0, 1]),
                ttl: 64,
                payload: &[number; 32],
                timeout: Duration::from_secs(5),
            };
            let tell = move |completion| done.send((number, completion)).expect("waited for");
            echo.send(&request, tell).expect("sent");
        }
        drop(done);
        let mut answered: Vec<u8> = completions
            .iter()
            .filter(|(_, one)| one.status == Status::Answered && one.payload_intact)
            .map(|(number, _)| number)
            .collect();
        answered.sort_unstable();
        assert_eq!(answered, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let echo = Echo::open(false).expect("a door");
        let mut request = Request {
            destination: IpAddr::from(Ipv6Addr::LOCALHOST),
            ttl: 64,
            payload: &[0; MAX_PAYLOAD + 1],
            timeout: Duration::from_secs(1),
        };
        assert!(echo.send(&request, |_| {}).is_err());
        request.destination = IpAddr::from([127, 0, 0, 1]);
        assert!(echo.send(&request, |_| {}).is_err());
    }

    #[test]
    fn the_numbers_of_windows_keep_their_meaning() {
        for (status, ipv6, want) in [
            (0, false, Status::Answered),
            (11_010, true, Status::TimedOut),
            (11_013, false, Status::TimeExceeded),
            (11_041, true, Status::TimeExceeded),
            (11_003, false, Status::Unreachable(0x0301)),
            (11_004, false, Status::Unreachable(0x0302)),
            (11_004, true, Status::Prohibited),
            (1_231, false, Status::NoRoute),
            (11_050, false, Status::Other(11_050)),
        ] {
            assert_eq!(Status::of(status, ipv6), want, "{status}");
        }
    }
}
