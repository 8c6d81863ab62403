"""What `pipeline/sallyport/src/python` exports. Descriptors are numbers that stay the caller's unless said."""

from collections.abc import Callable

class Host:
    """The host half of one Keep: a block, and a thread that moves bytes between it and descriptors.

    `files` is the number of entries in the manifest, `connections` how many accepted connections can be open at
    once, `ring_bytes` the size of each ring (a power of two from 4096), `outbound` how many connections
    the Keep may ask for. Raises OSError, RuntimeError.
    """

    def __init__(self, *, files: int, connections: int, ring_bytes: int, outbound: int = 0) -> None: ...
    @property
    def block_fd(self) -> int:
        """The shared memory, for the Keep to inherit."""
    @property
    def doorbell_fd(self) -> int:
        """The eventfd by which the Keep wakes the host, for the Keep to inherit."""
    @property
    def control_fd(self) -> int:
        """A stream socket to the Keep's `control_read` and `control_write`. It is closed with the host half."""
    def attach_socket(self, file: int, fd: int) -> None:
        """A connected socket becomes entry `file`; a duplicate is used. This and what follows: also while it runs."""
    def attach_source(self, file: int, fd: int) -> None:
        """Something to read from becomes entry `file`; a duplicate is used."""
    def attach_sink(self, file: int, fd: int) -> None:
        """Something to write to becomes entry `file`; a duplicate is used."""
    def attach_listener(self, file: int, fd: int) -> None:
        """A listening socket becomes entry `file`; a duplicate is used."""
    def start(self) -> None:
        """Start moving bytes."""
    def answer_connection(self, grant: int, fd: int) -> None:
        """The Keep's request for a connection of the manifest's grant: here it is; a duplicate is used.

        That the manifest grants it is for the caller to see to.
        """
    def refuse_connection(self, grant: int, errno: int) -> None:
        """The same: it could not be made."""
    @property
    def waiting(self) -> int:
        """Answers that wait for an earlier connection of the Keep to end."""
    def stop_accepting(self) -> None:
        """Close the listeners; open connections go on."""
    def finish(self, limit: float) -> str | None:
        """The Keep has ended: deliver what it wrote, for at most `limit` seconds, and end the thread.

        Answers how the guest broke the protocol, if it did.
        """
    @property
    def broken(self) -> str | None:
        """How the guest broke the protocol, if it did while it lived."""
    @property
    def violation(self) -> str | None:
        """The name of the system call that the Keep's jail refused, if one was; the Keep's own word."""
    def counters(self) -> dict[str, int]:
        """`accepted` and `open` connections, `bytes_in` and `bytes_out` of the Keep.

        `full` is 1 if there was no room for another connection at some time. `handshakes_done` and
        `handshakes_failed` are the Keep's own word.
        """

class Carrier:
    """One end of a channel between two halves that share no memory: it keeps the blocks of both alike.

    `stream_fd` is a connected stream to the other end: a socket, or a port of a virtual machine; a duplicate is used.
    """

    @staticmethod
    def beside_host(block_fd: int, doorbell_fd: int, stream_fd: int) -> Carrier:
        """Carry for the host half of this block. Raises OSError, RuntimeError."""
    @staticmethod
    def beside_guest(stream_fd: int) -> Carrier:
        """Wait for the other end to say what block it is, and make one like it. Raises OSError, RuntimeError."""
    @staticmethod
    def within(incoming_fd: int, outgoing_fd: int) -> Carrier:
        """As `beside_guest`, for a guest half in this process alone, which is `guest`. The channel may be two streams.

        For an enclave: it takes no memory file and no eventfd, which a library OS may not have.
        """
    def guest(self) -> Guest:
        """The guest half, on the block of this end. Once."""
    @property
    def block_fd(self) -> int | None:
        """The block, for the guest half; None of one `within` a process."""
    @property
    def doorbell_fd(self) -> int | None:
        """The eventfd by which the guest half wakes this end; None likewise."""
    @property
    def fault(self) -> str | None:
        """How the other end broke the protocol, if it did."""
    def wait(self) -> str | None:
        """Wait until nothing more will come. Answers how the other end broke the protocol, if it did."""
    def finish(self, limit: float) -> bool:
        """The half of this end has ended: have the other end take what it published last, in at most `limit` seconds.

        Answers whether it has.
        """

