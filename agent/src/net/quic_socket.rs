//! The UDP socket under QUIC: an ordinary one, without segmentation offload, that notes when packets pass.
//!
//! It never fails a send: what the machine refuses is booked on the board of flights, where the probe looks for it, and is
//! lost to QUIC like any lost packet. So no error of one destination ends a socket that serves all.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::exit::Exit;
use super::tcp;
use crate::clock;
use crate::delay::Delays;
#[cfg(target_os = "linux")]
use crate::probe::Outcome;
use crate::probe::quic::Board;

/// Errors taken from the socket in a row before it is given up: on Windows each refused packet leaves one.
const MAX_ERRORS: usize = 64;

/// The socket of one family.
#[derive(Debug)]
pub(super) struct QuicSocket {
    io: UdpSocket,
    board: Mutex<Board>,
    lateness: Option<Delays>,
    /// Somebody said no to something.
    pub(super) refused: Notify,
}

/// A socket of one family on a port of its own.
fn open(ipv6: bool, exit: Exit) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if ipv6 {
        socket.set_only_v6(true)?;
    }
    tcp::want_messages(&socket, ipv6)?;
    exit.apply(&socket, ipv6)?;
    socket.bind(&SocketAddr::new(exit.local(ipv6), 0).into())?;
    Ok(socket)
}

impl QuicSocket {
    /// Opens one.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn open(ipv6: bool, exit: Exit, lateness: Option<Delays>) -> io::Result<Self> {
        Ok(Self {
            io: UdpSocket::from_std(open(ipv6, exit)?.into())?,
            board: Mutex::default(),
            lateness,
            refused: Notify::new(),
        })
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens for ICMP messages for as long as it is polled. Every probe polls one of its own: whichever wakes first
    /// reads for all.
    #[cfg(target_os = "linux")]
    pub(super) async fn listen_for_refusals(&self) -> io::Result<()> {
        use std::os::fd::AsFd;
        use tokio::io::Interest;
        loop {
            let taken = self.io.async_io(Interest::ERROR, || {
                super::error_queue::take(self.io.as_fd())
                    .ok_or_else(|| io::ErrorKind::WouldBlock.into())
            });
            let queued = taken.await?;
            let message = queued.message;
            let Some(to) = queued
                .to
                .filter(|_| message.of_datagram(Duration::ZERO).is_some())
            else {
                continue;
            };
            let why = |took| message.of_datagram(took).unwrap_or(Outcome::Unreachable);
            self.board()
                .on_refused(to, &queued.quoted, why, clock::now());
            self.refused.notify_waiters();
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) async fn listen_for_refusals(&self) -> io::Result<()> {
        std::future::pending().await
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (bytes, to) = (transmit.contents, transmit.destination);
        self.board().on_sent(bytes, clock::now());
        // The first error may be a pending one, of an earlier packet.
        let sent = match self.io.try_send_to(bytes, to) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.io.try_send_to(bytes, to)
            }
            sent => sent,
        };
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) => {
                let why = tcp::outcome_of(&error, to.ip(), Duration::ZERO);
                self.board().on_unsent(bytes, why, clock::now());
                self.refused.notify_waiters();
                Ok(())
            }
        }
    }
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let mut last = io::ErrorKind::Other.into();
        for _ in 0..MAX_ERRORS {
            ready!(self.io.poll_recv_ready(context))?;
            match self.io.try_recv_from(buffer) {
                Ok((length, from)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    let now = clock::now();
                    let delay = self.lateness.as_ref().map(|delays| delays.at(now));
                    self.board().on_received(bytes, from, now, delay);
                    *meta = RecvMeta {
                        addr: from,
                        len: length,
                        stride: length,
                        ecn: None,
                        dst_ip: None,
                    };
                    return Poll::Ready(Ok(1));
                }
                // Either nothing is there, which the next turn waits for, or an error was taken by this call.
                Err(error) => last = error,
            }
        }
        if last.kind() == io::ErrorKind::WouldBlock {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err(last))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }
}

/// Waits for room to send; each connection has one of its own.
struct Poller {
    socket: Arc<QuicSocket>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = Arc::clone(&self.socket);
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(async move { socket.io.writable().await }));
        let ready = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        Poll::Ready(ready)
    }
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}
