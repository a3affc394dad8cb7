//! A throwaway moto server for tests: AWS's APIs in memory, among them Secrets Manager, STS and IAM, on one address. It takes any
//! credentials, assumes any role and enforces no policy, so assert on the requests too.

use std::{
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use crate::postgres::free_port;

/// Name of the variable with the path of the program `moto_server`.
pub const PROGRAM: &str = "PROCURA_TEST_MOTO";

/// A running server on 127.0.0.1 that ends when this is dropped.
pub struct Moto {
    /// `http://127.0.0.1:<port>`
    pub address: String,
    child: Child,
}

impl Moto {
    /// Starts the program that [`PROGRAM`] names.
    pub fn start() -> Result<Self, String> {
        let program = std::env::var_os(PROGRAM).map(PathBuf::from).ok_or_else(|| {
            format!("{PROGRAM} is not set: run `cargo xtask test`, or set it to the path of moto_server")
        })?;
        let mut problem = String::new();
        for _ in 0..3 {
            match Self::start_on(free_port()?, &program) {
                Ok(moto) => return Ok(moto),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    /// One that is shared by all who hold it at the time; give what you keep there names of your own.
    pub fn shared() -> Result<Arc<Self>, String> {
        static SHARED: Mutex<Weak<Moto>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(moto) = shared.upgrade() {
            return Ok(moto);
        }
        let moto = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&moto);
        Ok(moto)
    }

    fn start_on(port: u16, program: &Path) -> Result<Self, String> {
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let mut moto = Self {
            address: format!("http://127.0.0.1:{port}"),
            child,
        };
        for _ in 0..1200 {
            if moto.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(moto);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(format!(
            "{} does not serve port {port}; run it by hand to see why",
            program.display()
        ))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
