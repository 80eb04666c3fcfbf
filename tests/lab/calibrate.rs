//! What the emulator itself costs: echoes over one link of known delay, stamped by the kernel when they return.

use std::io::IoSliceMut;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
    connect, recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::control::Calibration;
use crate::emulator::{Behaviour, Emulator, Pair};
use crate::netns;

const NEAR: &str = "cal-near";
const FAR: &str = "cal-far";
const DELAY: Duration = Duration::from_millis(5);
const ECHOES: u16 = 200;
/// A crossing that seems to cost more was measured on a machine that is too busy to tell.
const MOST_OWN_COST: Duration = Duration::from_micros(100);
/// Time for an echo beyond the link's own: an echo that takes longer is lost.
const PATIENCE_MS: u16 = 1_000;

/// Lays the link that is measured, apart from the network.
pub(crate) fn lay() -> anyhow::Result<Pair> {
    let interfaces = ["calx", "caly"].map(str::to_owned);
    netns::ip_batch(
        None,
        &format!(
            "netns add {NEAR}\nnetns add {FAR}\nlink add calx type veth peer name cal netns {NEAR}\n\
             link add caly type veth peer name cal netns {FAR}\nlink set calx up\nlink set caly up\n"
        ),
    )?;
    for (name, address) in [(NEAR, address(1)), (FAR, address(2))] {
        netns::inside(name, || netns::set(&[("net/ipv4/ping_group_range", "0 0")]))?;
        netns::ip_batch(
            Some(name),
            &format!("address add {address}/30 dev cal\nlink set cal up\n"),
        )?;
    }
    Ok(Pair {
        interfaces,
        behaviour: Behaviour {
            delay: DELAY,
            ..Behaviour::default()
        },
        host: None,
    })
}

/// Measures what a crossing costs, and lets the emulator take it off every delay.
pub(crate) fn allow_for_own_cost(emulator: &Emulator) -> anyhow::Result<()> {
    let errors_us = errors_us()?;
    let crossing_us = u64::try_from(quantile(&errors_us, 50) / 2).unwrap_or_default();
    emulator.allow_for(Duration::from_micros(crossing_us).min(MOST_OWN_COST));
    Ok(())
}

/// Sends echoes and says how far their RTTs are from twice the delay.
pub(crate) fn measure(emulator: &Emulator) -> anyhow::Result<Calibration> {
    let errors_us = errors_us()?;
    Ok(Calibration {
        delay_us: microseconds(DELAY),
        echoes: ECHOES.into(),
        own_cost_us: microseconds(emulator.own_cost()),
        error_p50_us: quantile(&errors_us, 50),
        error_p99_us: quantile(&errors_us, 99),
        lateness: emulator.lateness(),
    })
}

fn errors_us() -> anyhow::Result<Vec<i64>> {
    let echoes = || {
        (0..ECHOES)
            .map(echo_error_us)
            .collect::<anyhow::Result<Vec<i64>>>()
    };
    let mut errors_us = netns::inside(NEAR, echoes)?;
    errors_us.sort_unstable();
    Ok(errors_us)
}

fn quantile(sorted: &[i64], percent: usize) -> i64 {
    sorted
        .get(sorted.len() * percent / 100)
        .copied()
        .unwrap_or_default()
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn echo_error_us(sequence: u16) -> anyhow::Result<i64> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Icmp,
    )
    .context("cannot open an echo socket")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("cannot ask for timestamps")?;
    let [a, b, c, d] = address(2).octets();
    connect(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0))
        .context("cannot connect an echo socket")?;
    let [high, low] = sequence.to_be_bytes();
    // Type 8, code 0; the kernel fills in checksum and identifier (RFC 792).
    let request = [8, 0, 0, 0, 0, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0];
    let sent = clock_gettime(ClockId::CLOCK_REALTIME).context("no clock")?;
    send(socket.as_raw_fd(), &request, MsgFlags::empty()).context("cannot send an echo")?;
    let mut ready = [PollFd::new(
        std::os::fd::AsFd::as_fd(&socket),
        PollFlags::POLLIN,
    )];
    ensure!(
        poll(&mut ready, PollTimeout::from(PATIENCE_MS)).context("cannot wait")? > 0,
        "an echo got lost"
    );
    let mut buffer = [0; 64];
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::empty(),
    );
    let message = message.context("cannot take an echo")?;
    let stamp = message
        .cmsgs()
        .context("no timestamp")?
        .find_map(|control| {
            if let ControlMessageOwned::ScmTimestampns(stamp) = control {
                Some(stamp)
            } else {
                None
            }
        });
    let stamp = stamp.context("the kernel did not stamp an echo")?;
    let rtt = Duration::from(stamp).saturating_sub(Duration::from(sent));
    let signed = |duration| i64::try_from(microseconds(duration)).unwrap_or(i64::MAX);
    Ok(signed(rtt) - signed(DELAY * 2))
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, last)
}
