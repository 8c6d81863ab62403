// A timestamp authority after RFC 3161: it signs that it has seen a digest, and when.
//
//	POST /      a request (application/timestamp-query), answered by a token (application/timestamp-reply)
//	GET /cert   the certificate of the key that signs, as PEM
//
// The key is made when the Keep starts and never leaves it. Its certificate is signed by itself: what vouches for it is
// that it comes over TLS that ends in the same Keep, whose certificate was issued against evidence.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	longestQuery = 4096 // bytes
	lifetime     = 365 * 24 * time.Hour
)

type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

// newAuthority makes a key, and a certificate that says that it is for timestamps alone (RFC 3161, section 2.3).
func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	purpose, err := asn1.Marshal([]asn1.ObjectIdentifier{oidTimeStamping})
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          randomNumber(),
		Subject:               pkix.Name{CommonName: "Timestamp authority in a Keep"},
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtraExtensions:       []pkix.Extension{{Id: oidExtendedKeyUsage, Critical: true, Value: purpose}},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &authority{key, certificate}, err
}

// randomNumber has 127 bits: nobody meets it twice.
func randomNumber() *big.Int {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		log.Fatalln("timestamp:", err)
	}
	return number
}

func (a *authority) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	switch {
	case request.Method == http.MethodGet && request.URL.Path == "/cert":
		answer.Header().Set("Content-Type", "application/x-pem-file")
		pem.Encode(answer, &pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
	case request.Method == http.MethodPost && request.URL.Path == "/":
		query, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, longestQuery))
		if err != nil {
			http.Error(answer, "the request is too long, or was cut short", http.StatusBadRequest)
			return
		}
		reply, err := a.reply(query, time.Now())
		if err != nil {
			log.Println("timestamp:", err)
			http.Error(answer, "cannot sign", http.StatusInternalServerError)
			return
		}
		answer.Header().Set("Content-Type", "application/timestamp-reply")
		answer.Write(reply)
	default:
		http.Error(answer, "there are POST / and GET /cert", http.StatusNotFound)
	}
}

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

func main() {
	authority, err := newAuthority(time.Now())
	if err != nil {
		log.Fatalln("timestamp:", err)
	}
	listening, err := listener("web")
	if err != nil {
		log.Fatalln("timestamp:", err)
	}
	fmt.Println("timestamp: listening")
	server := &http.Server{Handler: authority, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second}
	log.Fatalln("timestamp:", server.Serve(listening))
}
