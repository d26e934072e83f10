package materialize

import (
	"errors"
	"reflect"
	"syscall"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

var errNoSpace = syscall.ENOSPC

func sampleIntents() []intent {
	st := vfs.Stat{Kind: vfs.File, Mode: 0o4755, Size: 1 << 40, MTime: -5, CTime: 1 << 60, Ino: 1 << 63}
	return []intent{
		{op: opRemove, path: "a", kept: keptDir + "/x-0", expect: st, was: meta.Entry{Kind: meta.File, Mode: 1, MTime: 2, Size: 3, Content: id.Sum(nil)}},
		{op: opPut, lifted: true, path: "b\nc", from: "d", stage: "e", new: st, was: meta.Entry{Kind: meta.Symlink, Target: "../x"},
			wasVer: meta.Base{Own: 7, Revision: 9, Hash: [8]byte{1, 2}}},
	}
}

func TestIntentsRoundTrip(t *testing.T) {
	t.Parallel()
	for _, list := range [][]intent{{}, sampleIntents()} {
		b := encodeIntents(list)
		got, err := decodeIntents(b)
		if err != nil || !reflect.DeepEqual(got, list) {
			t.Fatalf("got %+v, %v", got, err)
		}
		for i := range b { // cut short, and each byte damaged
			if _, err := decodeIntents(b[:i]); !errors.Is(err, errIntents) {
				t.Fatalf("%d bytes: %v", i, err)
			}
			b[i] ^= 0x40
			if _, err := decodeIntents(b); err == nil {
				t.Fatalf("byte %d damaged and accepted", i)
			}
			b[i] ^= 0x40
		}
	}
}

func FuzzDecodeIntents(f *testing.F) {
	f.Add(encodeIntents(nil))
	f.Add(encodeIntents(sampleIntents()))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum would keep the fuzzer out: give it one.
		if len(b) > 32 {
			b = resum(b[:len(b)-32])
		}
		list, err := decodeIntents(b)
		if err != nil {
			return
		}
		again, err := decodeIntents(encodeIntents(list))
		if err != nil || len(list) > 0 && !reflect.DeepEqual(again, list) {
			t.Fatalf("%+v became %+v, %v", list, again, err)
		}
	})
}

func resum(b []byte) []byte {
	sum := id.Sum(b)
	return append(b[:len(b):len(b)], sum[:]...)
}
