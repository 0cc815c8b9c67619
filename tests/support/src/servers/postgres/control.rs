//! Starting, stopping, killing and freezing a server.

use std::fs;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::Postgres;
use super::START_TIMEOUT;
use crate::process;
use crate::process::Daemon;
use crate::process::Signal;

/// How long killed processes may take to disappear.
const GONE_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that did not stop in the time given, and what its log said last.
#[derive(Debug)]
pub struct StillRunning {
    /// The time it was given.
    pub waited: Duration,
    /// The end of its log.
    pub log: String,
}

impl Postgres {
    /// SIGKILL to every process of the server, and waits until they are gone. Nothing is flushed.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the server runs");
        let children = process::children(daemon.pid());
        daemon.kill();
        for &child in &children {
            process::signal(child, Signal::Kill);
        }
        process::wait_until(GONE_TIMEOUT, "the killed server's processes to be gone", || {
            children.iter().all(|&child| !process::is_running(child))
        });
    }

    /// Starts it again after a kill or a stop, on the same port and data, and waits until it has
    /// recovered.
    ///
    /// # Panics
    ///
    /// If it runs, or does not start.
    pub fn start_again(&mut self) {
        assert!(self.daemon.is_none(), "the server runs already");
        self.launch();
    }

    /// A standby with a copy of this server's data, replication slots included. This server has to
    /// be stopped; when it is started again the standby follows it.
    ///
    /// # Panics
    ///
    /// If this server runs, or the standby does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        assert!(self.daemon.is_none(), "the data of a server that runs cannot be copied");
        let dir = process::scratch_dir(&format!("standby-{}", self.options.version));
        self.user.own(dir.path());
        let mut standby = Self {
            options: self.options.clone(),
            bin: self.bin.clone(),
            user: self.user,
            dir,
            port: process::free_port(),
            certificates: None,
            daemon: None,
        };
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.data_dir()).arg(standby.dir.path());
        assert!(copy.status().is_ok_and(|status| status.success()), "the data is not copied");
        let primary =
            format!("primary_conninfo = 'host=127.0.0.1 port={} user=postgres'", self.port);
        let conf = standby.data_dir().join("postgresql.auto.conf");
        let before = fs::read_to_string(&conf).unwrap_or_default();
        fs::write(conf, format!("{before}{primary}\n")).expect("we can write it");
        let signal = standby.data_dir().join("standby.signal");
        fs::write(&signal, "").expect("we can write it");
        standby.user.own(&signal);
        standby.launch();
        standby
    }

    /// A fast shutdown, as `pg_ctl -m fast stop`: gives the time it took.
    ///
    /// # Errors
    ///
    /// If it has not ended in time. It is then still on its way.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn stop_fast(&mut self, timeout: Duration) -> Result<Duration, StillRunning> {
        self.stop(Signal::Interrupt, timeout)
    }

    /// An immediate shutdown, as `pg_ctl -m immediate stop`.
    ///
    /// # Errors
    ///
    /// If it has not ended in time.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn stop_immediate(&mut self, timeout: Duration) -> Result<Duration, StillRunning> {
        self.stop(Signal::Quit, timeout)
    }

    fn stop(&mut self, signal: Signal, timeout: Duration) -> Result<Duration, StillRunning> {
        let daemon = self.daemon.as_mut().expect("the server runs");
        let began = Instant::now();
        daemon.signal(signal);
        while daemon.is_running() {
            if began.elapsed() > timeout {
                return Err(StillRunning { waited: timeout, log: self.tail() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.daemon = None;
        Ok(began.elapsed())
    }

    /// SIGSTOP to every process of the server. Connections stay open and silent.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn freeze(&self) {
        // The postmaster first, so that it starts nothing more.
        let postmaster = self.pid();
        process::signal(postmaster, Signal::Stop);
        for child in process::children(postmaster) {
            process::signal(child, Signal::Stop);
        }
    }

    /// SIGCONT to every process of the server.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn thaw(&self) {
        for child in process::children(self.pid()) {
            process::signal(child, Signal::Continue);
        }
        process::signal(self.pid(), Signal::Continue);
    }

    /// The postmaster's process id.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the server runs").pid()
    }

    /// Process ids of the walsenders, for [`process::signal`].
    pub fn walsender_pids(&self) -> Vec<u32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'";
        let rows = self.client("postgres").query(sql, &[]).expect("a superuser may read it");
        rows.iter().filter_map(|row| u32::try_from(row.get::<_, i32>(0)).ok()).collect()
    }

    /// Whether it has been started and not been stopped or killed.
    pub fn is_running(&self) -> bool {
        self.daemon.is_some()
    }

    pub(super) fn launch(&mut self) {
        // Nobody of this server runs: a pid in a left-over file is a stranger's by now.
        let _absent = fs::remove_file(self.data_dir().join("postmaster.pid"));
        let _absent = fs::remove_file(self.socket_dir().join(self.socket_name() + ".lock"));
        let mut command = process::command(self.bin.join("postgres"));
        let mut sockets = self.socket_dir().display().to_string();
        if let Some(name) = &self.options.abstract_socket {
            sockets = format!("{sockets},{name}");
        }
        command.arg("-D").arg(self.data_dir()).args(["-k", &sockets]);
        command.args(["-h", &self.options.listen, "-p", &self.port.to_string()]);
        command.current_dir(self.dir.path()).env("LC_ALL", "C");
        self.user.run(&mut command);
        let mut daemon = Daemon::spawn("postgres", command, self.dir.path());
        process::wait_until(START_TIMEOUT, "PostgreSQL to take connections", || {
            assert!(daemon.is_running(), "PostgreSQL ended at its start:\n{}", daemon.log_tail());
            self.takes_connections()
        });
        self.daemon = Some(daemon);
    }

    /// A server that runs but lets nobody in (a test's `pg_hba.conf`) has started too.
    fn takes_connections(&self) -> bool {
        let starting = postgres::error::SqlState::CANNOT_CONNECT_NOW;
        match self.try_client("postgres") {
            Ok(_) => true,
            Err(error) => error.code().is_some_and(|code| *code != starting),
        }
    }

    fn socket_name(&self) -> String {
        format!(".s.PGSQL.{}", self.port)
    }

    /// The shared memory segment that a killed server leaves behind in the system's short table.
    fn remove_segment(&self) {
        let file = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
        let segment = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
        if let Some(segment) = segment {
            let mut ipcrm = Command::new("ipcrm");
            ipcrm.args(["-m", segment]).stdout(Stdio::null()).stderr(Stdio::null());
            // It may be gone, and so may the program: then the segment stays, 56 bytes.
            let _status = ipcrm.status();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.thaw();
            let tidy = self.stop_immediate(Duration::from_secs(3)).is_ok();
            if !tidy {
                self.kill();
            }
        }
        self.remove_segment();
    }
}
