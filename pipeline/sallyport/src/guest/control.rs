//! The control stream while the workload runs: whole messages of the host go to whoever answers them.
//!
//! It is served where the guest takes the host's news, so that it needs no thread: a workload that waits is woken
//! by it, and one that computes is left alone until it next waits or accepts.

use super::port::Port;
use crate::layout::CONTROL;

/// Most bytes of a message; `enarx_keep.channel` has the same.
const MESSAGE_LIMIT: usize = 1 << 20;
/// Bytes of the length before a message, big-endian.
const PREFIX: usize = 4;

/// Takes a message without its length, and answers what to send, framed.
pub type Answer = Box<dyn FnMut(&[u8]) -> Vec<u8>>;

/// See the module.
#[derive(Default)]
pub struct Control {
    /// `None` until the workload is about to run: before that, messages are read one by one.
    answer: Option<Answer>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Control {
    /// From now on `answer` gets every message.
    pub fn serve(&mut self, answer: Answer) {
        self.answer = Some(answer);
    }

    /// Take what has come and send what is ready, as far as there is room. A message is only taken when the answer to
    /// the one before has left, so that a host that reads none costs no memory.
    pub fn turn(&mut self, port: &mut Port) {
        self.send(port);
        while self.outgoing.is_empty() && self.answer_next(port) {
            self.send(port);
        }
        if !self.outgoing.is_empty() {
            port.ask_for_room(CONTROL);
            self.send(port);
        }
    }

    /// Answer one message, if a whole one is there.
    fn answer_next(&mut self, port: &mut Port) -> bool {
        let Some(answer) = &mut self.answer else { return false };
        let mut piece = [0; 4096];
        loop {
            if let Some(message) = whole(&self.incoming) {
                let end = PREFIX + message.len();
                self.outgoing = answer(message);
                self.incoming.drain(..end);
                return true;
            }
            if announced(&self.incoming) > MESSAGE_LIMIT {
                eprintln!("sallyport: the host announced a message that is too long; no more of them are taken");
                self.answer = None;
                return false;
            }
            match port.read(CONTROL, &mut piece) {
                0 => return false,
                read => self.incoming.extend_from_slice(&piece[..read]),
            }
        }
    }

    /// Add bytes to what is sent.
    pub fn put(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Add a message to what is sent.
    pub fn put_message(&mut self, text: &[u8]) {
        self.put(&(text.len() as u32).to_be_bytes());
        self.put(text);
    }

    /// Whether something has not found room yet.
    pub fn has_unsent(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Send what there is room for.
    pub fn send(&mut self, port: &mut Port) {
        if !self.outgoing.is_empty() {
            let written = port.write(CONTROL, &self.outgoing);
            self.outgoing.drain(..written);
        }
    }
}

/// The length that the first message announces; 0 if it is not known yet.
fn announced(bytes: &[u8]) -> usize {
    match bytes.first_chunk::<PREFIX>() {
        Some(length) => u32::from_be_bytes(*length) as usize,
        None => 0,
    }
}

/// The first message, if all of it is there.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(PREFIX..)?.get(..announced(bytes))
}
