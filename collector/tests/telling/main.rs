//! The real program, killed: what it tells a real receiver, and what it knows of paths.

// All of this is test code; clippy allows `unwrap` in it where it is told so.
#[cfg(test)]
mod hijack;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod real;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod rig;

use receiver::{Answer, Receiver};
use rig::{Rig, now_unix_ms};

const KEY: &str = "a key that both sides know";

/// A collector that tells one webhook, soon.
#[cfg(test)]
async fn rig_with(receiver: &Receiver, more: &str) -> Rig {
    let rig = Rig::new().await;
    rig.secret("hook.key", KEY);
    rig.configure(&format!(
        "[notify]\nend_after = '1s'\n{more}\n[notify.channels.hook]\nkind = 'webhook'\nurl = '{}'\nsecret_file = 'hook.key'\n",
        receiver.url()
    ));
    rig
}

#[tokio::test]
async fn a_start_and_an_end_are_each_told_once_through_kills_and_outages() {
    let receiver = Receiver::start(KEY).await;
    let rig = rig_with(&receiver, "").await;
    let began = now_unix_ms() - 40_000;
    rig.write("failure", began, None).await;

    // The receiver is out of order: nothing is taken, and the collector is killed while it tries.
    receiver.answer(Answer::Refuse);
    let collector = rig.serve();
    receiver.until(|seen| seen.tries >= 2).await;
    collector.kill();

    // The receiver takes the message and never says so: after the next kill it comes again.
    receiver.answer(Answer::Hang);
    let collector = rig.serve();
    receiver.until(|seen| seen.hung >= 1).await;
    collector.kill();

    receiver.answer(Answer::Take);
    let collector = rig.serve();
    receiver.until(|seen| seen.taken >= 1).await;
    collector.kill();

    // It ends while nobody looks.
    rig.write("failure", began, Some(now_unix_ms())).await;
    receiver.answer(Answer::Refuse);
    let collector = rig.serve();
    let tries = receiver.seen().tries;
    receiver.until(|seen| seen.tries > tries).await;
    collector.kill();
    receiver.answer(Answer::Take);
    let collector = rig.serve();
    receiver.until(|seen| seen.phases("end") >= 1).await;
    // Another start finds nothing left to say: the outbox is empty, and all was told.
    collector.kill();
    let collector = rig.serve();
    rig.until_nothing_waits().await;
    collector.stop();

    let seen = receiver.seen();
    assert_eq!(
        (seen.phases("start"), seen.phases("end")),
        (1, 1),
        "{seen:?}"
    );
    assert_eq!(seen.forged, 0, "every request is signed, and freshly");
    assert!(
        seen.doubles >= 1,
        "what was taken without an answer came again, under the same key"
    );
    assert_eq!(seen.messages.len(), 2, "{seen:?}");
}

#[tokio::test]
async fn a_dead_channel_delays_no_other_and_its_message_waits() {
    let receiver = Receiver::start(KEY).await;
    let dead = Receiver::start(KEY).await;
    dead.answer(Answer::Hang);
    let more = format!(
        "[notify.channels.dead]\nkind = 'webhook'\nurl = '{}'\nsecret_file = 'hook.key'",
        dead.url()
    );
    let rig = rig_with(&receiver, &more).await;
    rig.write("failure", now_unix_ms() - 40_000, None).await;
    let collector = rig.serve();
    dead.until(|seen| seen.hung >= 1).await;
    // The dead one still holds its connection; only then the next incident happens.
    receiver.until(|seen| seen.taken >= 1).await;
    collector.kill();
    rig.write("second", now_unix_ms() - 40_000, None).await;
    let collector = rig.serve();
    receiver.until(|seen| seen.messages.len() >= 2).await;
    assert_eq!(dead.seen().taken, 0);
    collector.kill();
    assert_eq!(rig.waiting("dead").await, 2);
}

#[tokio::test]
async fn a_refused_message_is_a_dead_letter_and_the_next_one_goes_out() {
    let receiver = Receiver::start(KEY).await;
    let rig = rig_with(&receiver, "").await;
    receiver.answer(Answer::RefuseForGood);
    rig.write("first", now_unix_ms() - 40_000, None).await;
    let collector = rig.serve();
    receiver.until(|seen| seen.tries >= 1).await;
    rig.until_nothing_waits().await;
    collector.kill();
    receiver.answer(Answer::Take);
    rig.write("second", now_unix_ms() - 40_000, None).await;
    let collector = rig.serve();
    receiver.until(|seen| seen.taken >= 1).await;
    collector.stop();
    assert_eq!(rig.dead("hook").await, 1);
}

#[tokio::test]
async fn a_wrong_secret_would_be_seen() {
    let receiver = Receiver::start("another key").await;
    let rig = rig_with(&receiver, "").await;
    rig.write("failure", now_unix_ms() - 40_000, None).await;
    let collector = rig.serve();
    receiver.until(|seen| seen.forged >= 1).await;
    collector.kill();
    assert_eq!(receiver.seen().taken, 0);
}

#[tokio::test]
async fn the_test_command_says_of_each_channel_what_happened() {
    let receiver = Receiver::start(KEY).await;
    let more = "[notify.channels.gone]\nkind = 'syslog'\nhost = '127.0.0.1'\nport = 1";
    let rig = rig_with(&receiver, more).await;
    let (code, said) = rig.command(&["notify", "test"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("hook: 127.0.0.1"), "{said}");
    assert!(
        said.contains("gone: FAILED: cannot send syslog to 127.0.0.1:1; look whether it listens"),
        "{said}"
    );
    assert!(!said.contains(KEY));
    let (code, said) = rig.command(&["notify", "test", "hook"]).await;
    assert_eq!(code, Some(0), "{said}");
    let seen = receiver.seen();
    assert_eq!(seen.phases("test"), 2);
    assert_eq!(seen.messages.len(), 2, "each test is a message of its own");
    let (code, said) = rig.command(&["notify", "test", "pager"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("channels are: gone, hook"), "{said}");
}
