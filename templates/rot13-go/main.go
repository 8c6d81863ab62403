// A ROT13 server: sends every letter back 13 places on, and all else as it came.
//
// In a Keep the listener is open before main runs: Enarx.toml lists it, and the environment says where it is.
// TLS is already taken off: this program only ever sees the plain bytes.
package main

import (
	"fmt"
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

func rot13(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z':
		return 'a' + (c-'a'+13)%26
	case 'A' <= c && c <= 'Z':
		return 'A' + (c-'A'+13)%26
	}
	return c
}

func serve(client net.Conn) {
	defer client.Close()
	buffer := make([]byte, 16*1024)
	for {
		n, err := client.Read(buffer)
		for i, c := range buffer[:n] {
			buffer[i] = rot13(c)
		}
		if _, failed := client.Write(buffer[:n]); err != nil || failed != nil {
			return // the client has ended, and the others do not care why
		}
	}
}

func main() {
	listening, err := listener("rot13")
	if err != nil {
		log.Fatalln("rot13:", err)
	}
	fmt.Println("rot13: listening")
	for {
		client, err := listening.Accept()
		if err != nil {
			log.Fatalln("rot13:", err)
		}
		go serve(client)
	}
}
