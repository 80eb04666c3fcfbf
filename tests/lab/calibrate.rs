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
use crate::emulator::{Behaviour, LatenessReport, Pair};
use crate::netns;

const NEAR: &str = "cal-near";
const FAR: &str = "cal-far";
const DELAY: Duration = Duration::from_millis(5);
const ECHOES: u16 = 200;
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
    })
}

/// Sends echoes and says how far their RTTs are from twice the delay.
pub(crate) fn measure(lateness: LatenessReport) -> anyhow::Result<Calibration> {
    let mut errors_us = netns::inside(NEAR, || {
        (0..ECHOES)
            .map(echo_error_us)
            .collect::<anyhow::Result<Vec<i64>>>()
    })?;
    errors_us.sort_unstable();
    ensure!(
        !errors_us.is_empty(),
        "no echo came back over the calibration link"
    );
    let quantile = |percent: usize| {
        errors_us
            .get(errors_us.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok(Calibration {
        delay_us: u64::try_from(DELAY.as_micros()).unwrap_or(u64::MAX),
        echoes: ECHOES.into(),
        error_p50_us: quantile(50),
        error_p99_us: quantile(99),
        lateness,
    })
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
    let (rtt_us, truth_us) = (rtt.as_micros(), (DELAY * 2).as_micros());
    Ok(i64::try_from(rtt_us).unwrap_or(i64::MAX) - i64::try_from(truth_us).unwrap_or(i64::MAX))
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, last)
}
