package meta

import (
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// The wire structs: what msgpack holds. A tag is never reused nor given another
// meaning; a new one needs a new commandVersion or rowVersion, behind a feature
// level.

// commandVersion is the first byte of an encoded command; its kind is the second.
const commandVersion = 1

type wireEntry struct {
	Kind     uint8  `codec:"k,omitempty"`
	Mode     uint32 `codec:"m,omitempty"`
	MTime    int64  `codec:"t,omitempty"`
	Size     int64  `codec:"z,omitempty"`
	Content  []byte `codec:"c,omitempty"`
	Manifest []byte `codec:"n,omitempty"`
	Target   []byte `codec:"l,omitempty"`
}

type wireChange struct {
	Op       uint8  `codec:"o,omitempty"`
	Path     []byte `codec:"p,omitempty"`
	From     []byte `codec:"f,omitempty"`
	Own      uint64 `codec:"s,omitempty"`
	Revision uint64 `codec:"r,omitempty"`
	Hash     []byte `codec:"h,omitempty"`
	Mask     uint8  `codec:"x,omitempty"`
	// An entry's fields, inline.
	Kind     uint8  `codec:"k,omitempty"`
	Mode     uint32 `codec:"m,omitempty"`
	MTime    int64  `codec:"t,omitempty"`
	Size     int64  `codec:"z,omitempty"`
	Content  []byte `codec:"c,omitempty"`
	Manifest []byte `codec:"n,omitempty"`
	Target   []byte `codec:"l,omitempty"`
}

type wireCommit struct {
	Folder  []byte       `codec:"f"`
	Origin  uint8        `codec:"o"`
	Message []byte       `codec:"m,omitempty"`
	Changes []wireChange `codec:"c"`
	Acked   uint64       `codec:"a,omitempty"`
	Seen    uint64       `codec:"r,omitempty"`
	Hash    []byte       `codec:"h,omitempty"`
}

type wireRollback struct {
	Folder     []byte `codec:"f"`
	Path       []byte `codec:"p,omitempty"`
	Target     uint64 `codec:"t,omitempty"`
	TargetHash []byte `codec:"h,omitempty"`
	Message    []byte `codec:"m,omitempty"`
}

type wireResolve struct {
	Folder   []byte    `codec:"f"`
	Conflict uint64    `codec:"n"`
	Keep     uint8     `codec:"k"`
	Revision uint64    `codec:"r,omitempty"`
	Hash     []byte    `codec:"h,omitempty"`
	Entry    wireEntry `codec:"e"`
	Message  []byte    `codec:"m,omitempty"`
}

type wireFolderCmd struct {
	Op      uint8             `codec:"o"`
	ID      []byte            `codec:"i"`
	Name    string            `codec:"n,omitempty"`
	Options map[string]string `codec:"p,omitempty"`
}

type wireNode struct {
	ID         []byte `codec:"i"`
	Name       string `codec:"n,omitempty"`
	Address    string `codec:"a,omitempty"`
	Role       uint8  `codec:"r,omitempty"`
	AdmittedBy []byte `codec:"b,omitempty"`
	Signature  []byte `codec:"s,omitempty"`
	Added      int64  `codec:"t,omitempty"`
}

type wireNodeCmd struct {
	Op     uint8    `codec:"o"`
	Record wireNode `codec:"r"`
	Invite []byte   `codec:"i,omitempty"`
}

type wireInviteCmd struct {
	Op      uint8  `codec:"o"`
	Hash    []byte `codec:"h"`
	Role    uint8  `codec:"r,omitempty"`
	Expires int64  `codec:"e,omitempty"`
}

type wireClusterCmd struct {
	ID    []byte   `codec:"i"`
	First wireNode `codec:"f"`
	Level uint32   `codec:"l,omitempty"`
}

type wireTag struct {
	Folder   []byte `codec:"f"`
	Name     string `codec:"n"`
	Revision uint64 `codec:"r,omitempty"`
	Remove   bool   `codec:"d,omitempty"`
}

type wireRetention struct {
	Folder []byte `codec:"f"`
	Policy string `codec:"p,omitempty"`
}

type wireRange struct {
	First uint64 `codec:"a"`
	Last  uint64 `codec:"b"`
}

type wirePrune struct {
	Folder []byte      `codec:"f"`
	Drop   []wireRange `codec:"d,omitempty"`
}

type wireFeature struct {
	Level uint32 `codec:"l"`
}

type wireEmpty struct{}

// fixed is every array type that the wire holds as bytes.
type fixed interface {
	[8]byte | id.Digest | id.Node | id.Folder | id.Cluster | id.Session
}

// putFixed returns a's bytes, nil for the zero value so that it is left out.
func putFixed[T fixed](a T) []byte {
	var zero T
	if a == zero {
		return nil
	}
	out := make([]byte, len(a))
	for i := range len(a) {
		out[i] = a[i]
	}
	return out
}

// getFixed fills a from b: nothing, or exactly its length.
func getFixed[T fixed](b []byte) (a T, err error) {
	if len(b) == 0 {
		return a, nil
	}
	if len(b) != len(a) {
		return a, fmt.Errorf("%w: %d bytes for a %T", ErrDamaged, len(b), a)
	}
	for i := range len(a) {
		a[i] = b[i]
	}
	return a, nil
}

// nanos and fromNanos keep the zero time apart: it is 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// bin returns s's bytes, nil for the empty string.
func bin[S ~string](s S) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
