package transport

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Proto is a protocol behind the one port: the ALPN name.
type Proto string

// The protocols. The number is the major version: a node that speaks another one
// fails in the handshake, before a byte of it is parsed.
const (
	ProtoRaft Proto = "lockstep-raft/1"
	ProtoPeer Proto = "lockstep-peer/1"
	ProtoJoin Proto = "lockstep-join/1"
)

// membersOnly reports whether only members may speak p.
func (p Proto) membersOnly() bool { return p != ProtoJoin }

var (
	// ErrNotMember is returned when the other end is no member by this node's
	// knowledge: for a connection to or from it, and from reads of one that was
	// open when it was removed.
	ErrNotMember = errors.New("not a member of the cluster")
	// ErrNoAddress is returned by a dial to a node whose address is not known.
	ErrNoAddress = errors.New("no address known")
	// ErrRefused is matched when the other end answered with a TLS alert: it does
	// not take this node for a member, or speaks other protocol versions.
	ErrRefused = errors.New("refused by the other node")
	// ErrWrongKey is matched by a *WrongKeyError.
	ErrWrongKey = errors.New("another node answers at this address")
	// ErrBadPeer is returned when the other end's certificate is none of a node's,
	// or the protocol was not agreed on.
	ErrBadPeer = errors.New("not a Lockstep node")
)

// WrongKeyError says that an address is held by another node than the one that
// was called. It matches ErrWrongKey.
type WrongKeyError struct{ Want, Got id.Node }

// Error implements error.
func (e *WrongKeyError) Error() string {
	return fmt.Sprintf("called node %s: %v: %s", e.Want.Short(), ErrWrongKey, e.Got.Short())
}

// Is makes errors.Is(err, ErrWrongKey) true.
func (e *WrongKeyError) Is(target error) bool { return target == ErrWrongKey }

// maxCert bounds a certificate: ours are about 330 bytes.
const maxCert = 2 << 10

// baseConfig is common to both ends. TLS 1.3 only; no session tickets and no
// client session cache: a resumed session skips the certificates, and would keep
// a removed member in. Records are of full size at once: bulk data is what
// connections are for.
func baseConfig(i *Identity) *tls.Config {
	return &tls.Config{
		Certificates:                []tls.Certificate{i.cert},
		MinVersion:                  tls.VersionTLS13,
		MaxVersion:                  tls.VersionTLS13,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) != 1 || len(raw[0]) > maxCert {
				return fmt.Errorf("%w: %d certificates", ErrBadPeer, len(raw))
			}
			return nil
		},
	}
}

// serverConfig asks for a certificate and lets admit decide, inside the
// handshake, so that the other end gets an alert and no byte of a stranger's
// is parsed.
func serverConfig(i *Identity, admit func(id.Node, Proto) error) *tls.Config {
	c := baseConfig(i)
	c.NextProtos = []string{string(ProtoRaft), string(ProtoPeer), string(ProtoJoin)}
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		node, proto, err := peerOf(cs)
		if err != nil {
			return err
		}
		return admit(node, proto)
	}
	return c
}

// clientConfig pins the key of the node that is called.
func clientConfig(i *Identity, want id.Node, proto Proto) *tls.Config {
	c := baseConfig(i)
	c.NextProtos = []string{string(proto)}
	// The chain means nothing here; VerifyConnection compares the key itself, and
	// the handshake proves that the other end holds it.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		node, got, err := peerOf(cs)
		if err != nil {
			return err
		}
		if node != want {
			return &WrongKeyError{Want: want, Got: node}
		}
		if got != proto {
			return fmt.Errorf("%w: agreed on protocol %q, want %q", ErrBadPeer, got, proto)
		}
		return nil
	}
	return c
}

// peerOf reads who is at the other end and what it wants to speak.
func peerOf(cs tls.ConnectionState) (id.Node, Proto, error) {
	if cs.Version != tls.VersionTLS13 || cs.DidResume || len(cs.PeerCertificates) != 1 {
		return id.Node{}, "", fmt.Errorf("%w: not a full TLS 1.3 handshake with one certificate", ErrBadPeer)
	}
	key, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PublicKeySize {
		return id.Node{}, "", fmt.Errorf("%w: its key is not Ed25519", ErrBadPeer)
	}
	if id.Node(key).IsZero() {
		return id.Node{}, "", fmt.Errorf("%w: zero key", ErrBadPeer)
	}
	p := Proto(cs.NegotiatedProtocol)
	if p != ProtoRaft && p != ProtoPeer && p != ProtoJoin {
		return id.Node{}, "", fmt.Errorf("%w: no protocol agreed on", ErrBadPeer)
	}
	return id.Node(key), p, nil
}

// refused marks err with ErrRefused if it came as a TLS alert. In TLS 1.3 the
// client's handshake ends before the server has judged its certificate, so the
// alert may come with the first read.
func refused(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}
