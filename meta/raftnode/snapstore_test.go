package raftnode

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// snapshotStream makes a small snapshot and returns its stream.
func snapshotStream(t testing.TB, fs vfs.FS) (*snapshots, []byte) {
	t.Helper()
	s, err := openSnapshots(fs, "snaps", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	k := newSink(t, s, 7)
	fs.MkdirAll("state", 0o700)
	for name, content := range map[string]string{"000001.sst": big(3000), "MANIFEST-000001": "m", "empty": ""} {
		if err := writeFile(fs, "state/"+name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.adopt("state"); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	meta, rc, err := s.Open(k.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != meta.Size {
		t.Fatalf("stream of %d bytes, announced %d", len(b), meta.Size)
	}
	return s, b
}

func newSink(t testing.TB, s *snapshots, index uint64) *sink {
	t.Helper()
	c := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}}}
	k, err := s.Create(1, index, 3, c, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k.(*sink)
}

func TestSnapshotStream(t *testing.T) {
	t.Parallel()
	_, stream := snapshotStream(t, vfs.NewMem())
	receive := func(index uint64, b []byte) (*snapshots, *sink, error) {
		s, err := openSnapshots(vfs.NewMem(), "snaps", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		k := newSink(t, s, index)
		_, err = io.Copy(k, bytes.NewReader(b))
		return s, k, errors.Join(err, k.Close())
	}
	s, k, err := receive(7, stream)
	if err != nil {
		t.Fatal(err)
	}
	_, rc, err := s.Open(k.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	again, err := io.ReadAll(rc)
	if err != nil || !bytes.Equal(again, stream) {
		t.Errorf("the received snapshot streams %d bytes (%v), want the same %d", len(again), err, len(stream))
	}
	if _, _, err := receive(8, stream); !errors.Is(err, ErrDamaged) {
		t.Errorf("another index than announced: %v, want ErrDamaged", err)
	}
	for i := 0; i < len(stream)-2*tarBlock; i += 97 {
		bad := bytes.Clone(stream)
		bad[i] ^= 0x20
		if s, _, err := receive(7, bad); err == nil {
			// Only padding and the header's own spare bytes may differ.
			if _, rc, err := s.Open(s.list[0].meta.ID); err != nil {
				t.Errorf("byte %d: accepted, then %v", i, err)
			} else if got, _ := io.ReadAll(rc); !bytes.Equal(got, stream) {
				t.Errorf("byte %d: accepted another content", i)
			}
		} else if s.newest() != 0 {
			t.Errorf("byte %d: refused and kept", i)
		}
	}
	for _, n := range []int{0, 1, 511, 512, 700, len(stream) / 2} {
		if _, _, err := receive(7, stream[:n]); err == nil {
			t.Errorf("a stream cut at %d was accepted", n)
		}
	}
}

func TestSnapshotsRetainTwoAndForgetLeftOvers(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s, stream := snapshotStream(t, fs)
	_ = stream
	for index := uint64(8); index < 12; index++ {
		k := newSink(t, s, index)
		fs.MkdirAll("state", 0o700)
		if err := writeFile(fs, "state/f", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(k.adopt("state"), k.Close()); err != nil {
			t.Fatal(err)
		}
	}
	newSink(t, s, 20) // never finished
	s, err := openSnapshots(fs, "snaps", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.list) != 2 || s.newest() != 11 || s.list[1].m.Index != 10 {
		t.Errorf("%d snapshots, newest %d, want 11 and 10", len(s.list), s.newest())
	}
	names, _ := fs.List("snaps")
	if len(names) != 2 {
		t.Errorf("left over: %v", names)
	}
}

func FuzzUnpack(f *testing.F) {
	_, stream := snapshotStream(f, vfs.NewMem())
	f.Add(stream)
	f.Add(stream[:1024])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := vfs.NewMem()
		fs.MkdirAll("d", 0o700)
		m, err := unpack(fs, "d", bytes.NewReader(b))
		if err != nil {
			return
		}
		names, err := fs.List("d/" + stateName)
		if err != nil || len(names) != len(m.Files) {
			t.Fatalf("%d files on disk (%v), %d in the manifest", len(names), err, len(m.Files))
		}
		for _, x := range m.Files {
			if n, sum, err := hashFile(fs, "d/"+stateName+"/"+x.Name); err != nil || n != x.Size || sum != x.Digest {
				t.Fatalf("file %q: %d bytes, %v, %v", x.Name, n, sum, err)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := &manifest{Index: 1, Files: []manifestFile{{Name: "a", Size: 1, Digest: id.Sum([]byte("x"))}}}
	b, err := m.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(manifestMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		if _, err := m.marshal(); err != nil {
			t.Errorf("parsed and cannot be written: %v", err)
		}
		_, _ = m.meta("x", 1) // must not panic
	})
}
