//! Faults that a test cannot bring about in the kernel: a library, preloaded into the daemon, in
//! front of two system calls.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Command;

use anyhow::{Context, Result};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::lab::Lab;
use bip324_testkit::process::output;
use nix::errno::Errno;

use crate::scene::{Scene, scene_with};

/// Says to the shim what is to fail.
pub(crate) struct Shim(File);

/// What the file holds, as `struct orders` in shim.c names it.
#[derive(Clone, Copy)]
enum Order {
    AcceptErrno,
    AcceptFailures,
    ClockShift,
}

impl Shim {
    /// The next so many calls of accept4 fail.
    pub(crate) fn fail_accept(&self, errno: Errno, calls: i32) -> Result<()> {
        self.write(Order::AcceptErrno, errno as i32)?;
        self.write(Order::AcceptFailures, calls)
    }

    /// How many of them have not been made yet.
    pub(crate) fn failures_left(&self) -> Result<i32> {
        let mut bytes = [0; 4];
        self.0.read_exact_at(&mut bytes, offset(Order::AcceptFailures))?;
        Ok(i32::from_ne_bytes(bytes))
    }

    /// The calendar is off by so many seconds.
    pub(crate) fn shift_clock(&self, seconds: i32) -> Result<()> {
        self.write(Order::ClockShift, seconds)
    }

    fn write(&self, order: Order, value: i32) -> Result<()> {
        Ok(self.0.write_all_at(&value.to_ne_bytes(), offset(order))?)
    }
}

fn offset(order: Order) -> u64 {
    4 * order as u64
}

/// As [`crate::scene::scene`], with the shim in the daemon.
pub(crate) fn shimmed_scene(
    arguments: &[&str],
    test: impl AsyncFnOnce(&mut Scene<'_>, Shim) -> Result<()>,
) -> Result<()> {
    scene_with(
        |lab| start(lab, arguments),
        async |scene| {
            let orders =
                File::options().read(true).write(true).open(scene.lab.folder().join(ORDERS))?;
            test(scene, Shim(orders)).await
        },
    )
}

fn start<'lab>(lab: &'lab Lab, arguments: &[&str]) -> Result<Daemon<'lab>> {
    let [library, orders] = ["shim.so", ORDERS].map(|name| lab.folder().join(name));
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library);
    compile.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c"));
    output(compile).context("compiling shim.c: run ./scripts/get base")?;
    // The daemon's user reads it, whatever the caller's umask.
    fs::set_permissions(&library, Permissions::from_mode(0o755))?;
    fs::write(&orders, [0; 4096])?;
    fs::set_permissions(&orders, Permissions::from_mode(0o666))?;
    let environment = [
        format!("LD_PRELOAD={}", library.display()),
        format!("BIP324_TEST_ORDERS={}", orders.display()),
    ];
    Daemon::start_with_environment(lab, &environment, arguments)
}

const ORDERS: &str = "orders";
