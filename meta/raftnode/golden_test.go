package raftnode

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/golden"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// goldenFiles is what the golden snapshot holds; the second fills its blocks.
var goldenFiles = map[string][]byte{
	"000004.log":      []byte("some bytes of a log\n"),
	"000007.sst":      bytes.Repeat([]byte{0, 1, 2, 3}, 256),
	"MANIFEST-000001": {},
}

var goldenConfiguration = raft.Configuration{Servers: []raft.Server{
	{Suffrage: raft.Voter, ID: "0100", Address: "192.0.2.1:7417"},
	{Suffrage: raft.Nonvoter, ID: "0200", Address: "192.0.2.2:7417"},
}}

func goldenManifest() *manifest {
	m := &manifest{Index: 1234, Term: 5, ConfigurationIndex: 7, Configuration: raft.EncodeConfiguration(goldenConfiguration)}
	for _, name := range []string{"000004.log", "000007.sst", "MANIFEST-000001"} {
		m.Files = append(m.Files, manifestFile{Name: name, Size: int64(len(goldenFiles[name])), Digest: id.Sum(goldenFiles[name])})
	}
	return m
}

func TestGoldenManifest(t *testing.T) {
	t.Parallel()
	m := goldenManifest()
	head, err := m.marshal()
	if err != nil {
		t.Fatal(err)
	}
	b := golden.Bytes(t, "manifest.golden", head)
	got, err := parseManifest(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("got %+v, %v; want %+v", got, err, m)
	}
	meta, err := got.meta("x", 1)
	if err != nil || !reflect.DeepEqual(meta.Configuration, goldenConfiguration) {
		t.Errorf("configuration %+v, %v; want %+v", meta, err, goldenConfiguration)
	}
	for at := range b {
		bad := bytes.Clone(b)
		bad[at] ^= 1
		if _, err := parseManifest(bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d flipped: %v", at, err)
		}
		if _, err := parseManifest(b[:at]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %v", at, err)
		}
	}
}

func TestGoldenSnapshotTar(t *testing.T) {
	t.Parallel()
	m := goldenManifest()
	head, err := m.marshal()
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	if err := fs.MkdirAll("from/"+stateName, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range goldenFiles {
		f, err := fs.Create("from/"+stateName+"/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		// A copy, for a vfs.File may change what it is given.
		if _, err := f.Write(bytes.Clone(content)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := newTarReader(fs, "from", head, m)
	stream, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if want := tarSize(len(head), m); int64(len(stream)) != want {
		t.Errorf("a stream of %d bytes, tarSize says %d", len(stream), want)
	}
	b := golden.Bytes(t, "snapshot.tar", stream)
	to := vfs.NewMem()
	got, err := unpack(to, "to", bytes.NewReader(b))
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("got %+v, %v; want %+v", got, err, m)
	}
	for _, f := range m.Files {
		size, digest, err := hashFile(to, "to/"+stateName+"/"+f.Name)
		if err != nil || size != f.Size || digest != f.Digest {
			t.Errorf("%s: %d bytes, %s, %v", f.Name, size, digest.Short(), err)
		}
	}
	damageGoldenTar(t, b, len(head), m)
}

// damageGoldenTar flips each byte of a content and cuts the stream at each block.
func damageGoldenTar(t *testing.T, b []byte, head int, m *manifest) {
	t.Helper()
	refuse := func(what string, at int, bad []byte) {
		t.Helper()
		if _, err := unpack(vfs.NewMem(), "to", bytes.NewReader(bad)); !errors.Is(err, ErrDamaged) {
			// Where a copy ends early, the reader's own error says so.
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s %d: %v", what, at, err)
			}
		}
	}
	at := tarBlock
	flip := func(from, n int) {
		for i := from; i < from+n; i++ {
			bad := bytes.Clone(b)
			bad[i] ^= 0x10
			refuse("flipped byte", i, bad)
		}
	}
	flip(at, head)
	at += int(padded(int64(head)))
	for _, f := range m.Files {
		flip(at, len(f.Name)) // the member's name
		at += tarBlock
		flip(at, int(f.Size))
		at += int(padded(f.Size))
	}
	for cut := 0; cut < at-tarBlock; cut += 100 {
		refuse("cut at", cut, b[:cut])
	}
}
