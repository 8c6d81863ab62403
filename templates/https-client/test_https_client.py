"""Runs the program in a Keep against an HTTPS server of this machine. Run it with: python3 -m unittest

The server's certificate is made with the command openssl.
"""

import contextlib
import http.server
import json
import pathlib
import shutil
import ssl
import subprocess
import threading
import unittest

CA = pathlib.Path("ca-of-the-test.pem")  # in the project: roots are packaged


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"price": 42}\n'
        self.send_response(200 if self.path == "/price" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving():
    """A server whose certificate is for localhost; gives its port."""
    key = CA.with_suffix(".key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", key, "-out", CA, "-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    try:
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CA, key)
        server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        with context.wrap_socket(server.socket, server_side=True) as server.socket:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield server.server_port
            finally:
                server.shutdown()
                thread.join()
    finally:
        CA.unlink(missing_ok=True)
        key.unlink(missing_ok=True)


def run(*words, granted, roots=CA):
    command = ["enarx-deploy", "run", ".", "--set", f"network.connect={json.dumps([granted])}"]
    if roots:
        command += ["--set", f'tls."{granted}".roots={json.dumps([str(roots)])}']
    return subprocess.run([*command, "--", *words], capture_output=True, text=True)


@unittest.skipUnless(shutil.which("openssl"), "needs the command openssl")
class HttpsClient(unittest.TestCase):
    def test_it_prints_what_the_server_answers(self):
        with serving() as port:
            name = f"localhost:{port}"
            ended = run(name, "/price", granted=name)
            self.assertEqual((ended.returncode, ended.stdout), (0, '{"price": 42}\n'), ended.stderr)
            self.assertEqual(run(name, "/cost", granted=name).returncode, 1)

    def test_it_reaches_nobody_who_is_not_granted_or_cannot_prove_the_name(self):
        with serving() as port:
            name = f"localhost:{port}"
            self.assertIn("not granted", run(name, "/price", granted="localhost:1").stderr)
            ended = run(name, "/price", granted=name, roots=None)
            self.assertIn("could not prove by TLS", ended.stderr)
            self.assertEqual((ended.returncode, ended.stdout), (1, ""))


if __name__ == "__main__":
    unittest.main()
