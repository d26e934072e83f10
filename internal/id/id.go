// Package id holds the identity types that every part of Lockstep shares:
// digests, nodes, folders, clusters, sessions, revisions and paths.
//
// All of them are comparable values and safe for concurrent use. Their text
// forms are canonical: Parse(x.String()) == x, and no other spelling parses.
package id

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/zeebo/blake3"
)

// Digest is a BLAKE3-256 hash. Its text form is 64 lower-case hex digits, what
// `b3sum` prints.
type Digest [32]byte

// Sum returns the plain BLAKE3-256 hash of b.
func Sum(b []byte) Digest { return Digest(blake3.Sum256(b)) }

// ParseDigest reads the 64 hex digits that String writes.
func ParseDigest(s string) (d Digest, err error) { return d, parseHex(d[:], s, "digest") }

// String returns d as 64 lower-case hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first eight hex digits, for logs.
func (d Digest) Short() string { return hex.EncodeToString(d[:4]) }

// IsZero reports whether d is the zero digest, which no content has.
func (d Digest) IsZero() bool { return d == Digest{} }

// Prefix returns the first eight bytes: what a base carries of a revision's hash.
func (d Digest) Prefix() (p [8]byte) { copy(p[:], d[:8]); return p }

// LogValue logs the short form.
func (d Digest) LogValue() slog.Value { return slog.StringValue(d.Short()) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) error { return parseHex(d[:], string(b), "digest") }

// Node names one daemon: its Ed25519 public key. Its text form is 64 lower-case
// hex digits; eight suffice in commands.
type Node [32]byte

// ParseNode reads the 64 hex digits that String writes.
func ParseNode(s string) (n Node, err error) { return n, parseHex(n[:], s, "node ID") }

// String returns n as 64 lower-case hex digits.
func (n Node) String() string { return hex.EncodeToString(n[:]) }

// Short returns the first eight hex digits.
func (n Node) Short() string { return hex.EncodeToString(n[:4]) }

// IsZero reports whether n names no node.
func (n Node) IsZero() bool { return n == Node{} }

// LogValue logs the short form.
func (n Node) LogValue() slog.Value { return slog.StringValue(n.Short()) }

// MarshalText implements encoding.TextMarshaler.
func (n Node) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Node) UnmarshalText(b []byte) error { return parseHex(n[:], string(b), "node ID") }

// Folder is a folder's random 128-bit ID; its name is only an attribute.
// The zero Folder stands for the cluster itself where a lane of proposals is named.
type Folder [16]byte

// NewFolder draws a random folder ID.
func NewFolder() Folder { return Folder(random16()) }

// ParseFolder reads the 32 hex digits that String writes.
func ParseFolder(s string) (f Folder, err error) { return f, parseHex(f[:], s, "folder ID") }

// String returns f as 32 lower-case hex digits.
func (f Folder) String() string { return hex.EncodeToString(f[:]) }

// IsZero reports whether f is the zero ID.
func (f Folder) IsZero() bool { return f == Folder{} }

// LogValue logs the first eight digits.
func (f Folder) LogValue() slog.Value { return slog.StringValue(hex.EncodeToString(f[:4])) }

// MarshalText implements encoding.TextMarshaler.
func (f Folder) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Folder) UnmarshalText(b []byte) error { return parseHex(f[:], string(b), "folder ID") }

// Cluster is a cluster's random 128-bit ID.
type Cluster [16]byte

// NewCluster draws a random cluster ID.
func NewCluster() Cluster { return Cluster(random16()) }

// ParseCluster reads the 32 hex digits that String writes.
func ParseCluster(s string) (c Cluster, err error) { return c, parseHex(c[:], s, "cluster ID") }

// String returns c as 32 lower-case hex digits.
func (c Cluster) String() string { return hex.EncodeToString(c[:]) }

// IsZero reports whether c is the zero ID.
func (c Cluster) IsZero() bool { return c == Cluster{} }

// MarshalText implements encoding.TextMarshaler.
func (c Cluster) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Cluster) UnmarshalText(b []byte) error { return parseHex(c[:], string(b), "cluster ID") }

// Session is the random ID of one run of one daemon. It fences the proposals of
// earlier runs.
type Session [16]byte

// NewSession draws a random session ID.
func NewSession() Session { return Session(random16()) }

// String returns s as 32 lower-case hex digits.
func (s Session) String() string { return hex.EncodeToString(s[:]) }

// IsZero reports whether s is the zero ID.
func (s Session) IsZero() bool { return s == Session{} }

// Revision numbers the commits of one folder: 1, 2, 3 … Zero is the empty
// folder before its first commit.
type Revision uint64

// String returns r in decimal.
func (r Revision) String() string { return strconv.FormatUint(uint64(r), 10) }

// Sequence numbers a node's proposals in one lane: 1, 2, 3 … without gaps.
// Zero is "none".
type Sequence uint64

// String returns s in decimal.
func (s Sequence) String() string { return strconv.FormatUint(uint64(s), 10) }

func random16() (b [16]byte) {
	rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	return b
}

func parseHex(dst []byte, s, what string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("%s %q: want %d hex digits, have %d", what, s, 2*len(dst), len(s))
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%s %q: not lower-case hex", what, s)
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}
