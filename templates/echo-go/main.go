// An echo server: sends every byte back to whoever sent it, for many clients at once.
//
// In a Keep the listener is open before main runs: Enarx.toml lists it, and the environment says where it is.
// TLS is already taken off: this program only ever sees the plain bytes.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"syscall"
)

// listener is the listening socket of that name in [[files]] of Enarx.toml. FD_NAMES holds the names, joined by ':';
// the place of a name is its file descriptor.
func listener(name string) (net.Listener, error) {
	for fd, listed := range strings.Split(os.Getenv("FD_NAMES"), ":") {
		if listed != name {
			continue
		}
		// Otherwise waiting for one client would stop all goroutines.
		if err := syscall.SetNonblock(fd, true); err != nil {
			return nil, err
		}
		return net.FileListener(os.NewFile(uintptr(fd), name))
	}
	return nil, fmt.Errorf("no file named %q is listed in [[files]] of Enarx.toml", name)
}

func serve(client net.Conn) {
	defer client.Close()
	io.Copy(client, client) // it ends when the client does, and the others do not care why
}

func main() {
	listening, err := listener("echo")
	if err != nil {
		log.Fatalln("echo:", err)
	}
	fmt.Println("echo: listening")
	for {
		client, err := listening.Accept()
		if err != nil {
			log.Fatalln("echo:", err)
		}
		go serve(client)
	}
}
