package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	_ "crypto/sha256" // what requests may be about, and what is signed with
	_ "crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"time"
)

// The structures of RFC 3161 (timestamps) and RFC 5652 (signed data), as far as an answer needs them.

var (
	oidTimeStamping         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
	oidExtendedKeyUsage     = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidTSTInfo              = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidSignedData           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningCertificateV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidECDSAWithSHA256      = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidSHA256               = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}

	// The policy under which this authority works: an example's, under nobody's arc.
	oidPolicy = asn1.ObjectIdentifier{1, 2, 3, 4, 1}
)

var digests = map[string]crypto.Hash{
	oidSHA256.String():       crypto.SHA256,
	"2.16.840.1.101.3.4.2.2": crypto.SHA384,
	"2.16.840.1.101.3.4.2.3": crypto.SHA512,
}

// What a refusal says (RFC 3161, section 2.4.2): a status, and the number of a bit that names the reason.
const (
	granted  = 0
	rejected = 2

	badAlgorithm     = 0
	badRequest       = 2
	badDataFormat    = 5
	unacceptedPolicy = 15
	unknownExtension = 16
)

type messageImprint struct {
	Algorithm pkix.AlgorithmIdentifier
	Digest    []byte
}

type timeStampQuery struct {
	Version    int
	Imprint    messageImprint
	Policy     asn1.ObjectIdentifier `asn1:"optional"`
	Nonce      *big.Int              `asn1:"optional"`
	WantsCert  bool                  `asn1:"optional"`
	Extensions []pkix.Extension      `asn1:"optional,tag:0"`
}

type statusInfo struct {
	Status  int
	Failure asn1.BitString `asn1:"optional"`
}

type timeStampReply struct {
	Status statusInfo
	Token  asn1.RawValue `asn1:"optional"`
}

type tstInfo struct {
	Version  int
	Policy   asn1.ObjectIdentifier
	Imprint  messageImprint
	Serial   *big.Int
	Time     time.Time `asn1:"generalized"`
	Accuracy accuracy
	Nonce    *big.Int `asn1:"optional"`
}

type accuracy struct {
	Seconds int
}

type encapsulated struct {
	Type    asn1.ObjectIdentifier
	Content []byte `asn1:"explicit,tag:0"`
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

type signerInfo struct {
	Version            int
	Issuer             issuerAndSerial
	DigestAlgorithm    pkix.AlgorithmIdentifier
	SignedAttributes   asn1.RawValue
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          []byte
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type signedData struct {
	Version          int
	DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
	Content          encapsulated
	Certificates     asn1.RawValue `asn1:"optional"`
	SignerInfos      []signerInfo  `asn1:"set"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content signedData `asn1:"explicit,tag:0"`
}

// reply answers a query, whatever it is, with a token or with the reason of a refusal.
func (a *authority) reply(query []byte, now time.Time) ([]byte, error) {
	var asked timeStampQuery
	rest, err := asn1.Unmarshal(query, &asked)
	if err != nil || len(rest) > 0 || asked.Version != 1 {
		return refusal(badDataFormat)
	}
	hash, known := digests[asked.Imprint.Algorithm.Algorithm.String()]
	switch {
	case !known:
		return refusal(badAlgorithm)
	case len(asked.Imprint.Digest) != hash.Size():
		return refusal(badRequest)
	case asked.Policy != nil && !asked.Policy.Equal(oidPolicy):
		return refusal(unacceptedPolicy)
	case len(asked.Extensions) > 0:
		return refusal(unknownExtension)
	}
	token, err := a.token(asked, now)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(timeStampReply{statusInfo{Status: granted}, asn1.RawValue{FullBytes: token}})
}

func refusal(reason int) ([]byte, error) {
	bits := make([]byte, reason/8+1)
	bits[reason/8] = 0x80 >> (reason % 8)
	failure := asn1.BitString{Bytes: bits, BitLength: reason + 1}
	return asn1.Marshal(timeStampReply{Status: statusInfo{rejected, failure}})
}

// token is the signed statement.
func (a *authority) token(asked timeStampQuery, now time.Time) ([]byte, error) {
	statement, err := asn1.Marshal(tstInfo{
		Version:  1,
		Policy:   oidPolicy,
		Imprint:  asked.Imprint,
		Serial:   randomNumber(),
		Time:     now.UTC().Truncate(time.Second),
		Accuracy: accuracy{Seconds: 1},
		Nonce:    asked.Nonce,
	})
	if err != nil {
		return nil, err
	}
	signer, err := a.sign(statement)
	if err != nil {
		return nil, err
	}
	data := signedData{
		Version:          3,
		DigestAlgorithms: []pkix.AlgorithmIdentifier{{Algorithm: oidSHA256}},
		Content:          encapsulated{oidTSTInfo, statement},
		SignerInfos:      []signerInfo{signer},
	}
	if asked.WantsCert {
		data.Certificates = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: a.certificate.Raw}
	}
	return asn1.Marshal(contentInfo{oidSignedData, data})
}

// sign signs the attributes that stand for a statement: what kind it is, its digest, and whose certificate this is.
func (a *authority) sign(statement []byte) (signerInfo, error) {
	attributes, err := a.attributes(statement)
	if err != nil {
		return signerInfo{}, err
	}
	// Signed as a SET, sent with the tag [0] in the place of it (RFC 5652, section 5.4).
	set, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: attributes})
	if err != nil {
		return signerInfo{}, err
	}
	signature, err := a.key.Sign(rand.Reader, digest(set), crypto.SHA256)
	return signerInfo{
		Version:            1,
		Issuer:             issuerAndSerial{asn1.RawValue{FullBytes: a.certificate.RawIssuer}, a.certificate.SerialNumber},
		DigestAlgorithm:    pkix.AlgorithmIdentifier{Algorithm: oidSHA256},
		SignedAttributes:   asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: attributes},
		SignatureAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256},
		Signature:          signature,
	}, err
}

// attributes are the signed ones, in the order of DER: that of their bytes.
func (a *authority) attributes(statement []byte) ([]byte, error) {
	type certID struct{ Digest []byte } // by SHA-256, which is the default and not named
	values := []struct {
		kind  asn1.ObjectIdentifier
		value any
	}{
		{oidContentType, oidTSTInfo},
		{oidMessageDigest, digest(statement)},
		{oidSigningCertificateV2, struct{ Certificates []certID }{[]certID{{digest(a.certificate.Raw)}}}},
	}
	var encoded [][]byte
	for _, entry := range values {
		value, err := asn1.Marshal(entry.value)
		if err != nil {
			return nil, err
		}
		der, err := asn1.Marshal(attribute{entry.kind, []asn1.RawValue{{FullBytes: value}}})
		if err != nil {
			return nil, err
		}
		encoded = append(encoded, der)
	}
	slices.SortFunc(encoded, bytes.Compare)
	return bytes.Join(encoded, nil), nil
}

func digest(bytes []byte) []byte {
	hash := crypto.SHA256.New()
	hash.Write(bytes)
	return hash.Sum(nil)
}
