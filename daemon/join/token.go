package join

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// TokenPrefix begins every token. The digit is the format's version.
	TokenPrefix = "lockstep1-"
	// MaxAddresses and MaxAddress bound a token's addresses: their number, and the
	// bytes of one (a host name's limit is 253, and a port).
	MaxAddresses = 8
	MaxAddress   = 261

	checksumLen = 4
	// maxToken bounds the text: what the longest content takes.
	maxToken = len(TokenPrefix) + (16+32+32+1+1+MaxAddresses*(2+MaxAddress)+checksumLen)*4/3 + 4
)

// checksumDomain separates the checksum from every other hash.
const checksumDomain = "lockstep 2026 join token v1\x00"

// ErrBadToken is matched when a text is no token: cut short, mistyped, or of
// another version.
var ErrBadToken = errors.New("not a valid join token")

// Secret is a token's single-use secret. It never shows in a log; the cluster
// stores only its hash.
type Secret [32]byte

// NewSecret draws one.
func NewSecret() (s Secret) {
	rand.Read(s[:]) // never fails: crypto/rand aborts the process instead
	return s
}

// Hash is what the replicated invite holds: BLAKE3 of the secret.
func (s Secret) Hash() id.Digest { return id.Sum(s[:]) }

// String does not show the secret.
func (s Secret) String() string { return "(secret)" }

// GoString does not show the secret.
func (s Secret) GoString() string { return s.String() }

// LogValue does not show the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Token lets one node join a cluster, once. Its text form is
//
//	lockstep1- base64url( cluster 16 | inviter 32 | secret 32 | role 1 |
//	    count 1 | count x ( length 2, big-endian | host:port ) | checksum 4 )
//
// without padding. The checksum is the start of BLAKE3 over all before it: it
// tells a mistyped token from an unknown one.
type Token struct {
	Cluster id.Cluster
	// Inviter is the node that made the token. Its key is pinned: the secret is
	// sent to nobody else.
	Inviter id.Node
	Secret  Secret
	// Role that the inviter asks for; what counts is the replicated invite's.
	Role meta.Role
	// Addresses of the inviter as others see it, host:port, to be tried in order.
	Addresses []string
}

// Check reports what keeps t from being a token.
func (t Token) Check() error {
	switch {
	case t.Cluster.IsZero():
		return fmt.Errorf("%w: no cluster", ErrBadToken)
	case t.Inviter.IsZero():
		return fmt.Errorf("%w: no inviter", ErrBadToken)
	case t.Role > meta.RoleLearner:
		return fmt.Errorf("%w: unknown role %d", ErrBadToken, t.Role)
	case len(t.Addresses) == 0 || len(t.Addresses) > MaxAddresses:
		return fmt.Errorf("%w: %d addresses, want 1 to %d", ErrBadToken, len(t.Addresses), MaxAddresses)
	}
	for _, a := range t.Addresses {
		if err := CheckAddress(a); err != nil {
			return fmt.Errorf("%w: %w", ErrBadToken, err)
		}
	}
	return nil
}

// CheckAddress reports why a cannot be a node's address: it must be host:port
// with a host and a port from 1 to 65535, of printable ASCII without blanks.
func CheckAddress(a string) error {
	if len(a) > MaxAddress {
		return fmt.Errorf("address %.40q…: longer than %d bytes", a, MaxAddress)
	}
	for _, c := range []byte(a) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("address %q: not printable ASCII", a)
		}
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return fmt.Errorf("address %q: want host:port", a)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return fmt.Errorf("address %q: want host:port with a port from 1 to 65535", a)
	}
	return nil
}

// String returns the token's text. It panics on one that Check refuses.
func (t Token) String() string {
	if err := t.Check(); err != nil {
		panic(err)
	}
	var b bytes.Buffer
	b.Write(t.Cluster[:])
	b.Write(t.Inviter[:])
	b.Write(t.Secret[:])
	b.WriteByte(byte(t.Role))
	b.WriteByte(byte(len(t.Addresses)))
	for _, a := range t.Addresses {
		b.WriteByte(byte(len(a) >> 8))
		b.WriteByte(byte(len(a)))
		b.WriteString(a)
	}
	b.Write(checksum(b.Bytes()))
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(b.Bytes())
}

// LogValue shows whom the token is from, not its secret.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("inviter", t.Inviter), slog.Any("addresses", t.Addresses))
}

// ParseToken reads a token; blanks around it are ignored. Any other text gives an
// error that matches ErrBadToken.
func ParseToken(s string) (Token, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxToken {
		return Token{}, fmt.Errorf("%w: too long", ErrBadToken)
	}
	text, ok := strings.CutPrefix(s, TokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("%w: it does not begin with %s", ErrBadToken, TokenPrefix)
	}
	if strings.ContainsAny(text, "\r\n") { // which the decoder would skip
		return Token{}, fmt.Errorf("%w: it has a line break", ErrBadToken)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	if len(b) < checksumLen {
		return Token{}, fmt.Errorf("%w: cut short", ErrBadToken)
	}
	body, sum := b[:len(b)-checksumLen], b[len(b)-checksumLen:]
	if !bytes.Equal(checksum(body), sum) {
		return Token{}, fmt.Errorf("%w: its checksum is wrong, so a part is missing or mistyped", ErrBadToken)
	}
	t, err := decodeToken(body)
	if err != nil {
		return Token{}, err
	}
	return t, t.Check()
}

func decodeToken(b []byte) (t Token, err error) {
	take := func(n int) []byte {
		if err != nil || len(b) < n {
			err = fmt.Errorf("%w: cut short", ErrBadToken)
			return make([]byte, n)
		}
		out := b[:n]
		b = b[n:]
		return out
	}
	copy(t.Cluster[:], take(len(t.Cluster)))
	copy(t.Inviter[:], take(len(t.Inviter)))
	copy(t.Secret[:], take(len(t.Secret)))
	t.Role = meta.Role(take(1)[0])
	count := int(take(1)[0])
	if err != nil || count > MaxAddresses {
		return Token{}, fmt.Errorf("%w: bad content", ErrBadToken)
	}
	for range count {
		n := take(2)
		length := int(n[0])<<8 | int(n[1])
		if length > MaxAddress {
			return Token{}, fmt.Errorf("%w: bad content", ErrBadToken)
		}
		t.Addresses = append(t.Addresses, string(take(length)))
	}
	if err == nil && len(b) != 0 {
		err = fmt.Errorf("%w: bytes too many", ErrBadToken)
	}
	return t, err
}

func checksum(b []byte) []byte {
	d := id.Sum(append([]byte(checksumDomain), b...))
	return d[:checksumLen]
}
