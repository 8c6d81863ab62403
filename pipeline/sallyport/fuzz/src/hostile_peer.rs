//! A client that sends whatever it likes to a TLS listener: its connection fails, and the Keep goes on.
#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use sallyport::block::{Block, Half};
use sallyport::guest::port::Port;
use sallyport::guest::{ClientAuth, FileKind, Guest, ListenTls, Trust};
use sallyport::layout::{self, slot as word};
use sallyport::memory::Memory as _;

const RING: u32 = 4096;
/// The slot of the one accepted connection: behind the control stream and the listener's own.
const SLOT: u32 = 2;

/// A P-256 key by its SubjectPublicKeyInfo, whose last 65 bytes are the point.
struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0[self.0.len() - 65..]
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

struct Keep {
    block: Block,
    guest: Guest,
    generation: u32,
}

impl Keep {
    fn new() -> Self {
        let (block, file) = Block::create(3, RING).unwrap();
        let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
        let mut guest = Guest::new(Port::new(Block::open(&file).unwrap(), bell)).unwrap();
        let key = PublicKey(guest.credentials().generate().unwrap());
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let leaf = CertificateParams::new(vec!["keep.test".to_owned()]).unwrap();
        let chain = vec![leaf.signed_by(&key, &issuer).unwrap().der().to_vec()];
        guest.credentials().install(chain, root.der()).unwrap();
        let how = ListenTls {
            client_auth: ClientAuth::None,
            trust: Trust::default(),
            alpn: Vec::new(),
            timeout: Duration::from_secs(3600),
        };
        guest.add_file(FileKind::Listen(Some(how))).unwrap();
        guest.open_for_business();
        Self {
            block,
            guest,
            generation: 0,
        }
    }

    fn connection_with(&mut self, bytes: &[u8]) {
        self.generation = self.generation.wrapping_add(1);
        let block = &self.block;
        block.publish(SLOT, word::IN_TAIL, 0);
        block.publish(SLOT, word::OUT_HEAD, 0);
        block.publish(SLOT, word::FILE, 0);
        block.publish(SLOT, word::HOST_STATE, layout::state::OPEN);
        block.publish(SLOT, word::HOST_GENERATION, self.generation);
        block.mark(Half::Guest, SLOT);
        self.guest.pump();
        let len = bytes.len().min(RING as usize);
        block.memory().copy_in(block.in_ring(SLOT), &bytes[..len]);
        block.publish(SLOT, word::IN_TAIL, len as u32);
        block.mark(Half::Guest, SLOT);
        self.guest.pump();
        block.publish(SLOT, word::HOST_STATE, layout::state::OPEN | layout::state::FIN);
        block.mark(Half::Guest, SLOT);
        self.guest.pump();
        while self.guest.next_connection(0).is_some() {}
        block.publish(SLOT, word::HOST_STATE, 0);
    }
}

thread_local! {
    static KEEP: RefCell<Keep> = RefCell::new(Keep::new());
}

fuzz_target!(|bytes: &[u8]| {
    KEEP.with_borrow_mut(|keep| keep.connection_with(bytes));
});
