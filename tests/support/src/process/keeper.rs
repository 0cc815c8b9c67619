//! The thread that starts every child.
//!
//! The kernel sends a child its parent-death signal when the *thread* that started it ends. A test
//! runs in a thread of its own, and a server that several tests share must outlive it; so one thread
//! that never ends starts them all.

use std::io;
use std::process::Child;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::thread;

type Order = (Command, SyncSender<io::Result<Child>>);

/// Starts a process from the keeper's thread.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = sync_channel::<Order>(16);
        thread::Builder::new()
            .name("keeper".into())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    // Whoever asked waits for the answer.
                    let _sent = answer.send(command.spawn());
                }
            })
            .expect("a thread can be started");
        orders
    });
    let (answer, child) = sync_channel(1);
    keeper.send((command, answer)).expect("the keeper never ends");
    child.recv().expect("the keeper answers every order")
}