class Credentials:
    """The key and certificate that a Keep shows in handshakes. It may be used while the workload runs."""

    def generate(self) -> bytes:
        """Make an ECDSA P-256 key that waits for its certificate; answers its SubjectPublicKeyInfo (DER)."""
    def certificate_request(self, extensions: list[tuple[list[int], bytes]]) -> bytes:
        """A PKCS#10 request (DER) by that key: empty subject, the given extensions (object identifier, content)."""
    def install(self, chain: list[bytes], root: bytes) -> None:
        """Show this chain (DER, leaf first) from the next handshake on.

        Raises RuntimeError, and changes nothing, unless it is of the key that waits, leads to `root` (DER), which is
        that of the first certificate, is valid now and is for TLS servers.
        """
    def is_by_issuer(self, message: bytes, signature: bytes) -> bool:
        """Whether the issuer of the certificate signed the message: ECDSA with SHA-256 on P-256, in DER."""
    @property
    def root(self) -> bytes | None:
        """The root (DER) of the certificate, if there is one."""

class Guest:
    """The guest half: a workload's descriptors over the block, its file system, and its TLS.

    Takes both descriptors over. Raises OSError, RuntimeError if the block is not one that can be used.
    """

    def __init__(self, block_fd: int, doorbell_fd: int) -> None: ...
    def control_read(self, most: int) -> bytes:
        """Wait for at least one and at most `most` bytes from the host's `control_fd`; empty at its end."""
    def control_write(self, data: bytes) -> None:
        """Send bytes to the host's `control_fd`."""
    @property
    def credentials(self) -> Credentials:
        """Its key and certificate."""
    def serve_control(self, answer: Callable[[bytes], bytes]) -> None:
        """Have `answer` take each message of the host (without its length) whenever the workload waits or accepts.

        What it answers is sent as it is. It runs within a call of the workload and must not use this object.
        """
    def limit_filesystem(self, bytes: int) -> None:
        """Give the workload an empty file system of at most this many bytes. Before `insert_*`."""
    def limit_descriptors(self, most: int) -> None:
        """Let the workload have so many descriptors open. Before `add_*`."""
    def limit_time(self, engine: int, library: str, *, time: float | None, cpu_time: float | None) -> None:
        """See `enarx_sallyport.limit_time`."""
    @property
    def expired(self) -> str | None:
        """The time that has run out, `time` or `cpu_time`, if one has."""
    def set_program(self, args: list[bytes], env: list[bytes]) -> None:
        """Arguments, the program's name first, and the environment as NAME=value."""
    def add_null(self) -> int:
        """The next entry of `files` reads nothing and swallows everything. Answers its descriptor."""
    def add_stdio(self, *, terminal: bool) -> int:
        """The next entry of `files` is standard input, output or error, and a terminal to the workload if so."""
    def add_listener(self) -> int:
        """The next entry of `files` listens in clear."""
    def add_tls_listener(
        self,
        *,
        client_auth: str,
        system_roots: bool,
        roots: list[bytes],
        peers: list[str],
        alpn: list[bytes],
        timeout: float,
    ) -> int:
        """The next entry of `files` listens by TLS, with a limit in seconds for handshakes.

        `client_auth` is `none`, `request` or `require`; a client's certificate must lead to the compiled-in roots or
        `roots` (DER), and bear one of `peers` if there are any. Raises RuntimeError.
        """
    def add_connection(self) -> int:
        """The next entry of `files` is connected in clear."""
    def add_tls_connection(
        self,
        server_name: str,
        *,
        system_roots: bool,
        roots: list[bytes],
        peers: list[str],
        alpn: list[bytes],
        timeout: float,
    ) -> int:
        """The next entry of `files` is connected by TLS, and the handshake is made now.

        The peer must prove to be `server_name` under the compiled-in roots, or `roots` (DER), bear one of `peers`
        if there are any, and choose one of `alpn` if there are any. Raises RuntimeError.
        """
    def reserve_files(self, files: int) -> None:
        """The block has so many entries, of which those that were not added are nothing. After `add_*`."""
    def dial(self, file: int, server_name: str, *, system_roots: bool, roots: list[bytes], timeout: float) -> None:
        """Speak TLS with the peer that the host has connected to as entry `file`, before the workload runs.

        The peer must prove to be `server_name`; it is shown the certificate if it asks. Raises RuntimeError.
        """
    def dialled_read(self, most: int, timeout: float) -> bytes:
        """Wait for at least one and at most `most` bytes of that peer; empty at its end. Raises RuntimeError."""
    def dialled_write(self, data: bytes, timeout: float) -> None:
        """Send bytes to that peer. Raises RuntimeError."""
    def hang_up(self) -> None:
        """End that connection, if there is one."""
    def secrets_key(self) -> bytes:
        """Make an X25519 key that secrets are sealed to (HPKE); answers the public key, 32 bytes."""
    def open_secret(self, name: str, info: bytes, sealed: bytes) -> None:
        """Open a secret with that key, and keep it. Raises RuntimeError."""
    def put_secret(self, name: str, path: bytes) -> None:
        """Put an opened secret into the private file system, read-only. Raises RuntimeError."""
    def export_secret(self, name: str, variable: str) -> None:
        """Put an opened secret into the environment. After `set_program`. Raises RuntimeError."""
    def forget_secrets(self) -> None:
        """Overwrite the key and the secrets that were opened."""
    def open_network(self, limit: int) -> int:
        """Preopen the directory of granted names, for at most `limit` connections. After `add_preopen`."""
    def grant_connection(self, name: str) -> None:
        """Let the workload connect to `name` (HOST:PORT) in clear. The host knows it by how many came before."""
    def grant_tls_connection(
        self,
        name: str,
        server_name: str,
        *,
        system_roots: bool,
        roots: list[bytes],
        peers: list[str],
        alpn: list[bytes],
        timeout: float,
    ) -> None:
        """The same by TLS: see `add_tls_connection`. Raises RuntimeError."""
    def insert_file(self, path: bytes, content: bytes, *, writable: bool) -> None:
        """Put a file into the private file system. Raises RuntimeError."""
    def insert_directory(self, path: bytes, *, writable: bool) -> None:
        """Put a directory into the private file system. Raises RuntimeError."""
    def add_preopen(self, path: bytes) -> int:
        """Preopen a directory for the workload. Answers its descriptor, which comes after those of `files`."""
    def link(self, linker: int, library: str) -> None:
        """See `enarx_sallyport.link`, which checks the version first."""
    def confine(self, code_fd: int | None) -> list[str]:
        """Step 1 of the jail: no files, no network, no programs, no threads, and no descriptor but the doorbell,
        standard error and `code_fd`, which can be written. Answers what this kernel lacks for that, in lines.

        Raises RuntimeError if it cannot be; the process must end then.
        """
    def lock(self) -> list[str]:
        """Step 2: memory, futexes, time, randomness, the doorbell and the end; no new code. As `confine`."""
    @property
    def exit_code(self) -> int | None:
        """What the workload called `proc_exit` with, if it did."""
    def finish(self, *, orderly: bool) -> None:
        """The workload has ended: close its descriptors, after what was written has left.

        TLS peers are only told that this is the end (close_notify) where it is an orderly one.
        """

def end_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends. Raises OSError."""

def prepare_jail() -> None:
    """Begin what takes long of `Guest.confine`, on a thread of its own. As early as can be, and once."""
