package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/lockstep-sync/lockstep/internal/atomicfile"
	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// KeyFile is the private key's name in the identity directory: PKCS #8 in PEM,
	// mode 0600.
	KeyFile = "key.pem"
	// maxKeyFile bounds what is read of it; a key's PEM is 119 bytes.
	maxKeyFile = 4 << 10

	pemPrivateKey = "PRIVATE KEY"
)

var (
	// ErrIdentityExists is returned by Save where a key is there already: a key
	// that was replaced could not be had back.
	ErrIdentityExists = errors.New("an identity exists already")
	// ErrKeyExposed is returned by LoadIdentity when users other than the owner
	// may read or write the private key.
	ErrKeyExposed = errors.New("the private key is open to other users")
)

// Identity is a node's key pair. Its public half is the node's ID.
type Identity struct {
	node id.Node
	key  ed25519.PrivateKey
	cert tls.Certificate
}

// NewIdentity draws a new key pair.
func NewIdentity() (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return newIdentity(key)
}

func newIdentity(key ed25519.PrivateKey) (*Identity, error) {
	i := &Identity{key: key}
	copy(i.node[:], key.Public().(ed25519.PublicKey))
	cert, err := selfSign(i.node, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	i.cert = cert
	return i, nil
}

// selfSign makes the certificate anew from the key at each start, so only the key
// is kept on disk. Its dates span all time: a wrong clock must not cut a node off.
func selfSign(node id.Node, key ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "lockstep " + node.Short()},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// ID returns the node's ID: its public key.
func (i *Identity) ID() id.Node { return i.node }

// Sign returns the Ed25519 signature of msg. Callers begin msg with a context of
// their own, so that a signature made for one purpose is none for another.
func (i *Identity) Sign(msg []byte) []byte { return ed25519.Sign(i.key, msg) }

// Verify reports whether sig is node's signature of msg. The zero node, which is
// no node but happens to be a (weak) point of the curve, has signed nothing.
func Verify(node id.Node, msg, sig []byte) bool {
	return !node.IsZero() && len(sig) == ed25519.SignatureSize && ed25519.Verify(node[:], msg, sig)
}

// SaveIdentity writes i's private key durably into dir (made if missing, 0700).
// It returns ErrIdentityExists where there is one.
func SaveIdentity(dir string, i *Identity) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make identity directory: %w", err)
	}
	path := filepath.Join(dir, KeyFile)
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("save identity %q: %w", path, ErrIdentityExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("save identity %q: %w", path, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		return fmt.Errorf("encode private key: %w", err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: der})
	if err := atomicfile.Write(path, data, 0o600); err != nil {
		return fmt.Errorf("save identity %q: %w", path, err)
	}
	return nil
}

// LoadIdentity reads the private key in dir. Without one the error matches
// fs.ErrNotExist; a key that others may open gives ErrKeyExposed.
func LoadIdentity(dir string) (*Identity, error) {
	path := filepath.Join(dir, KeyFile)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("load identity %q: %w: its mode is %04o, make it 0600", path, ErrKeyExposed, st.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("load identity %q: %w", path, err)
	}
	i, err := parseIdentity(data)
	if err != nil {
		return nil, fmt.Errorf("load identity %q: %w", path, err)
	}
	return i, nil
}

func parseIdentity(data []byte) (*Identity, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemPrivateKey {
		return nil, errors.New("not a private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key is a %T, want Ed25519", key)
	}
	return newIdentity(ed)
}
