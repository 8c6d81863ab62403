//! A connection of the Keep's own, by TLS, before its workload runs: over it the package is fetched.

use std::time::Instant;

use super::Guest;
use super::descriptor::Stream;
use super::setup::ConnectTls;
use crate::errno::Errno;

impl Guest {
    /// Speak TLS with the peer that the host has connected to as entry `file`. Ends the connection before.
    pub fn dial(&mut self, file: u32, how: ConnectTls) -> Result<(), String> {
        self.hang_up();
        self.dialled = Some(self.connect(file.saturating_add(1), how)?);
        Ok(())
    }

    /// Bytes of the peer, at least one and at most `most`; empty at its end, which it must have told by TLS.
    pub fn dialled_read(&mut self, most: usize, deadline: Instant) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; most.min(self.port.ring_bytes())];
        loop {
            let stream = self.dialled.as_mut().ok_or(Errno::NOTCONN)?;
            match stream.read(&mut self.port, &mut bytes) {
                Ok(read) => {
                    bytes.truncate(read);
                    return Ok(bytes);
                }
                Err(Errno::AGAIN) if Instant::now() < deadline => self.wait(Some(deadline)),
                Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Send all of `bytes`.
    pub fn dialled_write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let stream = self.dialled.as_mut().ok_or(Errno::NOTCONN)?;
            let slot = stream.slot();
            match stream.write(&mut self.port, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::AGAIN) if Instant::now() < deadline => self.wait_for_room(slot, Some(deadline)),
                Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT),
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// End the connection, if there is one.
    pub fn hang_up(&mut self) {
        if let Some(stream) = self.dialled.take() {
            Stream::close(stream, &mut self.port);
            self.port.tell_host();
        }
    }
}
